using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>What file systems that count in clusters from 2 (FAT, exFAT) have in common: runs of free clusters as ranges of the
/// volume.</summary>
internal static class ClusterRuns
{
    /// <summary>Number of the first cluster; 0 and 1 do not exist.</summary>
    public const uint First = 2;

    /// <summary>Joins runs that touch each other and turns them into ranges of bytes.</summary>
    /// <param name="runs">Ascending runs of clusters.</param>
    /// <param name="heapOffset">Where cluster 2 begins, in bytes from the start of the volume.</param>
    /// <param name="clusterSize">Bytes in a cluster.</param>
    public static IEnumerable<StorageExtent> ToExtents(IEnumerable<(long First, long Count)> runs, long heapOffset, long clusterSize)
    {
        long start = 0, end = 0;
        foreach ((long first, long count) in runs)
        {
            if (first == end)
            {
                end += count;
                continue;
            }

            if (end > start) yield return Extent();
            (start, end) = (first, first + count);
        }

        if (end > start) yield return Extent();

        StorageExtent Extent() => new(heapOffset + ((start - First) * clusterSize), (end - start) * clusterSize, ExtentKind.Unused);
    }

    /// <summary>Reads a part of an allocation table; what is not stored at all is not read, since it is zeros.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="buffer">To be filled.</param>
    /// <returns>Whether any of it is stored; if not, the buffer holds zeros.</returns>
    public static bool ReadTable(BlockStorage volume, long offset, Span<byte> buffer)
    {
        if (volume.GetExtents(offset, buffer.Length).Any(e => e.Kind == ExtentKind.Data))
        {
            volume.Read(offset, buffer);
            return true;
        }

        buffer.Clear();
        return false;
    }
}
