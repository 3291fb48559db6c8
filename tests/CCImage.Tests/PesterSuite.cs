using System.Diagnostics;
using System.Text;

namespace CCImage.Tests;

/// <summary>Runs the Pester tests against the built module, in a PowerShell of their own.</summary>
public class PesterSuite(ITestOutputHelper output)
{
    [PesterFact]
    public void All_Pester_tests_pass()
    {
        string root = Repository.Root;
        string script = $$"""
            $ErrorActionPreference = 'Stop'
            $PSStyle.OutputRendering = 'PlainText'
            Import-Module Pester -MinimumVersion 5.0
            $configuration = New-PesterConfiguration
            $configuration.Run.Path = '{{Path.Combine(root, "tests", "Pester").Replace("'", "''", StringComparison.Ordinal)}}'
            $configuration.Run.PassThru = $true
            $configuration.Output.Verbosity = 'Detailed'
            $configuration.Output.CIFormat = 'None'
            if (-not $IsMacOS) { $configuration.Filter.ExcludeTag = 'MacOS' }
            $result = Invoke-Pester -Configuration $configuration
            "Pester: $($result.PassedCount) passed, $($result.FailedCount) failed, $($result.SkippedCount) skipped, $($result.NotRunCount) not run, $($result.FailedContainersCount) files broken"
            exit ($result.Result -eq 'Passed' -and $result.PassedCount -gt 0 ? 0 : 1)
            """;
        (int exitCode, string text) = PowerShell.Run(script, TimeSpan.FromMinutes(20));
        string summary = text.Split('\n').LastOrDefault(line => line.StartsWith("Pester: ", StringComparison.Ordinal))?.Trim() ?? "Pester gave no summary.";
        output.WriteLine(summary);
        Assert.True(exitCode == 0, summary + Environment.NewLine + text);
    }
}

/// <summary>A fact that needs PowerShell and Pester 5; skipped with a reason where one is absent.</summary>
public sealed class PesterFactAttribute : FactAttribute
{
    private static readonly Lazy<string?> Obstacle = new(FindObstacle);

    /// <summary>Decides at discovery.</summary>
    public PesterFactAttribute()
    {
        if (Obstacle.Value is { } reason) Skip = reason;
    }

    private static string? FindObstacle()
    {
        if (PowerShell.Executable is null) return "The Pester tests need PowerShell 7.6 (pwsh), which is not on the PATH.";
        (int exitCode, string text) = PowerShell.Run(
            "if ($PSVersionTable.PSVersion -lt '7.6') { \"PowerShell $($PSVersionTable.PSVersion) is older than 7.6.\"; exit 1 }; "
            + "if (-not (Get-Module Pester -ListAvailable | Where-Object Version -ge '5.0')) { 'The Pester tests need the PowerShell module Pester 5.'; exit 1 }",
            TimeSpan.FromMinutes(1));
        return exitCode == 0 ? null : text.Trim();
    }
}

/// <summary>The checkout that the tests were built from.</summary>
internal static class Repository
{
    /// <summary>Its folder.</summary>
    public static string Root { get; } = Find();

    private static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "CCImage.psd1"))) return folder.FullName;
        }

        throw new InvalidOperationException("The tests run outside of their checkout.");
    }
}

/// <summary>Runs PowerShell.</summary>
internal static class PowerShell
{
    /// <summary>Full path of pwsh, or null.</summary>
    public static string? Executable { get; } = (Environment.GetEnvironmentVariable("PATH") ?? "")
        .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
        .Select(folder => Path.Combine(folder, OperatingSystem.IsWindows() ? "pwsh.exe" : "pwsh")).FirstOrDefault(File.Exists);

    /// <summary>Runs a script in a new process.</summary>
    /// <param name="script">The script.</param>
    /// <param name="limit">The longest it may take.</param>
    /// <returns>Exit code, and what it wrote.</returns>
    public static (int ExitCode, string Text) Run(string script, TimeSpan limit)
    {
        var start = new ProcessStartInfo(Executable!) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true, StandardOutputEncoding = Encoding.UTF8 };
        foreach (string argument in (string[])["-NoProfile", "-NonInteractive", "-Command", script])
            start.ArgumentList.Add(argument);
        start.Environment["NO_COLOR"] = "1";

        // The engine of the test host is not that of pwsh.
        start.Environment.Remove("DOTNET_ROOT_X64");
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        var text = new StringBuilder();
        void Append(object sender, DataReceivedEventArgs line)
        {
            lock (text) text.AppendLine(line.Data);
        }

        process.OutputDataReceived += Append;
        process.ErrorDataReceived += Append;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        if (!process.WaitForExit(limit))
        {
            process.Kill(entireProcessTree: true);
            return (-1, $"{text}{Environment.NewLine}Not finished after {limit}.");
        }

        process.WaitForExit();
        return (process.ExitCode, text.ToString());
    }
}
