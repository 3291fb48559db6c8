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
    private readonly Container _container;
    private readonly PartitionTable _table;
    private readonly List<FoundVolume> _volumes;

    private DiskImage(string path, Container container, PartitionTable table, List<FoundVolume> volumes) =>
        (Path, Disk, _container, _table, _volumes) = (path, container.Disk, container, table, volumes);

    /// <summary>Full path.</summary>
    public string Path { get; }

    /// <summary>The disk inside. Its errors name the image.</summary>
    public BlockStorage Disk { get; }

    /// <summary>The format.</summary>
    public BackupImageFormat Format => _container.Format;

    /// <summary>How the disk is divided.</summary>
    public PartitionScheme PartitionScheme => _table.Scheme;

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
    public static DiskImage Open(string path, Passphrase? passphrase)
    {
        try
        {
            Container container = OpenContainer(path, passphrase);
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
    public static BackupImage Inspect(string path)
    {
        try
        {
            if (TryDescribeLocked(path) is { } locked) return locked;
        }
        catch (ImageException e)
        {
            throw e.WithPath(path);
        }

        using DiskImage image = Open(path);
        return image.Describe();
    }

    /// <summary>The facts about the image, from metadata alone.</summary>
    /// <exception cref="ImageException">The bands of a bundle cannot be listed.</exception>
    public BackupImage Describe()
    {
        try
        {
            BackupImageVolume[] volumes = [.. _volumes.Select(v => v.Describe())];
            bool isKnown = volumes.Length > 0 && Array.TrueForAll(volumes, v => v.UsedBytes is not null && v.FreeBytes is not null);
            return new BackupImage
            {
                Path = Path,
                Format = _container.Format,
                FormatCode = CodeOf(_container.Format),
                CapacityBytes = Disk.Length,
                StoredBytes = _container.StoredBytes(),
                UsedBytes = isKnown ? volumes.Sum(v => v.UsedBytes) : null,
                FreeBytes = isKnown ? volumes.Sum(v => v.FreeBytes) : null,
                BandSizeBytes = _container.BandSizeBytes,
                Encryption = _container.Encryption,
                PartitionScheme = _table.Scheme,
                Partitions = _table.Partitions,
                Volumes = volumes,
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
            FoundVolume found = volume is int number ? FindByNumber(number) : FindReadable();
            if (found.Fault is { } fault) throw fault;
            return new ImageTree(Path, found.Volume.ReadTree(cancellation) ?? throw new ImageException(
                ImageErrorId.UnsupportedFormat, $"Volume {found.Number} is {found.Volume.Kind}, whose files this version cannot read.",
                remedy: "Choose an HFS+ volume, or attach the image on a Mac."));
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

    private static DiskImage Mount(string path, Container container)
    {
        container = container with { Disk = new NamedStorage(container.Disk, path) };
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
        foreach ((int partition, long offset, long length) in windows)
        {
            FileSystemVolume volume;
            ImageException? fault = null;
            try
            {
                volume = VolumeDetection.Open(new WindowStorage(disk, offset, length));
            }
            catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
            {
                // Recognised, but broken: it is listed, and whoever wants its files hears why.
                (volume, fault) = (new RecognisedVolume(VolumeKind.HfsPlus, "", length), e);
            }

            if (volume.Kind != VolumeKind.Unknown) volumes.Add(new(volumes.Count + 1, partition, offset, volume, fault));
        }

        return volumes;
    }

    private static Container OpenContainer(string path, Passphrase? passphrase)
    {
        ContainerKind kind = ContainerDetection.Detect(path);
        if (kind == ContainerKind.SparseBundle) return OpenBundle(path, passphrase);
        BlockStorage file = FileStorage.OpenRead(path);
        try
        {
            long stored = file.Length;
            var encryption = BackupImageEncryption.None;
            if (kind == ContainerKind.Encrypted)
            {
                EncryptionHeader header = EncryptionHeader.Read(file);
                encryption = header.Encryption;
                file = EncryptedStorage.Open(file, passphrase ?? throw Locked());
                kind = ContainerDetection.Detect(file);
            }

            switch (kind)
            {
                case ContainerKind.Raw:
                    return new(file, BackupImageFormat.ReadWrite, encryption, null, () => stored);
                case ContainerKind.SparseImage:
                    var sparse = SparseImageStorage.Open(file, writable: false, ownsFile: true);
                    return new(sparse, BackupImageFormat.Sparse, encryption, sparse.BandSizeBytes, () => stored);
                case ContainerKind.Udif:
                    var udif = UdifStorage.Open(file, ownsFile: true);
                    return new(udif, FormatOf(udif.FormatCode), encryption, null, () => stored);
                case ContainerKind.Asif:
                    throw ContainerDetection.AsifUnsupported();
                default:
                    throw ImageException.Unsupported("The image is encrypted twice.", "Attach it on a Mac and copy its content into a new image.", "byte 0");
            }
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static Container OpenBundle(string path, Passphrase? passphrase)
    {
        byte[] token = SparseBundleStorage.ReadToken(path);
        if (!EncryptionHeader.IsMatch(new MemoryStorage(token)))
        {
            SparseBundleStorage plain = SparseBundleStorage.Open(path, writable: false);
            return new(plain, BackupImageFormat.SparseBundle, BackupImageEncryption.None, plain.BandSizeBytes, () => plain.StoredBytes);
        }

        SparseBundleStorage.ReadInfo(path, out _); // what cannot be read at all is said before a passphrase is asked for
        EncryptionHeader header = EncryptionHeader.Read(new MemoryStorage(token));
        var cipher = new BlockCipher(header.Unlock(passphrase ?? throw Locked()), header.BlockSize);
        try
        {
            // Each band is encrypted by itself, its blocks counted from 0.
            SparseBundleStorage bundle = SparseBundleStorage.Open(
                path, writable: false, band => new EncryptedStorage(band, cipher, 0, band.Length, ownsCipher: false));
            return new(bundle, BackupImageFormat.SparseBundle, header.Encryption, bundle.BandSizeBytes, () => bundle.StoredBytes) { Cipher = cipher };
        }
        catch
        {
            cipher.Dispose();
            throw;
        }
    }

    // What an encrypted image tells without its passphrase, or null when it is not encrypted. Whether a locked file holds a disk as it is or
    // a compressed one shows only after decryption: it is called read/write then, or sparse where its name says so.
    private static BackupImage? TryDescribeLocked(string path)
    {
        ContainerKind kind = ContainerDetection.Detect(path);
        if (kind == ContainerKind.Encrypted)
        {
            using FileStorage file = FileStorage.OpenRead(path);
            bool isSparse = System.IO.Path.GetExtension(path).Equals(".sparseimage", StringComparison.OrdinalIgnoreCase);
            BackupImageFormat format = isSparse ? BackupImageFormat.Sparse : BackupImageFormat.ReadWrite;
            return new BackupImage
            {
                Path = path,
                Format = format,
                FormatCode = CodeOf(format),
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

    private static BackupImageFormat FormatOf(string code) => code switch
    {
        "UDRO" => BackupImageFormat.ReadOnly,
        "UDZO" => BackupImageFormat.ReadOnlyZlib,
        "ULFO" => BackupImageFormat.ReadOnlyLzfse,
        "ULMO" => BackupImageFormat.ReadOnlyLzma,
        "UDBZ" => BackupImageFormat.ReadOnlyBzip2,
        "UDCO" => BackupImageFormat.ReadOnlyAdc,
        _ => throw ImageException.Unsupported($"The image is of the unknown kind {code}.", "Convert it on a Mac: hdiutil convert -format UDZO."),
    };

    private static ImageException Locked() =>
        new(ImageErrorId.PassphraseRequired, "The image is encrypted, and no passphrase was given.", remedy: "Give the passphrase.");

    // An ISO 9660 file system beside HFS+ (hybrid discs): its files need not be allocated in HFS+. "CD001" at byte 32,769: ECMA-119.
    private bool IsHybrid()
    {
        Span<byte> identifier = stackalloc byte[5];
        if (Disk.Length < 32769 + identifier.Length) return false;
        Disk.Read(32769, identifier);
        return identifier.SequenceEqual("CD001"u8);
    }

    private FoundVolume FindByNumber(int number) => number >= 1 && number <= _volumes.Count
        ? _volumes[number - 1]
        : throw new ImageException(ImageErrorId.VolumeNotFound, $"The image has {_volumes.Count} volumes; there is no volume {number}.", remedy: "Get-BackupImage lists the volumes.");

    private FoundVolume FindReadable()
    {
        FoundVolume[] readable = [.. _volumes.Where(v => v.Volume.Kind is VolumeKind.HfsPlus or VolumeKind.HfsPlusCaseSensitive)];
        return readable.Length switch
        {
            1 => readable[0],
            0 => throw new ImageException(
                ImageErrorId.VolumeNotFound, "The image holds no volume whose files can be read.",
                remedy: "Only HFS+ volumes are read; Get-BackupImage lists what there is."),
            _ => throw new ImageException(
                ImageErrorId.VolumeNotFound, $"The image holds {readable.Length} volumes that can be read.", remedy: "Name one by its number; Get-BackupImage lists them."),
        };
    }

    /// <summary>A volume and where it lies.</summary>
    /// <param name="Number">Counted from 1.</param>
    /// <param name="Partition">Number of its partition; 0 without a map.</param>
    /// <param name="OffsetBytes">Where its window begins on the disk.</param>
    /// <param name="Volume">The volume.</param>
    /// <param name="Fault">Why its files cannot be read, when it is damaged.</param>
    internal sealed record FoundVolume(int Number, int Partition, long OffsetBytes, FileSystemVolume Volume, ImageException? Fault)
    {
        /// <summary>The facts about it.</summary>
        public BackupImageVolume Describe() => new(
            Volume.Name, Volume.Kind, Partition, Volume.CapacityBytes, Volume.CapacityBytes - Volume.FreeBytes, Volume.FreeBytes,
            Volume.FileCount, Volume.FolderCount, Volume.IsJournaled);
    }

    private sealed record Container(
        BlockStorage Disk, BackupImageFormat Format, BackupImageEncryption Encryption, long? BandSizeBytes, Func<long> StoredBytes) : IDisposable
    {
        public BlockCipher? Cipher { get; init; }

        public void Dispose()
        {
            Disk.Dispose();
            Cipher?.Dispose();
        }
    }

    // Lets every error that the container meets later name the image.
    private sealed class NamedStorage(BlockStorage inner, string path) : BlockStorage
    {
        public override long Length => inner.Length;

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            try
            {
                inner.Read(offset, buffer);
            }
            catch (ImageException e)
            {
                throw e.WithPath(path);
            }
        }

        protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) => inner.GetExtents(offset, length);

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }
    }

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
