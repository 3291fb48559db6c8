using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <content>How a bundle gives free space back to its host.</content>
internal sealed partial class SparseBundleStorage
{
    /// <summary>
    /// Gives what holds nothing back to the host: bands without a used byte are removed; of the others the tail is cut off, and the ranges
    /// before it are punched out where the host can. Nobody may read or write meanwhile. No data is read.
    /// <para>
    /// Nothing that is used is moved or written, so every prefix of the steps, in any order, is the same disk: what is free reads
    /// differently, and nobody asks for it.
    /// </para>
    /// </summary>
    /// <param name="free">The ranges of the disk that hold nothing: ascending, apart from each other.</param>
    /// <param name="onBand">Hears of each band that is looked at: its number.</param>
    /// <param name="cancellation">Ends it between two bands.</param>
    /// <returns>What was done.</returns>
    /// <exception cref="ImageException">What the host says; a band in use.</exception>
    public CompactionCounts Compact(IReadOnlyList<StorageExtent> free, Action<long> onBand, CancellationToken cancellation)
    {
        if (!_writable) throw new NotSupportedException("This storage is read-only.");
        Flush();
        _bands.Close();
        var counts = new CompactionCounts();
        bool canPunch = true;
        try
        {
            foreach (BandRoom room in RoomIn(_files.List(), free))
            {
                cancellation.ThrowIfCancellationRequested();
                onBand(room.File.Band);
                if (room.KeptLength == 0)
                {
                    _files.Remove(room.File.Band);
                    counts.BandsRemoved++;
                }
                else if (room.KeptLength < room.File.FileLength || (canPunch && room.Free.Count > 0))
                {
                    canPunch &= Shrink(room, canPunch, counts);
                    ClearBits(room.File.Band, room.Free, room.TailOffset);
                }

                if (!canPunch) counts.KeptBytes += room.FreeBytes;
            }

            if (counts.BandsRemoved > 0) _files.FlushRemovals();
            return counts;
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Path, writing: true);
        }
    }

    /// <summary>What <see cref="Compact"/> would do, from the lengths of the bands' files alone.</summary>
    /// <param name="free">As there.</param>
    /// <param name="canPunch">Whether the host is expected to have holes.</param>
    public CompactionEstimate EstimateCompaction(IReadOnlyList<StorageExtent> free, bool canPunch)
    {
        var counts = new CompactionCounts();
        SparseBundleBandFile[] files = [.. _files.List()];
        long before = files.Where(f => f.Band >= BandCount).Sum(f => f.StoredBytes), after = before;
        foreach (BandRoom room in RoomIn(files, free))
        {
            before += room.File.StoredBytes;
            if (room.KeptLength == 0)
            {
                counts.BandsRemoved++;
                continue;
            }

            // Holes that are there already are taken to lie where nothing is used: not less than this is given back.
            long kept = Math.Min(room.File.StoredBytes, room.KeptLength), used = Math.Min(kept, room.KeptLength - room.FreeBytes);
            if (canPunch) counts.BytesPunched += kept - used;
            else counts.KeptBytes += room.FreeBytes;
            after += canPunch ? used : kept;
        }

        return new(counts, before, after);
    }

    /// <summary>The stored bands of the disk, ascending, with the room in them that holds nothing.</summary>
    private IEnumerable<BandRoom> RoomIn(IEnumerable<SparseBundleBandFile> files, IReadOnlyList<StorageExtent> free)
    {
        int next = 0;
        foreach (SparseBundleBandFile file in files.Where(f => f.Band < BandCount).OrderBy(f => f.Band))
        {
            long start = file.Band * BandSizeBytes, length = Math.Min(BandSizeBytes, Length - start);
            while (next < free.Count && free[next].End <= start) next++;
            var ranges = new List<StorageExtent>();
            long tail = length;
            for (int i = next; i < free.Count && free[i].Offset < start + length; i++)
            {
                long from = Math.Max(free[i].Offset, start) - start, to = Math.Min(free[i].End - start, length);
                if (ranges.Count > 0 && ranges[^1].End == from) ranges[^1] = ranges[^1] with { Length = to - ranges[^1].Offset };
                else ranges.Add(new(from, to - from, ExtentKind.Zero));
            }

            if (ranges.Count > 0 && ranges[^1].End == length) tail = ranges[^1].Offset;
            long kept = file.FileLength;
            if (tail == length) tail = Layout.RoundUp(BandSizeBytes, SparseBundleFiles.MapUnit);
            else kept = Math.Min(kept, tail = Layout.RoundUp(tail, SparseBundleFiles.MapUnit));
            yield return new(file, kept, tail, [.. ranges.Select(r => Inward(r, kept)).Where(r => r.Length > 0)]);
        }
    }

    /// <summary>The whole units of a range before an end: cipher blocks and the blocks of the host's file system are not larger, as a
    /// rule.</summary>
    private static StorageExtent Inward(StorageExtent range, long end)
    {
        long from = Layout.RoundUp(range.Offset, SparseBundleFiles.MapUnit),
            to = Math.Min(range.End, end) / SparseBundleFiles.MapUnit * SparseBundleFiles.MapUnit;
        return new(from, Math.Max(0, to - from), ExtentKind.Zero);
    }

    /// <summary>Cuts and punches one band's file. False when the host cannot punch.</summary>
    private bool Shrink(BandRoom room, bool punch, CompactionCounts counts)
    {
        using FileStorage file = _files.OpenBand(room.File.Band, writable: true);
        if (room.KeptLength < file.Length) file.SetLength(room.KeptLength);
        if (!punch) return true;
        foreach (StorageExtent range in room.Free)
        {
            if (file.PunchHole(range.Offset, range.Length) is not long punched) return false;
            counts.BytesPunched += punched;
        }

        return true;
    }

    /// <summary>Takes the bits of what was cut and punched out of the band's map. Whatever part of this arrives, no used unit loses its
    /// bit.</summary>
    private void ClearBits(long number, IReadOnlyList<StorageExtent> holes, long tail)
    {
        if (!_files.HasMap(number)) return;
        byte[] map = _files.ReadMap(number), changed = [.. map];
        long units = Layout.DivideUp(BandSizeBytes, SparseBundleFiles.MapUnit);
        foreach (StorageExtent range in holes.Append(
            new(tail, Layout.RoundUp(BandSizeBytes, SparseBundleFiles.MapUnit) - tail, ExtentKind.Zero)))
        {
            for (long unit = range.Offset / SparseBundleFiles.MapUnit; unit < Math.Min(units, range.End / SparseBundleFiles.MapUnit);
                unit++) changed[unit / 8] &= (byte)(0xFF ^ (1 << (int)(unit % 8)));
        }

        if (map.AsSpan().SequenceEqual(changed)) return;
        using FileStorage file = _files.OpenMap(number, writable: true);
        file.Write(0, changed);
    }

    /// <summary>A band's file and what of it is free.</summary>
    /// <param name="File">The file.</param>
    /// <param name="KeptLength">Bytes of the file up to the end of the last used range; 0 when nothing is used.</param>
    /// <param name="TailOffset">Where the free units at the end of the band begin; the end of the band when there are none.</param>
    /// <param name="Free">The free ranges before that, whole units.</param>
    private readonly record struct BandRoom(SparseBundleBandFile File, long KeptLength, long TailOffset, IReadOnlyList<StorageExtent> Free)
    {
        public long FreeBytes => Free.Sum(r => r.Length);
    }
}
