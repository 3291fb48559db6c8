using System.Runtime.InteropServices;
using CCImage.Binary;
using CCImage.Sources;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>A place in the catalog: the folder (or file, for its thread) whose id leads the key, and the entry within.</summary>
/// <param name="Parent">A node's number; -1 for the parent of the root.</param>
/// <param name="Child">-1 for the thread, else the entry's position in the folder.</param>
internal readonly record struct CatalogCursor(int Parent, int Child);

/// <summary>
/// The catalog in key order: for each id its thread, then, for a folder, its entries by name. Ids ascend with the numbers of the nodes.
/// </summary>
/// <param name="plan">Whose nodes; the forks' blocks may still be open while only sizes are asked for.</param>
internal sealed class CatalogRecords(HfsPlusPlanNodes plan) : BTreeRecords<CatalogCursor>
{
    /// <summary>The plan, once it is complete: records are written from it.</summary>
    public HfsPlusPlan? Plan { get; set; }

    /// <inheritdoc/>
    public override bool Start(out CatalogCursor cursor)
    {
        cursor = new CatalogCursor(-1, 0);
        return true;
    }

    /// <inheritdoc/>
    public override bool MoveNext(ref CatalogCursor cursor)
    {
        if (cursor.Parent >= 0 && cursor.Child + 1 < plan.Nodes[cursor.Parent].ChildCount)
        {
            cursor = cursor with { Child = cursor.Child + 1 };
            return true;
        }

        cursor = new CatalogCursor(cursor.Parent + 1, -1);
        return cursor.Parent < plan.Nodes.Length;
    }

    /// <inheritdoc/>
    public override int KeySize(in CatalogCursor cursor) => 8 + (cursor.Child < 0 ? 0 : 2 * plan.NameOf(NodeAt(cursor)).Length);

    /// <inheritdoc/>
    public override int DataSize(in CatalogCursor cursor) =>
        cursor.Child < 0 ? 10 + (2 * plan.NameOf(cursor.Parent).Length) : plan.Nodes[NodeAt(cursor)].IsFolder ? 88 : 248;

    /// <inheritdoc/>
    public override void WriteKey(in CatalogCursor cursor, Span<byte> destination)
    {
        string name = cursor.Child < 0 ? "" : plan.NameOf(NodeAt(cursor));
        Layout.Write(destination, new CatalogKey
        {
            KeyLength = (ushort)(6 + (2 * name.Length)),
            ParentId = cursor.Parent < 0 ? CatalogNodeId.RootParent : HfsPlusPlan.CatalogId(cursor.Parent),
            NameLength = (ushort)name.Length,
        });
        WriteName(name, destination[8..]);
    }

    /// <inheritdoc/>
    public override void WriteData(in CatalogCursor cursor, Span<byte> destination)
    {
        int number = NodeAt(cursor);
        ref readonly PlanNode node = ref plan.Nodes[number];
        if (cursor.Child < 0)
        {
            string name = plan.NameOf(number);
            Layout.Write(destination, new CatalogThread
            {
                RecordType = (ushort)(node.IsFolder ? CatalogRecordType.FolderThread : CatalogRecordType.FileThread),
                ParentId = node.Parent < 0 ? CatalogNodeId.RootParent : HfsPlusPlan.CatalogId(node.Parent),
                NameLength = (ushort)name.Length,
            });
            WriteName(name, destination[10..]);
        }
        else if (node.IsFolder)
        {
            Layout.Write(destination, Folder(number, node));
        }
        else
        {
            Layout.Write(destination, File(number, node));
        }
    }

    /// <summary>Writes a name's units, big-endian.</summary>
    /// <param name="name">The name.</param>
    /// <param name="destination">Room for twice its length.</param>
    internal static void WriteName(string name, Span<byte> destination)
    {
        Span<UInt16BE> units = MemoryMarshal.Cast<byte, UInt16BE>(destination);
        for (int i = 0; i < name.Length; i++) units[i] = name[i];
    }

    private int NodeAt(in CatalogCursor cursor) =>
        cursor.Child < 0 ? cursor.Parent : cursor.Parent < 0 ? 0 : plan.Order[plan.Nodes[cursor.Parent].FirstChild + cursor.Child];

    private CatalogFolder Folder(int number, in PlanNode node)
    {
        HfsPlusPlan whole = Plan!;
        CatalogRecordFlags flags = CommonFlags(node);
        // Every folder of an HFSX volume keeps the count of its folders, and everywhere the two private ones do.
        bool counted = whole.Options.CaseSensitive || node.Role != PlanNodeRole.Ordinary;
        if (counted) flags |= CatalogRecordFlags.HasFolderCount;
        var record = new CatalogFolder
        {
            RecordType = (ushort)CatalogRecordType.Folder,
            Valence = (uint)node.ChildCount,
            FolderId = HfsPlusPlan.CatalogId(number),
            FolderCount = counted ? (uint)node.FolderCount : 0,
        };
        if (node.Entry is SourceEntry entry)
        {
            record.FinderInfo = FinderInfo(entry, ref flags);
            if (IsLost(number, node)) LostContentMark.ApplyLabel(Layout.AsBytes(ref record.FinderInfo));
            record.CreateDate = CreateDate(entry);
            record.ContentModifyDate = ModifyDate(entry);
            record.AttributeModifyDate = Date(entry.ChangeTime, ModifyDate(entry));
            record.AccessDate = Date(entry.AccessTime, ModifyDate(entry));
            record.BackupDate = Date(entry.BackupTime, 0);
            record.Permissions = Permissions(entry, 0x4000, number == 0 ? 0u : 1u);
            if (number == 0) record.TextEncoding = 0x7E; // Unicode, as newfs_hfs writes it
        }
        else
        {
            uint created = whole.CreateDate;
            record.CreateDate = record.ContentModifyDate = record.AttributeModifyDate = record.AccessDate = created;
            // As macOS makes them: UF_IMMUTABLE, no permissions at all for the inodes, sticky and readable for the other; invisible and
            // with a locked name, far outside every window.
            record.Permissions = new BsdInfo
            {
                OwnerFlags = 2,
                FileMode = node.Role == PlanNodeRole.PrivateFolder ? (ushort)0x4000 : (ushort)0x436D,
                Special = 1,
            };
            Span<byte> finder = Layout.AsBytes(ref record.FinderInfo);
            finder[8] = 0x50;
            finder[10] = 0x40;
            finder[12] = 0x40;
        }

        record.Flags = (ushort)flags;
        return record;
    }

    private CatalogFile File(int number, in PlanNode node)
    {
        HfsPlusPlan whole = Plan!;
        var record = new CatalogFile { RecordType = (ushort)CatalogRecordType.File, FileId = HfsPlusPlan.CatalogId(number) };
        CatalogRecordFlags flags = CommonFlags(node) | CatalogRecordFlags.ThreadExists;
        switch (node.Role)
        {
            case PlanNodeRole.HardLink:
                flags = HardLink(number, node, ref record);
                break;
            case PlanNodeRole.Journal:
                Journal(whole.Journal, whole.JournalSize, ref record);
                break;
            case PlanNodeRole.JournalInfo:
                Journal(whole.JournalInfo, whole.BlockSize, ref record);
                break;
            default:
                flags = Ordinary(number, node, flags, ref record);
                break;
        }

        record.Flags = (ushort)flags;
        return record;
    }

    private CatalogRecordFlags Ordinary(int number, in PlanNode node, CatalogRecordFlags flags, ref CatalogFile record)
    {
        HfsPlusPlan whole = Plan!;
        SourceEntry entry = node.Entry!;
        record.FinderInfo = FinderInfo(entry, ref flags);
        if (entry.Kind == EntryKind.File && IsLost(number, node)) LostContentMark.Apply(Layout.AsBytes(ref record.FinderInfo));
        record.CreateDate = CreateDate(entry);
        record.ContentModifyDate = ModifyDate(entry);
        record.AttributeModifyDate = Date(entry.ChangeTime, ModifyDate(entry));
        record.AccessDate = Date(entry.AccessTime, ModifyDate(entry));
        record.BackupDate = Date(entry.BackupTime, 0);
        if ((entry.Flags & 0x0002_0002) != 0) flags |= CatalogRecordFlags.FileLocked; // UF_IMMUTABLE or SF_IMMUTABLE
        (ushort type, uint special) = entry.Kind switch
        {
            EntryKind.SymbolicLink => ((ushort)0xA000, 1u),
            EntryKind.Fifo => ((ushort)0x1000, 1u),
            EntryKind.Socket => ((ushort)0xC000, 1u),
            EntryKind.CharacterDevice => ((ushort)0x2000, HfsPlusPlanner.DarwinDevice(entry)),
            EntryKind.BlockDevice => ((ushort)0x6000, HfsPlusPlanner.DarwinDevice(entry)),
            _ => ((ushort)0x8000, 1u),
        };
        if (entry.Kind == EntryKind.SymbolicLink)
            SetType(ref record, HfsPlusConstants.SymlinkFileType, HfsPlusConstants.SymlinkCreator, null);
        if (node.Role == PlanNodeRole.Inode)
        {
            PlanLinks links = plan.Links[node.LinkGroup];
            flags |= CatalogRecordFlags.HasLinkChain;
            special = (uint)links.Names.Length;
            record.Reserved1 = HfsPlusPlan.CatalogId(links.Names[0]);
        }

        record.Permissions = Permissions(entry, type, special);
        for (int i = node.FirstFork; i >= 0 && i < whole.Forks.Length && whole.Forks[i].Node == number && whole.Forks[i].Stream < 2; i++)
        {
            if (whole.Forks[i].Stream == 0) record.DataFork = whole.ForkDataOf(whole.Forks[i]);
            else record.ResourceFork = whole.ForkDataOf(whole.Forks[i]);
        }

        return flags;
    }

    // A link as macOS makes it: an immutable, empty file that names its inode in `special`, its neighbours in the chain in the owner
    // fields. It is recognised by type, creator and a creation date equal to that of the private folder.
    private CatalogRecordFlags HardLink(int number, in PlanNode node, ref CatalogFile record)
    {
        PlanLinks links = plan.Links[node.LinkGroup];
        int at = Array.BinarySearch(links.Names, number);
        uint created = Plan!.CreateDate;
        record.CreateDate = record.ContentModifyDate = record.AttributeModifyDate = record.AccessDate = created;
        record.TextEncoding = 0x7E; // Unicode, as the kernel writes it here and only here
        record.Permissions = new BsdInfo
        {
            OwnerId = at > 0 ? HfsPlusPlan.CatalogId(links.Names[at - 1]) : 0,
            GroupId = at + 1 < links.Names.Length ? HfsPlusPlan.CatalogId(links.Names[at + 1]) : 0,
            OwnerFlags = 2,
            FileMode = 0x8124,
            Special = HfsPlusPlan.CatalogId(links.Inode),
        };
        SetType(ref record, HfsPlusConstants.HardLinkFileType, HfsPlusConstants.HfsPlusCreator, 0x0100);
        return CatalogRecordFlags.ThreadExists | CatalogRecordFlags.HasLinkChain;
    }

    private void Journal(BlockRun run, long size, ref CatalogFile record)
    {
        record.CreateDate = record.ContentModifyDate = Plan!.CreateDate;
        record.Permissions = new BsdInfo { FileMode = 0x8000, Special = 1 };
        SetType(ref record, 0x6A72_6E6C, HfsPlusConstants.HfsPlusCreator, 0x5000); // 'jrnl', invisible and name locked
        record.DataFork = new ForkData { LogicalSize = (ulong)size, TotalBlocks = run.Count };
        record.DataFork.Extents[0] = new ExtentDescriptor { StartBlock = run.Start, BlockCount = run.Count };
    }

    private bool IsLost(int number, in PlanNode node) => node.IsLost || Plan!.Lost?.Includes(number) == true;

    private static void SetType(ref CatalogFile record, uint type, uint creator, ushort? finderFlags)
    {
        Span<byte> finder = Layout.AsBytes(ref record.FinderInfo);
        Layout.Write<UInt32BE>(finder, type);
        Layout.Write<UInt32BE>(finder[4..], creator);
        if (finderFlags is ushort value) Layout.Write<UInt16BE>(finder[8..], value);
    }

    private static CatalogRecordFlags CommonFlags(in PlanNode node) =>
        (node.HasAttributes ? CatalogRecordFlags.HasAttributes : 0) | (node.HasSecurity ? CatalogRecordFlags.HasSecurity : 0);

    private static FinderInfo32 FinderInfo(SourceEntry entry, ref CatalogRecordFlags flags)
    {
        var info = default(FinderInfo32);
        Span<byte> bytes = Layout.AsBytes(ref info);
        if (entry.FinderInfo is byte[] given && given.Length == bytes.Length) given.CopyTo(bytes);
        // UF_HIDDEN has no bit of its own on disk: it is the Finder's invisible bit.
        if ((entry.Flags & 0x8000) != 0) bytes[8] |= 0x40;
        if (entry.Kind is EntryKind.File or EntryKind.Directory && bytes[20..24].ContainsAnyExcept((byte)0))
            flags |= CatalogRecordFlags.HasDateAdded;
        return info;
    }

    private static BsdInfo Permissions(SourceEntry entry, ushort type, uint special) => new()
    {
        OwnerId = entry.UserId,
        GroupId = entry.GroupId,
        AdminFlags = (byte)((entry.Flags >> 16) & 0xFF),
        OwnerFlags = (byte)(entry.Flags & 0xFF),
        FileMode = (ushort)(type | (entry.Mode & SourceEntry.PermissionMask)),
        Special = special,
    };

    private uint ModifyDate(SourceEntry entry) => Date(entry.ModifyTime, Plan!.CreateDate);

    private uint CreateDate(SourceEntry entry) => Date(entry.BirthTime, ModifyDate(entry));

    private static uint Date(UnixTime time, uint otherwise) => time.IsKnown ? HfsPlusPlanner.ToHfsDate(time, out _) : otherwise;
}

/// <summary>A place in the attributes tree.</summary>
/// <param name="Index">Number of the attribute.</param>
/// <param name="Part">0 for the attribute, from 1 on its further extents.</param>
internal readonly record struct AttributeCursor(int Index, int Part);

/// <summary>The attributes by file and name, each with the records of its further extents.</summary>
/// <param name="attributes">In key order.</param>
/// <param name="forks">The forks; their blocks may still be open while only sizes are asked for.</param>
/// <param name="maximumExtentBlocks">As in <see cref="HfsPlusPlanOptions.MaximumExtentBlocks"/>.</param>
internal sealed class AttributeRecords(PlanAttribute[] attributes, PlanFork[] forks, uint maximumExtentBlocks)
    : BTreeRecords<AttributeCursor>
{
    /// <summary>The plan, once it is complete.</summary>
    public HfsPlusPlan? Plan { get; set; }

    /// <inheritdoc/>
    public override bool Start(out AttributeCursor cursor)
    {
        cursor = default;
        return attributes.Length > 0;
    }

    /// <inheritdoc/>
    public override bool MoveNext(ref AttributeCursor cursor)
    {
        int fork = attributes[cursor.Index].Fork;
        if (fork >= 0
            && (cursor.Part + 1) * HfsPlusConstants.ExtentsPerRecord < HfsPlusPlan.CountExtents(forks[fork].Blocks, maximumExtentBlocks))
        {
            cursor = cursor with { Part = cursor.Part + 1 };
            return true;
        }

        cursor = new AttributeCursor(cursor.Index + 1, 0);
        return cursor.Index < attributes.Length;
    }

    /// <inheritdoc/>
    public override int KeySize(in AttributeCursor cursor) => 14 + (2 * attributes[cursor.Index].Attribute.Name.Length);

    /// <inheritdoc/>
    public override int DataSize(in AttributeCursor cursor)
    {
        PlanAttribute attribute = attributes[cursor.Index];
        return cursor.Part > 0 ? 72 : attribute.Fork >= 0 ? 88 : 16 + (int)((attribute.Attribute.Size + 1) & ~1L);
    }

    /// <inheritdoc/>
    public override void WriteKey(in AttributeCursor cursor, Span<byte> destination)
    {
        PlanAttribute attribute = attributes[cursor.Index];
        string name = attribute.Attribute.Name;
        Layout.Write(destination, new AttributeKey
        {
            KeyLength = (ushort)(12 + (2 * name.Length)),
            FileId = HfsPlusPlan.CatalogId(attribute.Node),
            StartBlock = (uint)(cursor.Part * HfsPlusConstants.ExtentsPerRecord) * maximumExtentBlocks,
            NameLength = (ushort)name.Length,
        });
        CatalogRecords.WriteName(name, destination[14..]);
    }

    /// <inheritdoc/>
    public override void WriteData(in AttributeCursor cursor, Span<byte> destination)
    {
        PlanAttribute attribute = attributes[cursor.Index];
        if (cursor.Part > 0)
        {
            Layout.Write(destination, new AttributeExtents
            {
                RecordType = (uint)AttributeRecordType.Extents,
                Extents = Plan!.ExtentRecordAt(forks[attribute.Fork], cursor.Part * HfsPlusConstants.ExtentsPerRecord),
            });
        }
        else if (attribute.Fork >= 0)
        {
            Layout.Write(destination, new AttributeForkData
            {
                RecordType = (uint)AttributeRecordType.ForkData,
                Fork = Plan!.ForkDataOf(forks[attribute.Fork]),
            });
        }
        else
        {
            Layout.Write(destination,
                new AttributeInlineData { RecordType = (uint)AttributeRecordType.InlineData, Size = (uint)attribute.Attribute.Size });
            ReadOnlySpan<byte> value = attribute.Attribute.Value ?? Plan!.FetchedValues[attribute.Attribute];
            value.CopyTo(destination[16..]);
        }
    }
}

/// <summary>A place in the extents-overflow tree.</summary>
/// <param name="Fork">Index of the fork.</param>
/// <param name="FirstExtent">The record's first extent, a multiple of eight.</param>
internal readonly record struct ExtentCursor(int Fork, int FirstExtent);

/// <summary>The extents of data and resource forks beyond the eight in the catalog. Only volumes made for tests have any.</summary>
/// <param name="forks">All forks.</param>
/// <param name="maximumExtentBlocks">As in <see cref="HfsPlusPlanOptions.MaximumExtentBlocks"/>.</param>
internal sealed class ExtentOverflowRecords(PlanFork[] forks, uint maximumExtentBlocks) : BTreeRecords<ExtentCursor>
{
    /// <summary>The plan, once it is complete.</summary>
    public HfsPlusPlan? Plan { get; set; }

    /// <inheritdoc/>
    public override bool Start(out ExtentCursor cursor)
    {
        cursor = new ExtentCursor(0, 0);
        return maximumExtentBlocks != 0 && forks.Length > 0 && MoveNext(ref cursor);
    }

    /// <inheritdoc/>
    public override bool MoveNext(ref ExtentCursor cursor)
    {
        (int fork, int next) = (cursor.Fork, cursor.FirstExtent + HfsPlusConstants.ExtentsPerRecord);
        for (; fork < forks.Length; fork++, next = HfsPlusConstants.ExtentsPerRecord)
        {
            if (forks[fork].Stream >= 2 || next >= HfsPlusPlan.CountExtents(forks[fork].Blocks, maximumExtentBlocks)) continue;
            cursor = new ExtentCursor(fork, next);
            return true;
        }

        return false;
    }

    /// <inheritdoc/>
    public override int KeySize(in ExtentCursor cursor) => 12;

    /// <inheritdoc/>
    public override int DataSize(in ExtentCursor cursor) => 64;

    /// <inheritdoc/>
    public override void WriteKey(in ExtentCursor cursor, Span<byte> destination)
    {
        PlanFork fork = forks[cursor.Fork];
        Layout.Write(destination, new ExtentKey
        {
            KeyLength = 10,
            ForkType = fork.Stream == 1 ? (byte)0xFF : (byte)0,
            FileId = HfsPlusPlan.CatalogId(fork.Node),
            StartBlock = (uint)cursor.FirstExtent * maximumExtentBlocks,
        });
    }

    /// <inheritdoc/>
    public override void WriteData(in ExtentCursor cursor, Span<byte> destination) =>
        Layout.Write(destination, Plan!.ExtentRecordAt(forks[cursor.Fork], cursor.FirstExtent));
}
