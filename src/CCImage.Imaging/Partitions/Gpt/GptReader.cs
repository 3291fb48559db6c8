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

    /// <summary>The table, or null when neither copy is there and the boot record names other partitions.</summary>
    /// <param name="disk">The disk.</param>
    /// <param name="record">Its sector 0, with a protective entry.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: both copies are damaged, or an entry contradicts itself.</exception>
    public static PartitionTable? TryRead(BlockStorage disk, MasterBootRecord record)
    {
        long sectors = disk.Length / PartitionTable.SectorSize;
        string primaryFault = "missing", backupFault = "missing";
        if (sectors > 1 && TryReadCopy(disk, 1, out GptHeader header, out byte[] entries, out primaryFault)) return Build(disk, header, entries);
        if (sectors > 2 && TryReadCopy(disk, sectors - 1, out header, out entries, out backupFault)) return Build(disk, header, entries);
        if (!record.IsProtectiveOnly) return null;
        throw ImageException.Damaged(
            $"Both copies of the GUID partition table are damaged: the primary's {primaryFault}, the backup's {backupFault}.",
            $"GPT headers at bytes {PartitionTable.SectorSize} and {(sectors - 1) * PartitionTable.SectorSize}");
    }

    /// <summary>Reads one copy.</summary>
    /// <param name="disk">The disk.</param>
    /// <param name="sector">Where its header lies; a sector of the disk.</param>
    /// <param name="header">Receives the header.</param>
    /// <param name="entries">Receives the entries.</param>
    /// <param name="fault">Receives what is wrong when it cannot be used.</param>
    internal static bool TryReadCopy(BlockStorage disk, long sector, out GptHeader header, out byte[] entries, out string fault)
    {
        entries = [];
        long sectors = disk.Length / PartitionTable.SectorSize;
        byte[] bytes = new byte[PartitionTable.SectorSize];
        disk.Read(sector * PartitionTable.SectorSize, bytes);
        header = Layout.Read<GptHeader>(bytes);
        fault = "signature is missing";
        if (header.Signature != GptHeader.ValidSignature) return false;
        fault = "header size is out of range";
        if ((uint)header.HeaderSize is < GptHeader.Size or > PartitionTable.SectorSize) return false;
        fault = "header checksum does not match";
        if (GptChecksum.OfHeader(bytes.AsSpan(0, (int)(uint)header.HeaderSize)) != header.HeaderChecksum) return false;
        fault = "own sector number is wrong";
        if (header.OwnSector != (ulong)sector) return false;
        fault = "entries are out of bounds";
        ulong size = (ulong)(uint)header.EntryCount * header.EntrySize;
        if ((uint)header.EntrySize is < GptEntry.Size or > MaximumEntriesSize || header.EntrySize % 8 != 0 || size > MaximumEntriesSize) return false;
        if (header.EntriesSector >= (ulong)sectors || size > (ulong)disk.Length - (header.EntriesSector * PartitionTable.SectorSize)) return false;
        entries = new byte[size];
        disk.Read((long)(ulong)header.EntriesSector * PartitionTable.SectorSize, entries);
        fault = "entries' checksum does not match";
        return Crc32.Of(entries) == header.EntriesChecksum;
    }

    private static PartitionTable Build(BlockStorage disk, in GptHeader header, byte[] entries)
    {
        long sectors = disk.Length / PartitionTable.SectorSize;
        int entrySize = (int)(uint)header.EntrySize;
        long tableSectors = Layout.DivideUp(entries.Length, PartitionTable.SectorSize);
        var partitions = new List<BackupImagePartition>();
        var segments = new SegmentList(sectors, 0);
        GptLayout.AddMapSegments(segments, sectors, tableSectors);
        for (int i = 0; (i * entrySize) + GptEntry.Size <= entries.Length; i++)
        {
            GptEntry entry = Layout.Read<GptEntry>(entries.AsSpan(i * entrySize));
            Guid type = entry.Type.ToGuid();
            if (type == Guid.Empty) continue;
            ulong first = entry.FirstSector, last = entry.LastSector;
            if (last < first || last >= long.MaxValue / PartitionTable.SectorSize)
                throw ImageException.Damaged($"A partition goes from sector {first} to sector {last}.", $"GPT entry {i + 1}");
            long count = (long)(last - first) + 1;
            PartitionType known = PartitionType.FromGuid(type);
            string name = Text(entry.Name);
            partitions.Add(new(i + 1, known.DisplayName, name, (long)first * PartitionTable.SectorSize, count * PartitionTable.SectorSize));
            segments.Add((long)first, count, name, known.SegmentName);
        }

        return new(PartitionScheme.Gpt, partitions, PartitionTable.SegmentsOf(segments, sectors));
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
