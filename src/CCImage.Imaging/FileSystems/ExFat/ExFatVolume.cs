using System.Buffers.Binary;
using System.Runtime.InteropServices;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.ExFat;

/// <summary>An exFAT volume: name, free space, and a check of its boot regions, allocation bitmap, up-case table and directories. Source:
/// docs/formats/exfat.md.</summary>
internal sealed class ExFatVolume : CountedVolume
{
    private const uint BadCluster = 0xFFFFFFF7;
    private const int MostUpCaseBytes = 2 * 65536; // a unit for each of UTF-16, not compressed
    private const int Chunk = 256 << 10;

    private readonly BlockStorage _volume;
    private readonly ExFatBootSector _boot;
    private readonly CachedStorage _fat;
    private readonly ExFatClusters _clusters;
    private readonly Lazy<Root> _root;
    private readonly Lazy<long?> _freeClusters;

    private ExFatVolume(BlockStorage volume, ExFatBootSector boot)
    {
        (_volume, _boot, _fat) = (volume, boot, new(volume, maximumBytes: Chunk));
        _clusters = new(volume, _fat, boot);
        _root = new(ReadRoot);
        _freeClusters = new(CountFree);
    }

    /// <inheritdoc/>
    public override VolumeKind Kind => VolumeKind.ExFat;

    /// <inheritdoc/>
    /// <remarks>Empty also when the root directory cannot be read; <see cref="Check"/> says so.</remarks>
    public override string Name => _root.Value.Label;

    /// <inheritdoc/>
    public override long CapacityBytes => (long)(ulong)_boot.VolumeLength << _boot.SectorShift;

    /// <inheritdoc/>
    /// <remarks>Counted in the bitmap; null when it cannot be read.</remarks>
    public override long? FreeBytes => _freeClusters.Value * _clusters.Size;

    private int SectorSize => 1 << _boot.SectorShift;

    private ExFatFlags Flags => (ExFatFlags)(ushort)_boot.Flags;

    private long BitmapBytes => Layout.DivideUp(_boot.ClusterCount, 8);

    /// <summary>Whether there is such a volume: by the name in its boot sector.</summary>
    /// <param name="boot">The boot sector.</param>
    public static bool IsMatch(ReadOnlySpan<byte> boot) => boot[3..].StartsWith("EXFAT   "u8);

    /// <summary>Opens a volume.</summary>
    /// <param name="volume">Partition or disk; not owned.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: the boot sector contradicts itself or the
    /// window.</exception>
    public static ExFatVolume Open(BlockStorage volume)
    {
        Span<byte> sector = stackalloc byte[ExFatBootSector.Size];
        volume.Read(0, sector);
        ExFatBootSector boot = Layout.Read<ExFatBootSector>(sector);
        if (FaultOf(boot, volume.Length) is { } fault)
            throw ImageException.Damaged($"The exFAT boot sector cannot be used: {fault}.", "boot sector at byte 0 of the partition");
        return new(volume, boot);
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Nothing is free while the volume is marked as not unmounted properly, when its boot region fails its checksum, when there is a
    /// second FAT (no sample proves how macOS treats it), or when the bitmap calls free what the file system itself uses. Bad clusters
    /// never are.
    /// </remarks>
    public override IEnumerable<StorageExtent> GetFreeExtents(FreeSpaceQuery? query = null)
    {
        query ??= new();
        if (_boot.FatCount != 1 || (Flags & (ExFatFlags.Dirty | ExFatFlags.SecondFat)) != 0) return [];
        if (!ExFatBootRegion.IsValid(ExFatBootRegion.Read(_volume, SectorSize, isBackup: false))) return [];
        Root root = _root.Value;
        if (root.Fault is not null || root.Bitmap is not { } bitmap || FindUnmarked(root, bitmap, query.Cancellation) is not null)
            return [];
        return ClusterRuns.ToExtents(WithoutBad(FreeRuns(bitmap, query), query.Cancellation), _clusters.HeapOffset, _clusters.Size);
    }

    /// <inheritdoc/>
    public override void Check(ImageFindings findings, CancellationToken cancellation)
    {
        CheckBootRegions(findings);
        cancellation.ThrowIfCancellationRequested();
        const string What = "exFAT allocation bitmap";
        if ((Flags & ExFatFlags.Dirty) != 0)
            findings.Note(
                "exFAT volume flags", "The volume was not unmounted properly.", remedy: "Attach it on a Mac, which checks it then.");
        if ((Flags & ExFatFlags.MediaFailure) != 0)
            findings.Note("exFAT volume flags", "The volume is marked as having met failures of its medium.");
        Root root = _root.Value;
        if (root.Fault is { } fault) findings.Damaged("exFAT root directory", fault);
        else if (root.Bitmap is not { } bitmap) findings.Damaged(What, "The root directory names no allocation bitmap.", "root directory");
        else if (FindUnmarked(root, bitmap, cancellation) is long cluster)
            findings.Damaged(What, "A cluster that the file system itself uses is marked as free.", $"cluster {cluster}");
        else if (bitmap.Length != BitmapBytes) findings.Note(What, $"It has {bitmap.Length} bytes where {BitmapBytes} are enough.");
        else findings.Ok(What, $"It covers all {_boot.ClusterCount} clusters.");
        if (root.Fault is not null) return;
        CheckUpCase(findings, root);
        if (root.Bitmap is { } found) CheckDirectories(findings, root, found, cancellation);
    }

    /// <inheritdoc/>
    protected override SourceTree? TryReadTree(long mostBytes, CancellationToken cancellation) =>
        new ExFatTreeReader(_volume, _clusters).TryRead(mostBytes, cancellation);

    /// <inheritdoc/>
    public override VolumeResizer OpenResizer(CancellationToken cancellation) => new FixedVolumeResizer(this);

    /// <inheritdoc/>
    public override IReadOnlyList<string> Repair(CancellationToken cancellation)
    {
        byte[] main = ExFatBootRegion.Read(_volume, SectorSize, isBackup: false),
            backup = ExFatBootRegion.Read(_volume, SectorSize, isBackup: true);
        bool isMainValid = ExFatBootRegion.IsValid(main), isBackupValid = ExFatBootRegion.IsValid(backup);
        if (isMainValid ? ExFatBootRegion.AreEqual(main, backup) : !isBackupValid || !HasSameGeometry(backup)) return [];
        _volume.Write(isMainValid ? main.Length : 0, isMainValid ? main : backup);
        _volume.Flush();
        return [isMainValid ? "The copy of the exFAT boot region was restored." : "The exFAT boot region was restored from its copy."];
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) _fat.Dispose();
        base.Dispose(disposing);
    }

    private static string? FaultOf(in ExFatBootSector boot, long length)
    {
        if (boot.SectorShift is < 9 or > 12) return $"its sectors would have 2^{boot.SectorShift} bytes";
        if (boot.SectorShift + boot.ClusterShift > 25) return "its clusters would be larger than 32 MiB";
        if (boot.Revision >> 8 != 1) return $"it is of version {boot.Revision >> 8}";
        if (boot.FatCount is not (1 or 2)) return $"it has {boot.FatCount} FATs";
        if (boot.VolumeLength > (ulong)length >> boot.SectorShift)
            return $"it claims {boot.VolumeLength} sectors where there are {length >> boot.SectorShift}";
        uint clusters = boot.ClusterCount;
        if (clusters is 0 or > 0xFFFFFFF5) return $"it claims {boot.ClusterCount} clusters";
        long fatBytes = (long)(uint)boot.FatLength << boot.SectorShift, fatEnd = (long)(uint)boot.FatOffset
            + ((long)(uint)boot.FatLength * boot.FatCount);
        if (boot.FatOffset < 2 * ExFatBootRegion.Sectors || fatEnd > boot.HeapOffset || fatBytes < (clusters + (long)ClusterRuns.First) * 4)
            return "its FAT lies where it cannot be, or is too short";
        if ((uint)boot.HeapOffset + ((ulong)clusters << boot.ClusterShift) > boot.VolumeLength) return "its clusters reach behind its end";
        return boot.RootCluster >= ClusterRuns.First && boot.RootCluster - ClusterRuns.First < clusters ? null
            : $"its root directory is said to begin in cluster {boot.RootCluster}";
    }

    private void CheckBootRegions(ImageFindings findings)
    {
        const string What = "exFAT boot region";
        byte[] main = ExFatBootRegion.Read(_volume, SectorSize, isBackup: false),
            backup = ExFatBootRegion.Read(_volume, SectorSize, isBackup: true);
        bool isMainValid = ExFatBootRegion.IsValid(main), isBackupValid = ExFatBootRegion.IsValid(backup);
        string place = $"bytes 0 and {main.Length} of the partition";
        if (!isMainValid && isBackupValid && HasSameGeometry(backup))
            findings.Repairable(What, "The boot region fails its checksum; its copy is right.", place);
        else if (!isMainValid) findings.Damaged(What, "The boot region fails its checksum, and its copy cannot stand in for it.", place);
        else if (!isBackupValid) findings.Repairable(What, "The copy of the boot region fails its checksum.", place);
        else if (!ExFatBootRegion.AreEqual(main, backup)) findings.Repairable(What, "The copy of the boot region differs from it.", place);
        else findings.Ok(What, "Both boot regions fit their checksums and are equal.", place);
    }

    private void CheckUpCase(ImageFindings findings, Root root)
    {
        const string What = "exFAT up-case table";
        try
        {
            if (root.UpCase is not { } entry)
                findings.Damaged(What, "The root directory names no up-case table: names cannot be compared.", "root directory");
            else if (entry.Length is var length && (length == 0 || length > MostUpCaseBytes))
                findings.Damaged(What, $"It claims {length} bytes.", "root directory");
            else if (ExFatChecksum.Of(ReadUpCase(entry)) != entry.Checksum)
                findings.Damaged(What, "It fails its checksum: names may be compared wrongly.", $"cluster {entry.FirstCluster}");
            else findings.Ok(What, "It fits its checksum.");
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(What, e);
        }
    }

    private void CheckDirectories(ImageFindings findings, Root root, Bitmap bitmap, CancellationToken cancellation)
    {
        long fatOffset = _clusters.EntryOffset(0),
            stored = _volume.GetExtents(fatOffset, (_boot.ClusterCount + (long)ClusterRuns.First) * 4).Where(e => e.Kind == ExtentKind.Data)
            .Sum(e => e.Length);
        List<(uint First, uint Count)> own = [.. bitmap.Runs];
        if (root.UpCase is { } upCase && _clusters.Contains(upCase.FirstCluster) && upCase.Length <= MostUpCaseBytes)
        {
            try
            {
                own.AddRange(_clusters.Chain(upCase.FirstCluster, _clusters.CountFor((long)(ulong)upCase.Length), "up-case table")
                    .Select(c => (c, 1u)));
            }
            catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
            {
                // Said by the check of the table.
            }
        }

        new ExFatDirectoryChecker(_clusters, chainBudget: (stored / 4) + 1).Check(
            own, used => FindFree(bitmap, used, cancellation), () => CountFree(bitmap, cancellation), findings, cancellation);
    }

    private byte[] ReadUpCase(in ExFatStreamEntry entry)
    {
        byte[] table = new byte[(int)(ulong)entry.Length];
        int done = 0;
        foreach (uint cluster in _clusters.Chain(entry.FirstCluster, _clusters.CountFor(table.Length), "up-case table"))
        {
            int part = (int)Math.Min(_clusters.Size, table.Length - done);
            _volume.Read(_clusters.OffsetOf(cluster), table.AsSpan(done, part));
            done += part;
        }

        return done == table.Length ? table
            : throw ImageException.Damaged($"The chain of the up-case table ends after {done} of {table.Length} bytes.", "FAT");
    }

    // A copy that describes the volume as it was opened; of another one it could only do harm.
    private bool HasSameGeometry(ReadOnlySpan<byte> region)
    {
        ExFatBootSector other = Layout.Read<ExFatBootSector>(region);
        return IsMatch(region) && (ulong)other.VolumeLength == _boot.VolumeLength && (uint)other.FatOffset == _boot.FatOffset
            && (uint)other.FatLength == _boot.FatLength
            && (uint)other.HeapOffset == _boot.HeapOffset && (uint)other.ClusterCount == _boot.ClusterCount
                && (uint)other.RootCluster == _boot.RootCluster
            && other.SectorShift == _boot.SectorShift && other.ClusterShift == _boot.ClusterShift && other.FatCount == _boot.FatCount;
    }

    private Root ReadRoot()
    {
        var root = new Root();
        try
        {
            ScanRoot(root);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            root.Fault = e;
        }

        return root;
    }

    private void ScanRoot(Root root)
    {
        byte[] entries = new byte[(int)Math.Min(_clusters.Size, Chunk)];
        foreach (uint cluster in _clusters.OfRoot())
        {
            for (long at = 0; at < _clusters.Size; at += entries.Length)
            {
                _volume.Read(_clusters.OffsetOf(cluster) + at, entries);
                if (ScanEntries(entries, root)) return;
            }
        }
    }

    // Whether the directory ends here.
    private bool ScanEntries(ReadOnlySpan<byte> entries, Root root)
    {
        for (; entries.Length >= ExFatStreamEntry.Size; entries = entries[ExFatStreamEntry.Size..])
        {
            switch (entries[0])
            {
                case ExFatStreamEntry.End:
                    return true;
                case ExFatStreamEntry.Label:
                    root.Label = LabelOf(Layout.Read<ExFatLabelEntry>(entries));
                    break;
                case ExFatStreamEntry.Bitmap when root.Bitmap is null && (entries[1] & 1) == ((ushort)_boot.Flags & 1):
                    root.Bitmap = OpenBitmap(Layout.Read<ExFatStreamEntry>(entries));
                    break;
                case ExFatStreamEntry.UpCase:
                    root.UpCase = Layout.Read<ExFatStreamEntry>(entries);
                    break;
                default:
                    break;
            }
        }

        return false;
    }

    private static string LabelOf(in ExFatLabelEntry entry)
    {
        Span<char> text = stackalloc char[Math.Min(entry.CharacterCount, (byte)ExFatLabelEntry.MostCharacters)];
        for (int i = 0; i < text.Length; i++) text[i] = (char)(ushort)entry.Text[i];
        return new string(text);
    }

    private Bitmap OpenBitmap(in ExFatStreamEntry entry)
    {
        const string What = "allocation bitmap";
        if (entry.Length < (ulong)BitmapBytes || entry.Length > (ulong)CapacityBytes)
            throw ImageException.Damaged($"The allocation bitmap has {entry.Length} bytes where {BitmapBytes} are needed.", What);
        long clusters = _clusters.CountFor((long)(ulong)entry.Length), found = 0;
        var runs = new List<(uint First, uint Count)>();
        foreach (uint cluster in _clusters.Chain(entry.FirstCluster, clusters, What))
        {
            found++;
            if (runs.Count > 0 && runs[^1] is var (first, count) && first + (long)count == cluster) runs[^1] = (first, count + 1);
            else runs.Add((cluster, 1));
        }

        return found == clusters ? new(runs, (long)(ulong)entry.Length)
            : throw ImageException.Damaged($"The chain of the allocation bitmap has {found} clusters instead of {clusters}.", What);
    }

    // Parts of the bitmap in order, as long as they count clusters.
    private IEnumerable<(long FirstCluster, ReadOnlyMemory<byte> Bits)> ReadBitmap(Bitmap bitmap, CancellationToken cancellation)
    {
        byte[] buffer = new byte[(int)Math.Min(Chunk, BitmapBytes)];
        long done = 0;
        foreach ((uint first, uint count) in bitmap.Runs)
        {
            long length = count * _clusters.Size;
            for (long at = 0; at < length && done < BitmapBytes;)
            {
                cancellation.ThrowIfCancellationRequested();
                int part = (int)Math.Min(Math.Min(buffer.Length, length - at), BitmapBytes - done);
                ClusterRuns.ReadTable(_volume, _clusters.OffsetOf(first) + at, buffer.AsSpan(0, part));
                yield return ((done * 8) + ClusterRuns.First, buffer.AsMemory(0, part));
                (at, done) = (at + part, done + part);
            }
        }
    }

    // Runs of clear bits, the least significant bit first.
    private IEnumerable<(long First, long Count)> FreeRuns(Bitmap bitmap, FreeSpaceQuery query)
    {
        long end = _boot.ClusterCount + (long)ClusterRuns.First;
        var scan = new BitmapScan(isHighFirst: false);
        foreach ((long first, ReadOnlyMemory<byte> bits) in ReadBitmap(bitmap, query.Cancellation))
        {
            foreach ((long First, long Count) run in scan.Next(bits.Span, first, end, query.ShortestIn(_clusters.Size))) yield return run;
        }

        if (scan.Finish(end) is (long First, long Count) last) yield return last;
    }

    private long CountFree(Bitmap bitmap, CancellationToken cancellation)
    {
        long free = 0, end = _boot.ClusterCount + (long)ClusterRuns.First;
        var scan = new BitmapScan(isHighFirst: false);
        foreach ((long first, ReadOnlyMemory<byte> bits) in ReadBitmap(bitmap, cancellation))
            free += scan.CountClear(bits.Span, Math.Min(bits.Length * 8L, end - first));
        return free;
    }

    // The first free cluster of each range and piece of the bitmap. Ranges are ascending and apart from each other.
    private IEnumerable<long> FindFree(Bitmap bitmap, IReadOnlyList<(long First, long Count)> ranges, CancellationToken cancellation)
    {
        int next = 0;
        var scan = new BitmapScan(isHighFirst: false);
        foreach ((long first, ReadOnlyMemory<byte> bits) in ReadBitmap(bitmap, cancellation))
        {
            long end = first + (bits.Length * 8L);
            while (next < ranges.Count && ranges[next].First + ranges[next].Count <= first) next++;
            for (int i = next; i < ranges.Count && ranges[i].First < end; i++)
            {
                long from = Math.Max(ranges[i].First, first) - first, to = Math.Min(ranges[i].First + ranges[i].Count, end) - first;
                if (scan.FindClear(bits.Span, from, to) is long clear) yield return first + clear;
            }
        }
    }

    private IEnumerable<(long First, long Count)> WithoutBad(IEnumerable<(long First, long Count)> runs, CancellationToken cancellation)
    {
        uint mark = BitConverter.IsLittleEndian ? BadCluster : BinaryPrimitives.ReverseEndianness(BadCluster);
        byte[] entries = new byte[Chunk];
        var bad = new List<long>();
        long read = 0, readEnd = 0; // clusters whose entries are there
        bool isStored = false;
        foreach ((long first, long count) in runs)
        {
            long start = first;
            for (long at = first; at < first + count;)
            {
                if (at >= readEnd)
                {
                    // More than this run asks for: the next ones are near. What is not stored is passed over, however long it is.
                    cancellation.ThrowIfCancellationRequested();
                    long end = _boot.ClusterCount + (long)ClusterRuns.First, offset = _clusters.EntryOffset((uint)at), unstored = 0;
                    foreach (StorageExtent extent in _volume.GetExtents(offset, (end - at) * 4).TakeWhile(e => e.Kind != ExtentKind.Data))
                        unstored += extent.Length;
                    (read, isStored) = (at, unstored < 4);
                    readEnd = isStored ? Math.Min(at + (entries.Length / 4), end) : at + (unstored / 4);
                    if (isStored) _volume.Read(offset, entries.AsSpan(0, (int)(readEnd - read) * 4));
                }

                long part = Math.Min(readEnd, first + count) - at;
                if (isStored)
                {
                    ReadOnlySpan<uint> table = MemoryMarshal.Cast<byte, uint>(entries.AsSpan((int)(at - read) * 4, (int)part * 4));
                    bad.Clear();
                    for (int i = table.IndexOf(mark), from = 0; i >= 0; i = table[from..].IndexOf(mark))
                    {
                        from += i + 1;
                        bad.Add(at + from - 1);
                    }

                    foreach (long cluster in bad)
                    {
                        if (cluster > start) yield return (start, cluster - start);
                        start = cluster + 1;
                    }
                }

                at += part;
            }

            if (start < first + count) yield return (start, first + count - start);
        }
    }

    // A cluster of the file system's own that the bitmap calls free.
    private long? FindUnmarked(Root root, Bitmap bitmap, CancellationToken cancellation)
    {
        IEnumerable<(uint First, uint Count)> own = [(_boot.RootCluster, 1), .. bitmap.Runs];
        if (root.UpCase is { } upCase && _clusters.Contains(upCase.FirstCluster)) own = own.Append((upCase.FirstCluster, 1u));
        List<(long First, long Count)> ranges = ExFatDirectoryChecker.Merge([.. own.Order()], null);
        foreach (long cluster in FindFree(bitmap, ranges, cancellation)) return cluster;
        return null;
    }

    private long? CountFree()
    {
        if (_root.Value.Bitmap is not { } bitmap) return null;
        try
        {
            return CountFree(bitmap, default);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return null;
        }
    }

    private sealed record Bitmap(IReadOnlyList<(uint First, uint Count)> Runs, long Length);

    private sealed class Root
    {
        public string Label { get; set; } = "";

        public Bitmap? Bitmap { get; set; }

        public ExFatStreamEntry? UpCase { get; set; }

        public ImageException? Fault { get; set; }
    }
}
