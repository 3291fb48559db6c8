using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.FileSystems.Apfs;

namespace CCImage.Tests.FileSystems;

/// <summary>
/// Sizes and offsets of every structure on disk, by the Apple File System Reference; compared with what a C compiler makes of the
/// structures of apfsprogs (<c>raw.h</c>). Only fields that are used have a name here, so a structure may be shorter than Apple's.
/// </summary>
public sealed class ApfsLayoutTests
{
    [Fact]
    public void Objects_and_ranges()
    {
        Check<ApfsObjectHeader>(0x20, ("Checksum", 0), ("ObjectId", 8), ("TransactionId", 0x10), ("Type", 0x18), ("Subtype", 0x1C));
        Check<ApfsRange>(0x10, ("Start", 0), ("Count", 8));
    }

    [Fact]
    public void Container_superblock() => Check<ApfsContainerSuperblock>(0x580,
        ("Object", 0), ("Magic", 0x20), ("BlockSize", 0x24), ("BlockCount", 0x28), ("Features", 0x30), ("ReadOnlyFeatures", 0x38),
        ("IncompatibleFeatures", 0x40), ("Identifier", 0x48), ("NextTransactionId", 0x60), ("DescriptorBlocks", 0x68), ("DataBlocks", 0x6C),
        ("DescriptorBase", 0x70), ("DataBase", 0x78), ("DescriptorNext", 0x80), ("DataNext", 0x84), ("DescriptorIndex", 0x88),
        ("DescriptorLength", 0x8C),
        ("DataIndex", 0x90), ("DataLength", 0x94), ("SpaceManagerId", 0x98), ("ObjectMapAddress", 0xA0), ("TestType", 0xB0),
        ("MostVolumes", 0xB4),
        ("VolumeIds", 0xB8), ("BlockedOut", 0x4D8), ("EvictionTreeId", 0x4E8), ("Flags", 0x4F0), ("EfiJumpstart", 0x4F8),
        ("KeyLocker", 0x510),
        ("EphemeralInfo", 0x520), ("TestId", 0x540), ("MediaKeyLocker", 0x570));

    [Fact]
    public void Checkpoints()
    {
        Check<ApfsCheckpointMap>(0x28, ("Object", 0), ("Count", 0x24));
        Check<ApfsCheckpointMapping>(0x28, ("Type", 0), ("Size", 8), ("ObjectId", 0x18), ("Address", 0x20));
    }

    [Fact]
    public void Space_manager()
    {
        Check<ApfsSpaceDevice>(0x30, ("BlockCount", 0), ("ChunkCount", 8), ("ChunkInfoBlocks", 0x10), ("AddressBlocks", 0x14),
            ("FreeCount", 0x18), ("AddressOffset", 0x20));
        Check<ApfsFreeQueue>(0x28, ("Count", 0), ("TreeId", 8), ("OldestTransactionId", 0x10), ("MostNodes", 0x18));
        Check<ApfsFreeQueueKey>(0x10, ("TransactionId", 0), ("Address", 8));
        Check<ApfsSpaceManager>(0x150, ("Object", 0), ("BlockSize", 0x20), ("BlocksPerChunk", 0x24), ("ChunksPerInfoBlock", 0x28),
            ("InfoBlocksPerAddressBlock", 0x2C),
            ("Main", 0x30), ("Second", 0x60), ("Flags", 0x90), ("PoolBlocks", 0x98), ("PoolBitmapSize", 0xA0), ("PoolBitmapBlocks", 0xA4),
            ("PoolBitmapBase", 0xA8),
            ("PoolBase", 0xB0), ("PoolQueue", 0xC8), ("MainQueue", 0xF0), ("PoolBitmapFirstFree", 0x140), ("PoolBitmapLastFree", 0x142),
            ("PoolBitmapTransactionsOffset", 0x144), ("PoolBitmapSlotsOffset", 0x148), ("PoolBitmapNextOffset", 0x14C));
        Check<ApfsZoneBounds>(0x10, ("Start", 0), ("End", 8));
        Check<ApfsSpaceIndex>(0x28, ("Object", 0), ("Index", 0x20), ("Count", 0x24));
        Check<ApfsChunkInfo>(
            0x20, ("TransactionId", 0), ("Address", 8), ("BlockCount", 0x10), ("FreeCount", 0x14), ("BitmapAddress", 0x18));
    }

    [Fact]
    public void Object_maps_and_trees()
    {
        Check<ApfsObjectMapHeader>(0x58, ("Object", 0), ("SnapshotCount", 0x24), ("TreeAddress", 0x30), ("SnapshotTreeAddress", 0x38));
        Check<ApfsObjectMapKey>(0x10, ("ObjectId", 0), ("TransactionId", 8));
        Check<ApfsObjectMapValue>(0x10, ("Flags", 0), ("Size", 4), ("Address", 8));
        Check<ApfsSnapshotMetadata>(50, ("ExtentTreeId", 0), ("SuperblockAddress", 8), ("ExtentTreeType", 40));
        Check<ApfsNodeHeader>(
            0x38, ("Object", 0), ("Flags", 0x20), ("Level", 0x22), ("Count", 0x24), ("TableOffset", 0x28), ("TableLength", 0x2A),
            ("Free", 0x2C), ("FreeKeys", 0x30), ("FreeValues", 0x34));
        Check<ApfsNodeSpace>(4, ("Offset", 0), ("Length", 2));
        Check<ApfsTreeInfo>(
            0x28, ("NodeSize", 4), ("KeySize", 8), ("ValueSize", 0xC), ("LongestValue", 0x14), ("KeyCount", 0x18), ("NodeCount", 0x20));
    }

    [Fact]
    public void Volume_superblock() => Check<ApfsVolumeSuperblock>(0x3C0,
        ("Object", 0), ("Magic", 0x20), ("ReadOnlyFeatures", 0x30), ("IncompatibleFeatures", 0x38), ("AllocatedBlocks", 0x58),
        ("RootTreeType", 0x74), ("ExtentTreeType", 0x78), ("SnapshotTreeType", 0x7C), ("ObjectMapAddress", 0x80),
        ("RootTreeId", 0x88), ("ExtentTreeId", 0x90), ("SnapshotTreeId", 0x98), ("FileCount", 0xB8), ("FolderCount", 0xC0),
        ("SnapshotCount", 0xD8), ("Identifier", 0xF0), ("Flags", 0x108), ("Name", 0x2C0));

    [Fact]
    public void Records_of_files()
    {
        Check<ApfsInode>(
            92, ("ParentId", 0), ("StreamId", 8), ("CreateTime", 16), ("ModifyTime", 24), ("ChangeTime", 32), ("AccessTime", 40),
            ("BsdFlags", 68), ("OwnerId", 72), ("GroupId", 76), ("Mode", 80));
        Check<ApfsExtendedField>(4, ("Type", 0), ("Size", 2));
        Check<ApfsStream>(40, ("Size", 0));
        Check<ApfsAttributeStream>(48, ("StreamId", 0), ("Stream", 8));
        Check<ApfsFileExtent>(24, ("Length", 0), ("Address", 8));
        Check<ApfsAttributeValue>(4, ("Flags", 0), ("Length", 2));
    }

    private static void Check<T>(int size, params (string Field, int Offset)[] fields)
        where T : unmanaged
    {
        Assert.Equal(size, Unsafe.SizeOf<T>());
        Assert.Equal(fields.Select(f => f.Field).Order(), typeof(T).GetFields().Select(f => f.Name).Order()); // none is forgotten
        foreach ((string field, int offset) in fields) Assert.Equal(offset, (int)Marshal.OffsetOf<T>(field));
    }
}
