using System.Diagnostics.CodeAnalysis;
using System.Management.Automation;
using CCImage.Encryption;
using CCImage.Internal;

namespace CCImage.Commands;

/// <summary>Extracts the files of a volume in an image to a folder, with their metadata.</summary>
[Cmdlet(VerbsData.Restore, "BackupImage", DefaultParameterSetName = PathSet, SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(ImageRestoreResult))]
public sealed class RestoreBackupImageCommand : ImagePathCommand
{
    /// <summary>The folder to restore into; made when it does not exist.</summary>
    [Parameter(Mandatory = true, Position = 1)]
    [ValidateNotNullOrEmpty]
    public string DestinationPath { get; set; } = "";

    /// <summary>Number of the volume, from 1.</summary>
    [Parameter]
    [ValidateRange(1, int.MaxValue)]
    public int? Volume { get; set; }

    /// <summary>Paths or patterns of what to restore.</summary>
    [Parameter]
    [SupportsWildcards]
    [SuppressMessage("Performance", "CA1819", Justification = "Parameters are arrays.")]
    public string[] Include { get; set; } = [];

    /// <summary>Replace files that exist.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    private protected override void ProcessPath(string path)
    {
        Passphrase? secret = SecretOf(path);
        var request = new ImageRestoreRequest
        {
            Path = path,
            Passphrase = secret,
            DestinationPath = ResolveTarget(DestinationPath),
            Volume = Volume,
            Include = Include,
            Overwrite = Force,
        };
        BackupImage image = RunWorker((_, cancellation) =>
        {
            using DiskImage opened = DiskImage.Open(path, secret, cancellation);
            return opened.Describe(cancellation);
        });
        string what = Include.Length > 0 ? $"what matches {string.Join(", ", Include)}" : $"all files ({FormatView.Size(image.UsedBytes)} in use)";
        string description = $"Restore {what} from {path} to {request.DestinationPath}{(Force ? ", replacing files that exist" : "")}.";
        if (!ShouldProcess(description, description, "Restore-BackupImage")) return;
        ImageRestoreResult result = RunWorker((observer, cancellation) => ImageRestore.Run(request, observer, cancellation));
        WriteResult(result, result.Doubt);
    }
}
