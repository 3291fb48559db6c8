using System.Buffers.Binary;
using System.IO.Compression;
using System.Security.Cryptography;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.Encryption;

namespace CCImage.Tests;

/// <summary>
/// Damage that structures do not show: data that do not fit the checksums, bands that are gone, ends that were cut. Every job that reads an
/// image says it, and what is taken over in spite of it is called so.
/// </summary>
public sealed class StoredContentTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(BackupImageFormat.ReadOnly)]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    [InlineData(BackupImageFormat.ReadOnlyLzfse)]
    [InlineData(BackupImageFormat.ReadOnlyLzma)]
    [InlineData(BackupImageFormat.ReadOnlyBzip2)]
    public void A_changed_read_only_image_is_not_converted_and_its_restore_ends_with_an_error(BackupImageFormat format)
    {
        string image =
            TestImage.Make(_folder, new ImageRecipe { SourcePath = "", Path = "", Format = format }, files: 6, fileSize: 700_000);
        foreach (int length in (int[])[1, 100])
        {
            byte[] original = File.ReadAllBytes(image);
            int middle = (int)BinaryPrimitives.ReadInt64BigEndian(original.AsSpan(original.Length - UdifTrailer.Size + 32)) / 2;
            byte[] changed = [.. original];
            if (length == 1) changed[middle] ^= 4;
            else changed.AsSpan(middle, length).Clear();
            File.WriteAllBytes(image, changed);

            ImageException refusal = Assert.Throws<ImageException>(() => Convert(image));
            Assert.Equal((ImageErrorId.ChecksumMismatch, image), (refusal.Id, refusal.Path));
            Assert.Empty(Directory.GetFiles(_folder.Path, "converted*"));
            ImageRestoreResult restored = Restore(image);
            Assert.True(restored.Doubt is { Id: ImageErrorId.ChecksumMismatch }
                || restored.Warnings.Any(w => w.Kind == ImagingWarningKind.SourceSkipped), $"{restored}");
            Assert.NotNull(restored.Doubt);

            BackupImage converted = Convert(image, allow: true);
            Assert.NotNull(converted.Damage);
            Assert.NotEmpty(converted.Damage.Problems);
            Assert.True(converted.Damage.Bytes > 0);
            File.Delete(converted.Path);
            File.WriteAllBytes(image, original);
            Assert.Null(Convert(image).Damage);
            File.Delete(converted.Path);
            Assert.Null(Restore(image).Doubt);
        }
    }

    [Fact]
    public void Damage_in_free_space_that_a_conversion_does_not_read_is_found_all_the_same()
    {
        string full =
            TestImage.Make(
                _folder, new ImageRecipe { SourcePath = "", Path = "", Format = BackupImageFormat.ReadWrite, SizeBytes = 12 << 20 }),
                image = _folder["whole"];
        using (DiskImage disk = DiskImage.Open(full, null, writable: true))
        {
            StorageExtent free = disk.GetFreeExtents().MaxBy(e => e.Length);
            disk.Disk.Write(free.Offset, TestTree.Noise((int)Math.Min(free.Length, 3 << 20), 9));
        }

        ImageConversion.Run(
            new() { Path = full, DestinationPath = image, Format = BackupImageFormat.ReadOnly, KeepFreeSpace = true },
            SilentObserver.Instance, CancellationToken.None);
        long place = Find(image, TestTree.Noise(3 << 20, 9).AsSpan(1 << 20, 64).ToArray());
        using (FileStream file = File.Open(image, FileMode.Open))
        {
            file.Position = place;
            file.WriteByte(0xAA);
            file.WriteByte(0x55);
        }

        Assert.Equal(ImageErrorId.ChecksumMismatch, Assert.Throws<ImageException>(() => Convert(image)).Id);
        Assert.Empty(Directory.GetFiles(_folder.Path, "converted*"));
        Assert.Equal(ImageErrorId.ChecksumMismatch, Restore(image).Doubt!.Id);
        Assert.Single(VerifyChecksums(image), f => f.LengthBytes > 0);
    }

    [Theory]
    [InlineData(BackupImageFormat.ReadOnly)]
    [InlineData(BackupImageFormat.ReadOnlyLzfse)]
    public void Checksums_computed_from_what_was_read_are_those_of_a_pass_of_their_own(BackupImageFormat format)
    {
        string image =
            TestImage.Make(_folder, new ImageRecipe { SourcePath = "", Path = "", Format = format }, files: 8, fileSize: 900_000);
        var random = new Random(3);
        for (int round = 0; round < 6; round++)
        {
            using DiskImage disk = DiskImage.Open(image);
            disk.Checksums.Begin();
            long before = disk.Checksums.RemainingBytes;
            Parallel.For(0, 40, i =>
            {
                int length;
                long offset;
                lock (random) (length, offset) = (random.Next(1, 600_000), random.NextInt64(disk.Disk.Length - 600_000));
                disk.Disk.Read(offset, new byte[length]);
            });
            Assert.True(disk.Checksums.RemainingBytes < before);
            Assert.Empty(disk.VerifyStoredChecksums(SilentObserver.Instance, CancellationToken.None));
        }
    }

    [Fact]
    public void Reading_the_whole_disk_leaves_nothing_for_the_checksums_to_read()
    {
        foreach (BackupImageFormat format in (BackupImageFormat[])[BackupImageFormat.ReadOnly, BackupImageFormat.ReadOnlyZlib])
        {
            string image =
                TestImage.Make(_folder, new ImageRecipe { SourcePath = "", Path = "", Format = format }, files: 8, fileSize: 900_000);
            using DiskImage disk = DiskImage.Open(image);
            disk.Checksums.Begin();
            byte[] piece = new byte[100_000];
            for (long at = 0; at < disk.Disk.Length; at += piece.Length)
                disk.Disk.Read(at, piece.AsSpan(0, (int)Math.Min(piece.Length, disk.Disk.Length - at)));
            Assert.InRange(disk.Checksums.RemainingBytes, 0, 8192); // shorter reads are not kept
            Assert.Empty(disk.VerifyStoredChecksums(SilentObserver.Instance, CancellationToken.None));
        }
    }

    [Fact]
    public void A_signature_is_not_dropped_without_a_word()
    {
        string image = TestImage.Make(_folder, new ImageRecipe { SourcePath = "", Path = "", Format = BackupImageFormat.ReadOnlyZlib });
        byte[] bytes = File.ReadAllBytes(image);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(bytes.Length - 512 + 0x130), 1000);
        File.WriteAllBytes(image, bytes);
        var observer = new RecordingObserver();
        Assert.False(Convert(image, observer: observer).IsSigned);
        Assert.Single(observer.Warnings, w => w.Message.Contains("signed", StringComparison.Ordinal));
        Assert.True(DiskImage.Inspect(image).IsSigned);
    }

    [Theory]
    [InlineData(BackupImageEncryption.None)]
    [InlineData(BackupImageEncryption.Aes128)]
    public void A_band_that_is_gone_is_damage_and_zeros_of_files_are_none(BackupImageEncryption encryption)
    {
        using Passphrase? secret = encryption == BackupImageEncryption.None ? null : Secrets.Of("one");
        string source = _folder["Source"];
        Directory.CreateDirectory(Path.Combine(source, "zeros"));
        File.WriteAllBytes(Path.Combine(source, "noise"), TestTree.Noise(5_000_000, 1));
        File.WriteAllBytes(Path.Combine(source, "zeros", "written"), new byte[7_000_000]);
        File.WriteAllBytes(Path.Combine(source, "zeros", "end"), [.. TestTree.Noise(700_000, 2), .. new byte[3_500_000]]);
        using (FileStream hole = File.Create(Path.Combine(source, "zeros", "hole"))) hole.SetLength(9_000_000);
        string image = Make(BackupImageFormat.SparseBundle, encryption, secret, TestImage.Band);
        TestImage.AssertSound(image, secret);
        Assert.DoesNotContain(Verify(image, secret).Findings, f => f.Check == "Stored blocks");
        Assert.Null(Restore(image, secret).Doubt);
        Assert.Null(Convert(image, secret: secret).Damage);

        foreach (string band in Directory.GetFiles(Path.Combine(image, "bands")))
        {
            string aside = _folder["aside"];
            File.Move(band, aside);
            Assert.False(Verify(image, secret).IsSound, band);
            File.Move(aside, band);
        }

        string lost = BandOf(image, secret, "noise", 2_500_000);
        File.Delete(lost);
        ImageVerificationResult verified = Verify(image, secret);
        Assert.Contains(verified.Findings, f => f is { Grade: ImageFindingGrade.Damaged, Check: "Stored blocks", Place: "/noise" });
        Assert.DoesNotContain(verified.Findings, f => f.Place?.StartsWith("/zeros", StringComparison.Ordinal) == true);
        ImageRestoreResult restored = Restore(image, secret);
        Assert.Equal(ImageErrorId.RestoredInPart, restored.Doubt!.Id);
        Assert.Single(restored.Warnings, w => w.Kind == ImagingWarningKind.ContentLost && w.Path == "/noise");
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => Convert(image, secret: secret)).Id);
        Assert.Equal(
            ImageErrorId.ImageDamaged,
            Assert.Throws<ImageException>(() => ImageCompaction.Run(new(image) { Passphrase = secret }, SilentObserver.Instance, default))
            .Id);
        Assert.NotNull(Convert(image, allow: true, secret: secret).Damage);
    }

    [Fact]
    public void A_band_whose_end_is_cut_is_damage()
    {
        string image =
            TestImage.Make(
                _folder, new ImageRecipe { SourcePath = "", Path = "", Format = BackupImageFormat.SparseBundle, SizeBytes = 30 << 20 },
                files: 4, fileSize: 2_000_000);
        string band = BandOf(image, null, "file 1", 1_000_000);
        foreach (int length in (int[])[0, 200_000, 524_288])
        {
            byte[] whole = File.ReadAllBytes(band);
            using (FileStream file = File.OpenWrite(band)) file.SetLength(length);
            Assert.Contains(Verify(image).Findings, f => f is { Grade: ImageFindingGrade.Damaged, Check: "Stored blocks", Place: not null }
                && f.Place.StartsWith("/file", StringComparison.Ordinal));
            Assert.Equal(ImageErrorId.RestoredInPart, Restore(image).Doubt!.Id);
            File.WriteAllBytes(band, whole);
        }

        TestImage.AssertSound(image);
    }

    [Fact]
    public void Zeros_that_are_written_to_a_bundle_with_a_record_join_it()
    {
        string image =
            TestImage.Make(
                _folder, new ImageRecipe { SourcePath = "", Path = "", Format = BackupImageFormat.SparseBundle, SizeBytes = 30 << 20 });
        int before = Directory.GetFiles(Path.Combine(image, "bands")).Length;
        using (DiskImage disk = DiskImage.Open(image, null, writable: true))
        {
            disk.Disk.Write(20 << 20, new byte[4096]);
            disk.Disk.Write((20 << 20) + 4096, new byte[2 << 20]);
            disk.Disk.Flush();
            Assert.Contains(new StorageExtent(20 << 20, (2 << 20) + 4096, ExtentKind.Zero), disk.Container.Bundle!.RecordedZeros!);
        }

        Assert.Equal(File.ReadAllBytes(Path.Combine(image, "Info.plist")), File.ReadAllBytes(Path.Combine(image, "Info.bckup")));
        using (DiskImage disk = DiskImage.Open(image))
            Assert.Contains(new StorageExtent(20 << 20, (2 << 20) + 4096, ExtentKind.Zero), disk.Container.Bundle!.RecordedZeros!);
        Assert.Equal(before, Directory.GetFiles(Path.Combine(image, "bands")).Length);
        TestImage.AssertSound(image);
    }

    [Fact]
    public void Without_a_record_zeros_and_a_lost_band_are_told_apart_by_nobody_and_both_are_said()
    {
        string source = _folder["Source"];
        Directory.CreateDirectory(source);
        File.WriteAllBytes(Path.Combine(source, "zeros"), new byte[7_000_000]);
        string image = Make(BackupImageFormat.SparseBundle, BackupImageEncryption.None, null, TestImage.Band);
        foreach (string list in (string[])["Info.plist", "Info.bckup"])
        {
            string path = Path.Combine(image, list), text = File.ReadAllText(path);
            File.WriteAllText(path, text.Replace("ccimage-zeros", "something-else", StringComparison.Ordinal));
        }

        ImageVerificationResult result = Verify(image);
        Assert.True(result.IsSound);
        Assert.Contains(result.Findings, f => f is { Grade: ImageFindingGrade.Note, Place: "/zeros" });
        Assert.NotNull(Restore(image).Doubt);
        ImageException refusal = Assert.Throws<ImageException>(() => ImageConversion.Run(
            new() { Path = image, DestinationPath = _folder["converted"], Format = BackupImageFormat.ReadOnly, DeleteSource = true },
            SilentObserver.Instance, default));
        Assert.Equal(ImageErrorId.ImageDamaged, refusal.Id);
        Assert.True(Directory.Exists(image));
    }

    [Theory]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.SparseBundle)]
    public void Bands_without_a_beginning_are_damage(BackupImageFormat format)
    {
        string image =
            TestImage.Make(_folder, new ImageRecipe { SourcePath = "", Path = "", Format = format, SizeBytes = 30 << 20 }, files: 4,
                fileSize: 2_000_000);
        if (format == BackupImageFormat.SparseBundle)
        {
            File.Delete(Path.Combine(image, "bands", "0"));
        }
        else
        {
            using FileStream file = File.OpenWrite(image);
            file.Position = 64;
            file.Write(new byte[4]); // the entry of the first slot
        }

        Assert.Contains(Verify(image).Findings, f => f is { Grade: ImageFindingGrade.Damaged, Check: "Content" });
        var request =
            new ImageConversionRequest { Path = image, DestinationPath = _folder["converted"], Format = BackupImageFormat.ReadOnly,
                DeleteSource = true };
        Assert.Equal(ImageErrorId.ImageDamaged,
            Assert.Throws<ImageException>(() => ImageConversion.Run(request, SilentObserver.Instance, default)).Id);
        Assert.True(Path.Exists(image));
        Assert.False(Path.Exists(request.DestinationPath));

        // The map's copy and the volume's second header lead to what is left: it is restored, and the end is an error.
        Assert.NotNull(Restore(image).Shortfall);
        Assert.Equal(ImageErrorId.InvalidArgument,
            Assert.Throws<ImageException>(() => ImageConversion.Check(request with { AllowDamaged = true })).Id);
    }

    [Fact]
    public void An_entry_of_a_sparse_image_that_is_gone_is_damage_and_zeros_of_files_are_none()
    {
        string source = _folder["Source"];
        Directory.CreateDirectory(source);
        File.WriteAllBytes(Path.Combine(source, "noise"), TestTree.Noise(5_000_000, 1));
        File.WriteAllBytes(Path.Combine(source, "zeros"), new byte[7_000_000]);
        string image = Make(BackupImageFormat.Sparse, BackupImageEncryption.None, null, null);
        ImageVerificationResult sound = Verify(image);
        Assert.True(sound.IsSound);
        Assert.Contains(sound.Findings, f => f is { Grade: ImageFindingGrade.Note, Place: "/zeros" });
        Assert.Null(Restore(image).Doubt);
        Assert.Null(Convert(image).Damage);

        long band;
        using (DiskImage disk = DiskImage.Open(image)) band = PlaceOf(disk, "noise", 2_500_000) / (1 << 20);
        byte[] bytes = File.ReadAllBytes(image);
        for (int entry = 0; entry < 1008; entry++)
            if (BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(64 + (entry * 4))) == band + 1) bytes.AsSpan(64 + (entry * 4), 4).Clear();
        File.WriteAllBytes(image, bytes);
        Assert.Contains(Verify(image).Findings, f => f is { Grade: ImageFindingGrade.Damaged, Place: "/noise" });
        Assert.Equal(ImageErrorId.RestoredInPart, Restore(image).Doubt!.Id);
    }

    [Fact]
    public void A_bundle_without_its_folder_of_bands_is_damaged_and_no_error()
    {
        string image =
            TestImage.Make(
                _folder, new ImageRecipe { SourcePath = "", Path = "", Format = BackupImageFormat.SparseBundle, SizeBytes = 30 << 20 });
        Directory.Delete(Path.Combine(image, "bands"), recursive: true);
        Assert.Contains(
            Verify(image).Findings, f => f.Grade == ImageFindingGrade.Damaged && f.Message.Contains("bands", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(BackupImageEncryption.None)]
    [InlineData(BackupImageEncryption.Aes256)]
    public void Of_an_image_that_is_cut_short_what_is_there_is_read_and_nothing_is_written(BackupImageEncryption encryption)
    {
        using Passphrase? secret = encryption == BackupImageEncryption.None ? null : Secrets.Of("one");
        string source = _folder["Source"];
        Directory.CreateDirectory(source);
        for (int i = 0; i < 5; i++) File.WriteAllBytes(Path.Combine(source, $"file {i}"), TestTree.Noise(800_000, i));
        string image = Make(BackupImageFormat.ReadWrite, encryption, secret, null);
        long last;
        using (DiskImage disk = DiskImage.Open(image, secret)) last = Enumerable.Range(0, 5).Max(i => PlaceOf(disk, $"file {i}", 0));
        long header = encryption == BackupImageEncryption.None ? 0 : EncryptionHeaderWriter.HeaderSize, whole = new FileInfo(image).Length;
        using (FileStream file = File.OpenWrite(image)) file.SetLength(header + ((last + 400_000) / 4096 * 4096));

        BackupImage described = DiskImage.Inspect(image, secret);
        Assert.Equal(whole - new FileInfo(image).Length, described.MissingBytes);
        ImageRestoreResult restored = Restore(image, secret);
        Assert.Equal(4, restored.Entries);
        Assert.Equal(ImageErrorId.RestoredInPart, restored.Doubt!.Id);
        Assert.Contains($"{described.MissingBytes}", restored.Doubt.Message, StringComparison.Ordinal);
        ImageVerificationResult verified = Verify(image, secret);
        Assert.Contains(verified.Findings, f => f is { Grade: ImageFindingGrade.Damaged, Check: "Disk end" });
        Assert.Single(
            verified.Findings, f => f is { Check: "Disk end", Place: not null } && f.Place.StartsWith("/file", StringComparison.Ordinal));
        using (DiskImage disk = DiskImage.Open(image, secret)) Assert.NotNull(disk.GetCutShort());

        byte[] before = File.ReadAllBytes(image);
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => Convert(image, secret: secret)).Id);
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => DiskImage.Open(image, secret, writable: true)).Id);
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() =>
            ImageResize.Run(new(image) { Passphrase = secret, ToMinimumSize = true }, SilentObserver.Instance, default)).Id);
        if (secret is not null)
        {
            using Passphrase other = Secrets.Of("other");
            Assert.Equal(ImageErrorId.ImageDamaged,
                Assert.Throws<ImageException>(() => ImagePassphrase.Change(image, secret, other, SilentObserver.Instance, default)).Id);
        }

        Assert.Equal(before, File.ReadAllBytes(image));
        BackupImage converted = Convert(image, allow: true, secret: secret);
        Assert.True(converted.Damage!.Bytes > 0);
        Assert.Equal(5, TestImage.FilesOf(converted.Path, secret).Length - 1);
    }

    [CasesFact]
    public void An_APFS_container_that_is_cut_behind_its_last_used_block_is_read_with_a_note()
    {
        string image = Unpack("apfs-cut-after-used-blocks.img.gz");
        ImageVerificationResult result = Verify(image);
        Assert.True(result.IsSound, string.Join('\n', result.Findings));
        Assert.Contains(result.Findings, f => f is { Grade: ImageFindingGrade.Note, Check: "Disk end" });
        Assert.Equal(VolumeKind.Apfs, DiskImage.Inspect(image).Volumes[0].Kind);
        using DiskImage disk = DiskImage.Open(image);
        Assert.Null(disk.GetCutShort());
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => Convert(image)).Id);
        Assert.Null(Convert(image, allow: true).Damage);
    }

    [CasesTheory]
    [InlineData("cut-short-gpt.img.gz", 5)]
    [InlineData("hfs-without-map-cut.img.gz", 1)]
    public void Cut_images_of_others_give_what_is_there(string name, int entries)
    {
        ImageRestoreResult restored = Restore(Unpack(name));
        Assert.Equal(entries, restored.Entries);
        Assert.NotNull(restored.Doubt);
    }

    [CasesFact]
    public void A_header_of_version_1_with_256_bits_opens()
    {
        using Passphrase secret = Secrets.Of("vilefault");
        using DiskImage disk = DiskImage.Open(Path.Combine(CasesLocation.Folder!, "testimage.AES-256.64k.header_v1.dmg"), secret);
        byte[] bytes = new byte[disk.Disk.Length];
        disk.Disk.Read(0, bytes);
        Assert.Equal(
            "ed62f8f07e2ec193007cf4d9adb2861705ee6a79bdae6b8b245ff663fc35676c", System.Convert.ToHexStringLower(SHA256.HashData(bytes)));
        Assert.Equal(BackupImageEncryption.Aes256, disk.Describe().Encryption);
    }

    [Theory]
    [InlineData(BackupImageFormat.ReadWrite)]
    [InlineData(BackupImageFormat.SparseBundle)]
    public void A_decryption_that_nothing_confirms_is_said_and_not_converted(BackupImageFormat format)
    {
        using Passphrase secret = Secrets.Of("one");
        Directory.CreateDirectory(_folder["Source"]);
        string image = Make(format, BackupImageEncryption.Aes128, secret, format == BackupImageFormat.SparseBundle ? TestImage.Band : null);
        using (DiskImage disk = DiskImage.Open(image, secret, writable: true))
        {
            disk.Disk.Write(0, TestTree.Noise(1 << 20, 5)); // as with a wrong key
            disk.Disk.Flush();
        }

        Assert.False(DiskImage.Inspect(image, secret).IsContentRecognised);
        Assert.Contains(Verify(image, secret).Findings, f => f is { Grade: ImageFindingGrade.Damaged, Check: "Content" });
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => Convert(image, secret: secret)).Id);
        Assert.NotNull(Convert(image, allow: true, secret: secret).Damage);
    }

    private static ImageVerificationResult Verify(string image, Passphrase? secret = null) =>
        ImageVerification.Run(new(image) { Passphrase = secret }, SilentObserver.Instance, CancellationToken.None);

    private static IReadOnlyList<StoredChecksumFault> VerifyChecksums(string image)
    {
        using DiskImage disk = DiskImage.Open(image);
        return disk.VerifyStoredChecksums(SilentObserver.Instance, CancellationToken.None);
    }

    // Where a byte of a file lies on the disk: files of noise are found by what they hold.
    private static long PlaceOf(DiskImage disk, string name, int offset)
    {
        using SourceTree tree = disk.ReadTree(null, CancellationToken.None);
        using BlockStorage fork = tree.OpenFork(tree.Enumerate().Single(e => e.Name == name), ForkKind.Data);
        byte[] wanted = new byte[64], piece = new byte[1 << 20];
        fork.Read(offset, wanted);
        for (long at = 0; at < disk.Disk.Length; at += piece.Length - wanted.Length)
        {
            Span<byte> part = piece.AsSpan(0, (int)Math.Min(piece.Length, disk.Disk.Length - at));
            disk.Disk.Read(at, part);
            if (part.IndexOf(wanted) is var found && found >= 0) return at + found;
        }

        throw new InvalidOperationException("The file is not on the disk.");
    }

    private static string BandOf(string image, Passphrase? secret, string name, int offset)
    {
        using DiskImage disk = DiskImage.Open(image, secret);
        return Path.Combine(image, "bands",
            (PlaceOf(disk, name, offset) / TestImage.Band).ToString("x", System.Globalization.CultureInfo.InvariantCulture));
    }

    private static long Find(string file, byte[] wanted) => File.ReadAllBytes(file).AsSpan().IndexOf(wanted);

    private ImageRestoreResult Restore(string image, Passphrase? secret = null) => ImageRestore.Run(
        new() { Path = image, Passphrase = secret, DestinationPath = _folder[$"restored {Guid.NewGuid():N}"] }, SilentObserver.Instance,
        CancellationToken.None);

    private BackupImage Convert(string image, bool allow = false, Passphrase? secret = null, RecordingObserver? observer = null)
    {
        var request = new ImageConversionRequest
        {
            Path = image, Passphrase = secret, DestinationPath = _folder["converted"], Format = BackupImageFormat.ReadOnly,
                AllowDamaged = allow, Overwrite = true,
        };
        return ImageConversion.Run(request, (IImagingObserver?)observer ?? SilentObserver.Instance, CancellationToken.None);
    }

    private string Make(BackupImageFormat format, BackupImageEncryption encryption, Passphrase? secret, long? bandSize)
    {
        var recipe = new ImageRecipe
        {
            SourcePath = _folder["Source"], Path = _folder["image"], Format = format, SizeBytes = 60 << 20, Encryption = encryption,
                Passphrase = secret, BandSizeBytes = bandSize,
        };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
        return recipe.Path;
    }

    private string Unpack(string name)
    {
        string copy = _folder[Path.GetFileNameWithoutExtension(name)];
        using var source = new GZipStream(File.OpenRead(Path.Combine(CasesLocation.Folder!, "files", name)), CompressionMode.Decompress);
        using FileStream target = File.Create(copy);
        source.CopyTo(target);
        return copy;
    }
}
