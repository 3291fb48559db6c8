using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Restoring;

/// <summary>
/// Writes a tree to a folder of the host, with all the metadata the host takes, and never outside of that folder, whatever the tree says:
/// every entry is made by a single checked name in a folder that is held open; a link is never followed; files are only ever created, never
/// opened when they exist; and symbolic links are made when everything else is in place, so that nothing can be written through them.
/// <para>
/// Two passes. The first makes folders (for this user alone), files, hard links and nodes. The second makes the symbolic links and, from the
/// deepest folder up, gives each folder its owner, mode and times, which nothing changes afterwards.
/// </para>
/// </summary>
internal sealed class TreeRestorer
{
    private readonly SourceTree _tree;
    private readonly IHostPlatform _platform;
    private readonly TreeRestoreOptions _options;
    private readonly CancellationToken _cancellation;
    private readonly RestoreSelection _selection;
    private readonly RestoreWarnings _warnings;
    private readonly RestoreFailures _failures;
    private readonly ContentRestorer _contents;
    private readonly MetadataRestorer _metadata;
    private readonly EntryRestorer _entry;
    private readonly HostDirectory _destination;
    private readonly bool _isNew;

    // Folders that were not made: few.
    private readonly HashSet<SourceEntry> _leftOut = [];
    private long _entries;

    private TreeRestorer(SourceTree tree, TreeRestoreOptions options, IHostPlatform platform, IImagingObserver observer, CancellationToken cancellation)
    {
        (_tree, _options, _platform, _cancellation) = (tree, options, platform, cancellation);
        _selection = new(tree, options.Include, cancellation);
        _destination = OpenDestination(options.DestinationPath, platform, out _isNew);
        _warnings = new(observer);
        _failures = new(options.DestinationPath);
        _metadata = new(tree, _warnings);
        _contents = new(tree, _failures, _warnings, observer, _selection.TotalBytes, MaximumFileSizeAt(options.DestinationPath, platform), cancellation);
        _entry = new(tree, options, platform, _destination, _contents, _metadata, _failures, _warnings);
    }

    /// <summary>Restores.</summary>
    /// <param name="tree">The tree; what it says is not trusted.</param>
    /// <param name="options">What to where.</param>
    /// <param name="platform">The machine.</param>
    /// <param name="observer">Hears of progress (bytes) and of what is missing or not as it was.</param>
    /// <param name="cancellation">Ends it; the file that was being written is removed.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.DestinationExists"/>, <see cref="ImageErrorId.DestinationFull"/>,
    /// <see cref="ImageErrorId.DestinationUnwritable"/>; <see cref="ImageErrorId.InvalidArgument"/> when the patterns select nothing.
    /// A single entry that cannot be read or cannot be made here is left out with a warning.</exception>
    public static TreeRestoreReport Restore(
        SourceTree tree, TreeRestoreOptions options, IHostPlatform platform, IImagingObserver observer, CancellationToken cancellation)
    {
        var restorer = new TreeRestorer(tree, options, platform, observer, cancellation);
        using HostDirectory destination = restorer._destination;
        restorer.MakeEntries();
        restorer.FinishFolders();
        return new(restorer._entries, restorer._contents.Bytes, restorer._warnings.Finish());
    }

    private static HostDirectory OpenDestination(string path, IHostPlatform platform, out bool isNew)
    {
        isNew = !Path.Exists(path);
        try
        {
            if (isNew) Directory.CreateDirectory(path);
            return platform.OpenDirectory(path);
        }
        catch (HostException e) when (e.Failure == HostFailure.NotADirectory)
        {
            throw new ImageException(
                ImageErrorId.DestinationExists, "The destination is not a folder.", path, remedy: "Choose a folder, or a name that is free.", innerException: e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(
                ImageErrorId.DestinationUnwritable, $"The destination folder cannot be made or opened: {e.Message}", path, innerException: e);
        }
    }

    // Only to spare the writing of what will not fit: that nothing is known of a volume hinders no restore.
    private static long? MaximumFileSizeAt(string path, IHostPlatform platform)
    {
        try
        {
            return platform.GetVolume(path).MaximumFileSize;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private void MakeEntries()
    {
        using var path = new HostPath(_platform.OpenDirectory(_options.DestinationPath));
        RequireSame(path.Current);
        var pending = new Stack<SourceEntry>();
        pending.Push(_tree.Root);
        SourceEntry at = _tree.Root;
        var subfolders = new List<SourceEntry>();
        while (pending.TryPop(out SourceEntry? folder))
        {
            if (folder.Parent is not null)
            {
                for (; at != folder.Parent; at = at.Parent!) _failures.Guard(at, path.Leave);
                _failures.Guard(folder, () => path.Enter(folder.Name));
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
        foreach (SourceEntry child in entry.Children)
        {
            _cancellation.ThrowIfCancellationRequested();
            if (!_selection.IsTaken(child) || child.Kind == EntryKind.SymbolicLink) continue;
            if (!_entry.Make(folder, child, made))
            {
                if (child.Kind == EntryKind.Directory) _leftOut.Add(child);
                continue;
            }

            _entries++;
            if (child.Kind == EntryKind.Directory) subfolders.Add(child);
        }
    }

    // The second pass: down to make the links and to lock what has several names, and on the way up the metadata of what was left behind.
    private void FinishFolders()
    {
        using var path = new HostPath(_platform.OpenDirectory(_options.DestinationPath));
        RequireSame(path.Current);
        var open = new Stack<(SourceEntry Folder, int Next)>();
        open.Push((_tree.Root, 0));
        MakeLinks(path.Current, _tree.Root);
        while (open.TryPop(out (SourceEntry Folder, int Next) at))
        {
            SourceEntry? child = null;
            int next = at.Next;
            while (next < at.Folder.Children.Count && child is null)
            {
                SourceEntry candidate = at.Folder.Children[next++];
                if (candidate.Kind == EntryKind.Directory && _selection.IsTaken(candidate) && !_leftOut.Contains(candidate)) child = candidate;
            }

            if (child is not null)
            {
                _cancellation.ThrowIfCancellationRequested();
                open.Push((at.Folder, next));
                open.Push((child, 0));
                _failures.Guard(child, () => path.Enter(child.Name));
                MakeLinks(path.Current, child);
                continue;
            }

            // What was there before and is not to be overwritten keeps its metadata; so does a destination that the user had.
            bool existed = at.Folder.Parent is null ? !_isNew : _entry.Existing.Contains(at.Folder);
            bool keeps = existed && (!_options.Overwrite || at.Folder.Parent is null);
            if (at.Folder.Parent is null)
            {
                if (keeps) continue;
                _metadata.SetMetadata(path.Current, at.Folder, HostNode.Self, path.Current.Stat);
                _metadata.SetFlags(path.Current, at.Folder, HostNode.Self);
                continue;
            }

            HostStat stat = path.Current.Stat;
            _failures.Guard(at.Folder, path.Leave);
            if (keeps) continue;
            using SafeFileHandle? handle = _failures.Guard(at.Folder, () => path.Current.OpenForMetadata(at.Folder.Name));
            var node = new HostNode(at.Folder.Name, handle);
            _metadata.SetMetadata(path.Current, at.Folder, node, stat);
            _metadata.SetFlags(path.Current, at.Folder, node);
        }
    }

    private void MakeLinks(HostDirectory folder, SourceEntry entry)
    {
        HashSet<HostIdentity>? made = null;
        foreach (SourceEntry child in entry.Children)
        {
            _entry.SetLateFlags(folder, child);
            if (child.Kind != EntryKind.SymbolicLink || !_selection.IsTaken(child)) continue;
            _cancellation.ThrowIfCancellationRequested();
            made ??= IdentitiesOf(folder, entry);
            if (_entry.Make(folder, child, made)) _entries++;
        }
    }

    // What the first pass made in this folder, found again by name.
    private HashSet<HostIdentity> IdentitiesOf(HostDirectory folder, SourceEntry entry)
    {
        var made = new HashSet<HostIdentity>();
        foreach (SourceEntry child in entry.Children)
        {
            if (child.Kind == EntryKind.SymbolicLink || !_selection.IsTaken(child) || _platform.ObjectionToName(child.Name) is not null) continue;
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

    private void RequireSame(HostDirectory folder)
    {
        if (folder.Stat.Identity == _destination.Stat.Identity) return;
        throw new ImageException(ImageErrorId.DestinationUnwritable, "The destination folder was replaced meanwhile.", _options.DestinationPath);
    }
}
