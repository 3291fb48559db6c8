using CCImage.Binary;
using CCImage.Checksums;
using CCImage.Partitions.Mbr;
using CCImage.Storage;

namespace CCImage.Partitions.Gpt;

/// <summary>
/// Fits a GUID partition table to another length of its disk: the backup moves to the new end, and the last partition ends there.
/// <para>
/// The order, with a flush between: the new backup, entries and header, where nothing lies but, on a disk that changes by less than a
/// backup, the old one; the first header, one sector, which leads to the backup's entries for now; the first entries; the first header
/// again, which leads to these; the old backup is cleared, where it is still on the disk; the protective record, one sector. The first copy
/// is right at any time, since a header and the entries it leads to are never both in writing.
/// </para>
/// </summary>
internal sealed class GptResizer : PartitionMapResizer
{
    private readonly GptHeader _header;
    private readonly byte[] _entries;
    private readonly long _home;
    private readonly int _last = -1;

    /// <summary>Reads the first copy.</summary>
    /// <param name="disk">The disk.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it cannot be used, or has a partition that contradicts
    /// itself.</exception>
    public GptResizer(BlockStorage disk)
    {
        if (!GptReader.TryReadCopy(disk, PartitionTable.SectorSize, 1, out _header, out _entries, out string fault))
        {
            throw new ImageException(ImageErrorId.ImageDamaged, $"The first copy of the GUID partition table cannot be used: its {fault}.",
                place: "GPT header at byte 512", remedy: "Repair the image first: Test-BackupImage -Repair.");
        }

        _home = HomeOfEntries();
        for (int i = 0; i < _entries.Length / EntrySize; i++)
        {
            GptEntry entry = EntryAt(i);
            if (entry.Type.ToGuid() == Guid.Empty) continue;
            if (entry.LastSector < entry.FirstSector || entry.LastSector >= (ulong)(disk.Length / PartitionTable.SectorSize))
                throw ImageException.Damaged(
                    $"A partition goes from sector {entry.FirstSector} to sector {entry.LastSector}.", $"GPT entry {i + 1}");
            if (_last < 0 || entry.FirstSector > EntryAt(_last).FirstSector) _last = i;
        }
    }

    /// <summary>First byte of the last partition; null when there is none.</summary>
    public long? LastOffset => _last < 0 ? null : (long)(ulong)EntryAt(_last).FirstSector * PartitionTable.SectorSize;

    /// <inheritdoc/>
    public override long TailBytes => (EntrySectors + 1) * PartitionTable.SectorSize;

    private int EntrySize => (int)(uint)_header.EntrySize;

    private long EntrySectors => Layout.DivideUp(_entries.Length, PartitionTable.SectorSize);

    /// <inheritdoc/>
    public override void Write(BlockStorage disk, long newLength, long lastEnd)
    {
        long sectors = newLength / PartitionTable.SectorSize, backupEntries = sectors - 1 - EntrySectors;
        byte[] entries = new byte[EntrySectors * PartitionTable.SectorSize];
        _entries.CopyTo(entries, 0);
        if (_last >= 0)
        {
            GptEntry entry = EntryAt(_last);
            entry.LastSector = (ulong)((lastEnd / PartitionTable.SectorSize) - 1);
            Layout.Write(entries.AsSpan(_last * EntrySize), in entry);
        }

        if (_home != (long)(ulong)_header.EntriesSector)
        {
            // Cut off before: the first header still leads to a backup's entries, which must not be written over.
            WriteAt(_home, _entries);
            disk.Flush();
            WriteAt(1, Render(_header, 1, (long)(ulong)_header.OtherSector, _home));
            disk.Flush();
        }

        GptHeader header = _header;
        header.EntriesChecksum = Crc32.Of(entries.AsSpan(0, _entries.Length));
        header.LastUsableSector = (ulong)(backupEntries - 1);
        WriteAt(backupEntries, entries);
        WriteAt(sectors - 1, Render(header, sectors - 1, 1, backupEntries));
        disk.Flush();
        WriteAt(1, Render(header, 1, sectors - 1, backupEntries));
        disk.Flush();
        WriteAt(_home, entries);
        disk.Flush();
        WriteAt(1, Render(header, 1, sectors - 1, _home));
        disk.Flush();
        ClearOldBackup(disk, backupEntries);
        FitProtectiveRecord(disk, sectors);
        disk.Flush();

        void WriteAt(long sector, byte[] bytes) => disk.Write(sector * PartitionTable.SectorSize, bytes);
    }

    // Where the first entries belong: in front of the sectors for partitions.
    private long HomeOfEntries()
    {
        ulong now = _header.EntriesSector, count = (ulong)EntrySectors, end = _header.FirstUsableSector;
        if (now > 1 && count <= end && now <= end - count) return (long)now;
        if (2 + count <= end && now >= 2 + count) return 2;
        throw ImageException.Damaged(
            $"The table's entries lie at sector {now}, and there is no room for them in front of sector {end}.", "GPT header at byte 512");
    }

    private GptEntry EntryAt(int index) => Layout.Read<GptEntry>(_entries.AsSpan(index * EntrySize));

    private static byte[] Render(GptHeader header, long own, long other, long entries)
    {
        header.HeaderSize = GptHeader.Size;
        (header.OwnSector, header.OtherSector, header.EntriesSector) = ((ulong)own, (ulong)other, (ulong)entries);
        header.HeaderChecksum = 0;
        header.HeaderChecksum = Crc32.Of(Layout.ToBytes(in header));
        byte[] sector = new byte[PartitionTable.SectorSize];
        Layout.Write(sector, in header);
        return sector;
    }

    // Only what still is a backup, and lies in front of the new one.
    private void ClearOldBackup(BlockStorage disk, long newBackup)
    {
        ulong old = _header.OtherSector;
        if (old >= (ulong)newBackup || old <= (ulong)EntrySectors
            || !GptReader.TryReadCopy(disk, PartitionTable.SectorSize, (long)old, out GptHeader backup, out _, out _)) return;
        if (backup.EntriesSector != old - (ulong)EntrySectors) return;
        disk.Write((long)(ulong)backup.EntriesSector * PartitionTable.SectorSize, new byte[(EntrySectors + 1) * PartitionTable.SectorSize]);
    }

    private static void FitProtectiveRecord(BlockStorage disk, long sectors)
    {
        byte[] bytes = new byte[PartitionTable.SectorSize];
        disk.Read(0, bytes);
        MbrSector record = Layout.Read<MbrSector>(bytes);
        for (int i = 0; i < 4; i++)
        {
            if (record.Entries[i].Type != MbrEntry.ProtectiveType || record.Entries[i].StartSector != 1 || record.Entries[1].Type != 0)
                continue;
            record.Entries[i].SectorCount = (uint)Math.Min(sectors - 1, uint.MaxValue);
            Layout.Write(bytes, in record);
            disk.Write(0, bytes);
            return;
        }
    }
}
