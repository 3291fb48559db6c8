using System.Buffers.Binary;
using CCImage.Containers.SparseBundle;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Storage;
using CCImage.Tests.HfsPlus;

namespace CCImage.Tests;

/// <summary>Whole images verified: sound ones, single flipped bits in every part, and what a repair makes of them.</summary>
public sealed class ImageVerificationTests : IDisposable
{
    private const int Sector = 512;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(BackupImageFormat.ReadOnly)]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    [InlineData(BackupImageFormat.ReadOnlyLzfse)]
    [InlineData(BackupImageFormat.ReadWrite)]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.SparseBundle)]
    public void New_images_are_sound(BackupImageFormat format)
    {
        string image = Make(format);
        ImageVerificationResult result = Verify(image);
        Assert.All(result.Findings, f => Assert.True(f.Grade <= ImageFindingGrade.Note, f.ToString()));
        Assert.True(result.IsSound);
        Assert.Contains(result.Findings, f => f.Check == "GPT" && f.Grade == ImageFindingGrade.Ok);
        Assert.Equal(image, result.Path);
    }

    [Theory]
    [InlineData(BackupImageFormat.ReadOnly)]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    [InlineData(BackupImageFormat.ReadOnlyLzfse)]
    public void A_flipped_bit_of_a_read_only_image_is_found(BackupImageFormat format)
    {
        string image = Make(format);
        byte[] original = File.ReadAllBytes(image);
        int trailer = original.Length - 512;
        int list = (int)BinaryPrimitives.ReadInt64BigEndian(original.AsSpan(trailer + 216)),
            fork = (int)BinaryPrimitives.ReadInt64BigEndian(original.AsSpan(trailer + 32));
        Assert.True(fork > 10_000 && list >= fork);
        var random = new Random(5);
        for (int i = 0; i < 120; i++)
        {
            int place = i switch { 0 => 0, 1 => fork - 1, _ => random.Next(fork) };
            Assert.False(IsSoundWithFlip(image, place, random.Next(8)), $"byte {place} of the data fork");
        }

        // Values of the data fork's and the master checksum; everything else of the list and the trailer is covered by none.
        foreach (int place in (int[])[trailer + 88, trailer + 91, trailer + 360, trailer + 363])
            Assert.False(IsSoundWithFlip(image, place, 0), $"byte {place - trailer} of the trailer");
        for (int place = list; place < original.Length; place += place < trailer ? 37 : 3) IsSoundWithFlip(image, place, random.Next(8));
        for (int place = trailer; place < original.Length; place += 4)
        {
            byte[] absurd = [.. original];
            absurd.AsSpan(place, 4).Fill(0xFF);
            File.WriteAllBytes(image, absurd);
            Assert.True(Record.Exception(() => Verify(image)) is null or ImageException, $"byte {place - trailer} of the trailer");
        }
    }

    [OracleTheory("sgdisk")]
    [InlineData(1, 20)] // primary header
    [InlineData(2, 40)] // primary entries
    [InlineData(-1, 20)] // backup header
    [InlineData(-33, 40)] // backup entries
    [InlineData(-1, 0)] // signature of the backup
    public void A_damaged_copy_of_the_GPT_is_mended(int sector, int offset)
    {
        string image = Make(BackupImageFormat.ReadWrite);
        byte[] original = File.ReadAllBytes(image);
        Flip(image, (sector > 0 ? 0 : original.Length) + (sector * Sector) + offset, 2);
        ImageVerificationResult found = Verify(image);
        Assert.False(found.IsSound);
        Assert.Empty(found.Repaired);
        Assert.Equal([ImageFindingGrade.Repairable], found.Findings.Where(f => f.Check == "GPT").Select(f => f.Grade));
        ImageVerificationResult mended = Verify(image, repair: true);
        Assert.True(mended.IsSound);
        Assert.Single(mended.Repaired);
        Assert.Equal(original, File.ReadAllBytes(image));
        (int exitCode, string output, string error) = Oracle.Run("sgdisk", "-v", image);
        Assert.True(exitCode == 0 && output.Contains("No problems found", StringComparison.Ordinal), output + error);
    }

    [Fact]
    public void Both_copies_of_the_GPT_damaged_are_not_mended()
    {
        string image = Make(BackupImageFormat.ReadWrite);
        Flip(image, Sector + 20, 0);
        Flip(image, (int)new FileInfo(image).Length - Sector + 20, 0);
        byte[] damaged = File.ReadAllBytes(image);
        ImageVerificationResult result = Verify(image, repair: true);
        Assert.False(result.IsSound);
        Assert.Empty(result.Repaired);
        Assert.Contains(result.Findings, f => f.Grade == ImageFindingGrade.Damaged);
        Assert.Equal(damaged, File.ReadAllBytes(image));
    }

    [Fact]
    public void Nothing_is_mended_where_data_are_damaged()
    {
        string image = Make(BackupImageFormat.SparseBundle);
        File.Delete(Path.Combine(image, SparseBundleInfo.CopyName));
        string band = Directory.GetFiles(Path.Combine(image, "bands")).Order().Last();
        using (FileStream file = File.Open(band, FileMode.Open)) file.SetLength((8 << 20) + 1);
        ImageVerificationResult result = Verify(image, repair: true);
        Assert.False(result.IsSound);
        Assert.Empty(result.Repaired);
        Assert.False(File.Exists(Path.Combine(image, SparseBundleInfo.CopyName)));
    }

    [Theory]
    [InlineData(SparseBundleInfo.FileName, false)]
    [InlineData(SparseBundleInfo.FileName, true)]
    [InlineData(SparseBundleInfo.CopyName, false)]
    [InlineData(SparseBundleInfo.CopyName, true)]
    public void The_property_list_of_a_bundle_is_mended_from_its_copy(string name, bool isMissing)
    {
        string image = Make(BackupImageFormat.SparseBundle), list = Path.Combine(image, name);
        byte[] original = File.ReadAllBytes(list);
        if (isMissing) File.Delete(list);
        else File.WriteAllBytes(list, original[..^40]);
        ImageVerificationResult found = Verify(image);
        Assert.Equal(ImageFindingGrade.Repairable, found.Findings.Max(f => f.Grade));
        ImageVerificationResult mended = Verify(image, repair: true);
        Assert.True(mended.IsSound);
        Assert.Single(mended.Repaired);
        Assert.Equal(original, File.ReadAllBytes(list));
        Assert.Equal(4, Directory.GetFileSystemEntries(image).Length); // nothing is left behind
    }

    [Fact]
    public void What_does_not_belong_into_a_bundle_is_noted()
    {
        string image = Make(BackupImageFormat.SparseBundle);
        File.WriteAllText(Path.Combine(image, "bands", ".DS_Store"), "x");
        File.WriteAllText(Path.Combine(image, "bands", "ffff"), "x");
        File.Delete(Path.Combine(image, "token"));
        ImageVerificationResult result = Verify(image);
        Assert.True(result.IsSound);
        Assert.Equal(2, result.Findings.Count(f => f.Check == "Bundle bands" && f.Grade == ImageFindingGrade.Note));
        Assert.Single(result.Findings, f => f.Check == "Bundle token");
        Directory.CreateDirectory(Path.Combine(image, "mapped"));
        File.WriteAllText(Path.Combine(image, "mapped", "0"), "too short");
        Assert.Contains(Verify(image).Findings, f => f.Check == "Bundle maps" && f.Grade == ImageFindingGrade.Damaged);
    }

    [Fact]
    public void Damage_of_a_sparse_image_is_found()
    {
        string image = Make(BackupImageFormat.Sparse);
        byte[] original = File.ReadAllBytes(image);
        Assert.NotEqual(0u, BinaryPrimitives.ReadUInt32BigEndian(original.AsSpan(68)));

        byte[] twice = [.. original]; // the second slot names the band of the first
        twice.AsSpan(64, 4).CopyTo(twice.AsSpan(68));
        AssertDamaged(twice);

        byte[] beyond = [.. original]; // a band behind the end of the disk
        BinaryPrimitives.WriteUInt32BigEndian(beyond.AsSpan(68), 100_000);
        AssertDamaged(beyond);

        byte[] missing = [.. original]; // a slot without a band in the file
        BinaryPrimitives.WriteUInt32BigEndian(missing.AsSpan(64 + (4 * 900)), 6);
        AssertDamaged(missing, "Sparse image index");

        AssertDamaged(original[..^(1 << 19)]); // cut short
        byte[] sizes = [.. original]; // the disk's size, stored twice
        sizes[19] ^= 1;
        AssertDamaged(sizes);

        File.WriteAllBytes(image, [.. original, .. new byte[2 << 20]]);
        Assert.Contains(Verify(image).Findings, f => f.Grade == ImageFindingGrade.Note && f.Check == "Sparse image index");
        File.WriteAllBytes(image, original);
        var random = new Random(3);
        for (int i = 0; i < 150; i++) IsSoundWithFlip(image, i < 64 ? i : random.Next(4096), random.Next(8));

        void AssertDamaged(byte[] bytes, string? check = null)
        {
            File.WriteAllBytes(image, bytes);
            ImageVerificationResult result = Verify(image);
            Assert.False(result.IsSound);
            Assert.Contains(result.Findings, f => f.Grade == ImageFindingGrade.Damaged && (check is null || f.Check == check));
        }
    }

    [Fact]
    public void A_volume_that_every_partition_names_is_judged_once()
    {
        const int Entries = 16_384, Start = 2 + (Entries / 4), Tail = 8;
        byte[] volume = HfsPlusDamage.BaseOf(DamageBase.Ordinary), disk = new byte[(Start + Tail) * Sector + volume.Length];
        long last = (disk.Length / Sector) - Tail - 1;
        volume.CopyTo(disk, Start * Sector);
        Span<byte> entries = disk.AsSpan(2 * Sector, Entries * 128);
        for (int i = 0; i < Entries; i++)
        {
            Span<byte> entry = entries.Slice(i * 128, 128);
            new Guid("48465300-0000-11AA-AA11-00306543ECAC").TryWriteBytes(entry);
            BinaryPrimitives.WriteInt64LittleEndian(entry[32..], Start);
            BinaryPrimitives.WriteInt64LittleEndian(entry[40..], last);
        }

        Span<byte> header = disk.AsSpan(Sector, 92);
        "EFI PART"u8.CopyTo(header);
        (int At, long Value)[] fields =
            [(8, 0x5C_0001_0000), (24, 1), (32, (disk.Length / Sector) - 1), (40, Start), (48, last), (72, 2),
                (80, Entries | (128L << 32))];
        foreach ((int at, long value) in fields) BinaryPrimitives.WriteInt64LittleEndian(header[at..], value);
        BinaryPrimitives.WriteUInt32LittleEndian(header[88..], CCImage.Checksums.Crc32.Of(entries));
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], CCImage.Partitions.Gpt.GptChecksum.OfHeader(header));
        (disk[446 + 4], disk[510], disk[511]) = (0xEE, 0x55, 0xAA);
        (disk[446 + 8], disk[446 + 12]) = (1, 1);
        File.WriteAllBytes(_folder["image"], disk);
        MalformedInput.Try(() =>
        {
            using (DiskImage image = DiskImage.Open(_folder["image"])) Assert.Equal(Entries, image.Describe().Partitions.Count);
            Assert.False(Verify(_folder["image"]).IsSound);
        });
    }

    [Fact]
    public void What_cannot_be_judged_is_thrown()
    {
        Assert.Equal(ImageErrorId.ImageNotFound, Assert.Throws<ImageException>(() => Verify(_folder["missing"])).Id);
        File.WriteAllText(_folder["text"], "This is no image.");
        ImageException unknown = Assert.Throws<ImageException>(() => Verify(_folder["text"]));
        Assert.Equal((ImageErrorId.UnknownFormat, _folder["text"]), (unknown.Id, unknown.Path));
    }

    [Fact]
    public void An_image_in_use_is_not_mended()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string image = Make(BackupImageFormat.ReadWrite);
        Flip(image, Sector + 20, 0);
        using FileStorage reader = FileStorage.OpenRead(image);
        Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => Verify(image, repair: true)).Id);
    }

    [CorpusFact]
    public void Locked_images_are_thrown_and_flipped_headers_never_crash()
    {
        CorpusImage sample = CorpusImage.All.Single(i => i.File.EndsWith("testimage.AES-128.64k.header_v2.dmg", StringComparison.Ordinal));
        string image = _folder["encrypted"];
        File.Copy(sample.FullPath, image);
        File.SetAttributes(image, FileAttributes.Normal);
        Assert.Equal(ImageErrorId.PassphraseRequired, Assert.Throws<ImageException>(() => Verify(image)).Id);
        byte[] bytes = File.ReadAllBytes(image);
        for (int place = 0; place < 600; place++)
        {
            byte old = bytes[place];
            bytes[place] ^= (byte)(1 << (place % 8));
            foreach (bool isToken in new[] { false, true })
            {
                var findings = new ImageFindings(image);
                EncryptionHeaderChecker.Check(new MemoryStorage(bytes), isToken, findings);
                Assert.Single(findings.ToList());
                // signature, version, block size, sizes
                if (place is 0 or 11 or 52 or 53 || (place is >= 56 and < 62 && !isToken)) Assert.False(findings.IsSound, $"byte {place}");
            }

            bytes[place] = old;
        }

        File.WriteAllBytes(image, bytes[..^4096]);
        using Passphrase? passphrase = sample.OpenPassphrase();
        ImageVerificationResult result =
            ImageVerification.Run(new(image) { Passphrase = passphrase }, SilentObserver.Instance, CancellationToken.None);
        Assert.Contains(result.Findings, f => f.Check == "Encryption header" && f.Grade == ImageFindingGrade.Damaged);
    }

    private static ImageVerificationResult Verify(string image, bool repair = false) =>
        ImageVerification.Run(new(image) { Repair = repair }, SilentObserver.Instance, CancellationToken.None);

    // A typed error instead of findings is as good as "not sound".
    private static bool IsSoundWithFlip(string image, int place, int bit)
    {
        Flip(image, place, bit);
        try
        {
            return Verify(image).IsSound;
        }
        catch (ImageException)
        {
            return false;
        }
        finally
        {
            Flip(image, place, bit);
        }
    }

    private static void Flip(string image, int place, int bit)
    {
        using FileStream file = File.Open(image, FileMode.Open);
        file.Position = place;
        int old = file.ReadByte();
        file.Position = place;
        file.WriteByte((byte)(old ^ (1 << bit)));
    }

    private string Make(BackupImageFormat format)
    {
        string source = _folder["Source"], image = _folder["image"];
        Directory.CreateDirectory(source);
        var random = new Random(1);
        for (int i = 0; i < 4; i++)
        {
            byte[] content = new byte[20_000];
            random.NextBytes(content);
            File.WriteAllBytes(Path.Combine(source, $"random {i}"), content);
            File.WriteAllText(Path.Combine(source, $"text {i}"), string.Join('\n', Enumerable.Range(0, 2000)));
        }

        var recipe =
            new ImageRecipe { SourcePath = source, Path = image, Format = format, SizeBytes = ImageOutput.IsReadOnly(format) ? null
                : 12 << 20 };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
        return image;
    }
}
