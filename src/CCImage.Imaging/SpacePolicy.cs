namespace CCImage;

/// <summary>
/// When space on the disk under an image decides: the rules of Bombich's article "Backing up to a disk image", with its numbers (decimal,
/// as macOS counts) as defaults.
/// </summary>
public sealed record SpacePolicy
{
    /// <summary>More than this is worth the question whether an image is the right fit.</summary>
    public const long LargeImageBytes = 4_000_000_000_000;

    /// <summary>What a startup disk keeps free beside everything that the source holds, in bytes.</summary>
    public const long StartupDiskReserveBytes = 1_000_000_000;

    /// <summary>What is said of a large image.</summary>
    internal const string LargeImageAdvice = "This is more than 4 TB: consider whether a disk image is the right fit for it.";

    /// <summary>The article's numbers.</summary>
    public static SpacePolicy Default { get; } = new();

    /// <summary>An image is compacted before a backup when less than this is free on the disk under it.</summary>
    public long CompactBelowFreeBytes { get; init; } = 25_000_000_000;

    /// <summary>Likewise, as a share of that disk's capacity, from 0 to 1.</summary>
    public double CompactBelowFreeShare { get; init; } = 0.15;

    /// <summary>Whether an image is to be compacted before a backup.</summary>
    /// <param name="capacityBytes">Size of the disk under it.</param>
    /// <param name="freeBytes">Bytes free there.</param>
    public bool ShouldCompact(long capacityBytes, long freeBytes) =>
        freeBytes < CompactBelowFreeBytes || freeBytes < capacityBytes * CompactBelowFreeShare;

    /// <summary>The capacity of a new image that grows: what is free on the disk under it, for the source has to fit into that
    /// anyway.</summary>
    /// <param name="freeBytes">Bytes free there.</param>
    public static long DefaultCapacity(long freeBytes) => freeBytes;

    /// <summary>
    /// Whether an image that grows may lie on the startup disk: a system whose disk is full is not stable. An image that cannot grow (a
    /// read/write one that is preallocated) always may.
    /// </summary>
    /// <param name="freeBytes">Bytes free on the startup disk.</param>
    /// <param name="sourceBytes">Bytes that the source holds.</param>
    public static bool FitsStartupDisk(long freeBytes, long sourceBytes) => freeBytes - StartupDiskReserveBytes >= sourceBytes;
}
