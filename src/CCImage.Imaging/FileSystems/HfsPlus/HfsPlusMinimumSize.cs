using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// How small a volume could be made if whatever lies in its tail may be moved: the blocks in use, with an allocation file that has a bit for no
/// more than these. From metadata alone. Nothing is reckoned for growth, nor for extents that moving into many small holes would add.
/// </summary>
internal static class HfsPlusMinimumSize
{
    /// <summary>The least size in bytes, a multiple of the allocation block; where free space cannot be told, the size it has.</summary>
    /// <param name="volume">The volume.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: the allocation file cannot be read.</exception>
    public static long Of(HfsPlusVolume volume)
    {
        VolumeHeader header = volume.Header;
        long blockSize = header.BlockSize;
        long free = volume.GetFreeExtents().Sum(e => e.Length) / blockSize;
        if (free == 0) return volume.CapacityBytes;
        long others = header.TotalBlocks - free - header.AllocationFile.TotalBlocks;
        // The bitmap covers itself, too: a block of it covers thousands, so that this ends at once.
        long bitmap = BitmapBlocks(others, blockSize);
        while (BitmapBlocks(others + bitmap, blockSize) > bitmap) bitmap++;
        long size = Math.Max((others + bitmap) * blockSize, Layout.RoundUp(HfsPlusGeometry.MinimumVolumeSize, blockSize));
        return Math.Min(size, volume.CapacityBytes);
    }

    private static long BitmapBlocks(long blocks, long blockSize) => Layout.DivideUp(Layout.DivideUp(blocks, 8), blockSize);
}
