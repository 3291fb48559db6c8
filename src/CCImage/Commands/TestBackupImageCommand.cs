using System.Management.Automation;

namespace CCImage.Commands;

/// <summary>Verifies images: what they store of checksums, their structures, and the file systems inside.</summary>
[Cmdlet(VerbsDiagnostic.Test, "BackupImage", DefaultParameterSetName = PathSet, SupportsShouldProcess = true,
    ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(bool), typeof(ImageFinding))]
public sealed class TestBackupImageCommand : ImagePathCommand
{
    /// <summary>Give all findings.</summary>
    [Parameter]
    public SwitchParameter Detailed { get; set; }

    /// <summary>Mend what can be mended without risk.</summary>
    [Parameter]
    public SwitchParameter Repair { get; set; }

    private protected override void ProcessPath(string path)
    {
        string description = $"Verify {path}, and mend what can be mended without risk.";
        var request = new ImageVerificationRequest(path)
        {
            Passphrase = SecretOf(path),
            Repair = Repair && ShouldProcess(description, description, "Test-BackupImage"),
        };
        ImageVerificationResult result = RunWorker((observer, cancellation) => ImageVerification.Run(request, observer, cancellation));
        foreach (string repaired in result.Repaired) WriteVerbose($"{path}: {repaired}");
        if (!Detailed)
        {
            WriteObject(result.IsSound);
            return;
        }

        foreach (string repaired in result.Repaired)
            WriteObject(new ImageFinding(path, ImageFindingGrade.Note, "Repair", null, repaired, null));
        WriteObject(result.Findings, enumerateCollection: true);
    }
}
