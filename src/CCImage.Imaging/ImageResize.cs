using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.FileSystems;
using CCImage.FileSystems.HfsPlus;
using CCImage.Partitions;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage;

/// <summary>What to resize, and to what: exactly one of the three sizes is given.</summary>
/// <param name="Path">File or bundle, as a full path.</param>
public sealed record ImageResizeRequest(string Path)
{
    /// <summary>The passphrase; not used where the image is not encrypted. Stays the caller's.</summary>
    public Passphrase? Passphrase { get; init; }

    /// <summary>The capacity in bytes, rounded up to whole sectors of 512.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>The smallest capacity that is possible; what lies in the way is moved.</summary>
    public bool ToMinimumSize { get; init; }

    /// <summary>What is free where the image lies, and what it stores.</summary>
    public bool ToAvailableSpace { get; init; }

    /// <summary>Tell what would happen, from metadata alone, and do nothing.</summary>
    public bool EstimateOnly { get; init; }
}

/// <summary>What a resize did.</summary>
/// <param name="Path">Full path of the image.</param>
/// <param name="CapacityBytesBefore">Bytes of the disk before.</param>
/// <param name="CapacityBytesAfter">Bytes of the disk now.</param>
/// <param name="VolumeResized">Whether the volume has the new size, too.</param>
/// <param name="Advice">What is left to be done, in a sentence; null for nothing.</param>
public sealed record ImageResizeResult(string Path, long CapacityBytesBefore, long CapacityBytesAfter, bool VolumeResized, string? Advice)
{
    /// <summary>Bytes of files and of the volume's own structures that lie elsewhere in the volume, because a smaller one has no room for
    /// their old places.</summary>
    public long BytesMoved { get; init; }

    /// <summary>Whether this is what would happen: nothing was done.</summary>
    public bool IsEstimate { get; init; }

    /// <summary>Whether the image had this size already, the volume in it too, and nothing was left to be finished: nothing was
    /// written.</summary>
    public bool IsUnchanged { get; init; }
}

/// <summary>
/// Gives an image another capacity: container, partition map and volume together: HFS+, where what lies behind the new end is moved, and
/// APFS, which grows. Resizing does not give space back to the host, and compacting does not change the capacity.
/// <para>
/// Everything is judged and planned before the first write. Growing goes from the outside inwards (container, map, volume), shrinking from
/// the inside outwards, so that nothing is ever larger than what it lies in. Cut anywhere, the image opens with all its files; running the
/// resize again finishes it.
/// </para>
/// </summary>
public static class ImageResize
{
    private const int SectorSize = PartitionTable.SectorSize;

    // Each time the trees that are written anew are a little smaller; seldom more than three times.
    private const int MostRounds = 10;

    /// <summary>Resizes an image, or tells what that would do.</summary>
    /// <param name="request">Which, and to what.</param>
    /// <param name="observer">Hears of advice, and how far moving is.</param>
    /// <param name="cancellation">Ends it before the first write, or while files move: then the image is as it was.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.CapacityTooSmall"/>: what is in use does not fit, and the message names the smallest capacity;
    /// <see cref="ImageErrorId.UnsupportedFormat"/>: a read-only image, a map or a file system that cannot be resized so;
    /// <see cref="ImageErrorId.ImageDamaged"/>, <see cref="ImageErrorId.ImageInUse"/>, and what opening says.
    /// </exception>
    public static ImageResizeResult Run(ImageResizeRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(observer);
        if ((request.SizeBytes is null ? 0 : 1) + (request.ToMinimumSize ? 1 : 0) + (request.ToAvailableSpace ? 1 : 0) != 1)
            throw new ImageException(ImageErrorId.InvalidArgument, "Exactly one size must be given.", request.Path,
                remedy: "Give SizeBytes, ToMinimumSize or ToAvailableSpace.");
        if (request.SizeBytes is <= 0 or > long.MaxValue - SectorSize)
            throw new ImageException(ImageErrorId.InvalidArgument, $"A capacity of {request.SizeBytes} bytes is impossible.", request.Path,
                remedy: "Give a positive number of bytes.");
        ImageResizeResult result = RunOnce(request, observer, cancellation);
        for (int round = 1; request.ToMinimumSize && !request.EstimateOnly && !result.IsUnchanged && round < MostRounds; round++)
        {
            // What has moved is smaller now, and may leave room for less: asked until nothing changes, so that asking again changes
            // nothing.
            ImageResizeResult next = RunOnce(request, observer, cancellation);
            if (next.IsUnchanged) break;
            result = next with { CapacityBytesBefore = result.CapacityBytesBefore, BytesMoved = result.BytesMoved + next.BytesMoved };
        }

        return result;
    }

    private static ImageResizeResult RunOnce(ImageResizeRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        try
        {
            using DiskImage image = request.EstimateOnly
                ? DiskImage.OpenForPlan(request.Path, request.Passphrase, cancellation)
                : DiskImage.Open(request.Path, request.Passphrase, writable: true, cancellation);
            ImageCondition.RequireWhole(image, cancellation);
            var job = new Job(image, cancellation);
            Plan plan = job.PlanFor(request, observer);
            if (!request.EstimateOnly && !plan.Result.IsUnchanged) job.Write(plan, observer);
            return plan.Result with { IsEstimate = request.EstimateOnly };
        }
        catch (ImageException e)
        {
            throw e.WithPath(request.Path);
        }
    }

    /// <summary>
    /// The smallest capacity that <see cref="Run"/> reaches, from metadata alone: where the last volume is HFS+. It
    /// agrees with the resize itself unless blocks of the volume are leaked.
    /// </summary>
    /// <param name="image">The image.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>Bytes; null for an image that is not resized so.</returns>
    internal static long? LeastCapacityOf(DiskImage image, CancellationToken cancellation = default)
    {
        if (image.Format is not (BackupImageFormat.ReadWrite or BackupImageFormat.Sparse or BackupImageFormat.SparseBundle)) return null;
        if (image.IsHybrid()) return null;
        if (image.Volumes.MaxBy(v => v.OffsetBytes) is not { Fault: null, Volume: HfsPlusVolume { IsEmbedded: false } volume } last)
            return null;
        if (volume.Has(VolumeAttributes.Inconsistent) || !volume.Has(VolumeAttributes.Unmounted)) return null;
        try
        {
            long least = HfsPlusMinimumSize.Of(volume, cancellation);
            if (image.PartitionScheme == PartitionScheme.None) return least;
            BackupImagePartition? partition = image.PartitionTable.Partitions.MaxBy(p => p.OffsetBytes);
            return partition?.OffsetBytes != last.OffsetBytes
                ? null
                : CapacityFor(least, partition.SizeBytes, last.OffsetBytes, PartitionMapResizer.Open(image.Disk, image.PartitionTable));
        }
        catch (ImageException e) when (!e.IsHostFault)
        {
            return null;
        }
    }

    // A last window that does not end at a whole 4 KiB stays as it is.
    private static long CapacityFor(long leastWindow, long window, long offset, PartitionMapResizer? map) => map is null
        ? leastWindow
        : Math.Min(offset + Binary.Layout.RoundUp(leastWindow, 4096), offset + Math.Max(leastWindow, window)) + map.TailBytes;

    /// <summary>Everything that is decided before the first write.</summary>
    /// <param name="Result">What will have been done.</param>
    /// <param name="Window">Bytes of the last volume's window.</param>
    /// <param name="Volume">What the volume in it becomes; null when it keeps its size.</param>
    private sealed record Plan(ImageResizeResult Result, long Window, VolumeResizePlan? Volume);

    private const string Unfinished =
        "The image holds all its files. The same resize finishes what was begun; Test-BackupImage -Repair puts the copies of maps and "
            + "headers in order for the size it has now.";

    /// <summary>Resizes one image. The volume at the end of the disk is the one that changes.</summary>
    private sealed class Job
    {
        private readonly DiskImage _image;
        private readonly CancellationToken _cancellation;
        private readonly PartitionMapResizer? _map;
        private readonly long _offset; // of the last volume's window
        private readonly long _windowLength;
        private readonly DiskImage.FoundVolume? _volume;
        private readonly VolumeResizer? _resizer;

        public Job(DiskImage image, CancellationToken cancellation)
        {
            (_image, _cancellation) = (image, cancellation);
            if (image.IsHybrid())
                throw ImageException.Unsupported("A second file system shares the disk with the volume, so that it cannot be resized.",
                    "Back its files up into a new image.");
            _windowLength = image.Disk.Length;
            _map = PartitionMapResizer.Open(image.Disk, image.PartitionTable);
            if (_map is not null)
            {
                BackupImagePartition? last = image.PartitionTable.Partitions.MaxBy(p => p.OffsetBytes);
                (_offset, _windowLength) = last is null ? (0, 0) : (last.OffsetBytes, last.SizeBytes);
                foreach (BackupImagePartition partition in image.PartitionTable.Partitions)
                {
                    if (partition != last && partition.OffsetBytes + partition.SizeBytes > _offset)
                        throw ImageException.Damaged("Partitions overlap.", $"partition {partition.Number}");
                }
            }

            _volume = _windowLength == 0 ? null : image.Volumes.FirstOrDefault(v => v.OffsetBytes == _offset);
            if (_volume?.Fault is { } fault) throw fault;
            _resizer = _volume?.Volume.OpenResizer(cancellation);
        }

        private BlockStorage Disk => _image.Disk;

        private long LeastCapacity =>
            _windowLength == 0 ? Disk.Length : CapacityFor(_resizer?.LeastLength ?? _windowLength, _windowLength, _offset, _map);

        /// <summary>Decides everything, and changes nothing.</summary>
        public Plan PlanFor(ImageResizeRequest request, IImagingObserver observer)
        {
            long before = Disk.Length, least = LeastCapacity;
            HostVolume host = HostPlatform.Current.GetVolume(Path.GetDirectoryName(_image.Path)!);
            long available = host.FreeBytes + _image.Container.StoredBytes;
            long after = request.ToMinimumSize ? least : request.SizeBytes ?? (available / 4096 * 4096);
            after = Binary.Layout.RoundUp(after, SectorSize);
            if (after < least && after < before)
                throw new ImageException(ImageErrorId.CapacityTooSmall,
                    $"The smallest capacity that is possible now is {least} bytes: {WhyNotLess}.", remedy: "Ask for at least that.");
            _image.Container.CheckCapacity(after);
            CheckHost(host, before, after, available, observer);
            long window = WindowFor(after, before);
            VolumeResizePlan? volume = _resizer?.PlanFor(window);
            bool isResized = volume is { Obstacle: null };
            bool isUnchanged = after == before && window == _windowLength && volume is null or { IsEmpty: true }
                && !_image.Container.HasRemains && IsMapInOrder(after, window);
            string? advice = !isResized && window > _windowLength ? string.Join(' ', [volume?.Obstacle, Advice]).TrimStart() : null;
            return new(new(_image.Path, before, after, isResized, advice) { BytesMoved = volume?.BytesMoved
                ?? 0, IsUnchanged = isUnchanged }, window, isResized ? volume : null);
        }

        /// <summary>Does what was planned.</summary>
        public void Write(Plan plan, IImagingObserver observer)
        {
            (long before, long after) = (plan.Result.CapacityBytesBefore, plan.Result.CapacityBytesAfter);
            _cancellation.ThrowIfCancellationRequested();
            try
            {
                if (after > before) _image.Container.SetCapacity(after);
                if (after < before) WriteVolume(plan, observer);
                _map?.Write(Disk, after, _offset + plan.Window);
                if (after >= before) WriteVolume(plan, observer);

                // The capacity that it has already, too: a resize that was cut off may have left something behind it.
                if (after <= before) _image.Container.SetCapacity(after);
            }
            catch (ImageException e)
            {
                throw new ImageException(e.Id, e.Problem, e.Path, e.Place, $"{e.Remedy} {Unfinished}".TrimStart(), e);
            }
        }

        /// <summary>Whether the map is written as it would be written.</summary>
        private bool IsMapInOrder(long after, long window)
        {
            if (_map is null) return true;
            using var rehearsal = new RehearsalStorage(Disk);
            _map.Write(rehearsal, after, _offset + window);
            return !rehearsal.HasChanges;
        }

        private void WriteVolume(Plan plan, IImagingObserver observer) => plan.Volume?.Write(
            new WindowStorage(Disk, _offset, Math.Max(plan.Window, _windowLength)), moved =>
                observer.OnProgress(new("Moving", moved, plan.Volume.BytesMoved, "bytes")), _cancellation);

        private string WhyNotLess => _resizer?.WhyNotLess ?? "only HFS+ volumes are made smaller";

        private string Advice => _volume?.Volume.Kind switch
        {
            VolumeKind.Apfs => $"The APFS container still has its old size: attach the image on a Mac and run 'diskutil apfs "
                + $"resizeContainer diskXs{Math.Max(1, _volume.Partition)} 0'.",
            _ => "The volume still has its old size: attach the image on a Mac and extend it there, or copy its files into a new image.",
        };

        /// <summary>The last window on a disk of another length; a volume that fits the smaller disk as it is keeps its window.</summary>
        private long WindowFor(long after, long before)
        {
            if (_windowLength == 0) return 0;
            long most = _map is null ? after : _map.LastEndFor(after) - _offset;
            if (after >= before) return Math.Max(most, _windowLength);
            if (most >= _windowLength) return _windowLength;
            // A window that does not end at a whole 4 KiB may end where the backup begins.
            long least = _resizer?.LeastLength ?? _windowLength;
            return most >= least ? most : after - _map!.TailBytes - _offset;
        }

        private void CheckHost(HostVolume host, long before, long after, long available, IImagingObserver observer)
        {
            if (after <= before) return;
            if (_image.Format == BackupImageFormat.ReadWrite && host.MaximumFileSize is long limit && after > limit)
            {
                throw new ImageException(
                    ImageErrorId.DestinationFileSizeLimit,
                    $"The image would be a file of {after} bytes, and the file system there ({host.FileSystemType}) ends at {limit}.",
                    remedy: "Convert it to a sparse bundle, which keeps the disk in small files.");
            }

            if (_image.Format == BackupImageFormat.Sparse && host.MaximumFileSize is long most && after > most)
            {
                observer.OnWarning(new(
                    ImagingWarningKind.Advice, _image.Path,
                    $"Files there ({host.FileSystemType}) end at {most} bytes: the image cannot be filled. A sparse bundle keeps the disk "
                        + $"in small files."));
            }

            if (after > SpacePolicy.LargeImageBytes)
                observer.OnWarning(new(ImagingWarningKind.Advice, _image.Path, SpacePolicy.LargeImageAdvice));
            if (after > available)
                observer.OnWarning(
                    new(ImagingWarningKind.Advice, _image.Path,
                    $"The capacity of {after} bytes is more than the disk under the image can hold ({available} bytes)."));
        }
    }
}
