using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// A B-tree of HFS+ (catalog, extents overflow, attributes), read: the chain of leaves in key order, and descent from the root. Nothing in
/// it is believed before it was checked. Safe on several threads. Source: TN1150, "B-Trees".
/// </summary>
internal sealed class BTreeFile
{
    private const int MinimumNodeSize = 512;
    private const int MaximumNodeSize = 32768;
    private const int MaximumDepth = 16; // 16 levels of two records each would be a tree that nobody makes
    private const int CacheSlots = 64;

    private readonly BlockStorage _file;
    private readonly BTreeNode?[] _cache = new BTreeNode?[CacheSlots];

    /// <summary>Opens a tree.</summary>
    /// <param name="file">The fork it lies in.</param>
    /// <param name="name">What errors call it: <c>"catalog"</c>.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: no header node.</exception>
    public BTreeFile(BlockStorage file, string name)
    {
        (_file, Name) = (file, name);
        if (file.Length < MinimumNodeSize) throw Damaged("is too short for a header node", 0);
        byte[] bytes = new byte[MinimumNodeSize];
        file.Read(0, bytes);
        if (Layout.Read<NodeDescriptor>(bytes).Kind != NodeKind.Header) throw Damaged("has no header node", 0);
        Header = Layout.Read<BTreeHeader>(bytes.AsSpan(BTreeNode.DescriptorSize));
        NodeSize = Header.NodeSize;
        if (NodeSize is < MinimumNodeSize or > MaximumNodeSize || (NodeSize & (NodeSize - 1)) != 0 || NodeSize > file.Length)
            throw Damaged($"claims nodes of {NodeSize} bytes", 0);
        NodeCount = Math.Min(Header.TotalNodes, file.Length / NodeSize);
    }

    /// <summary>The header record.</summary>
    public BTreeHeader Header { get; }

    /// <summary>What errors call the tree.</summary>
    public string Name { get; }

    /// <summary>Bytes in a node.</summary>
    public int NodeSize { get; }

    /// <summary>Nodes there are, used or not.</summary>
    public long NodeCount { get; }

    /// <summary>Bytes of the file it lies in.</summary>
    public long FileLength => _file.Length;

    /// <summary>
    /// The leaves in key order. Every leaf must name the one before it, so the chain cannot lead in a circle, and it must end where the
    /// header says, so nothing is silently lost.
    /// </summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public IEnumerable<BTreeNode> ReadLeaves()
    {
        uint previous = 0;
        for (uint number = Header.FirstLeafNode; number != 0;)
        {
            BTreeNode node = Read(number);
            if (node.Kind != NodeKind.Leaf || node.Height != 1) throw Damaged("has a node in its chain of leaves that is none", number);
            if (node.BackwardLink != previous)
                throw Damaged($"has a leaf that names {node.BackwardLink} as the one before it instead of {previous}", number);
            yield return node;
            previous = number;
            number = node.ForwardLink;
        }

        if (previous != Header.LastLeafNode) throw Damaged($"has a chain of leaves that ends before node {Header.LastLeafNode}", previous);
    }

    /// <summary>Finds the last record whose key is not greater than what is sought, or null.</summary>
    /// <param name="compare">Compares a record's key (length field included) to what is sought.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public (BTreeNode Node, int Index)? Find(KeyComparison compare)
    {
        uint number = Header.RootNode;
        int depth = Header.TreeDepth;
        if (number == 0 || depth == 0) return null;
        if (depth > MaximumDepth) throw Damaged($"claims a depth of {depth}", 0);
        for (int height = depth; ; height--)
        {
            BTreeNode node = LoadCached(number);
            if (node.Height != height || node.Kind != (height == 1 ? NodeKind.Leaf : NodeKind.Index))
                throw Damaged("has a node at the wrong height", number);
            int low = 0, high = node.RecordCount;
            while (low < high)
            {
                int middle = (low + high) / 2;
                if (compare(node.Key(middle)) > 0) high = middle;
                else low = middle + 1;
            }

            if (low == 0) return null;
            if (height == 1) return (node, low - 1);
            ReadOnlySpan<byte> child = node.Data(low - 1);
            if (child.Length < sizeof(uint)) throw Damaged("has an index record without a node number", number);
            number = Layout.Read<UInt32BE>(child);
        }
    }

    /// <summary>A node that was seen before, from the cache where it is still there.</summary>
    /// <param name="number">Its number.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public BTreeNode LoadCached(uint number)
    {
        ref BTreeNode? slot = ref _cache[number % CacheSlots];
        BTreeNode? node = Volatile.Read(ref slot);
        if (node is null || node.Number != number) Volatile.Write(ref slot, node = Read(number));
        return node;
    }

    /// <summary>Reads a node, its record offsets checked.</summary>
    /// <param name="number">Its number, not 0.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public BTreeNode Read(uint number) =>
        number == 0 || number >= NodeCount ? throw Damaged($"names node {number} of {NodeCount}", number) : Load(number);

    /// <summary>Reads the header node as a node.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public BTreeNode ReadHeaderNode() => Load(0);

    /// <summary>The error for something wrong in a node.</summary>
    /// <param name="fault">A predicate: <c>"has …"</c>.</param>
    /// <param name="node">The node's number.</param>
    public ImageException Damaged(string fault, uint node) =>
        ImageException.Damaged($"The {Name} B-tree {fault}.", $"{Name} B-tree node {node} at byte {node * (long)NodeSize} of its file");

    private BTreeNode Load(uint number)
    {
        byte[] bytes = new byte[NodeSize];
        _file.Read(number * (long)NodeSize, bytes);
        return new BTreeNode(this, number, bytes);
    }
}

/// <summary>Compares a record's key to what is sought: negative when the key comes before it.</summary>
/// <param name="key">The key, length field included.</param>
internal delegate int KeyComparison(ReadOnlySpan<byte> key);

/// <summary>A leaf or index node, its record offsets checked.</summary>
internal sealed class BTreeNode
{
    /// <summary>Bytes of the node descriptor.</summary>
    public const int DescriptorSize = 14;

    private readonly BTreeFile _tree;
    private readonly byte[] _bytes;

    /// <summary>Checks the node's descriptor and record offsets.</summary>
    /// <param name="tree">Its tree.</param>
    /// <param name="number">Its number.</param>
    /// <param name="bytes">Its bytes.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public BTreeNode(BTreeFile tree, uint number, byte[] bytes)
    {
        (_tree, Number, _bytes) = (tree, number, bytes);
        NodeDescriptor descriptor = Layout.Read<NodeDescriptor>(bytes);
        (ForwardLink, BackwardLink, Kind, Height, RecordCount) =
            (descriptor.ForwardLink, descriptor.BackwardLink, descriptor.Kind, descriptor.Height, descriptor.RecordCount);
        int table = bytes.Length - (sizeof(ushort) * (RecordCount + 1));
        if (table < DescriptorSize) throw tree.Damaged($"has a node of {RecordCount} records", number);
        int previous = DescriptorSize;
        for (int i = 0; i <= RecordCount; i++)
        {
            int offset = OffsetOf(i);
            if (offset > table || offset < previous || (i == 0 && offset != DescriptorSize))
                throw tree.Damaged($"has a record {i} at offset {offset}", number);
            previous = offset;
        }
    }

    /// <summary>Its number in the tree.</summary>
    public uint Number { get; }

    /// <summary>The next node of its level; 0 for none.</summary>
    public uint ForwardLink { get; }

    /// <summary>The node before it; 0 for none.</summary>
    public uint BackwardLink { get; }

    /// <summary>Leaf or index.</summary>
    public NodeKind Kind { get; }

    /// <summary>1 for leaves.</summary>
    public int Height { get; }

    /// <summary>Records in it.</summary>
    public int RecordCount { get; }

    /// <summary>A record's key, length field included.</summary>
    /// <param name="index">Record, from 0.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: longer than the record.</exception>
    public ReadOnlySpan<byte> Key(int index)
    {
        ReadOnlySpan<byte> record = Record(index);
        return record[..KeyLength(record, index)];
    }

    /// <summary>What follows a record's key, from the next even byte.</summary>
    /// <param name="index">Record, from 0.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: the key is longer than the record.</exception>
    public ReadOnlySpan<byte> Data(int index)
    {
        ReadOnlySpan<byte> record = Record(index);
        int length = KeyLength(record, index);
        return record[Math.Min(record.Length, length + (length & 1))..];
    }

    /// <summary>The error for something wrong in a record.</summary>
    /// <param name="fault">A predicate: <c>"has …"</c>.</param>
    /// <param name="index">Record, from 0.</param>
    public ImageException Damaged(string fault, int index) => ImageException.Damaged(
        $"The {_tree.Name} B-tree {fault}.",
        $"{_tree.Name} B-tree node {Number}, record {index}, at byte {(Number * (long)_tree.NodeSize) + OffsetOf(index)} of its file");

    /// <summary>A whole record; in header and map nodes there are no keys.</summary>
    /// <param name="index">Record, from 0.</param>
    public ReadOnlySpan<byte> Record(int index) => _bytes.AsSpan(OffsetOf(index)..OffsetOf(index + 1));

    private int KeyLength(ReadOnlySpan<byte> record, int index)
    {
        int length = record.Length < sizeof(ushort) ? int.MaxValue : sizeof(ushort) + Layout.Read<UInt16BE>(record);
        return length <= record.Length ? length : throw Damaged("has a key that is longer than its record", index);
    }

    private int OffsetOf(int index) => Layout.Read<UInt16BE>(_bytes.AsSpan(_bytes.Length - (sizeof(ushort) * (index + 1))));
}
