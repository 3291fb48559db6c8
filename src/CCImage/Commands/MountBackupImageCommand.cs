using System.Management.Automation;

namespace CCImage.Commands;

/// <summary>Attaches images to macOS and mounts their volumes.</summary>
[Cmdlet(VerbsData.Mount, "BackupImage", DefaultParameterSetName = PathSet, SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.Low)]
[OutputType(typeof(MountedBackupImage))]
public sealed class MountBackupImageCommand : ImagePathCommand
{
    /// <summary>Nothing may be written to the image.</summary>
    [Parameter]
    public SwitchParameter ReadOnly { get; set; }

    /// <summary>Finder does not show the volumes.</summary>
    [Parameter]
    public SwitchParameter NoBrowse { get; set; }

    /// <summary>Give device and mount points.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    private protected override void CheckOwnParameters() => ImageMount.CheckPlatform();

    private protected override void ProcessPath(string path)
    {
        string description = $"Mount {path}{(ReadOnly ? " read-only" : "")}.";
        if (!ShouldProcess(description, description, "Mount-BackupImage")) return;
        var request = new ImageMountRequest(path) { Passphrase = SecretOf(path), ReadOnly = ReadOnly, NoBrowse = NoBrowse };
        MountedBackupImage image = RunWorker((observer, cancellation) => ImageMount.Attach(request, observer, cancellation));
        if (PassThru) WriteObject(image);
        if (image.MountPoints.Count > 0) return;
        throw new ImageException(
            ImageErrorId.MountFailed, $"The image is attached as {image.Device}, but none of its volumes was mounted.", path,
            remedy: "Test-BackupImage -Detailed tells what is wrong with them; Dismount-BackupImage detaches the image.");
    }
}
