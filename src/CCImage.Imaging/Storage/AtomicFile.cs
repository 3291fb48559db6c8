using CCImage.Platform;

namespace CCImage.Storage;

/// <summary>
/// A file that appears whole or not at all: it is written in a <see cref="PartialFolder"/> beside its destination and takes its place in
/// one rename. A file that it replaces is locked from the beginning: whoever reads it is not disturbed, and whoever comes later has to
/// wait. Disposing without <see cref="Commit"/> leaves the destination untouched and nothing behind.
/// </summary>
internal sealed class AtomicFile : IDisposable
{
    /// <summary>What the name of an unfinished file or folder ends with.</summary>
    public const string PartialSuffix = PartialFolder.Suffix;

    private const uint PrivateMode = 0x180;

    private readonly PartialFolder _partial;
    private readonly FileStorage? _old;
    private readonly HostStat _oldStat;
    private bool _committed;
    private bool _disposed;

    /// <summary>Begins the file.</summary>
    /// <param name="destination">Its final path.</param>
    /// <param name="overwrite">Whether an existing file is replaced.</param>
    /// <param name="preallocate">Bytes to reserve on the medium, where it can.</param>
    /// <param name="judge">Looks at the file that is to be replaced, and throws when it must not be.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.DestinationExists"/>, <see cref="ImageErrorId.DestinationNotFound"/>, <see cref="ImageErrorId.ImageInUse"/>
    /// (somebody has the old file open, or another job writes it), <see cref="ImageErrorId.DestinationFull"/>,
    /// <see cref="ImageErrorId.DestinationUnwritable"/>.
    /// </exception>
    public AtomicFile(string destination, bool overwrite, long preallocate = 0, Action<BlockStorage>? judge = null)
    {
        Destination = Path.GetFullPath(destination);
        CheckDestination(Destination, overwrite, folder: false);
        _partial = PartialFolder.Create(Destination);
        try
        {
            if (overwrite) _old = OpenOld(_partial.Parent, Destination, out _oldStat);
            if (_old is not null) judge?.Invoke(_old);
            Storage = FileStorage.CreateNew(_partial.Folder, PartialFolder.ContentName, Destination, PrivateMode, preallocate);
        }
        catch
        {
            _old?.Dispose();
            _partial.Dispose();
            throw;
        }
    }

    /// <summary>The final path, full.</summary>
    public string Destination { get; }

    /// <summary>The path while it is written.</summary>
    public string PartialPath => _partial.ContentPath;

    /// <summary>Whether nobody but this user may read the file when it is there, either: it holds keys.</summary>
    public bool IsPrivate { get; init; }

    /// <summary>The file. Belongs to this object.</summary>
    public FileStorage Storage { get; }

    /// <summary>
    /// Flushes the file, gives it its name and flushes the folder. A loss of power before this has returned leaves what was there before,
    /// or the whole new file.
    /// </summary>
    /// <param name="cancellation">Asked once more when the file was flushed, which can take long: the last moment at which nothing has
    /// changed.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.DestinationExists"/>: something has come to the destination meanwhile and must not be overwritten;
    /// <see cref="ImageErrorId.ChecksumMismatch"/>: a share does not give back what was written.
    /// </exception>
    public void Commit(CancellationToken cancellation = default)
    {
        ObjectDisposedException.ThrowIf(_committed, this);
        Storage.Flush();
        cancellation.ThrowIfCancellationRequested();
        try
        {
            if (IsOnNetwork(Destination)) CheckAsWritten();

            // Readable for others only now, and for no more of them than the old one was.
            if (!IsPrivate) Storage.SetMode(_old is null ? _partial.DefaultFileMode : _oldStat.Mode & 0x1FF);
            if (OperatingSystem.IsWindows())
            {
                // An open file can neither be renamed there nor be replaced.
                Storage.Dispose();
                _old?.Dispose();
            }

            string name = Path.GetFileName(Destination);
            if (_old is null) MoveToFree(_partial, name, isFolder: false);
            else Replace(name);
            _committed = true;
            Storage.Dispose();
            _partial.Parent.Flush();
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Destination, writing: true);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        Storage.Dispose();
        _old?.Dispose();
        _partial.Dispose();
    }

    /// <summary>Checks what can be known before the first byte is written.</summary>
    /// <param name="destination">Full path.</param>
    /// <param name="overwrite">Whether something of the same kind may be there.</param>
    /// <param name="folder">Whether a folder is to come there.</param>
    internal static void CheckDestination(string destination, bool overwrite, bool folder)
    {
        string? parent = Path.GetDirectoryName(destination);
        if (parent is null || Path.GetFileName(destination).Length == 0)
            throw new ImageException(
                ImageErrorId.InvalidArgument, "This is not the path of an image.", destination, remedy: "Give a name to the image.");
        if (!Directory.Exists(parent))
            throw new ImageException(
                ImageErrorId.DestinationNotFound, "The folder does not exist.", parent, remedy: "Create the folder first.");
        if (!Path.Exists(destination)) return;
        if (!overwrite) throw Exists(destination, null);
        if (Directory.Exists(destination) != folder)
            throw new ImageException(
                ImageErrorId.DestinationExists, folder ? "A file of this name exists; a folder cannot replace it."
                : "A folder of this name exists; a file cannot replace it.",
                destination, remedy: "Choose another name, or remove it first.");
    }

    internal static ImageException Exists(string path, Exception? e) =>
        new(ImageErrorId.DestinationExists, "Something of this name exists.", path, remedy: "Choose another name, or ask to overwrite.",
            innerException: e);

    /// <summary>Whether a path lies on another machine, whose file system may say yes to what it then does not do.</summary>
    /// <param name="path">A full path.</param>
    internal static bool IsOnNetwork(string path)
    {
        try
        {
            HostVolume volume = HostPlatform.Current.GetVolume(path);
            return volume.IsNetwork;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return false;
        }
    }

    /// <summary>Gives what was made its name, never over anything.</summary>
    /// <param name="partial">Where it was made.</param>
    /// <param name="name">The name.</param>
    /// <param name="isFolder">Whether it is a folder.</param>
    internal static void MoveToFree(PartialFolder partial, string name, bool isFolder)
    {
        switch (partial.Folder.MoveToFree(PartialFolder.ContentName, partial.Parent, name))
        {
            case FileSystemCalls.RenameOutcome.Exists:
                throw Exists(partial.Destination, null);
            case FileSystemCalls.RenameOutcome.NotSupported when !isFolder && TryLink():
                partial.Folder.Remove(PartialFolder.ContentName);
                break;
            case FileSystemCalls.RenameOutcome.NotSupported:
                // Looks first and then renames; a rename onto a folder that holds something fails on every host.
                if (StatOf(partial.Parent, name) is not null) throw Exists(partial.Destination, null);
                partial.Folder.MoveTo(PartialFolder.ContentName, partial.Parent, name);
                break;
        }

        // A further name replaces nothing either.
        bool TryLink()
        {
            try
            {
                partial.Parent.CreateLink(name, partial.Folder, PartialFolder.ContentName);
                return true;
            }
            catch (HostException e)
            {
                return e.Failure == HostFailure.AlreadyExists ? throw Exists(partial.Destination, e) : false;
            }
        }
    }

    /// <summary>What an entry is; null when there is none.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="name">A single name.</param>
    internal static HostStat? StatOf(HostDirectory folder, string name)
    {
        try
        {
            return folder.GetStat(name);
        }
        catch (HostException e) when (e.Failure == HostFailure.NotFound)
        {
            return null;
        }
    }

    private static FileStorage? OpenOld(HostDirectory parent, string destination, out HostStat stat)
    {
        string name = Path.GetFileName(destination);
        stat = default;
        if (StatOf(parent, name) is null) return null;
        try
        {
            try
            {
                // Over a network an exclusive lock needs a file that is open to be written.
                return FileStorage.Take(destination, parent.OpenLocked(name, writable: true, exclusive: true, out stat), writable: false);
            }
            catch (HostException e) when (e.Failure is HostFailure.AccessDenied or HostFailure.ReadOnly)
            {
                return FileStorage.Take(destination, parent.OpenLocked(name, writable: false, exclusive: true, out stat), writable: false);
            }
        }
        catch (HostException e) when (e.Failure is HostFailure.SymbolicLink or HostFailure.NotAFile)
        {
            throw new ImageException(
                ImageErrorId.DestinationExists, $"{e.Message} Only images are replaced.", destination,
                remedy: "Choose another name, or remove it first.", innerException: e);
        }
        catch (HostException e) when (e.Failure == HostFailure.InUse)
        {
            throw InUse(destination, e);
        }
        catch (HostException e)
        {
            throw FileErrors.Map(e, destination, writing: true);
        }
    }

    /// <summary>The refusal of an image that somebody has open.</summary>
    /// <param name="path">The image.</param>
    /// <param name="e">The cause.</param>
    internal static ImageException InUse(string path, Exception? e) => new(
        ImageErrorId.ImageInUse, "The image that is to be replaced is in use.", path,
        remedy: "Eject it, or wait until the other job has ended.", innerException: e);

    private void CheckAsWritten()
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle again = _partial.Folder.OpenFile(PartialFolder.ContentName, out _);
        Storage.CheckAsWritten(again);
    }

    private void Replace(string name)
    {
        // What is replaced is the file that was looked at and is locked, not what somebody has put there since.
        if (StatOf(_partial.Parent, name) is not { } stat || stat.Identity != _oldStat.Identity) throw Exists(Destination, null);
        _partial.Folder.MoveTo(PartialFolder.ContentName, _partial.Parent, name);
    }
}
