using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.Fat;

/// <summary>The files of a FAT volume. Valid as long as the storage the volume was opened on.</summary>
/// <param name="volume">The volume.</param>
/// <param name="geometry">Where its parts lie.</param>
/// <param name="table">The FAT.</param>
/// <param name="root">The root folder.</param>
/// <param name="firstClusters">Where the content of a file begins, by the place of its directory entry.</param>
/// <param name="omissions">What the tree lacks.</param>
internal sealed class FatTree(
    BlockStorage volume, FatGeometry geometry, FatTable table, SourceEntry root, IReadOnlyDictionary<long, uint> firstClusters,
    TreeOmissions omissions) : SourceTree
{
    private readonly FatTableWindow _window = new(table);

    /// <inheritdoc/>
    public override SourceEntry Root => root;

    /// <inheritdoc/>
    public override IReadOnlyList<ImagingWarning> Omissions => omissions.ToList();

    /// <inheritdoc/>
    public override long OmittedCount => omissions.Count;

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
        string Place() => $"content of {DisplayPath(entry)}";
        long held = 0, most = geometry.ClusterCount * geometry.ClusterSize, keepAt = geometry.ClusterSize;
        if (entry.Size > most) throw ImageException.Damaged($"A file claims {entry.Size} bytes, and all clusters have {most}.", Place());
        var runs = new List<(long Offset, long Length)>();

        // A chain that runs in a circle comes back to a cluster that is kept at every power of two (R. P. Brent).
        for (uint kept = cluster; ; cluster = _window[cluster])
        {
            if (!geometry.IsCluster(cluster))
                throw ImageException.Damaged($"A file of {entry.Size} bytes has clusters for {held}.", Place());
            if (held > 0 && cluster == kept) throw ImageException.Damaged("The chain of a file runs in a circle.", Place());
            if (held == keepAt) (kept, keepAt) = (cluster, keepAt * 2);
            long offset = geometry.OffsetOf(cluster);
            if (runs.Count > 0 && runs[^1].Offset + runs[^1].Length == offset)
                runs[^1] = (runs[^1].Offset, runs[^1].Length + geometry.ClusterSize);
            else runs.Add((offset, geometry.ClusterSize));
            held += geometry.ClusterSize;
            if (held >= entry.Size) return runs;
        }
    }
}
