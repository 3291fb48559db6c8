using System.Management.Automation;
using CCImage.Encryption;

namespace CCImage.Commands;

/// <summary>Tells what an image is and what is in it. Reads metadata only.</summary>
[Cmdlet(VerbsCommon.Get, "BackupImage", DefaultParameterSetName = PathSet)]
[OutputType(typeof(BackupImage))]
public sealed class GetBackupImageCommand : ImagePathCommand
{
    // A look at an image that stays locked is an answer.
    private protected override bool AsksForPassphrase => false;

    private protected override void ProcessPath(string path)
    {
        Passphrase? secret = SecretOf(path);
        WriteObject(RunWorker((_, cancellation) => DiskImage.Inspect(path, secret, cancellation)));
    }
}
