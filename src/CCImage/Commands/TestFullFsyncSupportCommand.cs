using System.Management.Automation;

namespace CCImage.Commands;

/// <summary>Asks folders whether a full flush there reaches the medium, as sparse bundles need it.</summary>
[Cmdlet(VerbsDiagnostic.Test, "FullFsyncSupport", DefaultParameterSetName = PathSet)]
[OutputType(typeof(bool), typeof(FullFsyncReport))]
public sealed class TestFullFsyncSupportCommand : PathCommand
{
    /// <summary>Say what was found, and what to do.</summary>
    [Parameter]
    public SwitchParameter Detailed { get; set; }

    private protected override string Noun => "folder";

    private protected override void ProcessPath(string path)
    {
        FullFsyncReport report = RunWorker((_, _) => FullFsync.Ask(path));
        WriteObject(Detailed ? report : report.Support is FullFsyncSupport.Yes or FullFsyncSupport.Equivalent);
    }
}
