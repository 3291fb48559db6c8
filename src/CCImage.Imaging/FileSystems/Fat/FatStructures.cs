using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

// FAT12, FAT16 and FAT32. Source: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03. Little-endian. docs/formats/fat.md.
namespace CCImage.FileSystems.Fat;

/// <summary>A name of eleven characters in the code page of the writer, padded with spaces.</summary>
[InlineArray(11)]
internal struct FatLabel
{
    private byte _first;
}

/// <summary>The parameters all kinds share (36 bytes at byte 0).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct FatParameters
{
    public const int Size = 36;

    /// <summary>0xEB or 0xE9: a jump over the parameters.</summary>
    public byte Jump;

    public UInt16LE JumpTarget;
    public UInt64LE SystemName;
    public UInt16LE BytesPerSector;
    public byte SectorsPerCluster;

    /// <summary>Sectors before the first FAT.</summary>
    public UInt16LE ReservedSectors;

    public byte TableCount;

    /// <summary>Entries of the root directory; 0 in FAT32, where it is a chain of clusters.</summary>
    public UInt16LE RootEntries;

    /// <summary>0 where the number needs 32 bits.</summary>
    public UInt16LE Sectors16;

    public byte Media;

    /// <summary>Sectors of one FAT; 0 in FAT32.</summary>
    public UInt16LE TableSectors16;

    public UInt16LE SectorsPerTrack;
    public UInt16LE Heads;
    public UInt32LE HiddenSectors;
    public UInt32LE Sectors32;
}

/// <summary>What only FAT32 has (28 bytes at byte 36).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct Fat32Parameters
{
    public const int Offset = 36;
    public const int Size = 28;

    public UInt32LE TableSectors;

    /// <summary>Bit 7: only the FAT of the low four bits is kept up to date; else all are equal.</summary>
    public UInt16LE Flags;

    public UInt16LE Version;
    public UInt32LE RootCluster;

    /// <summary>Sector of <see cref="FatInformation"/>; 0 or 0xFFFF for none.</summary>
    public UInt16LE InformationSector;

    /// <summary>Sector of the copy of the boot sectors; 0 or 0xFFFF for none.</summary>
    public UInt16LE BackupSector;

    public UInt64LE Reserved1;
    public UInt32LE Reserved2;
}

/// <summary>What follows the parameters: at byte 36 in FAT12 and FAT16, at byte 64 in FAT32 (26 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct FatExtension
{
    public const int Size = 26;
    public const byte ValidSignature = 0x29;

    public byte Drive;

    /// <summary>Bit 0: not unmounted properly (Windows NT, Linux).</summary>
    public byte State;

    /// <summary>0x29 when the fields behind it are there.</summary>
    public byte Signature;

    public UInt32LE SerialNumber;
    public FatLabel Label;

    /// <summary>"FAT12   ", "FAT16   ", "FAT32   " or "FAT     "; for people.</summary>
    public UInt64LE TypeName;
}

/// <summary>The sector with the free count of FAT32 (512 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct FatInformation
{
    public const int Size = 512;
    public const uint ValidLead = 0x41615252;
    public const uint ValidSignature = 0x61417272;
    public const uint ValidTrail = 0xAA550000;

    /// <summary>For a count or a cluster that is not known.</summary>
    public const uint Unknown = 0xFFFFFFFF;

    public UInt32LE Lead;
    public FatInformationReserved Reserved1;
    public UInt32LE Signature;

    /// <summary>Free clusters when it was written; a hint.</summary>
    public UInt32LE FreeCount;

    /// <summary>Where to look for a free cluster; a hint.</summary>
    public UInt32LE NextFree;

    public UInt64LE Reserved2;
    public UInt32LE Reserved3;
    public UInt32LE Trail;
}

/// <summary>480 bytes of zeros.</summary>
[InlineArray(480)]
internal struct FatInformationReserved
{
    private byte _first;
}

/// <summary>A directory entry (32 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct FatDirectoryEntry
{
    public const int Size = 32;
    public const byte Deleted = 0xE5;
    public const byte VolumeLabel = 0x08;

    /// <summary>Read-only, hidden, system and volume label at once: a piece of a long name.</summary>
    public const byte LongName = 0x0F;

    public FatLabel Name;
    public byte Attributes;
    public byte Reserved;
    public byte CreateTenths;
    public UInt16LE CreateTime;
    public UInt16LE CreateDate;
    public UInt16LE AccessDate;
    public UInt16LE ClusterHigh;
    public UInt16LE WriteTime;
    public UInt16LE WriteDate;
    public UInt16LE ClusterLow;
    public UInt32LE Length;
}
