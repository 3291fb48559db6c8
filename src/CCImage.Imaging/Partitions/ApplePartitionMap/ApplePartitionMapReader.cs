using System.Runtime.InteropServices;
using System.Text;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Partitions.ApplePartitionMap;

/// <summary>Reads a disk that is divided by an Apple partition map.</summary>
internal static class ApplePartitionMapReader
{
    /// <summary>Most entries that are read; Apple's own images have a map of 63 blocks.</summary>
    private const int MaximumEntries = 1024;

    /// <summary>The table, or null when there is none.</summary>
    /// <param name="disk">The disk.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: an entry is missing.</exception>
    public static PartitionTable? TryRead(BlockStorage disk)
    {
        int blockSize = FindBlockSize(disk);
        if (blockSize == 0) return null;
        long sectors = disk.Length / PartitionTable.SectorSize;
        int perBlock = blockSize / PartitionTable.SectorSize;
        uint count = ReadEntry(disk, blockSize).EntryCount;
        if (count is 0 or > MaximumEntries)
            throw ImageException.Damaged(
                $"The Apple partition map claims to have {count} entries.", $"partition map entry 1 at byte {blockSize}");
        var partitions = new List<BackupImagePartition>();
        var segments = new SegmentList(sectors, -1);
        segments.Add(0, perBlock, "Driver Descriptor Map", "DDM");
        for (int number = 1; number <= count; number++)
        {
            long offset = (long)number * blockSize;
            if (offset > disk.Length - PartitionTable.SectorSize)
                throw ImageException.Damaged(
                    "The Apple partition map reaches behind the end of the disk.", $"partition map entry {number} at byte {offset}");
            ApplePartitionEntry entry = ReadEntry(disk, offset);
            if (entry.Signature != ApplePartitionEntry.ValidSignature)
                throw ImageException.Damaged(
                    "An entry of the Apple partition map lacks its signature.", $"partition map entry {number} at byte {offset}");
            string type = Text(entry.Type), name = Text(entry.Name);
            segments.Add((long)entry.StartBlock * perBlock, (long)entry.BlockCount * perBlock, name, type);
            if (type is not ("Apple_partition_map" or "Apple_Free" or "Apple_Void" or "Apple_Scratch") && entry.BlockCount != 0)
                partitions.Add(new(number, type, name, (long)entry.StartBlock * blockSize, (long)entry.BlockCount * blockSize));
        }

        return new(PartitionScheme.ApplePartitionMap, partitions, PartitionTable.SegmentsOf(segments, sectors));
    }

    // The size of a block is the distance of the map's first entry from the start. A hybrid disc has a map in 512-byte blocks and says
    // 2,048 in its driver descriptor: the map in 512-byte blocks comes first, as one image of that kind proves.
    private static int FindBlockSize(BlockStorage disk)
    {
        if (HasMap(disk, PartitionTable.SectorSize)) return PartitionTable.SectorSize;
        Span<byte> bytes = stackalloc byte[8];
        disk.Read(0, bytes);
        DriverDescriptor driver = Layout.Read<DriverDescriptor>(bytes);
        int size = driver.BlockSize;
        return driver.Signature == DriverDescriptor.ValidSignature && size is 1024 or 2048 or 4096 && HasMap(disk, size) ? size : 0;
    }

    private static bool HasMap(BlockStorage disk, int blockSize)
    {
        if (disk.Length < blockSize + PartitionTable.SectorSize) return false;
        ApplePartitionEntry entry = ReadEntry(disk, blockSize);
        return entry.Signature == ApplePartitionEntry.ValidSignature && entry.StartBlock <= MaximumEntries;
    }

    private static ApplePartitionEntry ReadEntry(BlockStorage disk, long offset)
    {
        Span<byte> bytes = stackalloc byte[PartitionTable.SectorSize];
        disk.Read(offset, bytes);
        return Layout.Read<ApplePartitionEntry>(bytes);
    }

    // Mac Roman in the days of the format; only ASCII was ever seen.
    private static string Text(PartitionText text)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<PartitionText>(ref text));
        int end = bytes.IndexOf((byte)0);
        return Encoding.Latin1.GetString(end < 0 ? bytes : bytes[..end]);
    }
}
