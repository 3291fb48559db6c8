using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

// On-disk structures of UDIF, Apple's read-only disk image format. Apple never published it: sizes, names and meanings follow what is
// common knowledge of its readers (7-Zip, QEMU, libdmg-hfsplus) and were checked against real images; docs/formats/udif.md says how each is
// known. Every integer is big-endian.
namespace CCImage.Containers.Udif;

/// <summary>Constants of the format.</summary>
internal static class UdifConstants
{
    public const int SectorSize = 512;
    public const uint TrailerSignature = 0x6B6F6C79; // 'koly'
    public const uint TrailerVersion = 4;
    public const uint BlockTableSignature = 0x6D697368; // 'mish'
    public const uint BlockTableVersion = 1;

    /// <summary>Trailer flag of every image seen: "flattened", everything in the data fork.</summary>
    public const uint FlagFlattened = 1;

    /// <summary>Image variant of a disk with a partition map.</summary>
    public const uint VariantDevice = 1;

    /// <summary>Image variant of a disk that is one volume.</summary>
    public const uint VariantPartition = 2;

    /// <summary>Most sectors of a disk: 128 PiB, hdiutil's own limit.</summary>
    public const long MaximumSectors = 1L << 48;

    /// <summary>Most bytes that a compressed run may unfold to, and a stored one may have in what we write; QEMU's limit, too.</summary>
    public const int MaximumRunBytes = 64 << 20;
}

/// <summary>How a run of sectors is stored.</summary>
internal enum UdifRunType : uint
{
    /// <summary>Zeros that count in the partition's checksum; nothing is stored.</summary>
    Zero = 0,
    Raw = 1,

    /// <summary>Sectors of no file: read as zeros, left out of the checksum.</summary>
    Ignore = 2,
    Comment = 0x7FFF_FFFE,
    Adc = 0x8000_0004,
    Zlib = 0x8000_0005,
    Bzip2 = 0x8000_0006,
    Lzfse = 0x8000_0007,
    Lzma = 0x8000_0008,
    Terminator = 0xFFFF_FFFF,
}

/// <summary>Kinds of checksum.</summary>
internal enum UdifChecksumType : uint
{
    None = 0,
    Crc32 = 2,
}

/// <summary>A checksum: kind, size in bits, and room for 128 bytes of which the first are used (136 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct UdifChecksum
{
    public const int Size = 136;

    public UInt32BE Type;

    /// <summary>In bits.</summary>
    public UInt32BE ValueSize;
    public ChecksumValue Value;

    /// <summary>A CRC-32.</summary>
    /// <param name="crc">Its value.</param>
    public static UdifChecksum FromCrc32(uint crc)
    {
        var checksum = new UdifChecksum { Type = (uint)UdifChecksumType.Crc32, ValueSize = 32 };
        Layout.Write(checksum.Value, (UInt32BE)crc);
        return checksum;
    }

    /// <summary>The CRC-32, or null when there is none or it is of another kind.</summary>
    public readonly uint? Crc32
    {
        get
        {
            if (Type != (uint)UdifChecksumType.Crc32 || ValueSize != 32) return null;
            ChecksumValue value = Value;
            return Layout.Read<UInt32BE>(value);
        }
    }

    /// <summary>128 bytes.</summary>
    [InlineArray(128)]
    internal struct ChecksumValue
    {
        private byte _first;
    }
}

/// <summary>The last 512 bytes of the file, 'koly'.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct UdifTrailer
{
    public const int Size = 512;

    public UInt32BE Signature;
    public UInt32BE Version;
    public UInt32BE HeaderSize;
    public UInt32BE Flags;
    public UInt64BE RunningDataForkOffset;

    /// <summary>Where the runs' bytes begin, in bytes from the start of the file.</summary>
    public UInt64BE DataForkOffset;
    public UInt64BE DataForkLength;
    public UInt64BE ResourceForkOffset;
    public UInt64BE ResourceForkLength;

    /// <summary>1 in an image of one file; 0 in those that hdiutil made straight from a folder.</summary>
    public UInt32BE SegmentNumber;
    public UInt32BE SegmentCount;
    public UuidBytes SegmentId;

    /// <summary>Of the data fork as it is stored.</summary>
    public UdifChecksum DataForkChecksum;
    public UInt64BE XmlOffset;
    public UInt64BE XmlLength;
    public ReservedBytes Reserved1;

    /// <summary>CRC-32 of the partitions' checksums, big-endian one after the other.</summary>
    public UdifChecksum MasterChecksum;
    public UInt32BE ImageVariant;

    /// <summary>Size of the disk; 0 by some writers.</summary>
    public UInt64BE SectorCount;
    public UInt32BE Reserved2;
    public UInt32BE Reserved3;
    public UInt32BE Reserved4;

    /// <summary>A UUID as it is printed.</summary>
    [InlineArray(16)]
    internal struct UuidBytes
    {
        private byte _first;
    }

    /// <summary>120 bytes, zero.</summary>
    [InlineArray(120)]
    internal struct ReservedBytes
    {
        private byte _first;
    }
}

/// <summary>The head of a block table, 'mish'; the runs follow.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct UdifBlockTableHeader
{
    public const int Size = 204;

    public UInt32BE Signature;
    public UInt32BE Version;

    /// <summary>First sector of the table's part of the disk.</summary>
    public UInt64BE FirstSector;
    public UInt64BE SectorCount;

    /// <summary>What is added to the offsets of the runs, in bytes.</summary>
    public UInt64BE DataOffset;

    /// <summary>Sectors of buffer that a reader needs.</summary>
    public UInt32BE BuffersNeeded;

    /// <summary>Number of the partition; 0xFFFFFFFE for a whole disk, 0xFFFFFFFF for a driver descriptor map.</summary>
    public UInt32BE BlockDescriptor;
    public ReservedBytes Reserved;

    /// <summary>Of the decoded bytes of all runs but the ignored ones.</summary>
    public UdifChecksum Checksum;
    public UInt32BE RunCount;

    /// <summary>24 bytes, zero.</summary>
    [InlineArray(24)]
    internal struct ReservedBytes
    {
        private byte _first;
    }
}

/// <summary>A run of sectors in a block table.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct UdifRunRecord
{
    public const int Size = 40;

    public UInt32BE Type;

    /// <summary>Text of a comment ("+beg", "+end"); elsewhere whatever.</summary>
    public UInt32BE Comment;

    /// <summary>Counted from the table's first sector.</summary>
    public UInt64BE FirstSector;
    public UInt64BE SectorCount;

    /// <summary>In bytes from the table's data offset.</summary>
    public UInt64BE StoredOffset;

    /// <summary>In bytes.</summary>
    public UInt64BE StoredLength;
}
