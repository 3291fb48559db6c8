using System.Security.Cryptography;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Storage;

namespace CCImage.Tests.Encryption;

/// <summary>Whole images: made, judged by an independent decoder, converted, restored, written to, tampered with.</summary>
public sealed class EncryptedImageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-enc-").FullName;

    public void Dispose() => Directory.Delete(_folder, true);

    [OracleTheory("python3", "openssl")]
    [InlineData(BackupImageEncryption.Aes128)]
    [InlineData(BackupImageEncryption.Aes256)]
    public void An_independent_decoder_finds_the_plain_image_in_every_container(BackupImageEncryption encryption)
    {
        string plain = EncryptedImages.MakePlain(_folder);
        foreach (BackupImageFormat format in EncryptedImages.WritableFormats)
        {
            string same = Path.Combine(_folder, "same"), image = Path.Combine(_folder, "image"), decoded = Path.Combine(_folder, "decoded");
            EncryptedImages.Write(plain, same, format, BackupImageEncryption.None, "");
            EncryptedImages.Write(plain, image, format, encryption, "correct hörse");
            (int exitCode, _, string error) =
                Oracle.Run("python3", Path.Combine(Oracle.Folder, "decode_encrypted.py"), image, decoded, "correct hörse");
            Assert.True(exitCode == 0, error);

            // A bundle decodes to its disk, a file to the file of the container.
            string expected = format == BackupImageFormat.SparseBundle ? plain : same;
            Assert.True(SameFiles(expected, decoded), format.ToString());
            Assert.Equal(
                1, Oracle.Run("python3", Path.Combine(Oracle.Folder, "decode_encrypted.py"), image, decoded, "correct horse").ExitCode);

            // And so do we.
            using (DiskImage opened = DiskImage.Open(image, Secrets.Of("correct hörse")))
            using (DiskImage original = DiskImage.Open(plain))
            {
                Assert.Equal((format, encryption), (opened.Format, opened.Container.Encryption));
                Assert.Equal(HashOf(original.Disk), HashOf(opened.Disk));
            }

            foreach (string path in new[] { same, image, decoded }) Delete(path);
        }
    }

    [Fact]
    public void New_encrypted_images_are_described_unlocked_and_restored()
    {
        string source = Path.GetDirectoryName(EncryptedImages.MakePlain(_folder))!;
        using Passphrase secret = Secrets.Of("secret");
        var recipe = new ImageRecipe
        {
            SourcePath = Path.Combine(source, "Source"), Path = Path.Combine(_folder, "new.dmg"), Format = BackupImageFormat.ReadOnlyZlib,
            Encryption = BackupImageEncryption.Aes256, Passphrase = secret,
        };
        using (ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None))
        {
            BackupImage made = creation.Run(CancellationToken.None);
            Assert.Equal((false, BackupImageEncryption.Aes256, 1), (made.IsLocked, made.Encryption, made.Volumes.Count));
            Assert.Equal(12, made.Report!.Entries);
        }

        BackupImage locked = DiskImage.Inspect(recipe.Path);
        Assert.Equal((true, BackupImageEncryption.Aes256, 0), (locked.IsLocked, locked.Encryption, locked.Volumes.Count));
        string restored = Path.Combine(_folder, "restored");
        var request = new ImageRestoreRequest { Path = recipe.Path, DestinationPath = restored };
        Assert.Equal(
            ImageErrorId.PassphraseRequired,
            Assert.Throws<ImageException>(() => ImageRestore.Run(request, SilentObserver.Instance, CancellationToken.None)).Id);
        ImageRestore.Run(request with { Passphrase = secret }, SilentObserver.Instance, CancellationToken.None);
        foreach (string file in Directory.GetFiles(recipe.SourcePath))
            Assert.True(SameFiles(file, Path.Combine(restored, Path.GetFileName(file))), file);
    }

    [Fact]
    public void An_encryption_without_a_passphrase_is_refused_before_anything_is_made()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "Source"));
        var recipe =
            new ImageRecipe { SourcePath = Path.Combine(_folder, "Source"), Path = Path.Combine(_folder, "a.dmg"),
                Format = BackupImageFormat.ReadOnly, Encryption = BackupImageEncryption.Aes128 };
        using (ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, default))
        {
            Assert.True(creation.Estimate.ExpectedBytes > 0);
            Assert.Equal(ImageErrorId.PassphraseRequired, Assert.Throws<ImageException>(() => creation.Run(default)).Id);
        }

        Assert.Single(Directory.GetFileSystemEntries(_folder));
        using Passphrase empty = Secrets.Of("");
        Assert.Equal(
            ImageErrorId.InvalidArgument,
            Assert.Throws<ImageException>(() => ImageCreation.Prepare(recipe with { Passphrase = empty }, SilentObserver.Instance, default))
            .Id);
    }

    [Fact]
    public void A_conversion_keeps_the_encryption_changes_it_or_drops_it_when_asked()
    {
        string plain = EncryptedImages.MakePlain(_folder), locked = Path.Combine(_folder, "locked.sparseimage");
        EncryptedImages.Write(plain, locked, BackupImageFormat.Sparse, BackupImageEncryption.Aes256, "one");
        using Passphrase one = Secrets.Of("one"), two = Secrets.Of("two");
        var request =
            new ImageConversionRequest { Path = locked, DestinationPath = Path.Combine(_folder, "c.dmg"),
                Format = BackupImageFormat.ReadOnlyZlib, Overwrite = true, KeepFreeSpace = true };
        Assert.Equal(ImageErrorId.PassphraseRequired, Assert.Throws<ImageException>(() => Convert(request)).Id);
        request = request with { Passphrase = one };

        Assert.Equal((BackupImageEncryption.Aes256, false), Facts(Convert(request)));
        Assert.Equal(HashOf(plain, null), HashOf(request.DestinationPath, one));
        Assert.NotEqual(ReadHead(locked)[200..264], ReadHead(request.DestinationPath)[200..264]);

        Assert.Equal((BackupImageEncryption.Aes128, false),
            Facts(Convert(request with { DestinationEncryption = BackupImageEncryption.Aes128, DestinationPassphrase = two })));
        Assert.Equal(HashOf(plain, null), HashOf(request.DestinationPath, two));
        Assert.Equal(ImageErrorId.WrongPassphrase, Assert.Throws<ImageException>(() => DiskImage.Open(request.DestinationPath, one)).Id);

        Assert.Equal(
            (BackupImageEncryption.None, false), Facts(Convert(request with { DestinationEncryption = BackupImageEncryption.None })));
        Assert.Equal(HashOf(plain, null), HashOf(request.DestinationPath, null));

        // From plain to encrypted, and the source deleted after what was written has been read back through the decryption.
        var encrypt =
            request with { Path = plain, Passphrase = null, DestinationEncryption = BackupImageEncryption.Aes256,
                DestinationPassphrase = two, DeleteSource = true };
        string hash = HashOf(plain, null);
        Assert.Equal((BackupImageEncryption.Aes256, false), Facts(Convert(encrypt)));
        Assert.False(File.Exists(plain));
        Assert.Equal(hash, HashOf(request.DestinationPath, two));

        static BackupImage Convert(ImageConversionRequest request) =>
            ImageConversion.Run(request, SilentObserver.Instance, CancellationToken.None);

        static (BackupImageEncryption, bool) Facts(BackupImage image) => (image.Encryption, image.IsLocked);

        static byte[] ReadHead(string path) => File.ReadAllBytes(path)[..512];
    }

    [OracleTheory("python3", "openssl")]
    [InlineData(BackupImageFormat.ReadWrite)]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.SparseBundle)]
    public void What_is_written_into_an_encrypted_image_later_is_encrypted_too(BackupImageFormat format)
    {
        string plain = EncryptedImages.MakePlain(_folder), image = Path.Combine(_folder, "image"),
            decoded = Path.Combine(_folder, "decoded");
        EncryptedImages.Write(plain, image, format, BackupImageEncryption.Aes128, "one");
        byte[] expected = File.ReadAllBytes(plain);
        var random = new Random(3);
        using (DiskImage disk = DiskImage.Open(image, Secrets.Of("one"), writable: true))
        {
            for (int i = 0; i < 60; i++)
            {
                byte[] bytes = new byte[random.Next(1, 60_000)];
                random.NextBytes(bytes);
                int at = random.Next(expected.Length - bytes.Length);
                disk.Disk.Write(at, bytes);
                bytes.CopyTo(expected, at);
            }

            disk.Disk.Flush();
        }

        using (ImageContainer disk = ImageContainer.Open(image, Secrets.Of("one"), writable: false))
        {
            byte[] read = new byte[disk.Disk.Length];
            disk.Disk.Read(0, read);
            Assert.True(read.AsSpan().SequenceEqual(expected));
        }

        if (format == BackupImageFormat.Sparse) return;
        Assert.Equal(0, Oracle.Run("python3", Path.Combine(Oracle.Folder, "decode_encrypted.py"), image, decoded, "one").ExitCode);
        Assert.True(File.ReadAllBytes(decoded).AsSpan().SequenceEqual(expected));
    }

    [CorpusFact]
    public void Version_one_is_read_and_not_written()
    {
        foreach (string name in new[] { "testimage.AES-128.64k.header_v1.dmg", "testimage.AES-128.64k.header_v1.sparseimage",
            "testimage.AES-128.64k.header_v1.sparsebundle" })
        {
            string copy = Copy("openwall__john-samples/" + name);
            using (DiskImage.Open(copy, Secrets.Of("vilefault")))
            {
            }

            Assert.Equal(ImageErrorId.UnsupportedFormat,
                Assert.Throws<ImageException>(() => DiskImage.Open(copy, Secrets.Of("vilefault"), writable: true)).Id);
        }
    }

    [CorpusFact]
    public void An_encrypted_bundle_of_Apples_can_be_written_and_keeps_its_maps()
    {
        string copy = Copy("chocol4te__sparsebundle-utils/none-fat-aes128.sparsebundle");
        byte[] expected;
        using (DiskImage disk = DiskImage.Open(copy, Secrets.Of("1234"), writable: true))
        {
            expected = new byte[disk.Disk.Length];
            disk.Disk.Read(0, expected);
            Assert.Equal(
                "b59d7e87f5a1ec4164b0d950c0a65c92d9f41ff0b89682c02c1ec88063f27446", Convert.ToHexStringLower(SHA256.HashData(expected)));
            foreach (int at in new[] { 2_097_152 + 700, 5 * 8_388_608, (5 * 8_388_608) + 8_090_112 + 100, 50_000_000, 99_000_123 })
            {
                byte[] bytes = [1, 2, 3, 4, 5];
                disk.Disk.Write(at, bytes);
                bytes.CopyTo(expected, at);
            }

            disk.Disk.Flush();
        }

        using DiskImage again = DiskImage.Open(copy, Secrets.Of("1234"));
        byte[] read = new byte[expected.Length];
        again.Disk.Read(0, read);
        Assert.True(read.AsSpan().SequenceEqual(expected));
        Assert.Contains(again.Disk.GetExtents(0, again.Disk.Length), e => e.Kind == ExtentKind.Zero);
    }

    [Fact]
    public void A_flipped_bit_in_any_field_of_the_header_gives_a_typed_error_or_the_same_disk()
    {
        string plain = EncryptedImages.MakePlain(_folder), image = Path.Combine(_folder, "image"),
            damagedImage = Path.Combine(_folder, "damaged");
        EncryptedImages.Write(plain, image, BackupImageFormat.ReadOnlyLzfse, BackupImageEncryption.Aes256, "one");
        byte[] original = File.ReadAllBytes(image);
        const int End = 96 + 104 + 64;
        var outcomes = new Dictionary<string, int>();
        using Passphrase secret = Secrets.Of("one");
        File.WriteAllBytes(damagedImage, original);
        for (int bit = 0; bit < End * 8; bit++)
        {
            byte[] head = original[..512];
            head[bit / 8] ^= (byte)(1 << (bit % 8));

            // Rounds that are many but possible take their time.
            if ((uint)Layout.Read<PassphraseKeyV2>(head.AsSpan(96)).Iterations is > 100_000 and <= EncryptionHeader.MaximumIterations)
                continue;
            using (FileStream file = File.OpenWrite(damagedImage)) file.Write(head);
            Exception? thrown = Record.Exception(() =>
            {
                using DiskImage opened = DiskImage.Open(damagedImage, secret);
                Assert.Equal(new FileInfo(plain).Length, opened.Disk.Length);
                Assert.Single(opened.Volumes);
            });
            Assert.True(
                thrown is null
                or ImageException { Id: ImageErrorId.ImageDamaged or ImageErrorId.UnsupportedFormat or ImageErrorId.WrongPassphrase
                or ImageErrorId.UnknownFormat }, $"bit {bit}: {thrown}");
            string outcome = (thrown as ImageException)?.Id.ToString() ?? "opens";
            outcomes[outcome] = outcomes.GetValueOrDefault(outcome) + 1;

            // Nothing depends on the identifier, the true size of a key entry and what is reserved behind salt and IV. A last block of the
            // wrapped keys that becomes noise passes for padding once in 256 times; the keys lie before it.
            int at = bit / 8;
            if (thrown is null)
                Assert.True(at is (>= 36 and < 52) or (>= 88 and < 96) or (>= 132 and < 144) or (>= 156 and < 180)
                    or >= 256, $"Byte {at} does not matter.");
        }

        Assert.True(outcomes["WrongPassphrase"] > 200 && outcomes["ImageDamaged"] > 200
            && outcomes["UnsupportedFormat"] > 200, string.Join(", ", outcomes));
    }

    private static bool SameFiles(string left, string right) => File.ReadAllBytes(left).AsSpan().SequenceEqual(File.ReadAllBytes(right));

    private static string HashOf(string path, Passphrase? passphrase)
    {
        using DiskImage image = DiskImage.Open(path, passphrase);
        return HashOf(image.Disk);
    }

    private static string HashOf(BlockStorage disk)
    {
        byte[] bytes = new byte[disk.Length];
        disk.Read(0, bytes);
        return System.Convert.ToHexStringLower(SHA256.HashData(bytes));
    }

    private static void Delete(string path)
    {
        if (Directory.Exists(path)) Directory.Delete(path, true);
        else File.Delete(path);
    }

    private string Copy(string name)
    {
        string from = Path.Combine(CorpusLocation.Folder!, name), to = Path.Combine(_folder, Path.GetFileName(name));
        if (!Directory.Exists(from))
        {
            CopyFile(from, to);
            return to;
        }

        foreach (string file in Directory.GetFiles(from, "*", SearchOption.AllDirectories))
        {
            string target = Path.Combine(to, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            CopyFile(file, target);
        }

        return to;

        static void CopyFile(string from, string to)
        {
            File.WriteAllBytes(to, File.ReadAllBytes(from));
        }
    }
}
