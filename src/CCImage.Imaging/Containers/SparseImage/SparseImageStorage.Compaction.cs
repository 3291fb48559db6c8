using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.Containers.SparseImage;

/// <content>How a sparse image gives free space back to its host.</content>
internal sealed partial class SparseImageStorage
{
    /// <summary>Bytes of bands that move between two flushes, unless a single band is longer: so much may be in two slots after an
    /// interruption.</summary>
    private const long BatchBytes = 64 << 20;

    private const int CopyBytes = 1 << 20;

    /// <summary>Slots whose band is in an earlier slot, too, with that band: what an interrupted move leaves.</summary>
    private readonly Dictionary<int, int> _duplicates = [];

    /// <summary>Bands that are stored twice, with the same bytes, because a compaction was interrupted. Opening to write ends
    /// that.</summary>
    public int DuplicateBandCount => _duplicates.Count;

    private int MaximumDuplicates => (int)Math.Max(1, BatchBytes / BandSizeBytes);

    /// <summary>
    /// Takes the bands that hold nothing out of the image, moves the last stored ones into the gaps, and cuts the file. Nobody else may use
    /// the storage meanwhile.
    /// <para>
    /// The order: the entries of freed bands become 0, flush (until then their slots would show another band's bytes); then, batch by
    /// batch: the copies, flush; the entries of their new slots, flush; the old entries become 0, flush; then the index nodes behind the
    /// last band are unlinked, flush; last, the file is cut. Cut off anywhere, a band is in one slot or in two with the same bytes, never
    /// in none, and doing it again finishes the work.
    /// </para>
    /// </summary>
    /// <param name="free">The ranges of the disk that hold nothing: ascending, apart from each other.</param>
    /// <param name="cut">Gives what this lies in (the file, or what it deciphers to) a smaller length.</param>
    /// <param name="onBand">Hears of each band that moves: its number.</param>
    /// <param name="cancellation">Ends it between two batches; the file is not cut then.</param>
    /// <param name="batchBytes">Bytes that move between two flushes, at most <see cref="BatchBytes"/>.</param>
    /// <returns>What was done.</returns>
    /// <exception cref="ImageException">What the host says.</exception>
    public CompactionCounts Compact(
        IReadOnlyList<StorageExtent> free, Action<long> cut, Action<long> onBand, CancellationToken cancellation,
        long batchBytes = BatchBytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(batchBytes, BatchBytes);
        if (!_writable) throw new NotSupportedException("This storage is read-only.");
        Flush();
        lock (_saving)
        {
            int[] freed = FreeBands(free, out long kept);
            if (freed.Length > 0)
            {
                Remove(freed);
                _file.Flush();
            }

            int[] bandOf = BandsBySlot();
            int moved = 0;
            foreach ((int Band, int From, int To)[] batch in Moves(bandOf, (int)Math.Max(1, batchBytes / BandSizeBytes)))
            {
                cancellation.ThrowIfCancellationRequested();
                Move(batch, onBand);
                moved += batch.Length;
            }

            CutBehind(Array.FindLastIndex(bandOf, b => b >= 0), cut);
            return new() { BandsRemoved = freed.Length, BandsMoved = moved, KeptBytes = kept };
        }
    }

    /// <summary>What <see cref="Compact"/> would do, from the tables alone.</summary>
    /// <param name="free">As there.</param>
    public CompactionEstimate EstimateCompaction(IReadOnlyList<StorageExtent> free)
    {
        int[] freed = FreeBands(free, out long kept);
        var gone = freed.ToHashSet();
        int stored = StoredBandCount - freed.Length;
        int moved = StoredBands().Count(b => !gone.Contains(b) && SlotOf(b) >= stored);
        return new(
            new() { BandsRemoved = freed.Length, BandsMoved = moved, KeptBytes = kept }, _file.Length,
            Math.Min(_file.Length, stored == 0 ? SparseImageHeader.NodeSize : OffsetOf(stored - 1) + BandSizeBytes));
    }

    /// <summary>The stored bands that lie in free ranges as a whole, ascending.</summary>
    /// <param name="free">The ranges.</param>
    /// <param name="kept">Receives the free bytes in the other stored bands.</param>
    private int[] FreeBands(IReadOnlyList<StorageExtent> free, out long kept)
    {
        var bands = new List<int>();
        int next = 0;
        kept = 0;
        foreach (int band in StoredBands())
        {
            long start = band * BandSizeBytes, end = Math.Min(start + BandSizeBytes, Length), inside = 0;
            while (next < free.Count && free[next].End <= start) next++;
            for (int i = next; i < free.Count && free[i].Offset < end; i++)
                inside += Math.Min(free[i].End, end) - Math.Max(free[i].Offset, start);
            if (inside == end - start) bands.Add(band);
            else kept += inside;
        }

        return [.. bands];
    }

    /// <summary>The moves that close the gaps, in batches; <paramref name="bandOf"/> follows them.</summary>
    private IEnumerable<(int Band, int From, int To)[]> Moves(int[] bandOf, int most)
    {
        var batch = new List<(int Band, int From, int To)>();
        int gap = 0, last = bandOf.Length - 1;
        while (true)
        {
            while (gap < last && (bandOf[gap] >= 0 || !IsRoomFor(gap))) gap++;
            while (last >= 0 && bandOf[last] < 0) last--;
            if (gap >= last) break;
            batch.Add((bandOf[last], last, gap));
            (bandOf[gap], bandOf[last]) = (bandOf[last], -1);
            if (batch.Count < most) continue;
            yield return [.. batch];
            batch.Clear();
        }

        if (batch.Count > 0) yield return [.. batch];
    }

    private void Move((int Band, int From, int To)[] batch, Action<long> onBand)
    {
        byte[] buffer = new byte[(int)Math.Min(BandSizeBytes, CopyBytes)];
        foreach ((int band, int from, int to) in batch)
        {
            onBand(band);
            Copy(OffsetOf(from), OffsetOf(to), buffer);
        }

        _file.Flush();
        WriteEntries(batch.Select(m => (m.To, (uint)m.Band + 1)));
        _file.Flush();
        WriteEntries(batch.Select(m => (m.From, 0u)));
        _file.Flush();
        foreach ((int band, int _, int to) in batch) Volatile.Write(ref _slots[band >> PageShift]![band & (PageSize - 1)], to + 1);
    }

    /// <summary>Copies a band; of the disk's last one a foreign file may hold less than the whole.</summary>
    private void Copy(long from, long to, byte[] buffer)
    {
        long length = Math.Min(BandSizeBytes, _file.Length - from);
        for (long at = 0; at < length; at += buffer.Length)
        {
            Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, length - at));
            _file.Read(from + at, part);
            _file.Write(to + at, part);
        }
    }

    private void CutBehind(int last, Action<long> cut)
    {
        int node = last < 0 ? 0 : NodeOf(last);
        if (node + 1 < _nodes.Length)
        {
            byte[] bytes = new byte[SparseImageHeader.NodeSize];
            _file.Read(_nodes[node], bytes);
            SetNext(bytes, node, 0);
            _file.Write(_nodes[node], bytes);
            _file.Flush();
            lock (_allocation) _nodes = _nodes[..(node + 1)];
            _savedNodes = node + 1;
        }

        lock (_allocation) _nextIndex = last < 0 ? 0 : last - FirstSlotOf(node) + 1;
        long end = last < 0 ? SparseImageHeader.NodeSize : OffsetOf(last) + BandSizeBytes;
        if (end > _file.Length) return;
        cut(end);
        _file.Flush();
    }

    private int[] BandsBySlot()
    {
        int slots = 0;
        foreach (int band in StoredBands()) slots = Math.Max(slots, SlotOf(band) + 1);
        int[] bandOf = new int[slots];
        Array.Fill(bandOf, -1);
        foreach (int band in StoredBands()) bandOf[SlotOf(band)] = band;
        return bandOf;
    }

    /// <summary>Whether a slot ends before the next index node: a foreign writer may have put that one nearer.</summary>
    private bool IsRoomFor(int slot)
    {
        int node = NodeOf(slot);
        return node + 1 >= _nodes.Length || OffsetOf(slot) + BandSizeBytes <= _nodes[node + 1];
    }

    /// <summary>Two slots of a band must hold the same bytes: then a move was interrupted, and either will do.</summary>
    private void CheckDuplicates()
    {
        byte[] one = new byte[ZeroChunk], two = new byte[ZeroChunk];
        foreach ((int slot, int band) in _duplicates)
        {
            long first = OffsetOf(SlotOf(band)), second = OffsetOf(slot), length = Math.Min(BandSizeBytes, Length - (band * BandSizeBytes));
            ImageException Twice() => ImageException.Damaged($"Band {band + 1} is stored twice.", $"slot {slot} at byte {second}");
            if (length > _file.Length - second || length > _file.Length - first) throw Twice();
            for (long at = 0; at < length; at += ZeroChunk)
            {
                int part = (int)Math.Min(ZeroChunk, length - at);
                _file.Read(first + at, one.AsSpan(0, part));
                _file.Read(second + at, two.AsSpan(0, part));
                if (!one.AsSpan(0, part).SequenceEqual(two.AsSpan(0, part))) throw Twice();
            }
        }
    }

    /// <summary>Ends an interrupted move before anything is written: from then on the two slots would differ.</summary>
    private void ClearDuplicates()
    {
        if (_duplicates.Count == 0) return;
        WriteEntries(_duplicates.Keys.Select(slot => (slot, 0u)));
        _file.Flush();
        _duplicates.Clear();
    }
}
