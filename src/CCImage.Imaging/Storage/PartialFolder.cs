using CCImage.Platform;
using CCImage.Sources;

namespace CCImage.Storage;

/// <summary>
/// The folder <c>NAME.partial</c> beside an image that is being made: it is this user's alone from its first moment, and what becomes the
/// image lies in it, so that nobody else can read it, put something in its place, or take it for an image. Everything goes by open folders
/// and single names.
/// <para>
/// A lock in it is held as long as its process lives. The file of the lock says whose the folder is: a folder with that text whose lock is
/// free was left by a process that was killed, and the next job that makes an image in the same folder removes it, whatever its name.
/// </para>
/// </summary>
internal sealed class PartialFolder : IDisposable
{
    /// <summary>What the name of an unfinished image ends with.</summary>
    public const string Suffix = ".partial";

    /// <summary>The name of what becomes the image.</summary>
    public const string ContentName = "image";

    /// <summary>The name of the old image between the two renames by which it is replaced on hosts that cannot exchange.</summary>
    public const string OldName = "replaced";

    private const string LockName = ".lock";

    private readonly string _name;
    private readonly FileStorage _lock;
    private bool _disposed;

    private PartialFolder(string destination, HostDirectory parent, HostDirectory folder, FileStorage guard, uint defaultMode)
    {
        (Destination, Parent, Folder, _lock, DefaultFileMode) = (destination, parent, folder, guard, defaultMode);
        _name = NameOf(destination);
        Path = destination + Suffix;
    }

    /// <summary>What the file of the lock says, so that nothing else is taken for an unfinished image.</summary>
    internal static ReadOnlySpan<byte> Mark =>
        "An image that CCImage has not finished. The next image that is made beside this folder removes it.\n"u8;

    /// <summary>The image's final path.</summary>
    public string Destination { get; }

    /// <summary>The folder's path.</summary>
    public string Path { get; }

    /// <summary>The path of what becomes the image, for errors.</summary>
    public string ContentPath => System.IO.Path.Combine(Path, ContentName);

    /// <summary>The folder that the image is to lie in.</summary>
    public HostDirectory Parent { get; }

    /// <summary>This folder.</summary>
    public HostDirectory Folder { get; }

    /// <summary>The permission bits that a new file gets there when nothing else is said.</summary>
    public uint DefaultFileMode { get; }

    /// <summary>The permission bits that a new folder gets: whoever may read a file may enter.</summary>
    public uint DefaultFolderMode => DefaultFileMode | ((DefaultFileMode & 0x124) >> 2);

    /// <summary>Makes the folder, after removing what a killed process left there.</summary>
    /// <param name="destination">The image's final path, full.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>: another job makes this image; or what the host
    /// says.</exception>
    public static PartialFolder Create(string destination)
    {
        string name = NameOf(destination), path = destination + Suffix;
        HostDirectory? parent = null, folder = null;
        try
        {
            parent = HostPlatform.Current.OpenDirectory(System.IO.Path.GetDirectoryName(destination)!);
            RemoveStale(parent, name, path);
            parent.CreateDirectory(name);
            folder = parent.OpenDirectory(name);
            // rw-rw-rw-, less the process' mask
            FileStorage guard = FileStorage.CreateNew(folder, LockName, System.IO.Path.Combine(path, LockName), 0x1B6);
            try
            {
                HostStat stat = folder.GetStatOf(guard.Handle);

                // Somebody with rights in the folder above could have put one of his own there.
                if (!OperatingSystem.IsWindows() && stat.UserId != folder.Stat.UserId)
                    throw new HostException(HostFailure.Replaced, "The folder was replaced.");
                guard.Write(0, Mark);
                RemoveOthers(parent, name, stat.UserId);
                return new PartialFolder(destination, parent, folder, guard, stat.Mode & 0x1FF);
            }
            catch
            {
                guard.Dispose();
                throw;
            }
        }
        catch (Exception e)
        {
            folder?.Dispose();
            parent?.Dispose();
            throw e switch
            {
                HostException { Failure: HostFailure.AlreadyExists or HostFailure.InUse }
                    or ImageException { Id: ImageErrorId.DestinationExists, InnerException: not null } => InUse(path, e),
                _ when FileErrors.IsFileError(e) => FileErrors.Map(e, path, writing: true),
                ImageException known => known,
                _ => e,
            };
        }
    }

    /// <summary>Whether a path names something unfinished: by its own name, or because it lies in a folder of this kind.</summary>
    /// <param name="path">A full path.</param>
    public static bool IsUnfinished(string path)
    {
        path = System.IO.Path.TrimEndingDirectorySeparator(path);
        if (path.EndsWith(Suffix, StringComparison.OrdinalIgnoreCase)) return true;
        if (System.IO.Path.GetDirectoryName(path) is not string above || !above.EndsWith(Suffix, StringComparison.OrdinalIgnoreCase))
            return false;
        try
        {
            using HostDirectory folder = HostPlatform.Current.OpenDirectory(above);
            return folder.GetStat(LockName).IsFile;
        }
        catch (HostException)
        {
            return false;
        }
    }

    /// <summary>Puts back an image that was left between two renames.</summary>
    /// <param name="destination">The image's path.</param>
    /// <returns>Whether there was one.</returns>
    public static bool Recover(string destination)
    {
        try
        {
            using HostDirectory parent = HostPlatform.Current.OpenDirectory(System.IO.Path.GetDirectoryName(destination)!);
            if (!Has(parent, NameOf(destination))) return false;
            using HostDirectory folder = parent.OpenDirectory(NameOf(destination));
            using FileStorage guard = FileStorage.Open(folder, LockName, destination + Suffix, writable: true);
            return PutBack(parent, folder, NameOf(destination));
        }
        catch (HostException)
        {
            // There is none, or it is somebody's just now.
            return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        try
        {
            Remove(Parent, _name, Folder, _lock);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            // The next job there removes the rest.
        }

        Folder.Dispose();
        Parent.Dispose();
    }

    internal static ImageException InUse(string path, Exception e) =>
        new(ImageErrorId.ImageInUse, "Another job is writing this image.", path, remedy: "Wait until it has ended.", innerException: e);

    private static string NameOf(string destination) => System.IO.Path.GetFileName(destination) + Suffix;

    private static bool Has(HostDirectory folder, string name)
    {
        try
        {
            folder.GetStat(name);
            return true;
        }
        catch (HostException e) when (e.Failure == HostFailure.NotFound)
        {
            return false;
        }
    }

    /// <summary>Removes what has the name of the folder to come, unless somebody holds it or it is no unfinished image.</summary>
    private static void RemoveStale(HostDirectory parent, string name, string path)
    {
        if (!Has(parent, name)) return;
        HostStat stat = parent.GetStat(name);
        if (stat.Kind != EntryKind.Directory)
        {
            // Other programs call their downloads so: a file with content is nobody's to remove. A link is removed, never followed.
            if (stat.IsFile && stat.Size > 0)
            {
                throw new ImageException(
                    ImageErrorId.DestinationExists, "A file stands where the unfinished image would be written.", path,
                    remedy: "Remove or rename it.");
            }

            using (FileStorage? file = stat.IsFile ? FileStorage.Open(parent, name, path, writable: true) : null) parent.Remove(name);
            return;
        }

        using HostDirectory folder = parent.OpenDirectory(name);
        FileStorage? guard = Has(folder, LockName) ? FileStorage.Open(folder, LockName, path, writable: true) : null;
        if (guard is null || !IsMarked(guard))
        {
            // Empty, or killed before the mark was written; anything else is not provably ours.
            var names = new List<string>();
            folder.ReadNames(names, names);
            if (names.All(n => n == LockName))
            {
                if (guard is null) parent.RemoveDirectory(name);
                else Remove(parent, name, folder, guard);
                return;
            }

            guard?.Dispose();
            throw new ImageException(
                ImageErrorId.DestinationExists, "A folder stands where the unfinished image would be written.", path,
                remedy: "Remove or rename it.");
        }

        PutBack(parent, folder, name);
        Remove(parent, name, folder, guard);
    }

    private static bool IsMarked(FileStorage guard)
    {
        byte[] mark = new byte[Mark.Length];
        if (guard.Length == mark.Length) guard.Read(0, mark);
        return mark.AsSpan().SequenceEqual(Mark);
    }

    /// <summary>Removes the unfinished images of dead processes under other names: only folders that are this user's and carry the
    /// mark.</summary>
    private static void RemoveOthers(HostDirectory parent, string own, uint user)
    {
        var names = new List<string>();
        try
        {
            parent.ReadNames(names, []);
        }
        catch (HostException)
        {
            return;
        }

        foreach (string name in names.Where(n => n != own && n.EndsWith(Suffix, StringComparison.Ordinal)))
        {
            try
            {
                HostStat stat = parent.GetStat(name);
                if (stat.Kind != EntryKind.Directory || stat.UserId != user) continue;
                using HostDirectory folder = parent.OpenDirectory(name);
                if (!Has(folder, LockName)) continue;
                FileStorage guard = FileStorage.Open(folder, LockName, name, writable: true);
                if (IsMarked(guard) && folder.Stat.UserId == user)
                {
                    PutBack(parent, folder, name);
                    Remove(parent, name, folder, guard);
                }
                else
                {
                    guard.Dispose();
                }
            }
            catch (Exception e) when (FileErrors.IsFileError(e) || e is ImageException)
            {
                // It is in use, or is not ours to remove.
            }
        }
    }

    // An old image that was moved here to be replaced, by a process that died before the new one had its name.
    private static bool PutBack(HostDirectory parent, HostDirectory folder, string name)
    {
        string destination = name[..^Suffix.Length];
        if (!Has(folder, OldName) || Has(parent, destination)) return false;
        folder.MoveTo(OldName, parent, destination);
        parent.Flush();
        return true;
    }

    /// <summary>Removes a folder whose lock is held, the lock last: until then nobody else begins in it.</summary>
    private static void Remove(HostDirectory parent, string name, HostDirectory folder, FileStorage guard)
    {
        using (guard)
        {
            FolderRemoval.Empty(folder, [], LockName);
            if (OperatingSystem.IsWindows()) guard.Dispose();
            folder.Remove(LockName);
        }

        // Not what somebody else has put in its place.
        if (parent.GetStat(name).Identity == folder.Stat.Identity) parent.RemoveDirectory(name);
    }
}
