using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// A planned volume as a storage: every range is computed when it is read, metadata from the plan, content from the source. Read-only and
/// thread-safe. A source that changed in between never breaks the volume: what is missing reads as zeros, what is too much is left out,
/// and the entry is told to the observer and listed in <see cref="ChangedEntries"/> or <see cref="LostEntries"/>, once.
/// <para>
/// The metadata read as planned until <see cref="Settle"/>. From then on the records of what could not be read say so: a size that ends
/// where reading ended, and a mark; the blocks behind the end are free, and bitmap and headers say that. No other file moves.
/// </para>
/// </summary>
internal sealed class HfsPlusRenderer : BlockStorage
{
    // Holes are looked for in forks from this size on: asking costs opening the file.
    private const long SmallestForkWithHoles = 1024 * 1024;

    private readonly HfsPlusPlan _plan;
    private readonly HfsPlusForkReader _forks;
    private readonly List<Region> _regions;
    private readonly long _firstForkByte;
    private byte[] _header;

    /// <summary>Shows the volume.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="tree">The tree that was planned; stays the caller's and must outlive the renderer.</param>
    /// <param name="observer">Hears of entries that changed.</param>
    public HfsPlusRenderer(HfsPlusPlan plan, Sources.SourceTree tree, IImagingObserver observer)
    {
        _plan = plan;
        _forks = new HfsPlusForkReader(plan, tree, observer);
        _header = Layout.ToBytes(plan.Header());
        _regions =
        [
            .. new[]
            {
                RegionOf(RegionKind.FirstBlock, new BlockRun(0, 1)),
                RegionOf(RegionKind.Allocation, plan.AllocationFile),
                RegionOf(RegionKind.JournalInfo, plan.JournalInfo),
                RegionOf(RegionKind.Journal, plan.Journal),
                RegionOf(RegionKind.Extents, plan.ExtentsFile),
                RegionOf(RegionKind.Attributes, plan.AttributesFile),
                RegionOf(RegionKind.Catalog, plan.CatalogFile),
            }.Where(r => r.Length > 0),
        ];
        _firstForkByte = _regions[^1].End;
        long last = (plan.TotalBlocks - 1L) * plan.BlockSize;
        LastRegion = new Region(RegionKind.LastBlock, last, plan.VolumeBytes - last, 0, 0);
    }

    private enum RegionKind
    {
        Nothing,
        FirstBlock,
        Allocation,
        JournalInfo,
        Journal,
        Extents,
        Attributes,
        Catalog,
        Fork,
        LastBlock,
    }

    /// <inheritdoc/>
    public override long Length => _plan.VolumeBytes;

    /// <summary>The entries that did not give what was planned, in the order in which that was noticed.</summary>
    public IReadOnlyList<ImagingWarning> ChangedEntries => [.. _forks.Changed];

    /// <summary>The entries of which content could not be read, in the order in which that was noticed.</summary>
    public IReadOnlyList<ImagingWarning> LostEntries => [.. _forks.Lost];

    /// <summary>Bytes of files' content that could not be read; known when it is settled.</summary>
    public long LostBytes { get; private set; }

    /// <summary>Where <see cref="Settle"/> may change the volume: headers, bitmap, attributes and catalog. Ascending.</summary>
    public IReadOnlyList<StorageExtent> RevisableRanges =>
    [
        .. _regions.Where(r => r.Kind is RegionKind.FirstBlock or RegionKind.Allocation or RegionKind.Attributes or RegionKind.Catalog)
            .Append(LastRegion).Select(r => new StorageExtent(r.Offset, r.Length, ExtentKind.Data)),
    ];

    /// <summary>
    /// To be called when all content has been read, and nobody reads: closes the source's files, which is when changes are noticed last,
    /// and gives the files whose content was lost the sizes that were read.
    /// </summary>
    /// <returns>The ranges that read differently from now on, ascending.</returns>
    public IReadOnlyList<StorageExtent> Settle()
    {
        _forks.CloseAll();
        if (_forks.Losses.IsEmpty) return [];
        _forks.TellRest();
        SortedDictionary<int, (long LostBytes, long KeptSize)> losses = _forks.Losses.Sum(f => _plan.SizeOf(_plan.Forks[f]));
        if (losses.Count == 0) return [];
        LostBytes = losses.Where(l => _plan.Forks[l.Key].Stream < 2).Sum(l => l.Value.LostBytes);
        var lost = new HfsPlusPlanLosses(_plan, losses.Select(l => (l.Key, l.Value.KeptSize)));
        _plan.Settle(lost);
        var changed = new List<StorageExtent>();
        if (lost.Freed.Count > 0)
        {
            _header = Layout.ToBytes(_plan.Header());
            changed.Add(new StorageExtent(HfsPlusConstants.VolumeHeaderOffset, _header.Length, ExtentKind.Data));
            changed.AddRange(BitmapBytes(lost.Freed));
            changed.Add(new StorageExtent(_plan.AlternateHeaderOffset, _header.Length, ExtentKind.Data));
        }

        changed.AddRange(
            NodesOf(_plan.AttributesFile, _plan.AttributesTree, losses.Keys.Where(f => _plan.Forks[f].Stream >= 2).Select(AttributeLeaf)));
        changed.AddRange(NodesOf(_plan.CatalogFile, _plan.CatalogTree, lost.CatalogPlaces(_plan.Tree).Select(CatalogLeaf)));
        changed.Sort(static (a, b) => a.Offset.CompareTo(b.Offset));
        return changed;

        uint CatalogLeaf(CatalogCursor place) => ((BTreeBuilder<CatalogCursor>)_plan.CatalogTree)
            .LeafOf(place, static (a, b) => a.Parent != b.Parent ? a.Parent.CompareTo(b.Parent) : a.Child.CompareTo(b.Child));
        uint AttributeLeaf(int fork) => ((BTreeBuilder<AttributeCursor>)_plan.AttributesTree)
            .LeafOf(new(_plan.Forks[fork].Stream - 2, 0), static (a, b) =>
                a.Index != b.Index ? a.Index.CompareTo(b.Index) : a.Part.CompareTo(b.Part));
    }

    private IEnumerable<StorageExtent> NodesOf(BlockRun file, BTreePlan tree, IEnumerable<uint> nodes) =>
        nodes.Distinct()
            .Select(n =>
            new StorageExtent(((long)file.Start * _plan.BlockSize) + ((long)n * tree.Kind.NodeSize), tree.Kind.NodeSize, ExtentKind.Data));

    // The bytes of the bitmap that hold the runs' bits, each once.
    private List<StorageExtent> BitmapBytes(IReadOnlyList<BlockRun> runs)
    {
        long bitmap = (long)_plan.AllocationFile.Start * _plan.BlockSize;
        var bytes = new List<StorageExtent>();
        foreach (BlockRun run in runs)
        {
            long from = bitmap + (run.Start / 8), to = bitmap + ((run.End + 7L) / 8);
            if (bytes.Count > 0 && bytes[^1].End >= from) bytes[^1] = bytes[^1] with { Length = to - bytes[^1].Offset };
            else bytes.Add(new StorageExtent(from, to - from, ExtentKind.Data));
        }

        return bytes;
    }

    private Region LastRegion { get; }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            Region region = Locate(offset);
            int count = (int)Math.Min(buffer.Length, region.End - offset);
            Render(region, offset - region.Offset, buffer[..count]);
            buffer = buffer[count..];
            offset += count;
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        StorageExtent pending = default;
        foreach (StorageExtent extent in Split(offset, offset + length))
        {
            if (pending.Length > 0 && pending.Kind == extent.Kind)
            {
                pending = pending with { Length = pending.Length + extent.Length };
                continue;
            }

            if (pending.Length > 0) yield return pending;
            pending = extent;
        }

        yield return pending;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _forks.Dispose();
        base.Dispose(disposing);
    }

    private Region RegionOf(RegionKind kind, BlockRun run) =>
        new(kind, (long)run.Start * _plan.BlockSize, (long)run.Count * _plan.BlockSize, 0, 0);

    // The region that a byte lies in; a gap is a region of nothing up to the next one.
    private Region Locate(long offset)
    {
        if (offset >= LastRegion.Offset) return LastRegion;
        if (offset < _firstForkByte)
        {
            foreach (Region region in _regions)
            {
                if (offset < region.Offset) return Gap(offset, region.Offset);
                if (offset < region.End) return region;
            }
        }

        PlanFork[] forks = _plan.Forks;
        uint block = (uint)(offset / _plan.BlockSize);
        int low = 0, high = forks.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (forks[middle].StartBlock <= block) low = middle + 1;
            else high = middle;
        }

        long next = low < forks.Length ? (long)forks[low].StartBlock * _plan.BlockSize : LastRegion.Offset;
        if (low == 0) return Gap(offset, next);
        ref readonly PlanFork fork = ref forks[low - 1];
        uint most = _plan.Options.MaximumExtentBlocks;
        int piece = most == 0 ? 0 : (int)((block - fork.StartBlock) / (most + 1));
        if (piece >= _plan.ExtentCount(fork)) return Gap(offset, next);
        BlockRun run = _plan.ExtentAt(fork, piece);
        if (block >= run.End)
        {
            long behind = piece + 1 < _plan.ExtentCount(fork) ? (long)_plan.ExtentAt(fork, piece + 1).Start * _plan.BlockSize : next;
            return Gap(offset, behind);
        }

        return new Region(RegionKind.Fork, (long)run.Start * _plan.BlockSize, (long)run.Count * _plan.BlockSize, low - 1,
            (long)piece * most * _plan.BlockSize);
    }

    private static Region Gap(long offset, long end) => new(RegionKind.Nothing, offset, end - offset, 0, 0);

    private void Render(in Region region, long at, Span<byte> buffer)
    {
        switch (region.Kind)
        {
            case RegionKind.FirstBlock:
                Place(_header, HfsPlusConstants.VolumeHeaderOffset, at, buffer);
                break;
            case RegionKind.LastBlock:
                Place(_header, _plan.AlternateHeaderOffset - region.Offset, at, buffer);
                break;
            case RegionKind.Allocation:
                RenderBitmap(at, buffer);
                break;
            case RegionKind.JournalInfo:
                RenderJournalInfo(at, buffer);
                break;
            case RegionKind.Journal:
                Place(Layout.ToBytes(JournalHeader.Clean(_plan.JournalSize, unchecked((uint)_plan.Options.VolumeId))), 0, at, buffer);
                break;
            case RegionKind.Extents:
                RenderTree(_plan.ExtentsTree, at, buffer);
                break;
            case RegionKind.Attributes:
                RenderTree(_plan.AttributesTree, at, buffer);
                break;
            case RegionKind.Catalog:
                RenderTree(_plan.CatalogTree, at, buffer);
                break;
            case RegionKind.Fork:
                _forks.Read(region.Fork, region.ForkOffset + at, buffer);
                break;
            default:
                buffer.Clear();
                break;
        }
    }

    // Zeros with a structure in them; at is where the buffer begins, in the same coordinates as structureOffset.
    private static void Place(ReadOnlySpan<byte> structure, long structureOffset, long at, Span<byte> buffer)
    {
        buffer.Clear();
        long from = Math.Max(structureOffset, at), to = Math.Min(structureOffset + structure.Length, at + buffer.Length);
        if (from < to) structure[(int)(from - structureOffset)..(int)(to - structureOffset)].CopyTo(buffer[(int)(from - at)..]);
    }

    private void RenderJournalInfo(long at, Span<byte> buffer)
    {
        var info = new JournalInfoBlock
        {
            Flags = 1, // in this volume, initialised
            Offset = (ulong)_plan.Journal.Start * (ulong)_plan.BlockSize,
            Size = (ulong)_plan.JournalSize,
        };
        Place(Layout.ToBytes(info), 0, at, buffer);
    }

    private void RenderBitmap(long at, Span<byte> buffer)
    {
        buffer.Clear();
        long first = at * 8, end = (at + buffer.Length) * 8;
        BlockRun[] runs = _plan.UsedRuns;
        int low = 0, high = runs.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (runs[middle].End <= first) low = middle + 1;
            else high = middle;
        }

        for (; low < runs.Length && runs[low].Start < end; low++)
            SetBits(buffer, Math.Max(runs[low].Start, first) - first, Math.Min(runs[low].End, end) - first);
    }

    // Bit 7 of a byte is its first block.
    private static void SetBits(Span<byte> bits, long from, long to)
    {
        while (from < to && from % 8 != 0) Set(bits, from++);
        while (from < to && to % 8 != 0) Set(bits, --to);
        if (from < to) bits[(int)(from / 8)..(int)(to / 8)].Fill(0xFF);

        static void Set(Span<byte> bits, long bit) => bits[(int)(bit / 8)] |= (byte)(0x80 >> (int)(bit % 8));
    }

    private static void RenderTree(BTreePlan tree, long at, Span<byte> buffer)
    {
        int nodeSize = tree.Kind.NodeSize;
        byte[]? partial = null;
        while (!buffer.IsEmpty)
        {
            long number = at / nodeSize;
            int inside = (int)(at % nodeSize);
            int count = Math.Min(buffer.Length, nodeSize - inside);
            if (number >= tree.UsedNodes)
            {
                buffer.Clear();
                return;
            }

            if (count == nodeSize)
            {
                tree.RenderNode((uint)number, buffer[..nodeSize]);
            }
            else
            {
                partial ??= new byte[nodeSize];
                tree.RenderNode((uint)number, partial);
                partial.AsSpan(inside, count).CopyTo(buffer);
            }

            buffer = buffer[count..];
            at += count;
        }
    }

    private IEnumerable<StorageExtent> Split(long offset, long end)
    {
        while (offset < end)
        {
            Region region = Locate(offset);
            long stop = Math.Min(end, region.End);
            if (region.Kind == RegionKind.Fork)
            {
                foreach (StorageExtent extent in SplitFork(region, offset, stop)) yield return extent;
            }
            else if (region.Kind == RegionKind.Nothing)
            {
                yield return new StorageExtent(offset, stop - offset, ExtentKind.Unused);
            }
            else
            {
                // Metadata: some bytes, then zeros that mean something (an empty journal, free nodes, blocks that are free).
                long data = region.Offset + Math.Min(BytesBeforeZeros(region), region.Length);
                if (offset < data) yield return new StorageExtent(offset, Math.Min(stop, data) - offset, ExtentKind.Data);
                long zeros = Math.Max(offset, data);
                if (zeros >= stop) goto next;
                // The bitmap's last run of ones is that of the last block.
                long tail = region.Kind == RegionKind.Allocation ? region.Offset + (_plan.UsedRuns[^1].Start / 8 / 512 * 512L) : stop;
                if (zeros < Math.Min(tail, stop)) yield return new StorageExtent(zeros, Math.Min(tail, stop) - zeros, ExtentKind.Zero);
                if (Math.Max(zeros, tail) < stop)
                    yield return new StorageExtent(Math.Max(zeros, tail), stop - Math.Max(zeros, tail), ExtentKind.Data);
            }

        next:
            offset = stop;
        }
    }

    private long BytesBeforeZeros(in Region region) => region.Kind switch
    {
        RegionKind.Journal or RegionKind.JournalInfo => 512,
        RegionKind.Extents => (long)_plan.ExtentsTree.UsedNodes * _plan.ExtentsTree.Kind.NodeSize,
        RegionKind.Attributes => (long)_plan.AttributesTree.UsedNodes * _plan.AttributesTree.Kind.NodeSize,
        RegionKind.Catalog => (long)_plan.CatalogTree.UsedNodes * _plan.CatalogTree.Kind.NodeSize,
        RegionKind.Allocation when _plan.UsedRuns.Length > 1 => Layout.RoundUp(Layout.DivideUp(_plan.UsedRuns[^2].End, 8), 512),
        _ => region.Length,
    };

    private IEnumerable<StorageExtent> SplitFork(Region region, long offset, long stop)
    {
        long size = _plan.SizeOf(_plan.Forks[region.Fork]);
        if (size >= SmallestForkWithHoles)
        {
            long from = region.ForkOffset + (offset - region.Offset);
            return _forks.GetExtents(region.Fork, from, stop - offset).Select(e => e with { Offset = e.Offset - from + offset });
        }

        return [new StorageExtent(offset, stop - offset, ExtentKind.Data)];
    }

    // A stretch of the volume. Of a fork: which, and where in it the stretch begins.
    private readonly record struct Region(RegionKind Kind, long Offset, long Length, int Fork, long ForkOffset)
    {
        public long End => Offset + Length;
    }
}
