using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Containers.Udif;
using CCImage.Encryption;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// What an image's disk lies in, opened: the layers from the host's file upwards (file, decryption, container), told apart by content
/// alone.
/// </summary>
internal sealed class ImageContainer : IDisposable
{
    private BlockCipher? _cipher;
    private CutStorage? _cut;

    /// <summary>What the container lies in: the file, or what it deciphers to; of a raw image the disk itself. Null for a bundle.</summary>
    private readonly BlockStorage? _layer;

    private ImageContainer(string path, BlockStorage disk, ReadingStop stop, BlockStorage? layer = null) =>
        (Path, Disk, _layer, Stop) = (path, new NamedStorage(disk, path, stop), layer, stop);

    /// <summary>What ends reading the disk.</summary>
    public ReadingStop Stop { get; }

    /// <summary>Full path.</summary>
    public string Path { get; }

    /// <summary>The disk inside. Its errors name the image.</summary>
    public BlockStorage Disk { get; private set; }

    /// <summary>The format.</summary>
    public required BackupImageFormat Format { get; init; }

    /// <summary>How the image is encrypted.</summary>
    public BackupImageEncryption Encryption { get; init; }

    /// <summary>The image's one file as the host has it; null for a bundle.</summary>
    public FileStorage? File { get; init; }

    /// <summary>Whether the disk is written, or is judged as if it were.</summary>
    public bool IsChange { get; init; }

    /// <summary>Bytes that the disk should have and the file does not, as an encryption header tells or <see cref="ExtendTo"/> was told; 0
    /// for a whole one.</summary>
    public long CutBytes { get; private set; }

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
    /// <param name="cancellation">Ends opening.</param>
    /// <exception cref="ImageException">As <see cref="DiskImage.Open(string, Passphrase, CancellationToken)"/>, without the path in single
    /// cases.</exception>
    public static ImageContainer Open(
        string path, Passphrase? passphrase, bool writable, bool isPlan = false, CancellationToken cancellation = default)
    {
        bool isChange = writable || isPlan;
        if (isChange) ImageUse.CheckWritable(path);
        ContainerKind kind = ContainerDetection.Detect(path);
        if (kind == ContainerKind.SparseBundle) return OpenBundle(path, passphrase, writable, isChange, cancellation);
        var stop = new ReadingStop();
        using ReadingStop.Scope scope = stop.By(cancellation);
        FileStorage file = writable ? FileStorage.OpenWrite(path) : FileStorage.OpenRead(path);
        BlockStorage content = file;
        try
        {
            var encryption = BackupImageEncryption.None;
            long cut = 0;
            if (kind == ContainerKind.Encrypted)
            {
                EncryptedStorage decrypted = Decrypt(file, passphrase, isChange, out encryption, cancellation);
                (content, cut) = (decrypted, decrypted.CutBytes);
                kind = ContainerDetection.Detect(content);
            }

            BlockStorage layer = content;
            if (!isChange) content = new StoppableStorage(content, stop);
            switch (kind)
            {
                case ContainerKind.Raw:
                    var raw = new ImageContainer(path, content, stop, layer) { Format = BackupImageFormat.ReadWrite,
                        Encryption = encryption, File = file, IsChange = isChange };
                    if (cut > 0) raw.ExtendTo(content.Length + cut);
                    return raw;
                case ContainerKind.SparseImage:
                    var sparse = SparseImageStorage.Open(content, writable, ownsFile: true);
                    return new(path, sparse, stop, layer) { Format = BackupImageFormat.Sparse, Encryption = encryption, File = file,
                        SparseImage = sparse };
                case ContainerKind.Udif when isChange:
                    throw ImageException.Unsupported(
                        "The image is read-only, and its checksums cover every byte.",
                        "Make a new image from its source, or restore its files and back them up.");
                case ContainerKind.Udif:
                    var udif = UdifStorage.Open(content, ownsFile: true);
                    udif.Stop = stop;
                    return new(path, udif, stop, layer) { Format = FormatOf(udif.FormatCode), Encryption = encryption, File = file,
                        Udif = udif };
                case ContainerKind.Asif:
                    throw ContainerDetection.AsifUnsupported();
                default:
                    throw ImageException.Unsupported(
                        "The image is encrypted twice.", "Attach it on a Mac and copy its content into a new image.", "byte 0");
            }
        }
        catch
        {
            content.Dispose();
            throw;
        }
    }

    /// <summary>Takes note that a raw disk is cut short: it gets the length that it should have, and reading what is missing is an
    /// error.</summary>
    /// <param name="length">Bytes that the disk should have.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: the disk is to be written, which would bury what is
    /// missing.</exception>
    public void ExtendTo(long length)
    {
        if (length <= Disk.Length) return;
        long there = Disk.Length - CutBytes;
        if (IsChange) throw CutShort(there, length);
        CutBytes = length - there;
        _cut = new CutStorage(_layer!, length);
        Disk = new NamedStorage(_cut, Path, Stop);
    }

    /// <summary>Says whether what is missing at the end of the disk reads as zeros; it does not, unless nothing of it is in use.</summary>
    /// <param name="withZeros">Whether it does.</param>
    public void FillCut(bool withZeros)
    {
        if (_cut is not null) _cut.ReadsZeros = withZeros;
    }

    /// <summary>The ranges of the disk that the file should hold and does not: reading them is an error.</summary>
    /// <returns>Ascending, not overlapping.</returns>
    public IReadOnlyList<StorageExtent> GetMissingExtents() =>
        CutBytes > 0 ? [new(Disk.Length - CutBytes, CutBytes, ExtentKind.Unused)] : SparseImage?.GetMissingExtents() ?? [];

    /// <summary>The refusal to write to an image that is cut short.</summary>
    /// <param name="there">Bytes that are there.</param>
    /// <param name="length">Bytes that should be.</param>
    public static ImageException CutShort(long there, long length) => new(
        ImageErrorId.ImageDamaged,
        $"The image is cut short: {length - there} of the {length} bytes of its disk are missing. Nothing is written to it.",
        remedy: "Restore the image from another copy; Restore-BackupImage restores what is there.");

    /// <summary>Judges whether the disk can have a capacity.</summary>
    /// <param name="length">Bytes.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>: the format has no room for it.</exception>
    public void CheckCapacity(long length) => SparseImage?.CheckCapacity(length);

    /// <summary>Whether something lies behind the end of the disk that an interrupted change of the capacity left there.</summary>
    public bool HasRemains => Bundle?.HasRemains ?? (SparseImage is null && _layer is EncryptedStorage { HasRemains: true });

    /// <summary>
    /// Changes the capacity of the disk, durably. What is cut off is lost; what is added reads as zeros. Nobody may read or write
    /// meanwhile. Every prefix of the writes is an image of the old or the new capacity.
    /// </summary>
    /// <param name="length">The new length in bytes: a multiple of 512.</param>
    /// <exception cref="ImageException">What the format or the host says.</exception>
    public void SetCapacity(long length)
    {
        if (Bundle is not null) Bundle.SetCapacity(length);
        else if (SparseImage is not null) SparseImage.SetCapacity(length);
        else if (Udif is null) SetLayerLength(length);
        else throw ImageException.Unsupported(
            $"An image of the format {Format} cannot change its capacity.", "Convert it to a sparse bundle.");
        Disk.Flush();
    }

    /// <summary>
    /// Gives the room of ranges that hold nothing back to the host. Nobody may read or write meanwhile. Every prefix of the writes is an
    /// image of the same disk, but for what those ranges read as.
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
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>: it was changed, replaced or removed meanwhile; or it went
    /// away.</exception>
    public void CheckUnchanged()
    {
        Bundle?.CheckUnchanged();
        File?.CheckUnchanged();
    }

    /// <summary>
    /// Whether the image itself is gone: asked when reading failed. A place of a medium that cannot be read concerns the files there, a
    /// medium that is gone all of them.
    /// </summary>
    public bool IsGone()
    {
        try
        {
            CheckUnchanged();
            if (File is not null && File.Length > 0) File.Read(0, new byte[1]);
            Bundle?.CheckReadable();
            HostPlatform.Current.GetVolume(Path);
            return false;
        }
        catch (Exception e) when (FileErrors.IsFileError(e) || e is ImageException)
        {
            return true;
        }
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

    private static ImageContainer OpenBundle(
        string path, Passphrase? passphrase, bool writable, bool isChange, CancellationToken cancellation)
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
                return new(path, plain, new()) { Format = BackupImageFormat.SparseBundle, Bundle = plain };
            }

            SparseBundleStorage.ReadInfo(folder, out _); // what cannot be read at all is said before a passphrase is asked for
            EncryptionHeader header = EncryptionHeader.Read(new MemoryStorage(token));
            CheckWritable(header, isChange);
            BlockCipher unlocked = cipher = new BlockCipher(header.Unlock(passphrase ?? throw Locked(), cancellation), header.BlockSize);
            SparseBundleStorage bundle = SparseBundleStorage.Open(folder, writable, band => EncryptedStorage.OfBand(band, unlocked));
            return new(path, bundle, new()) { Format = BackupImageFormat.SparseBundle, Encryption = header.Encryption, Bundle = bundle,
                _cipher = cipher };
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
        _ => throw ImageException.Unsupported(
            $"The image is of the unknown kind {code}.", "Convert it on a Mac: hdiutil convert -format UDZO."),
    };

    /// <summary>Opens the layer of decryption.</summary>
    private static EncryptedStorage Decrypt(
        FileStorage file, Passphrase? passphrase, bool isChange, out BackupImageEncryption encryption, CancellationToken cancellation)
    {
        try
        {
            EncryptionHeader header = EncryptionHeader.Read(file);
            CheckWritable(header, isChange);
            encryption = header.Encryption;
            return EncryptedStorage.Open(file, passphrase ?? throw Locked(), mayBeCut: !isChange, cancellation);
        }
        catch (ImageException e) when (e.Id is ImageErrorId.WrongPassphrase or ImageErrorId.ImageDamaged
            && System.IO.File.Exists(file.Path + ImagePassphrase.BackupSuffix))
        {
            throw new ImageException(
                e.Id, e.Problem, file.Path, e.Place,
                "A change of the passphrase was interrupted: try both passphrases, and change it again with Set-BackupImagePassphrase.", e);
        }
    }

    private static void CheckWritable(EncryptionHeader header, bool isChange)
    {
        if (isChange && header.Version != 2) throw EncryptionHeader.VersionOneUnsupported("Convert it to a new image.");
    }

    private static ImageException Locked() =>
        new(ImageErrorId.PassphraseRequired, "The image is encrypted, and no passphrase was given.",
            remedy: "Give the passphrase with -Passphrase.");

    // Lets every error that the container meets later name the image.
    private sealed class NamedStorage(BlockStorage inner, string path, ReadingStop stop) : BlockStorage
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
            stop.Check();
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
