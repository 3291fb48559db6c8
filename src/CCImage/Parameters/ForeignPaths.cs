using System.Buffers;

namespace CCImage.Parameters;

/// <summary>Paths that another system, or another program, would understand: here they name nothing, and must not become a file of that
/// name.</summary>
internal static class ForeignPaths
{
    private static readonly SearchValues<char> SchemeCharacters =
        SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

    /// <summary>The refusal of a path that no drive of PowerShell can make one of this host; null for all others.</summary>
    /// <param name="path">What the user wrote.</param>
    public static ImageException? Refuse(string path)
    {
        if (path.Contains('\0', StringComparison.Ordinal))
            return Refusal("The path has a null character in it.", path.Replace('\0', '?'), "Give a path without it.");
        return !OperatingSystem.IsWindows() && path.StartsWith(@"\\", StringComparison.Ordinal)
            ? Refusal("This is a path of a Windows share, which this system does not understand.", path,
                "Mount the share and give its path, for example /mnt/share/image.dmg.")
            : null;
    }

    /// <summary>The refusal of a path that begins with no drive of PowerShell; null for one that may be a path of this host.</summary>
    /// <param name="path">What the user wrote, or what came out of it.</param>
    public static ImageException? RefuseWithoutDrive(string path)
    {
        if (Refuse(path) is { } refusal) return refusal;
        if (IsAddress(path))
            return Refusal("This is an address, not a path of a file system.", path,
                "Mount the share, or download the file, and give the path it has then.");
        return !OperatingSystem.IsWindows() && IsDrivePath(path)
            ? Refusal($"This is a path of Windows, and there is no drive {path[0]} here.", path,
                "Mount the disk or share and give its path, for example /mnt/disk/image.dmg.")
            : null;
    }

    /// <summary>The refusal of a path whose drive PowerShell does not know.</summary>
    /// <param name="path">What the user wrote.</param>
    /// <param name="drive">The name of the drive.</param>
    public static ImageException UnknownDrive(string path, string drive) => RefuseWithoutDrive(path)
        ?? Refusal($"There is no drive {drive} here.", path, "Get-PSDrive lists the drives; a name with a colon in it is given as ./NAME.");

    private static ImageException Refusal(string problem, string path, string remedy) =>
        new(ImageErrorId.InvalidArgument, problem, path, remedy: remedy);

    // "smb://", "file://" and the like; one letter is a drive.
    private static bool IsAddress(string path)
    {
        int end = path.IndexOf("://", StringComparison.Ordinal);
        return end > 1 && char.IsAsciiLetter(path[0]) && path.AsSpan(0, end).IndexOfAnyExcept(SchemeCharacters) < 0;
    }

    private static bool IsDrivePath(string path) =>
        path.Length > 2 && char.IsAsciiLetter(path[0]) && path[1] == ':' && (path[2] is '\\' or '/');
}
