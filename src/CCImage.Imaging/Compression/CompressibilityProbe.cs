using System.Buffers;
using System.Buffers.Binary;

namespace CCImage.Compression;

/// <summary>
/// Recognises blocks that compression would not make smaller (compressed, encrypted, random data) in a small part of the time that trying
/// takes. It errs towards trying: what it calls incompressible has an even distribution of bytes everywhere and does not repeat itself.
/// </summary>
internal static class CompressibilityProbe
{
    /// <summary>Shorter blocks are always worth trying.</summary>
    public const int ShortestBlock = 16 << 10;

    // Every allocation block of 4 KiB has its say: files begin at such boundaries, and a block of the image holds many of them.
    private const int SampleDistance = 4096;
    private const int SampleLength = 256;

    // Among 256 bytes of even distribution, 127.5 pairs are equal, give or take 11.3; bytes of six bits have 510, text has some 2,000.
    // Deflated data has places with 200 and more, and gets hardly smaller for it; data that is a little uneven all over is for the sum of
    // all samples to find.
    private const int MostEqualPairs = 400;
    private const int OneSampleIn = 128;

    // In a sample of 64 KiB over all: an entropy below 7.95 bits shows in more equal pairs than this part of the even distribution's.
    private const double MostEqualPairsOverAll = 1.06;

    private const int TableBits = 12;
    private const int WindowSize = 32 << 10;

    private static readonly SearchValues<byte> Anchors = SearchValues.Create(0x1D, 0x57, 0x9A, 0xE3);

    /// <summary>Whether it is worth trying to compress a block.</summary>
    /// <param name="block">The block.</param>
    public static bool IsCompressible(ReadOnlySpan<byte> block) =>
        block.Length < ShortestBlock || HasUnevenBytes(block) || RepeatsItself(block);

    /// <summary>Order 0: whether more than one sample in 128 is uneven by itself, or all of them together.</summary>
    private static bool HasUnevenBytes(ReadOnlySpan<byte> block)
    {
        Span<ushort> counts = stackalloc ushort[256];
        Span<uint> total = stackalloc uint[256];
        total.Clear();
        int samples = 0, uneven = 0;
        for (int at = 0; at + SampleLength <= block.Length; at += SampleDistance, samples++)
        {
            counts.Clear();
            foreach (byte b in block.Slice(at, SampleLength)) counts[b]++;
            long squares = 0;
            for (int i = 0; i < 256; i++)
            {
                squares += (uint)counts[i] * counts[i];
                total[i] += counts[i];
            }

            if ((squares - SampleLength) / 2 > MostEqualPairs) uneven++;
        }

        if (uneven > samples / OneSampleIn) return true;
        double sampled = (double)samples * SampleLength, pairs = 0;
        foreach (uint count in total) pairs += (double)count * count;
        return pairs - sampled > sampled * (sampled - 1) / 256 * MostEqualPairsOverAll;
    }

    /// <summary>
    /// Whether strings come back within the distance that deflate sees. Only strings behind one of four byte values are looked at: the same
    /// content is then looked at in both places, wherever they lie, and in data that reached this test each value is about as frequent as
    /// another.
    /// </summary>
    private static bool RepeatsItself(ReadOnlySpan<byte> block)
    {
        Span<int> table = stackalloc int[1 << TableBits];
        table.Fill(-1);
        int looked = 0, found = 0;
        for (int at = 0; at < block.Length - 8; at++)
        {
            int next = block[at..^8].IndexOfAny(Anchors);
            if (next < 0) break;
            at += next;
            ulong text = BinaryPrimitives.ReadUInt64LittleEndian(block[at..]) & 0xFFFF_FFFF_FFFF;
            int slot = (int)(unchecked(text * 0x9E37_79B9_7F4A_7C15) >> (64 - TableBits));
            int before = table[slot];
            if (before >= 0 && at - before <= WindowSize
                && (BinaryPrimitives.ReadUInt64LittleEndian(block[before..]) & 0xFFFF_FFFF_FFFF) == text)
                found++;
            table[slot] = at;
            looked++;
        }

        return found > looked / 64;
    }
}
