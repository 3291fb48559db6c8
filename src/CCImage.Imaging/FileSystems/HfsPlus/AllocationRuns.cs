using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Reads an allocation file (TN1150: a bit per block, most significant first, 1 for used) as runs.</summary>
internal static class AllocationRuns
{
    private const int ChunkBytes = 256 << 10;

    /// <summary>The runs of free blocks, ascending and apart from each other. What the storage does not hold is not read: there all is free.</summary>
    /// <param name="bitmap">The allocation file.</param>
    /// <param name="total">Blocks of the volume; the file has a bit for each.</param>
    public static List<(long First, long Count)> FreeOf(BlockStorage bitmap, long total)
    {
        var runs = new List<(long First, long Count)>();
        byte[] buffer = new byte[(int)Math.Min(ChunkBytes, Layout.DivideUp(total, 8))];
        long start = -1;
        for (long block = 0; block < total; block += buffer.Length * 8L)
        {
            ReadOnlySpan<byte> chunk = buffer.AsSpan(0, (int)Math.Min(buffer.Length, Layout.DivideUp(total - block, 8)));
            if (!ClusterRuns.ReadTable(bitmap, block / 8, buffer.AsSpan(0, chunk.Length)))
            {
                if (start < 0) start = block;
                continue;
            }

            for (int at = 0; at < chunk.Length; at++)
            {
                int same = chunk[at..].IndexOfAnyExcept(start < 0 ? (byte)0xFF : (byte)0);
                if (same < 0) break;
                at += same;
                AddByte(chunk[at], block + (at * 8L));
            }
        }

        if (start >= 0) runs.Add((start, total - start));
        return runs;

        void AddByte(byte bits, long first)
        {
            for (int bit = 0; bit < 8 && first + bit < total; bit++)
            {
                bool isFree = (bits & (0x80 >> bit)) == 0;
                if (isFree && start < 0) start = first + bit;
                if (isFree || start < 0) continue;
                runs.Add((start, first + bit - start));
                start = -1;
            }
        }
    }
}
