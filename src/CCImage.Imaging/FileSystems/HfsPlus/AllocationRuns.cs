using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Reads an allocation file (TN1150: a bit per block, most significant first, 1 for used) as runs.</summary>
internal static class AllocationRuns
{
    private const int ChunkBytes = 64 << 10;

    /// <summary>The runs of free blocks, ascending and apart from each other. What the storage does not hold is not read: there all is
    /// free.</summary>
    /// <param name="bitmap">The allocation file.</param>
    /// <param name="total">Blocks of the volume; the file has a bit for each.</param>
    /// <param name="query">How short runs may be, and what ends it; null for all of them.</param>
    /// <param name="blockSize">Bytes of a block.</param>
    public static IEnumerable<(
        long First, long Count)> FreeOf(BlockStorage bitmap, long total, FreeSpaceQuery? query = null, long blockSize = 1)
    {
        query ??= new();
        var scan = new BitmapScan(isHighFirst: true);
        foreach ((long block, ReadOnlyMemory<byte> bits) in Read(bitmap, total, query.Cancellation))
        {
            if (bits.IsEmpty)
            {
                scan.BeginFree(block);
                continue;
            }

            foreach ((long First, long Count) run in scan.Next(bits.Span, block, total, query.ShortestIn(blockSize))) yield return run;
        }

        if (scan.Finish(total) is (long First, long Count) last && last.Count >= query.ShortestIn(blockSize)) yield return last;
    }

    /// <summary>The number of free blocks.</summary>
    /// <param name="bitmap">The allocation file.</param>
    /// <param name="total">Blocks of the volume; the file has a bit for each.</param>
    /// <param name="cancellation">Ends it.</param>
    public static long CountFree(BlockStorage bitmap, long total, CancellationToken cancellation)
    {
        long free = 0;
        var scan = new BitmapScan(isHighFirst: true);
        foreach ((long block, ReadOnlyMemory<byte> bits) in Read(bitmap, total, cancellation))
        {
            long count = Math.Min(ChunkBytes * 8L, total - block);
            free += bits.IsEmpty ? count : scan.CountClear(bits.Span, count);
        }

        return free;
    }

    // Pieces of the bitmap; an empty one where nothing is stored.
    private static IEnumerable<(
        long Block, ReadOnlyMemory<byte> Bits)> Read(BlockStorage bitmap, long total, CancellationToken cancellation)
    {
        byte[] buffer = new byte[(int)Math.Min(ChunkBytes, Layout.DivideUp(total, 8))];
        for (long block = 0; block < total; block += buffer.Length * 8L)
        {
            cancellation.ThrowIfCancellationRequested();
            int length = (int)Math.Min(buffer.Length, Layout.DivideUp(total - block, 8));
            bool isStored = ClusterRuns.ReadTable(bitmap, block / 8, buffer.AsSpan(0, length));
            yield return (block, isStored ? buffer.AsMemory(0, length) : default);
        }
    }
}
