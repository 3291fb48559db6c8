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

    /// <summary>Whether to go on: asked for as everywhere, but with -Force only where -Confirm or -WhatIf (or its preference) stand against it.</summary>
    /// <param name="description">What would be done.</param>
    /// <param name="caption">The cmdlet.</param>
    /// <param name="force">Whether -Force is given.</param>
    /// <param name="reason">Receives why not.</param>
    private protected bool MayProcess(string description, string caption, bool force, out ShouldProcessReason reason)
    {
        reason = ShouldProcessReason.None;
        bool isAsked = !force || IsBound("Confirm") || IsBound("WhatIf") || LanguagePrimitives.IsTrue(GetVariableValue("WhatIfPreference"));
        return !isAsked || ShouldProcess(description, description, caption, out reason);

        bool IsBound(string parameter) => MyInvocation.BoundParameters.ContainsKey(parameter);
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
