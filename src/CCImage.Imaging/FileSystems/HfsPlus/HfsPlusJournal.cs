using System.Runtime.InteropServices;
using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// The first 48 bytes of the journal. Source: Apple's hfs_journal.h. Written in the byte order of the machine that made it, which the
/// field <see cref="Endian"/> tells; here always little-endian, as on every Mac since 2006.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct JournalHeader
{
    /// <summary>'JNLx'.</summary>
    public const uint MagicValue = 0x4A4E_4C78;

    /// <summary>What <see cref="Endian"/> holds.</summary>
    public const uint EndianValue = 0x1234_5678;

    /// <summary>Bytes that the checksum covers: all before <see cref="SequenceNumber"/>, <see cref="Checksum"/> counted as 0.</summary>
    public const int ChecksummedSize = 44;

    public UInt32LE Magic;
    public UInt32LE Endian;

    /// <summary>Offset of the first transaction from the start of the journal, in bytes.</summary>
    public UInt64LE Start;

    /// <summary>Offset of the free space; equal to <see cref="Start"/> in a clean journal.</summary>
    public UInt64LE End;

    /// <summary>Bytes of the journal.</summary>
    public UInt64LE Size;

    /// <summary>Bytes of a block list header.</summary>
    public UInt32LE BlockListHeaderSize;

    public UInt32LE Checksum;

    /// <summary>Bytes of this header: the device's sector.</summary>
    public UInt32LE HeaderSize;

    public UInt32LE SequenceNumber;

    /// <summary>
    /// The header of an initialised journal without transactions. A journal that is merely flagged as needing initialisation, as
    /// newfs_hfs leaves it, would keep macOS from mounting the volume read-only: its kernel then insists on a valid, clean header.
    /// </summary>
    /// <param name="size">Bytes of the journal.</param>
    /// <param name="sequence">Where transaction numbers begin; any number.</param>
    public static JournalHeader Clean(long size, uint sequence)
    {
        const int sector = 512;
        // The kernel's transaction buffer: half the journal, at most 3 MiB; 16 bytes of header for each sector of it.
        long buffer = Math.Min(size / 2, 3 * 1024 * 1024);
        var header = new JournalHeader
        {
            Magic = MagicValue,
            Endian = EndianValue,
            Start = sector,
            End = sector,
            Size = (ulong)size,
            BlockListHeaderSize = (uint)Layout.RoundUp(buffer / sector * 16, sector),
            HeaderSize = sector,
            SequenceNumber = sequence & 0x00FF_FFFF,
        };
        header.Checksum = ComputeChecksum(Layout.AsBytes(ref header)[..ChecksummedSize]);
        return header;
    }

    /// <summary>The journal's checksum.</summary>
    /// <param name="bytes">The header's first <see cref="ChecksummedSize"/> bytes with a checksum of 0.</param>
    public static uint ComputeChecksum(ReadOnlySpan<byte> bytes)
    {
        uint sum = 0;
        foreach (byte b in bytes) sum = unchecked((sum << 8) ^ (sum + b));
        return ~sum;
    }
}
