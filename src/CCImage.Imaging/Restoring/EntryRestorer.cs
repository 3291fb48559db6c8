using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Restoring;

/// <summary>Makes single entries in a folder that is held open.</summary>
/// <param name="tree">Where the entries come from.</param>
/// <param name="options">What is restored where.</param>
/// <param name="platform">The machine.</param>
/// <param name="destination">The folder that is restored into, open.</param>
/// <param name="contents">Writes forks.</param>
/// <param name="metadata">Gives what was made its metadata.</param>
/// <param name="failures">Says what ends the restore.</param>
/// <param name="warnings">Hears what is left out.</param>
internal sealed class EntryRestorer(
    SourceTree tree, TreeRestoreOptions options, IHostPlatform platform, HostDirectory destination,
    ContentRestorer contents, MetadataRestorer metadata, RestoreFailures failures, RestoreWarnings warnings)
{
    private readonly HashSet<SourceEntry> _existing = [];
    private readonly Dictionary<long, SourceEntry> _firstNames = [];
    private readonly HashSet<SourceEntry> _flagless = [];

    /// <summary>Folders that were there before: few.</summary>
    public IReadOnlySet<SourceEntry> Existing => _existing;

    /// <summary>
    /// Makes one entry. False when it was left out with a warning: its name or kind is not possible here, or its content cannot be read.
    /// Anything else that fails ends the restore.
    /// </summary>
    /// <param name="folder">The folder to make it in.</param>
    /// <param name="entry">The entry.</param>
    /// <param name="made">What was made in this folder; gets the new one.</param>
    public bool Make(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        if (platform.ObjectionToName(entry.Name) is string objection)
        {
            warnings.Skip(tree.DisplayPath(entry), objection);
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
            warnings.Skip(tree.DisplayPath(entry), $"It cannot be made here: {e.Message}");
            return false;
        }
        catch (HostException e)
        {
            throw failures.ErrorOf(entry, e);
        }
    }

    /// <summary>Sets the flags of a file with several names, once all of them are made; of any other entry nothing happens.</summary>
    /// <param name="folder">The folder it lies in.</param>
    /// <param name="entry">The entry.</param>
    public void SetLateFlags(HostDirectory folder, SourceEntry entry)
    {
        if (_flagless.Remove(entry)) metadata.SetFlags(folder, entry, new(entry.Name));
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
            content = tree.OpenFork(entry, ForkKind.Data);
        }
        catch (ImageException e) when (!FileErrors.EndsJob(e))
        {
            warnings.Skip(tree.DisplayPath(entry), $"Its content cannot be read: {e.Message}");
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
                    contents.WriteContent(entry, content, file);
                    HostStat stat = folder.GetStat(name);
                    made.Add(stat.Identity);
                    contents.WriteResourceFork(folder, entry, node);
                    metadata.SetMetadata(folder, entry, node, stat);
                }

                Place(folder, name, entry);
                isComplete = true;

                // Last, for a file with a flag can no longer be renamed; by its name, for its handle had to be closed for the renaming. Nor does a Mac
                // give a file that is locked by one a further name (KAUTH_VNODE_LINKTARGET).
                if (entry.HardLinkId == 0) metadata.SetFlags(folder, entry, new(entry.Name));
                else _flagless.Add(entry);
            }
            catch (UnreadableContentException e)
            {
                warnings.Skip(tree.DisplayPath(entry), $"Its content cannot be read: {e.InnerException!.Message}");
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
            warnings.Lose("hard links, restored as copies", tree.DisplayPath(entry), e.Message);
            return null;
        }
        finally
        {
            if (!ReferenceEquals(firstFolder, folder) && !ReferenceEquals(firstFolder, destination)) firstFolder.Dispose();
        }
    }

    private HostDirectory OpenFolderOf(SourceEntry entry)
    {
        var names = new Stack<string>();
        for (SourceEntry? at = entry.Parent; at?.Parent is not null; at = at.Parent) names.Push(at.Name);
        HostDirectory folder = destination;
        while (names.TryPop(out string? name))
        {
            HostDirectory next;
            try
            {
                next = folder.OpenDirectory(name);
            }
            finally
            {
                if (!ReferenceEquals(folder, destination)) folder.Dispose();
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
        metadata.SetMetadata(folder, entry, new(entry.Name), stat);
        metadata.SetFlags(folder, entry, new(entry.Name));
        return true;
    }

    private bool MakeLink(HostDirectory folder, SourceEntry entry, HashSet<HostIdentity> made)
    {
        if (string.IsNullOrEmpty(entry.LinkTarget) || entry.LinkTarget.Contains('\0'))
        {
            warnings.Skip(tree.DisplayPath(entry), "The symbolic link has no valid target.");
            return false;
        }

        if (!Create(folder, entry, made, name => folder.CreateSymbolicLink(name, entry.LinkTarget))) return false;
        HostStat stat = folder.GetStat(entry.Name);
        made.Add(stat.Identity);
        metadata.SetMetadata(folder, entry, new(entry.Name), stat);
        metadata.SetFlags(folder, entry, new(entry.Name));
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
            warnings.Skip(tree.DisplayPath(entry), "The destination takes its name for that of another entry of the same folder, differing in case or form.");
            return false;
        }

        if (there.Kind == EntryKind.Directory)
            throw new ImageException(
                ImageErrorId.DestinationExists, "A folder is where a file has to go.", failures.HostPathOf(entry), remedy: "Restore into an empty folder.");
        if (!options.Overwrite)
            throw new ImageException(
                ImageErrorId.DestinationExists, "A file of this name exists.", failures.HostPathOf(entry),
                remedy: "Restore into an empty folder, or ask to overwrite.");
        return true;
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
}
