using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Encryption;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// Passphrases of images in the keychain of macOS, in the form in which the system itself saves them and looks for them: a double click on
/// the image opens it, and so does a task without a person. An item is found by the identifier in the encryption header, so the image may
/// be renamed and copied.
/// </summary>
public static class ImageKeychain
{
    /// <summary>Makes sure that this system has a keychain.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.KeychainNotAvailable"/>.</exception>
    public static void CheckAvailable() => _ = Current();

    /// <summary>Saves the passphrase of an image, in the place of one that was saved before.</summary>
    /// <param name="path">The image, as a full path.</param>
    /// <param name="passphrase">Opens it; this is not tried. Stays the caller's.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.KeychainNotAvailable"/>, <see cref="ImageErrorId.KeychainRefused"/>,
    /// <see cref="ImageErrorId.InvalidArgument"/> (not encrypted), <see cref="ImageErrorId.UnsupportedFormat"/> (version 1), or what the
    /// host says about the image.
    /// </exception>
    public static void Save(string path, Passphrase passphrase) => Save(path, passphrase, Current());

    /// <summary>Reads the passphrase of an image.</summary>
    /// <param name="path">The image, as a full path.</param>
    /// <returns>The passphrase, the caller's to dispose; null for an image that is not encrypted.</returns>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.KeychainItemNotFound"/>, and as <see cref="Save(string, Passphrase)"/>.
    /// </exception>
    public static Passphrase? Find(string path) => Find(path, Current());

    /// <summary>The same with a keychain of its own.</summary>
    /// <param name="path">The image, as a full path.</param>
    /// <param name="passphrase">Opens it.</param>
    /// <param name="keychain">The keychain.</param>
    internal static void Save(string path, Passphrase passphrase, IKeychain keychain)
    {
        string account = AccountOf(path) ?? throw ImagePassphrase.NotEncrypted().WithPath(path);
        Ask(path, () =>
        {
            keychain.Save(account, Path.GetFileName(path), passphrase.Bytes);
            return true;
        });
    }

    /// <summary>The same with a keychain of its own.</summary>
    /// <param name="path">The image, as a full path.</param>
    /// <param name="keychain">The keychain.</param>
    internal static Passphrase? Find(string path, IKeychain keychain)
    {
        if (AccountOf(path) is not string account) return null;
        byte[] secret = Ask(path, () => keychain.Find(account)) ?? throw new ImageException(
            ImageErrorId.KeychainItemNotFound, "The keychain has no passphrase of the image.", path,
            remedy: "Give it with -Passphrase; Set-BackupImagePassphrase -SaveToKeychain saves it.");
        return Passphrase.Take(secret);
    }

    private static IKeychain Current() => HostPlatform.Current.Keychain ?? throw new ImageException(
        ImageErrorId.KeychainNotAvailable, "There is a keychain on macOS only.",
        remedy: "The module Microsoft.PowerShell.SecretManagement keeps passphrases everywhere: what its Get-Secret gives goes straight "
            + "into -Passphrase (Get-Secret BackupPassphrase).");

    /// <summary>What the system looks for: the identifier in the header, in capitals. Null where the image is not encrypted.</summary>
    private static string? AccountOf(string path)
    {
        try
        {
            switch (ContainerDetection.Detect(path))
            {
                case ContainerKind.SparseBundle:
                    byte[] token = SparseBundleStorage.ReadToken(path);
                    return token.Length == 0 ? null : AccountOf(new MemoryStorage(token));
                case ContainerKind.Encrypted:
                    using (FileStorage file = FileStorage.OpenRead(path)) return AccountOf(file);
                default:
                    return null;
            }
        }
        catch (ImageException e)
        {
            throw e.WithPath(path);
        }
    }

    private static string AccountOf(BlockStorage file) =>
        EncryptionHeader.Read(file).Identifier?.ToString("D").ToUpperInvariant()
        ?? throw EncryptionHeader.VersionOneUnsupported(
            "It has no identifier by which a keychain could find its passphrase: give -Passphrase.");

    private static T Ask<T>(string path, Func<T> call)
    {
        try
        {
            return call();
        }
        catch (HostException e)
        {
            throw new ImageException(
                ImageErrorId.KeychainRefused, e.Message, path, remedy: "Unlock the keychain and allow the access, or give -Passphrase.",
                innerException: e);
        }
    }
}
