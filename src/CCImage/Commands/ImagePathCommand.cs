using System.Management.Automation;
using System.Security;
using CCImage.Encryption;
using CCImage.Pipeline;

namespace CCImage.Commands;

/// <summary>A cmdlet over images that exist, encrypted ones among them.</summary>
public abstract class ImagePathCommand : PathCommand
{
    private Passphrase? _given;
    private Passphrase? _typed;
    private (string Path, Passphrase? Secret)? _found;

    /// <summary>The passphrase of encrypted images.</summary>
    [Parameter]
    [ValidateNotNull]
    public SecureString? Passphrase { get; set; }

    /// <summary>Take the passphrase of each image from the keychain of macOS.</summary>
    [Parameter]
    public SwitchParameter FromKeychain { get; set; }

    private protected override string Noun => "image";

    private protected override bool UsesKeychain => FromKeychain;

    /// <summary>Whether somebody is asked for the passphrase of an image that needs one and got none.</summary>
    private protected virtual bool AsksForPassphrase => true;

    private protected sealed override void CheckPassphraseSource()
    {
        if (!FromKeychain || Passphrase is null) return;
        throw new ImageException(
            ImageErrorId.InvalidArgument, "Two places were given for the passphrase.", remedy: "Give either -Passphrase or -FromKeychain.");
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _given?.Dispose();
        _typed?.Dispose();
        _found?.Secret?.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Whether to go on: asked for as everywhere, but with -Force only where -Confirm or -WhatIf (or its preference) stand against
    /// it.</summary>
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

    /// <summary>
    /// The passphrase of an image for the core: given, from the keychain, or asked for where the image needs one. Null when it needs none,
    /// or when none was given and nobody is asked. Zeroed when the cmdlet ends, or comes to the next image.
    /// </summary>
    /// <param name="path">The image, as a full path.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.PassphraseRequired"/>: there is nobody to ask; what the keychain
    /// says.</exception>
    private protected Passphrase? SecretOf(string path)
    {
        if (Passphrase is not null) return _given ??= Encryption.Passphrase.From(Passphrase);
        if (!FromKeychain) return AsksForPassphrase ? AskFor(path) : null;
        if (_found is { } last && last.Path == path) return last.Secret;
        _found?.Secret?.Dispose();
        _found = null;
        _found = (path, RunWorker((_, _) => ImageKeychain.Find(path)));
        return _found.Value.Secret;
    }

    // Several images of a pipeline often have one passphrase: what was typed last is tried first.
    private Passphrase? AskFor(string path)
    {
        if (!RunWorker((_, _) => ImagePassphrase.IsNeeded(path))) return null;
        if (_typed is { } last && Opens(last)) return last;
        _typed = new PassphrasePrompt(Host).AskUntil(System.IO.Path.GetFileName(path), path, Opens);
        return _typed;

        bool Opens(Passphrase candidate) => RunWorker((_, _) => ImagePassphrase.Opens(path, candidate));
    }
}
