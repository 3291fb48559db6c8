using CCImage.Diagnostics;
using CCImage.Partitions.Gpt;
using CCImage.Storage;

namespace CCImage.Partitions;

/// <summary>Judges the partition map of a disk, whatever its scheme; a GPT can be mended.</summary>
/// <param name="disk">The disk.</param>
/// <param name="table">Its map as it was read.</param>
internal sealed class PartitionChecker(BlockStorage disk, PartitionTable table)
{
    private const string What = "Partitions";

    /// <summary>Judges the map.</summary>
    /// <param name="findings">Receives what is found.</param>
    public void Check(ImageFindings findings)
    {
        if (table.Scheme == PartitionScheme.None) return;
        if (table.Scheme == PartitionScheme.Gpt) new GptChecker(disk, table.MapSectorSize).Check(findings);
        bool isSane = true;
        BackupImagePartition? before = null;
        foreach (BackupImagePartition partition in table.Partitions.OrderBy(p => p.OffsetBytes))
        {
            string place = $"partition {partition.Number}";
            if (partition.OffsetBytes > disk.Length || partition.SizeBytes > disk.Length - partition.OffsetBytes)
                Wrong($"It takes {partition.SizeBytes} bytes from byte {partition.OffsetBytes} on, and the disk has {disk.Length}: the "
                    + $"image is cut short, or the map is wrong.", place);
            if (before is not null && partition.OffsetBytes - before.OffsetBytes < before.SizeBytes)
                Wrong($"It overlaps partition {before.Number}.", place);
            if (before is null || partition.OffsetBytes + (Int128)partition.SizeBytes > before.OffsetBytes + (Int128)before.SizeBytes)
                before = partition;
        }

        if (isSane) findings.Ok(What, table.Partitions.Count == 1 ? "The partition lies inside the disk."
            : $"{table.Partitions.Count} partitions lie inside the disk and apart from each other.");

        void Wrong(string message, string place)
        {
            isSane = false;
            findings.Damaged(What, message, place);
        }
    }

    /// <summary>Mends what <see cref="Check"/> called repairable; the disk can be written.</summary>
    /// <returns>What was mended, a sentence each.</returns>
    public IReadOnlyList<string> Repair() =>
        table.Scheme == PartitionScheme.Gpt && new GptChecker(disk, table.MapSectorSize).Repair() is { } mended ? [mended] : [];
}
