using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Partitions.Mbr;

/// <summary>Sector 0 of a disk, as far as it is a boot record: a partition table, a protective one before a GPT, or a file system's boot
/// sector.</summary>
internal sealed class MasterBootRecord
{
    private readonly MbrSector _sector;

    private MasterBootRecord(MbrSector sector, bool isBootSector) => (_sector, IsBootSector) = (sector, isBootSector);

    /// <summary>Whether it is the boot sector of FAT, exFAT, NTFS or BitLocker, which carries the same signature.</summary>
    public bool IsBootSector { get; }

    /// <summary>Whether there is an entry of type 0xEE.</summary>
    public bool HasProtectiveEntry => Entries.Any(e => e.Type == MbrEntry.ProtectiveType);

    /// <summary>Whether it names no partition at all.</summary>
    public bool IsEmpty => !IsBootSector && Entries.All(e => e.Type == 0);

    /// <summary>Whether all of its entries but the protective one are empty.</summary>
    public bool IsProtectiveOnly => Entries.All(e => e.Type is MbrEntry.ProtectiveType or 0);

    /// <summary>Whether it can be a partition table: statuses valid, at least one entry with sectors.</summary>
    public bool IsPartitionTable =>
        !IsBootSector && Entries.All(e => (e.Status & 0x7F) == 0) && Entries.Any(e => e.Type != 0 && e.SectorCount != 0);

    /// <summary>The four entries.</summary>
    public IReadOnlyList<MbrEntry> Entries => [_sector.Entries[0], _sector.Entries[1], _sector.Entries[2], _sector.Entries[3]];

    /// <summary>Reads sector 0, or null when it carries no signature.</summary>
    /// <param name="disk">A disk of at least one sector.</param>
    public static MasterBootRecord? TryRead(BlockStorage disk)
    {
        Span<byte> bytes = stackalloc byte[PartitionTable.SectorSize];
        disk.Read(0, bytes);
        MbrSector sector = Layout.Read<MbrSector>(bytes);
        return sector.Signature == MbrSector.ValidSignature ? new(sector, LooksLikeBootSector(bytes)) : null;
    }

    // A BIOS parameter block: a jump, then bytes per sector, sectors per cluster, reserved sectors and number of FATs that make sense;
    // exFAT and NTFS say their name instead. Source: Microsoft's FAT, exFAT and NTFS documentation.
    private static bool LooksLikeBootSector(ReadOnlySpan<byte> bytes)
    {
        if (bytes[0] is not (0xEB or 0xE9)) return false;
        if (bytes[3..].StartsWith("EXFAT   "u8) || bytes[3..].StartsWith("NTFS    "u8) || bytes[3..].StartsWith("-FVE-FS-"u8)) return true;
        int sectorSize = Layout.Read<UInt16LE>(bytes[11..]);
        int perCluster = bytes[13];
        int reserved = Layout.Read<UInt16LE>(bytes[14..]);
        return sectorSize is 512 or 1024 or 2048 or 4096 && perCluster != 0 && (perCluster & (perCluster - 1)) == 0 && reserved != 0
            && bytes[16] is 1 or 2;
    }
}
