using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.Fat;

/// <summary>The files of a FAT volume. Valid as long as the storage the volume was opened on.</summary>
/// <param name="volume">The volume.</param>
/// <param name="geometry">Where its parts lie.</param>
/// <param name="table">The FAT.</param>
/// <param name="root">The root folder.</param>
/// <param name="firstClusters">Where the content of a file begins, by the place of its directory entry.</param>
internal sealed class FatTree(BlockStorage volume, FatGeometry geometry, FatTable table, SourceEntry root, IReadOnlyDictionary<long, uint> firstClusters) : SourceTree
{
    private readonly FatTableWindow _window = new(table);

    /// <inheritdoc/>
    public override SourceEntry Root => root;

    /// <inheritdoc/>
    /// <exception cref="ImageException">Also <see cref="ImageErrorId.ImageDamaged"/>: the chain does not hold as many bytes.</exception>
    public override BlockStorage OpenFork(SourceEntry entry, ForkKind fork)
    {
        if (entry.Kind != EntryKind.File || !firstClusters.TryGetValue(entry.NodeId, out uint cluster))
            throw new ImageException(ImageErrorId.SourceUnreadable, "The entry is no file of this volume.", DisplayPath(entry));
        if (fork == ForkKind.Resource || entry.Size == 0) return new MemoryStorage([]);
        lock (_window) return new ForkStorage(volume, entry.Size, RunsOf(entry, cluster));
    }

    private List<(long Offset, long Length)> RunsOf(SourceEntry entry, uint cluster)
    {
        var runs = new List<(long Offset, long Length)>();
        for (long held = 0; held < entry.Size; held += geometry.ClusterSize)
        {
            if (!geometry.IsCluster(cluster)) throw ImageException.Damaged($"A file of {entry.Size} bytes has clusters for {held}.", $"content of {DisplayPath(entry)}");
            long offset = geometry.OffsetOf(cluster);
            if (runs.Count > 0 && runs[^1].Offset + runs[^1].Length == offset) runs[^1] = (runs[^1].Offset, runs[^1].Length + geometry.ClusterSize);
            else runs.Add((offset, geometry.ClusterSize));
            if (held + geometry.ClusterSize < entry.Size) cluster = _window[cluster];
        }

        return runs;
    }
}
