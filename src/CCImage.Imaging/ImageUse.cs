using CCImage.Containers.SparseBundle;
using CCImage.Diagnostics;
using CCImage.Mounting;
using CCImage.Platform;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage;

/// <summary>
/// Whether somebody has an image open: another process by the lock that this program, macOS' disk images and Windows' sharing rules all
/// set; on macOS by the system's own list of attached images, since many a share has no locks; on Linux by the kernel's table of locks,
/// where those of servers and emulators are, and as a loop device, which sets none.
/// </summary>
internal static class ImageUse
{
    // Asking macOS takes a process: of many images looked at one after the other, one answer serves all.
    private const long MaximumAgeMilliseconds = 1000;

    private static readonly Lock s_gate = new();
    private static IReadOnlyList<AttachedImage> s_attached = [];
    private static long s_askedAt = long.MinValue;

    /// <summary>Asks, without changing anything. This process must not have the image open itself.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <returns>Null when the host does not tell: the file may not be opened, or its file system has no locks.</returns>
    public static bool? Ask(string path)
    {
        string file = LockFileOf(path);
        if (LinuxFileUse.IsLoopDevice(file) || LinuxFileUse.IsLocked(file) || FindAttached(path, MaximumAgeMilliseconds) is not null)
            return true;
        try
        {
            // The lock is given back at once.
            using SafeFileHandle handle = HostPlatform.Current.OpenFile(file, writable: false, exclusive: true, out _);
            UnixFiles.Unlock(handle);
            return false;
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            return FileErrors.Map(e, file, writing: false).Id == ImageErrorId.ImageInUse ? true : null;
        }
    }

    /// <summary>Refuses an image that is in use in a way that opening it for writing does not notice.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>.</exception>
    public static void CheckWritable(string path)
    {
        if (LinuxFileUse.IsLoopDevice(path))
        {
            throw new ImageException(
                ImageErrorId.ImageInUse, "The image is in use as a loop device.", path,
                remedy: "Unmount it (losetup -l lists the devices, losetup -d frees one), and try again.");
        }

        if (LinuxFileUse.IsLocked(LockFileOf(path)))
        {
            throw new ImageException(
                ImageErrorId.ImageInUse, "Another process holds a lock on the image.", path,
                remedy: "See who it is (lslocks), for example a Mac that has it open over a share, and try again.");
        }

        if (FindAttached(path, 0) is { } attached)
            throw new ImageException(
                ImageErrorId.ImageInUse, $"The image is attached as {attached.Device}.", path, remedy: "Dismount-BackupImage detaches it.");
    }

    private static string LockFileOf(string path) => Directory.Exists(path) ? SparseBundleStorage.LockFileOf(path) : path;

    /// <summary>Forgets what macOS said: an image was attached or detached.</summary>
    public static void Forget()
    {
        lock (s_gate) s_askedAt = long.MinValue;
    }

    private static AttachedImage? FindAttached(string path, long maximumAge)
    {
        if (!OperatingSystem.IsMacOS()) return null;
        lock (s_gate)
        {
            if (s_askedAt == long.MinValue || Environment.TickCount64 - s_askedAt > maximumAge)
            {
                s_attached = ListAttached();
                s_askedAt = Environment.TickCount64;
            }

            return s_attached.FirstOrDefault(i => i.IsAt(path));
        }
    }

    // What macOS does not tell, or not in time, is no reason not to open an image: there is the lock as well.
    private static IReadOnlyList<AttachedImage> ListAttached()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(15));
        try
        {
            return new DiskImageTools(SystemTools.Instance, SilentObserver.Instance).List(limit.Token) ?? [];
        }
        catch (OperationCanceledException)
        {
            return [];
        }
    }
}
