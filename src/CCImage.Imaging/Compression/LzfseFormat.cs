using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

namespace CCImage.Compression;

/// <summary>
/// The constants and structures of LZFSE streams. Provenance: the format as Apple's open-source reference implementation defines it,
/// checked against blocks of Apple's own images; see <c>docs/formats/codecs.md</c>.
/// <para>
/// A stream is a row of blocks, each with a magic of four bytes, up to an end mark. A block is a list of triplets: copy L literals, then M
/// bytes from D bytes back. Literals form one entropy-coded stream, the triplets another; both are read from their ends.
/// </para>
/// </summary>
internal static class LzfseFormat
{
    /// <summary><c>bvx$</c>: the end of the stream.</summary>
    public const uint EndOfStream = 0x24787662;

    /// <summary><c>bvx-</c>: stored bytes.</summary>
    public const uint RawBlock = 0x2D787662;

    /// <summary><c>bvx1</c>: a compressed block with plain frequency tables.</summary>
    public const uint Version1Block = 0x31787662;

    /// <summary><c>bvx2</c>: a compressed block with packed header and frequency tables.</summary>
    public const uint Version2Block = 0x32787662;

    /// <summary><c>bvxn</c>: an LZVN block.</summary>
    public const uint LzvnBlock = 0x6E787662;

    /// <summary>Symbols of a literal count.</summary>
    public const int LSymbols = 20;

    /// <summary>Symbols of a match length.</summary>
    public const int MSymbols = 20;

    /// <summary>Symbols of a distance.</summary>
    public const int DSymbols = 64;

    /// <summary>Symbols of a literal.</summary>
    public const int LiteralSymbols = 256;

    /// <summary>All frequencies of a header: L, M, D, literals, in this order.</summary>
    public const int FrequencyCount = LSymbols + MSymbols + DSymbols + LiteralSymbols;

    /// <summary>Coder states of a literal count.</summary>
    public const int LStates = 64;

    /// <summary>Coder states of a match length.</summary>
    public const int MStates = 64;

    /// <summary>Coder states of a distance.</summary>
    public const int DStates = 256;

    /// <summary>Coder states of a literal.</summary>
    public const int LiteralStates = 1024;

    /// <summary>Triplets in a block at most.</summary>
    public const int MaxMatches = 10_000;

    /// <summary>Literals in a block at most.</summary>
    public const int MaxLiterals = 40_000;

    /// <summary>The largest literal count of a triplet.</summary>
    public const int MaxL = 315;

    /// <summary>The largest match length of a triplet, in bytes.</summary>
    public const int MaxM = 2359;

    /// <summary>The largest distance, in bytes.</summary>
    public const int MaxD = 262_139;

    /// <summary>Extra bits of each L symbol.</summary>
    public static ReadOnlySpan<byte> LExtraBits => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 5, 8];

    /// <summary>Extra bits of each M symbol.</summary>
    public static ReadOnlySpan<byte> MExtraBits => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 5, 8, 11];

    /// <summary>Extra bits of each D symbol: four symbols for every count of bits.</summary>
    public static ReadOnlySpan<byte> DExtraBits =>
    [
        0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7,
        8, 8, 8, 8, 9, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11, 12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 15,
    ];

    /// <summary>The smallest value of each symbol: symbols tile the values without gap, so it follows from the extra bits.</summary>
    /// <param name="extraBits">Extra bits of each symbol.</param>
    public static int[] BaseValues(ReadOnlySpan<byte> extraBits)
    {
        int[] values = new int[extraBits.Length];
        for (int i = 1; i < values.Length; i++) values[i] = values[i - 1] + (1 << extraBits[i - 1]);
        return values;
    }

    /// <summary>How many state bits a symbol of the given frequency takes at most; one less in its upper states.</summary>
    /// <param name="frequency">At least 1.</param>
    /// <param name="states">A power of two, not below the frequency.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int StateBits(int frequency, int states) =>
        BitOperations.LeadingZeroCount((uint)frequency) - BitOperations.LeadingZeroCount((uint)states);
}

/// <summary>The header of a stored block.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct LzfseRawHeader
{
    /// <summary><see cref="LzfseFormat.RawBlock"/>.</summary>
    public UInt32LE Magic;

    /// <summary>Bytes that follow.</summary>
    public UInt32LE RawBytes;
}

/// <summary>The header of an LZVN block.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct LzvnHeader
{
    /// <summary><see cref="LzfseFormat.LzvnBlock"/>.</summary>
    public UInt32LE Magic;

    /// <summary>Decoded bytes.</summary>
    public UInt32LE RawBytes;

    /// <summary>Encoded bytes that follow, end code included.</summary>
    public UInt32LE PayloadBytes;
}

/// <summary>The header of a <c>bvx1</c> block.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct LzfseVersion1Header
{
    /// <summary><see cref="LzfseFormat.Version1Block"/>.</summary>
    public UInt32LE Magic;

    /// <summary>Decoded bytes.</summary>
    public UInt32LE RawBytes;

    /// <summary>Encoded bytes that follow: literals, then triplets.</summary>
    public UInt32LE PayloadBytes;

    /// <summary>Literals, padded to a multiple of four.</summary>
    public UInt32LE Literals;

    /// <summary>Triplets.</summary>
    public UInt32LE Matches;

    /// <summary>Bytes of the literal stream.</summary>
    public UInt32LE LiteralPayloadBytes;

    /// <summary>Bytes of the triplet stream.</summary>
    public UInt32LE MatchPayloadBytes;

    /// <summary>Unused bits at the end of the literal stream, negated: -7 to 0.</summary>
    public UInt32LE LiteralBits;

    /// <summary>First states of the four interleaved literal decoders.</summary>
    public LiteralStateArray LiteralStates;

    /// <summary>Unused bits at the end of the triplet stream, negated: -7 to 0.</summary>
    public UInt32LE MatchBits;

    /// <summary>First state of the L decoder.</summary>
    public UInt16LE LState;

    /// <summary>First state of the M decoder.</summary>
    public UInt16LE MState;

    /// <summary>First state of the D decoder.</summary>
    public UInt16LE DState;

    /// <summary>Frequencies of L, M, D and literal symbols; each table sums to its number of states.</summary>
    public FrequencyArray Frequencies;

    /// <summary>Nothing.</summary>
    public UInt16LE Padding;

    /// <summary>Four states.</summary>
    [InlineArray(4)]
    public struct LiteralStateArray
    {
        private UInt16LE _first;
    }

    /// <summary>All frequencies.</summary>
    [InlineArray(LzfseFormat.FrequencyCount)]
    public struct FrequencyArray
    {
        private UInt16LE _first;
    }
}

/// <summary>The fixed part of the header of a <c>bvx2</c> block; packed frequencies follow, up to <see cref="HeaderBytes"/>.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct LzfseVersion2Header
{
    /// <summary><see cref="LzfseFormat.Version2Block"/>.</summary>
    public UInt32LE Magic;

    /// <summary>Decoded bytes.</summary>
    public UInt32LE RawBytes;

    /// <summary>From the lowest bit: 20 bits literals, 20 bits literal payload bytes, 20 bits triplets, 3 bits 7 minus unused literal
    /// bits.</summary>
    public UInt64LE Counts;

    /// <summary>From the lowest bit: four literal states of 10 bits, 20 bits triplet payload bytes, 3 bits 7 minus unused triplet
    /// bits.</summary>
    public UInt64LE LiteralStates;

    /// <summary>Bytes of the header, packed frequencies included.</summary>
    public UInt32LE HeaderBytes;

    /// <summary>From the lowest bit: L, M and D state, 10 bits each.</summary>
    public UInt32LE MatchStates;
}
