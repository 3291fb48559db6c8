using System.Buffers.Binary;
using System.Numerics;
using CCImage.Binary;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Compares the allocation file with the blocks that are used, a piece at a time, and gives back what nobody uses. Bits behind the last
/// block are left alone.
/// </summary>
/// <param name="bitmap">The allocation file.</param>
/// <param name="totalBlocks">Blocks of the volume.</param>
/// <param name="usage">The blocks that are used, sealed.</param>
/// <param name="cancellation">Ends comparing.</param>
internal sealed class BitmapChecker(ForkStorage bitmap, uint totalBlocks, BlockUsage usage, CancellationToken cancellation)
{
    private const int PieceSize = 256 << 10;

    /// <summary>Blocks that are marked as used and used by nobody.</summary>
    public long Leaked { get; private set; }

    /// <summary>Blocks that are used and marked as free.</summary>
    public long Unmarked { get; private set; }

    /// <summary>Blocks that are marked as free.</summary>
    public long Free { get; private set; }

    /// <summary>The first leaked block.</summary>
    public long FirstLeaked { get; private set; } = -1;

    /// <summary>Compares.</summary>
    /// <param name="onUnmarked">Receives the first block of each piece of the bitmap that has used blocks marked as free.</param>
    public void Compare(Action<long, long> onUnmarked) => Walk((first, actual, expected) =>
    {
        long unmarkedBefore = Unmarked, firstUnmarked = -1;
        for (int i = 0; i < actual.Length;)
        {
            i += actual[i..].CommonPrefixLength(expected[i..]);
            if (i == actual.Length) break;
            if (actual.Length - i >= sizeof(ulong))
            {
                // Where the first ones are known, a word at a time.
                ulong a = BinaryPrimitives.ReadUInt64LittleEndian(actual[i..]), e = BinaryPrimitives.ReadUInt64LittleEndian(expected[i..]);
                if ((FirstLeaked >= 0 || (a & ~e) == 0) && (firstUnmarked >= 0 || (e & ~a) == 0))
                {
                    Leaked += BitOperations.PopCount(a & ~e);
                    Unmarked += BitOperations.PopCount(e & ~a);
                    i += sizeof(ulong);
                    continue;
                }
            }

            int leaked = actual[i] & ~expected[i] & 0xFF, unmarked = expected[i] & ~actual[i] & 0xFF;
            if (leaked != 0 && FirstLeaked < 0) FirstLeaked = first + (i * 8L) + BitOperations.LeadingZeroCount((uint)leaked) - 24;
            if (unmarked != 0 && firstUnmarked < 0) firstUnmarked = first + (i * 8L) + BitOperations.LeadingZeroCount((uint)unmarked) - 24;
            Leaked += BitOperations.PopCount((uint)leaked);
            Unmarked += BitOperations.PopCount((uint)unmarked);
            i++;
        }

        Free -= CountSet(actual);
        if (firstUnmarked >= 0) onUnmarked(firstUnmarked, Unmarked - unmarkedBefore);
        return false;
    }, cancellation);

    /// <summary>Clears the bits of leaked blocks in the file. Only for a bitmap in which no used block is marked as free.</summary>
    public void GiveBack() => Walk((_, actual, expected) =>
    {
        if (actual.SequenceEqual(expected)) return false;
        for (int i = 0; i < actual.Length; i++) actual[i] &= expected[i];
        return true;
    }, CancellationToken.None);

    private void Walk(Judge judge, CancellationToken cancellation)
    {
        Free = totalBlocks;
        byte[] actual = new byte[(int)Math.Min(PieceSize, Layout.DivideUp(totalBlocks, 8))], expected = new byte[actual.Length];
        for (long first = 0; first < totalBlocks; first += actual.Length * 8L)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(actual.Length, Layout.DivideUp(totalBlocks - first, 8));
            Span<byte> piece = actual.AsSpan(0, count), wanted = expected.AsSpan(0, count);
            bitmap.Read(first / 8, piece);
            usage.Render(first, wanted);
            // The bits of the last byte that belong to no block are not judged.
            int beyond = (int)Math.Max(0, first + (count * 8L) - totalBlocks);
            byte tail = (byte)(piece[^1] & ((1 << beyond) - 1));
            piece[^1] ^= tail;
            if (!judge(first, piece, wanted)) continue;
            piece[^1] |= tail;
            bitmap.Write(first / 8, piece);
        }
    }

    private static long CountSet(ReadOnlySpan<byte> bits)
    {
        if (!bits.ContainsAnyExcept((byte)0)) return 0;
        long count = 0;
        for (; bits.Length >= sizeof(ulong); bits = bits[sizeof(ulong)..])
            count += BitOperations.PopCount(BinaryPrimitives.ReadUInt64LittleEndian(bits));
        foreach (byte b in bits) count += BitOperations.PopCount(b);
        return count;
    }

    // Returns whether the piece was changed and is to be written.
    private delegate bool Judge(long first, Span<byte> actual, ReadOnlySpan<byte> expected);
}
