using CCImage.Containers;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.FileSystems;
using CCImage.Storage;

namespace CCImage;

/// <summary>Why compacting an image gave little or nothing back.</summary>
public enum CompactionReason
{
    /// <summary>Nothing that the image stores is free.</summary>
    NothingFree,

    /// <summary>Most of what is free lies in bands that are used in part, and stays stored: a sparse image, or a host without
    /// holes.</summary>
    FreeSpaceIsScattered,

    /// <summary>The file system inside is not understood, so nothing of it counts as free.</summary>
    UnknownFileSystem,

    /// <summary>The volume was not unmounted cleanly, is damaged, or shares the disk with another one: what is free is not
    /// certain.</summary>
    VolumeNotClean,

    /// <summary>Less than the least that was asked for; nothing was done.</summary>
    BelowMinimum,

    /// <summary>A read-only image stores no free space.</summary>
    ReadOnlyFormat,

    /// <summary>A raw read/write image is a file as long as its disk.</summary>
    FixedSizeFormat,
}

/// <summary>What to compact.</summary>
/// <param name="Path">File or bundle, as a full path.</param>
public sealed record ImageCompactionRequest(string Path)
{
    /// <summary>The passphrase; not used where the image is not encrypted. Stays the caller's.</summary>
    public Passphrase? Passphrase { get; init; }

    /// <summary>Do nothing when less than this many bytes would be given back.</summary>
    public long MinimumReclaimBytes { get; init; }

    /// <summary>Tell what would happen, from metadata alone, and do nothing.</summary>
    public bool EstimateOnly { get; init; }
}

/// <summary>What a compaction did.</summary>
/// <param name="Path">Full path of the image.</param>
/// <param name="StoredBytesBefore">Bytes the image took.</param>
/// <param name="StoredBytesAfter">Bytes it takes now.</param>
public sealed record ImageCompactionResult(string Path, long StoredBytesBefore, long StoredBytesAfter)
{
    /// <summary>Bytes given back to the host.</summary>
    public long ReclaimedBytes => Math.Max(0, StoredBytesBefore - StoredBytesAfter);

    /// <summary>Bands that are no longer stored.</summary>
    public int BandsRemoved { get; init; }

    /// <summary>Bands that lie elsewhere in the file of a sparse image.</summary>
    public int BandsMoved { get; init; }

    /// <summary>Bytes inside bands of a bundle that became holes of the host's file system.</summary>
    public long BytesPunched { get; init; }

    /// <summary>Free bytes that stay stored, in bands that are used in part.</summary>
    public long KeptBytes { get; init; }

    /// <summary>Why little or nothing was given back; null when there is nothing to explain.</summary>
    public CompactionReason? Reason { get; init; }

    /// <summary>Whether this is what would happen: nothing was done.</summary>
    public bool IsEstimate { get; init; }

    /// <summary>The image as it is now, when it was asked for.</summary>
    public BackupImage? Image { get; init; }
}

/// <summary>
/// Gives the free space inside a sparse image or bundle back to the host. Only metadata are read, and data only where a band of a sparse
/// image moves; the capacity stays. Cut anywhere, the image is whole with all its files, and running the compaction again finishes it: no
/// mains power is needed.
/// </summary>
public static class ImageCompaction
{
    /// <summary>Compacts an image, or tells what that would do.</summary>
    /// <param name="request">Which.</param>
    /// <param name="observer">Hears how far it is.</param>
    /// <param name="cancellation">Ends it between two steps; what was given back stays so.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>, and what opening says.</exception>
    public static ImageCompactionResult Run(ImageCompactionRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(observer);
        try
        {
            ImageCompactionResult estimate;
            using (DiskImage image = DiskImage.Open(request.Path, request.Passphrase, cancellation))
            {
                if (image.Container.BandSizeBytes is not null) ImageCondition.RequireWhole(image, cancellation);
                estimate = Estimate(image, request, cancellation);
            }

            if (estimate.Reason is CompactionReason.ReadOnlyFormat or CompactionReason.FixedSizeFormat || request.EstimateOnly)
                return estimate with { IsEstimate = request.EstimateOnly };

            // What would not change is refused when it is in use, too: a script must not take that for done.
            using DiskImage opened = DiskImage.Open(request.Path, request.Passphrase, writable: true, cancellation);
            ImageCondition.RequireWhole(opened, cancellation);
            return estimate.Reason is null or CompactionReason.FreeSpaceIsScattered ? Compact(opened, estimate, observer, cancellation)
                : estimate;
        }
        catch (ImageException e)
        {
            throw e.WithPath(request.Path);
        }
    }

    private static ImageCompactionResult Estimate(DiskImage image, ImageCompactionRequest request, CancellationToken cancellation)
    {
        // Its name is in the catalog: where the host does not let that be read, "nothing is free" must not be the answer.
        foreach (DiskImage.FoundVolume found in image.Volumes)
            _ = found.Fault is { IsHostFault: true } fault ? throw fault : found.Volume.Name;
        IReadOnlyList<StorageExtent> free = image.Container.BandSizeBytes is null ? [] : image.GetFreeExtents(cancellation);
        CompactionEstimate estimate = image.Container.EstimateCompaction(free);
        var result = new ImageCompactionResult(request.Path, estimate.StoredBytesBefore, estimate.StoredBytesAfter)
        {
            BandsRemoved = estimate.Counts.BandsRemoved,
            BandsMoved = estimate.Counts.BandsMoved,
            BytesPunched = estimate.Counts.BytesPunched,
            KeptBytes = estimate.Counts.KeptBytes,
        };
        result = result with { Reason = ReasonFor(image, free.Count > 0, result) };
        if (result.Reason is not (null or CompactionReason.FreeSpaceIsScattered)) return Untouched(result);
        return result.ReclaimedBytes >= request.MinimumReclaimBytes ? result
            : Untouched(result) with { Reason = CompactionReason.BelowMinimum };
    }

    private static ImageCompactionResult Compact(
        DiskImage image, ImageCompactionResult estimate, IImagingObserver observer, CancellationToken cancellation)
    {
        if (estimate.ReclaimedBytes > 0 && IsAnythingDamaged(image, cancellation))
            return Untouched(estimate) with { Reason = CompactionReason.VolumeNotClean };

        // Asked again: until the image was open for writing it was anybody's.
        IReadOnlyList<StorageExtent> free = image.GetFreeExtents(cancellation);
        long bands = 0;
        CompactionCounts counts;
        try
        {
            counts = image.Container.Compact(free, _ => observer.OnProgress(new("Compacting", ++bands, 0, "bands")), cancellation);
        }
        catch (ImageException e)
        {
            throw new ImageException(e.Id, e.Problem, e.Path, e.Place,
                $"{e.Remedy} The image holds all its files; compacting it again goes on from here.".TrimStart(), e);
        }

        var result = new ImageCompactionResult(estimate.Path, estimate.StoredBytesBefore, image.Container.StoredBytes)
        {
            BandsRemoved = counts.BandsRemoved,
            BandsMoved = counts.BandsMoved,
            BytesPunched = counts.BytesPunched,
            KeptBytes = counts.KeptBytes,
        };
        return result with { Reason = ReasonFor(image, free.Count > 0, result) };
    }

    // Counts that agree do not prove that what the bitmaps call free is used by nobody: only what the files use does, and what is punched
    // is lost for good.
    private static bool IsAnythingDamaged(DiskImage image, CancellationToken cancellation)
    {
        foreach (DiskImage.FoundVolume volume in image.Volumes.Where(v => v.Fault is null))
        {
            var findings = new ImageFindings(image.Path);
            try
            {
                volume.Volume.Check(findings, cancellation);
            }
            catch (ImageException e) when (e.IsFaultOfContent)
            {
                return true;
            }

            if (findings.Worst == ImageFindingGrade.Damaged) return true;
        }

        return false;
    }

    private static CompactionReason? ReasonFor(DiskImage image, bool isAnythingFree, ImageCompactionResult result)
    {
        if (image.Container.Udif is not null) return CompactionReason.ReadOnlyFormat;
        if (image.Container.BandSizeBytes is null) return CompactionReason.FixedSizeFormat;
        if (result.KeptBytes > result.ReclaimedBytes) return CompactionReason.FreeSpaceIsScattered;
        if (result.ReclaimedBytes > 0) return null;
        if (isAnythingFree) return CompactionReason.NothingFree;
        if (image.Volumes.Count == 0 || image.Volumes.Any(v => v.Volume.FreeBytes is null && v.Fault is null))
            return CompactionReason.UnknownFileSystem;
        return image.Volumes.Any(v => v.Fault is not null || v.Volume.FreeBytes > 0) ? CompactionReason.VolumeNotClean
            : CompactionReason.NothingFree;
    }

    private static ImageCompactionResult Untouched(ImageCompactionResult result) =>
        new(result.Path, result.StoredBytesBefore, result.StoredBytesBefore) { KeptBytes = result.KeptBytes, Reason = result.Reason };
}
