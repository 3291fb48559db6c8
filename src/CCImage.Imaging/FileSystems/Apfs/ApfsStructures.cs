using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

// The fields of APFS structures that are read or written. Source: Apple File System Reference (2020-06-22). Every integer is little-endian;
// offsets are from the start of the structure, whose first 32 bytes are the object header.
namespace CCImage.FileSystems.Apfs;

/// <summary>Constants of the format.</summary>
internal static class ApfsConstants
{
    public const uint ContainerMagic = 0x4253584E; // 'NXSB'
    public const uint VolumeMagic = 0x42535041; // 'APSB'
    public const int MinimumBlockSize = 4096;
    public const int MaximumBlockSize = 65536;
    public const int MaximumVolumes = 100;

    /// <summary>The top bit of the lengths of the checkpoint areas: the area is not contiguous, its address is a B-tree's.</summary>
    public const uint IsScattered = 0x80000000;
    public const uint ObjectTypeMask = 0xFFFF;
    public const uint ObjectStorageMask = 0xC0000000;
    public const uint ObjectPhysical = 0x40000000;
    public const ulong OptionalFeatures = 3; // defragmentation, low-capacity Fusion: what is known
    public const ulong IncompatibleVersion2 = 2;
    public const ulong IncompatibleFusion = 0x100;
    public const ulong ContainerFlags = 7; // two reserved ones, software encryption: what is known
    public const uint SpaceManagerVersioned = 1;
    public const uint VersionedManagerSize = 0x9D8; // sm_struct_size

    /// <summary>The counts of a chunk are 20 bits wide; what is above them are flags.</summary>
    public const uint ChunkCountMask = 0x000FFFFF;

    /// <summary>A free slot that has no successor, and a slot that is not free, in the ring of the pool's bitmaps.</summary>
    public const ushort NoBitmapSlot = 0xFFFF;
    public const ulong VolumeUnencrypted = 1;

    /// <summary>What changes how names are looked up, not where: compared without regard to case, or to how a name is composed. Keys of
    /// entries hold a hash then.</summary>
    public const ulong VolumeHashesNames = 1 | 8;

    /// <summary>Nodes have hashes instead of headers, and files extents in a tree of their own.</summary>
    public const ulong VolumeIsSealed = 0x20;

    /// <summary>Some files are in another tree (of a volume that was on a Fusion drive).</summary>
    public const ulong VolumeHasSecondTree = 0x100;
    public const uint MapDeleted = 1;
    public const uint MapEncrypted = 4;
    public const uint MapNoHeader = 8;
    public const ushort NodeRoot = 1;
    public const ushort NodeLeaf = 2;
    public const ushort NodeFixedSize = 4;
    public const ushort NoValue = 0xFFFF;
    public const ulong AddressMask = 0x0FFF_FFFF_FFFF_FFFF;
    public const int TypeShift = 60;
    public const ulong KindNew = 1;
    public const ulong SnapshotMetadata = 1;
    public const ulong SnapshotName = 11;
}

/// <summary>Types of objects, the low half of <see cref="ApfsObjectHeader.Type"/>.</summary>
internal enum ApfsObjectType : uint
{
    ContainerSuperblock = 1,
    BTreeRoot = 2,
    BTreeNode = 3,
    SpaceManager = 5,
    ChunkInfoAddresses = 6,
    ChunkInfo = 7,
    ObjectMap = 11,
    CheckpointMap = 12,
    Volume = 13,
}

/// <summary><c>obj_phys_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct ApfsObjectHeader
{
    [FieldOffset(0)] public UInt64LE Checksum;
    [FieldOffset(8)] public UInt64LE ObjectId;
    [FieldOffset(16)] public UInt64LE TransactionId;
    [FieldOffset(24)] public UInt32LE Type;
    [FieldOffset(28)] public UInt32LE Subtype;
}

/// <summary><c>prange_t</c>: blocks.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct ApfsRange
{
    [FieldOffset(0)] public UInt64LE Start;
    [FieldOffset(8)] public UInt64LE Count;
}

/// <summary><c>uuid_t</c>.</summary>
[InlineArray(16)]
internal struct ApfsIdentifier
{
    private byte _element;
}

/// <summary>Object ids of the volumes of a container, 0 where there is none.</summary>
[InlineArray(ApfsConstants.MaximumVolumes)]
internal struct ApfsVolumeIds
{
    private UInt64LE _element;
}

/// <summary><c>nx_superblock_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 0x580)]
internal struct ApfsContainerSuperblock
{
    [FieldOffset(0)] public ApfsObjectHeader Object;
    [FieldOffset(0x20)] public UInt32LE Magic;
    [FieldOffset(0x24)] public UInt32LE BlockSize;
    [FieldOffset(0x28)] public UInt64LE BlockCount;
    [FieldOffset(0x30)] public UInt64LE Features;
    [FieldOffset(0x38)] public UInt64LE ReadOnlyFeatures;
    [FieldOffset(0x40)] public UInt64LE IncompatibleFeatures;
    [FieldOffset(0x48)] public ApfsIdentifier Identifier;
    [FieldOffset(0x60)] public UInt64LE NextTransactionId;
    [FieldOffset(0x68)] public UInt32LE DescriptorBlocks;
    [FieldOffset(0x6C)] public UInt32LE DataBlocks;
    [FieldOffset(0x70)] public UInt64LE DescriptorBase;
    [FieldOffset(0x78)] public UInt64LE DataBase;
    [FieldOffset(0x80)] public UInt32LE DescriptorNext;
    [FieldOffset(0x84)] public UInt32LE DataNext;
    [FieldOffset(0x88)] public UInt32LE DescriptorIndex;
    [FieldOffset(0x8C)] public UInt32LE DescriptorLength;
    [FieldOffset(0x90)] public UInt32LE DataIndex;
    [FieldOffset(0x94)] public UInt32LE DataLength;
    [FieldOffset(0x98)] public UInt64LE SpaceManagerId;
    [FieldOffset(0xA0)] public UInt64LE ObjectMapAddress;
    [FieldOffset(0xB0)] public UInt32LE TestType;
    [FieldOffset(0xB4)] public UInt32LE MostVolumes;
    [FieldOffset(0xB8)] public ApfsVolumeIds VolumeIds;
    [FieldOffset(0x4D8)] public ApfsRange BlockedOut;
    [FieldOffset(0x4E8)] public UInt64LE EvictionTreeId;
    [FieldOffset(0x4F0)] public UInt64LE Flags;
    [FieldOffset(0x4F8)] public UInt64LE EfiJumpstart;
    [FieldOffset(0x510)] public ApfsRange KeyLocker;
    [FieldOffset(0x520)] public UInt64LE EphemeralInfo;
    [FieldOffset(0x540)] public UInt64LE TestId;
    [FieldOffset(0x570)] public ApfsRange MediaKeyLocker;
}

/// <summary><c>checkpoint_map_phys_t</c> without its mappings.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct ApfsCheckpointMap
{
    [FieldOffset(0)] public ApfsObjectHeader Object;
    [FieldOffset(36)] public UInt32LE Count;
}

/// <summary><c>checkpoint_mapping_t</c>: where an ephemeral object lies.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct ApfsCheckpointMapping
{
    [FieldOffset(0)] public UInt32LE Type;
    [FieldOffset(8)] public UInt32LE Size;
    [FieldOffset(24)] public UInt64LE ObjectId;
    [FieldOffset(32)] public UInt64LE Address;
}

/// <summary><c>spaceman_device_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct ApfsSpaceDevice
{
    [FieldOffset(0)] public UInt64LE BlockCount;
    [FieldOffset(8)] public UInt64LE ChunkCount;
    [FieldOffset(16)] public UInt32LE ChunkInfoBlocks;
    [FieldOffset(20)] public UInt32LE AddressBlocks;
    [FieldOffset(24)] public UInt64LE FreeCount;
    [FieldOffset(32)] public UInt32LE AddressOffset;
}

/// <summary><c>spaceman_free_queue_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct ApfsFreeQueue
{
    [FieldOffset(0)] public UInt64LE Count;
    [FieldOffset(8)] public UInt64LE TreeId;
    [FieldOffset(16)] public UInt64LE OldestTransactionId;
    [FieldOffset(24)] public UInt16LE MostNodes;
}

/// <summary><c>spaceman_free_queue_key_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct ApfsFreeQueueKey
{
    [FieldOffset(0)] public UInt64LE TransactionId;
    [FieldOffset(8)] public UInt64LE Address;
}

/// <summary><c>spaceman_phys_t</c> up to where the versioned one differs.</summary>
[StructLayout(LayoutKind.Explicit, Size = 0x150)]
internal struct ApfsSpaceManager
{
    [FieldOffset(0)] public ApfsObjectHeader Object;
    [FieldOffset(0x20)] public UInt32LE BlockSize;
    [FieldOffset(0x24)] public UInt32LE BlocksPerChunk;
    [FieldOffset(0x28)] public UInt32LE ChunksPerInfoBlock;
    [FieldOffset(0x2C)] public UInt32LE InfoBlocksPerAddressBlock;
    [FieldOffset(0x30)] public ApfsSpaceDevice Main;
    [FieldOffset(0x60)] public ApfsSpaceDevice Second;
    [FieldOffset(0x90)] public UInt32LE Flags;
    [FieldOffset(0x98)] public UInt64LE PoolBlocks;
    [FieldOffset(0xA0)] public UInt32LE PoolBitmapSize;
    [FieldOffset(0xA4)] public UInt32LE PoolBitmapBlocks;
    [FieldOffset(0xA8)] public UInt64LE PoolBitmapBase;
    [FieldOffset(0xB0)] public UInt64LE PoolBase;
    [FieldOffset(0xC8)] public ApfsFreeQueue PoolQueue;
    [FieldOffset(0xF0)] public ApfsFreeQueue MainQueue;
    [FieldOffset(0x140)] public UInt16LE PoolBitmapFirstFree;
    [FieldOffset(0x142)] public UInt16LE PoolBitmapLastFree;
    [FieldOffset(0x144)] public UInt32LE PoolBitmapTransactionsOffset;
    [FieldOffset(0x148)] public UInt32LE PoolBitmapSlotsOffset;
    [FieldOffset(0x14C)] public UInt32LE PoolBitmapNextOffset;
}

/// <summary><c>spaceman_allocation_zone_boundaries_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct ApfsZoneBounds
{
    [FieldOffset(0)] public UInt64LE Start;
    [FieldOffset(8)] public UInt64LE End;
}

/// <summary><c>chunk_info_block_t</c> and <c>cib_addr_block_t</c> without their entries.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct ApfsSpaceIndex
{
    [FieldOffset(0)] public ApfsObjectHeader Object;
    [FieldOffset(32)] public UInt32LE Index;
    [FieldOffset(36)] public UInt32LE Count;
}

/// <summary><c>chunk_info_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct ApfsChunkInfo
{
    [FieldOffset(0)] public UInt64LE TransactionId;
    [FieldOffset(8)] public UInt64LE Address;
    [FieldOffset(16)] public UInt32LE BlockCount;
    [FieldOffset(20)] public UInt32LE FreeCount;
    [FieldOffset(24)] public UInt64LE BitmapAddress;
}

/// <summary><c>omap_phys_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 0x58)]
internal struct ApfsObjectMapHeader
{
    [FieldOffset(0)] public ApfsObjectHeader Object;
    [FieldOffset(0x24)] public UInt32LE SnapshotCount;
    [FieldOffset(0x30)] public UInt64LE TreeAddress;
    [FieldOffset(0x38)] public UInt64LE SnapshotTreeAddress;
}

/// <summary><c>omap_key_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct ApfsObjectMapKey
{
    [FieldOffset(0)] public UInt64LE ObjectId;
    [FieldOffset(8)] public UInt64LE TransactionId;
}

/// <summary><c>omap_val_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct ApfsObjectMapValue
{
    [FieldOffset(0)] public UInt32LE Flags;
    [FieldOffset(4)] public UInt32LE Size;
    [FieldOffset(8)] public UInt64LE Address;
}

/// <summary><c>btree_node_phys_t</c> without its data.</summary>
[StructLayout(LayoutKind.Explicit, Size = 56)]
internal struct ApfsNodeHeader
{
    [FieldOffset(0)] public ApfsObjectHeader Object;
    [FieldOffset(32)] public UInt16LE Flags;
    [FieldOffset(34)] public UInt16LE Level;
    [FieldOffset(36)] public UInt32LE Count;
    [FieldOffset(40)] public UInt16LE TableOffset;
    [FieldOffset(42)] public UInt16LE TableLength;
    [FieldOffset(44)] public ApfsNodeSpace Free;
    [FieldOffset(48)] public ApfsNodeSpace FreeKeys;
    [FieldOffset(52)] public ApfsNodeSpace FreeValues;
}

/// <summary><c>nloc_t</c>: a place in a node, or the first of a list of freed places.</summary>
[StructLayout(LayoutKind.Explicit, Size = 4)]
internal struct ApfsNodeSpace
{
    [FieldOffset(0)] public UInt16LE Offset;
    [FieldOffset(2)] public UInt16LE Length;
}

/// <summary><c>btree_info_t</c>, at the end of a root.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct ApfsTreeInfo
{
    [FieldOffset(4)] public UInt32LE NodeSize;
    [FieldOffset(8)] public UInt32LE KeySize;
    [FieldOffset(12)] public UInt32LE ValueSize;
    [FieldOffset(20)] public UInt32LE LongestValue;
    [FieldOffset(24)] public UInt64LE KeyCount;
    [FieldOffset(32)] public UInt64LE NodeCount;
}

/// <summary>UTF-8, ended by a zero.</summary>
[InlineArray(256)]
internal struct ApfsVolumeName
{
    private byte _element;
}

/// <summary><c>apfs_superblock_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 0x3C0)]
internal struct ApfsVolumeSuperblock
{
    [FieldOffset(0)] public ApfsObjectHeader Object;
    [FieldOffset(0x20)] public UInt32LE Magic;
    [FieldOffset(0x30)] public UInt64LE ReadOnlyFeatures;
    [FieldOffset(0x38)] public UInt64LE IncompatibleFeatures;
    [FieldOffset(0x58)] public UInt64LE AllocatedBlocks;
    [FieldOffset(0x74)] public UInt32LE RootTreeType;
    [FieldOffset(0x78)] public UInt32LE ExtentTreeType;
    [FieldOffset(0x7C)] public UInt32LE SnapshotTreeType;
    [FieldOffset(0x80)] public UInt64LE ObjectMapAddress;
    [FieldOffset(0x88)] public UInt64LE RootTreeId;
    [FieldOffset(0x90)] public UInt64LE ExtentTreeId;
    [FieldOffset(0x98)] public UInt64LE SnapshotTreeId;
    [FieldOffset(0xB8)] public UInt64LE FileCount;
    [FieldOffset(0xC0)] public UInt64LE FolderCount;
    [FieldOffset(0xD8)] public UInt64LE SnapshotCount;
    [FieldOffset(0xF0)] public ApfsIdentifier Identifier;
    [FieldOffset(0x108)] public UInt64LE Flags;
    [FieldOffset(0x2C0)] public ApfsVolumeName Name;
}

/// <summary><c>j_snap_metadata_val_t</c> without its name.</summary>
[StructLayout(LayoutKind.Explicit, Size = 50)]
internal struct ApfsSnapshotMetadata
{
    [FieldOffset(0)] public UInt64LE ExtentTreeId;
    [FieldOffset(8)] public UInt64LE SuperblockAddress;
    [FieldOffset(40)] public UInt32LE ExtentTreeType;
}
