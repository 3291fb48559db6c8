using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>A run of blocks, and where it goes.</summary>
/// <param name="From">First block now.</param>
/// <param name="Count">Blocks.</param>
/// <param name="To">First block then.</param>
internal readonly record struct BlockMove(long From, long Count, long To)
{
    /// <summary>The run as it lies now.</summary>
    public BlockRange Old => new(From, Count);

    /// <summary>The run as it lies then.</summary>
    public BlockRange New => new(To, Count);
}

/// <summary>
/// Where everything goes that is in the way of a smaller volume. Made of a block map alone, so that asking for the least size and shrinking
/// to it cannot disagree. Whatever refers to a block that moves is written anew beside the old one, whole: the room for that is part of the
/// plan.
/// </summary>
internal sealed class HfsPlusRelocation
{
    // In the worst case a hole splits one extent, and each split needs a record more.
    private const int ExtentRecordSize = 12 + 64 + 2, ExtentIndexSize = 12 + 4 + 2;

    // Of an attribute: its longest key, and eight extents. One may need a leaf of its own and split another, and take an index record each.
    private const int NodesPerAttributeRecord = 3;

    private readonly HfsPlusBlockMap _map;
    private List<BlockRange> _holes = [];
    private List<BlockRange> _targets = [];
    private BlockRange _journal, _journalInfo;
    private int _surplusRuns; // of the allocation file, which stay until the volume is smaller

    private HfsPlusRelocation(HfsPlusBlockMap map, long blocks, long limit) => (_map, Blocks, Limit) = (map, blocks, limit);

    /// <summary>Blocks of the volume as it is to be.</summary>
    public long Blocks { get; }

    /// <summary>The first block that is given up.</summary>
    public long Limit { get; }

    /// <summary>Whether nothing is in the way.</summary>
    public bool IsEmpty { get; private set; }

    /// <summary>Whether file forks, the journal or its info block move, so that catalog records change.</summary>
    public bool MovesFiles { get; private set; }

    /// <summary>The catalog's new place; empty when it stays as it is.</summary>
    public IReadOnlyList<BlockRange> Catalog { get; private set; } = [];

    /// <summary>The extents-overflow file's new place; empty when it stays as it is.</summary>
    public IReadOnlyList<BlockRange> Extents { get; private set; } = [];

    /// <summary>The attributes file's new place, kept free for it when files move; empty when it stays as it is.</summary>
    public IReadOnlyList<BlockRange> Attributes { get; private set; } = [];

    /// <summary>The new place of the first blocks of the allocation file, as many as the smaller volume needs; empty when they
    /// stay.</summary>
    public IReadOnlyList<BlockRange> Allocation { get; private set; } = [];

    /// <summary>Plans.</summary>
    /// <param name="map">The volume's blocks.</param>
    /// <param name="blocks">Blocks of the volume as it is to be: fewer, or as many.</param>
    /// <param name="limit">The first block that is given up: where the copy of the header goes then, or before that.</param>
    /// <returns>The plan; null where the free space in front of the limit is too small or in too many pieces.</returns>
    public static HfsPlusRelocation? TryPlan(HfsPlusBlockMap map, long blocks, long limit)
    {
        var plan = new HfsPlusRelocation(map, blocks, limit);
        if (plan.Judge() is not long files)
        {
            plan.IsEmpty = true;
            return plan;
        }

        if (map.HasBadBlocks) return null;
        // Trees keep their size where they can: a Mac grows them in pieces, and sees to it that they need not grow often.
        return plan.TryPlace(files, keepsTreeSizes: true) || plan.TryPlace(files, keepsTreeSizes: false) ? plan : null;
    }

    /// <summary>Blocks of the allocation file that a volume needs.</summary>
    /// <param name="blocks">Blocks of the volume.</param>
    /// <param name="blockSize">Bytes of a block.</param>
    public static long BitmapBlocks(long blocks, long blockSize) => Layout.DivideUp(Layout.DivideUp(blocks, 8), blockSize);

    /// <summary>What moves as it is: file forks and the journal. Ascending.</summary>
    public List<BlockMove> GetMoves()
    {
        List<BlockMove> moves = [];
        if (_journal.Count > 0) moves.Add(new(_map.Journal!.Value.Start, _journal.Count, _journal.Start));
        if (_journalInfo.Count > 0) moves.Add(new(_map.JournalInfo!.Value.Start, 1, _journalInfo.Start));
        int target = 0;
        long done = 0; // of that target
        foreach (BlockRange run in FilesInTheWay())
        {
            for (long moved = 0; moved < run.Count;)
            {
                long count = Math.Min(run.Count - moved, _targets[target].Count - done);
                moves.Add(new(run.Start + moved, count, _targets[target].Start + done));
                moved += count;
                done += count;
                if (done < _targets[target].Count) continue;
                target++;
                done = 0;
            }
        }

        moves.Sort(static (a, b) => a.From.CompareTo(b.From));
        return moves;
    }

    /// <summary>The first blocks of a list of runs, and the others.</summary>
    /// <param name="runs">The runs.</param>
    /// <param name="count">How many blocks are the first.</param>
    public static (List<BlockRange> First, List<BlockRange> Others) Split(IReadOnlyList<BlockRange> runs, long count)
    {
        List<BlockRange> first = [], others = [];
        foreach (BlockRange run in runs)
        {
            long taken = Math.Min(count, run.Count);
            if (taken > 0) first.Add(new(run.Start, taken));
            if (taken < run.Count) others.Add(new(run.Start + taken, run.Count - taken));
            count -= taken;
        }

        return (first, others);
    }

    private bool IsInTheWay(BlockRange run) => run.End > Limit;

    private bool IsInTheWay(IReadOnlyList<BlockRange> runs) => runs.Any(IsInTheWay);

    // Decides what moves; returns the blocks of files that do, or null when nothing is in the way.
    private long? Judge()
    {
        (List<BlockRange> bitmap, List<BlockRange> surplus) = Split(_map.Allocation, BitmapBlocks(Blocks, _map.BlockSize));
        // What the allocation file gives up stays until the volume is smaller, but not where the copy of the header is written before that:
        // in the last blocks, or behind them where the window is no multiple of a block.
        bool movesSurplus = surplus.Exists(r => r.Start <= Blocks && r.End > Blocks - _map.Reserved);
        if (movesSurplus) (bitmap, surplus) = ([.. _map.Allocation], []);
        bool movesJournal = _map.Journal is BlockRange journal && IsInTheWay(journal);
        bool movesInfo = movesJournal || (_map.JournalInfo is BlockRange info && IsInTheWay(info));
        bool movesBitmap = movesSurplus || IsInTheWay(bitmap), movesTrees = IsInTheWay(_map.Extents.Runs) || IsInTheWay(_map.Catalog.Runs)
            || IsInTheWay(_map.Attributes.Runs);
        long end = _map.TotalBlocks - _map.Reserved, free = 0;
        foreach (BlockRange run in _map.Free) free += Math.Max(0, run.End - Math.Max(run.Start, Limit));
        long files = end - Limit - free;
        foreach (BlockRange run in _map.Special) files -= Math.Max(0, run.End - Math.Max(run.Start, Limit));
        if (files <= 0 && !movesInfo && !movesBitmap && !movesTrees) return null;
        MovesFiles = files > 0 || movesInfo;
        _journal = movesJournal ? _map.Journal!.Value : default;
        _journalInfo = movesInfo ? _map.JournalInfo!.Value : default;
        Allocation = movesBitmap ? bitmap : [];
        _surplusRuns = surplus.Count;
        return Math.Max(0, files);
    }

    // How many holes the files take decides how large the trees get, which take their holes first.
    private bool TryPlace(long files, bool keepsTreeSizes)
    {
        for (long splits = 0; ; splits = Math.Max(1, splits * 2))
        {
            if (!TryPlace(files, splits, keepsTreeSizes)) return false;
            if (_targets.Count <= splits || HasRoomFor(_targets.Count)) return true;
        }
    }

    private bool TryPlace(long files, long splits, bool keepsTreeSizes)
    {
        _holes = [.. _map.Free.Where(r => r.Start < Limit).Select(r => r with { Count = Math.Min(r.Count, Limit - r.Start) })];
        (Catalog, Attributes) = ([], []);
        if (_journal.Count > 0 && !TryTakeOne(ref _journal)) return false;
        if (_journalInfo.Count > 0 && !TryTakeOne(ref _journalInfo)) return false;
        if (TakeTree(_map.Extents, NodesForExtents(splits), keepsTreeSizes) is not { } extents) return false;
        Extents = extents;
        if (MovesFiles || IsInTheWay(_map.Catalog.Runs))
        {
            if (TakeTree(_map.Catalog, NodesFor(_map.Catalog, 0), keepsTreeSizes) is not { } catalog) return false;
            Catalog = catalog;
        }

        if (_map.Attributes.Runs.Count > 0 && (files > 0 || IsInTheWay(_map.Attributes.Runs)))
        {
            if (TakeTree(_map.Attributes, NodesFor(_map.Attributes, splits), keepsTreeSizes) is not { } attributes) return false;
            Attributes = attributes;
        }

        if (Allocation.Count > 0)
        {
            if (TakePieces(Allocation.Sum(r => r.Count), 1, HfsPlusConstants.ExtentsPerRecord - _surplusRuns) is not { } bitmap)
                return false;
            Allocation = bitmap;
        }

        if (TakeLargest(files) is not { } targets) return false;
        _targets = targets;
        return true;
    }

    private bool HasRoomFor(long splits) => Nodes(Extents, _map.Extents) >= NodesForExtents(splits)
        && (Attributes.Count == 0 || Nodes(Attributes, _map.Attributes) >= NodesFor(_map.Attributes, splits));

    private long Nodes(IReadOnlyList<BlockRange> runs, TreeExtent tree) => runs.Sum(r => r.Count) * _map.BlockSize / tree.NodeSize;

    // A full tree of the records there are and will be, at most.
    private long NodesForExtents(long splits)
    {
        int room = _map.Extents.NodeSize - BTreeNode.DescriptorSize - 2;
        long level = Layout.DivideUp(_map.Extents.Records + splits, room / ExtentRecordSize), nodes = 1 + level;
        while (level > 1) nodes += level = Layout.DivideUp(level, room / ExtentIndexSize);
        return nodes + MapNodes(nodes, _map.Extents.NodeSize);
    }

    // Filled anew the tree has no more leaves than now; with the longest names in its index, one index node for seven nodes below.
    private static long NodesFor(TreeExtent tree, long splits)
    {
        long nodes = tree.UsedNodes + (splits * NodesPerAttributeRecord);
        nodes += (nodes / 6) + 2;
        return nodes + MapNodes(nodes, tree.NodeSize);
    }

    private static long MapNodes(long nodes, int nodeSize) => nodes <= (nodeSize - 256) * 8L ? 0 : 1 + (nodes / (nodeSize * 7L));

    private List<BlockRange>? TakeTree(TreeExtent tree, long nodes, bool keepsSize)
    {
        long unit = Math.Max(1, tree.NodeSize / _map.BlockSize); // a node is never split
        long blocks = Layout.DivideUp(nodes * tree.NodeSize, _map.BlockSize);
        if (keepsSize) blocks = Math.Max(blocks, tree.Runs.Sum(r => r.Count));
        return TakePieces(Layout.RoundUp(blocks, unit), unit, HfsPlusConstants.ExtentsPerRecord);
    }

    private bool TryTakeOne(ref BlockRange place)
    {
        if (TakePieces(place.Count, 1, 1) is not [var found]) return false;
        place = found;
        return true;
    }

    // The smallest hole that is large enough, else the largest ones.
    private List<BlockRange>? TakePieces(long count, long unit, int most)
    {
        List<BlockRange> pieces = [];
        while (count > 0)
        {
            int best = -1;
            for (int i = 0; i < _holes.Count; i++)
            {
                long size = _holes[i].Count / unit * unit, bestSize = best < 0 ? 0 : _holes[best].Count / unit * unit;
                if (size > 0 && (best < 0 || (size >= count ? bestSize < count || size < bestSize : size > bestSize))) best = i;
            }

            if (best < 0 || pieces.Count == most) return null;
            BlockRange hole = _holes[best];
            long taken = Math.Min(count, hole.Count / unit * unit);
            pieces.Add(new(hole.Start, taken));
            _holes[best] = new(hole.Start + taken, hole.Count - taken);
            count -= taken;
        }

        return pieces;
    }

    // Few and large holes, ascending: all above a power of two, and of those next to it as many as it takes.
    private List<BlockRange>? TakeLargest(long count)
    {
        if (count == 0) return [];
        Span<long> blocks = stackalloc long[64];
        foreach (BlockRange hole in _holes) blocks[SizeClass(hole)] += hole.Count;
        int least = 63;
        for (; least > 0 && blocks[least] < count; least--) count -= blocks[least];
        if (blocks[least] < count) return null;
        List<BlockRange> taken = [];
        foreach (BlockRange hole in _holes)
        {
            int size = SizeClass(hole);
            long part = size > least ? hole.Count : size == least ? Math.Min(count, hole.Count) : 0;
            if (part == 0) continue;
            taken.Add(hole with { Count = part });
            if (size == least) count -= part;
        }

        return taken;
    }

    private static int SizeClass(BlockRange run) => (int)long.Log2(run.Count | 1);

    // The used runs behind the limit that are neither a tree nor the allocation file nor the journal.
    private IEnumerable<BlockRange> FilesInTheWay()
    {
        long at = Limit, end = _map.TotalBlocks - _map.Reserved;
        foreach (BlockRange other in _map.Free.Concat(_map.Special).Where(r => r.End > Limit).OrderBy(r => r.Start))
        {
            if (other.Start > at) yield return new(at, Math.Min(other.Start, end) - at);
            at = Math.Max(at, other.End);
        }

        if (at < end) yield return new(at, end - at);
    }
}
