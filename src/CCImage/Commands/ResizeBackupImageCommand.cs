using System.Management.Automation;
using CCImage.Internal;

namespace CCImage.Commands;

/// <summary>Gives images another capacity: container, partition map and HFS+ volume together.</summary>
[Cmdlet(VerbsCommon.Resize, "BackupImage", DefaultParameterSetName = PathSet, SupportsShouldProcess = true,
    ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(ImageResizeResult))]
public sealed class ResizeBackupImageCommand : ImagePathCommand
{
    /// <summary>The new capacity in bytes.</summary>
    [Parameter(Position = 1)]
    [ValidateRange(1L, long.MaxValue)]
    public long? SizeBytes { get; set; }

    /// <summary>The smallest capacity possible; what lies in the way is moved.</summary>
    [Parameter]
    public SwitchParameter ToMinimumSize { get; set; }

    /// <summary>What is free where the image lies, and what it stores.</summary>
    [Parameter]
    public SwitchParameter ToAvailableSpace { get; set; }

    /// <summary>Do not ask, whatever the preference for confirmations says.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <summary>Give the result. What -WhatIf tells is given always.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    private protected override void ProcessPath(string path)
    {
        string target = ToMinimumSize ? "the smallest size possible" : ToAvailableSpace ? "the space available"
            : FormatView.Size(SizeBytes);
        string description = $"Resize {path} to {target}.";
        bool isDone = MayProcess(description, "Resize-BackupImage", Force, out ShouldProcessReason reason);
        if (!isDone && reason != ShouldProcessReason.WhatIf) return;
        var request = new ImageResizeRequest(path)
        {
            Passphrase = SecretOf(path), SizeBytes = SizeBytes, ToMinimumSize = ToMinimumSize, ToAvailableSpace = ToAvailableSpace,
                EstimateOnly = !isDone,
        };
        ImageResizeResult result = RunWorker((observer, cancellation) => ImageResize.Run(request, observer, cancellation));
        if (result.IsUnchanged) WriteVerbose($"{path}: It has this size already; nothing was changed.");
        if (result.Advice is not null) WriteWarning($"{path}: {result.Advice}");
        if (PassThru || result.IsEstimate) WriteObject(result);
    }
}
