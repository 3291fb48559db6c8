using CCImage.Storage;
using CCImage.Binary;
using CCImage.Checksums;
using CCImage.Partitions.Mbr;

namespace CCImage.Partitions.Gpt;

/// <summary>
/// The map of a new disk with one partition, byte for byte as Apple's tools lay it out: protective MBR, header, 128 entries, six free
/// sectors, the partition from sector 40 to the last whole 4 KiB before the backup, free sectors, entries, header.
/// </summary>
internal sealed class GptLayout
{
    /// <summary>Bytes of a disk that a partition of whole 4 KiB leaves to the map, on a disk of whole 4 KiB: 80 sectors.</summary>
    public const long OverheadBytes = 80 * PartitionTable.SectorSize;

    private const int EntryCount = 128;
    private const int TableSectors = EntryCount * GptEntry.Size / PartitionTable.SectorSize;
    private const int FirstUsableSector = 2 + TableSectors;
    private const int PartitionStartSector = 40;
    private const int AlignmentSectors = 8;

    private GptLayout(long sectors, Guid diskId, Guid partitionId, string name, Guid type)
    {
        SectorCount = sectors;
        PartitionOffset = (long)PartitionStartSector * PartitionTable.SectorSize;
        PartitionLength = ((LastUsableSector + 1) / AlignmentSectors * AlignmentSectors * PartitionTable.SectorSize) - PartitionOffset;
        byte[] entries = MakeEntries(partitionId, name, type);
        Pieces =
        [
            (0, MakeProtectiveRecord()),
            (PartitionTable.SectorSize, MakeHeader(diskId, entries, isBackup: false)),
            (2 * PartitionTable.SectorSize, entries),
            ((sectors - 1 - TableSectors) * PartitionTable.SectorSize, entries),
            ((sectors - 1) * PartitionTable.SectorSize, MakeHeader(diskId, entries, isBackup: true)),
        ];
        var segments = new SegmentList(sectors, 0);
        AddMapSegments(segments, sectors, TableSectors);
        segments.Add(PartitionStartSector, PartitionLength / PartitionTable.SectorSize, name, PartitionType.FromGuid(type).SegmentName);
        Segments = segments.Build() ?? throw new InvalidOperationException("The parts of a new map never overlap.");
    }

    /// <summary>Sectors of the disk.</summary>
    public long SectorCount { get; }

    /// <summary>First byte of the partition.</summary>
    public long PartitionOffset { get; }

    /// <summary>Bytes of the partition: whole 4 KiB.</summary>
    public long PartitionLength { get; }

    /// <summary>The map's bytes: offset on the disk, ascending, and content. What lies between them and the partition is zero.</summary>
    public IReadOnlyList<(long Offset, byte[] Bytes)> Pieces { get; }

    /// <summary>The disk's segments.</summary>
    public IReadOnlyList<DiskSegment> Segments { get; }

    private long LastUsableSector => SectorCount - 2 - TableSectors;

    /// <summary>Lays out a disk.</summary>
    /// <param name="diskLength">Bytes of the disk; a last incomplete sector is not used.</param>
    /// <param name="diskId">GUID of the disk.</param>
    /// <param name="partitionId">GUID of the partition.</param>
    /// <param name="name">Name of the partition: at most 36 UTF-16 units.</param>
    /// <param name="type">Type of the partition; null for HFS+.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.CapacityTooSmall"/>: no room for a partition of 4 KiB.</exception>
    public static GptLayout Create(long diskLength, Guid diskId, Guid partitionId, string name = "disk image", Guid? type = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(diskLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(name.Length, 36, nameof(name));
        long sectors = diskLength / PartitionTable.SectorSize;
        if (sectors < PartitionStartSector + AlignmentSectors + TableSectors + 1)
        {
            throw new ImageException(
                ImageErrorId.CapacityTooSmall, $"A disk of {diskLength} bytes has no room for a partition map and a partition.",
                remedy: "Ask for a larger capacity.");
        }

        return new(sectors, diskId, partitionId, name, type ?? PartitionType.AppleHfs);
    }

    /// <summary>Bytes of the disk whose partition has the given length.</summary>
    /// <param name="partitionLength">Bytes of the partition, rounded up to whole 4 KiB.</param>
    public static long DiskLengthFor(long partitionLength) =>
        Layout.RoundUp(partitionLength, AlignmentSectors * PartitionTable.SectorSize) + OverheadBytes;

    /// <summary>The segments that the map itself takes, named as in Apple's images.</summary>
    /// <param name="segments">Receives them.</param>
    /// <param name="sectors">Sectors of 512 bytes of the disk.</param>
    /// <param name="tableSectors">Sectors of the entries, as the map counts them.</param>
    /// <param name="factor">Sectors of 512 bytes in one that the map counts.</param>
    internal static void AddMapSegments(SegmentList segments, long sectors, long tableSectors, long factor = 1)
    {
        long table = tableSectors * factor;
        segments.Add(0, factor, "Protective Master Boot Record", "MBR");
        segments.Add(factor, factor, "GPT Header", "Primary GPT Header");
        segments.Add(2 * factor, table, "GPT Partition Data", "Primary GPT Table");
        segments.Add(sectors - factor - table, table, "GPT Partition Data", "Backup GPT Table");
        segments.Add(sectors - factor, factor, "GPT Header", "Backup GPT Header");
    }

    private byte[] MakeProtectiveRecord()
    {
        var sector = default(MbrSector);
        sector.Entries[0] = new MbrEntry
        {
            First = ChsAddress.OutOfRange,
            Type = MbrEntry.ProtectiveType,
            Last = ChsAddress.OutOfRange,
            StartSector = 1,
            SectorCount = (uint)Math.Min(SectorCount - 1, uint.MaxValue),
        };
        sector.Signature = MbrSector.ValidSignature;
        return Layout.ToBytes(sector);
    }

    private static byte[] MakeEntries(Guid partitionId, string name, Guid type, long first, long last)
    {
        var entry = new GptEntry
        {
            Type = GptGuid.From(type),
            Id = GptGuid.From(partitionId),
            FirstSector = (ulong)first,
            LastSector = (ulong)last,
        };
        for (int i = 0; i < name.Length; i++) entry.Name[i] = name[i];
        byte[] entries = new byte[EntryCount * GptEntry.Size];
        Layout.Write(entries, entry);
        return entries;
    }

    private byte[] MakeEntries(Guid partitionId, string name, Guid type) => MakeEntries(
        partitionId, name, type, PartitionStartSector, ((PartitionOffset + PartitionLength) / PartitionTable.SectorSize) - 1);

    private byte[] MakeHeader(Guid diskId, byte[] entries, bool isBackup)
    {
        var header = new GptHeader
        {
            Signature = GptHeader.ValidSignature,
            Revision = GptHeader.Revision1,
            HeaderSize = GptHeader.Size,
            OwnSector = isBackup ? (ulong)SectorCount - 1 : 1,
            OtherSector = isBackup ? 1 : (ulong)SectorCount - 1,
            FirstUsableSector = FirstUsableSector,
            LastUsableSector = (ulong)LastUsableSector,
            DiskGuid = GptGuid.From(diskId),
            EntriesSector = isBackup ? (ulong)(SectorCount - 1 - TableSectors) : 2,
            EntryCount = EntryCount,
            EntrySize = GptEntry.Size,
            EntriesChecksum = Crc32.Of(entries),
        };
        header.HeaderChecksum = Crc32.Of(Layout.ToBytes(header)); // The field is still zero, as the checksum wants it.
        byte[] sector = new byte[PartitionTable.SectorSize];
        Layout.Write(sector, header);
        return sector;
    }
}
