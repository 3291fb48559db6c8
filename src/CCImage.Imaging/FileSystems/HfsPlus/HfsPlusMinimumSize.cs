using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// How small a volume can be made by moving what lies in its tail: the least number of blocks for which there is a relocation plan. From
/// metadata alone, without reading the catalog. Nothing is reckoned for growth; the copies of the trees that a move needs are.
/// </summary>
internal static class HfsPlusMinimumSize
{
    /// <summary>The least size in bytes, a multiple of the allocation block; where free space cannot be told, the size it has.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: header, allocation file or the header of a tree cannot be
    /// read.</exception>
    public static long Of(HfsPlusVolume volume, CancellationToken cancellation = default) =>
        HfsPlusBlockMap.FromBitmap(volume, cancellation) is { } map ? Of(map, cancellation) * map.BlockSize : volume.CapacityBytes;

    /// <summary>The least number of blocks.</summary>
    /// <param name="map">The volume's blocks.</param>
    /// <param name="cancellation">Ends it.</param>
    public static long Of(HfsPlusBlockMap map, CancellationToken cancellation = default)
    {
        // The allocation file is the only thing that gets smaller.
        long used = map.TotalBlocks - map.Free.Sum(r => r.Count) - map.Allocation.Sum(r => r.Count);
        long low = Math.Max(used, Layout.DivideUp(HfsPlusGeometry.MinimumVolumeSize, map.BlockSize)), high = map.TotalBlocks;
        if (low >= high || IsPossible(map, low)) return Math.Min(low, high);
        while (high - low > 1)
        {
            cancellation.ThrowIfCancellationRequested();
            long middle = low + ((high - low) / 2);
            if (IsPossible(map, middle)) high = middle;
            else low = middle;
        }

        return high;
    }

    private static bool IsPossible(HfsPlusBlockMap map, long blocks) =>
        HfsPlusRelocation.TryPlan(map, blocks, blocks - map.Reserved) is not null;
}
