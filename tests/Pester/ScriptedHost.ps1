# A host whose person answers as a test says, in C#: a method of a PowerShell class would run in the runspace that waits for it.
if (-not ('ScriptedHost' -as [type])) {
    Add-Type -TypeDefinition @'
using System;
using System.Collections.Generic;
using System.Collections.ObjectModel;
using System.Globalization;
using System.Management.Automation;
using System.Management.Automation.Host;
using System.Security;
using System.Text;

public sealed class ScriptedHost : PSHost
{
    private readonly ScriptedUI _ui;
    public ScriptedHost(string[] answers) { _ui = new ScriptedUI(answers); }
    public ScriptedUI Script { get { return _ui; } }
    public override PSHostUserInterface UI { get { return _ui; } }
    public override string Name { get { return "ScriptedHost"; } }
    public override Version Version { get { return new Version(1, 0); } }
    public override Guid InstanceId { get; } = Guid.NewGuid();
    public override CultureInfo CurrentCulture { get { return CultureInfo.InvariantCulture; } }
    public override CultureInfo CurrentUICulture { get { return CultureInfo.InvariantCulture; } }
    public override void EnterNestedPrompt() { throw new NotSupportedException("No test is asked for this."); }
    public override void ExitNestedPrompt() { throw new NotSupportedException("No test is asked for this."); }
    public override void NotifyBeginApplication() { }
    public override void NotifyEndApplication() { }
    public override void SetShouldExit(int exitCode) { }
}

public sealed class ScriptedUI : PSHostUserInterface
{
    private readonly Queue<string> _answers;
    public ScriptedUI(string[] answers) { _answers = new Queue<string>(answers); }
    public StringBuilder Text { get; } = new StringBuilder();
    public int Left { get { return _answers.Count; } }
    public override PSHostRawUserInterface RawUI { get { return null; } }
    private string Next() { if (_answers.Count == 0) throw new HostException("nobody is left to answer"); return _answers.Dequeue(); }
    public override string ReadLine() { return Next(); }
    public override SecureString ReadLineAsSecureString()
    {
        var secret = new SecureString();
        foreach (char c in Next()) secret.AppendChar(c);
        return secret;
    }
    public override int PromptForChoice(string caption, string message, Collection<ChoiceDescription> choices, int defaultChoice) { Text.AppendLine(message); return int.Parse(Next(), CultureInfo.InvariantCulture); }
    public override Dictionary<string, PSObject> Prompt(string caption, string message, Collection<FieldDescription> descriptions) { throw new NotSupportedException("No test is asked for this."); }
    public override PSCredential PromptForCredential(string c, string m, string u, string t) { throw new NotSupportedException("No test is asked for this."); }
    public override PSCredential PromptForCredential(string c, string m, string u, string t, PSCredentialTypes a, PSCredentialUIOptions o) { throw new NotSupportedException("No test is asked for this."); }
    public override void Write(string value) { Text.Append(value); }
    public override void Write(ConsoleColor f, ConsoleColor b, string value) { Text.Append(value); }
    public override void WriteLine(string value) { Text.AppendLine(value); }
    public override void WriteDebugLine(string message) { }
    public override void WriteErrorLine(string value) { Text.AppendLine(value); }
    public override void WriteProgress(long sourceId, ProgressRecord record) { }
    public override void WriteVerboseLine(string message) { }
    public override void WriteWarningLine(string message) { Text.AppendLine(message); }
}
'@
}

# Runs a command where somebody answers. Gives what came out, the ids of errors, what was shown, and how many answers were not asked for.
function Invoke-Attended([string] $Command, [string[]] $Answers) {
    $console = [ScriptedHost]::new($Answers)
    $runspace = [runspacefactory]::CreateRunspace($console)
    $runspace.Open()
    $shell = [powershell]::Create($runspace)
    try {
        $null = $shell.AddCommand('Import-Module').AddArgument($ManifestPath).Invoke()
        $shell.Commands.Clear()
        $output = $shell.AddScript("`$PWD.Path | Out-Null; $Command").Invoke()
        [pscustomobject]@{
            Output = $output
            ErrorIds = @($shell.Streams.Error | ForEach-Object { $_.FullyQualifiedErrorId.Split(',')[0] })
            Text = $console.Script.Text.ToString()
            Left = $console.Script.Left
        }
    }
    finally {
        $shell.Dispose()
        $runspace.Dispose()
    }
}

# Runs a command where nobody is: the ids of its errors, and what it gave.
function Invoke-Unattended([string] $Command) {
    $shell = [powershell]::Create()
    try {
        $null = $shell.AddCommand('Import-Module').AddArgument($ManifestPath).Invoke()
        $shell.Commands.Clear()
        $output = $shell.AddScript($Command).Invoke()
        [pscustomobject]@{ Output = $output; Errors = @($shell.Streams.Error); ErrorIds = @($shell.Streams.Error | ForEach-Object { $_.FullyQualifiedErrorId.Split(',')[0] }) }
    }
    finally { $shell.Dispose() }
}
