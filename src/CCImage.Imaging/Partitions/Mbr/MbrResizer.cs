using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Partitions.Mbr;

/// <summary>Fits a master boot record to another length of its disk: one entry in one sector, written at once.</summary>
internal sealed class MbrResizer : PartitionMapResizer
{
    private readonly MbrSector _record;
    private readonly int _last = -1;

    /// <summary>Reads the record.</summary>
    /// <param name="disk">The disk.</param>
    /// <param name="table">Its partitions.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnsupportedFormat"/>: the last partition is a logical one.</exception>
    public MbrResizer(BlockStorage disk, PartitionTable table)
    {
        byte[] bytes = new byte[PartitionTable.SectorSize];
        disk.Read(0, bytes);
        _record = Layout.Read<MbrSector>(bytes);
        for (int i = 0; i < 4; i++)
        {
            MbrEntry entry = _record.Entries[i];
            if (entry.Type == 0 || entry.SectorCount == 0) continue;
            if (entry.IsExtended)
                throw ImageException.Unsupported(
                    "A disk with logical partitions cannot be resized.", "Back its files up into a new image.");
            if (_last < 0 || entry.StartSector > _record.Entries[_last].StartSector) _last = i;
        }

        if (_last < 0 || table.Partitions.All(p => p.OffsetBytes < _record.Entries[_last].StartSector * (long)PartitionTable.SectorSize))
            throw ImageException.Unsupported(
                "The last partition of the disk begins outside of it.", "Restore what can be read, and make a new image.");
    }

    /// <inheritdoc/>
    public override long TailBytes => 0;

    /// <inheritdoc/>
    public override long LastEndFor(long diskLength)
    {
        CheckTwoTebibytes(diskLength, "A master boot record");
        return base.LastEndFor(diskLength);
    }

    /// <inheritdoc/>
    public override void Write(BlockStorage disk, long newLength, long lastEnd)
    {
        MbrSector record = _record;
        uint count = (uint)((lastEnd / PartitionTable.SectorSize) - record.Entries[_last].StartSector);
        if (count == record.Entries[_last].SectorCount) return;
        (record.Entries[_last].SectorCount, record.Entries[_last].Last) = (count, ChsAddress.OutOfRange);
        disk.Write(0, Layout.ToBytes(in record));
        disk.Flush();
    }
}
