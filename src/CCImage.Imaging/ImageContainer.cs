using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Containers.Udif;
using CCImage.Encryption;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// What an image's disk lies in, opened: the layers from the host's file upwards (file, decryption, container), told apart by content alone.
/// </summary>
internal sealed class ImageContainer : IDisposable
{
    private BlockCipher? _cipher;

    /// <summary>What the container lies in: the file, or what it deciphers to; of a raw image the disk itself. Null for a bundle.</summary>
    private readonly BlockStorage? _layer;

    private ImageContainer(string path, BlockStorage disk, BlockStorage? layer = null) => (Path, Disk, _layer) = (path, new NamedStorage(disk, path), layer);

    /// <summary>Full path.</summary>
    public string Path { get; }

    /// <summary>The disk inside. Its errors name the image.</summary>
    public BlockStorage Disk { get; }

    /// <summary>The format.</summary>
    public required BackupImageFormat Format { get; init; }

    /// <summary>How the image is encrypted.</summary>
    public BackupImageEncryption Encryption { get; init; }

    /// <summary>The image's one file as the host has it; null for a bundle.</summary>
    public FileStorage? File { get; init; }

    /// <summary>The bundle, if it is one.</summary>
    public SparseBundleStorage? Bundle { get; init; }

    /// <summary>The sparse image, if it is one.</summary>
    public SparseImageStorage? SparseImage { get; init; }

    /// <summary>The read-only image, if it is one.</summary>
    public UdifStorage? Udif { get; init; }

    /// <summary>Bytes in a band; null for a format without bands.</summary>
    public long? BandSizeBytes => Bundle?.BandSizeBytes ?? SparseImage?.BandSizeBytes;

    /// <summary>Bytes the image takes: the file's length, or the sum of the bands', for which the folder is listed.</summary>
    /// <exception cref="ImageException">The folder cannot be listed.</exception>
    public long StoredBytes => Bundle?.StoredBytes ?? File!.Length;

    /// <summary>Opens the layers.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <param name="passphrase">The passphrase; not used where the image is not encrypted. Stays the caller's.</param>
    /// <param name="writable">Whether the disk is to be written: nobody else may have the image open then.</param>
    /// <param name="isPlan">Whether it is judged as if it were to be written, but is only read.</param>
    /// <exception cref="ImageException">As <see cref="DiskImage.Open(string, Passphrase)"/>, without the path in single cases.</exception>
    public static ImageContainer Open(string path, Passphrase? passphrase, bool writable, bool isPlan = false)
    {
        bool isChange = writable || isPlan;
        if (isChange) ImageUse.CheckWritable(path);
        ContainerKind kind = ContainerDetection.Detect(path);
        if (kind == ContainerKind.SparseBundle) return OpenBundle(path, passphrase, writable, isChange);
        FileStorage file = writable ? FileStorage.OpenWrite(path) : FileStorage.OpenRead(path);
        BlockStorage content = file;
        try
        {
            var encryption = BackupImageEncryption.None;
            if (kind == ContainerKind.Encrypted)
            {
                content = Decrypt(file, passphrase, isChange, out encryption);
                kind = ContainerDetection.Detect(content);
            }

            switch (kind)
            {
                case ContainerKind.Raw:
                    return new(path, content, content) { Format = BackupImageFormat.ReadWrite, Encryption = encryption, File = file };
                case ContainerKind.SparseImage:
                    var sparse = SparseImageStorage.Open(content, writable, ownsFile: true);
                    return new(path, sparse, content) { Format = BackupImageFormat.Sparse, Encryption = encryption, File = file, SparseImage = sparse };
                case ContainerKind.Udif when isChange:
                    throw ImageException.Unsupported(
                        "The image is read-only, and its checksums cover every byte.", "Make a new image from its source, or restore its files and back them up.");
                case ContainerKind.Udif:
                    var udif = UdifStorage.Open(content, ownsFile: true);
                    return new(path, udif, content) { Format = FormatOf(udif.FormatCode), Encryption = encryption, File = file, Udif = udif };
                case ContainerKind.Asif:
                    throw ContainerDetection.AsifUnsupported();
                default:
                    throw ImageException.Unsupported("The image is encrypted twice.", "Attach it on a Mac and copy its content into a new image.", "byte 0");
            }
        }
        catch
        {
            content.Dispose();
            throw;
        }
    }

    /// <summary>Judges whether the disk can have a capacity.</summary>
    /// <param name="length">Bytes.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>: the format has no room for it.</exception>
    public void CheckCapacity(long length) => SparseImage?.CheckCapacity(length);

    /// <summary>
    /// Changes the capacity of the disk, durably. What is cut off is lost; what is added reads as zeros. Nobody may read or write meanwhile. Every
    /// prefix of the writes is an image of the old or the new capacity.
    /// </summary>
    /// <param name="length">The new length in bytes: a multiple of 512.</param>
    /// <exception cref="ImageException">What the format or the host says.</exception>
    public void SetCapacity(long length)
    {
        if (Bundle is not null) Bundle.SetCapacity(length);
        else if (SparseImage is not null) SparseImage.SetCapacity(length);
        else if (Udif is null) SetLayerLength(length);
        else throw ImageException.Unsupported($"An image of the format {Format} cannot change its capacity.", "Convert it to a sparse bundle.");
        Disk.Flush();
    }

    /// <summary>
    /// Gives the room of ranges that hold nothing back to the host. Nobody may read or write meanwhile. Every prefix of the writes is an image of
    /// the same disk, but for what those ranges read as.
    /// </summary>
    /// <param name="free">The ranges of the disk: ascending, apart from each other.</param>
    /// <param name="onBand">Hears of each band that is worked on: its number.</param>
    /// <param name="cancellation">Ends it between two steps.</param>
    /// <exception cref="ImageException">What the format or the host says.</exception>
    public CompactionCounts Compact(IReadOnlyList<StorageExtent> free, Action<long> onBand, CancellationToken cancellation) =>
        Bundle?.Compact(free, onBand, cancellation)
        ?? SparseImage?.Compact(free, SetLayerLength, onBand, cancellation)
        ?? throw ImageException.Unsupported($"An image of the format {Format} has no bands that could be given back.", "Convert it.");

    /// <summary>What <see cref="Compact"/> would do, from metadata alone; nothing for a format without bands.</summary>
    /// <param name="free">As there.</param>
    /// <exception cref="ImageException">The folder of a bundle cannot be listed.</exception>
    public CompactionEstimate EstimateCompaction(IReadOnlyList<StorageExtent> free)
    {
        if (Bundle is not null) return Bundle.EstimateCompaction(free, HostPlatform.Current.GetVolume(Path).MayHaveHoles);
        long stored = StoredBytes;
        if (SparseImage is null) return new(new(), stored, stored);
        CompactionEstimate inside = SparseImage.EstimateCompaction(free);
        return inside with { StoredBytesBefore = stored, StoredBytesAfter = stored - (inside.StoredBytesBefore - inside.StoredBytesAfter) };
    }

    /// <summary>
    /// Whether what was read is still what was opened: asked at the end of every job that read the image, before it says that it succeeded.
    /// </summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>: it was changed, replaced or removed meanwhile; or it went away.</exception>
    public void CheckUnchanged()
    {
        Bundle?.CheckUnchanged();
        File?.CheckUnchanged();
    }

    private void SetLayerLength(long length)
    {
        if (_layer is EncryptedStorage encrypted) encrypted.SetLength(length);
        else ((FileStorage)_layer!).SetLength(length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Disk.Dispose();
        _cipher?.Dispose();
    }

    private static ImageContainer OpenBundle(string path, Passphrase? passphrase, bool writable, bool isChange)
    {
        // Token, lists and bands are of the one folder that is opened here, whatever happens to the path meanwhile.
        SparseBundleFolder folder = SparseBundleFolder.Open(path);
        BlockCipher? cipher = null;
        try
        {
            if (isChange) SparseBundleStorage.CheckWritable(folder);
            byte[] token = SparseBundleStorage.ReadToken(folder);
            if (!EncryptionHeader.IsMatch(new MemoryStorage(token)))
            {
                SparseBundleStorage plain = SparseBundleStorage.Open(folder, writable);
                return new(path, plain) { Format = BackupImageFormat.SparseBundle, Bundle = plain };
            }

            SparseBundleStorage.ReadInfo(folder, out _); // what cannot be read at all is said before a passphrase is asked for
            EncryptionHeader header = EncryptionHeader.Read(new MemoryStorage(token));
            CheckWritable(header, isChange);
            BlockCipher unlocked = cipher = new BlockCipher(header.Unlock(passphrase ?? throw Locked()), header.BlockSize);
            SparseBundleStorage bundle = SparseBundleStorage.Open(folder, writable, band => EncryptedStorage.OfBand(band, unlocked));
            return new(path, bundle) { Format = BackupImageFormat.SparseBundle, Encryption = header.Encryption, Bundle = bundle, _cipher = cipher };
        }
        catch
        {
            cipher?.Dispose();
            folder.Dispose();
            throw;
        }
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

    /// <summary>Opens the layer of decryption.</summary>
    private static EncryptedStorage Decrypt(FileStorage file, Passphrase? passphrase, bool isChange, out BackupImageEncryption encryption)
    {
        try
        {
            EncryptionHeader header = EncryptionHeader.Read(file);
            CheckWritable(header, isChange);
            encryption = header.Encryption;
            return EncryptedStorage.Open(file, passphrase ?? throw Locked());
        }
        catch (ImageException e) when (e.Id is ImageErrorId.WrongPassphrase or ImageErrorId.ImageDamaged && System.IO.File.Exists(file.Path + ImagePassphrase.BackupSuffix))
        {
            throw new ImageException(
                e.Id, e.Problem, file.Path, e.Place, "A change of the passphrase was interrupted: try both passphrases, and change it again with Set-BackupImagePassphrase.", e);
        }
    }

    private static void CheckWritable(EncryptionHeader header, bool isChange)
    {
        if (isChange && header.Version != 2) throw EncryptionHeader.VersionOneUnsupported("Convert it to a new image.");
    }

    private static ImageException Locked() =>
        new(ImageErrorId.PassphraseRequired, "The image is encrypted, and no passphrase was given.", remedy: "Give the passphrase with -Passphrase.");

    // Lets every error that the container meets later name the image.
    private sealed class NamedStorage(BlockStorage inner, string path) : BlockStorage
    {
        public override long Length => inner.Length;

        public override bool CanWrite => inner.CanWrite;

        public override void Flush()
        {
            try
            {
                inner.Flush();
            }
            catch (ImageException e)
            {
                throw e.WithPath(path);
            }
        }

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

        // A raw image's file grows, its disk does not: the range was checked against the disk's length.
        protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
        {
            try
            {
                inner.Write(offset, buffer);
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
}
