using System.Collections.Concurrent;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// A planned volume as a storage: every range is computed when it is read, metadata from the plan, content from the source. Read-only and
/// thread-safe. A source that changed in between never breaks the volume: what is missing reads as zeros, what is too much is left out,
/// and the entry is told to the observer and listed in <see cref="ChangedEntries"/>, once.
/// </summary>
internal sealed class HfsPlusRenderer : BlockStorage
{
    // Holes are looked for in forks from this size on: asking costs opening the file.
    private const long SmallestForkWithHoles = 1024 * 1024;

    private readonly HfsPlusPlan _plan;
    private readonly ForkReader _forks;
    private readonly List<Region> _regions;
    private readonly long _firstForkByte;
    private readonly byte[] _header;

    /// <summary>Shows the volume.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="tree">The tree that was planned; stays the caller's and must outlive the renderer.</param>
    /// <param name="observer">Hears of entries that changed.</param>
    public HfsPlusRenderer(HfsPlusPlan plan, Sources.SourceTree tree, IImagingObserver observer)
    {
        _plan = plan;
        _forks = new ForkReader(plan, tree, observer);
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

    private Region RegionOf(RegionKind kind, BlockRun run) => new(kind, (long)run.Start * _plan.BlockSize, (long)run.Count * _plan.BlockSize, 0, 0);

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

        return new Region(RegionKind.Fork, (long)run.Start * _plan.BlockSize, (long)run.Count * _plan.BlockSize, low - 1, (long)piece * most * _plan.BlockSize);
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
                if (Math.Max(zeros, tail) < stop) yield return new StorageExtent(Math.Max(zeros, tail), stop - Math.Max(zeros, tail), ExtentKind.Data);
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

    /// <summary>Reads forks by their number in the plan, keeps a few open, and notes those that do not give what was planned.</summary>
    private sealed class ForkReader(HfsPlusPlan plan, Sources.SourceTree tree, IImagingObserver observer) : IDisposable
    {
        private const int MostOpen = 16;
        private const int SalvagedPiece = 4096;
        private const int MostFaults = 16;

        private readonly Lock _gate = new();
        private readonly LinkedList<OpenFork> _open = new();
        private readonly Dictionary<int, LinkedListNode<OpenFork>> _byNumber = [];
        private readonly ConcurrentDictionary<int, bool> _unreadable = new();
        private readonly ConcurrentDictionary<int, bool> _told = new();

        public ConcurrentQueue<ImagingWarning> Changed { get; } = new();

        // Fills the buffer; behind the fork's end with zeros.
        public void Read(int number, long offset, Span<byte> buffer)
        {
            ref readonly PlanFork fork = ref plan.Forks[number];
            long size = plan.SizeOf(fork);
            int wanted = (int)Math.Clamp(size - offset, 0, buffer.Length);
            buffer[wanted..].Clear();
            if (wanted == 0) return;
            Sources.SourceEntry entry = plan.Nodes[fork.Node].Entry!;
            if (fork.Stream == 0 && entry.Kind == Sources.EntryKind.SymbolicLink)
            {
                System.Text.Encoding.UTF8.GetBytes(entry.LinkTarget!).AsSpan((int)offset, wanted).CopyTo(buffer);
                return;
            }

            int done = 0;
            OpenFork? open = Acquire(number, keep: wanted < size);
            if (open is not null)
            {
                try
                {
                    done = (int)Math.Clamp(open.Storage.Length - offset, 0, wanted);
                    if (done > 0) open.Storage.Read(offset, buffer[..done]);
                }
                catch (Exception e) when (IsReadProblem(e))
                {
                    Salvage(open.Storage, offset, buffer[..done]);
                    Tell(number, $"The content could not be read; zeros stand in for what is missing. {e.Message}");
                }
                finally
                {
                    Release(open, finished: offset + wanted >= size);
                }
            }

            buffer[done..wanted].Clear();
        }

        // What arrived before a fault cannot be told from what did not, so everything is read again, piece by piece, and only pieces that cannot be
        // read are zeros. A medium that answers nothing is not asked for ever.
        private static void Salvage(BlockStorage storage, long offset, Span<byte> buffer)
        {
            int faults = 0;
            while (!buffer.IsEmpty)
            {
                Span<byte> piece = buffer[..(int)Math.Min(SalvagedPiece - (offset % SalvagedPiece), buffer.Length)];
                try
                {
                    if (faults == MostFaults) piece.Clear();
                    else storage.Read(offset, piece);
                }
                catch (Exception e) when (IsReadProblem(e))
                {
                    faults++;
                    piece.Clear();
                }

                offset += piece.Length;
                buffer = buffer[piece.Length..];
            }
        }

        // Extents of a fork in its own offsets.
        public List<StorageExtent> GetExtents(int number, long offset, long length)
        {
            long size = plan.SizeOf(plan.Forks[number]);
            long end = offset + length;
            OpenFork? open = Acquire(number, keep: true);
            if (open is null) return [new StorageExtent(offset, length, ExtentKind.Data)];
            try
            {
                long known = Math.Clamp(Math.Min(size, open.Storage.Length), offset, end);
                var extents = (known > offset ? open.Storage.GetExtents(offset, known - offset) : [])
                    .Select(e => e with { Kind = e.Kind == ExtentKind.Data ? ExtentKind.Data : ExtentKind.Zero }).ToList();
                if (known < end) extents.Add(new StorageExtent(known, end - known, ExtentKind.Zero));
                return extents;
            }
            catch (Exception e) when (IsReadProblem(e))
            {
                return [new StorageExtent(offset, length, ExtentKind.Data)];
            }
            finally
            {
                Release(open, finished: false);
            }
        }

        public void Dispose()
        {
            lock (_gate)
            {
                foreach (OpenFork open in _open) Close(open);
                _open.Clear();
                _byNumber.Clear();
            }
        }

        private static bool IsReadProblem(Exception e) => e is ImageException or IOException or UnauthorizedAccessException;

        private OpenFork? Acquire(int number, bool keep)
        {
            lock (_gate)
            {
                if (_byNumber.TryGetValue(number, out LinkedListNode<OpenFork>? node))
                {
                    _open.Remove(node);
                    _open.AddFirst(node);
                    node.Value.Users++;
                    return node.Value;
                }
            }

            if (_unreadable.ContainsKey(number)) return null;
            BlockStorage storage;
            try
            {
                storage = Open(number);
            }
            catch (Exception e) when (IsReadProblem(e))
            {
                _unreadable.TryAdd(number, true);
                Tell(number, $"The content could not be read; zeros stand in for it. {e.Message}");
                return null;
            }

            long size = plan.SizeOf(plan.Forks[number]);
            if (storage.Length != size) Tell(number, $"The size changed from {size} to {storage.Length} bytes after the scan; the copy has {size} bytes.");
            var open = new OpenFork(number, storage) { Users = 1 };
            if (!keep) return open;
            lock (_gate)
            {
                // Another thread may have been faster; then this one stays private and is closed after use.
                if (!_byNumber.ContainsKey(number))
                {
                    open.Kept = true;
                    _byNumber.Add(number, _open.AddFirst(open));
                }
            }

            return open;
        }

        // Closes what nobody uses and is not worth keeping.
        private void Release(OpenFork open, bool finished)
        {
            List<OpenFork> close = [];
            lock (_gate)
            {
                open.Users--;
                if (!open.Kept)
                {
                    close.Add(open);
                }
                else
                {
                    open.Finished |= finished;
                    LinkedListNode<OpenFork>? node = _open.Last;
                    while (node is not null)
                    {
                        LinkedListNode<OpenFork>? before = node.Previous;
                        OpenFork candidate = node.Value;
                        if (candidate.Users == 0 && (candidate.Finished || _open.Count > MostOpen))
                        {
                            _open.Remove(node);
                            _byNumber.Remove(candidate.Number);
                            close.Add(candidate);
                        }

                        node = before;
                    }
                }
            }

            foreach (OpenFork fork in close) Close(fork);
        }

        // Asked last, so that a change at any time since the scan is seen, whatever was read before it.
        private void Close(OpenFork open)
        {
            using (open.Storage)
            {
                PlanFork fork = plan.Forks[open.Number];
                if (fork.Stream >= 2) return;
                bool hasChanged;
                try
                {
                    hasChanged = tree.HasChanged(plan.Nodes[fork.Node].Entry!, open.Storage);
                }
                catch (Exception e) when (IsReadProblem(e))
                {
                    return; // its reads told what there was to tell
                }

                if (hasChanged) Tell(open.Number, "It was written to after the scan; the copy may hold the old content in parts and the new in others.");
            }
        }

        private BlockStorage Open(int number)
        {
            ref readonly PlanFork fork = ref plan.Forks[number];
            Sources.SourceEntry entry = plan.Nodes[fork.Node].Entry!;
            if (fork.Stream < 2) return tree.OpenFork(entry, fork.Stream == 0 ? Sources.ForkKind.Data : Sources.ForkKind.Resource);
            Sources.ExtendedAttribute attribute = plan.Attributes[fork.Stream - 2].Attribute;
            return attribute.Value is byte[] value ? new MemoryStorage(value) : tree.OpenAttribute(entry, attribute);
        }

        private void Tell(int number, string message)
        {
            int node = plan.Forks[number].Node;
            if (!_told.TryAdd(node, true)) return;
            var warning = new ImagingWarning(ImagingWarningKind.SourceChanged, tree.DisplayPath(plan.Nodes[node].Entry!), message);
            Changed.Enqueue(warning);
            observer.OnWarning(warning);
        }

        private sealed class OpenFork(int number, BlockStorage storage)
        {
            public int Number => number;

            public BlockStorage Storage => storage;

            public int Users { get; set; }

            public bool Kept { get; set; }

            public bool Finished { get; set; }
        }
    }
}
