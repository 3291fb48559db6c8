using CCImage.Compression;
using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.FileSystems;
using CCImage.Partitions;
using CCImage.Platform;
using CCImage.PropertyLists;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage;

/// <summary>Where and how a disk is to be written: what creating and converting have in common.</summary>
internal sealed record ImageOutput
{
    /// <summary>The smallest unit a sparse image grows by, and the piece in which files and bundles are written.</summary>
    private const int StorageChunkSize = 1 << 20;

    /// <summary>The piece in which encrypted bundles are written: a small band by one thread, from its beginning to its end.</summary>
    private const int EncryptedChunkSize = (int)SparseBundleInfo.DefaultBandSize;

    /// <summary>The image to make, as a full path.</summary>
    public required string Path { get; init; }

    /// <summary>The format.</summary>
    public required BackupImageFormat Format { get; init; }

    /// <summary>The codec's level; null for its default.</summary>
    public int? CompressionLevel { get; init; }

    /// <summary>Bytes in a band of a bundle; null scales with the capacity.</summary>
    public long? BandSizeBytes { get; init; }

    /// <summary>Whether the blocks of a read/write image are reserved at once.</summary>
    public bool Preallocate { get; init; }

    /// <summary>Whether to replace an image that exists.</summary>
    public bool Overwrite { get; init; }

    /// <summary>How the image is encrypted. Nothing of the disk then reaches the host's file system in the clear, under whatever
    /// name.</summary>
    public BackupImageEncryption Encryption { get; init; }

    /// <summary>Will open the image. Stays the caller's.</summary>
    public Passphrase? Passphrase { get; init; }

    /// <summary>Rounds of key derivation; null for what takes this machine a quarter of a second.</summary>
    public int? KeyDerivationRounds { get; init; }

    /// <summary>Identifies a UDIF; taken from the recipe so that the same recipe gives the same bytes.</summary>
    public Guid SegmentId { get; init; }

    /// <summary>What the disk knows only at its end, or null.</summary>
    public DiskRevision? Revision { get; init; }

    /// <summary>Called when the image is written whole and before it gets its name: what it throws leaves nothing behind.</summary>
    public Action? BeforeCommit { get; init; }

    /// <summary>A licence agreement to take over into a read-only image, or null.</summary>
    public PropertyListDictionary? LicenceResources { get; init; }

    /// <summary>Refuses what cannot be written, before anything is read or made.</summary>
    /// <param name="format">The format.</param>
    /// <param name="compressionLevel">The level that was asked for, if any.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnsupportedFormat"/> or
    /// <see cref="ImageErrorId.InvalidArgument"/>.</exception>
    public static void CheckWritable(BackupImageFormat format, int? compressionLevel)
    {
        if (compressionLevel is not null
            && format is not (BackupImageFormat.ReadOnlyZlib or BackupImageFormat.ReadOnlyLzma or BackupImageFormat.ReadOnlyBzip2))
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"{format} has no compression level.",
                remedy: "Leave -CompressionLevel out, or choose ReadOnlyZlib, ReadOnlyLzma or ReadOnlyBzip2.");
        }

        int lowest = format == BackupImageFormat.ReadOnlyLzma ? 0 : 1;
        if (compressionLevel < lowest || compressionLevel > 9)
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"{format} has no compression level {compressionLevel}.",
                remedy: $"Give a level from {lowest} to 9.");
        }

        if (IsReadOnly(format)) CompressorOf(CodecOf(format), compressionLevel);
    }

    /// <summary>Refuses an encryption without a passphrase, before anything is read or made.</summary>
    /// <param name="encryption">The encryption.</param>
    /// <param name="passphrase">The passphrase, if there is one.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.PassphraseRequired"/> or
    /// <see cref="ImageErrorId.InvalidArgument"/>.</exception>
    public static void CheckEncryption(BackupImageEncryption encryption, Passphrase? passphrase)
    {
        if (encryption == BackupImageEncryption.None) return;
        if (passphrase is null)
        {
            throw new ImageException(
                ImageErrorId.PassphraseRequired, "An encrypted image needs a passphrase.",
                remedy: "Give one with -Passphrase, or leave -Encryption out.");
        }

        if (passphrase.Bytes.IsEmpty)
            throw new ImageException(
                ImageErrorId.InvalidArgument, "The passphrase is empty.", remedy: "Choose a passphrase that is hard to guess.");
    }

    /// <summary>Refuses a destination that cannot be, before anything is read or made.</summary>
    /// <param name="path">The image to make, as a full path.</param>
    /// <param name="overwrite">Whether something that exists there is replaced.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.DestinationNotFound"/> or
    /// <see cref="ImageErrorId.DestinationExists"/>.</exception>
    public static void CheckDestination(string path, bool overwrite)
    {
        string? folder = System.IO.Path.GetDirectoryName(path);
        if (folder is null || !Directory.Exists(folder))
        {
            throw new ImageException(
                ImageErrorId.DestinationNotFound, "The folder for the image does not exist.", folder
                ?? path, remedy: "Make the folder, or choose another.");
        }

        if (!System.IO.Path.Exists(path)) return;
        if (!overwrite)
        {
            throw new ImageException(
                ImageErrorId.DestinationExists, "Something with the name of the image exists.", path,
                remedy: "Choose another name, or replace it with -Force.");
        }

        // The same is asked again when the old image is locked; here it is said before hours of work.
        if (StatOf(path).Kind == EntryKind.SymbolicLink)
        {
            throw new ImageException(
                ImageErrorId.DestinationExists, "This is a symbolic link. Only images are replaced.", path,
                remedy: "Choose another name, or remove it first.");
        }

        ImageUse.CheckWritable(path);
        if (Directory.Exists(path))
        {
            using HostDirectory old = OpenFolder(path);
            using IDisposable claim = SparseBundleStorage.Claim(old, path);
            return;
        }

        using (FileStorage file = FileStorage.OpenRead(path)) CheckReplaceable(file, path);
        if (ImageUse.Ask(path) == true) throw AtomicFile.InUse(path, null);
    }

    private static HostStat StatOf(string path)
    {
        try
        {
            return HostPlatform.Current.GetStat(path);
        }
        catch (HostException e)
        {
            throw FileErrors.Map(e, path, writing: true);
        }
    }

    private static HostDirectory OpenFolder(string path)
    {
        try
        {
            return HostPlatform.Current.OpenDirectory(path);
        }
        catch (HostException e)
        {
            throw FileErrors.Map(e, path, writing: true);
        }
    }

    /// <summary>
    /// Refuses to replace a file that is not recognised as a disk image by its content: encrypted ones are by their header, and those that
    /// are a bare disk by what is on it. An empty file has nothing to lose, and is replaced.
    /// </summary>
    /// <param name="file">The file.</param>
    /// <param name="path">Its path.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.DestinationExists"/>.</exception>
    private static void CheckReplaceable(BlockStorage file, string path)
    {
        if (file.Length == 0) return;
        try
        {
            if (ContainerDetection.Detect(file) != ContainerKind.Raw) return;
            PartitionTable table = PartitionTable.Read(file);
            if (table.Scheme != PartitionScheme.None || VolumeDetection.Open(file, out _).Kind != VolumeKind.Unknown) return;
        }
        catch (ImageException e) when (e.Id is ImageErrorId.ImageDamaged)
        {
            // What can be called a damaged image is one.
            return;
        }
        catch (ImageException e) when (e.Id is ImageErrorId.UnknownFormat)
        {
            // Said below.
        }

        throw new ImageException(
            ImageErrorId.DestinationExists, "A file of this name exists that is not recognised as a disk image. Only images are replaced.",
            path,
            remedy: "Choose another name, or remove it first.");
    }

    /// <summary>Whether the format grows with what is written to it.</summary>
    public static bool Grows(BackupImageFormat format) => format is BackupImageFormat.Sparse or BackupImageFormat.SparseBundle;

    /// <summary>Whether the format is read-only UDIF.</summary>
    public static bool IsReadOnly(BackupImageFormat format) => !Grows(format) && format != BackupImageFormat.ReadWrite;

    /// <summary>
    /// Writes the disk into the container, under a temporary name that becomes the image's in one rename at the very end: at any moment the
    /// destination is absent, or what it was, or whole.
    /// </summary>
    /// <param name="disk">The disk; holes in it are not read.</param>
    /// <param name="segments">How the partition map divides it, for formats that keep a table for each segment.</param>
    /// <param name="activity">What to call it in progress reports.</param>
    /// <param name="observer">Hears of progress.</param>
    /// <param name="cancellation">Ends it; nothing stays behind.</param>
    public void Write(
        BlockStorage disk, IReadOnlyList<DiskSegment> segments, string activity, IImagingObserver observer, CancellationToken cancellation)
    {
        if (Format == BackupImageFormat.SparseBundle)
        {
            using var folder =
                new AtomicFolder(
                    Path, Overwrite, old => SparseBundleStorage.Claim(old, Path), [SparseBundleInfo.FileName, SparseBundleInfo.CopyName]);
            WriteBundle(folder);
            BeforeCommit?.Invoke();
            folder.Commit(cancellation);
            return;
        }

        long fileBytes = disk.Length + (Encryption == BackupImageEncryption.None ? 0 : EncryptionHeaderWriter.HeaderSize);
        using var file =
            new AtomicFile(
                Path, Overwrite, Format == BackupImageFormat.ReadWrite && Preallocate ? fileBytes : 0, old => CheckReplaceable(old, Path));
        if (Encryption == BackupImageEncryption.None)
        {
            WriteFile(file.Storage);
        }
        else
        {
            using EncryptedStorage encrypted = EncryptionHeaderWriter.CreateFile(file.Storage, KeyBits, Passphrase!, KeyDerivationRounds);
            WriteFile(encrypted);
        }

        BeforeCommit?.Invoke();
        file.Commit(cancellation);
        if (file.Storage.FlushReach == FlushReach.None)
            observer.OnVerbose($"{Path}: the file system there knows no flush; when everything is on its medium is its own affair.");

        void WriteBundle(AtomicFolder folder)
        {
            using SparseBundleFolder inside = SparseBundleFolder.Take(folder.OpenFolder(), folder.PartialPath);
            if (Encryption == BackupImageEncryption.None)
            {
                using SparseBundleStorage plain = SparseBundleStorage.CreateUnfinished(inside, disk.Length, BandSizeBytes ?? 0);
                PumpInto(plain, new StorageImageWriter(plain, StorageChunkSize) { BandSize = plain.BandSizeBytes }, folder);
                return;
            }

            byte[] token = EncryptionHeaderWriter.Create(KeyBits, Passphrase!, KeyDerivationRounds, out DiskKeys keys);
            using var cipher = new BlockCipher(keys, EncryptionHeaderWriter.BlockSize);
            using SparseBundleStorage bundle = SparseBundleStorage.CreateUnfinished(
                inside, disk.Length, BandSizeBytes ?? 0, token, b => EncryptedStorage.OfBand(b, cipher));

            // Of a longer band each piece would find a gap before it that has to be filled, and is then written again.
            PumpInto(bundle,
                new StorageImageWriter(bundle, EncryptedChunkSize,
                inOrder: bundle.BandSizeBytes > EncryptedChunkSize) { BandSize = bundle.BandSizeBytes }, folder);
        }

        void WriteFile(BlockStorage target)
        {
            switch (Format)
            {
                case BackupImageFormat.Sparse:
                    using (var sparse = SparseImageStorage.Create(target, disk.Length))
                        Pump(new StorageImageWriter(sparse, StorageChunkSize, inOrder: true));
                    break;
                case BackupImageFormat.ReadWrite:
                    // Encrypted, zeros are to be written too: in order, so that each byte is written once.
                    bool encrypted = Encryption != BackupImageEncryption.None;
                    if (!encrypted) file.Storage.SetLength(disk.Length);
                    Pump(new StorageImageWriter(target, StorageChunkSize, inOrder: encrypted));
                    break;
                default:
                    UdifCodec codec = CodecOf(Format);
                    var settings = new UdifWriterSettings
                    {
                        Codec = codec, Compressor = CompressorOf(codec, CompressionLevel), SegmentId = SegmentId,
                            LicenceResources = LicenceResources,
                    };
                    Pump(new UdifWriter(target, disk.Length, segments, settings.FittedTo(disk, segments.Count, cancellation)));
                    break;
            }
        }

        // The record of zeros comes when all bands are written: without it a bundle is what it is, only nobody can tell a lost band from
        // zeros. The property list, with that record in it, comes last of all.
        void PumpInto(SparseBundleStorage bundle, StorageImageWriter writer, AtomicFolder folder)
        {
            Pump(writer);
            bundle.RecordZeros(writer.Zeros);
            bundle.Seal();
            if (folder.Old is null) bundle.SetModeOfBands(folder.DefaultMode);
            else bundle.TakeModesOf(folder.Old, Path);
        }

        void Pump(ImageWriter writer)
        {
            using (writer) ConversionPump.Run(disk, writer, activity, observer, cancellation, revision: Revision);
        }
    }

    private int KeyBits => Encryption == BackupImageEncryption.Aes256 ? 256 : 128;

    private static UdifCodec CodecOf(BackupImageFormat format) =>
        format == BackupImageFormat.ReadOnly ? UdifCodecs.Raw : UdifCodecs.Compressed.First(c => c.Format == format);

    private static BlockCodec? CompressorOf(UdifCodec codec, int? level) => codec.Format switch
    {
        BackupImageFormat.ReadOnly => null,
        BackupImageFormat.ReadOnlyZlib => level is int chosen ? new ZlibCodec(chosen) : new ZlibCodec(),
        BackupImageFormat.ReadOnlyLzfse => new LzfseCodec(),
        BackupImageFormat.ReadOnlyLzma => level is int chosen ? new LzmaCodec(chosen) : new LzmaCodec(),
        BackupImageFormat.ReadOnlyBzip2 => level is int chosen ? new Bzip2Codec(chosen) : new Bzip2Codec(),
        _ => throw ImageException.Unsupported(
            $"Images of format {codec.Format} are read, but no longer written by anybody.",
            "Choose ReadOnlyZlib, or another compressed format."),
    };
}
