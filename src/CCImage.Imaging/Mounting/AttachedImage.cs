using System.Globalization;
using CCImage.Platform;
using CCImage.PropertyLists;

namespace CCImage.Mounting;

/// <summary>An image that macOS has attached.</summary>
/// <param name="Path">The image, as macOS names it.</param>
/// <param name="Device">The whole disk it appears as, for example <c>/dev/disk4</c>.</param>
/// <param name="MountPoints">Where its volumes are mounted.</param>
internal sealed record AttachedImage(string Path, string Device, IReadOnlyList<string> MountPoints)
{
    private const string Devices = "/dev/";
    private const string WholeDisk = "disk";

    /// <summary>Reads what <c>hdiutil attach -plist</c> and <c>diskutil image attach --plist</c> answer; null when no device is in
    /// it.</summary>
    /// <param name="list">The property list: <c>system-entities</c>, an array of dictionaries with <c>dev-entry</c>, <c>mount-point</c>,
    /// <c>content-hint</c>.</param>
    /// <param name="path">The image that was attached.</param>
    public static AttachedImage? FromAttach(PropertyListDictionary? list, string path) => list is null ? null : FromEntities(list, path);

    /// <summary>Reads what <c>hdiutil info -plist</c> answers.</summary>
    /// <param name="list">The property list: <c>images</c>, an array of dictionaries with <c>image-path</c> and
    /// <c>system-entities</c>.</param>
    public static IReadOnlyList<AttachedImage> FromInfo(PropertyListDictionary list)
    {
        var images = new List<AttachedImage>();
        foreach (PropertyListNode node in list.GetArray("images") ?? [])
        {
            if (node is PropertyListDictionary image && image.GetString("image-path") is string path
                && FromEntities(image, path) is { } attached) images.Add(attached);
        }

        return images;
    }

    /// <summary>Whether this is an image, given by its path, or where one of its volumes is mounted; by a path over links too, as macOS
    /// names both without.</summary>
    /// <param name="path">A full path.</param>
    public bool IsAt(string path) =>
        Path == path || IsMountedAt(path) || (HostPlatform.IdentityOf(path) is { } identity && HostPlatform.IdentityOf(Path) == identity);

    /// <summary>Whether one of its volumes is mounted at a path.</summary>
    /// <param name="path">A full path.</param>
    public bool IsMountedAt(string path) =>
        MountPoints.Contains(path)
            || (HostPlatform.IdentityOf(path) is { } identity
            && MountPoints.Any(mountPoint => HostPlatform.IdentityOf(mountPoint) == identity));

    private static AttachedImage? FromEntities(PropertyListDictionary parent, string path)
    {
        string? device = null;
        (bool HasMap, long Number) best = default;
        var mountPoints = new List<string>();
        foreach (PropertyListNode node in parent.GetArray("system-entities") ?? [])
        {
            if (node is not PropertyListDictionary entity) continue;
            if (entity.GetString("mount-point") is { Length: > 0 } mountPoint) mountPoints.Add(mountPoint);
            if (entity.GetString("dev-entry") is not string entry || NumberOf(entry) is not int number) continue;

            // An APFS container appears as a second whole disk, of a higher number; the image's own is the one with the partition map, or
            // the first.
            bool hasMap = entity.GetString("content-hint")?.EndsWith("_scheme", StringComparison.Ordinal) == true;
            if (device is not null && (best.HasMap, -best.Number).CompareTo((hasMap, -number)) >= 0) continue;
            (device, best) = ($"{Devices}{WholeDisk}{number}", (hasMap, number));
        }

        return device is null ? null : new(path, device, mountPoints);
    }

    // The number of a whole disk; null for a slice. hdiutil gives the path of the device, diskutil its name only.
    private static int? NumberOf(string entry)
    {
        ReadOnlySpan<char> name = entry.StartsWith(Devices, StringComparison.Ordinal) ? entry.AsSpan(Devices.Length) : entry;
        return name.StartsWith(WholeDisk, StringComparison.Ordinal)
            && int.TryParse(name[WholeDisk.Length..], NumberStyles.None, CultureInfo.InvariantCulture, out int number)
            ? number : null;
    }
}
