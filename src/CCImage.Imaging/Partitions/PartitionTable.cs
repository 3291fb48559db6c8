using CCImage.Partitions.ApplePartitionMap;
using CCImage.Partitions.Gpt;
using CCImage.Partitions.Mbr;
using CCImage.Storage;

namespace CCImage.Partitions;

/// <summary>How a disk is divided: the scheme, the partitions, and the segments in which a UDIF image stores it.</summary>
/// <param name="Scheme">The kind of map.</param>
/// <param name="Partitions">
/// The partitions that can hold a file system, by their number in the map (<c>s2</c> of <c>/dev/disk4s2</c> is number 2); the map itself
/// and free stretches are left out. As the map says: a partition may reach behind the end of a disk that was cut short.
/// </param>
/// <param name="Segments">All of the disk; see <see cref="DiskSegment"/>.</param>
internal sealed record PartitionTable(
    PartitionScheme Scheme, IReadOnlyList<BackupImagePartition> Partitions, IReadOnlyList<DiskSegment> Segments)
{
    /// <summary>Bytes in a sector; Apple's disk images know no other.</summary>
    public const int SectorSize = 512;

    /// <summary>Bytes in the sectors that the map counts: 512, or 4,096 in a GPT of a disk with larger sectors.</summary>
    public int MapSectorSize { get; init; } = SectorSize;

    /// <summary>
    /// Looks for a map: GPT, Apple partition map, MBR. A GPT counts behind a protective MBR; behind none only where nothing else is there
    /// that could be meant, or what is left of an older one would count. A disk with none of them is one without a map, never an error.
    /// </summary>
    /// <param name="disk">The disk.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: there is a map, and it contradicts itself.</exception>
    public static PartitionTable Read(BlockStorage disk)
    {
        if (disk.Length < SectorSize) return Whole(disk);
        MasterBootRecord? mbr = MasterBootRecord.TryRead(disk);
        if (mbr is { HasProtectiveEntry: true } && GptReader.TryRead(disk, mbr) is { } gpt) return gpt;
        if (ApplePartitionMapReader.TryRead(disk) is { } apple) return apple;
        if (mbr is { IsPartitionTable: true } && MbrReader.TryRead(disk, mbr) is { } table) return table;
        if (mbr is null or { IsEmpty: true } && GptReader.TryReadUnprotected(disk) is { } unprotected) return unprotected;
        return Whole(disk);
    }

    /// <summary>The segments, or the disk as a whole when the map's parts overlap.</summary>
    /// <param name="segments">What the map says.</param>
    /// <param name="totalSectors">Sectors of the disk.</param>
    internal static IReadOnlyList<DiskSegment> SegmentsOf(SegmentList segments, long totalSectors) =>
        segments.Build() ?? [DiskSegment.Whole("unknown partition", totalSectors)];

    private static PartitionTable Whole(BlockStorage disk)
    {
        long sectors = disk.Length / SectorSize;
        return new(PartitionScheme.None, [], sectors == 0 ? [] : [DiskSegment.Whole(TypeOfWhole(disk), sectors)]);
    }

    // Bare signatures: 'H+', 'HX' and 'BD' of HFS at byte 1024. Seen in images without a map: Apple_HFS, and "unknown partition" for a disk
    // that was none of them. The name of an HFSX disk is a guess from the Apple partition map's type.
    private static string TypeOfWhole(BlockStorage disk)
    {
        Span<byte> signature = stackalloc byte[2];
        if (disk.Length < 1024 + 512) return "unknown partition";
        disk.Read(1024, signature);
        return (signature[0], signature[1]) switch
        {
            ((byte)'H', (byte)'+') or ((byte)'B', (byte)'D') => "Apple_HFS",
            ((byte)'H', (byte)'X') => "Apple_HFSX",
            _ => "unknown partition",
        };
    }
}
