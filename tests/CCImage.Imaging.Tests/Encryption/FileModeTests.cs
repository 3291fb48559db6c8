using CCImage.Diagnostics;
using CCImage.Encryption;

namespace CCImage.Tests.Encryption;

/// <summary>Who may read the files of an image: keys are their owner's alone, everything else is as the umask has it.</summary>
public sealed class FileModeTests : IDisposable
{
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void The_keys_of_an_encrypted_bundle_are_private_from_the_start_and_after_a_change_of_the_passphrase()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        using Passphrase old = Secrets.Of("old"), next = Secrets.Of("new");
        string path = Make("secret.sparsebundle", BackupImageFormat.SparseBundle, old);
        Assert.Equal(Private, File.GetUnixFileMode(Path.Combine(path, "token")));
        Assert.Equal(UmaskMode(), File.GetUnixFileMode(Path.Combine(path, "Info.plist")));
        ImagePassphrase.Change(path, old, next, Secrets.FewRounds, SilentObserver.Instance, CancellationToken.None);
        Assert.Equal(Private, File.GetUnixFileMode(Path.Combine(path, "token")));

        // What the user has decided stays.
        File.SetUnixFileMode(Path.Combine(path, "token"), Private | UnixFileMode.GroupRead);
        ImagePassphrase.Change(path, next, old, Secrets.FewRounds, SilentObserver.Instance, CancellationToken.None);
        Assert.Equal(Private | UnixFileMode.GroupRead, File.GetUnixFileMode(Path.Combine(path, "token")));
    }

    [Theory]
    [InlineData("plain.sparsebundle", BackupImageFormat.SparseBundle, "token")]
    [InlineData("plain.sparseimage", BackupImageFormat.Sparse, "")]
    [InlineData("plain.dmg", BackupImageFormat.ReadWrite, "")]
    public void Everything_else_is_as_the_umask_has_it(string name, BackupImageFormat format, string file)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        Assert.Equal(UmaskMode(), File.GetUnixFileMode(Path.Join(Make(name, format, null), file)));
    }

    [System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
    private UnixFileMode UmaskMode()
    {
        string path = _folder["umask"];
        File.WriteAllText(path, "");
        return File.GetUnixFileMode(path);
    }

    private string Make(string name, BackupImageFormat format, Passphrase? passphrase)
    {
        string path = _folder[name];
        using ImageCreation creation = ImageCreation.Prepare(
            new ImageRecipe
            {
                Path = path, Format = format, SizeBytes = 20_000_000, Passphrase = passphrase,
                Encryption = passphrase is null ? BackupImageEncryption.None : BackupImageEncryption.Aes128,
            },
            SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
        return path;
    }
}
