using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Restoring;

/// <summary>What to restore, and where to.</summary>
internal sealed record TreeRestoreOptions
{
    /// <summary>The folder, as a full path; made when it does not exist.</summary>
    public required string DestinationPath { get; init; }

    /// <summary>What to take (see <see cref="PathPatterns"/>); empty for everything.</summary>
    public IReadOnlyList<string> Include { get; init; } = [];

    /// <summary>Whether files that exist are replaced; folders that exist are merged in any case.</summary>
    public bool Overwrite { get; init; }
}

/// <summary>What was restored.</summary>
/// <param name="Entries">Entries made.</param>
/// <param name="Bytes">Bytes of content written, holes not counted.</param>
/// <param name="Warnings">What is missing or not as it was.</param>
internal sealed record TreeRestoreReport(long Entries, long Bytes, IReadOnlyList<ImagingWarning> Warnings);

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
    private const int BufferSize = 1 << 20;
    private const int MaximumAttribute = 16 << 20;
    private const uint SetUserAndGroup = 0xC00;

    private readonly SourceTree _tree;
    private readonly IHostPlatform _platform;
    private readonly TreeRestoreOptions _options;
    private readonly IImagingObserver _observer;
    private readonly CancellationToken _cancellation;
    private readonly RestoreWarnings _warnings;
    private readonly byte[] _buffer = new byte[BufferSize];

    // Folders that were not made, and folders that were there before: both few.
    private readonly HashSet<SourceEntry> _leftOut = [];
    private readonly HashSet<SourceEntry> _existing = [];

    private readonly Dictionary<long, SourceEntry> _firstNames = [];
    private HashSet<SourceEntry>? _selected;
    private HostDirectory? _destination;
    private long _entries;
    private long _bytes;
    private long _totalBytes;

    private TreeRestorer(
        SourceTree tree, TreeRestoreOptions options, IHostPlatform platform, IImagingObserver observer, CancellationToken cancellation)
    {
        (_tree, _options, _platform, _observer, _cancellation) = (tree, options, platform, observer, cancellation);
        _warnings = new(observer);
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
        SourceTree tree, TreeRestoreOptions options, IHostPlatform platform, IImagingObserver observer, CancellationToken cancellation) =>
        new TreeRestorer(tree, options, platform, observer, cancellation).Restore();

    private TreeRestoreReport Restore()
    {
        Select();
        bool isNew = OpenDestination();
        using HostDirectory destination = _destination!;
        if (!isNew) _existing.Add(_tree.Root);
        MakeEntries();
        FinishFolders();
        return new(_entries, _bytes, _warnings.Finish());
    }

    // Decides what is taken: what matches, what lies in it, and the folders on the way to it.
    private void Select()
    {
        var patterns = new PathPatterns(_options.Include);
        HashSet<SourceEntry>? matching = null;
        if (!patterns.IsEmpty) (matching, _selected) = ([], [_tree.Root]);
        foreach (SourceEntry entry in _tree.Enumerate())
        {
            _cancellation.ThrowIfCancellationRequested();
            if (entry.Parent is null) continue;
            if (matching is not null)
            {
                if (!matching.Contains(entry.Parent) && !patterns.IsMatch(entry.Name, entry.Kind == EntryKind.Directory, () => entry.RelativePath)) continue;
                matching.Add(entry);
                for (SourceEntry? at = entry; at is not null && _selected!.Add(at); at = at.Parent)
                {
                }
            }

            // A tree that lies about its sizes only spoils its own progress bar.
            if (entry.Kind == EntryKind.File) _totalBytes = (long)Int128.Min((Int128)_totalBytes + Math.Max(0, entry.Size), long.MaxValue);
        }

        if (matching?.Count == 0)
            throw new ImageException(
                ImageErrorId.InvalidArgument, "Nothing in the volume matches the patterns: " + string.Join(", ", _options.Include),
                remedy: "Get-BackupImageItem lists what there is.");
    }

    private bool IsTaken(SourceEntry entry) => _selected?.Contains(entry) ?? true;

    private bool OpenDestination()
    {
        string path = _options.DestinationPath;
        bool isNew = !Path.Exists(path);
        try
        {
            if (isNew) Directory.CreateDirectory(path);
            _destination = _platform.OpenDirectory(path);
            return isNew;
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
                for (; at != folder.Parent; at = at.Parent!) Guard(at, path.Leave);
                Guard(folder, () => path.Enter(folder.Name));
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
            if (!IsTaken(child) || child.Kind == EntryKind.SymbolicLink) continue;
            if (!Make(folder, child, made))
            {
                if (child.Kind == EntryKind.Directory) _leftOut.Add(child);
                continue;
            }

            _entries++;
            if (child.Kind == EntryKind.Directory) subfolders.Add(child);
        }
    }

    /// <summary>
    /// Makes one entry. False when it was left out with a warning: its name or kind is not possible here, or its content cannot be read.
    /// Anything else that fails ends the restore.
    /// </summary>
    private bool Make(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        if (_platform.ObjectionToName(entry.Name) is string objection)
        {
            _warnings.Skip(DisplayPath(entry), objection);
            return false;
        }

        try
        {
            return entry.Kind switch
            {
                EntryKind.Directory => MakeFolder(folder, entry, made),
                EntryKind.File => MakeFile(folder, entry, made),
                EntryKind.SymbolicLink => MakeLink(folder, entry, made),
                _ => MakeNode(folder, entry, made),
            };
        }
        catch (HostException e) when (e.Failure is HostFailure.BadName or HostFailure.FileTooLarge ||
            (e.Failure is HostFailure.NotSupported or HostFailure.AccessDenied && entry.Kind is not (EntryKind.File or EntryKind.Directory)))
        {
            _warnings.Skip(DisplayPath(entry), $"It cannot be made here: {e.Message}");
            return false;
        }
        catch (HostException e)
        {
            throw Failure(entry, e);
        }
    }

    private bool MakeFolder(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        try
        {
            folder.CreateDirectory(entry.Name);
        }
        catch (HostException e) when (e.Failure == HostFailure.AlreadyExists)
        {
            HostStat there = folder.GetStat(entry.Name);
            if (there.Kind == EntryKind.Directory && !made.Contains(there.Identity))
            {
                _existing.Add(entry);
                made.Add(there.Identity);
                return true;
            }

            if (!MayReplace(folder, entry, made)) return false;
            folder.Remove(entry.Name);
            folder.CreateDirectory(entry.Name);
        }

        made.Add(folder.GetStat(entry.Name).Identity);
        return true;
    }

    private bool MakeFile(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        if (entry.HardLinkId != 0 && _firstNames.TryGetValue(entry.HardLinkId, out SourceEntry? first))
        {
            if (TryLink(folder, entry, first, made) is bool done) return done;
        }

        BlockStorage content;
        try
        {
            content = _tree.OpenFork(entry, ForkKind.Data);
        }
        catch (ImageException e)
        {
            _warnings.Skip(DisplayPath(entry), $"Its content cannot be read: {e.Message}");
            return false;
        }

        using (content)
        {
            if (Create(folder, entry, made, folder.CreateFile) is not var (file, name)) return false;
            bool isComplete = false;
            try
            {
                using (file)
                {
                    var node = new HostNode(name, file);
                    WriteContent(entry, content, file);
                    HostStat stat = folder.GetStat(name);
                    made.Add(stat.Identity);
                    WriteResourceFork(folder, entry, node);
                    SetMetadata(folder, entry, node, stat);
                }

                Place(folder, name, entry);
                isComplete = true;

                // Last, for a file with a flag can no longer be renamed; by its name, for its handle had to be closed for the renaming.
                SetFlags(folder, entry, new(entry.Name));
            }
            catch (SourceFailure e)
            {
                _warnings.Skip(DisplayPath(entry), $"Its content cannot be read: {e.InnerException!.Message}");
            }
            finally
            {
                if (!isComplete) TryRemove(folder, name);
            }

            if (isComplete && entry.HardLinkId != 0) _firstNames.TryAdd(entry.HardLinkId, entry);
            return isComplete;
        }
    }

    // Null: the host cannot link these two, and a copy has to do.
    private bool? TryLink(HostDirectory folder, SourceEntry entry, SourceEntry first, HashSet<HostIdentity> made)
    {
        HostDirectory firstFolder = folder;
        try
        {
            if (first.Parent != entry.Parent) firstFolder = OpenFolderOf(first);
            return Create(folder, entry, made, name => folder.CreateLink(name, firstFolder, first.Name));
        }
        catch (HostException e) when (e.Failure != HostFailure.AlreadyExists)
        {
            _warnings.Lose("hard links, restored as copies", DisplayPath(entry), e.Message);
            return null;
        }
        finally
        {
            if (!ReferenceEquals(firstFolder, folder) && !ReferenceEquals(firstFolder, _destination)) firstFolder.Dispose();
        }
    }

    private HostDirectory OpenFolderOf(SourceEntry entry)
    {
        var names = new Stack<string>();
        for (SourceEntry? at = entry.Parent; at?.Parent is not null; at = at.Parent) names.Push(at.Name);
        HostDirectory folder = _destination!;
        while (names.TryPop(out string? name))
        {
            HostDirectory next;
            try
            {
                next = folder.OpenDirectory(name);
            }
            finally
            {
                if (!ReferenceEquals(folder, _destination)) folder.Dispose();
            }

            folder = next;
        }

        return folder;
    }

    private bool MakeNode(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        var node = new HostStat { Kind = entry.Kind, DeviceMajor = entry.DeviceMajor, DeviceMinor = entry.DeviceMinor };
        if (!Create(folder, entry, made, name => folder.CreateNode(name, node))) return false;
        HostStat stat = folder.GetStat(entry.Name);
        made.Add(stat.Identity);
        SetMetadata(folder, entry, new(entry.Name), stat);
        return true;
    }

    private bool MakeLink(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        if (string.IsNullOrEmpty(entry.LinkTarget) || entry.LinkTarget.Contains('\0'))
        {
            _warnings.Skip(DisplayPath(entry), "The symbolic link has no valid target.");
            return false;
        }

        if (!Create(folder, entry, made, name => folder.CreateSymbolicLink(name, entry.LinkTarget))) return false;
        HostStat stat = folder.GetStat(entry.Name);
        made.Add(stat.Identity);
        SetMetadata(folder, entry, new(entry.Name), stat);
        return true;
    }

    // Makes an entry without content in one step. False: a twin is there.
    private bool Create(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made, Action<string> create)
    {
        if (Create(folder, entry, made, Made) is not var (_, name)) return false;
        bool isPlaced = false;
        try
        {
            Place(folder, name, entry);
            return isPlaced = true;
        }
        finally
        {
            if (!isPlaced) TryRemove(folder, name);
        }

        string Made(string made)
        {
            create(made);
            return made;
        }
    }

    // Makes something under the entry's name, or under a temporary one where something is to be replaced: what is there stays until the new
    // is whole, and Place puts it aside in one step. Null: a twin is there.
    private (T Item, string Name)? Create<T>(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made, Func<string, T> create)
        where T : class
    {
        try
        {
            return (create(entry.Name), entry.Name);
        }
        catch (HostException e) when (e.Failure == HostFailure.AlreadyExists)
        {
            if (!MayReplace(folder, entry, made)) return null;
            string name = $".{Guid.NewGuid():N}.partial";
            return (create(name), name);
        }
    }

    private static void Place(HostDirectory folder, string name, SourceEntry entry)
    {
        if (name != entry.Name) folder.Rename(name, entry.Name);
    }

    private bool MayReplace(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        HostStat there = folder.GetStat(entry.Name);
        if (made.Contains(there.Identity))
        {
            _warnings.Skip(DisplayPath(entry), "The destination takes its name for that of another entry of the same folder, differing in case or form.");
            return false;
        }

        if (there.Kind == EntryKind.Directory)
            throw new ImageException(
                ImageErrorId.DestinationExists, "A folder is where a file has to go.", HostPathOf(entry), remedy: "Restore into an empty folder.");
        if (!_options.Overwrite)
            throw new ImageException(
                ImageErrorId.DestinationExists, "A file of this name exists.", HostPathOf(entry),
                remedy: "Restore into an empty folder, or ask to overwrite.");
        return true;
    }

    private void WriteContent(SourceEntry entry, BlockStorage content, SafeFileHandle file)
    {
        long length = content.Length, written = 0;
        using IEnumerator<StorageExtent> extents = content.GetExtents(0, length).GetEnumerator();
        while (FromSource(extents.MoveNext))
        {
            StorageExtent extent = extents.Current;
            if (extent.Kind != ExtentKind.Data) continue;
            for (long offset = extent.Offset; offset < extent.End;)
            {
                _cancellation.ThrowIfCancellationRequested();
                int count = (int)Math.Min(_buffer.Length, extent.End - offset);
                FromSource(() =>
                {
                    content.Read(offset, _buffer.AsSpan(0, count));
                    return true;
                });
                ToDestination(entry, () => RandomAccess.Write(file, _buffer.AsSpan(0, count), offset));
                offset += count;
                written = offset;
                _bytes += count;
                _observer.OnProgress(new("Restoring", _bytes, _totalBytes, "bytes"));
            }
        }

        if (written < length) ToDestination(entry, () => RandomAccess.SetLength(file, length));
    }

    private void WriteResourceFork(HostDirectory folder, SourceEntry entry, HostNode node)
    {
        if (entry.ResourceForkSize <= 0) return;
        try
        {
            using BlockStorage fork = FromSource(() => _tree.OpenFork(entry, ForkKind.Resource));
            for (long offset = 0; offset < fork.Length;)
            {
                _cancellation.ThrowIfCancellationRequested();
                int count = (int)Math.Min(_buffer.Length, fork.Length - offset);
                FromSource(() =>
                {
                    fork.Read(offset, _buffer.AsSpan(0, count));
                    return true;
                });
                folder.WriteResourceFork(node, offset, _buffer.AsSpan(0, count), fork.Length);
                offset += count;
            }
        }
        catch (HostException e)
        {
            _warnings.Lose("resource forks", DisplayPath(entry), e.Message);
        }
    }

    /// <summary>
    /// Sets owner, attributes, mode and times, in that order: changing the owner drops set-user bits and capabilities; attributes can
    /// only be written while the mode still lets; everything changes times; and an access control list may forbid all that. <see cref="SetFlags"/> comes after all: what has a flag may not be
    /// changed any more.
    /// What the host refuses is counted for one warning each.
    /// </summary>
    private void SetMetadata(HostDirectory folder, SourceEntry entry, HostNode node, in HostStat present)
    {
        bool isOwned = present.UserId == entry.UserId && present.GroupId == entry.GroupId;
        if (!isOwned) isOwned = Try("owner or group", entry, () => folder.SetOwner(node, entry.UserId, entry.GroupId));
        if (entry.FinderInfo is not null) Try("Finder info", entry, () => folder.SetAttribute(node, HostAttributes.FinderInfoName, entry.FinderInfo));
        foreach (ExtendedAttribute attribute in entry.Attributes)
        {
            if (!folder.IsAccessList(attribute.Name)) SetAttribute(folder, entry, node, attribute);
        }

        if (entry.Kind != EntryKind.SymbolicLink)
        {
            // A set-user bit means what it meant only together with its owner.
            uint mode = entry.Mode & SourceEntry.PermissionMask & (isOwned ? ~0u : ~SetUserAndGroup);
            Try("permissions", entry, () => folder.SetMode(node, mode));
        }

        var times = new HostStat { AccessTime = entry.AccessTime, ModifyTime = entry.ModifyTime, BirthTime = entry.BirthTime, BackupTime = entry.BackupTime };
        Try("times", entry, () => folder.SetTimes(node, times));
        foreach (ExtendedAttribute attribute in entry.Attributes)
        {
            if (folder.IsAccessList(attribute.Name)) SetAttribute(folder, entry, node, attribute);
        }
    }

    private void SetFlags(HostDirectory folder, SourceEntry entry, HostNode node)
    {
        if (entry.Flags != 0) Try("BSD flags", entry, () => folder.SetFlags(node, entry.Flags));
    }

    private void SetAttribute(HostDirectory folder, SourceEntry entry, HostNode node, ExtendedAttribute attribute)
    {
        try
        {
            if (attribute.Name.Contains('\0') || attribute.Name.Length == 0)
                throw new HostException(HostFailure.BadName, "The attribute's name is not valid.");
            byte[]? value = attribute.Value;
            if (value is null)
            {
                if (attribute.Size > MaximumAttribute) throw new HostException(HostFailure.NotSupported, "The attribute is larger than any host takes.");
                using BlockStorage storage = _tree.OpenAttribute(entry, attribute);
                if (storage.Length > MaximumAttribute) throw new HostException(HostFailure.NotSupported, "The attribute is larger than any host takes.");
                value = new byte[storage.Length];
                storage.Read(0, value);
            }

            folder.SetAttribute(node, attribute.Name, value);
        }
        catch (Exception e) when (e is HostException or ImageException)
        {
            _warnings.Lose("extended attributes", $"{DisplayPath(entry)}, {attribute.Name}", e.Message);
        }
    }

    private bool Try(string what, SourceEntry entry, Action action)
    {
        try
        {
            action();
            return true;
        }
        catch (HostException e)
        {
            _warnings.Lose(what, DisplayPath(entry), e.Message);
            return false;
        }
    }

    // The second pass: down to make the links, and on the way up the metadata of what was left behind.
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
                if (candidate.Kind == EntryKind.Directory && IsTaken(candidate) && !_leftOut.Contains(candidate)) child = candidate;
            }

            if (child is not null)
            {
                _cancellation.ThrowIfCancellationRequested();
                open.Push((at.Folder, next));
                open.Push((child, 0));
                Guard(child, () => path.Enter(child.Name));
                MakeLinks(path.Current, child);
                continue;
            }

            // What was there before and is not to be overwritten keeps its metadata; so does a destination that the user had.
            bool keeps = _existing.Contains(at.Folder) && (!_options.Overwrite || at.Folder.Parent is null);
            if (at.Folder.Parent is null)
            {
                if (keeps) continue;
                SetMetadata(path.Current, at.Folder, HostNode.Self, path.Current.Stat);
                SetFlags(path.Current, at.Folder, HostNode.Self);
                continue;
            }

            HostStat stat = path.Current.Stat;
            Guard(at.Folder, path.Leave);
            if (keeps) continue;
            using SafeFileHandle? handle = Guard(at.Folder, () => path.Current.OpenForMetadata(at.Folder.Name));
            var node = new HostNode(at.Folder.Name, handle);
            SetMetadata(path.Current, at.Folder, node, stat);
            SetFlags(path.Current, at.Folder, node);
        }
    }

    private void MakeLinks(HostDirectory folder, SourceEntry entry)
    {
        HashSet<HostIdentity>? made = null;
        foreach (SourceEntry child in entry.Children)
        {
            if (child.Kind != EntryKind.SymbolicLink || !IsTaken(child)) continue;
            _cancellation.ThrowIfCancellationRequested();
            made ??= IdentitiesOf(folder, entry);
            if (Make(folder, child, made)) _entries++;
        }
    }

    // What the first pass made in this folder, found again by name.
    private HashSet<HostIdentity> IdentitiesOf(HostDirectory folder, SourceEntry entry)
    {
        var made = new HashSet<HostIdentity>();
        foreach (SourceEntry child in entry.Children)
        {
            if (child.Kind == EntryKind.SymbolicLink || !IsTaken(child) || _platform.ObjectionToName(child.Name) is not null) continue;
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
        if (folder.Stat.Identity == _destination!.Stat.Identity) return;
        throw new ImageException(ImageErrorId.DestinationUnwritable, "The destination folder was replaced meanwhile.", _options.DestinationPath);
    }

    private void Guard(SourceEntry entry, Action action) => Guard(entry, () =>
    {
        action();
        return true;
    });

    private T Guard<T>(SourceEntry entry, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (HostException e)
        {
            throw Failure(entry, e);
        }
    }

    private static T FromSource<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (ImageException e)
        {
            throw new SourceFailure(e);
        }
    }

    private void ToDestination(SourceEntry entry, Action write)
    {
        try
        {
            write();
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, HostPathOf(entry), writing: true);
        }
    }

    private static void TryRemove(HostDirectory folder, string name)
    {
        try
        {
            folder.Remove(name);
        }
        catch (HostException)
        {
            // The reason it is being removed for is what the user has to hear.
        }
    }

    private ImageException Failure(SourceEntry entry, HostException e) => e.Failure switch
    {
        HostFailure.NoSpace => new(
            ImageErrorId.DestinationFull, "The destination is full.", HostPathOf(entry), remedy: "Make room, or restore less with -Include.", innerException: e),
        HostFailure.AlreadyExists => new(ImageErrorId.DestinationExists, "A file of this name exists.", HostPathOf(entry), innerException: e),
        HostFailure.SymbolicLink or HostFailure.NotADirectory or HostFailure.Replaced => new(
            ImageErrorId.DestinationUnwritable, "Something else is where a folder was a moment ago; nothing was written through it.", HostPathOf(entry),
            remedy: "See who else writes there, and restore into an empty folder.", innerException: e),
        _ => new(ImageErrorId.DestinationUnwritable, $"It cannot be written: {e.Message}", HostPathOf(entry), innerException: e),
    };

    private string DisplayPath(SourceEntry entry) => _tree.DisplayPath(entry);

    private string HostPathOf(SourceEntry entry) => Path.Join(_options.DestinationPath, entry.RelativePath);

    /// <summary>The source failed, not the destination: one file is lost, the restore goes on.</summary>
#pragma warning disable CA1064 // It never leaves this class.
    private sealed class SourceFailure(ImageException cause) : Exception(cause.Message, cause);
#pragma warning restore CA1064
}
