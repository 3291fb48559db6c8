using System.Globalization;
using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Judges the records of the catalog, one after the other as the leaves hold them, and collects what can only be judged at the end.
/// Sources: TN1150; what fsck_hfs (hfs-627) judges; for what it is blind to, what Apple's kernel needs to find a file.
/// </summary>
/// <param name="volume">The volume.</param>
/// <param name="forks">Judges the forks.</param>
/// <param name="nodes">Receives what was seen.</param>
/// <param name="findings">Receives what is found.</param>
internal sealed class CatalogChecker(HfsPlusVolume volume, ForkChecker forks, CatalogNodes nodes, ImageFindings findings)
{
    private const uint TypeMask = 0xF000, TypeFolder = 0x4000, TypeFile = 0x8000, TypeLink = 0xA000;
    private const int LongestLinkTarget = 1024; // PATH_MAX of macOS
    private const byte NoDump = 1; // UF_NODUMP: macOS leaves blocks behind the end of such a file when it is closed

    private readonly HardLinkChecker _fileLinks = new(false, findings), _folderLinks = new(true, findings);
    private readonly HashSet<uint> _foldersWithLinks = [];
    private uint _privateFolder, _privateLinkedFolders, _privateDate, _rootDate;
    private long _withoutMode, _openUnlinked;
    private ForkData? _journal, _journalInfo;

    /// <summary>Files that were seen.</summary>
    public long Files { get; private set; }

    /// <summary>Folders that were seen, the root too.</summary>
    public long Folders { get; private set; }

    /// <summary>The greatest id.</summary>
    public uint GreatestId { get; private set; }

    /// <summary>Data forks of the journal's two files, where they were seen.</summary>
    public (ForkData? Journal, ForkData? InfoBlock) JournalFiles => (_journal, _journalInfo);

    /// <summary>Takes a record of a leaf.</summary>
    /// <param name="node">The leaf.</param>
    /// <param name="index">Record, from 0; its key is without fault.</param>
    public void Add(BTreeNode node, int index)
    {
        ReadOnlySpan<byte> key = node.Key(index), data = node.Data(index);
        CatalogKey fields = Layout.Read<CatalogKey>(key);
        ReadOnlySpan<byte> name = key[Unsafe.SizeOf<CatalogKey>()..];
        ushort type = data.Length >= sizeof(ushort) ? (ushort)Layout.Read<UInt16BE>(data) : (ushort)0;
        var place = new RecordPlace("catalog", node.Number, index, 0);
        switch ((CatalogRecordType)type)
        {
            case CatalogRecordType.Folder when data.Length == Unsafe.SizeOf<CatalogFolder>() && name.Length > 0:
                AddFolder(fields.ParentId, name, Layout.Read<CatalogFolder>(data), place);
                break;
            case CatalogRecordType.File when data.Length == Unsafe.SizeOf<CatalogFile>() && name.Length > 0:
                AddFile(fields.ParentId, name, Layout.Read<CatalogFile>(data), place);
                break;
            case CatalogRecordType.FolderThread or CatalogRecordType.FileThread when data.Length >= Unsafe.SizeOf<CatalogThread>()
                && name.Length == 0:
                AddThread(fields.ParentId, data, type == (ushort)CatalogRecordType.FolderThread, place with { Id = fields.ParentId });
                break;
            default:
                findings.Damaged(HfsPlusCheckNames.CatalogRecords,
                    $"The catalog has a record of type {type} in {data.Length} bytes under a name of {name.Length / sizeof(char)} units.",
                    place.ToString());
                break;
        }
    }

    /// <summary>Judges what can only be judged when all records were seen.</summary>
    /// <param name="cancellation">Ends it.</param>
    public void Finish(CancellationToken cancellation)
    {
        if (!nodes.Find(CatalogNodeId.RootFolder).Is(SeenOf.Record | SeenOf.IsFolder))
            findings.Damaged(HfsPlusCheckNames.Folders, "The volume has no root folder.", "catalog");
        nodes.Check(volume.Header.Signature == HfsPlusConstants.SignatureHfsx, cancellation);
        _fileLinks.Check((_privateDate, _rootDate));
        _folderLinks.Check((_privateDate, _rootDate));
        CheckChildLinkFlags();
        if (_withoutMode > 0) findings.Note(HfsPlusCheckNames.Modes,
            $"{_withoutMode} entries have no mode and no owner, as systems before Mac OS X leave them; "
                + "a Mac shows them with its defaults.");
        if (_openUnlinked > 0) findings.Note(HfsPlusCheckNames.HardLinks,
            $"{_openUnlinked} entries were deleted while a program had them open; a Mac removes them when it next attaches the volume.");
    }

    private static uint HashOf(ReadOnlySpan<byte> name)
    {
        uint hash = 2166136261; // FNV-1a
        foreach (byte b in name) hash = unchecked((hash ^ b) * 16777619);
        return hash;
    }

    private static string TextOf(ReadOnlySpan<byte> name) => CatalogRecordKey.ReadName(name);

    private void AddThread(uint id, ReadOnlySpan<byte> data, bool isFolder, RecordPlace place)
    {
        CatalogThread thread = Layout.Read<CatalogThread>(data);
        ReadOnlySpan<byte> rest = data[Unsafe.SizeOf<CatalogThread>()..];
        int bytes = thread.NameLength * sizeof(char);
        if (thread.NameLength == 0 || thread.NameLength > HfsPlusConstants.MaximumNameLength || bytes > rest.Length)
        {
            findings.Damaged(HfsPlusCheckNames.Threads,
                $"A thread record of {data.Length} bytes has a name of {thread.NameLength} units.", place.ToString());
            return;
        }

        if ((uint)thread.Reserved != 0) findings.Note(HfsPlusCheckNames.Threads,
            "A reserved field of a thread record is not zero.", place.ToString());
        ref CatalogNodeState node = ref nodes.Get(id);
        node.Seen |= SeenOf.Thread | (isFolder ? SeenOf.ThreadOfFolder : 0);
        (node.ThreadParent, node.ThreadNameHash) = (thread.ParentId, HashOf(rest[..bytes]));
    }

    // What files and folders have in common. False when the id cannot be used.
    private bool AddEntry(
        uint id, uint parent, ReadOnlySpan<byte> name, CatalogRecordFlags flags, bool isFolder, bool countsAsFolder, RecordPlace place)
    {
        nodes.CountEntry(parent, countsAsFolder);
        CheckName(name, parent == CatalogNodeId.RootParent, place);
        bool isRoot = id == CatalogNodeId.RootFolder && isFolder;
        if ((id < CatalogNodeId.FirstUser && !isRoot) || isRoot != (parent == CatalogNodeId.RootParent))
        {
            findings.Damaged(HfsPlusCheckNames.CatalogIds, $"An entry in folder {parent} has the id {id}.", place.ToString());
            return false;
        }

        ref CatalogNodeState node = ref nodes.Get(id);
        if (node.Is(SeenOf.Record))
        {
            findings.Damaged(HfsPlusCheckNames.CatalogIds,
                "Two entries have the same id: one of them gets the other's blocks and attributes.", place.ToString());
            return false;
        }

        GreatestId = Math.Max(GreatestId, id);
        (node.Parent, node.NameHash) = (parent, HashOf(name));
        node.Seen |= SeenOf.Record | (isFolder ? SeenOf.IsFolder : 0)
            | (flags.HasFlag(CatalogRecordFlags.HasAttributes) ? SeenOf.HasAttributesFlag : 0) | (
                flags.HasFlag(CatalogRecordFlags.HasSecurity) ? SeenOf.HasSecurityFlag : 0);
        return true;
    }

    // A name in another form than the one the kernel looks for cannot be opened.
    private void CheckName(ReadOnlySpan<byte> name, bool isVolume, RecordPlace place)
    {
        bool isPlain = !name.ContainsAnyExceptInRange((byte)0, (byte)0x7F) && name is not [0, (byte)'.']
            and not [0, (byte)'.', 0, (byte)'.'];
        if (isPlain && IsAscii(name)) return;
        string text = TextOf(name);
        if (text is "." or "..") findings.Damaged(HfsPlusCheckNames.Names,
            $"An entry is called \"{text}\", which no system can open.", place.ToString());
        else if (HfsPlusUnicode.IsDecomposed(text)) return;
        else if (isVolume) findings.Note(HfsPlusCheckNames.Names,
            $"The volume's name \"{HfsPlusNames.FromDisk(text)}\" is not decomposed as HFS+ asks; nobody looks it up.", place.ToString());
        else findings.Damaged(HfsPlusCheckNames.Names,
            $"The name \"{HfsPlusNames.FromDisk(text)}\" is not decomposed as HFS+ asks: a Mac lists it, but cannot open it.",
            place.ToString());
    }

    private static bool IsAscii(ReadOnlySpan<byte> name)
    {
        for (int i = 0; i < name.Length; i += 2)
        {
            if (name[i] != 0) return false;
        }

        return true;
    }

    private void AddFolder(uint parent, ReadOnlySpan<byte> name, in CatalogFolder record, RecordPlace place)
    {
        uint id = record.FolderId;
        place = place with { Id = id };
        Folders++;
        var flags = (CatalogRecordFlags)(ushort)record.Flags;
        CheckMode(record.Permissions, isFolder: true, place);
        if ((flags & (CatalogRecordFlags.FileLocked | CatalogRecordFlags.ThreadExists)) != 0)
            findings.Damaged(
                HfsPlusCheckNames.CatalogRecords, $"A folder has flags that only files have (0x{(ushort)flags:X}).", place.ToString());
        if (!AddEntry(id, parent, name, flags, isFolder: true, countsAsFolder: true, place)) return;
        ref CatalogNodeState node = ref nodes.Get(id);
        (node.Valence, node.FolderCount) = (record.Valence, record.FolderCount);
        if (flags.HasFlag(CatalogRecordFlags.HasFolderCount)) node.Seen |= SeenOf.CountsFolders;
        if (flags.HasFlag(CatalogRecordFlags.HasChildLink)) node.Seen |= SeenOf.HasChildLinkFlag;
        if (id == CatalogNodeId.RootFolder) _rootDate = record.CreateDate;
        if (parent == CatalogNodeId.RootFolder) FindPrivateFolder(id, name, record);
        if (parent != _privateLinkedFolders || parent == 0) return;
        if (NumberBehind(HfsPlusConstants.DirectoryInodePrefix, TextOf(name)) is not uint number) _openUnlinked++;
        else if (number != id || !flags.HasFlag(CatalogRecordFlags.HasLinkChain)) findings.Damaged(HfsPlusCheckNames.HardLinks,
            "A folder with several names lacks its flag or has another number in its name than its id.", place.ToString());
        else _folderLinks.AddNode(number, id, record.Permissions.Special, 0, hasChain: true);
    }

    // Both lie in the root, whose entries come before those of any folder of the user's.
    private void FindPrivateFolder(uint id, ReadOnlySpan<byte> name, in CatalogFolder record)
    {
        string text = TextOf(name);
        if (text == HfsPlusConstants.PrivateDataFolderName) (_privateFolder, _privateDate) = (id, record.CreateDate);
        else if (text == HfsPlusConstants.DirectoryLinksFolderName) _privateLinkedFolders = id;
    }

    private void AddFile(uint parent, ReadOnlySpan<byte> name, in CatalogFile record, RecordPlace place)
    {
        uint id = record.FileId;
        place = place with { Id = id };
        Files++;
        var flags = (CatalogRecordFlags)(ushort)record.Flags;
        ReadOnlySpan<byte> finder = record.FinderInfo;
        uint type = Layout.Read<UInt32BE>(finder), creator = Layout.Read<UInt32BE>(finder[4..]);
        bool isPrivate = parent != 0
            && (parent == _privateFolder || parent == _privateLinkedFolders), hasChain = flags.HasFlag(CatalogRecordFlags.HasLinkChain);
        bool isLink = !isPrivate && type == HfsPlusConstants.HardLinkFileType && creator == HfsPlusConstants.HfsPlusCreator;
        bool isFolderLink = !isPrivate && hasChain && type == HfsPlusConstants.DirectoryAliasFileType
            && creator == HfsPlusConstants.DirectoryAliasCreator;
        CheckMode(record.Permissions, isFolder: false, place);
        bool isKnown = AddEntry(id, parent, name, flags, isFolder: false, isFolderLink, place);
        bool mayBeLonger = (record.Permissions.OwnerFlags & NoDump) != 0 || !volume.Has(VolumeAttributes.Unmounted);
        forks.CheckFork(record.DataFork, id, ExtentsOverflow.DataFork, BlockUse.Data, mayBeLonger, place);
        forks.CheckFork(record.ResourceFork, id, ExtentsOverflow.ResourceFork, BlockUse.Resource, mayBeLonger, place);
        if (!isKnown) return;
        bool isJournal = parent == CatalogNodeId.RootFolder && KeepJournalFile(name, record);
        if (isPrivate) AddNode(parent, name, record, hasChain);
        else if (isLink || isFolderLink) AddLink(parent, record, isFolderLink, hasChain, place);
        else CheckOrdinary(record, type, creator, hasChain, isJournal, place);
    }

    private bool KeepJournalFile(ReadOnlySpan<byte> name, in CatalogFile record)
    {
        if (name.Length > 40 || name[1] != '.') return false;
        string text = TextOf(name);
        if (text == ".journal") _journal = record.DataFork;
        else if (text == ".journal_info_block") _journalInfo = record.DataFork;
        else return false;
        return true;
    }

    private void AddNode(uint parent, ReadOnlySpan<byte> name, in CatalogFile record, bool hasChain)
    {
        if (parent != _privateFolder) return;
        if (NumberBehind(HfsPlusConstants.InodePrefix, TextOf(name)) is uint number)
            _fileLinks.AddNode(number, record.FileId, record.Permissions.Special, record.Reserved1, hasChain);
        else _openUnlinked++;
    }

    private void AddLink(uint parent, in CatalogFile record, bool isFolderLink, bool hasChain, RecordPlace place)
    {
        BsdInfo bsd = record.Permissions;
        if (record.DataFork.TotalBlocks != 0) findings.Damaged(HfsPlusCheckNames.HardLinks,
            "A hard link has content of its own, which nobody sees.", place.ToString());
        (isFolderLink ? _folderLinks : _fileLinks)
            .AddLink(new HardLink(record.FileId, bsd.Special, bsd.OwnerId, bsd.GroupId, record.CreateDate, hasChain));
        if (isFolderLink) _foldersWithLinks.Add(parent);
    }

    private void CheckOrdinary(in CatalogFile record, uint type, uint creator, bool hasChain, bool isJournal, RecordPlace place)
    {
        BsdInfo bsd = record.Permissions;
        uint kind = bsd.FileMode & TypeMask;
        if (hasChain)
            findings.Damaged(HfsPlusCheckNames.HardLinks, "An ordinary file claims to be one of several names.", place.ToString());
        if (kind == TypeFile && bsd.Special > 1 && !isJournal) findings.Damaged(HfsPlusCheckNames.HardLinks,
            $"A file outside the private folder counts {bsd.Special} names.", place.ToString());
        bool isMarked = type == HfsPlusConstants.SymlinkFileType && creator == HfsPlusConstants.SymlinkCreator;
        if ((kind == TypeLink) != isMarked)
        {
            findings.Damaged(HfsPlusCheckNames.SymbolicLinks,
                isMarked
                    ? "A file has the type of a symbolic link, but not its mode."
                    : "A symbolic link lacks its type and creator ('slnk', 'rhap'): programs may take it for a file.", place.ToString());
        }

        if (kind != TypeLink) return;
        if (record.DataFork.LogicalSize == 0) findings.Damaged(HfsPlusCheckNames.SymbolicLinks,
            "A symbolic link leads nowhere: its target is empty.", place.ToString());
        else if (record.DataFork.LogicalSize > LongestLinkTarget) findings.Note(HfsPlusCheckNames.SymbolicLinks,
            $"A symbolic link has a target of {record.DataFork.LogicalSize} bytes; a Mac follows at most {LongestLinkTarget}.",
            place.ToString());
    }

    private void CheckMode(in BsdInfo bsd, bool isFolder, RecordPlace place)
    {
        uint kind = bsd.FileMode & TypeMask;
        if (bsd.FileMode == 0) _withoutMode++;
        else if (isFolder != (kind == TypeFolder)
            || kind is not (0x1000 or 0x2000 or TypeFolder or 0x6000 or TypeFile or TypeLink or 0xC000))
            findings.Damaged(HfsPlusCheckNames.Modes,
                $"A {(isFolder ? "folder" : "file")} has the mode 0{Convert.ToString(bsd.FileMode, 8)}, which is another kind's.",
                place.ToString());
    }

    // Every folder above a link to a folder is marked, so that the kernel can keep folders from being linked into themselves. Each is
    // passed once.
    private void CheckChildLinkFlags()
    {
        var passed = new HashSet<uint> { CatalogNodeId.RootFolder, _privateLinkedFolders };
        foreach (uint start in _foldersWithLinks)
        {
            for (uint folder = start; passed.Add(folder); folder = nodes.Find(folder).Parent)
            {
                CatalogNodeState node = nodes.Find(folder);
                if (node.Is(SeenOf.Record | SeenOf.IsFolder) && !node.Is(SeenOf.HasChildLinkFlag))
                    findings.Damaged(HfsPlusCheckNames.HardLinks,
                        "A folder above a hard link to a folder is not marked as such.", CatalogNodes.PlaceOf(folder));
            }
        }
    }

    private static uint? NumberBehind(string prefix, string name) =>
        name.StartsWith(prefix, StringComparison.Ordinal)
            && uint.TryParse(name.AsSpan(prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out uint number) ? number : null;
}
