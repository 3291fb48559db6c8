using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// The records of a B-tree in key order, as something that can be walked again and again from any remembered place: nodes are made from
/// it on demand and never kept.
/// </summary>
/// <typeparam name="TCursor">A place; small and cheap to copy.</typeparam>
internal abstract class BTreeRecords<TCursor>
    where TCursor : struct
{
    /// <summary>Goes to the first record.</summary>
    /// <param name="cursor">Its place.</param>
    /// <returns>Whether there is one.</returns>
    public abstract bool Start(out TCursor cursor);

    /// <summary>Goes on to the next record.</summary>
    /// <param name="cursor">A record's place; the next one's afterwards.</param>
    /// <returns>Whether there is one.</returns>
    public abstract bool MoveNext(ref TCursor cursor);

    /// <summary>Bytes of the key, its length field included; even.</summary>
    /// <param name="cursor">The record.</param>
    public abstract int KeySize(in TCursor cursor);

    /// <summary>Bytes of the data behind the key; even.</summary>
    /// <param name="cursor">The record.</param>
    public abstract int DataSize(in TCursor cursor);

    /// <summary>Writes the key.</summary>
    /// <param name="cursor">The record.</param>
    /// <param name="destination">Zeros, exactly <see cref="KeySize"/> bytes.</param>
    public abstract void WriteKey(in TCursor cursor, Span<byte> destination);

    /// <summary>Writes the data.</summary>
    /// <param name="cursor">The record.</param>
    /// <param name="destination">Zeros, exactly <see cref="DataSize"/> bytes.</param>
    public abstract void WriteData(in TCursor cursor, Span<byte> destination);
}

/// <summary>What distinguishes the three trees.</summary>
/// <param name="NodeSize">Bytes in a node.</param>
/// <param name="MaximumKeyLength">Longest key, its length field not counted.</param>
/// <param name="Attributes">Bit 1: big keys; bit 2: index keys of variable length.</param>
/// <param name="KeyCompareType">How the catalog compares names; 0 elsewhere.</param>
internal readonly record struct BTreeKind(int NodeSize, ushort MaximumKeyLength, uint Attributes, byte KeyCompareType);

/// <summary>
/// A B-tree whose every node can be rendered by itself. Order of nodes: header, map nodes, leaves, index levels upwards; the rest is free.
/// </summary>
internal abstract class BTreePlan(BTreeKind kind)
{
    /// <summary>The tree's constants.</summary>
    public BTreeKind Kind { get; } = kind;

    /// <summary>Nodes of the file, free ones included.</summary>
    public uint TotalNodes { get; private set; }

    /// <summary>The file's clump size in bytes.</summary>
    public uint ClumpSize { get; private set; }

    /// <summary>Nodes in use: all before this number.</summary>
    public uint UsedNodes => 1 + MapNodes + ContentNodes;

    /// <summary>Leaf and index nodes.</summary>
    public abstract uint ContentNodes { get; }

    /// <summary>Map nodes behind the header node.</summary>
    protected uint MapNodes { get; private set; }

    /// <summary>Bytes of the map record in the header node.</summary>
    protected int HeaderMapSize => Kind.NodeSize - 256;

    // newfs_hfs leaves two bytes of a map node unused so that the record ends on a word.
    private int MapNodeMapSize => Kind.NodeSize - 20;

    /// <summary>The fewest nodes the file can have.</summary>
    public uint MinimumNodes
    {
        get
        {
            uint nodes = 1 + ContentNodes;
            while (true)
            {
                uint more = 1 + ContentNodes + CountMapNodes(nodes);
                if (more == nodes) return nodes;
                nodes = more;
            }
        }
    }

    /// <summary>Whether a file of so many nodes has room for all that are in use, map nodes included.</summary>
    /// <param name="totalNodes">Nodes.</param>
    public bool Fits(uint totalNodes) => 1L + ContentNodes + CountMapNodes(totalNodes) <= totalNodes;

    /// <summary>Fixes the size of the file; to be called before anything is rendered.</summary>
    /// <param name="totalNodes">At least <see cref="MinimumNodes"/>.</param>
    /// <param name="clumpSize">Bytes.</param>
    public void SetFileSize(uint totalNodes, uint clumpSize)
    {
        if (!Fits(totalNodes)) throw new ArgumentOutOfRangeException(nameof(totalNodes), "No room for all nodes.");
        TotalNodes = totalNodes;
        ClumpSize = clumpSize;
        MapNodes = CountMapNodes(totalNodes);
    }

    /// <summary>Makes a node. Thread-safe.</summary>
    /// <param name="number">0 to <see cref="TotalNodes"/> - 1.</param>
    /// <param name="destination">Receives the node, <see cref="BTreeKind.NodeSize"/> bytes.</param>
    public void RenderNode(uint number, Span<byte> destination)
    {
        destination.Clear();
        if (number == 0) RenderHeader(destination);
        else if (number <= MapNodes) RenderMap(number, destination);
        else if (number < UsedNodes) RenderContent(number - 1 - MapNodes, destination);
    }

    /// <summary>Fills in the fields of the header that describe leaves and root.</summary>
    /// <param name="header">The header.</param>
    /// <param name="firstContentNode">Number of the first leaf.</param>
    protected abstract void Describe(ref BTreeHeader header, uint firstContentNode);

    /// <summary>Makes a leaf or index node.</summary>
    /// <param name="content">Counted from the first leaf.</param>
    /// <param name="destination">Zeros.</param>
    protected abstract void RenderContent(uint content, Span<byte> destination);

    /// <summary>Writes a record's offset into the table at the node's end.</summary>
    /// <param name="node">The node.</param>
    /// <param name="record">Number of the record; the number of records for the offset of the free space.</param>
    /// <param name="offset">Offset from the start of the node, in bytes.</param>
    protected static void SetOffset(Span<byte> node, int record, int offset) =>
        Layout.Write<UInt16BE>(node[(node.Length - (2 * (record + 1)))..], (ushort)offset);

    private uint CountMapNodes(uint totalNodes)
    {
        long beyond = totalNodes - (HeaderMapSize * 8L);
        return beyond <= 0 ? 0 : (uint)Layout.DivideUp(beyond, MapNodeMapSize * 8L);
    }

    private void RenderHeader(Span<byte> node)
    {
        Layout.Write(node, new NodeDescriptor { Kind = NodeKind.Header, RecordCount = 3, ForwardLink = MapNodes > 0 ? 1u : 0u });
        var header = new BTreeHeader
        {
            NodeSize = (ushort)Kind.NodeSize,
            MaximumKeyLength = Kind.MaximumKeyLength,
            TotalNodes = TotalNodes,
            FreeNodes = TotalNodes - UsedNodes,
            ClumpSize = ClumpSize,
            KeyCompareType = Kind.KeyCompareType,
            Attributes = Kind.Attributes,
        };
        Describe(ref header, 1 + MapNodes);
        Layout.Write(node[14..], header);
        SetOffset(node, 0, 14);
        SetOffset(node, 1, 120);
        SetOffset(node, 2, 248);
        SetOffset(node, 3, 248 + HeaderMapSize);
        MarkUsed(node.Slice(248, HeaderMapSize), 0);
    }

    private void RenderMap(uint number, Span<byte> node)
    {
        Layout.Write(node, new NodeDescriptor { Kind = NodeKind.Map, RecordCount = 1, ForwardLink = number < MapNodes ? number + 1 : 0u });
        SetOffset(node, 0, 14);
        SetOffset(node, 1, 14 + MapNodeMapSize);
        MarkUsed(node.Slice(14, MapNodeMapSize), (HeaderMapSize * 8L) + ((number - 1) * (MapNodeMapSize * 8L)));
    }

    // The used nodes are a prefix of the file.
    private void MarkUsed(Span<byte> map, long firstNode)
    {
        long bits = Math.Clamp(UsedNodes - firstNode, 0, map.Length * 8L);
        map[..(int)(bits / 8)].Fill(0xFF);
        if (bits % 8 != 0) map[(int)(bits / 8)] = (byte)((0xFF00 >> (int)(bits % 8)) & 0xFF);
    }
}

/// <summary>Loads records into leaves, filled one after the other, and builds the index levels above them.</summary>
/// <typeparam name="TCursor">A record's place.</typeparam>
internal sealed class BTreeBuilder<TCursor> : BTreePlan
    where TCursor : struct
{
    private const int DescriptorSize = 14;

    private readonly BTreeRecords<TCursor> _records;
    private readonly List<(TCursor First, ushort Count)> _leaves = [];

    // For each index level, bottom up: number of the first child of each node, counted within the level below, and one entry behind the
    // last.
    private readonly List<List<int>> _levels = [];
    private readonly long _recordCount;

    /// <summary>Plans the tree: walks all records once.</summary>
    /// <param name="records">The records in key order.</param>
    /// <param name="kind">The tree's constants.</param>
    /// <param name="cancellation">Ends it.</param>
    public BTreeBuilder(BTreeRecords<TCursor> records, BTreeKind kind, CancellationToken cancellation = default)
        : base(kind)
    {
        _records = records;
        int free = 0;
        ushort count = 0;
        TCursor first = default;
        for (bool more = records.Start(out TCursor cursor); more; more = records.MoveNext(ref cursor))
        {
            int size = records.KeySize(cursor) + records.DataSize(cursor) + 2;
            if (size > free)
            {
                if (count > 0) _leaves.Add((first, count));
                cancellation.ThrowIfCancellationRequested();
                (first, count, free) = (cursor, 0, kind.NodeSize - DescriptorSize - 2);
                if (size > free) throw new InvalidOperationException("A record is larger than a node.");
            }

            free -= size;
            count++;
            _recordCount++;
        }

        if (count > 0) _leaves.Add((first, count));
        for (int below = _leaves.Count; below > 1; below = _levels[^1].Count - 1) AddLevel(below);
    }

    /// <inheritdoc/>
    public override uint ContentNodes => (uint)(_leaves.Count + _levels.Sum(l => l.Count - 1));

    /// <summary>Levels of the tree: 0 without records, 1 with a single leaf.</summary>
    public int Depth => _leaves.Count == 0 ? 0 : 1 + _levels.Count;

    /// <summary>The node number of the leaf that holds a record; <see cref="BTreePlan.SetFileSize"/> was called.</summary>
    /// <param name="cursor">The record.</param>
    /// <param name="order">Compares places by the order of their records.</param>
    public uint LeafOf(in TCursor cursor, Comparison<TCursor> order)
    {
        int low = 0, high = _leaves.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (order(_leaves[middle].First, cursor) <= 0) low = middle + 1;
            else high = middle;
        }

        return 1 + MapNodes + (uint)(low - 1);
    }

    /// <inheritdoc/>
    protected override void Describe(ref BTreeHeader header, uint firstContentNode)
    {
        if (_leaves.Count == 0) return;
        header.TreeDepth = (ushort)Depth;
        header.RootNode = firstContentNode + ContentNodes - 1;
        header.LeafRecords = (uint)_recordCount;
        header.FirstLeafNode = firstContentNode;
        header.LastLeafNode = firstContentNode + (uint)_leaves.Count - 1;
    }

    /// <inheritdoc/>
    protected override void RenderContent(uint content, Span<byte> destination)
    {
        uint levelStart = 1 + MapNodes;
        if (content < _leaves.Count)
        {
            RenderLeaf((int)content, levelStart, destination);
            return;
        }

        uint below = levelStart;
        levelStart += (uint)_leaves.Count;
        content -= (uint)_leaves.Count;
        for (int level = 0; level < _levels.Count; level++)
        {
            uint nodes = (uint)_levels[level].Count - 1;
            if (content < nodes)
            {
                RenderIndex(level, (int)content, levelStart, below, destination);
                return;
            }

            below = levelStart;
            levelStart += nodes;
            content -= nodes;
        }
    }

    private static NodeDescriptor Descriptor(NodeKind kind, int height, int count, int index, int last, uint levelStart) => new()
    {
        Kind = kind,
        Height = (byte)height,
        RecordCount = (ushort)count,
        ForwardLink = index < last ? levelStart + (uint)index + 1 : 0u,
        BackwardLink = index > 0 ? levelStart + (uint)index - 1 : 0u,
    };

    private void RenderLeaf(int leaf, uint levelStart, Span<byte> node)
    {
        (TCursor cursor, ushort count) = _leaves[leaf];
        Layout.Write(node, Descriptor(NodeKind.Leaf, 1, count, leaf, _leaves.Count - 1, levelStart));
        int offset = DescriptorSize;
        for (int i = 0; i < count; i++)
        {
            SetOffset(node, i, offset);
            int key = _records.KeySize(cursor), data = _records.DataSize(cursor);
            _records.WriteKey(cursor, node.Slice(offset, key));
            _records.WriteData(cursor, node.Slice(offset + key, data));
            offset += key + data;
            if (i + 1 < count) _records.MoveNext(ref cursor);
        }

        SetOffset(node, count, offset);
    }

    private void RenderIndex(int level, int index, uint levelStart, uint belowStart, Span<byte> node)
    {
        List<int> starts = _levels[level];
        int count = starts[index + 1] - starts[index];
        Layout.Write(node, Descriptor(NodeKind.Index, level + 2, count, index, starts.Count - 2, levelStart));
        int offset = DescriptorSize;
        for (int i = 0; i < count; i++)
        {
            SetOffset(node, i, offset);
            int child = starts[index] + i;
            TCursor cursor = FirstRecord(level, child);
            int key = _records.KeySize(cursor);
            _records.WriteKey(cursor, node.Slice(offset, key));
            Layout.Write<UInt32BE>(node[(offset + key)..], belowStart + (uint)child);
            offset += key + 4;
        }

        SetOffset(node, count, offset);
    }

    // The first record below a child of the given level.
    private TCursor FirstRecord(int level, int child)
    {
        for (int l = level - 1; l >= 0; l--) child = _levels[l][child];
        return _leaves[child].First;
    }

    private void AddLevel(int below)
    {
        int level = _levels.Count;
        var starts = new List<int>();
        int free = 0;
        for (int child = 0; child < below; child++)
        {
            int size = _records.KeySize(FirstRecord(level, child)) + 4 + 2;
            if (size > free)
            {
                starts.Add(child);
                free = Kind.NodeSize - DescriptorSize - 2;
            }

            free -= size;
        }

        starts.Add(below);
        _levels.Add(starts);
    }
}
