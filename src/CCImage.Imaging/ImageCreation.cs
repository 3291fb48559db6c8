using System.Buffers.Binary;
using System.Diagnostics;
using System.Numerics;
using CCImage.Binary;
using CCImage.Containers.SparseBundle;
using CCImage.Diagnostics;
using CCImage.FileSystems.HfsPlus;
using CCImage.Partitions;
using CCImage.Partitions.Gpt;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage;

/// <summary>What a new image will be, before anything is written: the answer to <c>-WhatIf</c>.</summary>
/// <param name="Entries">Entries to store.</param>
/// <param name="SourceBytes">Bytes of file content.</param>
/// <param name="CapacityBytes">Size of the disk.</param>
/// <param name="ExpectedBytes">Bytes the image will take on the host, before compression.</param>
/// <param name="AvailableBytes">Bytes free where it goes.</param>
public sealed record ImageCreationEstimate(long Entries, long SourceBytes, long CapacityBytes, long ExpectedBytes, long AvailableBytes);

/// <summary>
/// Makes a new image: prepares (scan, plan, check the room), and then writes. Between the two nothing has touched the destination.
/// The road of a byte: recipe → scanner → tree → planner → volume that is computed from the plan → partitioned disk → pump → container.
/// </summary>
public sealed class ImageCreation : IDisposable
{
    /// <summary>
    /// A backup should not wait for its compression: the first level whose output is smaller than that of the fastest common tool, at two
    /// thirds of its time (the benchmarks compare).
    /// </summary>
    private const int ZlibLevel = 2;

    /// <summary>Disks are whole allocation blocks long.</summary>
    private const int BlockAlignment = 4096;

    /// <summary>The largest disk: its volume is a little smaller.</summary>
    private const long LargestDiskBytes = HfsPlusGeometry.LargestNewVolume;

    private readonly ImageRecipe _recipe;
    private readonly WarningRecorder _observer;
    private readonly Stopwatch _clock;
    private readonly SourceTree _tree;
    private readonly HfsPlusPlan _plan;
    private readonly GptLayout _layout;

    private ImageCreation(
        ImageRecipe recipe, WarningRecorder observer, Stopwatch clock, SourceTree tree, HfsPlusPlan plan, GptLayout layout,
        ImageCreationEstimate estimate)
    {
        (_recipe, _observer, _clock, _tree, _plan, _layout, Estimate) = (recipe, observer, clock, tree, plan, layout, estimate);
    }

    /// <summary>What will be written.</summary>
    public ImageCreationEstimate Estimate { get; }

    /// <summary>After <see cref="Run"/>: what the image lacks of its source, as an error that is not thrown, for the image stands; null
    /// when it is whole.</summary>
    public ImageException? Shortfall { get; private set; }

    /// <summary>Scans the source and plans the image.</summary>
    /// <param name="recipe">The request.</param>
    /// <param name="observer">Hears of progress and of what is skipped.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <param name="probe">Whether the destination is tried by making a file there and removing it; not for somebody who asks what would be
    /// done.</param>
    /// <exception cref="ImageException">The source cannot be read, the plan does not fit, the destination is taken, cannot be written or is
    /// too small.</exception>
    public static ImageCreation Prepare(ImageRecipe recipe, IImagingObserver observer, CancellationToken cancellation, bool probe = true)
    {
        var clock = Stopwatch.StartNew();
        var recorder = new WarningRecorder(observer);
        CheckRequest(recipe);
        HostVolume host = HostPlatform.Current.GetVolume(Path.GetDirectoryName(recipe.Path)!);

        // What can fail is tried before the source is read, which may take an hour.
        CheckLeastRoom(recipe, host);
        if (probe) DestinationProbe.Check(recipe.Path);
        SourceTree tree = recipe.SourcePath is null ? new EmptyTree(recipe.CreationTime) : Scan(recipe, recorder, cancellation);
        return Plan(recipe, tree, host, clock, recorder, cancellation);
    }

    /// <summary>The same from a tree that is not a folder of the host.</summary>
    /// <param name="recipe">The request; its source is not looked at.</param>
    /// <param name="tree">The tree; belongs to the result.</param>
    /// <param name="observer">Hears of what is skipped.</param>
    /// <param name="cancellation">Ends it.</param>
    internal static ImageCreation PrepareFrom(
        ImageRecipe recipe, SourceTree tree, IImagingObserver observer, CancellationToken cancellation) =>
        Plan(recipe, tree, HostPlatform.Current.GetVolume(Path.GetDirectoryName(recipe.Path)!), Stopwatch.StartNew(),
            new WarningRecorder(observer), cancellation);

    private static ImageCreation Plan(
        ImageRecipe recipe, SourceTree tree, HostVolume host, Stopwatch clock, WarningRecorder recorder, CancellationToken cancellation)
    {
        try
        {
            HfsPlusPlan plan = PlanVolume(recipe, tree, host, recorder, cancellation, out GptLayout layout);
            long enough = host.FreeBytes - SpacePolicy.StartupDiskReserveBytes;
            var estimate = new ImageCreationEstimate(
                plan.Entries, plan.ContentBytes, DiskLength(layout), ExpectedBytes(recipe, plan, tree, layout, enough, cancellation),
                host.FreeBytes);
            CheckRoom(recipe, host, estimate, recorder);
            return new ImageCreation(recipe, recorder, clock, tree, plan, layout, estimate);
        }
        catch
        {
            tree.Dispose();
            throw;
        }
    }

    /// <summary>Writes the image.</summary>
    /// <param name="cancellation">Ends it; nothing stays behind.</param>
    /// <returns>The finished image, with its report.</returns>
    /// <exception cref="ImageException">The destination cannot be written.</exception>
    public BackupImage Run(CancellationToken cancellation)
    {
        ImageOutput.CheckEncryption(_recipe.Encryption, _recipe.Passphrase);
        if (_recipe.Format == BackupImageFormat.SparseBundle) FullFsync.CheckForBundle(_recipe.Path, _observer);
        long lostBytes;
        using (var volume = new HfsPlusRenderer(_plan, _tree, _observer))
        using (BlockStorage disk = Compose(volume))
        {
            var output = new ImageOutput
            {
                Path = _recipe.Path,
                Format = _recipe.Format,
                CompressionLevel = _recipe.CompressionLevel ?? (_recipe.Format == BackupImageFormat.ReadOnlyZlib ? ZlibLevel : null),
                BandSizeBytes = _recipe.BandSizeBytes,
                Preallocate = _recipe.Preallocate,
                Overwrite = _recipe.Overwrite,
                Encryption = _recipe.Encryption,
                Passphrase = _recipe.Passphrase,
                SegmentId = _recipe.DeriveUuid("udif segment"),
                Revision = new DiskRevision(OnDisk(volume.RevisableRanges), () => OnDisk(volume.Settle())),
            };
            output.Write(disk, _layout.Segments, $"Writing {Path.GetFileName(_recipe.Path)}", _observer, cancellation);
            lostBytes = volume.LostBytes;
        }

        var report = new BackupReport(
            Estimate.Entries,
            Estimate.SourceBytes - lostBytes,
            _clock.Elapsed,
            _observer.Of(ImagingWarningKind.SourceSkipped),
            _observer.Of(ImagingWarningKind.SourceChanged))
        {
            Lost = _observer.Of(ImagingWarningKind.ContentLost),
            Excluded = (_tree as HostTree)?.ExcludedCount ?? 0,
        };
        Shortfall = report.ShortfallOf(_recipe.Path);
        // The image is there: a stop that comes now has nothing left to stop.
        return DiskImage.Inspect(_recipe.Path, _recipe.Passphrase, CancellationToken.None) with { Report = report };
    }

    private StorageExtent[] OnDisk(IEnumerable<StorageExtent> ofVolume) =>
        [.. ofVolume.Select(e => e with { Offset = e.Offset + _layout.PartitionOffset })];

    /// <inheritdoc/>
    public void Dispose() => _tree.Dispose();

    private static void CheckRequest(ImageRecipe recipe)
    {
        ImageOutput.CheckDestination(recipe.Path, recipe.Overwrite);
        if (recipe.SourcePath is null && recipe.SizeBytes is null)
            throw Invalid("An image without a source needs a size.", "Give -SizeBytes, or a source.");
        if (recipe.SizeBytes is <= 0) throw Invalid("The size of the image must be positive.", "Give -SizeBytes in bytes, such as 10GB.");
        if (recipe.SizeBytes > LargestDiskBytes)
            throw Invalid($"A disk of {recipe.SizeBytes} bytes is larger than any volume that can be made.",
                $"Give a size of at most {LargestDiskBytes} bytes.");
        if (recipe.Preallocate && recipe.Format != BackupImageFormat.ReadWrite)
            throw Invalid("Only a read/write image can be preallocated: the others take what their content takes.",
                "Leave -Preallocate out, or choose -Format ReadWrite.");
        if (recipe.BandSizeBytes is long band)
        {
            if (recipe.Format != BackupImageFormat.SparseBundle)
                throw Invalid("Only a sparse bundle has a band size.", "Leave -BandSizeBytes out, or choose SparseBundle.");
            if (band is < SparseBundleInfo.MinimumBandSize or > SparseBundleInfo.MaximumBandSize || !BitOperations.IsPow2(band))
                throw Invalid($"A band of {band} bytes is not possible.", "Give a power of two from 1MB to 8GB.");
        }

        ImageOutput.CheckWritable(recipe.Format, recipe.CompressionLevel);
        if (recipe.Passphrase is not null) ImageOutput.CheckEncryption(recipe.Encryption, recipe.Passphrase);

        static ImageException Invalid(string message, string remedy) => new(ImageErrorId.InvalidArgument, message, remedy: remedy);
    }

    // What is known without the source.
    private static void CheckLeastRoom(ImageRecipe recipe, HostVolume host)
    {
        const long smallestImage = 64 * 1024;
        bool isStoredWhole = recipe.Format == BackupImageFormat.ReadWrite
            && (recipe.Preallocate || recipe.Encryption != BackupImageEncryption.None);
        long least = isStoredWhole && recipe.SizeBytes is long size ? Math.Max(size, smallestImage) : smallestImage;
        if (host.FreeBytes >= least) return;
        throw new ImageException(
            ImageErrorId.DestinationFull, $"At least {least} bytes are to be written, and {host.FreeBytes} are free on {host.MountPoint}.",
            recipe.Path,
            remedy: "Free some space, or choose another volume.");
    }

    private static HostTree Scan(ImageRecipe recipe, WarningRecorder observer, CancellationToken cancellation) =>
        FolderScanner.Scan(
            recipe.SourcePath!,
            new FolderScanOptions
            {
                Exclude = recipe.Exclude,
                OneFileSystem = recipe.OneFileSystem,
                SkipUnreadable = recipe.SkipUnreadable,
                IncludeDataless = recipe.IncludeDataless,
                ExcludePaths = [recipe.Path, recipe.Path + AtomicFile.PartialSuffix],
            },
            observer,
            cancellation);

    private static HfsPlusPlan PlanVolume(
        ImageRecipe recipe, SourceTree tree, HostVolume host, WarningRecorder observer, CancellationToken cancellation,
        out GptLayout layout)
    {
        var options = new HfsPlusPlanOptions
        {
            VolumeName = recipe.VolumeName ?? DefaultVolumeName(recipe),
            CaseSensitive = recipe.FileSystem == ImageFileSystem.HfsPlusCaseSensitive,
            MayBecomeCaseSensitive = recipe.FileSystem is null,
            LeaveOutMisfits = recipe.SkipUnreadable,
            DiskLengthFor = GptLayout.DiskLengthFor,
            CreationTime = recipe.CreationTime,
            VolumeId = BinaryPrimitives.ReadUInt64BigEndian(recipe.DeriveUuid("hfs volume").ToByteArray(bigEndian: true)),
        };
        Guid diskId = recipe.DeriveUuid("gpt disk");
        Guid partitionId = recipe.DeriveUuid("gpt partition");

        // The default of an image that grows is a capacity and no promise of room: where the content does not fit into it, perhaps because
        // most of it is holes, the capacity follows the content, and whether there is room is asked of what will be written.
        long? diskBytes = recipe.SizeBytes ?? (ImageOutput.Grows(recipe.Format) ? SpacePolicy.DefaultCapacity(host.FreeBytes) : null);
        GptLayout? asked = null;
        if (diskBytes is long bytes)
        {
            // A disk without room for any volume is planned as one that is too small, for an error that names the size that is needed.
            asked = GptLayout.Create(
                Math.Max(Layout.RoundUp(bytes, BlockAlignment), GptLayout.DiskLengthFor(BlockAlignment)), diskId, partitionId);
            options = options with { VolumeSizeBytes = asked.PartitionLength, MayBecomeLarger = recipe.SizeBytes is null };
        }

        HfsPlusPlan plan = HfsPlusPlanner.Plan(tree, options, observer, cancellation);
        layout = asked is not null && asked.PartitionLength == plan.VolumeBytes ? asked
            : GptLayout.Create(GptLayout.DiskLengthFor(plan.VolumeBytes), diskId, partitionId);
        return plan;
    }

    private static long DiskLength(GptLayout layout) => layout.SectorCount * PartitionTable.SectorSize;

    /// <summary>The disk: the map's pieces, and between them the volume.</summary>
    private CompositeStorage Compose(BlockStorage volume) => new(
        DiskLength(_layout),
        _layout.Pieces.Select(p => new CompositeStorage.Piece(p.Offset, new MemoryStorage(p.Bytes), Owned: true))
            .Append(new CompositeStorage.Piece(_layout.PartitionOffset, volume))
            .OrderBy(p => p.Offset),
        ExtentKind.Unused);

    private static string DefaultVolumeName(ImageRecipe recipe)
    {
        string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(recipe.SourcePath ?? ""));
        return name.Length > 0 ? name : Path.GetFileNameWithoutExtension(recipe.Path);
    }

    private static long ExpectedBytes(
        ImageRecipe recipe, HfsPlusPlan plan, SourceTree tree, GptLayout layout, long enough, CancellationToken cancellation)
    {
        if (recipe.Format == BackupImageFormat.ReadWrite && (recipe.Preallocate || recipe.Encryption != BackupImageEncryption.None))
            return DiskLength(layout);
        long bytes = Math.Min(DiskLength(layout), plan.UsedBytes + GptLayout.OverheadBytes);
        if (bytes <= enough) return bytes;

        // Holes of the source are not stored. To know them every large file is opened, so they are asked for only where they decide. An
        // estimate may believe a host whose word is not enough to leave something out.
        if (tree is HostTree folder)
        {
            bool trusts = folder.TrustsHoles;
            folder.TrustsHoles = true;
            try
            {
                return DataBytes();
            }
            finally
            {
                folder.TrustsHoles = trusts;
            }
        }

        return DataBytes();

        long DataBytes()
        {
            using var volume = new HfsPlusRenderer(plan, tree, SilentObserver.Instance);
            return GptLayout.OverheadBytes + ExtentWalk.Of(volume, cancellation).Where(e => e.Kind == ExtentKind.Data).Sum(e => e.Length);
        }
    }

    internal static void CheckRoom(ImageRecipe recipe, HostVolume host, ImageCreationEstimate estimate, WarningRecorder observer)
    {
        if (recipe.SourcePath is string source && HostPlatform.Current.GetVolume(source) is { IsStartupDisk: true } volume
            && Path.TrimEndingDirectorySeparator(source) == Path.TrimEndingDirectorySeparator(volume.MountPoint))
        {
            observer.OnWarning(new ImagingWarning(
                ImagingWarningKind.Advice, source,
                "This is a startup volume: its files are kept, but a disk image is not a bootable backup."));
        }

        if (estimate.CapacityBytes > SpacePolicy.LargeImageBytes && !ImageOutput.Grows(recipe.Format)
            || estimate.SourceBytes > SpacePolicy.LargeImageBytes)
            observer.OnWarning(new ImagingWarning(ImagingWarningKind.Advice, recipe.Path, SpacePolicy.LargeImageAdvice));

        // A read/write image is one file as long as the disk, even where most of it is a hole.
        long fileBytes = recipe.Format == BackupImageFormat.ReadWrite ? estimate.CapacityBytes : estimate.ExpectedBytes;
        bool compressed = recipe.Format > BackupImageFormat.ReadOnly;
        if (recipe.Format != BackupImageFormat.SparseBundle && host.MaximumFileSize is long limit && fileBytes > limit && !compressed)
        {
            throw new ImageException(
                ImageErrorId.DestinationFileSizeLimit,
                $"The image would be a file of {fileBytes} bytes, and the file system there ({host.FileSystemType}) ends at {limit}.",
                recipe.Path,
                remedy: "Choose -Format SparseBundle, which keeps the disk in small files, or another volume.");
        }

        if (ImageOutput.Grows(recipe.Format) && host.IsStartupDisk
            && !SpacePolicy.FitsStartupDisk(estimate.AvailableBytes, estimate.ExpectedBytes))
        {
            throw new ImageException(
                ImageErrorId.DestinationFull,
                $"The image would grow on the startup disk, where {estimate.AvailableBytes} bytes are free; about {estimate.ExpectedBytes} "
                    + $"and {SpacePolicy.StartupDiskReserveBytes} more are needed.",
                recipe.Path, remedy: "Choose another volume, or an image that cannot grow: -Format ReadWrite -Preallocate.");
        }

        if (estimate.ExpectedBytes <= estimate.AvailableBytes) return;
        string text =
            $"About {estimate.ExpectedBytes} bytes are to be written, and {estimate.AvailableBytes} are free on {host.MountPoint}.";
        if (!compressed)
            throw new ImageException(ImageErrorId.DestinationFull, text, recipe.Path,
                remedy: "Free some space, exclude something, or choose another volume or a compressed format.");
        observer.OnWarning(new ImagingWarning(ImagingWarningKind.Advice, recipe.Path, text + " Compression may make it fit."));
    }

    /// <summary>The tree of an image that is to be empty: a root folder and nothing else.</summary>
    private sealed class EmptyTree(UnixTime created) : SourceTree
    {
        public override SourceEntry Root { get; } = new()
        {
            Name = "",
            Kind = EntryKind.Directory,
            Mode = 0x1ED, // rwxr-xr-x
            BirthTime = created,
            ModifyTime = created,
            ChangeTime = created,
            AccessTime = created,
        };

        public override BlockStorage OpenFork(SourceEntry entry, ForkKind fork) =>
            throw new InvalidOperationException("An empty tree has no files.");
    }
}
