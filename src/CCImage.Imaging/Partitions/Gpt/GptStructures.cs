using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

// The GUID partition table. Source: UEFI specification 2.10, chapter 5; values as in images made by Apple's tools. Little-endian.
namespace CCImage.Partitions.Gpt;

/// <summary>A GUID with its first three fields little-endian (16 bytes).</summary>
[InlineArray(16)]
internal struct GptGuid
{
    private byte _first;

    /// <summary>From a GUID.</summary>
    /// <param name="value">The GUID.</param>
    public static GptGuid From(Guid value)
    {
        var result = default(GptGuid);
        value.TryWriteBytes(result, bigEndian: false, out _);
        return result;
    }

    /// <summary>As a GUID.</summary>
    public readonly Guid ToGuid() => new(this, bigEndian: false);
}

/// <summary>The header (92 bytes; the rest of its sector is zero).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct GptHeader
{
    public const ulong ValidSignature = 0x5452415020494645; // "EFI PART"
    public const uint Revision1 = 0x0001_0000;
    public const int Size = 92;

    public UInt64LE Signature;
    public UInt32LE Revision;

    /// <summary>Bytes the checksum covers: 92.</summary>
    public UInt32LE HeaderSize;

    /// <summary>CRC-32 of the header with this field zero.</summary>
    public UInt32LE HeaderChecksum;

    public UInt32LE Reserved;

    /// <summary>The sector this header lies in.</summary>
    public UInt64LE OwnSector;

    /// <summary>The sector of the other copy.</summary>
    public UInt64LE OtherSector;

    public UInt64LE FirstUsableSector;

    /// <summary>Inclusive.</summary>
    public UInt64LE LastUsableSector;

    public GptGuid DiskGuid;
    public UInt64LE EntriesSector;
    public UInt32LE EntryCount;
    public UInt32LE EntrySize;

    /// <summary>CRC-32 of all entries.</summary>
    public UInt32LE EntriesChecksum;
}

/// <summary>Thirty-six UTF-16 units.</summary>
[InlineArray(36)]
internal struct GptName
{
    private UInt16LE _first;
}

/// <summary>An entry (128 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct GptEntry
{
    public const int Size = 128;

    /// <summary>All zero for an unused entry.</summary>
    public GptGuid Type;

    public GptGuid Id;
    public UInt64LE FirstSector;

    /// <summary>Inclusive.</summary>
    public UInt64LE LastSector;

    /// <summary>0 in Apple's images.</summary>
    public UInt64LE Attributes;

    public GptName Name;
}
