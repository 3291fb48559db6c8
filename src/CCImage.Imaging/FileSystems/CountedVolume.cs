using CCImage.Sources;

namespace CCImage.FileSystems;

/// <summary>A volume of a file system that keeps no numbers of its files and folders: they are counted, as long as that is little
/// work.</summary>
internal abstract class CountedVolume : FileSystemVolume
{
    // Directories of some ten thousand files: of a compressed image every piece may be in another chunk.
    private const long MostBytes = 8 << 20;

    private readonly Lazy<(long? Files, long? Folders)> _counts;

    /// <summary>Nothing is counted yet.</summary>
    protected CountedVolume() => _counts = new(Count);

    /// <inheritdoc/>
    /// <remarks>Null when there are more than can be counted quickly, or the directories are damaged.</remarks>
    public sealed override long? FileCount => _counts.Value.Files;

    /// <inheritdoc/>
    /// <remarks>As <see cref="FileCount"/>.</remarks>
    public sealed override long? FolderCount => _counts.Value.Folders;

    /// <inheritdoc/>
    public sealed override bool HasReadableTree(int index) => true;

    /// <inheritdoc/>
    public sealed override SourceTree ReadTree(int index = 0, CancellationToken cancellation = default) =>
        TryReadTree(long.MaxValue, cancellation)!;

    /// <summary>Reads the tree of files.</summary>
    /// <param name="mostBytes">How much of directories is read.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>The tree; null when there is more of it.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    protected abstract SourceTree? TryReadTree(long mostBytes, CancellationToken cancellation);

    private (long? Files, long? Folders) Count()
    {
        try
        {
            using SourceTree? tree = TryReadTree(MostBytes, CancellationToken.None);
            if (tree is null || tree.OmittedCount > 0) return default;
            long files = 0, folders = -1; // the root is not counted
            foreach (SourceEntry entry in tree.Enumerate()) _ = entry.Kind == EntryKind.Directory ? folders++ : files++;
            return (files, folders);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return default;
        }
    }
}
