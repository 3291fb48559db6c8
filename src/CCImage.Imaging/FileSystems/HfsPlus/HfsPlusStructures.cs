using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

// On-disk structures of HFS Plus. Source: Apple Technical Note TN1150 and the names of Apple's public hfs_format.h.
// Every integer is big-endian. Field order is disk order; the layout tests pin sizes and offsets.
namespace CCImage.FileSystems.HfsPlus;

/// <summary>Reserved catalog node ids.</summary>
internal static class CatalogNodeId
{
    public const uint RootParent = 1;
    public const uint RootFolder = 2;
    public const uint ExtentsFile = 3;
    public const uint CatalogFile = 4;
    public const uint BadBlockFile = 5;
    public const uint AllocationFile = 6;
    public const uint StartupFile = 7;
    public const uint AttributesFile = 8;
    public const uint RepairCatalogFile = 14;
    public const uint BogusExtentFile = 15;
    public const uint FirstUser = 16;
}

/// <summary>Constants of the volume.</summary>
internal static class HfsPlusConstants
{
    /// <summary>Offset of the volume header from the start of the volume, in bytes; the alternate one is as far from the end.</summary>
    public const int VolumeHeaderOffset = 1024;
    public const int VolumeHeaderSize = 512;
    public const ushort SignatureHfsPlus = 0x482B; // 'H+'
    public const ushort SignatureHfsx = 0x4858; // 'HX'
    public const ushort SignatureHfs = 0x4244; // 'BD': classic HFS, or the wrapper around an HFS+ volume
    public const ushort VersionHfsPlus = 4;
    public const ushort VersionHfsx = 5;

    /// <summary>Seconds from 1904-01-01 to 1970-01-01, both UTC.</summary>
    public const long EpochOffsetSeconds = 2_082_844_800;

    public const byte KeyCompareCaseFolding = 0xCF;
    public const byte KeyCompareBinary = 0xBC;
    public const int MaximumNameLength = 255; // UTF-16 units
    public const int ExtentsPerRecord = 8;

    public const string PrivateDataFolderName = "\0\0\0\0HFS+ Private Data";
    public const string DirectoryLinksFolderName = ".HFS+ Private Directory Data\r";
    public const string InodePrefix = "iNode";
    public const string DirectoryInodePrefix = "dir_";

    public const uint HardLinkFileType = 0x686C6E6B; // 'hlnk'
    public const uint HfsPlusCreator = 0x6866732B; // 'hfs+'
    public const uint SymlinkFileType = 0x736C6E6B; // 'slnk'
    public const uint SymlinkCreator = 0x72686170; // 'rhap'
    public const uint DirectoryAliasFileType = 0x66647270; // 'fdrp'
    public const uint DirectoryAliasCreator = 0x4D414353; // 'MACS'
}

/// <summary>Bits of <see cref="VolumeHeader.Attributes"/>.</summary>
[Flags]
internal enum VolumeAttributes : uint
{
    None = 0,
    HardwareLock = 1 << 7,
    Unmounted = 1 << 8,
    SparedBlocks = 1 << 9,
    NoCacheRequired = 1 << 10,
    BootVolumeInconsistent = 1 << 11,
    CatalogNodeIdsReused = 1 << 12,
    Journaled = 1 << 13,
    Inconsistent = 1 << 14,
    SoftwareLock = 1 << 15,
    ContentProtection = 1 << 30,
    UnusedNodeFix = 1u << 31,
}

/// <summary>Record types of the catalog.</summary>
internal enum CatalogRecordType : ushort
{
    Folder = 1,
    File = 2,
    FolderThread = 3,
    FileThread = 4,
}

/// <summary>Bits of the <c>flags</c> field of catalog files and folders.</summary>
[Flags]
internal enum CatalogRecordFlags : ushort
{
    None = 0,
    FileLocked = 1 << 0,
    ThreadExists = 1 << 1,
    HasAttributes = 1 << 2,
    HasSecurity = 1 << 3,
    HasFolderCount = 1 << 4,
    HasLinkChain = 1 << 5,
    HasChildLink = 1 << 6,
    HasDateAdded = 1 << 7,
    FastDevicePinned = 1 << 8,
    DoNotFastDevicePin = 1 << 9,
    FastDeviceCandidate = 1 << 10,
    AutoCandidate = 1 << 11,
}

/// <summary>A run of allocation blocks.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ExtentDescriptor
{
    public UInt32BE StartBlock;
    public UInt32BE BlockCount;
}

/// <summary>Eight runs: what a fork or an overflow record holds.</summary>
[InlineArray(HfsPlusConstants.ExtentsPerRecord)]
internal struct ExtentRecord
{
    private ExtentDescriptor _first;
}

/// <summary>A fork's size and first eight extents (80 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ForkData
{
    /// <summary>Bytes.</summary>
    public UInt64BE LogicalSize;

    /// <summary>Bytes; in the volume header's special files the clump to grow by, in catalog records the blocks read (hot files).</summary>
    public UInt32BE ClumpSize;

    /// <summary>Allocation blocks, all extents together.</summary>
    public UInt32BE TotalBlocks;

    public ExtentRecord Extents;
}

/// <summary>Eight 32-bit words: the volume's Finder info.</summary>
[InlineArray(8)]
internal struct VolumeFinderInfo
{
    private UInt32BE _first;
}

/// <summary>The volume header (512 bytes at byte 1024, and again 1024 bytes before the end).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct VolumeHeader
{
    public UInt16BE Signature;
    public UInt16BE Version;

    /// <summary><see cref="VolumeAttributes"/>.</summary>
    public UInt32BE Attributes;

    /// <summary>Four characters of the last implementation to mount it: '10.0', 'HFSJ', 'fsck'.</summary>
    public UInt32BE LastMountedVersion;

    /// <summary>Allocation block of the journal info block; 0 when not journaled.</summary>
    public UInt32BE JournalInfoBlock;

    /// <summary>Seconds since 1904 in *local* time, by tradition.</summary>
    public UInt32BE CreateDate;

    public UInt32BE ModifyDate;
    public UInt32BE BackupDate;
    public UInt32BE CheckedDate;
    public UInt32BE FileCount;

    /// <summary>Folders, the root not counted.</summary>
    public UInt32BE FolderCount;

    /// <summary>Bytes in an allocation block.</summary>
    public UInt32BE BlockSize;

    public UInt32BE TotalBlocks;
    public UInt32BE FreeBlocks;
    public UInt32BE NextAllocation;
    public UInt32BE ResourceClumpSize;
    public UInt32BE DataClumpSize;
    public UInt32BE NextCatalogId;
    public UInt32BE WriteCount;
    public UInt64BE EncodingsBitmap;
    public VolumeFinderInfo FinderInfo;
    public ForkData AllocationFile;
    public ForkData ExtentsFile;
    public ForkData CatalogFile;
    public ForkData AttributesFile;
    public ForkData StartupFile;
}

/// <summary>Kinds of B-tree node.</summary>
internal enum NodeKind : sbyte
{
    Leaf = -1,
    Index = 0,
    Header = 1,
    Map = 2,
}

/// <summary>The first 14 bytes of every B-tree node.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct NodeDescriptor
{
    /// <summary>Number of the next node of this level; 0 for none.</summary>
    public UInt32BE ForwardLink;

    public UInt32BE BackwardLink;
    public NodeKind Kind;

    /// <summary>1 for leaves, 0 for header and map nodes.</summary>
    public byte Height;

    public UInt16BE RecordCount;
    public UInt16BE Reserved;
}

/// <summary>The first record of a B-tree's header node (106 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct BTreeHeader
{
    /// <summary>kBTReservedBTreeType.</summary>
    public const byte ReservedType = 255;

    public UInt16BE TreeDepth;
    public UInt32BE RootNode;
    public UInt32BE LeafRecords;
    public UInt32BE FirstLeafNode;
    public UInt32BE LastLeafNode;
    public UInt16BE NodeSize;
    public UInt16BE MaximumKeyLength;
    public UInt32BE TotalNodes;
    public UInt32BE FreeNodes;
    public UInt16BE Reserved1;
    public UInt32BE ClumpSize;

    /// <summary>0 for the file system's own trees.</summary>
    public byte TreeType;

    /// <summary><see cref="HfsPlusConstants.KeyCompareCaseFolding"/> or <see cref="HfsPlusConstants.KeyCompareBinary"/>; HFSX catalogs
    /// only.</summary>
    public byte KeyCompareType;

    /// <summary>Bit 1: big keys; bit 2: variable index keys.</summary>
    public UInt32BE Attributes;

    public Reserved64 Reserved2;
}

/// <summary>Sixty-four reserved bytes.</summary>
[InlineArray(64)]
internal struct Reserved64
{
    private byte _first;
}

/// <summary>Owner, group, mode and flags of a file or folder (16 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct BsdInfo
{
    public UInt32BE OwnerId;
    public UInt32BE GroupId;

    /// <summary>SF_ flags, shifted down by 16.</summary>
    public byte AdminFlags;

    /// <summary>UF_ flags.</summary>
    public byte OwnerFlags;

    /// <summary>File type and permissions.</summary>
    public UInt16BE FileMode;

    /// <summary>Inode number of a hard link, link count of an indirect node, or device number.</summary>
    public UInt32BE Special;
}

/// <summary>Thirty-two bytes of Finder info.</summary>
[InlineArray(32)]
internal struct FinderInfo32
{
    private byte _first;
}

/// <summary>A catalog folder record (88 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct CatalogFolder
{
    public UInt16BE RecordType;
    public UInt16BE Flags;

    /// <summary>Entries in the folder.</summary>
    public UInt32BE Valence;

    public UInt32BE FolderId;
    public UInt32BE CreateDate;
    public UInt32BE ContentModifyDate;
    public UInt32BE AttributeModifyDate;
    public UInt32BE AccessDate;
    public UInt32BE BackupDate;
    public BsdInfo Permissions;
    public FinderInfo32 FinderInfo;
    public UInt32BE TextEncoding;

    /// <summary>Folders in the folder; kept where <see cref="CatalogRecordFlags.HasFolderCount"/> says so (always on HFSX).</summary>
    public UInt32BE FolderCount;
}

/// <summary>A catalog file record (248 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct CatalogFile
{
    public UInt16BE RecordType;
    public UInt16BE Flags;

    /// <summary>In a hard link: catalog id of the previous link of the chain is kept in the inode; here reserved.</summary>
    public UInt32BE Reserved1;

    public UInt32BE FileId;
    public UInt32BE CreateDate;
    public UInt32BE ContentModifyDate;
    public UInt32BE AttributeModifyDate;
    public UInt32BE AccessDate;
    public UInt32BE BackupDate;
    public BsdInfo Permissions;
    public FinderInfo32 FinderInfo;
    public UInt32BE TextEncoding;
    public UInt32BE Reserved2;
    public ForkData DataFork;
    public ForkData ResourceFork;
}

/// <summary>The fixed part of a thread record (10 bytes); the name's UTF-16 units follow.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct CatalogThread
{
    public UInt16BE RecordType;
    public UInt16BE Reserved;
    public UInt32BE ParentId;
    public UInt16BE NameLength;
}

/// <summary>The fixed part of a catalog key (8 bytes); the name's UTF-16 units follow.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct CatalogKey
{
    /// <summary>Bytes of the key behind this field.</summary>
    public UInt16BE KeyLength;

    public UInt32BE ParentId;
    public UInt16BE NameLength;
}

/// <summary>A key of the extents-overflow file (12 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ExtentKey
{
    /// <summary>Always 10.</summary>
    public UInt16BE KeyLength;

    /// <summary>0 data, 0xFF resource.</summary>
    public byte ForkType;

    public byte Pad;
    public UInt32BE FileId;

    /// <summary>First block of the record, counted within the fork.</summary>
    public UInt32BE StartBlock;
}

/// <summary>The fixed part of a key of the attributes file (14 bytes); the name's UTF-16 units follow.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AttributeKey
{
    public UInt16BE KeyLength;
    public UInt16BE Pad;
    public UInt32BE FileId;
    public UInt32BE StartBlock;

    /// <summary>At most 127 units.</summary>
    public UInt16BE NameLength;
}

/// <summary>Record types of the attributes file.</summary>
internal enum AttributeRecordType : uint
{
    InlineData = 0x10,
    ForkData = 0x20,
    Extents = 0x30,
}

/// <summary>The fixed part of an inline attribute (16 bytes); the value follows.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AttributeInlineData
{
    public UInt32BE RecordType;
    public UInt32BE Reserved1;
    public UInt32BE Reserved2;
    public UInt32BE Size;
}

/// <summary>An attribute with a fork of its own (88 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AttributeForkData
{
    public UInt32BE RecordType;
    public UInt32BE Reserved;
    public ForkData Fork;
}

/// <summary>Further extents of such an attribute (72 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct AttributeExtents
{
    public UInt32BE RecordType;
    public UInt32BE Reserved;
    public ExtentRecord Extents;
}

/// <summary>The journal info block (180 bytes used of an allocation block).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct JournalInfoBlock
{
    /// <summary>Bit 0: journal lies in this volume; bit 2: needs initialising.</summary>
    public UInt32BE Flags;

    /// <summary>Eight words of device signature; zero for a journal in the volume.</summary>
    public VolumeFinderInfo DeviceSignature;

    /// <summary>Bytes from the start of the volume.</summary>
    public UInt64BE Offset;

    /// <summary>Bytes, journal header included.</summary>
    public UInt64BE Size;

    public JournalReserved Reserved;
}

/// <summary>Thirty-two reserved words.</summary>
[InlineArray(32)]
internal struct JournalReserved
{
    private UInt32BE _first;
}
