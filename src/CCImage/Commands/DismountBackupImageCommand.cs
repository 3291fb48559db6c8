using System.Management.Automation;

namespace CCImage.Commands;

/// <summary>Unmounts the volumes of images and detaches the images from macOS.</summary>
[Cmdlet(VerbsData.Dismount, "BackupImage", DefaultParameterSetName = PathSet, SupportsShouldProcess = true,
    ConfirmImpact = ConfirmImpact.Low)]
[OutputType(typeof(BackupImage))]
public sealed class DismountBackupImageCommand : PathCommand
{
    /// <summary>Files that are open are no obstacle.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <summary>Give the image.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    private protected override string Noun => "image";

    private protected override void CheckOwnParameters() => ImageMount.CheckPlatform();

    private protected override void ProcessPath(string path)
    {
        string description = $"Dismount {path}{(Force ? ", files that are open on it notwithstanding" : "")}.";
        if (!ShouldProcess(description, description, "Dismount-BackupImage")) return;
        MountedBackupImage image = RunWorker((observer, cancellation) => ImageMount.Detach(path, Force, observer, cancellation));
        if (PassThru) WriteObject(RunWorker((_, cancellation) => DiskImage.Inspect(image.Path, null, cancellation)));
    }
}
