using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

// The Apple partition map. Source: Inside Macintosh: Devices, "SCSI Manager", and Apple's public IOApplePartitionScheme.h. Big-endian.
namespace CCImage.Partitions.ApplePartitionMap;

/// <summary>The driver descriptor record's first fields (8 bytes of sector 0).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct DriverDescriptor
{
    public const ushort ValidSignature = 0x4552; // 'ER'

    public UInt16BE Signature;

    /// <summary>Bytes in a block of the device.</summary>
    public UInt16BE BlockSize;

    /// <summary>Blocks of the device; in Apple's disk images always sectors of 512 bytes.</summary>
    public UInt32BE BlockCount;
}

/// <summary>Thirty-two characters, ended by a NUL where shorter.</summary>
[InlineArray(32)]
internal struct PartitionText
{
    private byte _first;
}

/// <summary>An entry of the map, one a block (92 bytes used of 512).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ApplePartitionEntry
{
    public const ushort ValidSignature = 0x504D; // 'PM'

    public UInt16BE Signature;
    public UInt16BE Reserved;

    /// <summary>Entries in the map, the same in each.</summary>
    public UInt32BE EntryCount;

    /// <summary>First block of the partition.</summary>
    public UInt32BE StartBlock;

    public UInt32BE BlockCount;
    public PartitionText Name;
    public PartitionText Type;

    /// <summary>First block of the data area within the partition.</summary>
    public UInt32BE DataStart;

    public UInt32BE DataCount;

    /// <summary>Bits: valid, allocated, in use, bootable, readable, writable; 30: mount automatically.</summary>
    public UInt32BE Status;
}
