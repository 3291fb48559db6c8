using System.Globalization;

namespace CCImage.Platform;

/// <summary>Who uses a file on Linux, as the kernel tells it in /sys and /proc. On other systems nobody does.</summary>
internal static class LinuxFileUse
{
    private const string Devices = "/sys/block";
    private const string Locks = "/proc/locks";

    /// <summary>Whether a file is a loop device's: no lock tells that.</summary>
    /// <param name="path">A full path.</param>
    public static bool IsLoopDevice(string path)
    {
        if (!OperatingSystem.IsLinux() || !File.Exists(path) || !Directory.Exists(Devices)
            || HostPlatform.IdentityOf(path) is not { } identity) return false;
        foreach (string device in Directory.EnumerateDirectories(Devices, "loop*"))
        {
            // loop(4): the file's path. Behind that of a file that was deleted stands a mark, so that no other file is found under it; and
            // a file that is mounted at two places has two paths, so that it is the file that is compared.
            if (Read(Path.Combine(device, "loop", "backing_file")) is { } backing
                && HostPlatform.IdentityOf(backing.TrimEnd('\n')) == identity) return true;
        }

        return false;
    }

    /// <summary>Whether the kernel knows of a lock on a file, of whatever kind: those of a server or of an emulator do not hinder
    /// ours.</summary>
    /// <param name="path">A full path.</param>
    public static bool IsLocked(string path) =>
        OperatingSystem.IsLinux() && File.Exists(path) && HostPlatform.IdentityOf(path) is { } identity && Read(Locks) is { } table
            && IsLocked(table, identity);

    /// <summary>Looks a file up in the table of locks.</summary>
    /// <param name="table">
    /// The text of /proc/locks, by proc_locks(5): number, kind, mode, access, process, then device and inode as hexadecimal
    /// major:minor:decimal inode, then the range. A line with an arrow is one that waits for the lock above it.
    /// </param>
    /// <param name="identity">The file.</param>
    internal static bool IsLocked(string table, HostIdentity identity)
    {
        string file =
            string.Create(
                CultureInfo.InvariantCulture, $"{identity.Device >> 32:x2}:{identity.Device & uint.MaxValue:x2}:{identity.Inode}");
        foreach (string line in table.Split('\n'))
        {
            string[] fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);

            // A lease (LEASE, DELEG) only asks to be told, and a server may keep one long after its client has closed the file.
            if (fields.Length > 5 && fields[1] is "FLOCK" or "POSIX" or "OFDLCK" && fields[5] == file) return true;
        }

        return false;
    }

    private static string? Read(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllText(path) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It was detached just now, or this process may not know.
            return null;
        }
    }
}
