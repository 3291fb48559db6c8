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

/// <summary>A fact about Linux that needs the rights of root; skipped elsewhere and without them.</summary>
public sealed class LinuxRootFactAttribute : FactAttribute
{
    /// <summary>Decides at discovery.</summary>
    public LinuxRootFactAttribute()
    {
        if (!OperatingSystem.IsLinux() || !Environment.IsPrivilegedProcess) Skip = "Needs root on Linux.";
    }
}
