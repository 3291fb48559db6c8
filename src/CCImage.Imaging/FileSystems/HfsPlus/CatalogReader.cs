using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using CCImage.Binary;
using CCImage.Sources;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Reads a whole volume into a tree: the attributes file, then the catalog in one pass from leaf to leaf. Hard links become entries with
/// the metadata of their node, private folders and the journal are left out. Not recursive. A record that is damaged, or that nothing leads
/// to from the root, is left out and told in the tree's omissions; all others are in the tree.
/// </summary>
/// <param name="volume">The volume.</param>
/// <param name="privateFolder">The id of the private folder of hard links, when its record is damaged and it is known otherwise; else
/// 0.</param>
internal sealed class CatalogReader(HfsPlusVolume volume, uint privateFolder = 0)
{
    private const int MaximumLinkTarget = 1024; // PATH_MAX of macOS

    // Type bits of st_mode.
    private const uint TypeMask = 0xF000, TypeFifo = 0x1000, TypeCharacter = 0x2000, TypeBlock = 0x6000, TypeLink = 0xA000,
        TypeSocket = 0xC000;

    // BSD flags (Apple's sys/stat.h) and the Finder's "invisible" (byte 8 of the Finder info).
    private const uint UserImmutable = 0x2, UserCompressed = 0x20, UserHidden = 0x8000, SystemImmutable = 0x2_0000;
    private const byte FinderInvisibleHighByte = 0x40;

    private readonly AttributesReader _attributes = new();
    private readonly Dictionary<uint, SourceEntry> _folders = [];
    private readonly HashSet<uint> _hidden = []; // folders that are not shown, nor what is in them
    private readonly List<(uint ParentId, SourceEntry Entry)> _entries = [];
    private readonly Dictionary<uint, (CatalogFile Record, RecordLocation Location)> _linkNodes = [];
    private readonly List<(uint ParentId, string Name, uint NodeNumber)> _links = [];
    private readonly Dictionary<uint, CatalogFolder> _folderLinkNodes = [];
    private readonly List<(uint ParentId, string Name, uint NodeNumber, CatalogFile Record)> _folderLinks = [];
    private readonly Dictionary<long, RecordLocation> _locations = [];
    private readonly Dictionary<long, CompressedFile> _compressed = [];
    private readonly HashSet<long> _lostContents = [];
    private readonly HashSet<(uint ParentId, string Name)> _found = []; // folders without a record that their threads tell of
    private readonly HashSet<SourceEntry> _circles = []; // entries that have no way to the root
    private readonly TreeOmissions _omissions = new();
    private readonly List<(uint ParentId, string? Name, ImageException Fault)> _faults = []; // told when the paths are known
    // links may share blocks: each is read once, and in memory once
    private readonly Dictionary<(uint Block, long Size), string> _targets = [];
    private SourceEntry? _root;
    private uint _privateFolder = privateFolder, _privateLinkedFolders; // 0 while not met

    /// <summary>Reads the tree.</summary>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: nothing of the catalog can be read; a fault of the
    /// host.</exception>
    public VolumeTree Read(CancellationToken cancellation)
    {
        _attributes.Read(volume.OpenAttributes, cancellation);
        if (_privateFolder != 0) _hidden.Add(_privateFolder);
        foreach (BTreeNode node in Leaves(fault => LeaveOut(0, null, fault), cancellation))
        {
            for (int i = 0; i < node.RecordCount; i++) TakeRecord(node, i);
        }

        if (_privateFolder == 0 && _links.Count > 0 && FindPrivateFolder(cancellation) is uint found)
            return new CatalogReader(volume, found).Read(cancellation);
        ResolveLinks(cancellation);
        MustHaveRoot();
        List<SourceEntry> unseen = Attach(cancellation);
        CheckReachable(unseen, cancellation);
        TellFaults();
        return new VolumeTree(volume, _root!, _locations, _compressed, _attributes.Forks, _lostContents, _omissions);
    }

    private IEnumerable<BTreeNode> Leaves(Action<ImageException> onLost, CancellationToken cancellation) =>
        new LeafWalk(volume.Catalog, CatalogRecordKey.Describe, onLost, cancellation).Read();

    private void LeaveOut(uint parentId, string? name, ImageException fault)
    {
        if (_faults.Count < TreeOmissions.MostKept) _faults.Add((parentId, name, fault));
        else _omissions.CountMore(1);
    }

    private void TakeRecord(BTreeNode node, int index)
    {
        CatalogRecordKey key = default;
        try
        {
            key = CatalogRecordKey.Read(node, index);
            ReadRecord(key, node, index);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            LeaveOut(key.ParentId, key.Name is { Length: > 0 } name ? HfsPlusNames.FromDisk(name) : null, e);
        }
    }

    private void ReadRecord(CatalogRecordKey key, BTreeNode node, int index)
    {
        ReadOnlySpan<byte> data = node.Data(index);
        ushort type = data.Length >= sizeof(ushort) ? (ushort)Layout.Read<UInt16BE>(data) : (ushort)0;
        bool isThread = key.Name.Length == 0;
        switch ((CatalogRecordType)type)
        {
            // As long as a file's record: a file whose type is damaged.
            case CatalogRecordType.Folder when !isThread && data.Length >= Unsafe.SizeOf<CatalogFolder>()
                && data.Length < Unsafe.SizeOf<CatalogFile>():
                AddFolder(key, Layout.Read<CatalogFolder>(data), node, index);
                break;
            case CatalogRecordType.File when !isThread && data.Length >= Unsafe.SizeOf<CatalogFile>():
                AddFile(key, Layout.Read<CatalogFile>(data), new RecordLocation(node.Number, index));
                break;
            case not (CatalogRecordType.Folder or CatalogRecordType.File) when isThread:
                break; // The way back from id to name: needed only where a folder's own record is lost.
            default:
                throw node.Damaged($"has a record of type {type} in {data.Length} bytes", index);
        }
    }

    private void AddFolder(CatalogRecordKey key, in CatalogFolder record, BTreeNode node, int index)
    {
        uint id = record.FolderId;
        if (_folders.ContainsKey(id) || _hidden.Contains(id)) throw node.Damaged($"has two folders with the id {id}", index);
        if (key.ParentId == CatalogNodeId.RootParent)
        {
            if (id != CatalogNodeId.RootFolder) throw node.Damaged($"has a root folder with the id {id}", index);
            _folders[id] = _root = MakeFolder("", record);
        }
        else if (key is { ParentId: CatalogNodeId.RootFolder, Name: HfsPlusConstants.PrivateDataFolderName })
        {
            _hidden.Add(_privateFolder = id);
        }
        else if (key is { ParentId: CatalogNodeId.RootFolder, Name: HfsPlusConstants.DirectoryLinksFolderName })
        {
            _hidden.Add(_privateLinkedFolders = id);
        }
        else if (IsPrivate(key.ParentId))
        {
            if (key.ParentId == _privateLinkedFolders && NumberBehind(HfsPlusConstants.DirectoryInodePrefix, key.Name) is uint number)
                _folderLinkNodes[number] = record;
            else _hidden.Add(id); // a folder that was deleted while it was open
        }
        else
        {
            SourceEntry entry = MakeFolder(HfsPlusNames.FromDisk(key.Name), record);
            _folders[id] = entry;
            _entries.Add((key.ParentId, entry));
        }
    }

    private void AddFile(CatalogRecordKey key, in CatalogFile record, RecordLocation location)
    {
        (uint type, uint creator) = FinderTypeOf(record);
        if (IsPrivate(key.ParentId))
        {
            if (key.ParentId == _privateFolder && NumberBehind(HfsPlusConstants.InodePrefix, key.Name) is uint number)
                _linkNodes[number] = (record, location);
        }
        else if (key is { ParentId: CatalogNodeId.RootFolder, Name: ".journal" or ".journal_info_block" } && volume.IsJournaled)
        {
        }
        else if (type == HfsPlusConstants.HardLinkFileType && creator == HfsPlusConstants.HfsPlusCreator)
        {
            _links.Add((key.ParentId, HfsPlusNames.FromDisk(key.Name), record.Permissions.Special));
        }
        else if (type == HfsPlusConstants.DirectoryAliasFileType && creator == HfsPlusConstants.DirectoryAliasCreator
            && ((CatalogRecordFlags)(ushort)record.Flags).HasFlag(CatalogRecordFlags.HasLinkChain))
        {
            _folderLinks.Add((key.ParentId, HfsPlusNames.FromDisk(key.Name), record.Permissions.Special, record));
        }
        else
        {
            _entries.Add((key.ParentId, MakeFile(HfsPlusNames.FromDisk(key.Name), record, location, 0)));
        }
    }

    // Links to files: every name gets the metadata of the node; a node with one name left is an ordinary file. The first name of a linked
    // folder becomes the folder; the others become symbolic links to it, once the paths are known.
    private void ResolveLinks(CancellationToken cancellation)
    {
        Dictionary<uint, int> names = [];
        Dictionary<uint, SourceEntry> first = [];
        foreach ((_, _, uint number) in _links) CollectionsMarshal.GetValueRefOrAddDefault(names, number, out _)++;
        foreach ((uint parent, string name, uint number) in _links)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                if (!_linkNodes.TryGetValue(number, out (CatalogFile Record, RecordLocation Location) node))
                    throw ImageException.Damaged(
                        $"The hard link leads to node {number}, which is not there.", $"catalog B-tree, folder {parent}");
                ref SourceEntry? known = ref CollectionsMarshal.GetValueRefOrAddDefault(first, number, out _);
                SourceEntry entry = known is null ? MakeFile(name, node.Record, node.Location, names[number] > 1 ? number : 0)
                    : known.WithName(name);
                known ??= entry;
                _entries.Add((parent, entry));
            }
            catch (ImageException e) when (e.IsFaultOfContent)
            {
                LeaveOut(parent, name, e);
            }
        }

        foreach ((uint parent, string name, uint number, CatalogFile record) in _folderLinks)
        {
            cancellation.ThrowIfCancellationRequested();
            if (!_folderLinkNodes.TryGetValue(number, out CatalogFolder folder))
            {
                LeaveOut(parent, name,
                    ImageException.Damaged(
                    $"The hard link leads to folder {number}, which is not there.", $"catalog B-tree, folder {parent}"));
                continue;
            }

            if (_folders.ContainsKey(folder.FolderId)) continue;
            SourceEntry entry = MakeFolder(name, folder);
            _folders[folder.FolderId] = entry;
            _entries.Add((parent, entry));
        }

        foreach (CatalogFolder folder in _folderLinkNodes.Values)
        {
            if (!_folders.ContainsKey(folder.FolderId)) _hidden.Add(folder.FolderId);
        }
    }

    // Without the record of the root its files are there all the same; without any file there is nothing to be listed.
    private void MustHaveRoot()
    {
        if (_root is not null) return;
        ImageException fault = ImageException.Damaged("The catalog has no root folder.", "catalog B-tree");
        if (_entries.Count == 0) throw fault;
        _folders[CatalogNodeId.RootFolder] = _root = MakeLostFolder("");
        _omissions.Lose(() => "/", "The metadata of the root folder", fault);
    }

    // Puts every entry into its folder. Returns those that lie directly in a hidden folder: tops of subtrees nobody sees.
    private List<SourceEntry> Attach(CancellationToken cancellation)
    {
        var unseen = new List<SourceEntry>();
        var orphans = new List<(uint ParentId, SourceEntry Entry)>();
        foreach ((uint parent, SourceEntry entry) in _entries)
        {
            if (_folders.TryGetValue(parent, out SourceEntry? folder)) folder.Add(entry);
            else if (_hidden.Contains(parent)) unseen.Add(entry);
            else orphans.Add((parent, entry));
        }

        if (orphans.Count == 0) return unseen;
        LostFolders lost = FindLostFolders(cancellation);
        foreach ((uint parent, SourceEntry entry) in orphans)
        {
            if (lost.Find(parent) is { } folder)
            {
                folder.Add(entry);
                continue;
            }

            LeaveOut(parent, entry.Name, ImageException.Damaged($"It lies in folder {parent}, which is not there.", "catalog B-tree"));
            unseen.Add(entry);
            foreach (SourceEntry below in Below(entry))
                LeaveOut(parent, below.Name,
                    ImageException.Damaged($"It lies below \"{entry.Name}\" in folder {parent}, which is not there.", "catalog B-tree"));
        }

        return unseen;
    }

    private LostFolders FindLostFolders(CancellationToken cancellation)
    {
        var lost = new LostFolders(_folders, _hidden, (name, parent) =>
        {
            SourceEntry entry = MakeLostFolder(name);
            _entries.Add((parent, entry));
            _found.Add((parent, name));
            return entry;
        });
        foreach (BTreeNode node in Leaves(_ => { }, cancellation)) lost.Read(node);
        return lost;
    }

    private uint? FindPrivateFolder(CancellationToken cancellation)
    {
        foreach (BTreeNode node in Leaves(_ => { }, cancellation))
        {
            if (LostFolders.FindPrivateFolder(node) is uint id) return id;
        }

        return null;
    }

    private static SourceEntry MakeLostFolder(string name) => new() { Name = name, Kind = EntryKind.Directory, Mode = 0x1ED }; // 0755

    private static IEnumerable<SourceEntry> Below(SourceEntry top)
    {
        var pending = new Stack<SourceEntry>(top.Children);
        while (pending.TryPop(out SourceEntry? entry))
        {
            yield return entry;
            foreach (SourceEntry child in entry.Children) pending.Push(child);
        }
    }

    // Those of which a thread gave the name are in the tree, though their own records are damaged.
    private void TellFaults()
    {
        foreach ((uint parent, string? name, ImageException fault) in _faults)
        {
            if (name is not null && _found.Contains((parent, name)))
                _omissions.Lose(() => PathOf(parent, name), "The metadata of the folder", fault);
            else _omissions.LeaveOut(() => name is null ? null : PathOf(parent, name), fault);
        }

        if (_attributes.FaultCount == 0) return;
        HashSet<long> ids = [.. _attributes.Faults.Select(f => (long)f.FileId)];
        Dictionary<long, SourceEntry> owners = [];
        foreach (SourceEntry entry in Below(_root!).Where(e => e.NodeId != 0 && ids.Contains(e.NodeId))) owners.TryAdd(entry.NodeId, entry);
        foreach ((uint id, ImageException fault) in _attributes.Faults)
            _omissions.Lose(
                () => owners.TryGetValue(id, out SourceEntry? owner) ? TreeOmissions.PathOf(owner) : null, "An attribute", fault);
        _omissions.CountMore(_attributes.FaultCount - _attributes.Faults.Count);
    }

    private string PathOf(uint parent, string name)
    {
        if (!_folders.TryGetValue(parent, out SourceEntry? folder) || (folder != _root && folder.Parent is null)
            || _circles.Contains(folder)) return $"folder {parent}/{name}";
        return TreeOmissions.PathOf(folder, name);
    }

    // With one parent each, entries form a tree and possibly circles beside it. Circles hold no entry that was counted from the tops.
    private void CheckReachable(List<SourceEntry> unseen, CancellationToken cancellation)
    {
        var pending = new Stack<SourceEntry>(unseen);
        pending.Push(_root!);
        long seen = -1; // The root is not among the entries.
        while (pending.TryPop(out SourceEntry? entry))
        {
            seen++;
            cancellation.ThrowIfCancellationRequested();
            foreach (SourceEntry child in entry.Children) pending.Push(child);
        }

        cancellation.ThrowIfCancellationRequested();
        if (seen != _entries.Count) LeaveOutCircles(unseen);
        var first = new HashSet<SourceEntry>();
        foreach ((uint parent, string name, uint number, CatalogFile record) in _folderLinks)
        {
            cancellation.ThrowIfCancellationRequested();
            if (!_folderLinkNodes.TryGetValue(number, out CatalogFolder node)
                || !_folders.TryGetValue(node.FolderId, out SourceEntry? target)) continue;
            if (first.Add(target) || !_folders.TryGetValue(parent, out SourceEntry? folder) || _circles.Contains(folder)
                || _circles.Contains(target)) continue;
            if (RelativePath(folder, target) is not { } path)
            {
                LeaveOut(parent, name,
                    ImageException.Damaged(
                    $"A hard link to the folder \"{target.Name}\" lies so deep that no symbolic link could lead there.", "catalog B-tree"));
                continue;
            }

            folder.Add(new SourceEntry
            {
                Name = name,
                Kind = EntryKind.SymbolicLink,
                LinkTarget = path,
                Mode = 0x1ED, // 0755
                UserId = record.Permissions.OwnerId,
                GroupId = record.Permissions.GroupId,
                BirthTime = target.BirthTime,
                ModifyTime = target.ModifyTime,
                ChangeTime = target.ChangeTime,
                AccessTime = target.AccessTime,
                NodeId = record.FileId,
            });
        }
    }

    private void LeaveOutCircles(List<SourceEntry> unseen)
    {
        HashSet<SourceEntry> reached = [_root!, .. unseen, .. Below(_root!), .. unseen.SelectMany(Below)];
        foreach ((uint parent, SourceEntry entry) in _entries)
        {
            if (reached.Contains(entry)) continue;
            _circles.Add(entry);
            LeaveOut(parent, entry.Name, ImageException.Damaged("It lies in folders that contain each other.", "catalog B-tree"));
        }
    }

    private static string? RelativePath(SourceEntry folder, SourceEntry target)
    {
        int length = 0;
        for (SourceEntry? up = target; up?.Parent is not null && length <= MaximumLinkTarget; up = up.Parent) length += up.Name.Length + 1;
        var path = new StringBuilder();
        for (SourceEntry? up = folder; up?.Parent is not null && path.Length + length <= MaximumLinkTarget; up = up.Parent)
            path.Append("../");
        return path.Length + length <= MaximumLinkTarget ? path.Append(target.RelativePath).ToString() : null;
    }

    private SourceEntry MakeFolder(string name, in CatalogFolder record)
    {
        BsdInfo bsd = record.Permissions;
        FinderInfo32 finder = record.FinderInfo;
        bool isSet = (bsd.FileMode & TypeMask) != 0;
        return new SourceEntry
        {
            Name = name,
            Kind = EntryKind.Directory,
            Mode = isSet ? bsd.FileMode & SourceEntry.PermissionMask : 0x1ED, // 0755
            UserId = bsd.OwnerId,
            GroupId = bsd.GroupId,
            Flags = (isSet ? FlagsOf(bsd) : 0) | ((finder[8] & FinderInvisibleHighByte) != 0 ? UserHidden : 0),
            BirthTime = HfsPlusTime.ToUnix(record.CreateDate),
            ModifyTime = HfsPlusTime.ToUnix(record.ContentModifyDate),
            ChangeTime = HfsPlusTime.ToUnix(record.AttributeModifyDate),
            AccessTime = HfsPlusTime.ToUnix(record.AccessDate),
            BackupTime = HfsPlusTime.ToUnix(record.BackupDate),
            NodeId = record.FolderId,
            FinderInfo = FinderInfoOf(finder),
            Attributes = _attributes.Of(record.FolderId),
        };
    }

    private SourceEntry MakeFile(string name, in CatalogFile record, RecordLocation location, long hardLinkId)
    {
        BsdInfo bsd = record.Permissions;
        FinderInfo32 finder = record.FinderInfo;
        bool isSet = (bsd.FileMode & TypeMask) != 0;
        EntryKind kind = (bsd.FileMode & TypeMask) switch
        {
            TypeLink => EntryKind.SymbolicLink,
            TypeFifo => EntryKind.Fifo,
            TypeSocket => EntryKind.Socket,
            TypeCharacter => EntryKind.CharacterDevice,
            TypeBlock => EntryKind.BlockDevice,
            _ => EntryKind.File,
        };
        bool isDevice = kind is EntryKind.CharacterDevice or EntryKind.BlockDevice;
        uint flags = (isSet ? FlagsOf(bsd) : 0) | ((finder[8] & FinderInvisibleHighByte) != 0 ? UserHidden : 0);

        // As Apple's kernel reads them: the Finder's lock rules the immutable flags.
        bool isLocked = ((CatalogRecordFlags)(ushort)record.Flags).HasFlag(CatalogRecordFlags.FileLocked);
        if (!isLocked) flags &= ~(UserImmutable | SystemImmutable);
        else if ((flags & (UserImmutable | SystemImmutable)) == 0) flags |= UserImmutable;

        IReadOnlyList<ExtendedAttribute> attributes = _attributes.Of(record.FileId);
        long size = SizeOf(record.DataFork, location), resourceSize = SizeOf(record.ResourceFork, location);
        if (kind == EntryKind.File && (flags & UserCompressed) != 0 && TryFindCompressed(record.FileId, attributes) is { } compressed)
        {
            _compressed[record.FileId] = compressed;
            flags &= ~UserCompressed;
            attributes = [.. attributes.Where(a => a.Name != CompressedFile.AttributeName)];
            size = compressed.Size;
            if (compressed.IsInResourceFork) resourceSize = 0;
        }
        else if (kind == EntryKind.File && (flags & UserCompressed) != 0 && size == 0
            && (resourceSize > 0 || _attributes.MayLack(record.FileId) || attributes.Any(a => a.Name == CompressedFile.AttributeName)))
        {
            _lostContents.Add(record.FileId);
        }

        if (kind == EntryKind.SymbolicLink)
        {
            finder[..8].Clear(); // The type and creator that mark a link are no Finder info of its own.
        }

        _locations[record.FileId] = location;
        return new SourceEntry
        {
            Name = name,
            Kind = kind,
            Size = kind == EntryKind.File ? size : 0,
            ResourceForkSize = kind == EntryKind.File ? resourceSize : 0,
            Mode = isSet ? bsd.FileMode & SourceEntry.PermissionMask : 0x1A4, // 0644
            UserId = bsd.OwnerId,
            GroupId = bsd.GroupId,
            Flags = flags,
            DeviceMajor = isDevice ? bsd.Special >> 24 : 0,
            DeviceMinor = isDevice ? bsd.Special & 0xFF_FFFF : 0,
            BirthTime = HfsPlusTime.ToUnix(record.CreateDate),
            ModifyTime = HfsPlusTime.ToUnix(record.ContentModifyDate),
            ChangeTime = HfsPlusTime.ToUnix(record.AttributeModifyDate),
            AccessTime = HfsPlusTime.ToUnix(record.AccessDate),
            BackupTime = HfsPlusTime.ToUnix(record.BackupDate),
            HardLinkId = hardLinkId,
            NodeId = record.FileId,
            LinkTarget = kind == EntryKind.SymbolicLink ? ReadLinkTarget(record, size) : null,
            FinderInfo = FinderInfoOf(finder),
            Attributes = attributes,
        };
    }

    private string ReadLinkTarget(in CatalogFile record, long size)
    {
        if (size > MaximumLinkTarget)
            throw ImageException.Damaged($"A symbolic link claims a target of {size} bytes.", $"catalog B-tree, file {record.FileId}");
        bool isInOnePiece = size > 0 && (long)record.DataFork.Extents[0].BlockCount * volume.Header.BlockSize >= size;
        (uint, long) place = (record.DataFork.Extents[0].StartBlock, size);
        if (isInOnePiece && _targets.TryGetValue(place, out string? known)) return known;
        ForkStorage fork =
            volume.OpenFork(record.DataFork, record.FileId, ExtentsOverflow.DataFork, $"target of the symbolic link {record.FileId}");
        byte[] bytes = new byte[size];
        fork.Read(0, bytes);
        string target = Encoding.UTF8.GetString(bytes);
        if (isInOnePiece) _targets[place] = target;
        return target;
    }

    private CompressedFile? TryFindCompressed(uint fileId, IReadOnlyList<ExtendedAttribute> attributes)
    {
        try
        {
            return FindCompressed(fileId, attributes);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return null; // the file is listed, and its content is an error
        }
    }

    private CompressedFile? FindCompressed(uint fileId, IReadOnlyList<ExtendedAttribute> attributes)
    {
        ExtendedAttribute? attribute = attributes.FirstOrDefault(a => a.Name == CompressedFile.AttributeName);
        if (attribute is null || attribute.Size > CompressedFile.MaximumAttributeSize) return null;
        if (attribute.Value is not null) return CompressedFile.TryParse(attribute.Value);
        AttributeFork fork = _attributes.Forks[(fileId, attribute.Name)];
        if (fork.Record is not null) return fork.Compressed;
        Span<byte> header = stackalloc byte[CompressedFile.HeaderSize];
        header = header[..(int)Math.Min(header.Length, attribute.Size)];
        volume.OpenAttribute(fork.Fork, fork.More, $"attribute {attribute.Name} of file {fileId}").Read(0, header);
        return CompressedFile.TryParse(header);
    }

    private static long SizeOf(in ForkData fork, RecordLocation location) => fork.LogicalSize <= long.MaxValue
        ? (long)(ulong)fork.LogicalSize
        : throw ImageException.Damaged(
            $"A fork claims {fork.LogicalSize} bytes.", $"catalog B-tree node {location.Node}, record {location.Index}");

    private bool IsPrivate(uint folder) => (folder == _privateFolder || folder == _privateLinkedFolders) && folder != 0;

    private static uint FlagsOf(in BsdInfo bsd) => ((uint)bsd.AdminFlags << 16) | bsd.OwnerFlags;

    private static (uint Type, uint Creator) FinderTypeOf(in CatalogFile record)
    {
        ReadOnlySpan<byte> info = record.FinderInfo;
        return (Layout.Read<UInt32BE>(info), Layout.Read<UInt32BE>(info[4..]));
    }

    private static byte[]? FinderInfoOf(in FinderInfo32 info)
    {
        ReadOnlySpan<byte> bytes = info;
        return bytes.ContainsAnyExcept((byte)0) ? bytes.ToArray() : null;
    }

    private static uint? NumberBehind(string prefix, string name) =>
        name.StartsWith(prefix, StringComparison.Ordinal)
            && uint.TryParse(name.AsSpan(prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out uint number)
            ? number
            : null;
}
