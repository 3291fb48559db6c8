using System.Management.Automation;
using System.Security;
using CCImage.Encryption;

namespace CCImage.Commands;

/// <summary>A cmdlet over images that exist, encrypted ones among them.</summary>
public abstract class ImagePathCommand : PathCommand
{
    private Passphrase? _passphrase;

    /// <summary>The passphrase of encrypted images.</summary>
    [Parameter]
    [ValidateNotNull]
    public SecureString? Passphrase { get; set; }

    private protected override string Noun => "image";

    /// <summary>The passphrase for the core, or null when none was given. Zeroed when the cmdlet ends.</summary>
    private protected Passphrase? Secret => _passphrase ??= Passphrase is null ? null : Encryption.Passphrase.From(Passphrase);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _passphrase?.Dispose();
        base.Dispose(disposing);
    }
}
