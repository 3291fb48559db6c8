using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

// exFAT. Source: Microsoft, "exFAT file system specification" (2019). Little-endian. docs/formats/exfat.md.
namespace CCImage.FileSystems.ExFat;

/// <summary>The start of the boot sector (120 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ExFatBootSector
{
    public const int Size = 120;

    /// <summary>Where <see cref="Flags"/> lies: it and the next byte are in no checksum.</summary>
    public const int FlagsOffset = 106;

    /// <summary>Where <see cref="PercentInUse"/> lies: it is in no checksum.</summary>
    public const int PercentOffset = 112;

    public ExFatJump Jump;

    /// <summary>"EXFAT   ".</summary>
    public UInt64LE Name;

    public ExFatZeros MustBeZero;

    /// <summary>In sectors; 0 for unknown.</summary>
    public UInt64LE PartitionOffset;

    /// <summary>Sectors of the volume.</summary>
    public UInt64LE VolumeLength;

    /// <summary>Sector of the first FAT.</summary>
    public UInt32LE FatOffset;

    /// <summary>Sectors of one FAT.</summary>
    public UInt32LE FatLength;

    /// <summary>Sector of cluster 2.</summary>
    public UInt32LE HeapOffset;

    public UInt32LE ClusterCount;
    public UInt32LE RootCluster;
    public UInt32LE SerialNumber;

    /// <summary>Major version in the high byte.</summary>
    public UInt16LE Revision;

    /// <summary>See <see cref="ExFatFlags"/>.</summary>
    public UInt16LE Flags;

    public byte SectorShift;
    public byte ClusterShift;
    public byte FatCount;
    public byte DriveSelect;
    public byte PercentInUse;
    public ExFatReserved Reserved;
}

/// <summary>EB 76 90.</summary>
[InlineArray(3)]
internal struct ExFatJump
{
    private byte _first;
}

/// <summary>Where FAT has its parameters: zeros keep its drivers away.</summary>
[InlineArray(53)]
internal struct ExFatZeros
{
    private byte _first;
}

/// <summary>Seven bytes.</summary>
[InlineArray(7)]
internal struct ExFatReserved
{
    private byte _first;
}

/// <summary>Flags of the volume.</summary>
[Flags]
internal enum ExFatFlags : ushort
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The second FAT and bitmap are the ones in use.</summary>
    SecondFat = 1,

    /// <summary>Not unmounted properly.</summary>
    Dirty = 2,

    /// <summary>The medium had failures.</summary>
    MediaFailure = 4,
}

/// <summary>A directory entry that names a stream of its own: allocation bitmap (0x81) and up-case table (0x82) (32 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ExFatStreamEntry
{
    public const int Size = 32;
    public const byte End = 0x00;
    public const byte Bitmap = 0x81;
    public const byte UpCase = 0x82;
    public const byte Label = 0x83;

    public byte Type;

    /// <summary>Of a bitmap, bit 0: the second one.</summary>
    public byte Flags;

    public UInt16LE Reserved1;

    /// <summary>Of an up-case table.</summary>
    public UInt32LE Checksum;

    public UInt64LE Reserved2;
    public UInt32LE Reserved3;
    public UInt32LE FirstCluster;
    public UInt64LE Length;
}

/// <summary>The entry with the volume's name (0x83, 32 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ExFatLabelEntry
{
    public const int MostCharacters = 11;

    public byte Type;
    public byte CharacterCount;
    public ExFatLabelText Text;
    public UInt64LE Reserved;
}

/// <summary>Eleven UTF-16 units.</summary>
[InlineArray(ExFatLabelEntry.MostCharacters)]
internal struct ExFatLabelText
{
    private UInt16LE _first;
}

/// <summary>The first entry of a file or directory (0x85, 32 bytes), and types of entries.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ExFatFileEntry
{
    /// <summary>Bit of a type: the entry is in use.</summary>
    public const byte InUse = 0x80;

    /// <summary>Bit of a type: the entry belongs to a primary one before it.</summary>
    public const byte Secondary = 0x40;

    /// <summary>The first of a set: a file or directory.</summary>
    public const byte File = 0x85;

    /// <summary>Bit of a type: who does not know it may pass it over.</summary>
    public const byte Benign = 0x20;

    /// <summary>Padding of TexFAT (0xA1).</summary>
    public const byte Padding = 0xA1;

    /// <summary>The second of a set, <see cref="ExFatFileStreamEntry"/>.</summary>
    public const byte Stream = 0xC0;

    /// <summary>Fifteen units of the name.</summary>
    public const byte Name = 0xC1;

    public byte Type;

    /// <summary>How many follow.</summary>
    public byte SecondaryCount;

    /// <summary>Of all entries of the set.</summary>
    public UInt16LE Checksum;

    /// <summary>See <see cref="DosMetadata"/>.</summary>
    public UInt16LE Attributes;

    public UInt16LE Reserved1;

    // Times as FAT has them, the date in the higher half.
    public UInt32LE Created;
    public UInt32LE Modified;
    public UInt32LE Accessed;

    /// <summary>Hundredths of a second, up to 199.</summary>
    public byte CreatedHundredths;

    public byte ModifiedHundredths;

    /// <summary>Quarters of an hour ahead of UTC in seven bits with a sign; bit 7: it is known.</summary>
    public byte CreatedOffset;

    public byte ModifiedOffset;
    public byte AccessedOffset;
    public ExFatReserved Reserved2;
}

/// <summary>Where a file lies (0xC0, 32 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct ExFatFileStreamEntry
{
    /// <summary>Of <see cref="Flags"/>: the clusters follow each other, and the FAT says nothing of them.</summary>
    public const byte NoChain = 2;

    public byte Type;
    public byte Flags;
    public byte Reserved1;

    /// <summary>UTF-16 units.</summary>
    public byte NameLength;

    public UInt16LE NameHash;
    public UInt16LE Reserved2;

    /// <summary>Bytes that were written; what follows reads as zeros.</summary>
    public UInt64LE ValidLength;

    public UInt32LE Reserved3;
    public UInt32LE FirstCluster;
    public UInt64LE Length;
}
