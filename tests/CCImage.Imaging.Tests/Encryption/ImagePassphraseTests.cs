using System.Security.Cryptography;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Storage;

namespace CCImage.Tests.Encryption;

public sealed class ImagePassphraseTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-pass-").FullName;
    private readonly Passphrase _old = Secrets.Of("old");
    private readonly Passphrase _new = Secrets.Of("a much longer new one, ünïcode included");

    private string Image => Path.Combine(_folder, "image");

    private string Backup => Image + ImagePassphrase.BackupSuffix;

    public void Dispose()
    {
        _old.Dispose();
        _new.Dispose();
        Directory.Delete(_folder, true);
    }

    [Theory]
    [InlineData(BackupImageFormat.ReadOnlyZlib, BackupImageEncryption.Aes128)]
    [InlineData(BackupImageFormat.Sparse, BackupImageEncryption.Aes256)]
    [InlineData(BackupImageFormat.SparseBundle, BackupImageEncryption.Aes256)]
    public void The_new_passphrase_opens_and_the_old_one_no_more(BackupImageFormat format, BackupImageEncryption encryption)
    {
        Make(format, encryption);
        string disk = Hash(_old);
        Dictionary<string, byte[]> before = Files();
        Assert.Equal(ImageErrorId.WrongPassphrase, Assert.Throws<ImageException>(() => Change(_new, _old)).Id);
        Assert.Equal(before, Files());
        Change(_old, _new);
        Assert.Equal(disk, Hash(_new));
        Assert.Equal(ImageErrorId.WrongPassphrase, Assert.Throws<ImageException>(() => DiskImage.Open(Image, _old)).Id);

        // No other file, and no byte outside of the key entry.
        Dictionary<string, byte[]> after = Files();
        Assert.Equal(before.Keys.Order(), after.Keys.Order());
        foreach ((string name, byte[] bytes) in before)
        {
            bool hasHeader = format != BackupImageFormat.SparseBundle || name == "token";
            if (hasHeader)
            {
                Assert.Equal(bytes[..96], after[name][..96]);
                Assert.NotEqual(bytes[96..264], after[name][96..264]);
            }

            Assert.Equal(bytes[(hasHeader ? 264 : 0)..], after[name][(hasHeader ? 264 : 0)..]);
        }

        Change(_new, _old);
        Assert.Equal(disk, Hash(_old));
    }

    [Fact]
    public void The_rounds_are_those_of_new_images()
    {
        Make(BackupImageFormat.ReadOnlyZlib, BackupImageEncryption.Aes128);
        ImagePassphrase.Change(Image, _old, _new, SilentObserver.Instance, CancellationToken.None);
        byte[] head = File.ReadAllBytes(Image)[..512];
        Assert.Equal(
            EncryptionHeaderWriter.CalibratedIterations, System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(head.AsSpan(96 + 8)));
        Hash(_new);
    }

    [Fact]
    public void A_crash_at_any_point_leaves_an_image_that_opens_with_one_of_them()
    {
        Make(BackupImageFormat.ReadOnlyZlib, BackupImageEncryption.Aes256);
        byte[] original = File.ReadAllBytes(Image);
        string disk = Hash(_old);
        var seen = new HashSet<string>();
        for (int point = 0; ; point++)
        {
            // A write that is cut within its sector too, although no medium should do that.
            foreach (int torn in new[] { 0, 8, 100, 108, 180, 220, 263, 511 })
            {
                File.Delete(Backup);
                File.WriteAllBytes(Image, original);
                bool crashed = false;
                using (var file = new CrashingStorage(FileStorage.OpenWrite(Image), point, torn))
                {
                    try
                    {
                        ImagePassphrase.ChangeFile(
                            file, Image, _old, _new, Secrets.FewRounds, SilentObserver.Instance, CancellationToken.None);
                    }
                    catch (CrashException)
                    {
                        crashed = true;
                    }
                }

                if (!crashed)
                {
                    Assert.True(point >= 2, "It never wrote.");
                    Assert.Contains("torn", seen);
                    Assert.Contains("old", seen);
                    Assert.Contains("new", seen);
                    return;
                }

                string state = Opens(_old) ? "old" : Opens(_new) ? "new" : "torn";
                seen.Add(state);

                // Asking again finishes it, whatever the state was; with the new passphrase alone, where that opens.
                if (state == "torn")
                {
                    ImageException error = Assert.Throws<ImageException>(() => DiskImage.Open(Image, _old));
                    Assert.Contains("interrupted", error.Remedy, StringComparison.Ordinal);
                }

                Change(state == "new" && torn % 2 == 0 ? _new : _old, _new);
                Assert.False(File.Exists(Backup));
                Assert.Equal(disk, Hash(_new));
            }
        }
    }

    [System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
    [Fact]
    public void The_copy_of_the_header_is_for_its_owner_only_and_of_this_image_only()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        Make(BackupImageFormat.Sparse, BackupImageEncryption.Aes128);
        byte[] original = File.ReadAllBytes(Image);
        using (var file = new CrashingStorage(FileStorage.OpenWrite(Image), 0, 0))
        {
            Assert.Throws<CrashException>(() =>
                ImagePassphrase.ChangeFile(file, Image, _old, _new, Secrets.FewRounds, SilentObserver.Instance, CancellationToken.None));
        }

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Backup));
        Assert.Equal(original[..EncryptionHeaderWriter.HeaderSize], File.ReadAllBytes(Backup));

        // Another image by the same name: the copy is not taken for its own.
        File.Delete(Image);
        string plain = EncryptedImages.MakePlain(Directory.CreateDirectory(Path.Combine(_folder, "more")).FullName);
        EncryptedImages.Write(plain, Image, BackupImageFormat.Sparse, BackupImageEncryption.Aes128, "third");
        Assert.Equal(ImageErrorId.WrongPassphrase, Assert.Throws<ImageException>(() => Change(_old, _new)).Id);
        using Passphrase third = Secrets.Of("third");
        Change(third, _new);
        Assert.False(File.Exists(Backup));
    }

    [Fact]
    public void A_copy_of_the_old_header_that_cannot_be_removed_is_told()
    {
        Make(BackupImageFormat.Sparse, BackupImageEncryption.Aes128);
        ImageException? leftover;
        using (var file = new FlushHook(FileStorage.OpenWrite(Image), ReplaceBackup))
        {
            leftover = ImagePassphrase.ChangeFile(
                file, Image, _old, _new, Secrets.FewRounds, SilentObserver.Instance, CancellationToken.None);
        }

        Assert.Equal((ImageErrorId.DestinationUnwritable, Backup), (leftover!.Id, leftover.Path));
        Assert.Contains("The passphrase is changed", leftover.Message, StringComparison.Ordinal);
        Assert.Contains("old passphrase still opens", leftover.Remedy, StringComparison.Ordinal);
        DiskImage.Open(Image, _new).Dispose();

        void ReplaceBackup()
        {
            if (!File.Exists(Backup)) return;
            File.Delete(Backup);
            Directory.CreateDirectory(Backup); // what is no file is not deleted as one
        }
    }

    private sealed class FlushHook(BlockStorage inner, Action onFlush) : BlockStorage
    {
        public override long Length => inner.Length;

        public override bool CanWrite => true;

        public override void Flush()
        {
            inner.Flush();
            onFlush();
        }

        protected override void ReadCore(long offset, Span<byte> buffer) => inner.Read(offset, buffer);

        protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer) => inner.Write(offset, buffer);

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }
    }

    [Theory]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.SparseBundle)]
    public void An_image_in_use_and_one_that_is_not_encrypted_are_refused(BackupImageFormat format)
    {
        Make(format, BackupImageEncryption.Aes128);
        using (DiskImage.Open(Image, _old))
        {
            Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => Change(_old, _new)).Id);
        }

        string plain = Path.Combine(_folder, "unencrypted");
        EncryptedImages.Write(Path.Combine(_folder, "plain"), plain, format, BackupImageEncryption.None, "");
        var error = Assert.Throws<ImageException>(
            () => ImagePassphrase.Change(plain, _old, _new, SilentObserver.Instance, CancellationToken.None));
        Assert.Equal((ImageErrorId.InvalidArgument, plain), (error.Id, error.Path));
        using Passphrase empty = Secrets.Of("");
        Assert.Equal(ImageErrorId.InvalidArgument, Assert.Throws<ImageException>(() => Change(_old, empty)).Id);
    }

    [Fact]
    public void A_change_that_is_cancelled_changes_nothing()
    {
        Make(BackupImageFormat.Sparse, BackupImageEncryption.Aes128);
        Dictionary<string, byte[]> before = Files();
        Assert.Throws<OperationCanceledException>(
            () => ImagePassphrase.Change(Image, _old, _new, Secrets.FewRounds, SilentObserver.Instance, new CancellationToken(true)));
        Assert.Equal(before, Files());
        Assert.False(File.Exists(Backup));
    }

    [CorpusFact]
    public void Images_of_Apples_get_a_new_passphrase_and_those_of_version_one_are_refused_with_the_way_out()
    {
        foreach ((string name, string passphrase) in new[]
        {
            ("citruz__dmgwiz/input_aes256.dmg", "test123"), ("openwall__john-samples/HFS+-UDZO-password-data.dmg", "password"),
                ("openwall__john-samples/testimage.AES-128.64k.header_v2.sparseimage", "vilefault"),
        })
        {
            File.WriteAllBytes(Image, File.ReadAllBytes(Path.Combine(CorpusLocation.Folder!, name)));
            using Passphrase theirs = Secrets.Of(passphrase);
            string disk = Hash(theirs);
            Change(theirs, _new);
            Assert.Equal(disk, Hash(_new));
            Assert.False(Opens(theirs));
        }

        File.WriteAllBytes(
            Image, File.ReadAllBytes(Path.Combine(CorpusLocation.Folder!, "openwall__john-samples/testimage.AES-128.64k.header_v1.dmg")));
        using Passphrase first = Secrets.Of("vilefault");
        var error = Assert.Throws<ImageException>(() => Change(first, _new));
        Assert.Equal(ImageErrorId.UnsupportedFormat, error.Id);
        Assert.Contains("Convert", error.Remedy, StringComparison.Ordinal);
    }

    private void Make(BackupImageFormat format, BackupImageEncryption encryption) =>
        EncryptedImages.Write(EncryptedImages.MakePlain(_folder), Image, format, encryption, "old");

    private void Change(Passphrase from, Passphrase to) =>
        ImagePassphrase.Change(Image, from, to, Secrets.FewRounds, SilentObserver.Instance, CancellationToken.None);

    private bool Opens(Passphrase passphrase)
    {
        try
        {
            DiskImage.Open(Image, passphrase).Dispose();
            return true;
        }
        catch (ImageException)
        {
            return false;
        }
    }

    private string Hash(Passphrase passphrase)
    {
        using DiskImage image = DiskImage.Open(Image, passphrase);
        byte[] bytes = new byte[image.Disk.Length];
        image.Disk.Read(0, bytes);
        return Convert.ToHexStringLower(SHA256.HashData(bytes));
    }

    private Dictionary<string, byte[]> Files() => Directory.Exists(Image)
        ? Directory.GetFiles(Image, "*", SearchOption.AllDirectories).ToDictionary(f => Path.GetRelativePath(Image, f), File.ReadAllBytes)
        : new() { ["."] = File.ReadAllBytes(Image) };

    /// <summary>The power goes.</summary>
    private sealed class CrashException : Exception;

    /// <summary>Ends at the nth write or flush; a write reaches the medium up to a byte within its sector.</summary>
    private sealed class CrashingStorage(FileStorage inner, int point, int torn) : BlockStorage
    {
        private int _count;

        public override long Length => inner.Length;

        public override bool CanWrite => true;

        public override void Flush()
        {
            if (_count++ == point) throw new CrashException();
            inner.Flush();
        }

        protected override void ReadCore(long offset, Span<byte> buffer) => inner.Read(offset, buffer);

        protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
        {
            if (_count++ == point)
            {
                inner.Write(offset, buffer[..torn]);
                throw new CrashException();
            }

            inner.Write(offset, buffer);
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing) inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
