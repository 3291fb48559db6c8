using CCImage.Containers.SparseBundle;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// Whether somebody has an image open: another process by the lock that this program, macOS' disk images and Windows' sharing rules all
/// set, or Linux as a loop device, which sets none.
/// </summary>
internal static class ImageUse
{
    /// <summary>Asks, without changing anything. This process must not have the image open itself.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <returns>Null when the host does not tell: the file may not be opened, or its file system has no locks.</returns>
    public static bool? Ask(string path)
    {
        string file = Directory.Exists(path) ? SparseBundleStorage.LockFileOf(path) : path;
        if (HostPlatform.IsLoopDevice(file)) return true;
        try
        {
            // On Unix this asks for the exclusive lock; it is given back at once.
            using var handle = File.OpenHandle(file, FileMode.Open, FileAccess.Read, FileShare.None);
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
        if (!HostPlatform.IsLoopDevice(path)) return;
        throw new ImageException(
            ImageErrorId.ImageInUse, "The image is in use as a loop device.", path, remedy: "Unmount it (losetup -l lists the devices, losetup -d frees one), and try again.");
    }
}
