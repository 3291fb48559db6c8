using CCImage.Platform;

namespace CCImage.Storage;

/// <summary>
/// A folder (a bundle) that appears whole or not at all: it is built as <c>NAME.partial</c> beside its destination and takes its name in
/// one rename. An existing one is exchanged in one step where the host can (Linux, macOS). Elsewhere it is renamed to
/// <c>NAME.replaced</c>, the new one takes its name and the old one is removed; a process killed between the two renames leaves the old
/// bundle as <c>NAME.replaced</c>, whole, and the next job to this destination (or <see cref="Recover"/>) puts it back. Files of both
/// names are this program's by convention. Everything inside must be closed before <see cref="Commit"/> and is flushed by whoever wrote it.
/// </summary>
internal sealed class AtomicFolder : IDisposable
{
    /// <summary>What the name of an old bundle ends with for the moment in which it is replaced.</summary>
    public const string ReplacedSuffix = ".replaced";

    private const string LockName = ".lock";

    private readonly bool _overwrite;
    private readonly FileStorage _lock;
    private bool _done;

    /// <summary>Begins the folder: it exists, empty but for a lock, when this returns.</summary>
    /// <param name="destination">Its final path.</param>
    /// <param name="overwrite">Whether an existing folder is replaced.</param>
    /// <exception cref="ImageException">As for <see cref="AtomicFile"/>.</exception>
    public AtomicFolder(string destination, bool overwrite)
    {
        Destination = Path.TrimEndingDirectorySeparator(Path.GetFullPath(destination));
        _overwrite = overwrite;
        Recover(Destination);
        AtomicFile.CheckDestination(Destination, overwrite, folder: true);
        PartialPath = Destination + AtomicFile.PartialSuffix;
        try
        {
            RemoveStale();
            Directory.CreateDirectory(PartialPath);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, PartialPath, writing: true);
        }

        try
        {
            _lock = FileStorage.CreateNew(Path.Combine(PartialPath, LockName));
        }
        catch (ImageException e) when (e.Id is ImageErrorId.DestinationExists or ImageErrorId.ImageInUse)
        {
            throw AtomicFile.InUse(PartialPath, e);
        }
    }

    /// <summary>The final path, full.</summary>
    public string Destination { get; }

    /// <summary>Where to build it.</summary>
    public string PartialPath { get; }

    /// <summary>Puts back a bundle that was left under its replaced name by a process killed between two renames.</summary>
    /// <param name="destination">The bundle's path.</param>
    /// <returns>Whether there was one.</returns>
    public static bool Recover(string destination)
    {
        string replaced = Path.TrimEndingDirectorySeparator(Path.GetFullPath(destination)) + ReplacedSuffix;
        if (Path.Exists(destination) || !Directory.Exists(replaced)) return false;
        try
        {
            Directory.Move(replaced, destination);
            return true;
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, destination, writing: true);
        }
    }

    /// <summary>Whether the host's exchange in one step may be used; tests of the other way say no.</summary>
    internal bool MayExchange { get; init; } = true;

    /// <summary>Gives the folder its name, durably, and removes the one it replaces.</summary>
    /// <param name="cancellation">As for <see cref="AtomicFile.Commit"/>.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.DestinationExists"/>: something has come to the destination meanwhile and must not be overwritten.
    /// </exception>
    public void Commit(CancellationToken cancellation = default)
    {
        ObjectDisposedException.ThrowIf(_done, this);
        string parent = Path.GetDirectoryName(Destination)!;
        cancellation.ThrowIfCancellationRequested();
        try
        {
            ReleaseLock();
            FileSystemCalls.FlushFolder(PartialPath);
            string? old = _overwrite && Directory.Exists(Destination) ? Replace(parent) : null;
            if (old is null) RenameNoReplace();
            _done = true;
            FileSystemCalls.FlushFolder(parent);
            if (old is not null) RemoveQuietly(old);
        }
        catch (IOException e) when (!_overwrite && !_done && Path.Exists(Destination))
        {
            throw AtomicFile.Exists(Destination, e);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Destination, writing: true);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_done) return;
        _done = true;
        try
        {
            ReleaseLock();
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            // Removing the folder is tried all the same.
        }

        RemoveQuietly(PartialPath);
    }

    /// <summary>Puts the new folder in the old one's place.</summary>
    /// <returns>Where the old one is now.</returns>
    private string Replace(string parent)
    {
        if (MayExchange && FileSystemCalls.Exchange(PartialPath, Destination) == FileSystemCalls.RenameOutcome.Done) return PartialPath;
        string replaced = Destination + ReplacedSuffix;
        if (Directory.Exists(replaced)) Directory.Delete(replaced, recursive: true);
        Directory.Move(Destination, replaced);
        FileSystemCalls.FlushFolder(parent);
        try
        {
            Directory.Move(PartialPath, Destination);
        }
        catch
        {
            Directory.Move(replaced, Destination);
            throw;
        }

        return replaced;
    }

    private void RenameNoReplace()
    {
        switch (FileSystemCalls.RenameNoReplace(PartialPath, Destination))
        {
            case FileSystemCalls.RenameOutcome.Exists:
                throw AtomicFile.Exists(Destination, null);
            case FileSystemCalls.RenameOutcome.NotSupported:
                // Refuses an existing destination after a look; a rename onto a folder that holds something fails on every host.
                Directory.Move(PartialPath, Destination);
                break;
        }
    }

    private void ReleaseLock()
    {
        string path = _lock.Path;
        if (!OperatingSystem.IsWindows()) File.Delete(path);
        _lock.Dispose();
        if (OperatingSystem.IsWindows()) File.Delete(path);
    }

    private void RemoveStale()
    {
        if (File.Exists(PartialPath))
        {
            throw new ImageException(
                ImageErrorId.DestinationExists, "A file stands where the unfinished bundle would be written.", PartialPath, remedy: "Remove or rename it.");
        }

        if (!Directory.Exists(PartialPath)) return;
        string lockPath = Path.Combine(PartialPath, LockName);
        try
        {
            using FileStorage? held = File.Exists(lockPath) ? FileStorage.OpenWrite(lockPath) : null;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageInUse)
        {
            throw AtomicFile.InUse(PartialPath, e);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageNotFound)
        {
            // Gone meanwhile.
        }

        if (Directory.Exists(PartialPath)) Directory.Delete(PartialPath, recursive: true);
    }

    private static void RemoveQuietly(string path)
    {
        try
        {
            Directory.Delete(path, recursive: true);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            // What is left is replaced or removed by the next job to this destination.
        }
    }
}
