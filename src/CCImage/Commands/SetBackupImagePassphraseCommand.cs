using System.Management.Automation;
using System.Security;
using CCImage.Encryption;
using CCImage.Errors;

namespace CCImage.Commands;

/// <summary>Changes the passphrase of encrypted images. The data stay as they are.</summary>
[Cmdlet(VerbsCommon.Set, "BackupImagePassphrase", DefaultParameterSetName = PathSet, SupportsShouldProcess = true,
    ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(BackupImage))]
public sealed class SetBackupImagePassphraseCommand : ImagePathCommand
{
    private Passphrase? _new;

    /// <summary>The passphrase that will open the images; asked for when it is not given.</summary>
    [Parameter]
    [ValidateNotNull]
    public SecureString? NewPassphrase { get; set; }

    /// <summary>Save the new passphrase in the keychain of macOS.</summary>
    [Parameter]
    public SwitchParameter SaveToKeychain { get; set; }

    /// <summary>Give the image.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    private protected override bool UsesKeychain => FromKeychain || SaveToKeychain;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _new?.Dispose();
        base.Dispose(disposing);
    }

    private protected override void ProcessPath(string path)
    {
        string description = $"Change the passphrase of {path}.";
        if (!ShouldProcess(description, description, "Set-BackupImagePassphrase")) return;
        Passphrase old = SecretOf(path) ?? throw ImagePassphrase.NotEncrypted().WithPath(path);

        // Asked once for all images.
        Passphrase next = _new ??= NewPassphrase is null ? PromptForNewPassphrase("the images") : Encryption.Passphrase.From(NewPassphrase);
        ImageException? leftover =
            RunWorker((observer, cancellation) => ImagePassphrase.Change(path, old, next, null, observer, cancellation));
        if (leftover is not null) WriteError(ErrorMapping.ToRecord(leftover, path));
        if (SaveToKeychain) SaveInKeychain(path, next);
        else if (FromKeychain) WriteWarning($"{path}: The keychain still has the old passphrase; -SaveToKeychain saves the new one.");
        if (PassThru) WriteObject(RunWorker((_, cancellation) => DiskImage.Inspect(path, next, cancellation)));
    }
}
