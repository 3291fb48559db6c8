using CCImage.Sources;

namespace CCImage.Parameters;

/// <summary>
/// Chooses entries of a volume by the patterns that <c>Restore-BackupImage</c> and <c>-Exclude</c> take; without patterns, all of them.
/// </summary>
/// <param name="patterns">The patterns.</param>
internal sealed class ItemFilter(IEnumerable<string> patterns)
{
    private readonly PathPatterns _patterns = new(patterns);
    private readonly HashSet<SourceEntry> _chosenFolders = new(ReferenceEqualityComparer.Instance);

    /// <summary>Whether an entry is chosen, by itself or with a folder above it.</summary>
    /// <param name="entry">The entry. Folders must be asked about before what is in them.</param>
    public bool Matches(SourceEntry entry)
    {
        if (_patterns.IsEmpty) return true;
        bool isFolder = entry.Kind == EntryKind.Directory;
        bool matches = (entry.Parent is { } parent && _chosenFolders.Contains(parent))
            || _patterns.IsMatch(entry.Name, isFolder, () => entry.RelativePath);
        if (matches && isFolder) _chosenFolders.Add(entry);
        return matches;
    }
}
