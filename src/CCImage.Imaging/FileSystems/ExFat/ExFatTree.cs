using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.ExFat;

/// <summary>The files of an exFAT volume. Valid as long as the storage the volume was opened on.</summary>
/// <param name="volume">The volume.</param>
/// <param name="clusters">Its clusters.</param>
/// <param name="root">The root folder.</param>
/// <param name="files">The files, by the place of their sets of entries.</param>
/// <param name="omissions">What the tree lacks.</param>
internal sealed class ExFatTree(
    BlockStorage volume, ExFatClusters clusters, SourceEntry root, IReadOnlyDictionary<long, ExFatFile> files, TreeOmissions omissions)
    : SourceTree
{
    /// <inheritdoc/>
    public override SourceEntry Root => root;

    /// <inheritdoc/>
    public override IReadOnlyList<ImagingWarning> Omissions => omissions.ToList();

    /// <inheritdoc/>
    public override long OmittedCount => omissions.Count;

    /// <inheritdoc/>
    /// <exception cref="ImageException">Also <see cref="ImageErrorId.ImageDamaged"/>: its clusters are not as many as its length asks
    /// for.</exception>
    public override BlockStorage OpenFork(SourceEntry entry, ForkKind fork)
    {
        if (entry.Kind != EntryKind.File || !files.TryGetValue(entry.NodeId, out ExFatFile? file))
            throw new ImageException(ImageErrorId.SourceUnreadable, "The entry is no file of this volume.", DisplayPath(entry));
        if (fork == ForkKind.Resource || file.Length == 0) return new MemoryStorage([]);
        try
        {
            return new ForkStorage(volume, file.Length, RunsOf(file));
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            throw ImageException.Damaged(e.Problem, $"content of {DisplayPath(entry)}", innerException: e);
        }
    }

    // What was never written reads as zeros, whatever the clusters hold.
    private List<(long Offset, long Length)> RunsOf(ExFatFile file)
    {
        var runs = new List<(long Offset, long Length)>();
        long left = file.ValidLength;
        if (file.IsContiguous)
        {
            clusters.MustExist(file.Stream.FirstCluster, clusters.CountFor(file.Length));
            if (left > 0) runs.Add((clusters.OffsetOf(file.Stream.FirstCluster), left));
        }
        else
        {
            foreach (uint cluster in clusters.Of(file))
            {
                long offset = clusters.OffsetOf(cluster), part = Math.Min(clusters.Size, left);
                if (runs.Count > 0 && runs[^1].Offset + runs[^1].Length == offset) runs[^1] = (runs[^1].Offset, runs[^1].Length + part);
                else if (part > 0) runs.Add((offset, part));
                left -= part;
            }
        }

        if (file.ValidLength < file.Length) runs.Add((ForkStorage.Hole, file.Length - file.ValidLength));
        return runs;
    }
}
