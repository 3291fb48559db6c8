using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Containers.Udif;
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
        (Path, Disk, _container, _table, _volumes) = (path, container.Disk, container, table, volumes);

    /// <summary>Full path.</summary>
    public string Path { get; }

    /// <summary>The disk inside. Its errors name the image.</summary>
    public BlockStorage Disk { get; }

    /// <summary>The format.</summary>
    public BackupImageFormat Format => _container.Format;

    /// <summary>How the disk is divided.</summary>
    public PartitionScheme PartitionScheme => _table.Scheme;

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
    /// <see cref="ImageErrorId.UnsupportedFormat"/>, <see cref="ImageErrorId.ImageDamaged"/>, <see cref="ImageErrorId.PassphraseRequired"/>.</exception>
    public static DiskImage Open(string path) => Open(path, null);

    /// <summary>Opens an image, encrypted or not, for reading.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <param name="passphrase">The passphrase; not used where the image is not encrypted. Stays the caller's.</param>
    /// <exception cref="ImageException">As <see cref="Open(string)"/>, and <see cref="ImageErrorId.WrongPassphrase"/>.</exception>
    public static DiskImage Open(string path, Passphrase? passphrase) => Open(path, passphrase, writable: false);

    /// <summary>Opens an image, also for writing to its disk.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <param name="passphrase">The passphrase; not used where the image is not encrypted. Stays the caller's.</param>
    /// <param name="writable">Whether the disk can be written: then nobody else may have the image open.</param>
    /// <exception cref="ImageException">As <see cref="Open(string)"/>, and <see cref="ImageErrorId.WrongPassphrase"/>,
    /// <see cref="ImageErrorId.ImageInUse"/>, and <see cref="ImageErrorId.UnsupportedFormat"/> for a read-only format.</exception>
    internal static DiskImage Open(string path, Passphrase? passphrase, bool writable) => Open(path, passphrase, writable, isPlan: false);

    /// <summary>Opens an image for reading, to plan a change of it: what could not be opened for writing is refused.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <param name="passphrase">The passphrase; not used where the image is not encrypted. Stays the caller's.</param>
    /// <exception cref="ImageException">As <see cref="Open(string, Passphrase, bool)"/>.</exception>
    internal static DiskImage OpenForPlan(string path, Passphrase? passphrase) => Open(path, passphrase, writable: false, isPlan: true);

    private static DiskImage Open(string path, Passphrase? passphrase, bool writable, bool isPlan)
    {
        try
        {
            ImageContainer container = ImageContainer.Open(path, passphrase, writable, isPlan);
            try
            {
                return Mount(path, container);
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
    /// <exception cref="ImageException">As <see cref="Open(string, Passphrase)"/>, except <see cref="ImageErrorId.PassphraseRequired"/>.</exception>
    public static BackupImage Inspect(string path, Passphrase? passphrase)
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

        using DiskImage image = Open(path, passphrase);
        return image.Describe() with { IsInUse = isInUse };
    }

    /// <summary>The facts about the image, from metadata alone.</summary>
    /// <exception cref="ImageException">The bands of a bundle cannot be listed.</exception>
    public BackupImage Describe()
    {
        try
        {
            bool isKnown = _volumes.Count > 0 && _volumes.TrueForAll(v => v.Volume.FreeBytes is not null);
            long? free = isKnown ? _volumes.Sum(v => v.Volume.FreeBytes) : null;
            CompactionEstimate compaction = _container.EstimateCompaction(_container.BandSizeBytes is null ? [] : GetFreeExtents());
            return new BackupImage
            {
                Path = Path,
                Format = _container.Format,
                FormatCode = CodeOf(_container.Format),
                CapacityBytes = Disk.Length,
                StoredBytes = compaction.StoredBytesBefore,
                ReclaimableBytes = compaction.StoredBytesBefore - compaction.StoredBytesAfter,
                UsedBytes = _volumes.Sum(v => v.Volume.CapacityBytes) - free,
                FreeBytes = free,
                MinimumSizeBytes = ImageResize.LeastCapacityOf(this),
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
        try
        {
            (FoundVolume found, int index) = volume is int number ? FindByNumber(number) : FindReadable();
            if (found.Fault is { } fault) throw fault;
            return new ImageTree(Path, found.Volume.ReadTree(index, cancellation) ?? throw new ImageException(
                ImageErrorId.UnsupportedFormat, $"Volume {found.Number + index} is {(found.Volume.Describe(found.Partition)[index].IsEncrypted ? "encrypted " : "")}{found.Volume.Kind}, whose files this version cannot read.",
                remedy: "Choose another volume, or attach the image on a Mac."));
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
    internal IReadOnlyList<StorageExtent> GetFreeExtents()
    {
        var free = new List<StorageExtent>();
        if (IsHybrid()) return free;
        long end = 0;
        foreach (BackupImagePartition partition in _table.Partitions.OrderBy(p => p.OffsetBytes))
        {
            if (partition.OffsetBytes < end) return [];
            end = Math.Max(end, partition.SizeBytes > long.MaxValue - partition.OffsetBytes ? long.MaxValue : partition.OffsetBytes + partition.SizeBytes);
        }

        foreach (FoundVolume volume in _volumes.Where(v => v.Fault is null).OrderBy(v => v.OffsetBytes))
        {
            int before = free.Count;
            try
            {
                foreach (StorageExtent extent in volume.Volume.GetFreeExtents()) free.Add(extent with { Offset = extent.Offset + volume.OffsetBytes });
            }
            catch (ImageException)
            {
                free.RemoveRange(before, free.Count - before);
            }
        }

        return free;
    }

    /// <summary>
    /// Whether what was read is still what was opened: asked at the end of every job that read the image, before it says that it succeeded.
    /// </summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>: it was changed, replaced or removed meanwhile; or it went away.</exception>
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
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnknownFormat"/>, <see cref="ImageErrorId.ImageDamaged"/>.</exception>
    internal static DiskImage Mount(string path, ImageContainer container)
    {
        PartitionTable table = PartitionTable.Read(container.Disk);
        List<FoundVolume> volumes = FindVolumes(container.Disk, table);
        if (container.Format == BackupImageFormat.ReadWrite && table.Scheme == PartitionScheme.None && volumes.Count == 0)
        {
            throw new ImageException(
                ImageErrorId.UnknownFormat, "The file is no disk image that can be recognised: it has neither a trailer nor a partition map nor a file system.",
                remedy: "Check the path.");
        }

        return new(path, container, table, volumes);
    }

    private static List<FoundVolume> FindVolumes(BlockStorage disk, PartitionTable table)
    {
        IEnumerable<(int Partition, long Offset, long Length)> windows = table.Scheme == PartitionScheme.None
            ? [(0, 0L, disk.Length)]
            : table.Partitions.Where(p => p.SizeBytes > 0 && p.OffsetBytes <= disk.Length - p.SizeBytes).OrderBy(p => p.OffsetBytes).Select(p => (p.Number, p.OffsetBytes, p.SizeBytes));
        var volumes = new List<FoundVolume>();
        int number = 1;
        long taken = 0;
        foreach ((int partition, long offset, long length) in windows)
        {
            if (offset < taken) continue; // partitions that overlap a volume's: thousands of them could name the same volume
            FileSystemVolume volume = VolumeDetection.Open(new WindowStorage(disk, offset, length), out ImageException? fault);
            if (volume.Kind == VolumeKind.Unknown) continue;
            volumes.Add(new(number, partition, offset, volume, fault));
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

    /// <summary>Whether an ISO 9660 file system lies beside HFS+ (hybrid discs): its files need not be allocated in HFS+. "CD001" at byte 32,769: ECMA-119.</summary>
    internal bool IsHybrid()
    {
        Span<byte> identifier = stackalloc byte[5];
        if (Disk.Length < 32769 + identifier.Length) return false;
        Disk.Read(32769, identifier);
        return identifier.SequenceEqual("CD001"u8);
    }

    // A file system that holds several volumes has the numbers from its own up to the next one's.
    private (FoundVolume Found, int Index) FindByNumber(int number)
    {
        FoundVolume? found = _volumes.LastOrDefault(v => v.Number <= number && number < v.Number + v.Volume.VolumeCount);
        return found is null
            ? throw new ImageException(ImageErrorId.VolumeNotFound, $"The image has no volume {number}.", remedy: "Get-BackupImage lists the volumes.")
            : (found, number - found.Number);
    }

    // Of a disk with a Mac's volume and another one (firmware's, in most cases) the Mac's is meant, also when it is damaged or encrypted: never is another
    // one taken for it.
    private (FoundVolume Found, int Index) FindReadable()
    {
        FoundVolume[] candidates = [.. _volumes.Where(v => v.Volume.Kind is VolumeKind.HfsPlus or VolumeKind.HfsPlusCaseSensitive or VolumeKind.Apfs)];
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
            0 => throw new ImageException(
                ImageErrorId.VolumeNotFound, "The image holds no volume whose files can be read.",
                remedy: "HFS+, APFS, exFAT and FAT volumes are read, unless the file system itself is encrypted; Get-BackupImage lists what there is."),
            _ => throw new ImageException(
                ImageErrorId.VolumeNotFound, $"The image holds {readable.Length} volumes that can be read.", remedy: "Name one by its number; Get-BackupImage lists them."),
        };
    }

    /// <summary>A volume and where it lies.</summary>
    /// <param name="Number">Counted from 1; the first of several where the file system holds several volumes.</param>
    /// <param name="Partition">Number of its partition; 0 without a map.</param>
    /// <param name="OffsetBytes">Where its window begins on the disk.</param>
    /// <param name="Volume">The volume.</param>
    /// <param name="Fault">Why its files cannot be read, when it is damaged.</param>
    internal sealed record FoundVolume(int Number, int Partition, long OffsetBytes, FileSystemVolume Volume, ImageException? Fault);

    // Lets errors about single files name the image.
    private sealed class ImageTree(string path, SourceTree inner) : SourceTree
    {
        public override SourceEntry Root => inner.Root;

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
