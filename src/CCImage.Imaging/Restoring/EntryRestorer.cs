using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Restoring;

/// <summary>A folder that was made, or that was there.</summary>
/// <param name="Identity">What makes it the same when it is entered again.</param>
/// <param name="Existed">Whether it was there before.</param>
/// <param name="ModeBefore">The mode that has to be put back, where one was set for the time of the restore.</param>
internal readonly record struct RestoredFolder(HostIdentity Identity, bool Existed, uint? ModeBefore)
{
    /// <summary>How many entries were made in it.</summary>
    public long Made { get; init; }
}

/// <summary>Makes single entries in a folder that is held open.</summary>
/// <param name="tree">Where the entries come from.</param>
/// <param name="options">What is restored where.</param>
/// <param name="platform">The machine.</param>
/// <param name="destination">The folder that is restored into, open.</param>
/// <param name="contents">Writes forks.</param>
/// <param name="metadata">Gives what was made its metadata.</param>
/// <param name="failures">Says what ends the restore.</param>
/// <param name="warnings">Hears what is left out.</param>
/// <param name="selection">What is taken.</param>
/// <param name="counts">Gets the numbers.</param>
internal sealed class EntryRestorer(
    SourceTree tree, TreeRestoreOptions options, IHostPlatform platform, HostDirectory destination, ContentRestorer contents,
    MetadataRestorer metadata,
    RestoreFailures failures, RestoreWarnings warnings, RestoreSelection selection, RestoreCounts counts)
{
    private const uint OwnerAll = 0x1C0;
    private const uint OthersAll = 0x3F;

    private readonly Dictionary<SourceEntry, RestoredFolder> _folders = [];
    private readonly Dictionary<long, (SourceEntry Entry, HostIdentity Identity)> _firstNames = [];
    private readonly Dictionary<SourceEntry, HostIdentity> _flagless = [];

    /// <summary>The folders that were made and those that were there, the destination not among them.</summary>
    public IReadOnlyDictionary<SourceEntry, RestoredFolder> Folders => _folders;

    /// <summary>
    /// Makes one entry. False when it was left out, which was told and counted: one entry that cannot be made, whatever the reason, is no
    /// reason to leave out the others.
    /// </summary>
    /// <param name="folder">The folder to make it in.</param>
    /// <param name="entry">The entry.</param>
    /// <param name="made">What was made in this folder; gets the new one.</param>
    /// <exception cref="ImageException">There is nothing to go on with.</exception>
    public bool Make(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        if (platform.ObjectionToName(entry.Name) is string objection) return Fail(entry, objection);
        if (options.IsUntrusted && entry.Kind is EntryKind.BlockDevice or EntryKind.CharacterDevice)
        {
            warnings.LeaveOut("devices");
            counts.Excluded++;
            return false;
        }

        try
        {
            bool isMade = entry.Kind switch
            {
                EntryKind.Directory => MakeFolder(folder, entry, made),
                EntryKind.File => MakeFile(folder, entry, made),
                EntryKind.SymbolicLink => MakeLink(folder, entry, made),
                _ => MakeNode(folder, entry, made),
            };
            if (isMade) counts.Restored++;
            return isMade;
        }
        catch (HostException e)
        {
            return failures.EndsJob(e) ? throw failures.ErrorOf(entry, e) : Fail(entry, RestoreFailures.ReasonOf(e));
        }
    }

    /// <summary>Says how many entries were made in a folder.</summary>
    /// <param name="entry">The folder; not the destination.</param>
    /// <param name="made">How many.</param>
    public void NoteMade(SourceEntry entry, long made) => _folders[entry] = _folders[entry] with { Made = made };

    /// <summary>A folder that was made cannot be entered any more: it counts as failed, and so does what was made in it, wherever that may
    /// be now.</summary>
    /// <param name="entry">The folder.</param>
    /// <param name="e">Why.</param>
    /// <param name="unmade">How many entries were still to be made in it.</param>
    public void Abandon(SourceEntry entry, HostException e, long unmade)
    {
        if (failures.EndsJob(e)) throw failures.ErrorOf(entry, e);
        long lost = 1;
        var pending = new Stack<SourceEntry>([entry]);
        while (pending.TryPop(out SourceEntry? at))
        {
            if (!_folders.Remove(at, out RestoredFolder folder)) continue;
            lost += folder.Made;
            foreach (SourceEntry child in at.Children) pending.Push(child);
        }

        counts.Restored -= lost;
        counts.Failed += lost + unmade;
        warnings.Skip(() => tree.DisplayPath(entry), RestoreFailures.ReasonOf(e));
    }

    /// <summary>A folder has all that it gets: it is not to be entered again.</summary>
    /// <param name="entry">The folder.</param>
    public void Complete(SourceEntry entry) => _folders.Remove(entry);

    /// <summary>Sets the flags of a file with several names, once all of them are made; of any other entry nothing happens.</summary>
    /// <param name="folder">The folder it lies in.</param>
    /// <param name="entry">The entry.</param>
    public void SetLateFlags(HostDirectory folder, SourceEntry entry)
    {
        if (!_flagless.Remove(entry, out HostIdentity identity)) return;
        try
        {
            using SafeFileHandle? handle = folder.OpenForMetadata(entry.Name, entry.Kind);
            var node = new HostNode(entry.Name, handle);
            if (folder.GetStat(node).Identity == identity) metadata.SetFlags(folder, entry, node);
            else metadata.Lose("BSD flags", entry, "Another file has its name now.");
        }
        catch (HostException e)
        {
            metadata.Lose("BSD flags", entry, e.Message);
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
                _folders[entry] = new(there.Identity, Existed: true, LetIn(folder, entry, there));
                made.Add(there.Identity);
                return true;
            }

            if (there.Kind != EntryKind.Directory && !options.Overwrite && !made.Contains(there.Identity))
                return Fail(entry, "A file is where a folder has to go; -Force replaces it.");
            if (!MayReplace(folder, entry, made)) return false;
            folder.Remove(entry.Name);
            folder.CreateDirectory(entry.Name);
        }

        HostIdentity identity = IdentityOfNew(folder, entry.Name);
        _folders[entry] = new(identity, Existed: false, null);
        made.Add(identity);
        return true;
    }

    /// <summary>
    /// What makes a new folder the same when it is entered again. Whoever may write in the folder above can put another one there at once:
    /// so it is looked at through what was opened, and only an empty one is taken, which is as good as the one that was made. It stays
    /// closed to others until it gets its mode.
    /// </summary>
    /// <param name="folder">The folder it was made in.</param>
    /// <param name="name">Its name.</param>
    public static HostIdentity IdentityOfNew(HostDirectory folder, string name)
    {
        using HostDirectory created = folder.OpenDirectory(name);
        var names = new List<string>();
        created.ReadNames(names, names);
        if (names.Count > 0) throw new HostException(HostFailure.Replaced, "Another folder has its name now.");
        if ((created.Stat.Mode & OthersAll) != 0) TryTo(() => created.SetMode(HostNode.Self, OwnerAll));
        return created.Stat.Identity;
    }

    // The user's own folder that does not let him write is opened for the time of the restore, as rsync does. The mode to be put back then.
    private uint? LetIn(HostDirectory folder, SourceEntry entry, HostStat there)
    {
        if (platform.IsPrivileged || (there.Mode & OwnerAll) == OwnerAll) return null;
        uint? before = null;
        TryTo(() =>
        {
            using SafeFileHandle? handle = folder.OpenForMetadata(entry.Name, EntryKind.Directory);
            var node = new HostNode(entry.Name, handle);
            HostStat opened = folder.GetStat(node);
            if (opened.Identity != there.Identity) return;
            folder.SetMode(node, opened.Mode | OwnerAll);
            before = opened.Mode;
        });
        return before;
    }

    private bool MakeFile(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        if (entry.HardLinkId != 0 && _firstNames.TryGetValue(entry.HardLinkId, out (SourceEntry Entry, HostIdentity Identity) first))
        {
            if (TryLink(folder, entry, first.Entry, first.Identity, made) is bool done) return done && Settle(entry);
        }

        BlockStorage content;
        try
        {
            content = tree.OpenFork(entry, ForkKind.Data);
        }
        catch (ImageException e)
        {
            if (failures.EndsJob(e)) throw;
            return Fail(entry, $"Its content cannot be read: {e.Message}");
        }

        using (content)
        {
            if (Create(folder, entry, made, folder.CreateFile) is not var (file, name)) return false;
            bool isComplete = false;
            using (file)
            {
                try
                {
                    isComplete = Fill(folder, entry, new(name, file), content, made);
                }
                catch (UnreadableContentException e)
                {
                    var cause = (ImageException)e.InnerException!;
                    return failures.EndsJob(cause) ? throw cause : Fail(entry, $"Its content cannot be read: {cause.Message}");
                }
                finally
                {
                    if (!isComplete)
                    {
                        file.Dispose();
                        TryTo(() => folder.Remove(name));
                    }
                }
            }
        }

        return Settle(entry);
    }

    private bool Fill(HostDirectory folder, SourceEntry entry, HostNode node, BlockStorage content, HashSet<HostIdentity> made)
    {
        SafeFileHandle file = node.File!;
        contents.WriteContent(entry, content, file);
        HostStat stat = folder.GetStat(node);
        contents.WriteResourceFork(folder, entry, node);
        metadata.SetMetadata(folder, entry, node, stat);
        if (folder.KeepsOpenFilesOnRename)
        {
            Place(folder, node.Name, entry);
            node = new(entry.Name, file);
        }
        else
        {
            file.Dispose();
            Place(folder, node.Name, entry);
            node = new(entry.Name);
            stat = folder.GetStat(entry.Name);
        }

        made.Add(stat.Identity);

        // Last, for a file with a flag can no longer be renamed; nor does a Mac give a file that is locked by one a further name
        // (KAUTH_VNODE_LINKTARGET).
        if (entry.HardLinkId == 0) metadata.SetFlags(folder, entry, node);
        else
        {
            _flagless.Add(entry, stat.Identity);
            _firstNames.TryAdd(entry.HardLinkId, (entry, stat.Identity));
        }

        return true;
    }

    // A file is there. Whether it counts as restored: not when the image itself has only a part of its content.
    private bool Settle(SourceEntry entry)
    {
        if (!entry.IsContentLost) return true;
        counts.Failed++;
        warnings.LoseContent(() => tree.DisplayPath(entry),
            "Its content could not be read when the image was made: what was restored is not the file's content, or not all of it.");
        return false;
    }

    // Null: the host cannot link these two, and a copy has to do.
    private bool? TryLink(HostDirectory folder, SourceEntry entry, SourceEntry first, HostIdentity identity, HashSet<HostIdentity> made)
    {
        HostDirectory firstFolder = folder;
        try
        {
            if (first.Parent != entry.Parent) firstFolder = OpenFolderOf(first);
            return Create(folder, entry, made, name =>
            {
                folder.CreateLink(name, firstFolder, first.Name);
                if (folder.GetStat(name).Identity == identity || !folder.KeepsOpenFilesOnRename) return;
                folder.Remove(name);
                throw new HostException(HostFailure.Replaced, "The first of its names is another file now.");
            });
        }
        catch (HostException e) when (e.Failure != HostFailure.AlreadyExists)
        {
            if (failures.EndsJob(e)) throw failures.ErrorOf(entry, e);
            metadata.Lose("hard links, restored as copies", entry, e.Message);
            return null;
        }
        finally
        {
            if (!ReferenceEquals(firstFolder, folder) && !ReferenceEquals(firstFolder, destination)) firstFolder.Dispose();
        }
    }

    private HostDirectory OpenFolderOf(SourceEntry entry)
    {
        var path = new Stack<SourceEntry>();
        for (SourceEntry? at = entry.Parent; at?.Parent is not null; at = at.Parent) path.Push(at);
        HostDirectory folder = destination;
        while (path.TryPop(out SourceEntry? next))
        {
            HostDirectory opened;
            try
            {
                opened = folder.OpenDirectory(next.Name);
            }
            finally
            {
                if (!ReferenceEquals(folder, destination)) folder.Dispose();
            }

            folder = opened;
            if (folder.Stat.Identity == _folders[next].Identity) continue;
            folder.Dispose();
            throw new HostException(HostFailure.Replaced, "The folder of the first of its names is another one now.");
        }

        return folder;
    }

    private bool MakeNode(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        var node = new HostStat { Kind = entry.Kind, DeviceMajor = entry.DeviceMajor, DeviceMinor = entry.DeviceMinor };
        return Create(folder, entry, made, name => CreateNode(folder, name, node)) && FinishNode(folder, entry, made);
    }

    private static void CreateNode(HostDirectory folder, string name, HostStat node)
    {
        try
        {
            folder.CreateNode(name, node);
        }
        catch (HostException e) when (e.Failure != HostFailure.AlreadyExists)
        {
            // There are drivers that make an empty file, and then see that they know no nodes. Nothing else can be there: that would have
            // been said.
            TryTo(() =>
            {
                if (folder.GetStat(name) is { IsFile: true, Size: 0 }) folder.Remove(name);
            });
            throw;
        }
    }

    private bool MakeLink(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        if (string.IsNullOrEmpty(entry.LinkTarget) || entry.LinkTarget.Contains('\0'))
            return Fail(entry, "The symbolic link has no valid target.");
        return Create(folder, entry, made, name => folder.CreateSymbolicLink(name, entry.LinkTarget)) && FinishNode(folder, entry, made);
    }

    // The metadata of what has no content. It was made by its name alone: what is open now has to be of its kind and to have no other name.
    private bool FinishNode(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        using SafeFileHandle? handle = folder.OpenForMetadata(entry.Name, entry.Kind);
        var node = new HostNode(entry.Name, handle);
        HostStat stat = folder.GetStat(node);
        bool isDevice = entry.Kind is EntryKind.BlockDevice or EntryKind.CharacterDevice;
        if (stat.Kind != entry.Kind || stat.LinkCount > 1
            || (isDevice && (stat.DeviceMajor, stat.DeviceMinor) != (entry.DeviceMajor, entry.DeviceMinor)))
            throw new HostException(HostFailure.Replaced, "Something else has its name now.");
        made.Add(stat.Identity);
        metadata.SetMetadata(folder, entry, node, stat);
        metadata.SetFlags(folder, entry, node);
        return true;
    }

    // Makes an entry without content in one step. False: something stays that is there.
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
            if (!isPlaced) TryTo(() => folder.Remove(name));
        }

        string Made(string made)
        {
            create(made);
            return made;
        }
    }

    // Makes something under the entry's name, or under a temporary one where something is to be replaced: what is there stays until the new
    // is whole, and Place puts it aside in one step. Null: what is there stays.
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
            return Fail(entry, "The destination takes its name for that of another entry of the same folder, differing in case or form.");
        if (there.Kind == EntryKind.Directory) return Fail(entry, "A folder is where it has to go.");
        if (entry.IsContentLost)
        {
            return Fail(
                entry, "Its content could not be read when the image was made, and a file of its name exists: that one is kept, whether or "
                    + "not -Force is given.",
                ImagingWarningKind.ContentLost);
        }

        if (options.Overwrite) return true;
        counts.Skipped++;
        warnings.Skip(() => tree.DisplayPath(entry), "A file of its name exists; -Force replaces it.");
        return false;
    }

    private bool Fail(SourceEntry entry, string reason, ImagingWarningKind kind = ImagingWarningKind.SourceSkipped)
    {
        long missing = selection.CountIn(entry);
        counts.Failed += missing;
        warnings.Skip(
            () => tree.DisplayPath(entry), missing == 1 ? reason : $"{reason} {missing - 1} entries in it are missing as well.", kind);
        return false;
    }

    private static void TryTo(Action action)
    {
        try
        {
            action();
        }
        catch (HostException)
        {
            // It was only to make things better: what comes of its failure is told where it does harm.
        }
    }
}
