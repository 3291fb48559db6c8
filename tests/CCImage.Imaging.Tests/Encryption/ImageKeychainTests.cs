using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Platform;

namespace CCImage.Tests.Encryption;

/// <summary>Saving and finding passphrases, over a keychain in memory. What only the real one can show is in the Pester tests tagged
/// MacOS.</summary>
public sealed class ImageKeychainTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly MemoryKeychain _keychain = new();
    private readonly string _plain;

    public ImageKeychainTests() => _plain = EncryptedImages.MakePlain(_folder.Path);

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(BackupImageFormat.ReadOnlyZlib, "z.dmg")]
    [InlineData(BackupImageFormat.Sparse, "s.sparseimage")]
    [InlineData(BackupImageFormat.SparseBundle, "b.sparsebundle")]
    public void What_was_saved_opens_the_image_wherever_it_lies(BackupImageFormat format, string name)
    {
        string image = Make(format, name);
        using (Passphrase secret = Secrets.Of("pass – £")) ImageKeychain.Save(image, secret, _keychain);
        Assert.Equal(name, Assert.Single(_keychain.Items).Value.Name);

        string moved = Path.Combine(_folder.Path, "moved");
        Directory.Move(image, moved);
        using Passphrase found = ImageKeychain.Find(moved, _keychain)!;
        using DiskImage opened = DiskImage.Open(moved, found);
        Assert.Equal(format, opened.Format);
    }

    /// <summary>The identifier as the header has it at byte 36, in the form of a CFUUID's text.</summary>
    [Fact]
    public void The_account_is_the_identifier_in_the_header_in_capitals()
    {
        string image = Make(BackupImageFormat.ReadOnlyZlib, "z.dmg");
        using (Passphrase secret = Secrets.Of("pass – £")) ImageKeychain.Save(image, secret, _keychain);
        string hex = Convert.ToHexString(File.ReadAllBytes(image), 36, 16);
        Assert.Equal($"{hex[..8]}-{hex[8..12]}-{hex[12..16]}-{hex[16..20]}-{hex[20..]}", Assert.Single(_keychain.Items).Key);
    }

    [Fact]
    public void Saving_again_replaces_and_the_new_passphrase_counts()
    {
        string image = Make(BackupImageFormat.SparseBundle, "b.sparsebundle");
        using Passphrase old = Secrets.Of("pass – £"), fresh = Secrets.Of("fresh");
        ImageKeychain.Save(image, old, _keychain);
        ImagePassphrase.Change(image, old, fresh, Secrets.FewRounds, SilentObserver.Instance, CancellationToken.None);
        ImageKeychain.Save(image, fresh, _keychain);
        using Passphrase found = ImageKeychain.Find(image, _keychain)!;
        Assert.Equal(fresh, found);
        Assert.Single(_keychain.Items);
    }

    [Fact]
    public void An_image_in_the_clear_needs_none_and_has_none_to_save()
    {
        Assert.Null(ImageKeychain.Find(_plain, _keychain));
        using Passphrase secret = Secrets.Of("x");
        ImageException e = Assert.Throws<ImageException>(() => ImageKeychain.Save(_plain, secret, _keychain));
        Assert.Equal((ImageErrorId.InvalidArgument, _plain), (e.Id, e.Path));
        Assert.Empty(_keychain.Items);
    }

    [Fact]
    public void Missing_and_refused_are_different_errors()
    {
        string image = Make(BackupImageFormat.ReadOnlyZlib, "z.dmg");
        ImageException missing = Assert.Throws<ImageException>(() => ImageKeychain.Find(image, _keychain));
        Assert.Equal((ImageErrorId.KeychainItemNotFound, image), (missing.Id, missing.Path));
        using Passphrase secret = Secrets.Of("x");
        _keychain.Refusal = MacKeychain.FailureOf(-25308);
        Assert.Equal(ImageErrorId.KeychainRefused, Assert.Throws<ImageException>(() => ImageKeychain.Find(image, _keychain)).Id);
        ImageException refused = Assert.Throws<ImageException>(() => ImageKeychain.Save(image, secret, _keychain));
        Assert.Equal((ImageErrorId.KeychainRefused, image), (refused.Id, refused.Path));
        Assert.Contains("unlock-keychain", refused.Problem, StringComparison.Ordinal);
    }

    /// <summary>What came out of the keychain is the passphrase's own memory, and is gone with it.</summary>
    [Fact]
    public void The_secret_is_zeroed_with_the_passphrase()
    {
        string image = Make(BackupImageFormat.ReadOnlyZlib, "z.dmg");
        using (Passphrase secret = Secrets.Of("pass – £")) ImageKeychain.Save(image, secret, _keychain);
        ImageKeychain.Find(image, _keychain)!.Dispose();
        Assert.All(_keychain.HandedOut!, b => Assert.Equal(0, b));
    }

    [Fact]
    public void Elsewhere_than_on_macOS_the_error_shows_the_way_out()
    {
        if (OperatingSystem.IsMacOS())
        {
            ImageKeychain.CheckAvailable();
            return;
        }

        ImageException e = Assert.Throws<ImageException>(ImageKeychain.CheckAvailable);
        Assert.Equal(ImageErrorId.KeychainNotAvailable, e.Id);
        Assert.Contains("Microsoft.PowerShell.SecretManagement", e.Message, StringComparison.Ordinal);
        Assert.Contains("-Passphrase (Get-Secret BackupPassphrase)", e.Message, StringComparison.Ordinal);
    }

    /// <summary>SecBase.h.</summary>
    [Theory]
    [InlineData(-128, HostFailure.AccessDenied)] // errSecUserCanceled
    [InlineData(-25291, HostFailure.NotFound)] // errSecNotAvailable
    [InlineData(-25292, HostFailure.ReadOnly)] // errSecReadOnly
    [InlineData(-25293, HostFailure.AccessDenied)] // errSecAuthFailed
    [InlineData(-25294, HostFailure.NotFound)] // errSecNoSuchKeychain
    [InlineData(-25307, HostFailure.NotFound)] // errSecNoDefaultKeychain
    [InlineData(-25308, HostFailure.AccessDenied)] // errSecInteractionNotAllowed
    [InlineData(-25315, HostFailure.AccessDenied)] // errSecInteractionRequired
    [InlineData(-50, HostFailure.Other)] // errSecParam
    public void Status_numbers_of_Security_framework(int status, object failure) =>
        Assert.Equal(failure, MacKeychain.FailureOf(status).Failure);

    private string Make(BackupImageFormat format, string name)
    {
        string image = Path.Combine(_folder.Path, name);
        EncryptedImages.Write(_plain, image, format, BackupImageEncryption.Aes128, "pass – £");
        return image;
    }

    private sealed class MemoryKeychain : IKeychain
    {
        public Dictionary<string, (string Name, byte[] Secret)> Items { get; } = [];

        public HostException? Refusal { get; set; }

        public byte[]? HandedOut { get; private set; }

        public void Save(string account, string name, ReadOnlySpan<byte> secret)
        {
            if (Refusal is not null) throw Refusal;
            Items[account] = (name, secret.ToArray());
        }

        public byte[]? Find(string account)
        {
            if (Refusal is not null) throw Refusal;
            if (!Items.TryGetValue(account, out (string Name, byte[] Secret) item)) return null;
            HandedOut = GC.AllocateArray<byte>(item.Secret.Length, pinned: true);
            item.Secret.CopyTo(HandedOut, 0);
            return HandedOut;
        }
    }
}
