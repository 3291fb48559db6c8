using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Partitions.Mbr;

/// <summary>Reads a disk that is divided by a master boot record.</summary>
internal static class MbrReader
{
    /// <summary>Most logical partitions that are followed: far more than any system makes.</summary>
    private const int MaximumLogicalPartitions = 128;

    /// <summary>The table, or null when no entry begins inside the disk.</summary>
    /// <param name="disk">The disk.</param>
    /// <param name="record">Its sector 0.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: the chain of extended boot records leads in a circle or
    /// has no end.</exception>
    public static PartitionTable? TryRead(BlockStorage disk, MasterBootRecord record)
    {
        long sectors = disk.Length / PartitionTable.SectorSize;
        var partitions = new List<BackupImagePartition>();
        var segments = new SegmentList(sectors, 0);
        segments.Add(0, 1, "Master Boot Record", "MBR");
        for (int i = 0; i < record.Entries.Count; i++)
        {
            MbrEntry entry = record.Entries[i];
            if (entry.Type == 0 || entry.SectorCount == 0 || entry.StartSector == 0 || entry.StartSector >= sectors) continue;
            PartitionType type = PartitionType.FromMbr(entry.Type);
            segments.Add(entry.StartSector, entry.SectorCount, "", type.SegmentName);
            if (entry.IsExtended) ReadLogical(disk, entry.StartSector, entry.SectorCount, partitions);
            else partitions.Add(Partition(i + 1, type, entry.StartSector, entry.SectorCount));
        }

        return partitions.Count == 0 && record.Entries.All(e => !e.IsExtended)
            ? null
            : new(PartitionScheme.Mbr, [.. partitions.OrderBy(p => p.Number)], PartitionTable.SegmentsOf(segments, sectors));
    }

    // The chain: each extended boot record names one logical partition, relative to itself, and the next record, relative to the extended
    // partition. Links must go forward: that is what every system writes, and it ends every circle.
    private static void ReadLogical(BlockStorage disk, long extendedStart, long extendedCount, List<BackupImagePartition> partitions)
    {
        Span<byte> bytes = stackalloc byte[PartitionTable.SectorSize];
        long sectors = disk.Length / PartitionTable.SectorSize;
        long current = extendedStart;
        int number = Math.Max(5, partitions.Select(p => p.Number + 1).DefaultIfEmpty(5).Max());
        for (int i = 0; i < MaximumLogicalPartitions; i++)
        {
            if (current >= sectors) return;
            disk.Read(current * PartitionTable.SectorSize, bytes);
            MbrSector record = Layout.Read<MbrSector>(bytes);
            if (record.Signature != MbrSector.ValidSignature) return;
            MbrEntry logical = record.Entries[0];
            if (logical.Type != 0 && logical.SectorCount != 0 && logical.StartSector != 0)
                partitions.Add(
                    Partition(number++, PartitionType.FromMbr(logical.Type), current + logical.StartSector, logical.SectorCount));
            MbrEntry link = record.Entries[1];
            if (!link.IsExtended || link.SectorCount == 0) return;
            long next = extendedStart + link.StartSector;
            if (next <= current || next >= extendedStart + extendedCount)
                throw ImageException.Damaged(
                    "The chain of extended boot records does not go forward inside its partition.", Place(current));
            current = next;
        }

        throw ImageException.Damaged($"The chain of extended boot records is longer than {MaximumLogicalPartitions}.", Place(current));
    }

    private static BackupImagePartition Partition(int number, PartitionType type, long start, long count) =>
        new(number, type.DisplayName, "", start * PartitionTable.SectorSize, count * PartitionTable.SectorSize);

    private static string Place(long sector) => $"extended boot record at byte {sector * PartitionTable.SectorSize}";
}
