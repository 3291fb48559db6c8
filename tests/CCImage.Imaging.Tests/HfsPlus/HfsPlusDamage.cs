using System.Text;
using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

using static EditableVolume;
using static HfsPlusCheckNames;

/// <summary>One kind of damage.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Check">The check that must find it.</param>
/// <param name="Do">Does it.</param>
/// <param name="Base">Which volume it is done to.</param>
/// <param name="Grade">How grave it must be called.</param>
/// <param name="IsSeenByFsck">Whether Apple's fsck_hfs sees it, too.</param>
internal sealed record HfsPlusDamage(
    string Name, string Check, Action<EditableVolume> Do, DamageBase Base = DamageBase.Ordinary,
    ImageFindingGrade Grade = ImageFindingGrade.Damaged, bool IsSeenByFsck = true)
{
    private static readonly Dictionary<DamageBase, byte[]> Bases = [];

    /// <summary>All kinds.</summary>
    public static IReadOnlyList<HfsPlusDamage> All { get; } =
    [
        // Headers
        Of("signature", Header, v => v.Set16(HeaderAt, 0)) with { Grade = ImageFindingGrade.Repairable },
        Of("version", Header, v => v.Set16(HeaderAt + 2, 5)),
        Of("file count", Counts, v => v.Set32(HeaderAt + 32, v.U32(HeaderAt + 32) + 1)),
        Of("folder count", Counts, v => v.Set32(HeaderAt + 36, v.U32(HeaderAt + 36) - 1)),
        Of("next id", Counts, v => v.SetBoth32(64, 40)),
        Of("free blocks too many", FreeCount, v =>
            v.Set32(HeaderAt + 48, v.U32(HeaderAt + 48) + 1)) with { Grade = ImageFindingGrade.Repairable },
        Of("free blocks too few", FreeCount, v =>
            v.Set32(HeaderAt + 48, v.U32(HeaderAt + 48) - 1)) with { Grade = ImageFindingGrade.Repairable },
        Of("next allocation", Header, v => v.SetBoth32(52, v.TotalBlocks)),
        Of("clump", Header, v => v.SetBoth32(60, 100)),
        Of("allocation file too short", Header, v => v.Set64(HeaderAt + 112, 1)) with { IsSeenByFsck = false },
        Of("alternate header lost", AlternateHeader, v =>
            v.Bytes.AsSpan(v.Alternate, 512).Clear()) with { Grade = ImageFindingGrade.Repairable },
        Of("alternate header names another catalog", AlternateHeader, v =>
            v.Set32(v.Alternate + CatalogTree + 16, 1)) with { Grade = ImageFindingGrade.Repairable, IsSeenByFsck = false },
        Of("alternate header of another size", AlternateHeader, v =>
            v.Set32(v.Alternate + 44, v.TotalBlocks - 1)) with { Grade = ImageFindingGrade.Repairable, IsSeenByFsck = false },
        Of("alternate header of another date", AlternateHeader, v =>
            v.Set32(v.Alternate + 16, 5)) with { Grade = ImageFindingGrade.Repairable },

        // B-trees
        Of("leaf record count", TreeHeader, v => v.Set32(v.TreeHeader(CatalogTree) + 6, 7)),
        Of("free nodes", TreeHeader, v => v.Set32(v.TreeHeader(CatalogTree) + 26, v.U32(v.TreeHeader(CatalogTree) + 26) - 1)),
        Of("first leaf", TreeHeader, v => v.Set32(v.TreeHeader(CatalogTree) + 10, v.U32(v.FirstLeaf(CatalogTree)))),
        Of("last leaf", TreeHeader, v => v.Set32(v.TreeHeader(CatalogTree) + 14, v.U32(v.FirstLeaf(CatalogTree)))),
        Of("depth", TreeNodes, v => v.Set16(v.TreeHeader(CatalogTree), v.U16(v.TreeHeader(CatalogTree)) + 1)),
        Of("root is a leaf", TreeNodes, v => v.Set32(v.TreeHeader(CatalogTree) + 2, v.U32(v.TreeHeader(CatalogTree) + 10))),
        Of("no root", TreeHeader, v => v.Set32(v.TreeHeader(CatalogTree) + 2, 0)),
        Of("node size", TreeNodes, v => v.Set16(v.TreeHeader(CatalogTree) + 18, 5000)),
        Of("longest key", TreeHeader, v => v.Set16(v.TreeHeader(CatalogTree) + 20, 37)),
        Of("total nodes", TreeHeader, v => v.Set32(v.TreeHeader(CatalogTree) + 22, v.U32(v.TreeHeader(CatalogTree) + 22) - 1)),
        Of("tree type", TreeHeader, v => v.Bytes[v.TreeHeader(CatalogTree) + 36] = 3),
        Of("tree attributes", TreeHeader, v => v.Set32(v.TreeHeader(CatalogTree) + 38, 0)) with { IsSeenByFsck = false },
        Of("order of names", TreeHeader, v => v.Bytes[v.TreeHeader(CatalogTree) + 37] = 0x11, DamageBase.CaseSensitive),
        Of("used node is free in the map", TreeMap, v => v.Bytes[v.Node(CatalogTree, 0) + 248] ^= 0x20),
        Of("free node is used in the map", TreeMap, v =>
            v.Bytes[v.Node(CatalogTree, 0) + 248 + (int)(v.U32(v.TreeHeader(CatalogTree) + 22) / 8) - 1] ^= 1),
        Of("header node's record count", TreeHeader, v => v.Set16(v.Node(CatalogTree, 0) + 10, 2)),
        Of("forward link", TreeLinks, v => v.Set32(v.FirstLeaf(CatalogTree), v.U32(v.NextLeaf(CatalogTree, v.FirstLeaf(CatalogTree))))),
        Of("backward link", TreeLinks, v => v.Set32(v.NextLeaf(CatalogTree, v.FirstLeaf(CatalogTree)) + 4, 0)),
        Of("circle of leaves", TreeLinks, v =>
            v.Set32(v.Node(CatalogTree, v.U32(v.TreeHeader(CatalogTree) + 14)), v.U32(v.TreeHeader(CatalogTree) + 10))),
        Of("kind of node", TreeNodes, v => v.Bytes[v.FirstLeaf(CatalogTree) + 8] = 2),
        Of("height of node", TreeNodes, v => v.Bytes[v.FirstLeaf(CatalogTree) + 9] = 2),
        Of("number of records", TreeNodes, v => v.Set16(v.FirstLeaf(CatalogTree) + 10, v.U16(v.FirstLeaf(CatalogTree) + 10) + 1)),
        Of("empty leaf", TreeNodes, v => v.Set16(v.FirstLeaf(CatalogTree) + 10, 0)),
        Of("record offsets", TreeNodes, v => v.Set16(v.FirstLeaf(CatalogTree) + v.NodeSize(CatalogTree) - 4, 8000)),
        Of("index leads elsewhere", TreeIndex, v =>
            v.Set32(v.Data(v.Record(CatalogTree, v.Root(CatalogTree), 1)), v.U32(v.Data(v.Record(CatalogTree, v.Root(CatalogTree), 2))))),
        Of("index leads out of the tree", TreeIndex, v => v.Set32(v.Data(v.Record(CatalogTree, v.Root(CatalogTree), 1)), 0x7FFF_FFFF)),
        Of("index leads to itself", TreeIndex, v =>
            v.Set32(v.Data(v.Record(CatalogTree, v.Root(CatalogTree), 1)), v.U32(v.TreeHeader(CatalogTree) + 2))),
        Of("index key is not the first key", TreeIndex, v => v.Bytes[v.Data(v.Record(CatalogTree, v.Root(CatalogTree), 2)) - 1]--),
        Of("order in a leaf", TreeOrder, v => Rename(v, "file number 100", "zile number 100")),
        Of("order over leaves", TreeOrder, v =>
            Rename(v, LastNameOfALeaf(v), "zile" + LastNameOfALeaf(v)[4..])) with { IsSeenByFsck = false },
        Of("key length", TreeNodes, v => v.Set16(v.Entry("file number 100"), 7)),
        Of("name length in a key", TreeNodes, v => v.Set16(v.Entry("file number 100") + 6, 3)) with { IsSeenByFsck = false },
        Of("attributes leaf count", TreeHeader, v => v.Set32(v.TreeHeader(AttributesTree) + 6, 1)),
        Of("attributes order", TreeOrder, v => v.Bytes[v.Attribute("user.odd", 0x10) + 15] = (byte)'A'),
        Of("extents node kind", TreeNodes, v => v.Bytes[v.FirstLeaf(ExtentsTree) + 8] = 1, DamageBase.Fragmented),

        // CatalogTree
        Of("record type", CatalogRecords, v => v.Set16(v.File("small"), 9)),
        Of("thread's name", Threads, v => v.Bytes[v.Thread("small") + 11]++) with { IsSeenByFsck = false },
        Of("thread's parent", Threads, v => v.Set32(v.Thread("small") + 4, v.IdOf("folder"))) with { IsSeenByFsck = false },
        Of("thread's kind", Threads, v => v.Set16(v.Thread("small"), 3)),
        Of("thread without name", Threads, v => v.Set16(v.Thread("small") + 8, 0)),
        Of("thread is no thread", CatalogRecords, v => v.Set16(v.Thread("small"), 0x104)),
        Of("duplicate id", CatalogIds, v => v.Set32(v.File("small") + 8, v.IdOf("block"))) with { IsSeenByFsck = false },
        Of("reserved id", CatalogIds, v => v.Set32(v.File("small") + 8, 10)),
        Of("id without thread", Threads, v => v.Set32(v.File("small") + 8, v.U32(HeaderAt + 64) - 1 + 100)),
        Of("valence", FolderCounts, v => v.Set32(v.File("folder") + 4, 9)),
        Of("folder count of a folder", FolderCounts, v => v.Set32(v.File("folder") + 84, 9), DamageBase.CaseSensitive),
        Of("folder without folder count", FolderCounts, v =>
            v.Set16(v.File("folder") + 2, 0), DamageBase.CaseSensitive) with { Grade = ImageFindingGrade.Note },
        Of("folder in itself", Folders, v => v.Set32(v.Entry("folder") + 2, v.IdOf("folder"))),
        Of("folder that is not there", Folders, v => v.Set32(v.Entry("inner") + 2, v.IdOf("inner"))),
        Of("composed name", Names, v => Rename(v, "Au\u0308\u0308", "A\u00FC\u0308")) with { IsSeenByFsck = false },
        Of("name of two dots", Names, v => Rename(v, "zz", "..")),
        Of("file with a folder's mode", Modes, v => v.Set16(v.File("small") + 42, 0x41ED)),
        Of("folder with a file's mode", Modes, v => v.Set16(v.File("folder") + 42, 0x81A4)),
        Of("mode of nothing", Modes, v => v.Set16(v.File("small") + 42, 0x01A4)),
        Of("folder with a file's flags", CatalogRecords, v => v.Set16(v.File("folder") + 2, 2)),
        Of("symbolic link without type", SymbolicLinks, v => v.Set64(v.File("link") + 48, 0)) with { IsSeenByFsck = false },
        Of("symbolic link with a file's mode", SymbolicLinks, v => v.Set16(v.File("link") + 42, 0x81A4)) with { IsSeenByFsck = false },
        Of("file with a symbolic link's type", SymbolicLinks, v =>
            "slnkrhap"u8.CopyTo(v.Bytes.AsSpan(v.File("small") + 48))) with { IsSeenByFsck = false },
        Of("symbolic link without target", SymbolicLinks, v => v.Bytes.AsSpan(v.File("link") + 88, 24).Clear()),

        // Hard links
        Of("link to nothing", HardLinks, v => v.Set32(v.File("linked 1") + 44, 4)),
        Of("link count", HardLinks, v => v.Set32(Inode(v, "linked 1") + 44, 9)),
        Of("previous link", HardLinks, v => v.Set32(v.File("linked 2") + 32, 0)),
        Of("next link", HardLinks, v => v.Set32(v.File("linked 1") + 36, 0)),
        Of("first link", HardLinks, v => v.Set32(Inode(v, "linked 1") + 4, v.IdOf("linked 2"))),
        Of("link out of the chain", HardLinks, v => v.Set16(v.File("linked 2") + 2, 2)),
        Of("link's date", HardLinks, v => v.Set32(v.File("linked 1") + 12, 77)),
        Of("link with content", HardLinks, v => v.Bytes.AsSpan(v.File("small") + 88, 80).CopyTo(v.Bytes.AsSpan(v.File("linked 1") + 88))),
        Of("file with two names", HardLinks, v => v.Set32(v.File("small") + 44, 2)),
        Of("file with a chain", HardLinks, v => v.Set16(v.File("small") + 2, 0x22)),
        Of("node without links", HardLinks, v =>
            Rename(v, "iNode" + v.U32(v.File("linked 1") + 44), "iNode" + (v.U32(v.File("linked 1") + 44) + 1))),

        // ExtentsTree and bitmap
        Of("extent out of the volume", Extents, v => v.Set32(v.File("large") + 88 + 16, v.TotalBlocks - 1)),
        Of("extent of another file", SharedBlocks, v => v.Set32(v.File("block") + 88 + 16, v.U32(v.File("large") + 88 + 16))),
        Of("extent in the catalog", SharedBlocks, v => v.Set32(v.File("block") + 88 + 16, v.U32(HeaderAt + CatalogTree + 16))),
        Of("extent over the header", SharedBlocks, v => v.Set32(v.File("block") + 88 + 16, 0)),
        Of("extent behind an empty one", Extents, v => v.Set64(v.File("block") + 88 + 32, 0x1_0000_0001)),
        Of("total blocks", ForkSizes, v => v.Set32(v.File("large") + 88 + 12, 1)),
        Of("size too large", ForkSizes, v => v.Set64(v.File("large") + 88, 1UL << 40)),
        Of("size a little too small", ForkSizes, v =>
            v.Set64(v.File("large") + 88, 2_996_000)) with { Grade = ImageFindingGrade.Note, IsSeenByFsck = false },
        Of("size far too small", ForkSizes, v => v.Set64(v.File("large") + 88, 5)) with { IsSeenByFsck = false },
        Of("resource fork's blocks", ForkSizes, v => v.Set32(v.File("resource") + 168 + 12, 1)),
        Of("overflow extents without owner", OverflowExtents, v =>
            v.Set32(v.Records(ExtentsTree).Last() + 4, 0x00FF_FFFF), DamageBase.Fragmented),
        Of("overflow extents begin elsewhere", OverflowExtents, v =>
            v.Set32(v.Records(ExtentsTree).Last() + 8, 0x1000), DamageBase.Fragmented) with { IsSeenByFsck = false },
        Of("overflow extent out of the volume", Extents, v =>
            v.Set32(v.Data(v.Records(ExtentsTree).Last()), v.TotalBlocks), DamageBase.Fragmented),
        Of("fork type of overflow extents", TreeNodes, v => v.Bytes[v.Records(ExtentsTree).Last() + 2] = 7, DamageBase.Fragmented),
        Of("used block marked free", Bitmap, v => v.FlipBit(v.U32(v.File("large") + 88 + 16))),
        Of("header's block marked free", Bitmap, v => v.FlipBit(0)),
        Of("last block marked free", Bitmap, v => v.FlipBit(v.TotalBlocks - 1)),
        Of("leaked block", Bitmap, v => v.FlipBit(v.FreeBlock())) with { Grade = ImageFindingGrade.Repairable },

        // AttributesTree
        Of("attribute longer than its record", Attributes, v =>
            v.Set32(v.Data(v.Attribute("user.odd", 0x10)) + 12, 5000)) with { IsSeenByFsck = false },
        Of("attribute cut short", Attributes, v => v.Set32(v.Data(v.Attribute("edge", 0x10)) + 12, 5)) with { IsSeenByFsck = false },
        Of("attribute of an unknown type", Attributes, v => v.Set32(v.Data(v.Attribute("user.odd", 0x10)), 0x40)),
        Of("attribute without owner", Attributes, v => v.Set32(v.Attribute("folder", 0x10) + 4, 0x00FF_FFFF)),
        Of("attribute that begins later", Attributes, v => v.Set32(v.Attribute("edge", 0x10) + 8, 1)),
        Of("attribute's blocks", ForkSizes, v => v.Set32(v.Data(v.Attribute("big", 0x20)) + 8 + 12, 1)),
        Of("attribute's size", ForkSizes, v => v.Set64(v.Data(v.Attribute("big", 0x20)) + 8, 1UL << 40)),
        Of("attribute's extents begin elsewhere", Attributes, v => v.Set32(v.Attribute("big", 0x30) + 8, 9), DamageBase.Fragmented),
        Of("attributes denied", AttributeFlags, v => v.Set16(v.File("attributes") + 2, 2)),
        Of("attributes claimed", AttributeFlags, v => v.Set16(v.File("small") + 2, 2 | 4)),
        Of("access control list claimed", AttributeFlags, v => v.Set16(v.File("small") + 2, 2 | 8)),

        // Journal
        OfJournal("journal signature", v => v.Bytes[v.Journal]++),
        OfJournal("journal checksum", v => v.Bytes[v.Journal + 36]++),
        OfJournal("journal header size", v => v.Bytes[v.Journal + 40]++),
        OfJournal("journal size in its header", v => v.Bytes[v.Journal + 26]++),
        OfJournal("journal begins in its header", v => v.Bytes.AsSpan(v.Journal + 8, 16).Clear()),
        OfJournal("journal size in the info block", v => v.Bytes[v.JournalInfo + 50]++),
        OfJournal("journal out of the volume", v => v.Set64(v.JournalInfo + 36, 1UL << 50)),
        OfJournal("journal elsewhere", v => v.Set64(v.JournalInfo + 36, (ulong)v.Journal + 4096)),
        OfJournal("no info block", v => v.SetBoth32(12, 0)),
        OfJournal("info block out of the volume", v => v.SetBoth32(12, uint.MaxValue)),
        OfJournal("file of the journal", v => v.Set64(v.File(".journal") + 88, 4096)) with { IsSeenByFsck = false },
        OfJournal("file of the info block", v =>
            Swap(v, v.File(".journal_info_block") + 88 + 16, v.File("block") + 88 + 16)) with { IsSeenByFsck = false },
    ];

    /// <summary>A damaged copy of the volume.</summary>
    public byte[] Make()
    {
        byte[] bytes = [.. BaseOf(Base)];
        Do(new EditableVolume(bytes));
        return bytes;
    }

    /// <summary>A sound volume.</summary>
    public static byte[] BaseOf(DamageBase which)
    {
        lock (Bases)
        {
            if (Bases.TryGetValue(which, out byte[]? known)) return known;
            TestTree tree = HfsPlusOracleTests.Oddities();
            for (int i = 0; i < 200; i++) tree.Add(TestTree.File($"file number {i}"));
            tree.Add(TestTree.File("zz"));
            tree.Add(TestTree.File("A\u00FC\u0308"));
            using SparseMemoryStorage storage = HfsPlusCheckerTests.Render(tree, VolumeFile.Options with
            {
                CaseSensitive = which == DamageBase.CaseSensitive, MaximumExtentBlocks = which == DamageBase.Fragmented ? 1u : 0u,
            });
            byte[] bytes = new byte[storage.Length];
            storage.Read(0, bytes);
            return Bases[which] = bytes;
        }
    }

    private static HfsPlusDamage Of(string name, string check, Action<EditableVolume> damage, DamageBase which = DamageBase.Ordinary) =>
        new(name, check, damage, which);

    private static HfsPlusDamage OfJournal(string name, Action<EditableVolume> damage) => new(name, Journal, damage, IsSeenByFsck: false);

    private static string LastNameOfALeaf(EditableVolume v)
    {
        for (int leaf = v.FirstLeaf(CatalogTree); ; leaf = v.NextLeaf(CatalogTree, leaf))
        {
            int record = v.Record(CatalogTree, leaf, v.U16(leaf + 10) - 1);
            if (v.NameOf(record).StartsWith("file number", StringComparison.Ordinal)) return v.NameOf(record);
        }
    }

    // In the entry and in its thread, so that nothing but the order is wrong.
    private static void Rename(EditableVolume v, string name, string other)
    {
        (int entry, int thread) = (v.Entry(name), v.Thread(name));
        byte[] units = Encoding.BigEndianUnicode.GetBytes(other);
        units.CopyTo(v.Bytes, entry + 8);
        units.CopyTo(v.Bytes, thread + 10);
    }

    private static int Inode(EditableVolume v, string link) => v.File("iNode" + v.U32(v.File(link) + 44));

    private static void Swap(EditableVolume v, int a, int b)
    {
        (uint first, uint second) = (v.U32(a), v.U32(b));
        v.Set32(a, second);
        v.Set32(b, first);
    }
}

/// <summary>The volumes that are damaged.</summary>
internal enum DamageBase
{
    Ordinary,
    CaseSensitive,
    Fragmented,
}
