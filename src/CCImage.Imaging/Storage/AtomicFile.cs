using CCImage.Platform;

namespace CCImage.Storage;

/// <summary>
/// A file that appears whole or not at all: it is written as <c>NAME.partial</c> beside its destination and takes its name in one rename.
/// The partial file is locked while it is written; one that a killed process left behind is replaced. Files of that name are this
/// program's by convention. Disposing without <see cref="Commit"/> removes the partial file and leaves the destination untouched.
/// </summary>
internal sealed class AtomicFile : IDisposable
{
    /// <summary>What the name of an unfinished file or folder ends with.</summary>
    public const string PartialSuffix = ".partial";

    private readonly bool _overwrite;
    private bool _committed;

    /// <summary>Begins the file.</summary>
    /// <param name="destination">Its final path.</param>
    /// <param name="overwrite">Whether an existing file is replaced.</param>
    /// <param name="preallocate">Bytes to reserve on the medium, where it can.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.DestinationExists"/>, <see cref="ImageErrorId.DestinationNotFound"/>, <see cref="ImageErrorId.ImageInUse"/>
    /// (another job writes it), <see cref="ImageErrorId.DestinationFull"/>, <see cref="ImageErrorId.DestinationUnwritable"/>.
    /// </exception>
    public AtomicFile(string destination, bool overwrite, long preallocate = 0)
    {
        Destination = Path.GetFullPath(destination);
        _overwrite = overwrite;
        CheckDestination(Destination, overwrite, folder: false);
        PartialPath = Destination + PartialSuffix;
        RemoveStale(PartialPath);
        try
        {
            Storage = FileStorage.CreateNew(PartialPath, FileMode.CreateNew, preallocate);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.DestinationExists)
        {
            // Somebody was quicker.
            throw InUse(PartialPath, e);
        }
    }

    /// <summary>The final path, full.</summary>
    public string Destination { get; }

    /// <summary>The path while it is written.</summary>
    public string PartialPath { get; }

    /// <summary>The file. Belongs to this object.</summary>
    public FileStorage Storage { get; }

    /// <summary>
    /// Flushes the file, gives it its name and flushes the folder. A loss of power before this has returned leaves what was there before,
    /// or the whole new file.
    /// </summary>
    /// <param name="cancellation">Asked once more when the file was flushed, which can take long: the last moment at which nothing has changed.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.DestinationExists"/>: something has come to the destination meanwhile and must not be overwritten.
    /// </exception>
    public void Commit(CancellationToken cancellation = default)
    {
        ObjectDisposedException.ThrowIf(_committed, this);
        Storage.Flush();
        cancellation.ThrowIfCancellationRequested();
        try
        {
            if (OperatingSystem.IsWindows())
            {
                // An open file cannot be renamed there.
                Storage.Dispose();
                File.Move(PartialPath, Destination, _overwrite);
            }
            else
            {
                // Renamed under the lock: nobody can take the name of the partial file between.
                if (_overwrite)
                {
                    if (File.Exists(Destination)) File.SetUnixFileMode(PartialPath, File.GetUnixFileMode(Destination));
                    File.Move(PartialPath, Destination, overwrite: true);
                }
                else
                {
                    RenameNoReplace();
                }

                _committed = true;
                Storage.Dispose();
            }

            _committed = true;
            FileSystemCalls.FlushFolder(Path.GetDirectoryName(Destination)!);
        }
        catch (IOException e) when (!_overwrite && Path.Exists(Destination) && !_committed)
        {
            throw Exists(Destination, e);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Destination, writing: true);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_committed) return;
        _committed = true;
        try
        {
            // Deleted under the lock where that is possible, so that it cannot be another job's already.
            if (!OperatingSystem.IsWindows()) File.Delete(PartialPath);
            Storage.Dispose();
            if (OperatingSystem.IsWindows()) File.Delete(PartialPath);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            // The next job to this destination replaces it.
        }
    }

    /// <summary>Checks what can be known before the first byte is written.</summary>
    /// <param name="destination">Full path.</param>
    /// <param name="overwrite">Whether something of the same kind may be there.</param>
    /// <param name="folder">Whether a folder is to come there.</param>
    internal static void CheckDestination(string destination, bool overwrite, bool folder)
    {
        string? parent = Path.GetDirectoryName(destination);
        if (parent is null || Path.GetFileName(destination).Length == 0)
            throw new ImageException(ImageErrorId.InvalidArgument, "This is not the path of an image.", destination, remedy: "Give a name to the image.");
        if (!Directory.Exists(parent))
            throw new ImageException(
                ImageErrorId.DestinationNotFound, "The folder does not exist.", parent, remedy: "Create the folder first.");
        if (!Path.Exists(destination)) return;
        if (!overwrite) throw Exists(destination, null);
        if (Directory.Exists(destination) != folder)
            throw new ImageException(
                ImageErrorId.DestinationExists, folder ? "A file of this name exists; a folder cannot replace it." : "A folder of this name exists; a file cannot replace it.",
                destination, remedy: "Choose another name, or remove it first.");
    }

    internal static ImageException InUse(string path, Exception e) =>
        new(ImageErrorId.ImageInUse, "Another job is writing this image.", path, remedy: "Wait until it has ended.", innerException: e);

    internal static ImageException Exists(string path, Exception? e) =>
        new(ImageErrorId.DestinationExists, "Something of this name exists.", path, remedy: "Choose another name, or ask to overwrite.", innerException: e);

    /// <summary>
    /// Removes a partial file that nobody holds. It is never opened to be reused: between finding and locking it, its owner may have
    /// renamed it, and then it is somebody's image.
    /// </summary>
    private static void RemoveStale(string path)
    {
        try
        {
            if (Directory.Exists(path) && (File.GetAttributes(path) & FileAttributes.ReparsePoint) == 0)
            {
                throw new ImageException(
                    ImageErrorId.DestinationExists, "A folder stands where the unfinished image would be written.", path, remedy: "Remove or rename it.");
            }

            if (!Path.Exists(path)) return;
            using (File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, OperatingSystem.IsWindows() ? FileShare.Delete : FileShare.None))
            {
                File.Delete(path);
            }
        }
        catch (FileNotFoundException)
        {
            // Gone meanwhile, or a dangling link.
            File.Delete(path);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            ImageException mapped = FileErrors.Map(e, path, writing: true);
            throw mapped.Id == ImageErrorId.ImageInUse ? InUse(path, e) : mapped;
        }
    }

    private void RenameNoReplace()
    {
        switch (FileSystemCalls.RenameNoReplace(PartialPath, Destination))
        {
            case FileSystemCalls.RenameOutcome.Exists:
                throw Exists(Destination, null);
            case FileSystemCalls.RenameOutcome.NotSupported:
                // The runtime links and unlinks, which replaces nothing either; without hard links it looks first and then renames.
                File.Move(PartialPath, Destination, overwrite: false);
                break;
        }
    }
}
