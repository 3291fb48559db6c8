using CCImage.Binary;
using CCImage.Checksums;
using CCImage.Partitions.Mbr;
using CCImage.Storage;

namespace CCImage.Partitions.Gpt;

/// <summary>Reads a GUID partition table: the primary copy, or the backup where the primary is damaged.</summary>
internal static class GptReader
{
    /// <summary>Most bytes of entries that are believed: 128 times what everybody writes.</summary>
    private const int MaximumEntriesSize = 2 << 20;

    private const int EmptyStart = 64 << 10;

    /// <summary>Bytes in a sector that a table may count, the usual ones first.</summary>
    private static ReadOnlySpan<int> SectorSizes => [PartitionTable.SectorSize, 4096];

    /// <summary>The table, or null when neither copy is there and the boot record names other partitions.</summary>
    /// <param name="disk">The disk.</param>
    /// <param name="record">Its sector 0, with a protective entry.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: both copies are damaged, or an entry contradicts
    /// itself.</exception>
    public static PartitionTable? TryRead(BlockStorage disk, MasterBootRecord record)
    {
        string? primaryFault = null, backupFault = null;
        foreach (bool isBackup in (ReadOnlySpan<bool>)[false, true])
        {
            foreach (int sectorSize in SectorSizes)
            {
                if (TryReadOne(disk, sectorSize, isBackup, out string fault) is { } table) return table;
                if (isBackup) backupFault ??= fault;
                else primaryFault ??= fault;
            }
        }

        if (!record.IsProtectiveOnly) return null;
        throw ImageException.Damaged(
            $"Both copies of the GUID partition table are damaged: the primary's {primaryFault}, the backup's {backupFault}.",
            $"GPT headers at bytes {PartitionTable.SectorSize} and "
                + $"{((disk.Length / PartitionTable.SectorSize) - 1) * PartitionTable.SectorSize}");
    }

    /// <summary>
    /// The table of a disk that has no protective boot record, or null: the primary copy, which no file system leaves in its place; the
    /// backup only where the begin of the disk is empty.
    /// </summary>
    /// <param name="disk">A disk without another map.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: an entry contradicts itself.</exception>
    public static PartitionTable? TryReadUnprotected(BlockStorage disk)
    {
        byte[] start = new byte[(int)Math.Min(EmptyStart, disk.Length)];
        disk.Read(0, start);
        bool isEmpty = !start.AsSpan().ContainsAnyExcept((byte)0);
        foreach (int sectorSize in SectorSizes)
        {
            if (!MayBeFileSystem(start, sectorSize) && TryReadOne(disk, sectorSize, false, out _) is { } primary) return primary;
            if (isEmpty && TryReadOne(disk, sectorSize, true, out _) is { } backup) return backup;
        }

        return null;
    }

    // The signatures of file systems that begin at the first byte lie in sector 0 of 4,096 bytes: it holds an empty boot record, or
    // nothing. Sectors of 512 bytes need no such care: what begins there has written over the entries in sector 2.
    private static bool MayBeFileSystem(ReadOnlySpan<byte> start, int sectorSize)
    {
        if (sectorSize == PartitionTable.SectorSize) return false;
        const int Signature = PartitionTable.SectorSize - 2;
        ReadOnlySpan<byte> sector = start[..Math.Min(start.Length, sectorSize)];
        return sector.Length < sectorSize || sector[..Signature].ContainsAnyExcept((byte)0)
            || sector[PartitionTable.SectorSize..].ContainsAnyExcept((byte)0);
    }

    private static PartitionTable? TryReadOne(BlockStorage disk, int sectorSize, bool isBackup, out string fault)
    {
        long sectors = disk.Length / sectorSize;
        fault = "place lies outside the disk";
        return sectors > (isBackup ? 2 : 1)
            && TryReadCopy(disk, sectorSize, isBackup ? sectors - 1 : 1, out GptHeader header, out byte[] entries, out fault)
            ? Build(disk, sectorSize, header, entries)
            : null;
    }

    /// <summary>Reads one copy.</summary>
    /// <param name="disk">The disk.</param>
    /// <param name="sectorSize">Bytes in a sector as the table counts them.</param>
    /// <param name="sector">Where its header lies; a sector of the disk.</param>
    /// <param name="header">Receives the header.</param>
    /// <param name="entries">Receives the entries.</param>
    /// <param name="fault">Receives what is wrong when it cannot be used.</param>
    internal static bool TryReadCopy(
        BlockStorage disk, int sectorSize, long sector, out GptHeader header, out byte[] entries, out string fault)
    {
        entries = [];
        long sectors = disk.Length / sectorSize;
        byte[] bytes = new byte[sectorSize];
        disk.Read(sector * sectorSize, bytes);
        header = Layout.Read<GptHeader>(bytes);
        fault = "signature is missing";
        if (header.Signature != GptHeader.ValidSignature) return false;
        fault = "header size is out of range";
        if (header.HeaderSize < GptHeader.Size || header.HeaderSize > sectorSize) return false;
        fault = "header checksum does not match";
        if (GptChecksum.OfHeader(bytes.AsSpan(0, (int)(uint)header.HeaderSize)) != header.HeaderChecksum) return false;
        fault = "own sector number is wrong";
        if (header.OwnSector != (ulong)sector) return false;
        fault = "entries are out of bounds";
        ulong size = (ulong)(uint)header.EntryCount * header.EntrySize;
        if ((uint)header.EntrySize is < GptEntry.Size or > MaximumEntriesSize || header.EntrySize % 8 != 0 || size > MaximumEntriesSize)
            return false;
        if (header.EntriesSector >= (ulong)sectors || size > (ulong)disk.Length - ((ulong)header.EntriesSector * (ulong)sectorSize))
            return false;
        entries = new byte[size];
        disk.Read((long)(ulong)header.EntriesSector * sectorSize, entries);
        fault = "entries' checksum does not match";
        return Crc32.Of(entries) == header.EntriesChecksum;
    }

    private static PartitionTable Build(BlockStorage disk, int sectorSize, in GptHeader header, byte[] entries)
    {
        long sectors = disk.Length / PartitionTable.SectorSize, factor = sectorSize / PartitionTable.SectorSize;
        int entrySize = (int)(uint)header.EntrySize;
        long tableSectors = Layout.DivideUp(entries.Length, sectorSize);
        var partitions = new List<BackupImagePartition>();
        var segments = new SegmentList(sectors, 0);
        GptLayout.AddMapSegments(segments, sectors / factor * factor, tableSectors, factor);
        for (int i = 0; (i * entrySize) + GptEntry.Size <= entries.Length; i++)
        {
            GptEntry entry = Layout.Read<GptEntry>(entries.AsSpan(i * entrySize));
            Guid type = entry.Type.ToGuid();
            if (type == Guid.Empty) continue;
            ulong first = entry.FirstSector, last = entry.LastSector;
            if (last < first || last >= (ulong)(long.MaxValue / sectorSize))
                throw ImageException.Damaged($"A partition goes from sector {first} to sector {last}.", $"GPT entry {i + 1}");
            long count = (long)(last - first) + 1;
            PartitionType known = PartitionType.FromGuid(type);
            string name = Text(entry.Name);
            partitions.Add(new(i + 1, known.DisplayName, name, (long)first * sectorSize, count * sectorSize));
            segments.Add((long)first * factor, count * factor, name, known.SegmentName);
        }

        return new(PartitionScheme.Gpt, partitions, PartitionTable.SegmentsOf(segments, sectors)) { MapSectorSize = sectorSize };
    }

    private static string Text(GptName name)
    {
        Span<char> units = stackalloc char[36];
        int length = 0;
        while (length < units.Length && name[length] != 0)
        {
            units[length] = (char)(ushort)name[length];
            length++;
        }

        return new string(units[..length]);
    }
}
