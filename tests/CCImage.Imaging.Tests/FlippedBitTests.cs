using System.Buffers.Binary;
using CCImage.Containers.SparseBundle;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Storage;
using CCImage.Tests.Encryption;

namespace CCImage.Tests;

/// <summary>
/// One flipped bit in every region of a small image of each kind, encrypted or not: where a checksum covers it, the image is not sound;
/// elsewhere the answer is findings or a typed error. APFS, exFAT, FAT and the metadata of HFS+ have such tests beside their readers.
/// </summary>
public sealed class FlippedBitTests : IDisposable
{
    private const string Secret = "flip";
    private const int Sector = 512;

    private readonly TemporaryFolder _folder = new();
    private Passphrase? _passphrase = Secrets.Of(Secret);
    private readonly Random _random = new(6);

    public static TheoryData<BackupImageFormat, BackupImageEncryption> ReadOnlyKinds => Kinds(
        BackupImageFormat.ReadOnly, BackupImageFormat.ReadOnlyZlib, BackupImageFormat.ReadOnlyLzfse, BackupImageFormat.ReadOnlyLzma,
        BackupImageFormat.ReadOnlyBzip2);

    public static TheoryData<BackupImageFormat, BackupImageEncryption> WritableKinds => Kinds(
        BackupImageFormat.ReadWrite, BackupImageFormat.Sparse, BackupImageFormat.SparseBundle);

    public void Dispose()
    {
        _passphrase?.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [MemberData(nameof(ReadOnlyKinds))]
    public void A_read_only_image_is_covered_by_its_checksums(BackupImageFormat format, BackupImageEncryption encryption)
    {
        string image = Make(format, encryption);
        (long fork, long length, long trailer) = Regions(image, out long data);
        foreach (long place in Places(data + fork, length, 30)) AssertFound(image, place);
        if (encryption != BackupImageEncryption.None) return; // a bit of the ciphertext is many of the trailer
        // the checksums themselves
        foreach (long place in (long[])[trailer + 88, trailer + 91, trailer + 360, trailer + 363]) AssertFound(image, place);
        foreach (long place in Places(data + fork + length, trailer + Sector - fork - length, 40)) IsSoundWithFlip(image, place);
    }

    [Theory]
    [MemberData(nameof(WritableKinds))]
    public void Checksums_of_the_disk_cover_their_regions(BackupImageFormat format, BackupImageEncryption encryption)
    {
        string image = Make(format, encryption);
        long length, volume, journal;
        using (DiskImage disk = DiskImage.Open(image, _passphrase))
        {
            (length, volume) = (disk.Disk.Length, disk.Volumes[0].OffsetBytes);
            journal = volume + JournalOf(disk.Disk, volume);
        }

        // Both headers, both arrays of entries, and what the checksum of the journal's header covers.
        (long At, int Size)[] covered =
            [(Sector, 92), (length - Sector, 92), (2 * Sector, 128 * 128), (length - (33 * Sector), 128 * 128), (journal, 44)];
        foreach ((long at, int size) in covered)
            foreach (long place in Places(at, size, 8)) AssertFound(image, place, onDisk: true);
        foreach (long place in Places(0, Sector, 16)) IsSoundWithFlip(image, place, onDisk: true);
        foreach (long place in Places(volume, 8192, 16)) IsSoundWithFlip(image, place, onDisk: true);
        Assert.True(Verify(image).IsSound); // every flip was taken back
    }

    [Fact]
    public void Every_byte_of_a_bundles_lists_is_read_without_harm()
    {
        string image = Make(BackupImageFormat.SparseBundle, BackupImageEncryption.None);
        int notSound = 0;
        foreach (string name in (string[])[SparseBundleInfo.FileName, SparseBundleInfo.CopyName])
        {
            string list = Path.Combine(image, name);
            long length = new FileInfo(list).Length;
            for (long place = 0; place < length; place += 5)
                if (!IsSoundWithFlip(image, place, file: list)) notSound++;
        }

        Assert.True(notSound > 30, $"{notSound} flips were found");
    }

    [Theory]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    [InlineData(BackupImageFormat.SparseBundle)]
    public void An_encrypted_header_is_read_without_harm(BackupImageFormat format)
    {
        string image = Make(format, BackupImageEncryption.Aes256), file = format == BackupImageFormat.SparseBundle
            ? Path.Combine(image, SparseBundleStorage.TokenName) : image;
        byte[] header = File.ReadAllBytes(file);
        int wrapped = (int)BinaryPrimitives.ReadInt64BigEndian(header.AsSpan(80)),
            end = (int)EncryptionHeader.Read(new MemoryStorage(header)).HeaderEnd;
        Assert.InRange(end, wrapped + 100, header.Length);
        for (int place = 0; place < wrapped; place += 3) IsSoundWithFlip(image, place, file: file);

        // Salt, IV and wrapped keys: the marker behind the keys proves some of them, the rest shows on the disk. Not the last block, which
        // is padding.
        foreach ((int at, int size) in ((int, int)[])[(wrapped + 16, 20), (wrapped + 52, 8), (end - 64, 56)])
            foreach (long place in Places(at, size, 10)) AssertFound(image, place, file: file);
    }

    // Written by nobody today: what Apple's tools made has to do.
    [CorpusFact]
    public void An_ADC_image_is_covered_by_its_checksums()
    {
        string image = CopyOf("jhermsmeier__node-udif/compression-adc.dmg");
        (long fork, long length, _) = Regions(image, out long data);
        foreach (long place in Places(data + fork, length, 40)) AssertFound(image, place);
        Assert.True(Verify(image).IsSound);
    }

    [CorpusFact]
    public void An_encrypted_header_of_version_one_is_read_without_harm()
    {
        string image = CopyOf("openwall__john-samples/testimage.AES-128.64k.header_v1.dmg");
        int headerSize = System.Runtime.CompilerServices.Unsafe.SizeOf<EncryptionTrailerV1>();
        bool isSound = Verify(image).IsSound;
        long end = new FileInfo(image).Length;
        int opened = 0;
        for (long place = end - headerSize; place < end; place += 7)
            if (IsSoundWithFlip(image, place)) opened++;
        Assert.True(isSound ? opened < headerSize / 7 : opened == 0, $"{opened} flips changed nothing");
        Assert.Equal(isSound, Verify(image).IsSound); // every flip was taken back
    }

    private string CopyOf(string corpusFile)
    {
        CorpusImage sample = CorpusImage.All.First(i => i.File == corpusFile);
        string copy = _folder["copy"];
        File.Copy(sample.FullPath, copy);
        File.SetAttributes(copy, FileAttributes.Normal);
        _passphrase?.Dispose();
        _passphrase = sample.OpenPassphrase();
        return copy;
    }

    private static TheoryData<BackupImageFormat, BackupImageEncryption> Kinds(params BackupImageFormat[] formats)
    {
        var kinds = new TheoryData<BackupImageFormat, BackupImageEncryption>();
        foreach (BackupImageFormat format in formats)
            foreach (BackupImageEncryption encryption in (
                BackupImageEncryption[])[BackupImageEncryption.None, BackupImageEncryption.Aes128]) kinds.Add(format, encryption);
        return kinds;
    }

    private static long JournalOf(BlockStorage disk, long volume)
    {
        byte[] header = new byte[Sector], info = new byte[Sector];
        disk.Read(volume + 1024, header);
        long block = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12)),
            blockSize = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(40));
        disk.Read(volume + (block * blockSize), info);
        return (long)BinaryPrimitives.ReadUInt64BigEndian(info.AsSpan(36));
    }

    private string Make(BackupImageFormat format, BackupImageEncryption encryption)
    {
        string source = _folder["Source"], plain = _folder["plain"], image = _folder["image"];
        Directory.CreateDirectory(source);
        byte[] content = new byte[20_000];
        _random.NextBytes(content);
        File.WriteAllBytes(Path.Combine(source, "random"), content);
        File.WriteAllText(Path.Combine(source, "text"), string.Join('\n', Enumerable.Range(0, 2000)));
        var recipe = new ImageRecipe { SourcePath = source, Path = plain, Format = BackupImageFormat.ReadWrite };
        using (ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None))
            creation.Run(CancellationToken.None);
        EncryptedImages.Write(plain, image, format, encryption, Secret);
        Assert.True(Verify(image).IsSound);
        return image;
    }

    // Where the data fork of a read-only image and its trailer lie, in its plain form, and where that begins in the file.
    private (long Fork, long Length, long Trailer) Regions(string image, out long data)
    {
        using ImageContainer container = ImageContainer.Open(image, _passphrase, writable: false);
        data = container.Encryption == BackupImageEncryption.None ? 0 : EncryptionHeader.Read(container.File!).DataOffset;
        return ((long)(ulong)container.Udif!.Trailer.DataForkOffset, (long)(ulong)container.Udif.Trailer.DataForkLength,
            container.Udif.File.Length - Sector);
    }

    // The first and the last byte and some between.
    private IEnumerable<long> Places(long at, long length, int count) =>
        [at, at + length - 1, .. Enumerable.Range(0, count).Select(_ => at + _random.NextInt64(length))];

    private void AssertFound(string image, long place, bool onDisk = false, string? file = null) =>
        Assert.False(
            IsSoundWithFlip(image, place, onDisk, file), $"byte {place} of {(onDisk ? "the disk" : Path.GetFileName(file ?? image))}");

    // A typed error instead of findings is as good as "not sound".
    private bool IsSoundWithFlip(string image, long place, bool onDisk = false, string? file = null)
    {
        byte mask = (byte)(1 << _random.Next(8));
        Change(b => (byte)(b ^ mask));
        try
        {
            return Verify(image).IsSound;
        }
        catch (ImageException e)
        {
            Assert.NotEqual(ImageErrorId.InternalError, e.Id);
            return false;
        }
        finally
        {
            Change(b => (byte)(b ^ mask));
        }

        void Change(Func<byte, byte> change)
        {
            using BlockStorage storage = onDisk ? OpenDisk(image) : FileStorage.OpenWrite(file ?? image);
            byte[] one = new byte[1];
            storage.Read(place, one);
            one[0] = change(one[0]);
            storage.Write(place, one);
        }
    }

    private BlockStorage OpenDisk(string image) => ImageContainer.Open(image, _passphrase, writable: true).Disk;

    private ImageVerificationResult Verify(string image) =>
        ImageVerification.Run(new(image) { Passphrase = _passphrase }, SilentObserver.Instance, CancellationToken.None);
}
