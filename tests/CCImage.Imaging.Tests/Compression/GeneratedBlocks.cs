namespace CCImage.Tests.Compression;

/// <summary>Blocks made from a seed: pieces of every kind that codecs treat differently, of every length up to a limit.</summary>
internal static class GeneratedBlocks
{
    /// <summary>One block. Half of them have at most 600 bytes, one in 500 the full length.</summary>
    /// <param name="seed">The seed; the same gives the same.</param>
    /// <param name="longest">The longest, in bytes.</param>
    public static byte[] Make(int seed, int longest = 300_000)
    {
        var random = new Random(seed);
        int length = random.Next(500) == 0 ? longest : random.Next(10) == 0 ? 1 + random.Next(longest / 8) : random.Next(3) == 0
            ? random.Next(1, 9000) : random.Next(1, 600);
        byte[] block = new byte[length];
        for (int at = 0; at < length;)
        {
            Span<byte> piece = block.AsSpan(at, Math.Min(length - at, 1 + random.Next(1 << random.Next(1, 17))));
            Fill(piece, block.AsSpan(0, at), random);
            at += piece.Length;
        }

        return block;
    }

    private static void Fill(Span<byte> piece, ReadOnlySpan<byte> before, Random random)
    {
        switch (random.Next(9))
        {
            case 0: // zeros, or some other byte
                piece.Fill((byte)(random.Next(2) * random.Next(256)));
                break;
            case 1: // noise
                random.NextBytes(piece);
                break;
            case 2: // few symbols
                int symbols = random.Next(1, 20);
                for (int i = 0; i < piece.Length; i++) piece[i] = (byte)('a' + random.Next(symbols));
                break;
            case 3: // skewed
                for (int i = 0; i < piece.Length; i++) piece[i] = (byte)(256 * Math.Pow(random.NextDouble(), 4));
                break;
            case 4: // a short pattern
                int period = random.Next(1, 40);
                for (int i = 0; i < piece.Length; i++) piece[i] = i < period ? (byte)random.Next(256) : piece[i - period];
                break;
            case 5 or 6 when before.Length > 0: // what was there before, once more, with a change now and then
                int start = random.Next(before.Length);
                for (int i = 0; i < piece.Length; i++)
                    piece[i] = random.Next(200) == 0 ? (byte)random.Next(256) : before[(start + i) % before.Length];
                break;
            case 7: // records
                for (int i = 0; i < piece.Length; i++)
                    piece[i] = unchecked((byte)((i & 15) < 4 ? i >> (((i & 3) * 4) + 4) : (i & 15) < 6 ? random.Next(4) : 0));
                break;
            default: // words
                BlockSamples.Text(piece.Length, random.Next(50)).CopyTo(piece);
                break;
        }
    }
}
