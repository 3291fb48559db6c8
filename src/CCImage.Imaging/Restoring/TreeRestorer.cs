using System.Diagnostics;
using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;

namespace CCImage.Restoring;

/// <summary>
/// Writes a tree to a folder of the host, with all the metadata the host takes, and never outside of that folder, whatever the tree says:
/// every entry is made by a single checked name in a folder that is held open; a link is never followed; files are only ever created, never
/// opened when they exist; and symbolic links are made when everything else is in place, so that nothing can be written through them.
/// <para>
/// Two passes. The first makes folders (for this user alone), files, hard links and nodes. The second makes the symbolic links and, from
/// the deepest folder up, gives each folder its owner, mode and times, which nothing changes afterwards. It enters only the folders that
/// the first pass made, and sets metadata through what it has open, never by a name. Whatever ends the first pass, the second gives what
/// was made its metadata.
/// </para>
/// </summary>
internal sealed class TreeRestorer
{
    // After a stop nobody waits longer for folders to get their modes; those that do not get them stay closed to others.
    private static readonly TimeSpan s_patience = TimeSpan.FromMilliseconds(300);

    private const uint OwnerAll = 0x1C0;

    private readonly SourceTree _tree;
    private readonly IHostPlatform _platform;
    private readonly TreeRestoreOptions _options;
    private readonly CancellationToken _cancellation;
    private readonly RestoreSelection _selection;
    private readonly RestoreWarnings _warnings;
    private readonly RestoreFailures _failures;
    private readonly RestoreCounts _counts = new();
    private readonly ContentRestorer _contents;
    private readonly MetadataRestorer _metadata;
    private readonly EntryRestorer _entry;
    private readonly HostDirectory _destination;
    private readonly bool _isNew;
    private readonly uint? _modeBefore;

    private TreeRestorer(
        SourceTree tree, TreeRestoreOptions options, IHostPlatform platform, IImagingObserver observer, CancellationToken cancellation)
    {
        (_tree, _options, _platform, _cancellation) = (tree, options, platform, cancellation);
        _selection = new(tree, options.Choice, cancellation);
        HostVolume? volume = VolumeAt(options.DestinationPath, platform);
        RoomCheck.Require(tree, _selection, options, platform, volume, observer, cancellation);
        (_destination, _isNew) = OpenDestination(options.DestinationPath, platform);
        try
        {
            _warnings = new(observer);
            _failures = new(options, platform, _destination);
            _metadata = new(tree, options, platform.IsPrivileged, _warnings);
            _contents = new(tree, _failures, _warnings, observer, _selection.TotalBytes, volume, cancellation);
            _entry = new(tree, options, platform, _destination, _contents, _metadata, _failures, _warnings, _selection, _counts);
            _modeBefore = LetIn();
            TryToWrite();
        }
        catch
        {
            PutModeBack(_destination);
            _destination.Dispose();
            throw;
        }
    }

    /// <summary>Restores.</summary>
    /// <param name="tree">The tree; what it says is not trusted.</param>
    /// <param name="options">What to where.</param>
    /// <param name="platform">The machine.</param>
    /// <param name="observer">Hears of progress (bytes) and of what is missing or not as it was.</param>
    /// <param name="cancellation">Ends it; the file that was being written is removed.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.DestinationExists"/> when the destination is no folder,
    /// <see cref="ImageErrorId.DestinationFull"/>,
    /// <see cref="ImageErrorId.DestinationUnwritable"/>; <see cref="ImageErrorId.InvalidArgument"/> when nothing is selected; what the tree
    /// throws when all of it is gone. A single entry that cannot be read or cannot be made here is left out with a warning, and
    /// counted.</exception>
    public static TreeRestoreReport Restore(
        SourceTree tree, TreeRestoreOptions options, IHostPlatform platform, IImagingObserver observer, CancellationToken cancellation)
    {
        var restorer = new TreeRestorer(tree, options, platform, observer, cancellation);
        using HostDirectory destination = restorer._destination;
        try
        {
            restorer.MakeEntries();
            restorer.FinishFolders(isWhole: true, null);
        }
        catch (Exception e)
        {
            restorer.Salvage(e is OperationCanceledException ? s_patience : null);
            throw;
        }

        return restorer.Report();
    }

    private static (HostDirectory Folder, bool IsNew) OpenDestination(string path, IHostPlatform platform)
    {
        try
        {
            if (!Path.Exists(path) && Path.GetDirectoryName(path) is { Length: > 0 } above)
            {
                Directory.CreateDirectory(above);
                using HostDirectory parent = platform.OpenDirectory(above);
                string name = Path.GetFileName(path);
                try
                {
                    // Not by the runtime: what somebody else makes at this moment is not to be taken for the new one.
                    parent.CreateDirectory(name);
                    HostIdentity identity = EntryRestorer.IdentityOfNew(parent, name);
                    HostDirectory created = parent.OpenDirectory(name);
                    if (created.Stat.Identity == identity) return (created, true);
                    created.Dispose();
                    throw new HostException(HostFailure.Replaced, "Another folder has its name now.");
                }
                catch (HostException e) when (e.Failure == HostFailure.AlreadyExists)
                {
                    // Then it is one that was there.
                }
            }

            return (platform.OpenDirectory(path), false);
        }
        catch (HostException e) when (e.Failure == HostFailure.NotADirectory)
        {
            throw new ImageException(
                ImageErrorId.DestinationExists, "The destination is not a folder.", path,
                remedy: "Choose a folder, or a name that is free.", innerException: e);
        }
        catch (HostException e) when (e.Failure == HostFailure.NoSpace)
        {
            throw new ImageException(ImageErrorId.DestinationFull, "The destination is full.", path,
                remedy: "Make room, or choose another place.", innerException: e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(
                ImageErrorId.DestinationUnwritable, $"The destination folder cannot be made or opened: {e.Message}", path,
                remedy: "Check the permissions, or choose another place.", innerException: e);
        }
    }

    // Only to spare the writing of what will not fit: that nothing is known of a volume hinders no restore.
    private static HostVolume? VolumeAt(string path, IHostPlatform platform)
    {
        try
        {
            return platform.GetVolume(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private TreeRestoreReport Report()
    {
        if (_selection.FoldersWithoutContent > 0)
        {
            _warnings.Advise(
                $"{_selection.FoldersWithoutContent} of the chosen folders were made without what lies in them, of which nothing was "
                    + $"chosen; -Include takes a folder with all in it.");
        }

        IReadOnlyList<ImagingWarning> warnings = _warnings.Finish();
        return new(_counts.Restored, _contents.Bytes, warnings)
        {
            Failed = _counts.Failed, Skipped = _counts.Skipped, Excluded = _counts.Excluded + _selection.Excluded,
                MetadataLost = _warnings.Lost,
        };
    }

    // A destination that is the user's own and does not let him write is opened for the time of the restore.
    private uint? LetIn()
    {
        uint mode = _destination.Stat.Mode;
        if (_isNew || _platform.IsPrivileged || (mode & OwnerAll) == OwnerAll) return null;
        try
        {
            _destination.SetMode(HostNode.Self, mode | OwnerAll);
            return mode;
        }
        catch (HostException)
        {
            return null;
        }
    }

    private void PutModeBack(HostDirectory folder)
    {
        if (_modeBefore is not { } mode) return;
        try
        {
            folder.SetMode(HostNode.Self, mode);
        }
        catch (HostException e)
        {
            _metadata.Lose("permissions", _tree.Root, e.Message);
        }
    }

    // Before anything is written; what a permission says is not always what happens.
    private void TryToWrite()
    {
        string name = $".{Guid.NewGuid():N}.partial";
        try
        {
            _destination.CreateFile(name).Dispose();
            _destination.Remove(name);
        }
        catch (HostException e)
        {
            throw e.Failure == HostFailure.NoSpace
                ? new ImageException(ImageErrorId.DestinationFull, "The destination is full.", _options.DestinationPath,
                    remedy: "Make room, or choose another place.", innerException: e)
                : new ImageException(
                    ImageErrorId.DestinationUnwritable, $"The destination folder cannot be written: {e.Message}", _options.DestinationPath,
                    remedy: "Check the permissions, or choose another place.", innerException: e);
        }
    }

    private void MakeEntries()
    {
        using HostPath path = Walk();
        var pending = new Stack<SourceEntry>();
        pending.Push(_tree.Root);
        SourceEntry at = _tree.Root;
        var subfolders = new List<SourceEntry>();
        while (pending.TryPop(out SourceEntry? folder))
        {
            if (folder.Parent is not null)
            {
                for (; at != folder.Parent; at = at.Parent!) Leave(path, at).Dispose();
                if (!Enter(path, folder, kind: null)) continue;
                at = folder;
            }

            subfolders.Clear();
            MakeEntriesOf(path.Current, folder, subfolders);
            for (int i = subfolders.Count - 1; i >= 0; i--) pending.Push(subfolders[i]);
        }
    }

    private void MakeEntriesOf(HostDirectory folder, SourceEntry entry, List<SourceEntry> subfolders)
    {
        // What was made here: an entry that exists and is among these is a twin of the tree's own, by case or by another rule of the host.
        var made = new HashSet<HostIdentity>();
        long count = 0;
        foreach (SourceEntry child in entry.Children)
        {
            _cancellation.ThrowIfCancellationRequested();
            if (!_selection.IsTaken(child) || child.Kind == EntryKind.SymbolicLink || !_entry.Make(folder, child, made)) continue;
            count++;
            if (child.Kind == EntryKind.Directory) subfolders.Add(child);
        }

        if (entry.Parent is not null) _entry.NoteMade(entry, count);
    }

    // The second pass: down to make the links and to lock what has several names, and on the way up the metadata of what was left behind.
    private void FinishFolders(bool isWhole, Stopwatch? patience)
    {
        using HostPath path = Walk();
        var open = new Stack<(SourceEntry Folder, int Next)>();
        open.Push((_tree.Root, 0));
        MakeLinks(path.Current, _tree.Root, isWhole);
        while (open.TryPop(out (SourceEntry Folder, int Next) at))
        {
            if (patience?.Elapsed > s_patience) break;
            if (isWhole) _cancellation.ThrowIfCancellationRequested();
            SourceEntry? child = null;
            int next = at.Next;
            while (next < at.Folder.Children.Count && child is null)
            {
                SourceEntry candidate = at.Folder.Children[next++];
                if (_entry.Folders.ContainsKey(candidate)) child = candidate;
            }

            if (child is not null)
            {
                open.Push((at.Folder, next));
                if (!Enter(path, child, EntryKind.SymbolicLink)) continue;
                open.Push((child, 0));
                MakeLinks(path.Current, child, isWhole);
                continue;
            }

            if (at.Folder.Parent is null) FinishRoot(path.Current, isWhole);
            else FinishFolder(path, at.Folder);
        }
    }

    private void FinishFolder(HostPath path, SourceEntry entry)
    {
        // The one in which one stood, by what is open: its mode may forbid to go up from it, and its name may be another's by now.
        using HostDirectory folder = Leave(path, entry);
        RestoredFolder state = _entry.Folders[entry];

        // What was there before and is not to be overwritten keeps its metadata.
        if (!state.Existed || _options.Overwrite)
        {
            _metadata.SetMetadata(folder, entry, HostNode.Self, folder.Stat);
            _metadata.SetFlags(folder, entry, HostNode.Self);
        }
        else if (state.ModeBefore is { } mode)
        {
            try
            {
                folder.SetMode(HostNode.Self, mode);
            }
            catch (HostException e)
            {
                _metadata.Lose("permissions", entry, e.Message);
            }
        }

        _entry.Complete(entry);
    }

    // A destination that the user had keeps what it had, but for the times, which are those of its content.
    private void FinishRoot(HostDirectory folder, bool isWhole)
    {
        if (_isNew)
        {
            _metadata.SetMetadata(folder, _tree.Root, HostNode.Self, folder.Stat);
            _metadata.SetFlags(folder, _tree.Root, HostNode.Self);
            return;
        }

        if (isWhole && _selection.TakesAll) _metadata.SetTimes(folder, _tree.Root, HostNode.Self);
        PutModeBack(folder);
    }

    private void MakeLinks(HostDirectory folder, SourceEntry entry, bool isWhole)
    {
        HashSet<HostIdentity>? made = null;
        foreach (SourceEntry child in entry.Children)
        {
            _entry.SetLateFlags(folder, child);
            if (!isWhole || child.Kind != EntryKind.SymbolicLink || !_selection.IsTaken(child)) continue;
            _cancellation.ThrowIfCancellationRequested();
            made ??= IdentitiesOf(folder, entry);
            _entry.Make(folder, child, made);
        }
    }

    // What the first pass made in this folder, found again by name.
    private HashSet<HostIdentity> IdentitiesOf(HostDirectory folder, SourceEntry entry)
    {
        var made = new HashSet<HostIdentity>();
        foreach (SourceEntry child in entry.Children)
        {
            if (child.Kind == EntryKind.SymbolicLink || !_selection.IsTaken(child) || _platform.ObjectionToName(child.Name) is not null)
                continue;
            try
            {
                made.Add(folder.GetStat(child.Name).Identity);
            }
            catch (HostException)
            {
                // It was left out.
            }
        }

        return made;
    }

    // After what ended the job: what stands gets its metadata as far as that is still possible, and the sums are told.
    private void Salvage(TimeSpan? patience)
    {
        try
        {
            FinishFolders(isWhole: false, patience is null ? null : Stopwatch.StartNew());
        }
        catch (Exception e) when (e is HostException or ImageException)
        {
            // The user hears of what ended the job.
        }

        _warnings.Finish();
    }

    // False: it is not there any more, or another one; with it is missing what was still to be made in it.
    private bool Enter(HostPath path, SourceEntry folder, EntryKind? kind)
    {
        try
        {
            path.Enter(folder.Name, _entry.Folders[folder].Identity);
            return true;
        }
        catch (HostException e)
        {
            _entry.Abandon(folder, e, kind is null ? _selection.CountIn(folder) - 1 : _selection.CountIn(folder, kind));
            return false;
        }
    }

    private HostDirectory Leave(HostPath path, SourceEntry folder)
    {
        try
        {
            return path.LeaveOpen();
        }
        catch (HostException e)
        {
            throw new ImageException(
                ImageErrorId.DestinationUnwritable, "A folder was moved while it was restored into.", _failures.HostPathOf(folder),
                remedy: "See who else writes there, and restore into an empty folder.", innerException: e);
        }
    }

    private HostPath Walk()
    {
        HostDirectory folder;
        try
        {
            folder = _platform.OpenDirectory(_options.DestinationPath);
        }
        catch (HostException e)
        {
            throw new ImageException(ImageErrorId.DestinationUnwritable, $"The destination folder is gone: {e.Message}",
                _options.DestinationPath, innerException: e);
        }

        if (folder.Stat.Identity == _destination.Stat.Identity) return new(folder);
        folder.Dispose();
        throw new ImageException(
            ImageErrorId.DestinationUnwritable, "The destination folder was replaced meanwhile.", _options.DestinationPath);
    }
}
