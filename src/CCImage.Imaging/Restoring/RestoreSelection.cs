using CCImage.Sources;

namespace CCImage.Restoring;

/// <summary>Which entries of a tree are taken: what matches the patterns, what lies in it, and the folders on the way to it.</summary>
internal sealed class RestoreSelection
{
    private readonly HashSet<SourceEntry>? _selected;

    /// <summary>Decides.</summary>
    /// <param name="tree">The tree.</param>
    /// <param name="include">Patterns; none for everything.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/> when the patterns select nothing.</exception>
    public RestoreSelection(SourceTree tree, IReadOnlyList<string> include, CancellationToken cancellation)
    {
        var patterns = new PathPatterns(include);
        HashSet<SourceEntry>? matching = null;
        if (!patterns.IsEmpty) (matching, _selected) = ([], [tree.Root]);
        foreach (SourceEntry entry in tree.Enumerate())
        {
            cancellation.ThrowIfCancellationRequested();
            if (entry.Parent is null) continue;
            if (matching is not null)
            {
                if (!matching.Contains(entry.Parent) && !patterns.IsMatch(entry.Name, entry.Kind == EntryKind.Directory, () => entry.RelativePath)) continue;
                matching.Add(entry);
                for (SourceEntry? at = entry; at is not null && _selected!.Add(at); at = at.Parent)
                {
                }
            }

            // A tree that lies about its sizes only spoils its own progress bar.
            if (entry.Kind == EntryKind.File) TotalBytes = (long)Int128.Min((Int128)TotalBytes + Math.Max(0, entry.Size), long.MaxValue);
        }

        if (matching?.Count == 0)
            throw new ImageException(
                ImageErrorId.InvalidArgument, "Nothing in the volume matches the patterns: " + string.Join(", ", include),
                remedy: "Get-BackupImageItem lists what there is.");
    }

    /// <summary>Bytes of content of all that is taken, as the tree tells them.</summary>
    public long TotalBytes { get; }

    /// <summary>Whether an entry is taken.</summary>
    /// <param name="entry">An entry of the tree.</param>
    public bool IsTaken(SourceEntry entry) => _selected?.Contains(entry) ?? true;
}
