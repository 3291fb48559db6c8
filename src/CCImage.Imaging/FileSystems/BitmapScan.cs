using System.Buffers.Binary;
using System.Numerics;
using CCImage.Binary;

namespace CCImage.FileSystems;

/// <summary>
/// Reads allocation bitmaps, 1 for used, a word at a time: runs of clear bits over the boundaries of the pieces in which a bitmap is read.
/// It costs as much as reading the bytes, whatever they claim to describe, as soon as short runs are of no use any more.
/// </summary>
/// <param name="isHighFirst">Whether the first block is the most significant bit of its byte (HFS+), or the least (APFS, exFAT).</param>
internal sealed class BitmapScan(bool isHighFirst)
{
    private const int WordBits = 64;

    // A run of so many clear bits has a byte of zeros.
    private const int WholeByteRun = 15;

    private readonly List<(long First, long Count)> _runs = [];
    private long _start = -1;

    /// <summary>The runs that ended in a piece of the bitmap, ascending. To be read before the next piece.</summary>
    /// <param name="bits">The piece; of all but the last one the length is a multiple of 8 bytes.</param>
    /// <param name="first">The block of its first bit.</param>
    /// <param name="end">The block behind the last one there is: bits from there on are not looked at.</param>
    /// <param name="shortest">Shorter runs are left out.</param>
    public IReadOnlyList<(long First, long Count)> Next(ReadOnlySpan<byte> bits, long first, long end, long shortest)
    {
        _runs.Clear();
        if (first >= end) return _runs;
        bits = bits[..(int)Math.Min(bits.Length, Layout.DivideUp(end - first, 8))];
        while (!bits.IsEmpty)
        {
            int same = bits.IndexOfAnyExcept(_start < 0 ? (byte)0xFF : (byte)0);
            if (same < 0) break;
            same &= -sizeof(ulong); // words stay whole up to the end of the piece
            bits = bits[same..];
            first += same * 8L;
            ulong word = ReadWord(bits);
            if (end - first < WordBits) word |= ~First((int)(end - first));
            Take(word, first, shortest);
            int taken = Math.Min(sizeof(ulong), bits.Length);
            bits = bits[taken..];
            first += taken * 8L;
        }

        return _runs;
    }

    /// <summary>Blocks that are clear are free up to here: a piece that is stored nowhere.</summary>
    /// <param name="first">The first block of it.</param>
    public void BeginFree(long first)
    {
        if (_start < 0) _start = first;
    }

    /// <summary>The run that reaches the end, or null.</summary>
    /// <param name="end">The block behind the last one.</param>
    public (long First, long Count)? Finish(long end) => _start >= 0 && _start < end ? (_start, end - _start) : null;

    /// <summary>Clear bits of a piece.</summary>
    /// <param name="bits">The piece.</param>
    /// <param name="count">Bits of it that count, at most as many as it has.</param>
    public long CountClear(ReadOnlySpan<byte> bits, long count)
    {
        long clear = 0;
        bits = bits[..(int)Layout.DivideUp(count, 8)];
        if (!bits.ContainsAnyExcept((byte)0)) return count; // most of large volumes
        for (; bits.Length >= sizeof(ulong) && count >= WordBits; count -= WordBits)
        {
            clear += WordBits - BitOperations.PopCount(BinaryPrimitives.ReadUInt64LittleEndian(bits));
            bits = bits[sizeof(ulong)..];
        }

        return bits.IsEmpty ? clear : clear + BitOperations.PopCount(~ReadWord(bits) & First((int)count));
    }

    /// <summary>The first bit of a range of a piece that is clear, or null.</summary>
    /// <param name="bits">The piece.</param>
    /// <param name="from">First bit of the range.</param>
    /// <param name="to">The bit behind it.</param>
    public long? FindClear(ReadOnlySpan<byte> bits, long from, long to)
    {
        while (from < to)
        {
            // Whole bytes that are all used.
            if (from % 8 == 0)
            {
                int same = bits[(int)(from / 8)..(int)Layout.DivideUp(to, 8)].IndexOfAnyExcept((byte)0xFF);
                if (same < 0) return null;
                from += same * 8L;
                if (from >= to) return null;
            }

            int mask = isHighFirst ? 0x80 >> (int)(from % 8) : 1 << (int)(from % 8);
            if ((bits[(int)(from / 8)] & mask) == 0) return from;
            from++;
        }

        return null;
    }

    // Without a whole byte of zeros only the run that comes from before and the one that goes on behind it may be long enough.
    private void Take(ulong word, long first, long shortest)
    {
        bool isScattered = shortest >= WholeByteRun && unchecked((word - 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080) == 0;
        for (int at = 0; ;)
        {
            int same = CountEqual(_start < 0 ? ~word : word, at);
            if (same >= WordBits - at) return;
            at += same;
            if (_start < 0)
            {
                _start = first + at;
                continue;
            }

            if (first + at - _start >= shortest) _runs.Add((_start, first + at - _start));
            _start = -1;
            if (!isScattered) continue;
            int last = isHighFirst ? BitOperations.TrailingZeroCount(word) : BitOperations.LeadingZeroCount(word);
            if (last > 0) _start = first + WordBits - last;
            return;
        }
    }

    // Zeros from a bit on.
    private int CountEqual(ulong word, int at) =>
        isHighFirst ? BitOperations.LeadingZeroCount(word << at) : BitOperations.TrailingZeroCount(word >> at);

    // What is missing at the end counts as used: it is no part of the bitmap, and of what follows the next piece tells.
    private ulong ReadWord(ReadOnlySpan<byte> bits)
    {
        if (bits.Length >= sizeof(ulong))
            return isHighFirst ? BinaryPrimitives.ReadUInt64BigEndian(bits) : BinaryPrimitives.ReadUInt64LittleEndian(bits);
        Span<byte> padded = stackalloc byte[sizeof(ulong)];
        padded.Fill(0xFF);
        bits.CopyTo(padded);
        return isHighFirst ? BinaryPrimitives.ReadUInt64BigEndian(padded) : BinaryPrimitives.ReadUInt64LittleEndian(padded);
    }

    // The first bits of a word.
    private ulong First(int count) =>
        count == 0 ? 0 : isHighFirst ? ulong.MaxValue << (WordBits - count) : ulong.MaxValue >> (WordBits - count);
}
