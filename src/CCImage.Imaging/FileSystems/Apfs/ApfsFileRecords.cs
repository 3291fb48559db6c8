using System.Runtime.InteropServices;
using CCImage.Binary;

// Records of the tree of a volume's files. Source: Apple File System Reference (2020-06-22), "File-System Objects", "File-System
// Constants", "Data Streams", "Extended Fields".
namespace CCImage.FileSystems.Apfs;

/// <summary>Constants of the records.</summary>
internal static class ApfsFileConstants
{
    /// <summary>ROOT_DIR_INO_NUM. What lies beside it (<c>private-dir</c>, snapshots) is the system's own.</summary>
    public const ulong RootFolder = 2;

    /// <summary>ROOT_DIR_PARENT and PRIV_DIR_INO_NUM.</summary>
    public const ulong RootParent = 1;
    public const ulong PrivateFolder = 3;

    /// <summary>The length of a name in a key that has a hash of it, too: J_DREC_LEN_MASK.</summary>
    public const uint HashedNameLengthMask = 0x3FF;

    /// <summary>Where the flags of a folder's entry are in its value (<c>j_drec_val_t</c>); the type of the file in them: DREC_TYPE_MASK,
    /// DT_DIR.</summary>
    public const int EntryFlagsOffset = 16;
    public const int EntryTypeMask = 15;
    public const int EntryOfFolder = 4;

    /// <summary>J_FILE_EXTENT_LEN_MASK.</summary>
    public const ulong ExtentLengthMask = 0x00FF_FFFF_FFFF_FFFF;

    public const ushort AttributeInStream = 1;

    /// <summary>XATTR_FILE_SYSTEM_OWNED: no call of the system shows it.</summary>
    public const ushort AttributeOfFileSystem = 4;

    // Types of extended fields: INO_EXT_TYPE_FINDER_INFO, INO_EXT_TYPE_DSTREAM, INO_EXT_TYPE_RDEV.
    public const byte NameField = 4; // INO_EXT_TYPE_NAME
    public const byte FinderInfoField = 7;
    public const byte StreamField = 8;
    public const byte DeviceField = 14;

    /// <summary>SF_DATALESS (Apple's sys/stat.h): the content is in the cloud.</summary>
    public const uint DatalessFlag = 0x4000_0000;

    public const string LinkTargetAttribute = "com.apple.fs.symlink";
}

/// <summary>Types of records, the top four bits of a key's first word.</summary>
internal enum ApfsRecordType
{
    Inode = 3,
    Attribute = 4,
    Extent = 8,
    Entry = 9,
}

/// <summary><c>j_inode_val_t</c> without its extended fields.</summary>
[StructLayout(LayoutKind.Explicit, Size = 92)]
internal struct ApfsInode
{
    [FieldOffset(0)] public UInt64LE ParentId;

    /// <summary>What the extents of the content go by.</summary>
    [FieldOffset(8)] public UInt64LE StreamId;

    /// <summary>Nanoseconds since 1970, as the other times.</summary>
    [FieldOffset(16)] public UInt64LE CreateTime;
    [FieldOffset(24)] public UInt64LE ModifyTime;
    [FieldOffset(32)] public UInt64LE ChangeTime;
    [FieldOffset(40)] public UInt64LE AccessTime;
    [FieldOffset(68)] public UInt32LE BsdFlags;
    [FieldOffset(72)] public UInt32LE OwnerId;
    [FieldOffset(76)] public UInt32LE GroupId;
    [FieldOffset(80)] public UInt16LE Mode;
}

/// <summary><c>x_field_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 4)]
internal struct ApfsExtendedField
{
    [FieldOffset(0)] public byte Type;
    [FieldOffset(2)] public UInt16LE Size;
}

/// <summary><c>j_dstream_t</c>: how long a stream is.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct ApfsStream
{
    [FieldOffset(0)] public UInt64LE Size;
}

/// <summary><c>j_xattr_dstream_t</c>: an attribute whose value has extents.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct ApfsAttributeStream
{
    [FieldOffset(0)] public UInt64LE StreamId;
    [FieldOffset(8)] public ApfsStream Stream;
}

/// <summary><c>j_file_extent_val_t</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct ApfsFileExtent
{
    /// <summary>Bytes in the low 56 bits.</summary>
    [FieldOffset(0)] public UInt64LE Length;

    /// <summary>0 for a hole.</summary>
    [FieldOffset(8)] public UInt64LE Address;
}

/// <summary><c>j_xattr_val_t</c> without its data.</summary>
[StructLayout(LayoutKind.Explicit, Size = 4)]
internal struct ApfsAttributeValue
{
    [FieldOffset(0)] public UInt16LE Flags;
    [FieldOffset(2)] public UInt16LE Length;
}
