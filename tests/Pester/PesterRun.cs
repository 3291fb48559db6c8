using System.Diagnostics;
using System.Reflection;
using System.Text;
using System.Text.Json;

namespace CCImage.Pester;

/// <summary>Runs the tests of one file in a PowerShell process.</summary>
internal static class PesterRun
{
    /// <summary>Lines of the process that carry a test begin so.</summary>
    private const string Mark = "::pester::";

    /// <summary>No file takes longer.</summary>
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(15);

    /// <summary>The folder with the tests.</summary>
    public static string Folder { get; } = Path.Combine(Setting("Repository"), "tests", "Pester");

    /// <summary>Runs a file, or lists its tests.</summary>
    /// <param name="file">The file.</param>
    /// <param name="lists">Whether tests are only to be found.</param>
    /// <param name="cancellation">Ends the process.</param>
    /// <returns>A test each; what went wrong outside of tests is a failed one.</returns>
    public static async Task<IReadOnlyList<PesterTest>> RunAsync(string file, bool lists, CancellationToken cancellation)
    {
        var tests = new List<PesterTest>();
        var text = new StringBuilder();
        void Take(string? line)
        {
            if (line is null) return;
            lock (text)
            {
                if (line.StartsWith(Mark, StringComparison.Ordinal))
                    tests.Add(JsonSerializer.Deserialize<PesterTest>(line.AsSpan(Mark.Length))!);
                else text.AppendLine(line);
            }
        }

        using Process process = Start(file, lists);
        process.OutputDataReceived += (_, line) => Take(line.Data);
        process.ErrorDataReceived += (_, line) => Take(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Limit);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            text.Append("Not finished after ").Append(Limit).AppendLine(".");
        }
        finally
        {
            if (!process.HasExited) process.Kill(entireProcessTree: true);
        }

        // A process that ended with an error has said so by a failed test, or by nothing but its exit code.
        bool isTold = tests.Any(t => t.Result == "Failed");
        if (tests.Count == 0 || (process.ExitCode != 0 && !isTold))
            tests.Add(new($"{Path.GetFileName(file)} runs to its end", "Failed",
                $"PowerShell ended with {process.ExitCode}.{Environment.NewLine}{text}", null));
        return tests;
    }

    private static Process Start(string file, bool lists)
    {
        var start = new ProcessStartInfo("dotnet")
        {
            WorkingDirectory = Setting("Repository"), // where the manifest of tools is
            RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true,
            StandardOutputEncoding = Encoding.UTF8, StandardErrorEncoding = Encoding.UTF8,
        };
        string script = $"& {Quote(Path.Combine(Folder, "Invoke-File.ps1"))} -File {Quote(file)} -PesterFolder "
            + $"{Quote(Setting("PesterFolder"))} -Mark {Quote(Mark)}"
            + (lists ? " -List" : "");
        foreach (string argument in (string[])["tool", "run", "pwsh", "-NoProfile", "-NonInteractive", "-Command", script])
            start.ArgumentList.Add(argument);
        start.Environment["NO_COLOR"] = "1";
        start.Environment["POWERSHELL_TELEMETRY_OPTOUT"] = "1";
        start.Environment["POWERSHELL_UPDATECHECK"] = "Off";

        // What dotnet sets for this process is not meant for another.
        foreach (string name in start.Environment.Keys.Where(k => k.StartsWith("TESTINGPLATFORM_", StringComparison.Ordinal)).ToList())
            start.Environment.Remove(name);
        Process process = Process.Start(start)!;
        process.StandardInput.Close();
        return process;
    }

    private static string Quote(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";

    private static string Setting(string name) =>
        typeof(PesterRun).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == name).Value!;
}
