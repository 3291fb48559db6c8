using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.Fat;

/// <summary>A volume of FAT12, FAT16 or FAT32: name and free space, and a check of what is stored twice. Source:
/// docs/formats/fat.md.</summary>
internal sealed class FatVolume : CountedVolume
{
    private const long LargestDirectory = 65536L * FatDirectoryEntry.Size;

    private readonly BlockStorage _volume;
    private readonly FatGeometry _geometry;
    private readonly FatTable _table;
    private readonly Lazy<string> _name;
    private readonly Lazy<long?> _freeClusters;

    private FatVolume(BlockStorage volume, FatGeometry geometry)
    {
        (_volume, _geometry, _table) = (volume, geometry, new(volume, geometry, geometry.ActiveTable));
        _name = new(() => FindLabel() ?? geometry.BootLabel);
        _freeClusters = new(CountFree);
    }

    /// <inheritdoc/>
    public override VolumeKind Kind => _geometry.Kind;

    /// <inheritdoc/>
    public override string Name => _name.Value;

    /// <inheritdoc/>
    public override long CapacityBytes => _geometry.CapacityBytes;

    /// <inheritdoc/>
    /// <remarks>Counted in the FAT; null when it cannot be read.</remarks>
    public override long? FreeBytes => _freeClusters.Value * _geometry.ClusterSize;

    /// <summary>Opens a volume.</summary>
    /// <param name="volume">Partition or disk; not owned.</param>
    /// <param name="geometry">As its boot sector says.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: the boot sector contradicts itself or the
    /// window.</exception>
    public static FatVolume Open(BlockStorage volume, FatGeometry geometry)
    {
        if (geometry.Fault(volume) is { } fault)
            throw ImageException.Damaged($"The FAT boot sector cannot be used: {fault}.", "boot sector at byte 0 of the partition");
        return new(volume, geometry);
    }

    /// <inheritdoc/>
    /// <remarks>Nothing is free while the volume is marked as not unmounted properly, its FATs differ, or its kind is in doubt.</remarks>
    public override IEnumerable<StorageExtent> GetFreeExtents(FreeSpaceQuery? query = null)
    {
        CancellationToken cancellation = query?.Cancellation ?? default;
        if (_geometry.IsTypeDoubtful || IsDirty() || FirstEntryFault() is not null || FindTableDifference(cancellation) is not null)
            return [];
        if (_geometry.Fat32 is { } fat32 && _table[fat32.RootCluster] == 0) return [];
        return ClusterRuns.ToExtents(_table.FreeRuns(cancellation), _geometry.HeapOffset, _geometry.ClusterSize);
    }

    /// <inheritdoc/>
    public override void Check(ImageFindings findings, CancellationToken cancellation)
    {
        const string Table = "FAT";
        if (_geometry.IsTypeDoubtful)
            findings.Note(Table, $"The boot sector names another kind of FAT than its {_geometry.ClusterCount} clusters make it ({Kind}).",
                "boot sector");
        if (FirstEntryFault() is { } entry) findings.Damaged(Table, entry, $"FAT at byte {_geometry.TableOffset}");
        if (IsDirty()) findings.Note(Table, "The volume was not unmounted properly.", remedy: "Attach it on a Mac, which checks it then.");
        long? difference = FindTableDifference(cancellation);
        if (difference is long at)
            findings.Damaged(Table, "The two FATs differ: the chains of files are in doubt.", $"FATs from byte {at} on");
        else if (_geometry is { TableCount: > 1, IsMirrored: true }) findings.Ok(Table, "The FATs are equal.");
        CheckFiles(findings, cancellation);
        if (_geometry.Fat32 is not { } fat32) return;
        if (_table[fat32.RootCluster] == 0)
            findings.Damaged(Table, "The root directory's first cluster is marked as free.", $"cluster {fat32.RootCluster}");
        if (IsOnePlaceForTwo)
            findings.Damaged("FAT boot sector", $"It puts its copy and the information sector into one place, sector {fat32.BackupSector}.",
                "boot sector");
        if (InformationOffset() is long information) CheckInformation(findings, information);
        if (BackupOffset() is not long backup) return;
        if (IsBackup(backup)) findings.Ok("FAT boot sector", "The copy of the boot sector is equal to it.");
        else findings.Repairable(
            "FAT boot sector", "The copy of the boot sector differs from the boot sector in use.", $"byte {backup} of the partition");
    }

    /// <inheritdoc/>
    protected override SourceTree? TryReadTree(long mostBytes, CancellationToken cancellation) =>
        new FatTreeReader(_volume, _geometry, _table).TryRead(mostBytes, cancellation);

    /// <inheritdoc/>
    public override VolumeResizer OpenResizer(CancellationToken cancellation) => new FixedVolumeResizer(this);

    /// <inheritdoc/>
    public override IReadOnlyList<string> Repair(CancellationToken cancellation)
    {
        var mended = new List<string>();
        if (BackupOffset() is long backup && !IsBackup(backup))
        {
            _volume.Write(backup, ReadSector(0));
            mended.Add("The copy of the FAT32 boot sector was restored.");
        }

        if (InformationOffset() is long offset && !IsInformation(ReadInformation(offset)))
        {
            var information = new FatInformation
            {
                Lead = FatInformation.ValidLead,
                Signature = FatInformation.ValidSignature,
                FreeCount = FatInformation.Unknown,
                NextFree = FatInformation.Unknown,
                Trail = FatInformation.ValidTrail,
            };
            _volume.Write(offset, Layout.ToBytes(information));
            mended.Add("The FAT32 information sector was written anew.");
        }

        if (mended.Count > 0) _volume.Flush();
        return mended;
    }

    // That every folder can be read, and every file has a chain as long as it is.
    private void CheckFiles(ImageFindings findings, CancellationToken cancellation)
    {
        const string What = "FAT files";
        const int MostFaults = 20;
        int faults = 0;
        long entries = -1;
        try
        {
            using SourceTree tree = ReadTree(0, cancellation);
            foreach (ImagingWarning omission in tree.Omissions.Take(MostFaults)) findings.Damaged(What, omission.Message, omission.Path);
            if ((faults = (int)Math.Min(tree.OmittedCount, MostFaults)) == MostFaults) return;
            long clusters = 0;
            foreach (SourceEntry entry in tree.Enumerate())
            {
                cancellation.ThrowIfCancellationRequested();
                entries++;
                if (entry.Kind != EntryKind.File) continue;

                // Chains are walked one by one: they would be walked again and again by files that share them.
                if ((clusters += Layout.DivideUp(entry.Size, _geometry.ClusterSize)) > _geometry.ClusterCount)
                {
                    findings.Damaged(What,
                        "The files together claim more clusters than there are: some share theirs. What comes behind was not looked at.");
                    return;
                }

                try
                {
                    tree.OpenFork(entry, ForkKind.Data).Dispose();
                }
                catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
                {
                    findings.Damaged(What, e);
                    if (++faults == MostFaults) return;
                }
            }
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(What, e);
            return;
        }

        if (faults == 0) findings.Ok(What, $"The {entries} files and folders have chains as long as they are.");
    }

    private static bool IsInformation(in FatInformation information) =>
        information.Lead == FatInformation.ValidLead && information.Signature == FatInformation.ValidSignature
            && information.Trail == FatInformation.ValidTrail;

    private void CheckInformation(ImageFindings findings, long offset)
    {
        const string What = "FAT32 information sector";
        string place = $"byte {offset} of the partition";
        FatInformation information = ReadInformation(offset);
        if (!IsInformation(information)) findings.Repairable(What, "The sector with the free count lacks its signatures.", place);
        else if (information.FreeCount == FatInformation.Unknown || information.FreeCount == _freeClusters.Value)
            findings.Ok(What, "The free count is right.");
        else findings.Note(
            What, $"It says {information.FreeCount} free clusters, the FAT {_freeClusters.Value}: systems take it as a hint only.", place);
    }

    private FatInformation ReadInformation(long offset)
    {
        FatInformation information = default;
        _volume.Read(offset, Layout.AsBytes(ref information));
        return information;
    }

    private byte[] ReadSector(long offset)
    {
        byte[] sector = new byte[FatGeometry.BootSize];
        _volume.Read(offset, sector);
        return sector;
    }

    // The copy may be older than the mark that the volume is in use.
    private bool IsBackup(long offset)
    {
        const int State = FatParameters.Size + Fat32Parameters.Size + 1;
        byte[] boot = ReadSector(0), copy = ReadSector(offset);
        copy[State] = boot[State];
        return copy.AsSpan().SequenceEqual(boot);
    }

    private long? InformationOffset() => IsOnePlaceForTwo ? null : ReservedSector(_geometry.Fat32?.InformationSector);

    private long? BackupOffset() => IsOnePlaceForTwo ? null : ReservedSector(_geometry.Fat32?.BackupSector);

    // The copy of the boot sector and the information sector cannot both lie there: writing one would destroy the other.
    private bool IsOnePlaceForTwo => _geometry.Fat32 is { } fat32 && (ushort)fat32.InformationSector == fat32.BackupSector
        && ReservedSector(fat32.BackupSector) is not null;

    // Copies lie in the reserved sectors, never in the boot sector or a FAT; 0 and 0xFFFF mean there is none.
    private long? ReservedSector(ushort? sector) =>
        sector is > 0 and < 0xFFFF and ushort number && (long)number * _geometry.SectorSize <= _geometry.TableOffset - _geometry.SectorSize
            ? (long)number * _geometry.SectorSize : null;

    // Where the flags of the second entry say "in use" by being clear (FAT16: bits 15 and 14, FAT32: 27 and 26), or the boot sector's by
    // being set.
    private bool IsDirty()
    {
        if (_geometry.Extension is { State: var state } && (state & 1) != 0) return true;
        uint clean = Kind switch { VolumeKind.Fat16 => 0xC000u, VolumeKind.Fat32 => 0x0C000000u, _ => 0u };
        return (_table[1] & clean) != clean;
    }

    // The first entry is the media descriptor with all higher bits set: what tells a table from noise, and its width.
    private string? FirstEntryFault()
    {
        uint expected = (_table.EndOfChain & ~0xFFu) | _geometry.Media, entry = _table[0];
        return entry == expected ? null : $"The FAT begins with {entry:X} instead of {expected:X}.";
    }

    private long? FindTableDifference(CancellationToken cancellation)
    {
        if (!_geometry.IsMirrored || _geometry.TableCount < 2) return null;
        long used = _geometry.BytesOf(_table.EntryCount);
        byte[] first = new byte[(int)Math.Min(used, 256 << 10)], second = new byte[first.Length];
        for (long at = 0; at < used; at += first.Length)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(first.Length, used - at);
            bool isStored = ClusterRuns.ReadTable(_volume, _geometry.TableOffset + at, first.AsSpan(0, count));
            isStored |= ClusterRuns.ReadTable(_volume, _geometry.TableOffset + _geometry.TableLength + at, second.AsSpan(0, count));
            if (!isStored) continue;
            int equal = first.AsSpan(0, count).CommonPrefixLength(second.AsSpan(0, count));
            if (equal < count) return _geometry.TableOffset + at + equal;
        }

        return null;
    }

    private long? CountFree()
    {
        try
        {
            return _table.FreeRuns().Sum(r => r.Count);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return null;
        }
    }

    private string? FindLabel()
    {
        try
        {
            return _geometry.Fat32 is { } fat32 ? FindLabelInChain(fat32.RootCluster)
                : TryFindLabel(_geometry.RootOffset, _geometry.RootLength, out string? label) ? label : null;
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return null;
        }
    }

    private string? FindLabelInChain(uint cluster)
    {
        for (long read = 0; read < LargestDirectory && _geometry.IsCluster(cluster); read += _geometry.ClusterSize)
        {
            if (TryFindLabel(_geometry.OffsetOf(cluster), _geometry.ClusterSize, out string? label)) return label;
            cluster = _table[cluster];
        }

        return null;
    }

    // Whether the search is over: the label was found, or the directory ends.
    private bool TryFindLabel(long offset, int length, out string? label)
    {
        label = null;
        byte[] entries = new byte[length];
        _volume.Read(offset, entries);
        for (int at = 0; at + FatDirectoryEntry.Size <= length; at += FatDirectoryEntry.Size)
        {
            FatDirectoryEntry entry = Layout.Read<FatDirectoryEntry>(entries.AsSpan(at));
            if (entry.Name[0] == 0) return true;
            if (entry.Name[0] == FatDirectoryEntry.Deleted
                || (entry.Attributes & FatDirectoryEntry.LongName) != FatDirectoryEntry.VolumeLabel) continue;
            label = FatGeometry.TextOf(entry.Name);
            return true;
        }

        return false;
    }
}
