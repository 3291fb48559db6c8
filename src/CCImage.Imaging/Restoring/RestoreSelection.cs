using CCImage.Sources;

namespace CCImage.Restoring;

/// <summary>Which entries of a tree are taken: what matches the patterns, what lies in it, and the folders on the way to it; or single
/// items.</summary>
internal sealed class RestoreSelection
{
    private readonly HashSet<SourceEntry>? _selected;

    /// <summary>Decides.</summary>
    /// <param name="tree">The tree.</param>
    /// <param name="choice">Patterns or items; neither for everything.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/> when nothing is selected.</exception>
    public RestoreSelection(SourceTree tree, EntryChoice choice, CancellationToken cancellation)
    {
        var patterns = new PathPatterns(choice.Include);
        HashSet<SourceEntry>? matching = null;
        if (!patterns.IsEmpty || choice.Items is not null) (matching, _selected) = ([], [tree.Root]);
        if (choice.Items is not null) AddItems(tree.Root, choice.Items, matching!);
        foreach (SourceEntry entry in tree.Enumerate())
        {
            cancellation.ThrowIfCancellationRequested();
            if (entry.Parent is null) continue;
            Total++;
            if (matching is not null)
            {
                if (choice.Items is not null ? !matching.Contains(entry) : !Matches(entry)) continue;
                for (SourceEntry? at = entry; at is not null && _selected!.Add(at); at = at.Parent)
                {
                }
            }

            // A tree that lies about its sizes only spoils its own progress bar.
            if (entry.Kind == EntryKind.File) TotalBytes = (long)Int128.Min((Int128)TotalBytes + Math.Max(0, entry.Size), long.MaxValue);
        }

        if (matching?.Count == 0)
            throw new ImageException(
                ImageErrorId.InvalidArgument,
                choice.Items is null ? "Nothing in the volume matches the patterns: " + string.Join(", ", choice.Include)
                : "Nothing of what was chosen is in the volume.",
                remedy: "Get-BackupImageItem lists what there is.");

        bool Matches(SourceEntry entry) =>
            (matching.Contains(entry.Parent!) || patterns.IsMatch(entry.Name, entry.Kind == EntryKind.Directory, () => entry.RelativePath))
                && matching.Add(entry);
    }

    /// <summary>Bytes of content of all that is taken, as the tree tells them; holes, and each name of a file, counted.</summary>
    public long TotalBytes { get; }

    /// <summary>Entries of the tree, the root not counted.</summary>
    public long Total { get; }

    /// <summary>Entries that are not taken.</summary>
    public long Excluded => _selected is null ? 0 : Total - (_selected.Count - 1);

    /// <summary>Whether all of the tree is taken.</summary>
    public bool TakesAll => _selected is null;

    /// <summary>Folders that were chosen as items, and of whose content nothing was.</summary>
    public long FoldersWithoutContent { get; private set; }

    /// <summary>Whether an entry is taken.</summary>
    /// <param name="entry">An entry of the tree.</param>
    public bool IsTaken(SourceEntry entry) => _selected?.Contains(entry) ?? true;

    /// <summary>How many entries are taken of those that an entry is or holds.</summary>
    /// <param name="entry">An entry that is taken.</param>
    /// <param name="kind">Only those of this kind; null for all.</param>
    public long CountIn(SourceEntry entry, EntryKind? kind = null)
    {
        long count = 0;
        var pending = new Stack<SourceEntry>([entry]);
        while (pending.TryPop(out SourceEntry? at))
        {
            if (kind is null || at.Kind == kind) count++;
            foreach (SourceEntry child in at.Children)
            {
                if (IsTaken(child)) pending.Push(child);
            }
        }

        return count;
    }

    // Down the tree along the names that were asked for: no path of an entry is put together, and names are compared as they are.
    private void AddItems(SourceEntry root, IReadOnlyCollection<string> items, HashSet<SourceEntry> matching)
    {
        var wanted = new Name();
        foreach (string item in items)
        {
            Name at = wanted;
            foreach (string part in item.Split('/', StringSplitOptions.RemoveEmptyEntries))
            {
                at.Below ??= [];
                if (!at.Below.TryGetValue(part, out Name? next)) at.Below.Add(part, next = new());
                at = next;
            }

            at.IsItem = true;
        }

        var pending = new Stack<(SourceEntry Folder, Name Name)>([(root, wanted)]);
        while (pending.TryPop(out (SourceEntry Folder, Name Name) at))
        {
            foreach (SourceEntry child in at.Folder.Children)
            {
                if (at.Name.Below is null || !at.Name.Below.TryGetValue(child.Name, out Name? name)) continue;
                if (name.IsItem) matching.Add(child);
                if (name.Below is not null) pending.Push((child, name));
                else if (child.Children.Count > 0) FoldersWithoutContent++;
            }
        }
    }

    private sealed class Name
    {
        public bool IsItem { get; set; }

        public Dictionary<string, Name>? Below { get; set; }
    }
}
