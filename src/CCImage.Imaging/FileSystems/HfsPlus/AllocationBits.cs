using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Sets and clears bits of an allocation file: most significant bit first.</summary>
internal static class AllocationBits
{
    private const int PieceSize = 256 << 10;

    /// <summary>Marks a run.</summary>
    /// <param name="bitmap">The allocation file.</param>
    /// <param name="from">First block.</param>
    /// <param name="to">The block behind the last one; not behind <paramref name="from"/> marks nothing.</param>
    /// <param name="used">As used or as free.</param>
    public static void Mark(BlockStorage bitmap, long from, long to, bool used)
    {
        if (from < to) Mark(bitmap, [new(from, to - from)], used);
    }

    /// <summary>Marks runs, those that lie near each other with one write.</summary>
    /// <param name="bitmap">The allocation file.</param>
    /// <param name="runs">Ascending.</param>
    /// <param name="used">As used or as free.</param>
    public static void Mark(BlockStorage bitmap, IReadOnlyList<BlockRange> runs, bool used)
    {
        byte[] piece = new byte[PieceSize];
        long at = 0; // blocks in front of it are marked
        for (int run = 0; run < runs.Count;)
        {
            at = Math.Max(at, runs[run].Start);
            long first = at / 8, end = first;
            for (int i = run; i < runs.Count && runs[i].Start / 8 < first + PieceSize; i++)
                end = Math.Min(first + PieceSize, Layout.DivideUp(runs[i].End, 8));
            Span<byte> bits = piece.AsSpan(0, (int)(end - first));
            bitmap.Read(first, bits);
            for (; run < runs.Count && runs[run].Start < end * 8; run++)
            {
                at = Math.Min(runs[run].End, end * 8);
                Mark(bits, Math.Max(runs[run].Start, first * 8) - (first * 8), at - (first * 8), used);
                if (at < runs[run].End) break;
            }

            bitmap.Write(first, bits);
        }
    }

    private static void Mark(Span<byte> bits, long from, long to, bool used)
    {
        for (; from < to && from % 8 != 0; from++) MarkOne(bits, from, used);
        long whole = Math.Max(0, (to - from) / 8);
        bits.Slice((int)(from / 8), (int)whole).Fill(used ? (byte)0xFF : (byte)0);
        for (from += whole * 8; from < to; from++) MarkOne(bits, from, used);
    }

    private static void MarkOne(Span<byte> bits, long block, bool used)
    {
        ref byte place = ref bits[(int)(block / 8)];
        byte mask = (byte)(0x80 >> (int)(block % 8));
        place = (byte)(used ? place | mask : place & ~mask);
    }
}
