using System.Management.Automation;
using CCImage.Internal;

namespace CCImage.Commands;

/// <summary>Gives the free space inside sparse images and bundles back to the host.</summary>
[Cmdlet(VerbsData.Compress, "BackupImage", DefaultParameterSetName = PathSet, SupportsShouldProcess = true,
    ConfirmImpact = ConfirmImpact.Medium)]
[Alias("Optimize-BackupImage")]
[OutputType(typeof(ImageCompactionResult))]
public sealed class CompressBackupImageCommand : ImagePathCommand
{
    /// <summary>Leave an image alone when less than this would be given back.</summary>
    [Parameter(Position = 1)]
    [ValidateRange(0L, long.MaxValue)]
    public long MinimumReclaimBytes { get; set; }

    /// <summary>Do not ask, whatever the preference for confirmations says.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <summary>Give the image with the result.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    private protected override void ProcessPath(string path)
    {
        var request = new ImageCompactionRequest(path) { Passphrase = SecretOf(path), MinimumReclaimBytes = MinimumReclaimBytes };
        string description = $"Compact {path}.";
        if (!MayProcess(description, "Compress-BackupImage", Force, out ShouldProcessReason reason))
        {
            if (reason == ShouldProcessReason.WhatIf) request = request with { EstimateOnly = true };
            else return;
        }

        ImageCompactionResult result = RunWorker((observer, cancellation) => ImageCompaction.Run(request, observer, cancellation));
        ImageException? shortfall = null;
        if (PassThru)
        {
            try
            {
                BackupImage image = RunWorker((_, cancellation) =>
                {
                    using DiskImage opened = DiskImage.Open(path, request.Passphrase, cancellation);
                    return opened.Describe(cancellation);
                });
                result = result with { Image = image };
            }
            catch (ImageException e)
            {
                // What was done is told all the same.
                shortfall = e;
            }
        }

        WriteResult(result, shortfall);
    }
}
