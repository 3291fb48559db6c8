using CCImage.Platform;

namespace CCImage.Storage;

/// <summary>
/// A folder (a bundle) that appears whole or not at all: it is built in a <see cref="PartialFolder"/> beside its destination and takes its
/// place in one rename. An existing one is exchanged in one step where the host can (Linux, macOS). Elsewhere it is moved into the partial
/// folder, the new one takes its name and the old one is removed; a process killed between the two renames leaves the old bundle there,
/// whole, and the next job (or
/// <see cref="Recover"/>) puts it back. Everything inside must be closed before <see cref="Commit"/> and is flushed by whoever wrote it.
/// </summary>
internal sealed class AtomicFolder : IDisposable
{
    /// <summary>What earlier versions called an old bundle for the moment in which it is replaced.</summary>
    public const string ReplacedSuffix = ".replaced";

    private readonly PartialFolder _partial;
    private readonly HostDirectory? _old;
    private readonly IDisposable? _claim;
    private readonly IReadOnlyList<string> _marks;
    private bool _committed;
    private bool _disposed;

    /// <summary>Begins the folder: it exists, empty, when this returns.</summary>
    /// <param name="destination">Its final path.</param>
    /// <param name="overwrite">Whether an existing folder is replaced.</param>
    /// <param name="claim">
    /// Looks at the folder that is to be replaced and locks it, until what it gives is disposed; throws when it must not be replaced.
    /// </param>
    /// <param name="marks">The names of the files in the folder without which nobody takes it for what it is: removed first.</param>
    /// <exception cref="ImageException">As for <see cref="AtomicFile"/>.</exception>
    public AtomicFolder(
        string destination, bool overwrite, Func<HostDirectory, IDisposable>? claim = null, IReadOnlyList<string>? marks = null)
    {
        Destination = Path.TrimEndingDirectorySeparator(Path.GetFullPath(destination));
        _marks = marks ?? [];
        Recover(Destination);
        AtomicFile.CheckDestination(Destination, overwrite, folder: true);
        _partial = PartialFolder.Create(Destination);
        try
        {
            if (overwrite) _old = OpenOld();
            if (_old is not null) _claim = claim?.Invoke(_old);
            _partial.Folder.CreateDirectory(PartialFolder.ContentName);
            Folder = _partial.Folder.OpenDirectory(PartialFolder.ContentName);
        }
        catch (Exception e)
        {
            _claim?.Dispose();
            _old?.Dispose();
            _partial.Dispose();
            if (FileErrors.IsFileError(e)) throw FileErrors.Map(e, Destination, writing: true);
            throw;
        }
    }

    /// <summary>The final path, full.</summary>
    public string Destination { get; }

    /// <summary>Where it is built.</summary>
    public string PartialPath => _partial.ContentPath;

    /// <summary>The folder that is built, open. Belongs to this object.</summary>
    public HostDirectory Folder { get; }

    /// <summary>The folder that is replaced, open; null when there is none.</summary>
    public HostDirectory? Old => _old;

    /// <summary>Opens the folder that is built once more, for whoever writes to it.</summary>
    /// <exception cref="ImageException">What the host says.</exception>
    public HostDirectory OpenFolder()
    {
        try
        {
            return _partial.Folder.OpenDirectory(PartialFolder.ContentName);
        }
        catch (HostException e)
        {
            throw FileErrors.Map(e, PartialPath, writing: true);
        }
    }

    /// <summary>The permission bits that a new folder gets there when nothing else is said.</summary>
    public uint DefaultMode => _partial.DefaultFolderMode;

    /// <summary>Puts back a bundle that was left by a process killed between two renames.</summary>
    /// <param name="destination">The bundle's path.</param>
    /// <returns>Whether there was one.</returns>
    public static bool Recover(string destination)
    {
        destination = Path.TrimEndingDirectorySeparator(Path.GetFullPath(destination));
        if (Path.Exists(destination)) return false;
        string replaced = destination + ReplacedSuffix;
        if (!Directory.Exists(replaced)) return PartialFolder.Recover(destination);
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
        ObjectDisposedException.ThrowIf(_committed, this);
        cancellation.ThrowIfCancellationRequested();
        try
        {
            SetMode();
            Folder.Flush();
            string name = Path.GetFileName(Destination);
            if (_old is null) AtomicFile.MoveToFree(_partial, name, isFolder: true);
            else Replace(name);
            _committed = true;
            _partial.Parent.Flush();
            if (_old is not null) RemoveOld();
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
        Folder.Dispose();

        // The lock on the old one goes last: nobody may find it while it is being removed.
        _partial.Dispose();
        _claim?.Dispose();
        _old?.Dispose();
    }

    private HostDirectory? OpenOld()
    {
        string name = Path.GetFileName(Destination);
        if (AtomicFile.StatOf(_partial.Parent, name) is not { } stat) return null;
        if (stat.Kind != Sources.EntryKind.Directory)
        {
            throw new ImageException(
                ImageErrorId.DestinationExists, "This is a symbolic link, not a folder. Only images are replaced.", Destination,
                remedy: "Choose another name, or remove it first.");
        }

        return _partial.Parent.OpenDirectory(name);
    }

    // The old one's, or as a new folder has it: until now it was this user's alone.
    private void SetMode()
    {
        if (OperatingSystem.IsWindows()) return;
        try
        {
            Folder.SetMode(HostNode.Self, _old is null ? DefaultMode : _old.Stat.Mode & 0xFFF);
        }
        catch (HostException)
        {
            // FAT and shares give every folder the mode of their mount, and refuse others.
        }
    }

    /// <summary>Puts the new folder in the old one's place; the old one is in the partial folder then.</summary>
    private void Replace(string name)
    {
        HostDirectory parent = _partial.Parent, partial = _partial.Folder;
        CheckIsOld(parent, name);
        if (MayExchange && partial.Exchange(PartialFolder.ContentName, parent, name) == FileSystemCalls.RenameOutcome.Done)
        {
            if (AtomicFile.StatOf(partial, PartialFolder.ContentName) is { } stat && stat.Identity == _old!.Stat.Identity) return;

            // Somebody was quicker than the two calls: what he has put there goes back.
            partial.Exchange(PartialFolder.ContentName, parent, name);
            throw AtomicFile.Exists(Destination, null);
        }

        // Windows moves no folder in which a file is open.
        if (OperatingSystem.IsWindows()) _claim?.Dispose();
        parent.MoveTo(name, partial, PartialFolder.OldName);
        partial.Flush();
        parent.Flush();
        try
        {
            AtomicFile.MoveToFree(_partial, name, isFolder: true);
        }
        catch
        {
            partial.MoveTo(PartialFolder.OldName, parent, name);
            throw;
        }
    }

    private void CheckIsOld(HostDirectory parent, string name)
    {
        if (OperatingSystem.IsWindows()) return;
        if (AtomicFile.StatOf(parent, name) is not { } stat || stat.Identity != _old!.Stat.Identity)
            throw AtomicFile.Exists(Destination, null);
    }

    private void RemoveOld()
    {
        try
        {
            FolderRemoval.Empty(_old!, _marks);
        }
        catch (HostException)
        {
            // What is left goes with the partial folder, or with the next job's.
        }
    }
}
