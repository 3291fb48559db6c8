using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.FileSystems.HfsPlus;

namespace CCImage.Tests.HfsPlus;

/// <summary>Sizes and offsets of every structure on disk, by TN1150 and Apple's hfs_format.h.</summary>
public class HfsPlusLayoutTests
{
    [Fact]
    public void Volume_header() => Check<VolumeHeader>(0x200,
        ("Signature", 0), ("Version", 2), ("Attributes", 4), ("LastMountedVersion", 8), ("JournalInfoBlock", 0xC), ("CreateDate", 0x10),
        ("ModifyDate", 0x14),
        ("BackupDate", 0x18), ("CheckedDate", 0x1C), ("FileCount", 0x20), ("FolderCount", 0x24), ("BlockSize", 0x28), ("TotalBlocks", 0x2C),
        ("FreeBlocks", 0x30),
        ("NextAllocation", 0x34), ("ResourceClumpSize", 0x38), ("DataClumpSize", 0x3C), ("NextCatalogId", 0x40), ("WriteCount", 0x44),
        ("EncodingsBitmap", 0x48),
        ("FinderInfo", 0x50), ("AllocationFile", 0x70), ("ExtentsFile", 0xC0), ("CatalogFile", 0x110), ("AttributesFile", 0x160),
        ("StartupFile", 0x1B0));

    [Fact]
    public void Forks_and_extents()
    {
        Check<ExtentDescriptor>(8, ("StartBlock", 0), ("BlockCount", 4));
        Check<ExtentRecord>(0x40);
        Check<ForkData>(0x50, ("LogicalSize", 0), ("ClumpSize", 8), ("TotalBlocks", 0xC), ("Extents", 0x10));
    }

    [Fact]
    public void Tree_nodes()
    {
        Check<NodeDescriptor>(
            0xE, ("ForwardLink", 0), ("BackwardLink", 4), ("Kind", 8), ("Height", 9), ("RecordCount", 0xA), ("Reserved", 0xC));
        Check<BTreeHeader>(
            0x6A, ("TreeDepth", 0), ("RootNode", 2), ("LeafRecords", 6), ("FirstLeafNode", 0xA), ("LastLeafNode", 0xE), ("NodeSize", 0x12),
            ("MaximumKeyLength", 0x14), ("TotalNodes", 0x16), ("FreeNodes", 0x1A), ("Reserved1", 0x1E), ("ClumpSize", 0x20),
            ("TreeType", 0x24),
            ("KeyCompareType", 0x25), ("Attributes", 0x26), ("Reserved2", 0x2A));
    }

    [Fact]
    public void Catalog()
    {
        Check<CatalogKey>(8, ("KeyLength", 0), ("ParentId", 2), ("NameLength", 6));
        Check<CatalogThread>(0xA, ("RecordType", 0), ("Reserved", 2), ("ParentId", 4), ("NameLength", 8));
        Check<BsdInfo>(0x10, ("OwnerId", 0), ("GroupId", 4), ("AdminFlags", 8), ("OwnerFlags", 9), ("FileMode", 0xA), ("Special", 0xC));
        Check<CatalogFolder>(
            0x58, ("RecordType", 0), ("Flags", 2), ("Valence", 4), ("FolderId", 8), ("CreateDate", 0xC), ("ContentModifyDate", 0x10),
            ("AttributeModifyDate", 0x14), ("AccessDate", 0x18), ("BackupDate", 0x1C), ("Permissions", 0x20), ("FinderInfo", 0x30),
            ("TextEncoding", 0x50), ("FolderCount", 0x54));
        Check<CatalogFile>(
            0xF8, ("RecordType", 0), ("Flags", 2), ("Reserved1", 4), ("FileId", 8), ("CreateDate", 0xC), ("ContentModifyDate", 0x10),
            ("AttributeModifyDate", 0x14), ("AccessDate", 0x18), ("BackupDate", 0x1C), ("Permissions", 0x20), ("FinderInfo", 0x30),
            ("TextEncoding", 0x50),
            ("Reserved2", 0x54), ("DataFork", 0x58), ("ResourceFork", 0xA8));
    }

    [Fact]
    public void Extents_and_attributes()
    {
        Check<ExtentKey>(0xC, ("KeyLength", 0), ("ForkType", 2), ("Pad", 3), ("FileId", 4), ("StartBlock", 8));
        Check<AttributeKey>(0xE, ("KeyLength", 0), ("Pad", 2), ("FileId", 4), ("StartBlock", 8), ("NameLength", 0xC));
        Check<AttributeInlineData>(0x10, ("RecordType", 0), ("Reserved1", 4), ("Reserved2", 8), ("Size", 0xC));
        Check<AttributeForkData>(0x58, ("RecordType", 0), ("Reserved", 4), ("Fork", 8));
        Check<AttributeExtents>(0x48, ("RecordType", 0), ("Reserved", 4), ("Extents", 8));
    }

    [Fact]
    public void Journal()
    {
        Check<JournalInfoBlock>(0xB4, ("Flags", 0), ("DeviceSignature", 4), ("Offset", 0x24), ("Size", 0x2C), ("Reserved", 0x34));
        Check<JournalHeader>(0x30, ("Magic", 0), ("Endian", 4), ("Start", 8), ("End", 0x10), ("Size", 0x18), ("BlockListHeaderSize", 0x20),
            ("Checksum", 0x24),
            ("HeaderSize", 0x28), ("SequenceNumber", 0x2C));
    }

    // Bytes 0..43 of a journal header that macOS wrote, with its checksum as stored.
    [Fact]
    public void The_journals_checksum_is_that_of_macOS()
    {
        byte[] header =
            Convert.FromHexString("784c4e4a785634120008030000000000000803000000000000000800000000000020000000000000" + "00020000");
        Assert.Equal(0x0882_A54Fu, JournalHeader.ComputeChecksum(header));
    }

    private static void Check<T>(int size, params (string Field, int Offset)[] fields)
        where T : unmanaged
    {
        Assert.Equal(size, Unsafe.SizeOf<T>());
        foreach ((string field, int offset) in fields) Assert.Equal(offset, (int)Marshal.OffsetOf<T>(field));
    }
}
