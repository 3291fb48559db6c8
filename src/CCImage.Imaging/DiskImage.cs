using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.FileSystems;
using CCImage.Partitions;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// An image held open: container detected by content, disk readable, partitions and volumes found. <see cref="Describe"/> turns it into the
/// description that cmdlets emit.
/// </summary>
public sealed class DiskImage : IDisposable
{
    private readonly ImageContainer _container;
    private readonly PartitionTable _table;
    private readonly List<FoundVolume> _volumes;

    private DiskImage(string path, ImageContainer container, PartitionTable table, List<FoundVolume> volumes) =>
        (Path, Disk, _container, _table, _volumes, Checksums) =
            (path, container.Disk, container, table, volumes, new StoredChecksums(container.Udif));

    /// <summary>Full path.</summary>
    public string Path { get; }

    /// <summary>The disk inside. Its errors name the image.</summary>
    public BlockStorage Disk { get; }

    /// <summary>The format.</summary>
    public BackupImageFormat Format => _container.Format;

    /// <summary>What is to be said of an image that is cut short, so that something in use may be missing; null for any other.</summary>
    /// <param name="cancellation">Ends it.</param>
    public ImageException? GetCutShort(CancellationToken cancellation = default)
    {
        long missing = Storage.ExtentSets.Bytes(_container.GetMissingExtents());
        return missing == 0 || new ImageCondition(this).IsCutHarmless(cancellation) ? null : new ImageException(
            ImageErrorId.ImageDamaged,
            $"The image is cut short: {missing} of the {Disk.Length} bytes of its disk are missing, and with them what lies there.", Path,
            remedy: "Restore the image from another copy; Restore-BackupImage restores what is there.");
    }

    /// <summary>How the disk is divided.</summary>
    public PartitionScheme PartitionScheme => _table.Scheme;

    /// <summary>The checksums that the image stores. A job that reads the disk begins them first and completes them last.</summary>
    internal StoredChecksums Checksums { get; }

    /// <summary>The container the disk lies in.</summary>
    internal ImageContainer Container => _container;

    /// <summary>The partition map.</summary>
    internal PartitionTable PartitionTable => _table;

    /// <summary>The volumes that were recognised, in the order of the disk: number 1 first.</summary>
    internal IReadOnlyList<FoundVolume> Volumes => _volumes;

    /// <summary>The disk as UDIF block tables divide it; adjacent, covering every whole sector.</summary>
    internal IReadOnlyList<DiskSegment> Segments => _table.Segments;

    /// <summary>Opens an image for reading.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageNotFound"/>, <see cref="ImageErrorId.UnknownFormat"/>,
    /// <see cref="ImageErrorId.UnsupportedFormat"/>, <see cref="ImageErrorId.ImageDamaged"/>,
    /// <see cref="ImageErrorId.PassphraseRequired"/>.</exception>
    public static DiskImage Open(string path) => Open(path, null);

    /// <summary>Opens an image, encrypted or not, for reading.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <param name="passphrase">The passphrase; not used where the image is not encrypted. Stays the caller's.</param>
    /// <param name="cancellation">Ends opening.</param>
    /// <exception cref="ImageException">As <see cref="Open(string)"/>, and <see cref="ImageErrorId.WrongPassphrase"/>.</exception>
    public static DiskImage Open(string path, Passphrase? passphrase, CancellationToken cancellation = default) =>
        Open(path, passphrase, writable: false, cancellation);

    /// <summary>Opens an image, also for writing to its disk.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <param name="passphrase">The passphrase; not used where the image is not encrypted. Stays the caller's.</param>
    /// <param name="writable">Whether the disk can be written: then nobody else may have the image open.</param>
    /// <param name="cancellation">Ends opening.</param>
    /// <exception cref="ImageException">As <see cref="Open(string)"/>, and <see cref="ImageErrorId.WrongPassphrase"/>,
    /// <see cref="ImageErrorId.ImageInUse"/>, and <see cref="ImageErrorId.UnsupportedFormat"/> for a read-only format.</exception>
    internal static DiskImage Open(string path, Passphrase? passphrase, bool writable, CancellationToken cancellation = default) =>
        Open(path, passphrase, writable, isPlan: false, cancellation);

    /// <summary>Opens an image for reading, to plan a change of it: what could not be opened for writing is refused.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <param name="passphrase">The passphrase; not used where the image is not encrypted. Stays the caller's.</param>
    /// <param name="cancellation">Ends opening.</param>
    /// <exception cref="ImageException">As <see cref="Open(string, Passphrase, bool, CancellationToken)"/>.</exception>
    internal static DiskImage OpenForPlan(string path, Passphrase? passphrase, CancellationToken cancellation = default) =>
        Open(path, passphrase, writable: false, isPlan: true, cancellation);

    private static DiskImage Open(string path, Passphrase? passphrase, bool writable, bool isPlan, CancellationToken cancellation)
    {
        try
        {
            ImageContainer container = ImageContainer.Open(path, passphrase, writable, isPlan, cancellation);
            try
            {
                return Mount(path, container, cancellation);
            }
            catch
            {
                container.Dispose();
                throw;
            }
        }
        catch (ImageException e)
        {
            throw e.WithPath(path);
        }
    }

    /// <summary>
    /// Describes an image without a passphrase: an encrypted one is described as far as its header and its container tell, with
    /// <see cref="BackupImage.IsLocked"/> set.
    /// </summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <exception cref="ImageException">As <see cref="Open(string)"/>, except <see cref="ImageErrorId.PassphraseRequired"/>.</exception>
    public static BackupImage Inspect(string path) => Inspect(path, null);

    /// <summary>Describes an image, unlocked when there is a passphrase.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <param name="passphrase">The passphrase, or null. Stays the caller's.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">As <see cref="Open(string, Passphrase, CancellationToken)"/>, except
    /// <see cref="ImageErrorId.PassphraseRequired"/>.</exception>
    public static BackupImage Inspect(string path, Passphrase? passphrase, CancellationToken cancellation = default)
    {
        bool? isInUse = null;
        try
        {
            // Before it is opened here: the answer would be this process.
            isInUse = System.IO.Path.Exists(path) ? ImageUse.Ask(path) : null;
            if (passphrase is null && TryDescribeLocked(path) is { } locked) return locked with { IsInUse = isInUse };
        }
        catch (ImageException e)
        {
            throw e.WithPath(path);
        }

        using DiskImage image = Open(path, passphrase, cancellation);
        return image.Describe(cancellation) with { IsInUse = isInUse };
    }

    /// <summary>The facts about the image, from metadata alone.</summary>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The bands of a bundle cannot be listed.</exception>
    public BackupImage Describe(CancellationToken cancellation = default)
    {
        using ReadingStop.Scope scope = _container.Stop.By(cancellation);
        try
        {
            bool isKnown = _volumes.Count > 0 && _volumes.TrueForAll(v => v.Volume.FreeBytes is not null);
            long? free = isKnown ? _volumes.Sum(v => v.Volume.FreeBytes) : null;
            CompactionEstimate compaction =
                _container.EstimateCompaction(_container.BandSizeBytes is null ? [] : GetFreeExtents(cancellation));
            return new BackupImage
            {
                Path = Path,
                Format = _container.Format,
                FormatCode = CodeOf(_container.Format),
                CapacityBytes = Disk.Length - _container.CutBytes,
                StoredBytes = compaction.StoredBytesBefore,
                ReclaimableBytes = compaction.StoredBytesBefore - compaction.StoredBytesAfter,
                UsedBytes = _volumes.Sum(v => v.Volume.CapacityBytes) - free,
                FreeBytes = free,
                MinimumSizeBytes = _container.CutBytes > 0 ? null : ImageResize.LeastCapacityOf(this, cancellation),
                MissingBytes = Storage.ExtentSets.Bytes(_container.GetMissingExtents()),
                IsSigned = _container.Udif?.IsSigned ?? false,
                IsContentRecognised = _table.Scheme != PartitionScheme.None || _volumes.Count > 0,
                BandSizeBytes = _container.BandSizeBytes,
                Encryption = _container.Encryption,
                PartitionScheme = _table.Scheme,
                Partitions = _table.Partitions,
                Volumes = [.. _volumes.SelectMany(v => v.Volume.Describe(v.Partition))],
            };
        }
        catch (ImageException e)
        {
            throw e.WithPath(Path);
        }
    }

    /// <summary>Reads the tree of files of a volume. It reads from this image as long as it is used: dispose it first.</summary>
    /// <param name="volume">Number among <see cref="BackupImage.Volumes"/>, from 1; null for the only one that can be read.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.VolumeNotFound"/>, <see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public SourceTree ReadTree(int? volume, CancellationToken cancellation)
    {
        using ReadingStop.Scope scope = _container.Stop.By(cancellation);
        try
        {
            (FoundVolume found, int index) = volume is int number ? FindByNumber(number) : FindReadable();
            if (found.Fault is { } fault) throw fault;
            return new ImageTree(Path, found.Volume.ReadTree(index, cancellation) ?? throw ObstacleOf(found, index));
        }
        catch (ImageException e)
        {
            throw e.WithPath(Path);
        }
    }

    /// <summary>The number of the volume whose files <see cref="ReadTree"/> gives when none is asked for.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.VolumeNotFound"/>: there is none, or more than one.</exception>
    internal int FindReadableVolume()
    {
        (FoundVolume found, int index) = FindReadable();
        return found.Number + index;
    }

    /// <summary>Compares the checksums that the image stores with its data, all of which is read.</summary>
    /// <param name="observer">Hears of progress, in bytes.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>What does not fit; empty when all is well, and for a format that stores no checksums.</returns>
    /// <exception cref="ImageException">The image cannot be read.</exception>
    public IReadOnlyList<StoredChecksumFault> VerifyStoredChecksums(Diagnostics.IImagingObserver observer, CancellationToken cancellation)
    {
        try
        {
            return Checksums.Complete(observer, cancellation);
        }
        catch (ImageException e)
        {
            throw e.WithPath(Path);
        }
    }

    /// <summary>
    /// The ranges of the disk that hold nothing, ascending and apart from each other: the free space of the volumes. Of a volume that is
    /// damaged or not understood nothing is free, and nothing at all where partitions overlap or a second file system shares the disk.
    /// </summary>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">What the host says: that nothing is free must not be the answer where nothing could be
    /// read.</exception>
    internal IReadOnlyList<StorageExtent> GetFreeExtents(CancellationToken cancellation = default)
    {
        using ReadingStop.Scope scope = _container.Stop.By(cancellation);
        var query = new FreeSpaceQuery(cancellation);
        var free = new List<StorageExtent>();
        if (IsHybrid()) return free;
        long end = 0;
        foreach (BackupImagePartition partition in _table.Partitions.OrderBy(p => p.OffsetBytes))
        {
            if (partition.OffsetBytes < end) return [];
            end = Math.Max(end, partition.SizeBytes > long.MaxValue - partition.OffsetBytes ? long.MaxValue
                : partition.OffsetBytes + partition.SizeBytes);
        }

        foreach (FoundVolume volume in _volumes.Where(v => v.Fault is null).OrderBy(v => v.OffsetBytes))
        {
            try
            {
                foreach (StorageExtent extent in volume.Volume.GetFreeExtents(query))
                    query.Keep(free, extent with { Offset = extent.Offset + volume.OffsetBytes });
            }
            catch (ImageException e) when (e.IsFaultOfContent)
            {
                free.RemoveAll(e => e.Offset >= volume.OffsetBytes);
            }
        }

        return free;
    }

    /// <summary>
    /// Whether what was read is still what was opened: asked at the end of every job that read the image, before it says that it succeeded.
    /// </summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>: it was changed, replaced or removed meanwhile; or it went
    /// away.</exception>
    internal void CheckUnchanged() => _container.CheckUnchanged();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (FoundVolume volume in _volumes) volume.Volume.Dispose();
        _container.Dispose();
    }

    /// <summary>hdiutil's four letters for a format.</summary>
    /// <param name="format">The format.</param>
    internal static string CodeOf(BackupImageFormat format) => format switch
    {
        BackupImageFormat.Sparse => "UDSP",
        BackupImageFormat.SparseBundle => "UDSB",
        BackupImageFormat.ReadWrite => "UDRW",
        BackupImageFormat.ReadOnly => "UDRO",
        BackupImageFormat.ReadOnlyZlib => "UDZO",
        BackupImageFormat.ReadOnlyLzfse => "ULFO",
        BackupImageFormat.ReadOnlyLzma => "ULMO",
        BackupImageFormat.ReadOnlyBzip2 => "UDBZ",
        BackupImageFormat.ReadOnlyAdc => "UDCO",
        _ => throw new ArgumentOutOfRangeException(nameof(format)),
    };

    /// <summary>Finds partitions and volumes in a container that is open; the result owns it.</summary>
    /// <param name="path">Full path of the image.</param>
    /// <param name="container">The container.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnknownFormat"/>, <see cref="ImageErrorId.ImageDamaged"/>.</exception>
    internal static DiskImage Mount(string path, ImageContainer container, CancellationToken cancellation = default)
    {
        using ReadingStop.Scope scope = container.Stop.By(cancellation);
        PartitionTable table = PartitionTable.Read(container.Disk);
        if (container.Format == BackupImageFormat.ReadWrite && ClaimedCapacity.Of(container.Disk, table) is var claim
            && claim > container.Disk.Length)
        {
            container.ExtendTo(claim);
            table = PartitionTable.Read(container.Disk);
        }

        // What is told apart by its last sectors is not what is looked for there: to recognise a volume, what is missing may be zeros.
        container.FillCut(true);
        List<FoundVolume> volumes = FindVolumes(container.Disk, table, cancellation);
        container.FillCut(false);
        if (container.CutBytes > 0) volumes = volumes.ConvertAll(v => Reopen(container.Disk, v, cancellation));
        if (container.Format == BackupImageFormat.ReadWrite && table.Scheme == PartitionScheme.None && volumes.Count == 0)
        {
            // Of an encrypted disk that is whole it is said what it is: a decryption that nothing confirms.
            if (container.Encryption != BackupImageEncryption.None && container.CutBytes == 0 && !container.IsChange)
                return new(path, container, table, volumes);
            if (container.CutBytes > 0)
                throw ImageException.Damaged(
                    $"The image is cut short: {container.CutBytes} bytes are missing at its end, and without them nothing can be read.");
            throw new ImageException(
                ImageErrorId.UnknownFormat, "The file is not recognised as a disk image: it has no trailer of one, no partition map and no "
                    + "file system that this version knows.",
                remedy: "Check the path.");
        }

        var image = new DiskImage(path, container, table, volumes);
        if (container.CutBytes > 0) container.FillCut(new ImageCondition(image).IsCutHarmless(cancellation));
        return image;
    }

    // Once more without the zeros, of which a volume may have kept some; one that is only told apart with them stays.
    private static FoundVolume Reopen(BlockStorage disk, FoundVolume found, CancellationToken cancellation)
    {
        try
        {
            FileSystemVolume volume =
                VolumeDetection.Open(new WindowStorage(disk, found.OffsetBytes, found.LengthBytes), out ImageException? fault);
            if (fault is null) found.Volume.Dispose();
            return fault is null ? found with { Volume = volume } : found;
        }
        catch (ImageException)
        {
            return found;
        }
    }

    private static List<FoundVolume> FindVolumes(BlockStorage disk, PartitionTable table, CancellationToken cancellation)
    {
        IEnumerable<(int Partition, long Offset, long Length)> windows = table.Scheme == PartitionScheme.None
            ? [(0, 0L, disk.Length)]
            : table.Partitions.Where(p => p.SizeBytes > 0 && p.OffsetBytes <= disk.Length - p.SizeBytes).OrderBy(p => p.OffsetBytes)
                .Select(p => (p.Number, p.OffsetBytes, p.SizeBytes));
        var volumes = new List<FoundVolume>();
        int number = 1;
        long taken = 0;
        foreach ((int partition, long offset, long length) in windows)
        {
            if (offset < taken) continue; // partitions that overlap a volume's: thousands of them could name the same volume
            cancellation.ThrowIfCancellationRequested();
            FileSystemVolume volume = VolumeDetection.Open(new WindowStorage(disk, offset, length), out ImageException? fault);
            if (volume.Kind == VolumeKind.Unknown) continue;
            volumes.Add(new(number, partition, offset, length, volume, fault));
            number += volume.VolumeCount;
            taken = offset + length;
        }

        return volumes;
    }

    // What an encrypted image tells without its passphrase, or null when it is not encrypted.
    private static BackupImage? TryDescribeLocked(string path)
    {
        ContainerKind kind = ContainerDetection.Detect(path);
        if (kind == ContainerKind.Encrypted)
        {
            using FileStorage file = FileStorage.OpenRead(path);
            return new BackupImage
            {
                Path = path,
                Format = null,
                FormatCode = null,
                StoredBytes = file.Length,
                Encryption = EncryptionHeader.Read(file).Encryption,
                IsLocked = true,
            };
        }

        if (kind != ContainerKind.SparseBundle) return null;
        var token = new MemoryStorage(SparseBundleStorage.ReadToken(path));
        if (!EncryptionHeader.IsMatch(token)) return null;
        SparseBundleInfo info = SparseBundleStorage.ReadInfo(path, out _);
        using SparseBundleStorage bundle = SparseBundleStorage.Open(path, writable: false);
        return new BackupImage
        {
            Path = path,
            Format = BackupImageFormat.SparseBundle,
            FormatCode = CodeOf(BackupImageFormat.SparseBundle),
            CapacityBytes = info.DiskLength,
            StoredBytes = bundle.StoredBytes,
            BandSizeBytes = info.BandSize,
            Encryption = EncryptionHeader.Read(token).Encryption,
            IsLocked = true,
        };
    }

    /// <summary>Whether an ISO 9660 file system lies beside HFS+ (hybrid discs): its files need not be allocated in HFS+. "CD001" at byte
    /// 32,769: ECMA-119.</summary>
    internal bool IsHybrid()
    {
        Span<byte> identifier = stackalloc byte[5];
        if (Disk.Length - _container.CutBytes < 32769 + identifier.Length) return false;
        Disk.Read(32769, identifier);
        return identifier.SequenceEqual("CD001"u8);
    }

    // A file system that holds several volumes has the numbers from its own up to the next one's.
    private (FoundVolume Found, int Index) FindByNumber(int number)
    {
        FoundVolume? found = _volumes.LastOrDefault(v => v.Number <= number && number < v.Number + v.Volume.VolumeCount);
        return found is null
            ? throw new ImageException(
                ImageErrorId.VolumeNotFound, $"The image has no volume {number}.", remedy: "Get-BackupImage lists the volumes.")
            : (found, number - found.Number);
    }

    private static ImageException ObstacleOf(FoundVolume found, int index) => found.Volume.ObstacleToReading(index)
        ?? new(ImageErrorId.VolumeNotFound, "The image holds no volume whose files can be read.",
            remedy: "Get-BackupImage lists what there is.");

    // Of a disk with a Mac's volume and another one (firmware's, in most cases) the Mac's is meant, also when it is damaged or encrypted:
    // never is another one taken for it.
    private (FoundVolume Found, int Index) FindReadable()
    {
        FoundVolume[] candidates =
            [.. _volumes.Where(v => v.Volume.Kind is VolumeKind.HfsPlus or VolumeKind.HfsPlusCaseSensitive or VolumeKind.Apfs)];
        if (candidates.Length == 0) candidates = [.. _volumes];
        (FoundVolume Found, int Index)[] readable =
        [
            .. from found in candidates
               from index in Enumerable.Range(0, found.Volume.VolumeCount)
               where found.Fault is not null || found.Volume.HasReadableTree(index)
               select (found, index),
        ];
        return readable.Length switch
        {
            1 => readable[0],
            0 when new ImageCondition(this).JudgeContent() is { Grade: ImageFindingGrade.Damaged } fault =>
                throw new ImageException(ImageErrorId.ImageDamaged, fault.Message, place: fault.Place, remedy: fault.Remedy),
            0 when candidates.Length > 0 => (candidates[0], 0), // reading says what it is
            0 => throw new ImageException(
                ImageErrorId.VolumeNotFound, "The image holds no volume whose files can be read.",
                remedy: "HFS+, APFS, exFAT and FAT volumes are read, unless the file system itself is encrypted; Get-BackupImage lists "
                    + "what there is."),
            _ => throw new ImageException(
                ImageErrorId.VolumeNotFound, $"The image holds {readable.Length} volumes that can be read.",
                remedy: "Name one by its number; Get-BackupImage lists them."),
        };
    }

    /// <summary>A volume and where it lies.</summary>
    /// <param name="Number">Counted from 1; the first of several where the file system holds several volumes.</param>
    /// <param name="Partition">Number of its partition; 0 without a map.</param>
    /// <param name="OffsetBytes">Where its window begins on the disk.</param>
    /// <param name="LengthBytes">How long the window is.</param>
    /// <param name="Volume">The volume.</param>
    /// <param name="Fault">Why its files cannot be read, when it is damaged.</param>
    internal sealed record FoundVolume(
        int Number, int Partition, long OffsetBytes, long LengthBytes, FileSystemVolume Volume, ImageException? Fault);

    // Lets errors about single files name the image.
    private sealed class ImageTree(string path, SourceTree inner) : SourceTree
    {
        public override SourceEntry Root => inner.Root;

        public override IReadOnlyList<ImagingWarning> Omissions => inner.Omissions;

        public override long OmittedCount => inner.OmittedCount;

        public override BlockStorage OpenFork(SourceEntry entry, ForkKind fork)
        {
            try
            {
                return inner.OpenFork(entry, fork);
            }
            catch (ImageException e)
            {
                throw e.WithPath(path);
            }
        }

        public override BlockStorage OpenAttribute(SourceEntry entry, ExtendedAttribute attribute)
        {
            try
            {
                return inner.OpenAttribute(entry, attribute);
            }
            catch (ImageException e)
            {
                throw e.WithPath(path);
            }
        }

        public override string DisplayPath(SourceEntry entry) => inner.DisplayPath(entry);

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
