using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

// The master boot record. Source: UEFI specification, section "Legacy Master Boot Record"; the protective record as in Apple's images.
namespace CCImage.Partitions.Mbr;

/// <summary>One of the four entries (16 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct MbrEntry
{
    public const byte ProtectiveType = 0xEE;

    /// <summary>0x80 active, 0x00 not; anything else means that this is no partition table.</summary>
    public byte Status;

    /// <summary>Cylinder, head and sector of the first sector, as the BIOS packs them.</summary>
    public ChsAddress First;

    /// <summary>0 for an unused entry.</summary>
    public byte Type;

    public ChsAddress Last;

    /// <summary>First sector; in an extended boot record relative to it, or to the extended partition.</summary>
    public UInt32LE StartSector;

    public UInt32LE SectorCount;

    /// <summary>Whether it opens a chain of extended boot records.</summary>
    public readonly bool IsExtended => Type is 0x05 or 0x0F or 0x85;
}

/// <summary>A packed cylinder/head/sector address (3 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ChsAddress
{
    public byte Head;
    public byte Sector;
    public byte Cylinder;

    /// <summary>What stands in Apple's protective records: an address that is too large to be packed.</summary>
    public static ChsAddress OutOfRange => new() { Head = 0xFE, Sector = 0xFF, Cylinder = 0xFF };
}

/// <summary>Four entries.</summary>
[InlineArray(4)]
internal struct MbrEntries
{
    private MbrEntry _first;
}

/// <summary>440 bytes of boot code.</summary>
[InlineArray(440)]
internal struct MbrBootCode
{
    private byte _first;
}

/// <summary>The record (512 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct MbrSector
{
    public const ushort ValidSignature = 0xAA55;

    public MbrBootCode BootCode;
    public UInt32LE DiskSignature;
    public UInt16LE Reserved;
    public MbrEntries Entries;

    /// <summary><see cref="ValidSignature"/>.</summary>
    public UInt16LE Signature;
}
