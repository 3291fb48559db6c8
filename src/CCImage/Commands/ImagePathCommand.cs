using System.Management.Automation;
using System.Security;
using CCImage.Encryption;

namespace CCImage.Commands;

/// <summary>A cmdlet over images that exist, encrypted ones among them.</summary>
public abstract class ImagePathCommand : PathCommand
{
    private Passphrase? _given;
    private (string Path, Passphrase? Secret)? _found;

    /// <summary>The passphrase of encrypted images.</summary>
    [Parameter]
    [ValidateNotNull]
    public SecureString? Passphrase { get; set; }

    /// <summary>Take the passphrase of each image from the keychain of macOS.</summary>
    [Parameter]
    public SwitchParameter FromKeychain { get; set; }

    private protected override string Noun => "image";

    /// <summary>Whether the keychain is to be used at all.</summary>
    private protected virtual bool UsesKeychain => FromKeychain;

    /// <inheritdoc/>
    protected override void BeginProcessing()
    {
        if (UsesKeychain) RequireKeychain();
        if (!FromKeychain || Passphrase is null) return;
        ThrowTerminating(new ImageException(
            ImageErrorId.InvalidArgument, "Two places were given for the passphrase.", remedy: "Give either -Passphrase or -FromKeychain."));
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _given?.Dispose();
        _found?.Secret?.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>The passphrase of an image for the core, or null when none was given. Zeroed when the cmdlet ends, or comes to the next image.</summary>
    /// <param name="path">The image, as a full path.</param>
    private protected Passphrase? SecretOf(string path)
    {
        if (!FromKeychain) return _given ??= Passphrase is null ? null : Encryption.Passphrase.From(Passphrase);
        if (_found is { } last && last.Path == path) return last.Secret;
        _found?.Secret?.Dispose();
        _found = null;
        _found = (path, RunWorker((_, _) => ImageKeychain.Find(path)));
        return _found.Value.Secret;
    }
}
