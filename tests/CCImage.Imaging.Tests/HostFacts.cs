namespace CCImage.Tests;

/// <summary>A fact about Linux; skipped elsewhere.</summary>
public sealed class LinuxFactAttribute : FactAttribute
{
    /// <summary>Decides at discovery.</summary>
    public LinuxFactAttribute()
    {
        if (!OperatingSystem.IsLinux()) Skip = "Linux only.";
    }
}

/// <summary>A fact about Linux that needs the rights of root, and perhaps a driver of a file system; skipped elsewhere and without
/// them.</summary>
public sealed class LinuxRootFactAttribute : FactAttribute
{
    /// <summary>Decides at discovery.</summary>
    /// <param name="fileSystem">A type that the kernel must list, or null.</param>
    public LinuxRootFactAttribute(string? fileSystem = null)
    {
        if (!OperatingSystem.IsLinux() || !Environment.IsPrivilegedProcess) Skip = "Needs root on Linux.";
        else if (fileSystem is not null
            && !File.ReadLines("/proc/filesystems").Any(l => l.EndsWith("\t" + fileSystem, StringComparison.Ordinal)))
            Skip = $"This kernel has no {fileSystem}.";
    }
}

/// <summary>A fact that needs programs on the PATH; skipped with a reason where one is absent.</summary>
public sealed class OracleFactAttribute : FactAttribute
{
    /// <summary>Decides at discovery.</summary>
    /// <param name="tools">Names of the programs.</param>
    public OracleFactAttribute(params string[] tools)
    {
        string[] missing = [.. tools.Where(t => Oracle.Find(t) is null)];
        if (missing.Length > 0) Skip = Oracle.Absent(missing);
    }
}

/// <summary>A theory that needs programs on the PATH; skipped with a reason where one is absent.</summary>
public sealed class OracleTheoryAttribute : TheoryAttribute
{
    /// <summary>Decides at discovery.</summary>
    /// <param name="tools">Names of the programs.</param>
    public OracleTheoryAttribute(params string[] tools)
    {
        string[] missing = [.. tools.Where(t => Oracle.Find(t) is null)];
        if (missing.Length > 0) Skip = Oracle.Absent(missing);
    }
}
