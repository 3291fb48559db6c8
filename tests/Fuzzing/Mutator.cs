using System.Buffers.Binary;

namespace CCImage.Fuzzing;

/// <summary>Changes inputs: numbers to odd and neighbouring values, bytes, copies of other places, words of the format.</summary>
/// <param name="random">The random sequence.</param>
/// <param name="words">Words of the format.</param>
internal sealed class Mutator(Random random, IReadOnlyList<byte[]> words)
{
    private static readonly ulong[] s_odd =
    [
        0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512, 513, 1023, 1024, 4095, 4096, 4097, 0x7FFF, 0x8000,
        0xFFFF, 0x10000, 0x7FFF_FFFF, 0x8000_0000,
        0xFFFF_FFFF, 0x1_0000_0000, long.MaxValue, 0x8000_0000_0000_0000, ulong.MaxValue, ulong.MaxValue - 511,
    ];

    /// <summary>Changes bytes in their places.</summary>
    /// <param name="input">The input; changed.</param>
    /// <param name="reads">Where it is read.</param>
    /// <returns>What was changed, in order.</returns>
    public List<(int At, byte[] Bytes)> ChangeInPlace(byte[] input, (int At, int Length)[] reads)
    {
        var changes = new List<(int At, byte[] Bytes)>();
        for (int left = 1 << random.Next(4); left > 0; left--)
        {
            int at = Place(input, reads);
            int width = Math.Min(random.Next(10) < 7 ? 1 << random.Next(4) : random.Next(1, 64), input.Length - at);
            if (random.Next(2) == 0) at = at / width * width;
            byte[] bytes = random.Next(10) switch
            {
                < 7 when width <= 8 => Number(input.AsSpan(at, width)),
                7 when words.Count > 0 => Word(input.Length - at),
                < 9 => Copy(input, reads, width),
                _ => RandomBytes(width),
            };
            bytes.CopyTo(input, at);
            changes.Add((at, bytes));
        }

        return changes;
    }

    /// <summary>Changes bytes, and inserts, removes and splices.</summary>
    /// <param name="input">The input.</param>
    /// <param name="other">Another input.</param>
    public byte[] Change(byte[] input, byte[] other)
    {
        for (int left = 1 << random.Next(4); left > 0; left--)
        {
            if (input.Length == 0) return RandomBytes(8);
            int at = random.Next(3) == 0 ? random.Next(Math.Min(input.Length, 256)) : random.Next(input.Length);
            int width = Math.Min(random.Next(1, 33), input.Length - at);
            switch (random.Next(9))
            {
                case 0:
                    input = [.. input[..at], .. input[(at + width)..]];
                    break;
                case 1 when input.Length < 1 << 17:
                    input = [.. input[..at], .. Copy(input, [], width), .. input[at..]];
                    break;
                case 2:
                    Copy(input, [], width).CopyTo(input, at);
                    break;
                case 3 when words.Count > 0 && input.Length < 1 << 17:
                    input = [.. input[..at], .. Word(int.MaxValue), .. input[at..]];
                    break;
                case 4 when words.Count > 0:
                    Word(input.Length - at).CopyTo(input, at);
                    break;
                case 5 when random.Next(4) == 0:
                    input = [.. input[..at], .. other[random.Next(other.Length + 1)..]];
                    break;
                case 6:
                    input[at] = (byte)random.Next(256);
                    break;
                default:
                    Number(input.AsSpan(at, Math.Min(1 << random.Next(4), input.Length - at))).CopyTo(input, at);
                    break;
            }
        }

        return input;
    }

    // Mostly where it was read, and rather where there is something than among zeros.
    private int Place(byte[] input, (int At, int Length)[] reads)
    {
        int at = random.Next(input.Length);
        if (reads.Length == 0 || random.Next(20) == 0) return at;
        for (int tries = 0; tries < 6 && (tries == 0 || input[at] == 0); tries++)
        {
            (int start, int length) = reads[random.Next(reads.Length)];
            at = start + random.Next(random.Next(3) == 0 ? Math.Min(length, 128) : length);
        }

        return at;
    }

    private byte[] Number(ReadOnlySpan<byte> old)
    {
        bool isBig = random.Next(2) == 0;
        Span<byte> wide = stackalloc byte[sizeof(ulong)];
        wide.Clear();
        old.CopyTo(isBig ? wide[(wide.Length - old.Length)..] : wide);
        ulong value = isBig ? BinaryPrimitives.ReadUInt64BigEndian(wide) : BinaryPrimitives.ReadUInt64LittleEndian(wide);
        value = unchecked(random.Next(6) switch
        {
            0 => s_odd[random.Next(s_odd.Length)],
            1 => value + (ulong)random.Next(1, 36),
            2 => value - (ulong)random.Next(1, 36),
            3 => value ^ (1UL << random.Next(8 * old.Length)),
            4 => (ulong)random.NextInt64(),
            _ => value << random.Next(1, 9),
        });
        if (isBig) BinaryPrimitives.WriteUInt64BigEndian(wide, value);
        else BinaryPrimitives.WriteUInt64LittleEndian(wide, value);
        return (isBig ? wide[(wide.Length - old.Length)..] : wide[..old.Length]).ToArray();
    }

    private byte[] Copy(byte[] input, (int At, int Length)[] reads, int width)
    {
        int from = reads.Length > 0 ? reads[random.Next(reads.Length)].At + random.Next(64) : random.Next(input.Length);
        return input.AsSpan(Math.Clamp(from, 0, input.Length - width), width).ToArray();
    }

    private byte[] Word(int most)
    {
        byte[] word = words[random.Next(words.Count)];
        return word[..Math.Min(word.Length, most)];
    }

    private byte[] RandomBytes(int count)
    {
        byte[] bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }
}
