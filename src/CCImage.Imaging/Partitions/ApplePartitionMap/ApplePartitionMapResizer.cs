using System.Runtime.InteropServices;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Partitions.ApplePartitionMap;

/// <summary>
/// Fits an Apple partition map to another length of its disk. Each entry is a sector of its own; with a flush between, in the order in
/// which nothing ever overlaps: on a disk that grew the free space at the end goes to the new end, and the partition follows; on a disk
/// that is cut the partition first. Last the disk's size in the driver descriptor.
/// </summary>
internal sealed class ApplePartitionMapResizer : PartitionMapResizer
{
    // What hdiutil leaves free behind the partition.
    private const uint MostFreeBlocks = 10;

    private readonly List<ApplePartitionEntry> _entries = [];
    private readonly int _last = -1, _free = -1; // partition, and the free entry behind it

    /// <summary>Reads the map.</summary>
    /// <param name="disk">A disk with such a map.</param>
    /// <param name="table">Its partitions.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnsupportedFormat"/>: blocks other than sectors, or no single free entry
    /// behind the last partition.</exception>
    public ApplePartitionMapResizer(BlockStorage disk, PartitionTable table)
    {
        byte[] bytes = new byte[PartitionTable.SectorSize];
        disk.Read(0, bytes);
        DriverDescriptor driver = Layout.Read<DriverDescriptor>(bytes);
        if (driver.Signature == DriverDescriptor.ValidSignature && driver.BlockSize != PartitionTable.SectorSize)
            throw ImageException.Unsupported("An Apple partition map in blocks that are no sectors of 512 bytes cannot be resized.",
                "Back its files up into a new image.");
        for (int number = 1; _entries.Count == 0 || number <= _entries[0].EntryCount; number++)
        {
            disk.Read(number * (long)PartitionTable.SectorSize, bytes);
            _entries.Add(Layout.Read<ApplePartitionEntry>(bytes));
            if (!IsFree(_entries[^1]) && (_last < 0 || _entries[^1].StartBlock > _entries[_last].StartBlock)) _last = number - 1;
        }

        if (table.Partitions.All(p => p.OffsetBytes < _entries[_last].StartBlock * (long)PartitionTable.SectorSize))
            throw ImageException.Unsupported(
                "The last entry of the Apple partition map is no partition for a file system.", "Back its files up into a new image.");
        for (int i = 0; i < _entries.Count; i++)
        {
            if (!IsFree(_entries[i]) || _entries[i].BlockCount == 0 || _entries[i].StartBlock < _entries[_last].StartBlock) continue;
            _free = _free < 0 ? i
                : throw ImageException.Unsupported(
                "There are several free entries behind the last partition.", "Back its files up into a new image.");
        }
    }

    /// <inheritdoc/>
    public override long TailBytes =>
        _free < 0 ? 0 : Math.Min(_entries[_free].BlockCount, MostFreeBlocks) * (long)PartitionTable.SectorSize;

    /// <inheritdoc/>
    public override long LastEndFor(long diskLength)
    {
        CheckTwoTebibytes(diskLength, "An Apple partition map");
        return base.LastEndFor(diskLength);
    }

    /// <inheritdoc/>
    public override void Write(BlockStorage disk, long newLength, long lastEnd)
    {
        ApplePartitionEntry last = _entries[_last];
        uint sectors = (uint)(newLength / PartitionTable.SectorSize), end = (uint)(lastEnd / PartitionTable.SectorSize);
        bool grows = end > (long)last.StartBlock + last.BlockCount;
        (last.BlockCount, last.DataCount) =
            (end - last.StartBlock, end - last.StartBlock - Math.Min(last.DataStart, end - last.StartBlock));
        if (!grows) WriteEntry(_last, last);
        if (_free >= 0)
        {
            ApplePartitionEntry free = _entries[_free];
            (free.StartBlock, free.BlockCount, free.DataCount) = (end, sectors - end, sectors - end);
            WriteEntry(_free, free);
        }

        if (grows) WriteEntry(_last, last);
        DriverDescriptor driver = default;
        disk.Read(0, Layout.AsBytes(ref driver));
        if (driver.Signature != DriverDescriptor.ValidSignature) return;
        driver.BlockCount = sectors;
        disk.Write(0, Layout.AsBytes(ref driver));
        disk.Flush();

        void WriteEntry(int index, ApplePartitionEntry entry)
        {
            disk.Write((index + 1) * (long)PartitionTable.SectorSize, Layout.AsBytes(ref entry));
            disk.Flush();
        }
    }

    private static bool IsFree(in ApplePartitionEntry entry)
    {
        ReadOnlySpan<byte> type = MemoryMarshal.AsBytes(new ReadOnlySpan<PartitionText>(in entry.Type));
        return type.StartsWith("Apple_Free\0"u8) || type.StartsWith("Apple_Void\0"u8) || type.StartsWith("Apple_Scratch\0"u8);
    }
}
