using CCImage.Binary;
using CCImage.Checksums;
using CCImage.Diagnostics;
using CCImage.Partitions.Mbr;
using CCImage.Storage;

namespace CCImage.Partitions.Gpt;

/// <summary>
/// Judges both copies of a GUID partition table, and makes a missing one anew from the other: the entries first, flushed, then the header
/// that makes them count, so that every prefix of the writes leaves the good copy as it was.
/// </summary>
internal sealed class GptChecker
{
    private const string What = "GPT";

    private readonly BlockStorage _disk;
    private readonly long _sectors;
    private readonly Copy? _primary;
    private readonly Copy? _backup;
    private readonly string _primaryFault;
    private readonly string _backupFault = "place lies outside the disk";
    private readonly int _sectorSize;

    /// <summary>Reads both copies.</summary>
    /// <param name="disk">A disk of at least two sectors.</param>
    /// <param name="sectorSize">Bytes in the sectors that the table counts.</param>
    public GptChecker(BlockStorage disk, int sectorSize = PartitionTable.SectorSize)
    {
        (_disk, _sectorSize, _sectors) = (disk, sectorSize, disk.Length / sectorSize);
        _primary = TryRead(1, out _primaryFault);
        ulong expected = _primary?.Header.OtherSector ?? (ulong)(_sectors - 1);
        if (expected > 1 && expected < (ulong)_sectors) _backup = TryRead((long)expected, out _backupFault);
    }

    // What is made anew, or null when a copy lacks nothing, or no place for it is certain.
    private (Copy Source, long HeaderSector, long EntriesSector)? Missing
    {
        get
        {
            if (_primary is { } primary && _backup is null)
            {
                long at = (long)Math.Min((ulong)primary.Header.OtherSector, long.MaxValue), entries = at - primary.EntrySectors;
                return at < _sectors && entries > primary.LastUsed && entries >= primary.EntriesEnd ? (primary, at, entries) : null;
            }

            // Nor over the entries of the copy that is right, wherever it keeps them.
            if (_primary is null && _backup is { } backup && backup.Header.OtherSector == 1
                && 2 + backup.EntrySectors <= Math.Min(backup.FirstUsed, (long)(ulong)backup.Header.EntriesSector)) return (backup, 1, 2);
            return null;
        }
    }

    /// <summary>Judges them.</summary>
    /// <param name="findings">Receives what is found.</param>
    public void Check(ImageFindings findings)
    {
        if (_primary is null && _backup is null)
        {
            findings.Damaged(What, $"Both copies are damaged: the primary's {_primaryFault}, the backup's {_backupFault}.");
            return;
        }

        if (Missing is { } missing)
        {
            string which = _primary is null ? $"primary copy is damaged (its {_primaryFault}); the backup"
                : $"backup is missing or damaged (its {_backupFault}); the primary copy";
            findings.Repairable(What, $"The {which} is right.", Place(missing.HeaderSector));
        }
        else if (_primary is null || _backup is null)
        {
            findings.Damaged(What, $"One copy is damaged (its {(_primary is null ? _primaryFault : _backupFault)}), and there is no "
                + $"certain place for a new one.");
        }
        else
        {
            CheckAgreement(findings, _primary, _backup);
        }

        CheckEntries(findings, _primary ?? _backup!);
        CheckProtectiveRecord(findings);
    }

    /// <summary>Makes the copy anew that <see cref="Check"/> called repairable.</summary>
    /// <returns>What was mended, or null.</returns>
    public string? Repair()
    {
        if (Missing is not { } missing) return null;
        (Copy source, long headerSector, long entriesSector) = missing;
        GptHeader header = source.Header;
        (header.OwnSector, header.OtherSector, header.EntriesSector) = ((ulong)headerSector, header.OwnSector, (ulong)entriesSector);
        header.HeaderSize = GptHeader.Size;
        header.HeaderChecksum = 0;
        header.HeaderChecksum = Crc32.Of(Layout.ToBytes(header));
        byte[] entries = new byte[source.EntrySectors * _sectorSize];
        source.Entries.CopyTo(entries, 0);
        byte[] sector = new byte[_sectorSize];
        Layout.Write(sector, header);
        _disk.Write(entriesSector * _sectorSize, entries);
        _disk.Flush();
        _disk.Write(headerSector * _sectorSize, sector);
        _disk.Flush();
        return headerSector == 1 ? "The primary GUID partition table was restored from the backup."
            : "The backup of the GUID partition table was restored.";
    }

    private string Place(long sector) => $"GPT header at byte {sector * _sectorSize}";

    private void CheckAgreement(ImageFindings findings, Copy primary, Copy backup)
    {
        GptHeader a = primary.Header, b = backup.Header;
        if ((ulong)b.OwnSector != (ulong)_sectors - 1)
            findings.Note(What, $"The backup lies at sector {b.OwnSector}, and the disk ends with sector {_sectors - 1}: the disk grew "
                + $"behind its partition map.", Place((long)(ulong)b.OwnSector));
        bool agrees = b.OtherSector == 1 && a.DiskGuid.ToGuid() == b.DiskGuid.ToGuid() && (ulong)a.FirstUsableSector == b.FirstUsableSector
            && (ulong)a.LastUsableSector == b.LastUsableSector
            && primary.Entries.AsSpan().SequenceEqual(backup.Entries);
        if (agrees) findings.Ok(What, "Both copies fit their checksums and agree.");
        else findings.Damaged(What, "Both copies fit their checksums, but do not agree.", Place((long)(ulong)b.OwnSector),
            "Restore what can be read, and make a new image; a Mac goes by the first copy.");
    }

    private void CheckEntries(ImageFindings findings, Copy copy)
    {
        ulong first = copy.Header.FirstUsableSector, last = copy.Header.LastUsableSector;
        if (first > last || last >= (ulong)_sectors)
            findings.Damaged(What, $"The sectors for partitions go from {first} to {last} on a disk of {_sectors}.", Place(1));
        foreach ((int number, ulong from, ulong to) in copy.Partitions)
        {
            string place = $"GPT entry {number}";
            if (to < from || to >= (ulong)_sectors) findings.Damaged(What, $"A partition goes from sector {from} to {to} on a disk of "
                + $"{_sectors}: the image is cut short, or the table is wrong.", place);
            else if (from < first || to > last)
                findings.Damaged(What,
                    $"A partition goes from sector {from} to {to}, outside the sectors {first} to {last} that are for partitions.", place);
        }
    }

    private void CheckProtectiveRecord(ImageFindings findings)
    {
        const string Record = "Protective MBR";
        MbrEntry[] entries = [.. MasterBootRecord.TryRead(_disk)?.Entries.Where(e => e.Type != 0) ?? []];
        if (entries.Length == 0)
            findings.Note(Record, "It is missing: the GPT is read by its own checksums, and other systems may not find it.", "sector 0",
                "Back the files up into a new image.");
        else if (entries.Length > 1) findings.Note(Record, "The boot record names partitions beside the GPT (a hybrid).", "sector 0");
        else if (entries is [{ Type: MbrEntry.ProtectiveType } entry]
            && (entry.StartSector != 1 || (entry.SectorCount != uint.MaxValue && entry.SectorCount + 1L > _sectors)))
            findings.Note(
                Record, $"It protects {entry.SectorCount} sectors from {entry.StartSector} on, of a disk of {_sectors}.", "sector 0");
        else findings.Ok(Record, "It protects the disk.");
    }

    private Copy? TryRead(long sector, out string fault) =>
        GptReader.TryReadCopy(_disk, _sectorSize, sector, out GptHeader header, out byte[] entries, out fault)
            ? new(header, entries, _sectorSize) : null;

    private sealed class Copy
    {
        public Copy(in GptHeader header, byte[] entries, int sectorSize)
        {
            (Header, Entries, EntrySectors) = (header, entries, Layout.DivideUp(entries.Length, sectorSize));
            int size = (int)(uint)header.EntrySize;
            for (int i = 0; (i * size) + GptEntry.Size <= entries.Length; i++)
            {
                GptEntry entry = Layout.Read<GptEntry>(entries.AsSpan(i * size));
                if (entry.Type.ToGuid() != Guid.Empty) Partitions.Add((i + 1, entry.FirstSector, entry.LastSector));
            }
        }

        public GptHeader Header { get; }

        public byte[] Entries { get; }

        public List<(int Number, ulong First, ulong Last)> Partitions { get; } = [];

        public long EntrySectors { get; }

        // The sector behind the entries and the header.
        public long EntriesEnd => Math.Max(2, (long)(ulong)Header.EntriesSector + EntrySectors);

        // Up to where and from where on sectors belong to partitions, by the header or by an entry that contradicts it.
        public long LastUsed => (long)Math.Min(long.MaxValue, Partitions.Select(p => p.Last).Append(Header.LastUsableSector).Max());

        public long FirstUsed => (long)Math.Min(long.MaxValue, Partitions.Select(p => p.First).Append(Header.FirstUsableSector).Min());
    }
}
