using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using CCImage.Binary;
using CCImage.Sources;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Reads a whole volume into a tree: the attributes file, then the catalog in one pass from leaf to leaf. Hard links become entries with the
/// metadata of their node, private folders and the journal are left out. Not recursive; what nobody can reach from the root is an error.
/// </summary>
/// <param name="volume">The volume.</param>
internal sealed class CatalogReader(HfsPlusVolume volume)
{
    private const int MaximumLinkTarget = 1024; // PATH_MAX of macOS

    // Type bits of st_mode.
    private const uint TypeMask = 0xF000, TypeFifo = 0x1000, TypeCharacter = 0x2000, TypeBlock = 0x6000, TypeLink = 0xA000, TypeSocket = 0xC000;

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
    private readonly Dictionary<(uint Block, long Size), string> _targets = []; // links may share blocks: each is read once, and in memory once
    private SourceEntry? _root;
    private uint _privateFolder, _privateLinkedFolders; // 0 while not met

    /// <summary>Reads the tree.</summary>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public VolumeTree Read(CancellationToken cancellation)
    {
        if (volume.OpenAttributes() is { } attributes) _attributes.Read(attributes, cancellation);
        foreach (BTreeNode node in volume.Catalog.ReadLeaves())
        {
            cancellation.ThrowIfCancellationRequested();
            for (int i = 0; i < node.RecordCount; i++) ReadRecord(node, i);
        }

        if (_root is null) throw ImageException.Damaged("The catalog has no root folder.", "catalog B-tree");
        ResolveLinks(cancellation);
        List<SourceEntry> unseen = Attach();
        CheckReachable(unseen, cancellation);
        return new VolumeTree(volume, _root, _locations, _compressed, _attributes.Forks);
    }

    private void ReadRecord(BTreeNode node, int index)
    {
        CatalogRecordKey key = CatalogRecordKey.Read(node, index);
        ReadOnlySpan<byte> data = node.Data(index);
        ushort type = data.Length >= sizeof(ushort) ? (ushort)Layout.Read<UInt16BE>(data) : (ushort)0;
        switch ((CatalogRecordType)type)
        {
            case CatalogRecordType.Folder when data.Length >= Unsafe.SizeOf<CatalogFolder>() && key.Name.Length > 0:
                AddFolder(key, Layout.Read<CatalogFolder>(data), node, index);
                break;
            case CatalogRecordType.File when data.Length >= Unsafe.SizeOf<CatalogFile>() && key.Name.Length > 0:
                AddFile(key, Layout.Read<CatalogFile>(data), new RecordLocation(node.Number, index));
                break;
            case CatalogRecordType.FolderThread or CatalogRecordType.FileThread:
                break; // The way back from id to name: the pass does not need it.
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
            if (key.ParentId == _privateLinkedFolders && NumberBehind(HfsPlusConstants.DirectoryInodePrefix, key.Name) is uint number) _folderLinkNodes[number] = record;
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
            if (key.ParentId == _privateFolder && NumberBehind(HfsPlusConstants.InodePrefix, key.Name) is uint number) _linkNodes[number] = (record, location);
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

    // Links to files: every name gets the metadata of the node; a node with one name left is an ordinary file. The first name of a linked folder
    // becomes the folder; the others become symbolic links to it, once the paths are known.
    private void ResolveLinks(CancellationToken cancellation)
    {
        Dictionary<uint, int> names = [];
        Dictionary<uint, SourceEntry> first = [];
        foreach ((_, _, uint number) in _links) CollectionsMarshal.GetValueRefOrAddDefault(names, number, out _)++;
        foreach ((uint parent, string name, uint number) in _links)
        {
            cancellation.ThrowIfCancellationRequested();
            if (!_linkNodes.TryGetValue(number, out (CatalogFile Record, RecordLocation Location) node))
                throw ImageException.Damaged($"The hard link \"{name}\" leads to node {number}, which is not there.", $"catalog B-tree, folder {parent}");
            ref SourceEntry? known = ref CollectionsMarshal.GetValueRefOrAddDefault(first, number, out _);
            SourceEntry entry = known is null ? MakeFile(name, node.Record, node.Location, names[number] > 1 ? number : 0) : known.WithName(name);
            known ??= entry;
            _entries.Add((parent, entry));
        }

        foreach ((uint parent, string name, uint number, CatalogFile record) in _folderLinks)
        {
            cancellation.ThrowIfCancellationRequested();
            if (!_folderLinkNodes.TryGetValue(number, out CatalogFolder folder))
                throw ImageException.Damaged($"The hard link \"{name}\" leads to folder {number}, which is not there.", $"catalog B-tree, folder {parent}");
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

    // Puts every entry into its folder. Returns those that lie directly in a hidden folder: tops of subtrees nobody sees.
    private List<SourceEntry> Attach()
    {
        var unseen = new List<SourceEntry>();
        foreach ((uint parent, SourceEntry entry) in _entries)
        {
            if (_folders.TryGetValue(parent, out SourceEntry? folder)) folder.Add(entry);
            else if (_hidden.Contains(parent)) unseen.Add(entry);
            else throw ImageException.Damaged($"The entry \"{entry.Name}\" lies in folder {parent}, which is not there.", "catalog B-tree");
        }

        return unseen;
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

        if (seen != _entries.Count) throw ImageException.Damaged($"{_entries.Count - seen} entries lie in folders that contain each other.", "catalog B-tree");
        var first = new HashSet<SourceEntry>();
        foreach ((uint parent, string name, uint number, CatalogFile record) in _folderLinks)
        {
            SourceEntry target = _folders[_folderLinkNodes[number].FolderId];
            cancellation.ThrowIfCancellationRequested();
            if (first.Add(target) || !_folders.TryGetValue(parent, out SourceEntry? folder)) continue;
            folder.Add(new SourceEntry
            {
                Name = name,
                Kind = EntryKind.SymbolicLink,
                LinkTarget = RelativePath(folder, target),
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

    private static string RelativePath(SourceEntry folder, SourceEntry target)
    {
        int length = 0;
        for (SourceEntry? up = target; up?.Parent is not null && length <= MaximumLinkTarget; up = up.Parent) length += up.Name.Length + 1;
        var path = new StringBuilder();
        for (SourceEntry? up = folder; up?.Parent is not null && path.Length + length <= MaximumLinkTarget; up = up.Parent) path.Append("../");
        return path.Length + length <= MaximumLinkTarget
            ? path.Append(target.RelativePath).ToString()
            : throw ImageException.Damaged($"A hard link to the folder \"{target.Name}\" lies so deep that no symbolic link could lead there.", "catalog B-tree");
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
        if (kind == EntryKind.File && (flags & UserCompressed) != 0 && FindCompressed(record.FileId, attributes) is { } compressed)
        {
            _compressed[record.FileId] = compressed;
            flags &= ~UserCompressed;
            attributes = [.. attributes.Where(a => a.Name != CompressedFile.AttributeName)];
            size = compressed.Size;
            if (compressed.IsInResourceFork) resourceSize = 0;
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
        if (size > MaximumLinkTarget) throw ImageException.Damaged($"A symbolic link claims a target of {size} bytes.", $"catalog B-tree, file {record.FileId}");
        bool isInOnePiece = size > 0 && (long)record.DataFork.Extents[0].BlockCount * volume.Header.BlockSize >= size;
        (uint, long) place = (record.DataFork.Extents[0].StartBlock, size);
        if (isInOnePiece && _targets.TryGetValue(place, out string? known)) return known;
        ForkStorage fork = volume.OpenFork(record.DataFork, record.FileId, ExtentsOverflow.DataFork, $"target of the symbolic link {record.FileId}");
        byte[] bytes = new byte[size];
        fork.Read(0, bytes);
        string target = Encoding.UTF8.GetString(bytes);
        if (isInOnePiece) _targets[place] = target;
        return target;
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
        : throw ImageException.Damaged($"A fork claims {fork.LogicalSize} bytes.", $"catalog B-tree node {location.Node}, record {location.Index}");

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
        name.StartsWith(prefix, StringComparison.Ordinal) && uint.TryParse(name.AsSpan(prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out uint number)
            ? number
            : null;
}
