namespace CCImage.FileSystems.Apfs;

/// <summary>
/// What the size of a container of 4,096-byte blocks decides about its structures. Sources: Apple File System Reference
/// (<c>nx_max_file_systems</c>,
/// <c>nx_ephemeral_info</c>); the limits of the free queues as apfsprogs learned them from <c>newfs_apfs</c>; the rest is in
/// docs/formats/apfs.md.
/// </summary>
internal static class ApfsSizing
{
    public const int BlockSize = 4096;
    public const uint BlocksPerChunk = 8 * BlockSize;
    public const int ChunksPerInfoBlock = 126;
    public const int InfoBlocksPerAddressBlock = 507;
    public const int PoolBitmapSlots = 16; // for each block of the pool's bitmap

    private const long BytesPerVolume = 512L << 20;
    private const long SmallestWithDefaults = 128L << 20;
    private const uint DefaultEphemeralBlocks = 8; // NX_EPH_MIN_BLOCK_COUNT
    private const uint EphemeralStructures = 4; // NX_MAX_FILE_SYSTEM_EPH_STRUCTS
    private const uint EphemeralVersion = 1;
    private const int MappingsPerMap = 101;
    private const int Checkpoints = 4; // that the areas have room for

    /// <summary>Chunks of a device.</summary>
    public static long Chunks(long blocks) => Ceiling(blocks, BlocksPerChunk);

    /// <summary>Chunk-info blocks.</summary>
    public static long InfoBlocks(long chunks) => Ceiling(chunks, ChunksPerInfoBlock);

    /// <summary>Blocks of addresses of chunk-info blocks; none where a single one would do.</summary>
    public static long AddressBlocks(long infoBlocks) =>
        infoBlocks <= InfoBlocksPerAddressBlock ? 0 : Ceiling(infoBlocks, InfoBlocksPerAddressBlock);

    /// <summary>Blocks of the internal pool: three for each chunk, each chunk-info block, and each block of their addresses.</summary>
    public static long PoolBlocks(long chunks) => 3 * (chunks + InfoBlocks(chunks) + AddressBlocks(InfoBlocks(chunks)));

    /// <summary>Blocks of one bitmap of the internal pool.</summary>
    public static long PoolBitmapBlocks(long poolBlocks) => Ceiling(poolBlocks, BlocksPerChunk);

    /// <summary>Bytes of the array of the slots that are in use.</summary>
    public static long SlotArrayBytes(long poolBitmapBlocks) => Ceiling(poolBitmapBlocks * sizeof(ushort), sizeof(ulong)) * sizeof(ulong);

    /// <summary>Blocks of a space manager.</summary>
    /// <param name="chunks">Of the container.</param>
    /// <param name="arraysOffset">Bytes of its fixed fields.</param>
    public static long ManagerBlocks(long chunks, long arraysOffset)
    {
        long infoBlocks = InfoBlocks(chunks), addressBlocks = AddressBlocks(infoBlocks), bitmap = PoolBitmapBlocks(PoolBlocks(chunks));
        long addresses = addressBlocks == 0 ? infoBlocks : addressBlocks;
        return Ceiling(arraysOffset + (bitmap * sizeof(ulong)) + SlotArrayBytes(bitmap) + (bitmap * PoolBitmapSlots * sizeof(ushort))
            + (addresses * sizeof(ulong)), BlockSize);
    }

    /// <summary>Volumes that there may be.</summary>
    public static long MostVolumes(long blocks) =>
        Math.Min(ApfsConstants.MaximumVolumes, ((blocks * BlockSize) + BytesPerVolume - 1) / BytesPerVolume);

    /// <summary>Nodes that the tree of the main device's free queue may have.</summary>
    public static long MainQueueNodes(long blocks) => blocks switch
    {
        < 0x40000 => RoomForRoot(1 + ((blocks - 1) / 4544)),
        < 0x100000 => 116 + ((blocks - 261281) / 2272),
        _ => 512,
    };

    /// <summary>Nodes that the tree of the internal pool's free queue may have.</summary>
    public static long PoolQueueNodes(long chunks) => RoomForRoot((3 * (chunks + 751) / 1127) - 1);

    /// <summary><c>nx_ephemeral_info[0]</c>: how the size of the checkpoint data area was chosen.</summary>
    public static ulong EphemeralInfo(long blocks) =>
        ((ulong)EphemeralBlocks(blocks) << 32) | (EphemeralStructures << 16) | EphemeralVersion;

    /// <summary>
    /// Blocks of a checkpoint data area that four checkpoints of the largest kind fill: both free queues, the space manager, the reaper and
    /// its list, and what each volume may need.
    /// </summary>
    /// <param name="blocks">Of the container.</param>
    /// <param name="volumes">Their number.</param>
    /// <param name="managerBlocks">Blocks of the space manager.</param>
    public static long CheckpointDataBlocks(long blocks, long volumes, long managerBlocks) =>
        Checkpoints * (MainQueueNodes(blocks) + PoolQueueNodes(Chunks(blocks)) + managerBlocks + 2
            + (2 * EphemeralStructures * EphemeralBlocks(blocks) * volumes));

    /// <summary>Blocks of a checkpoint descriptor area for as many checkpoints: each has its superblock and the maps of its objects, at
    /// worst of one block each.</summary>
    /// <param name="dataBlocks">Blocks of the checkpoint data area.</param>
    public static long CheckpointDescriptorBlocks(long dataBlocks) => Checkpoints * (Ceiling(dataBlocks / Checkpoints, MappingsPerMap) + 1);

    private static long EphemeralBlocks(long blocks) =>
        blocks * BlockSize < SmallestWithDefaults ? MainQueueNodes(blocks) : DefaultEphemeralBlocks;

    private static long Ceiling(long value, long of) => (value + of - 1) / of;

    // A tree of two nodes is a root with one child; the next split needs a third.
    private static long RoomForRoot(long nodes) => nodes == 2 ? 3 : nodes;
}
