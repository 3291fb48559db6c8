using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Sizes that follow from the size of a volume alone, as Apple's newfs_hfs (hfs-627) chooses them.
/// </summary>
internal static class HfsPlusGeometry
{
    /// <summary>The smallest volume newfs_hfs makes, in bytes.</summary>
    public const long MinimumVolumeSize = 512 * 1024;

    /// <summary>The largest volume, in bytes (newfs_hfs' MAXHFSVOLSIZE, cut to what a signed 64-bit length holds).</summary>
    public const long MaximumVolumeSize = 0x7FFF_FFFF_8000_0000;

    /// <summary>The largest volume that is made, in bytes: 128 PiB, where UDIF and hdiutil's sparse images end.</summary>
    public const long LargestNewVolume = 128L << 50;

    /// <summary>The usual allocation block, in bytes.</summary>
    public const int DefaultBlockSize = 4096;

    /// <summary>Node size of the extents-overflow tree, in bytes.</summary>
    public const int ExtentsNodeSize = 4096;

    /// <summary>Node size of the attributes tree, in bytes.</summary>
    public const int AttributesNodeSize = 8192;

    // newfs_hfs' clump table in MiB: volumes from 1 GiB up, each row twice the size of the one before; attributes, catalog, extents.
    private static readonly (int Attributes, int Catalog, int Extents)[] Clumps =
    [
        (4, 4, 4), (6, 6, 4), (8, 8, 4), (11, 11, 5), (64, 32, 5), (84, 49, 6), (111, 74, 7), (147, 111, 8), (194, 169, 9), (256, 256, 11),
        (294, 294, 14), (338, 338, 16), (388, 388, 20), (446, 446, 25), (512, 512, 32),
    ];

    /// <summary>
    /// Bytes in an allocation block: 4 KiB below 2 TiB, 8 KiB below 8 TiB, then doubling with the volume, so that the volume can grow
    /// eightfold before 32-bit block numbers end.
    /// </summary>
    /// <param name="volumeSize">Bytes.</param>
    public static int BlockSize(long volumeSize)
    {
        int index = BitLength(volumeSize) - 41;
        return index <= 0 ? DefaultBlockSize : index == 1 ? 8192 : 8192 << (index - 2);
    }

    /// <summary>Bytes of the journal: 512 KiB below 128 MiB, then 8 MiB for every 100 GiB begun, at most 512 MiB, at least a
    /// block.</summary>
    /// <param name="volumeSize">Bytes.</param>
    /// <param name="blockSize">Bytes.</param>
    public static long JournalSize(long volumeSize, int blockSize)
    {
        const long MiB = 1024 * 1024;
        long size = volumeSize < 128 * MiB ? 512 * 1024
            : Math.Min(8 * MiB * (Math.Min(volumeSize / (100 * 1024 * MiB), 64) + 1), 512 * MiB);
        return Math.Max(size, blockSize);
    }

    /// <summary>Node size of the catalog, in bytes: 4 KiB below 1 GiB, else 8 KiB.</summary>
    /// <param name="volumeSize">Bytes.</param>
    public static int CatalogNodeSize(long volumeSize) => volumeSize < 0x4000_0000 ? 4096 : 8192;

    /// <summary>
    /// Clump, and initial size, of a B-tree file in bytes: 0.8 % of a small volume, from a table above 1 GiB; a multiple of node and block.
    /// </summary>
    /// <param name="volumeSize">Bytes.</param>
    /// <param name="blockSize">Bytes.</param>
    /// <param name="nodeSize">Bytes.</param>
    /// <param name="fileId">Which tree.</param>
    public static uint TreeClumpSize(long volumeSize, int blockSize, int nodeSize, uint fileId)
    {
        long unit = Math.Max(nodeSize, blockSize);
        long sectors = volumeSize / 512;
        long clump;
        if (sectors < 0x200000)
        {
            clump = Math.Max(sectors << 2, 8L * nodeSize);
        }
        else
        {
            (int attributes, int catalog, int extents) = Clumps[Math.Min(BitLength(sectors >> 22), Clumps.Length - 1)];
            clump = 1024L * 1024 * fileId switch
            {
                CatalogNodeId.AttributesFile => attributes,
                CatalogNodeId.CatalogFile => catalog,
                _ => extents,
            };
        }

        return (uint)Math.Max(clump / unit * unit, unit);
    }

    /// <summary>Bytes of the allocation file: a bit a block, whole blocks.</summary>
    /// <param name="totalBlocks">Allocation blocks of the volume.</param>
    /// <param name="blockSize">Bytes.</param>
    public static long AllocationFileSize(uint totalBlocks, int blockSize) => Layout.RoundUp(Layout.DivideUp(totalBlocks, 8), blockSize);

    /// <summary>Clump of ordinary forks, in bytes: 16 blocks of 4 KiB.</summary>
    /// <param name="blockSize">Bytes.</param>
    public static uint ForkClumpSize(int blockSize) => (uint)Layout.RoundUp(16 * DefaultBlockSize, blockSize);

    /// <summary>
    /// Blocks that newfs_hfs leaves free behind the catalog for frequently used files on volumes from 10 GiB: 5 MiB a GiB, 10 to 512 MiB.
    /// </summary>
    /// <param name="volumeSize">Bytes.</param>
    /// <param name="blockSize">Bytes.</param>
    public static long HotFileBandBlocks(long volumeSize, int blockSize)
    {
        const long MiB = 1024 * 1024;
        return volumeSize < 10 * 1024 * MiB ? 0 : Math.Clamp(volumeSize / 1024 * 5, 10 * MiB, 512 * MiB) / blockSize;
    }

    private static int BitLength(long value) => 64 - System.Numerics.BitOperations.LeadingZeroCount((ulong)value);
}
