using System.Diagnostics;
using System.Text;

namespace CCImage.Tests;

/// <summary>Runs other people's programs.</summary>
internal static class Oracle
{
    /// <summary>Full path of a program on the PATH, or null.</summary>
    public static string? Find(string tool) => tool switch
    {
        "7z" => FindExactly("7z") ?? FindExactly("7zz"), // Debian's 7zip calls its program so
        "uml-hfsplus" => new[] { "linux.uml", "cpio", "busybox" }.All(t => FindExactly(t) is not null) ? Path.Combine(Folder, tool) : null,
        "strace" => s_strace.Value,
        "mount.exfat-fuse" => File.Exists("/dev/fuse") && s_hasLoopDevices.Value ? FindExactly(tool) : null,

        // macOS has both, for devices only: newfs_hfs puts /dev before every name, and fsck_hfs asks what it opened for the size of its
        // blocks (newfs_hfs.c and fsck_hfs.c of Apple's hfs). There the tests of PowerShell check volumes on attached images.
        "fsck_hfs" or "newfs_hfs" when OperatingSystem.IsMacOS() => null,
        _ => FindExactly(tool),
    };

    /// <summary>The reason for which a test is skipped without programs.</summary>
    /// <param name="tools">Their names.</param>
    public static string Absent(params string[] tools) => $"Not on the PATH, or not to be used here: {string.Join(", ", tools)}.";

    /// <summary>The repository's own folder of oracles.</summary>
    public static string Folder { get; } = FindFolder();

    private static string FindFolder()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "CCImage.slnx"))) return Path.Combine(folder.FullName, "tests", "Oracles");
        }

        throw new InvalidOperationException("The tests do not run below the repository.");
    }

    // Some containers have the programs and forbid what they do.
    private static readonly Lazy<string?> s_strace = new(() =>
        FindExactly("strace") is { } path && Succeeds(path, "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "true") ? path : null);

    private static readonly Lazy<bool> s_hasLoopDevices = new(() =>
        Environment.IsPrivilegedProcess && FindExactly("losetup") is { } path && Succeeds(path, "--find"));

    private static bool Succeeds(string path, params string[] arguments)
    {
        using Process process = StartAt(path, arguments);
        process.WaitForExit();
        return process.ExitCode == 0;
    }

    private static string? FindExactly(string tool) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .SelectMany(
                folder => OperatingSystem.IsWindows() ? [Path.Combine(folder, tool + ".exe")] : new[] { Path.Combine(folder, tool) })
            .FirstOrDefault(File.Exists);

    /// <summary>Runs a program to its end.</summary>
    /// <returns>Exit code, and both streams as text.</returns>
    public static (int ExitCode, string Output, string Error) Run(string tool, params string[] arguments)
    {
        using Process process = Start(tool, arguments);
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }

    /// <summary>Runs a program to its end and fails the test unless it exits with 0.</summary>
    /// <returns>The standard output as bytes.</returns>
    public static byte[] RunForBytes(string tool, params string[] arguments)
    {
        using Process process = Start(tool, arguments);
        Task<string> error = process.StandardError.ReadToEndAsync();
        using var output = new MemoryStream();
        process.StandardOutput.BaseStream.CopyTo(output);
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{tool} {string.Join(' ', arguments)} exited with {process.ExitCode}: {error.Result}");
        return output.ToArray();
    }

    private static Process Start(string tool, string[] arguments) =>
        StartAt(Find(tool) ?? throw new InvalidOperationException($"{tool} is not on the PATH."), arguments);

    private static Process StartAt(string path, string[] arguments)
    {
        var start = new ProcessStartInfo(path)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            StandardOutputEncoding = Encoding.UTF8,
        };
        start.Environment["LC_ALL"] = "C.UTF-8"; // names and messages do not depend on the machine
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        Process process = Process.Start(start)!;
        process.StandardInput.Close();
        return process;
    }
}
