using System.Globalization;

namespace CCImage.Platform;

/// <summary>A line of Linux' <c>/proc/self/mountinfo</c>.</summary>
/// <param name="Id">Number of the mount.</param>
/// <param name="Major">Major number of the device that files there show.</param>
/// <param name="Minor">Minor number.</param>
/// <param name="MountPoint">Where it is mounted.</param>
/// <param name="FileSystemType">The type, with the subtype behind a dot.</param>
/// <param name="Source">What is mounted.</param>
/// <param name="Options">Options of the mount, by commas.</param>
internal sealed record MountEntry(ulong Id, uint Major, uint Minor, string MountPoint, string FileSystemType, string Source, string Options)
{
    /// <summary>Whether the mount is read-only.</summary>
    public bool IsReadOnly => Options.Split(',').Contains("ro");
}

/// <summary>
/// Linux' table of mounts. Layout from proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, options, any number of optional
/// fields, a single hyphen, type, source, super options; space, tab, newline and backslash in a field are octal escapes.
/// </summary>
internal static class MountTable
{
    /// <summary>Reads the table; lines that do not have that form are left out.</summary>
    /// <param name="text">The whole text.</param>
    public static IReadOnlyList<MountEntry> Parse(string text)
    {
        var mounts = new List<MountEntry>();
        foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] fields = line.Split(' ');
            int hyphen = fields.Length > 6 ? Array.IndexOf(fields, "-", 6) : -1;
            if (hyphen < 0 || fields.Length < hyphen + 3) continue;
            string[] device = fields[2].Split(':');
            if (device.Length != 2 || !ulong.TryParse(fields[0], NumberStyles.None, CultureInfo.InvariantCulture, out ulong id) ||
                !uint.TryParse(device[0], NumberStyles.None, CultureInfo.InvariantCulture, out uint major) ||
                !uint.TryParse(device[1], NumberStyles.None, CultureInfo.InvariantCulture, out uint minor))
            {
                continue;
            }

            mounts.Add(new(id, major, minor, Unescape(fields[4]), Unescape(fields[hyphen + 1]), Unescape(fields[hyphen + 2]), fields[5]));
        }

        return mounts;
    }

    /// <summary>
    /// The mount a path lies on: by the mount's number where the kernel tells it (5.8 and later); otherwise the longest mount point above
    /// the path among those with the path's device, and failing that among all; of equal ones the last, which hides the others.
    /// </summary>
    /// <param name="mounts">The table.</param>
    /// <param name="id">Number of the mount, or null.</param>
    /// <param name="major">Major number of the path's device.</param>
    /// <param name="minor">Minor number of the path's device.</param>
    /// <param name="path">The full path.</param>
    public static MountEntry? Find(IReadOnlyList<MountEntry> mounts, ulong? id, uint major, uint minor, string path)
    {
        if (id is not null && mounts.FirstOrDefault(m => m.Id == id) is MountEntry exact) return exact;
        MountEntry? best = null;
        bool bestIsOfDevice = false;
        foreach (MountEntry mount in mounts)
        {
            if (!IsAbove(mount.MountPoint, path)) continue;
            bool isOfDevice = mount.Major == major && mount.Minor == minor;
            if (best is not null && (bestIsOfDevice && !isOfDevice)) continue;
            if (best is null || isOfDevice != bestIsOfDevice || mount.MountPoint.Length >= best.MountPoint.Length)
                (best, bestIsOfDevice) = (mount, isOfDevice);
        }

        return best;
    }

    private static bool IsAbove(string folder, string path) =>
        folder == "/"
            || (path.StartsWith(folder, StringComparison.Ordinal) && (path.Length == folder.Length || path[folder.Length] == '/'));

    private static string Unescape(string field)
    {
        if (!field.Contains('\\')) return field;
        var text = new System.Text.StringBuilder(field.Length);
        for (int i = 0; i < field.Length; i++)
        {
            if (field[i] == '\\' && i + 3 < field.Length && IsOctal(field[i + 1]) && IsOctal(field[i + 2]) && IsOctal(field[i + 3]))
            {
                text.Append((char)(((field[i + 1] - '0') * 64) + ((field[i + 2] - '0') * 8) + (field[i + 3] - '0')));
                i += 3;
            }
            else
            {
                text.Append(field[i]);
            }
        }

        return text.ToString();
    }

    private static bool IsOctal(char c) => c is >= '0' and <= '7';
}
