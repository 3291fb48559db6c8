using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using CCImage.Sources;

namespace CCImage.Platform;

/// <summary>A <c>struct stat</c> with 64-bit inode numbers (sys/stat.h, __DARWIN_STRUCT_STAT64): 144 bytes on x86-64 and arm64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MacStat
{
    /// <summary>sys/stat.h, UF_SETTABLE: the owner's flags.</summary>
    public const uint UserFlags = 0xFFFF;

    /// <summary>
    /// Flags that can be set again: all but UF_COMPRESSED, UF_TRACKED, UF_DATAVAULT, SF_RESTRICTED and what the system makes itself. One of
    /// them among the others would have all refused.
    /// </summary>
    public const uint SettableFlags = (UserFlags & ~(CompressedFlag | 0x40u | 0x80u)) | 0x10000 | 0x20000 | 0x40000 | 0x100000;

    // sys/stat.h: UF_COMPRESSED. What is read of such a file is its content, so the copy is not compressed.
    private const uint CompressedFlag = 0x20;

    // sys/stat.h: SF_FIRMLINK, SF_DATALESS. They tell where a file lies now, not what it is.
    private const uint FirmlinkFlag = 0x00800000;
    private const uint DatalessFlag = 0x40000000;

    public int Device;
    public ushort Mode;
    public ushort LinkCount;
    public ulong Inode;
    public uint UserId;
    public uint GroupId;
    public int NodeDevice;
    public int Padding;
    public UnixTimeSpec AccessTime;
    public UnixTimeSpec ModifyTime;
    public UnixTimeSpec ChangeTime;
    public UnixTimeSpec BirthTime;
    public long Size;
    public long Blocks;
    public int BlockSize;
    public uint Flags;
    public uint Generation;
    public int Spare;
    public long Spare1;
    public long Spare2;

    public readonly HostStat ToHostStat() => new()
    {
        Kind = HostStat.KindOf(Mode),
        Identity = new(unchecked((uint)Device), Inode),
        LinkCount = LinkCount,
        Mode = Mode & SourceEntry.PermissionMask,
        UserId = UserId,
        GroupId = GroupId,

        // sys/types.h: major() is the top byte, minor() the other three.
        DeviceMajor = unchecked((uint)NodeDevice >> 24),
        DeviceMinor = unchecked((uint)NodeDevice & 0xFFFFFF),
        Size = Size,
        AllocatedBytes = Blocks is >= 0 and <= long.MaxValue / 512 ? Blocks * 512 : Size,
        Flags = Flags & ~(CompressedFlag | FirmlinkFlag | DatalessFlag),
        IsDataless = (Flags & DatalessFlag) != 0,
        BirthTime = BirthTime.ToUnixTime(),
        ModifyTime = ModifyTime.ToUnixTime(),
        ChangeTime = ChangeTime.ToUnixTime(),
        AccessTime = AccessTime.ToUnixTime(),
    };
}

/// <summary>A <c>struct statfs</c> with 64-bit inode numbers (sys/mount.h, __DARWIN_STRUCT_STATFS64): 2,168 bytes on x86-64 and
/// arm64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MacVolumeStat
{
    public uint BlockSize;
    public int TransferSize;
    public ulong BlockCount;
    public ulong BlocksFree;
    public ulong BlocksAvailable;
    public ulong FileCount;
    public ulong FilesFree;
    public int FileSystemId0;
    public int FileSystemId1;
    public uint Owner;
    public uint Type;
    public uint Flags;
    public uint Subtype;
    public MacTypeName TypeName;
    public MacPathName MountedOnName;
    public MacPathName MountedFromName;
    public uint ExtendedFlags;
    public MacReserved Reserved;

    public readonly string FileSystemType => Text(TypeName);

    public readonly string MountPoint => Text(MountedOnName);

    public readonly string MountedFrom => Text(MountedFromName);

    private static string Text(ReadOnlySpan<byte> field)
    {
        int end = field.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? field : field[..end]);
    }

    /// <summary>MFSTYPENAMELEN.</summary>
    [System.Runtime.CompilerServices.InlineArray(16)]
    internal struct MacTypeName
    {
        private byte _first;
    }

    /// <summary>MAXPATHLEN.</summary>
    [System.Runtime.CompilerServices.InlineArray(1024)]
    internal struct MacPathName
    {
        private byte _first;
    }

    /// <summary>f_reserved.</summary>
    [System.Runtime.CompilerServices.InlineArray(7)]
    internal struct MacReserved
    {
        private uint _first;
    }
}

/// <summary>A <c>struct attrlist</c> (sys/attr.h): 24 bytes on x86-64 and arm64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MacAttributeList
{
    /// <summary>ATTR_CMN_CRTIME.</summary>
    public const uint CreationTime = 0x200;

    /// <summary>ATTR_CMN_BKUPTIME.</summary>
    public const uint BackupTime = 0x2000;

    /// <summary>ATTR_CMN_FLAGS.</summary>
    public const uint Flags = 0x40000;

    /// <summary>FSOPT_NOFOLLOW.</summary>
    public const uint NoFollow = 1;

    // ATTR_BIT_MAP_COUNT
    public ushort Count = 5;
    public ushort Reserved;
    public uint Common;
    public uint Volume;
    public uint Directory;
    public uint File;
    public uint Fork;

    public MacAttributeList()
    {
    }
}

/// <summary>What getattrlist(2) answers when one time is asked for: its own length, and behind it, aligned to 4, a <c>struct timespec</c>:
/// 20 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct MacTimeAnswer
{
    public uint Length;
    public UnixTimeSpec Time;
}

/// <summary>What getattrlist(2) answers to ATTR_VOL_CAPABILITIES: its own length, and a <c>vol_capabilities_attr_t</c>: 36 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct MacVolumeCapabilities
{
    /// <summary>ATTR_VOL_INFO | ATTR_VOL_CAPABILITIES.</summary>
    public const uint Wanted = 0x8000_0000 | 0x0002_0000;

    /// <summary>VOL_CAP_INT_EXTENDED_ATTR.</summary>
    public const uint ExtendedAttributes = 0x4000;

    public uint Length;
    public uint Format;
    public uint Interfaces;
    public uint Reserved1;
    public uint Reserved2;
    public uint ValidFormat;
    public uint ValidInterfaces;
    public uint ValidReserved1;
    public uint ValidReserved2;
}

/// <summary>
/// An access control list in the form in which it is stored: a <c>struct kauth_filesec</c> (sys/kauth.h), big-endian. Magic number, GUIDs
/// of owner and group, number of entries and flags, 44 bytes in all; then each entry with 24.
/// </summary>
internal static class MacAccessList
{
    /// <summary>sys/acl.h, ACL_TYPE_EXTENDED.</summary>
    public const int Extended = 0x100;

    // KAUTH_FILESEC_MAGIC, KAUTH_ACL_MAX_ENTRIES
    private const uint Magic = 0x012CC16D;
    private const uint MaximumEntries = 128;
    private const int HeaderSize = 44;
    private const int EntrySize = 24;
    private const int CountOffset = 36;

    /// <summary>Whether there are as many entries as the list says.</summary>
    /// <param name="bytes">The list.</param>
    public static bool IsWhole(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < HeaderSize || BinaryPrimitives.ReadUInt32BigEndian(bytes) != Magic) return false;
        uint count = BinaryPrimitives.ReadUInt32BigEndian(bytes[CountOffset..]);
        return count <= MaximumEntries && bytes.Length >= HeaderSize + ((int)count * EntrySize);
    }
}
