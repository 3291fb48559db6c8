using System.Numerics;
using CCImage.Binary;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Receives the records of the leaves in key order.</summary>
/// <param name="node">A leaf.</param>
/// <param name="index">Record, from 0; its key is without fault.</param>
internal delegate void LeafRecordHandler(BTreeNode node, int index);

/// <summary>
/// Judges the structure of a B-tree and hands out the records of its leaves, in one pass from the root, each node read once and none kept.
/// What is remembered is a bit a node and, for each level, the last node and key: enough to prove sibling links both ways and the order of
/// keys over the boundaries of nodes. Source: TN1150, "B-Trees"; what fsck_hfs (hfs-627) judges.
/// </summary>
/// <param name="tree">The tree; its header record was read.</param>
/// <param name="keys">What its keys must be.</param>
/// <param name="findings">Receives what is found.</param>
/// <param name="cancellation">Ends it.</param>
internal sealed class BTreeChecker(BTreeFile tree, BTreeKeys keys, ImageFindings findings, CancellationToken cancellation)
{
    private const int MaximumDepth = 16;
    private const int MostFaultyNodes = 1000; // then nothing can be learned from the rest, and hostile trees must end
    private const uint BigKeys = 2, VariableIndexKeys = 4;

    private readonly Dictionary<long, ulong[]> _used = [];
    private readonly Level[] _levels = new Level[MaximumDepth + 1];
    private readonly Stack<(BTreeNode Node, int Next)> _path = new();
    private long _usedCount, _leafRecords;
    private uint _firstLeaf, _lastLeaf;
    private int _faultyNodes;

    /// <summary>Whether every leaf was seen: only then what is missing is really missing.</summary>
    public bool IsComplete => _faultyNodes == 0;

    private BTreeHeader Header => tree.Header;

    /// <summary>Walks the tree.</summary>
    /// <param name="onRecord">Receives the leaves' records.</param>
    public void Run(LeafRecordHandler onRecord)
    {
        CheckHeader();
        Use(0);
        if (Header.RootNode != 0 && Header.TreeDepth > 0 && Header.TreeDepth <= MaximumDepth) Walk(onRecord);
        if (_faultyNodes >= MostFaultyNodes)
        {
            findings.Damaged(HfsPlusCheckNames.TreeNodes,
                $"The {tree.Name} B-tree has so many broken nodes that the rest was not looked at.", tree.Name);
            return;
        }

        CheckEnds();
        List<byte[]> map = ReadMap();
        if (!IsComplete) return;
        if (_leafRecords != Header.LeafRecords)
            findings.Damaged(HfsPlusCheckNames.TreeHeader,
                $"The {tree.Name} B-tree counts {Header.LeafRecords} records in its leaves; there are {_leafRecords}.", PlaceOf(0));
        if (Header.TotalNodes - _usedCount != Header.FreeNodes)
            findings.Damaged(HfsPlusCheckNames.TreeHeader,
                $"The {tree.Name} B-tree counts {Header.FreeNodes} free nodes; there are {Header.TotalNodes - _usedCount}.", PlaceOf(0));
        CompareMap(map);
    }

    private void CheckHeader()
    {
        void Fault(string message) => findings.Damaged(HfsPlusCheckNames.TreeHeader,
            $"The header record of the {tree.Name} B-tree {message}.", PlaceOf(0));
        BTreeHeader header = Header;
        (long nodes, long rest) = Math.DivRem(tree.FileLength, tree.NodeSize);
        if (header.TotalNodes == nodes && rest > 0)
            findings.Note(
                HfsPlusCheckNames.TreeHeader,
                $"The {tree.Name} B-tree's file ends in {rest} bytes that make no node, as Linux leaves them on a full volume.",
                PlaceOf(0));
        else if (header.TotalNodes != nodes)
            Fault($"counts {header.TotalNodes} nodes of {tree.NodeSize} bytes in a file of {tree.FileLength} bytes");
        if (header.TreeDepth > MaximumDepth) Fault($"claims a depth of {header.TreeDepth}");
        if ((header.TreeDepth == 0) != (header.RootNode == 0)) Fault($"has root node {header.RootNode} and a depth of {header.TreeDepth}");
        if (header.TreeDepth > MaximumDepth || (header.TreeDepth == 0) != (header.RootNode == 0)) _faultyNodes++;
        if (header.MaximumKeyLength != keys.MaximumLength)
            Fault($"claims keys of at most {header.MaximumKeyLength} bytes instead of {keys.MaximumLength}");

        // Apple's kernel makes an attributes file of the "reserved" type (kBTReservedBTreeType), its tools one of type 0; nothing reads the
        // field.
        bool isKernelMade = header.TreeType == BTreeHeader.ReservedType && tree.Name == "attributes";
        if (header.TreeType != 0 && !isKernelMade) Fault($"claims to be a tree of type {header.TreeType}");
        uint needed = BigKeys | (keys.AreVariable ? VariableIndexKeys : 0);
        if ((header.Attributes & needed) != needed) Fault($"has attributes 0x{(uint)header.Attributes:X}");
    }

    private void Walk(LeafRecordHandler onRecord)
    {
        Visit(Header.RootNode, Header.TreeDepth, default, onRecord);
        while (_path.TryPop(out (BTreeNode Node, int Next) at) && _faultyNodes < MostFaultyNodes)
        {
            if (at.Next == at.Node.RecordCount) continue;
            _path.Push((at.Node, at.Next + 1));
            ReadOnlySpan<byte> child = at.Node.Data(at.Next);
            if (child.Length == sizeof(uint)) Visit(Layout.Read<UInt32BE>(child), at.Node.Height - 1, at.Node.Key(at.Next), onRecord);
            else Broken(HfsPlusCheckNames.TreeIndex,
                $"has an index record with {child.Length} bytes for a node number", at.Node.Number, at.Node.Height - 1);
        }
    }

    private void Visit(uint number, int height, ReadOnlySpan<byte> promisedKey, LeafRecordHandler onRecord)
    {
        cancellation.ThrowIfCancellationRequested();
        if (number == 0 || number >= tree.NodeCount)
        {
            Broken(HfsPlusCheckNames.TreeIndex, $"leads to node {number} of {tree.NodeCount}", number, height);
            return;
        }

        if (!Use(number))
        {
            Broken(HfsPlusCheckNames.TreeIndex, "leads to the same node twice", number, height);
            return;
        }

        BTreeNode? node = Read(number, height);
        if (node is null) return;
        CheckLinks(node);
        if (node.RecordCount == 0)
            findings.Damaged(HfsPlusCheckNames.TreeNodes, $"The {tree.Name} B-tree has an empty node.", PlaceOf(number));
        else if (height < Header.TreeDepth && !node.Key(0).SequenceEqual(promisedKey))
            findings.Damaged(HfsPlusCheckNames.TreeIndex,
                $"The key under which the {tree.Name} B-tree leads to a node is not the first in that node.", PlaceOf(number));
        CheckOrder(node);
        if (height > 1)
        {
            _path.Push((node, 0));
            return;
        }

        if (_firstLeaf == 0) _firstLeaf = number;
        _lastLeaf = number;
        _leafRecords += node.RecordCount;
        for (int i = 0; i < node.RecordCount; i++) onRecord(node, i);
    }

    // Reads a node and proves kind, height, offsets and each key by itself.
    private BTreeNode? Read(uint number, int height)
    {
        try
        {
            BTreeNode node = tree.Read(number);
            if (node.Height != height || node.Kind != (height == 1 ? NodeKind.Leaf : NodeKind.Index))
            {
                Broken(HfsPlusCheckNames.TreeNodes,
                    $"has a node of kind {(sbyte)node.Kind} and height {node.Height} where one of height {height} belongs", number, height);
                return null;
            }

            for (int i = 0; i < node.RecordCount; i++)
            {
                string? fault = keys.FaultOf(node.Key(i));
                if (fault is null) continue;
                Broken(HfsPlusCheckNames.TreeNodes, $"has {fault} (record {i})", number, height);
                return null;
            }

            return node;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(HfsPlusCheckNames.TreeNodes, e);
            _faultyNodes++;
            _levels[height].IsUnknown = true;
            return null;
        }
    }

    private void CheckLinks(BTreeNode node)
    {
        ref Level level = ref _levels[node.Height];
        if (!level.IsUnknown && node.BackwardLink != level.Last)
            findings.Damaged(HfsPlusCheckNames.TreeLinks,
                $"A node of the {tree.Name} B-tree names {node.BackwardLink} as the one before it instead of {level.Last}.",
                PlaceOf(node.Number));
        if (!level.IsUnknown && level.Last != 0 && level.Next != node.Number)
            findings.Damaged(HfsPlusCheckNames.TreeLinks,
                $"A node of the {tree.Name} B-tree names {level.Next} as the one behind it instead of {node.Number}.", PlaceOf(level.Last));
        (level.Last, level.Next, level.IsUnknown) = (node.Number, node.ForwardLink, false);
    }

    // Strictly ascending within the node, and from the node before it on the same level.
    private void CheckOrder(BTreeNode node)
    {
        ref Level level = ref _levels[node.Height];
        ReadOnlySpan<byte> before = level.LastKey;
        for (int i = 0; i < node.RecordCount; i++)
        {
            ReadOnlySpan<byte> key = node.Key(i);
            if (!before.IsEmpty && keys.Compare(before, key) >= 0)
                findings.Damaged(HfsPlusCheckNames.TreeOrder,
                    $"The {tree.Name} B-tree has a key that does not come behind the one before it: it cannot be found any more.",
                    $"{PlaceOf(node.Number)}, record {i}");
            before = key;
        }

        if (node.RecordCount > 0) level.LastKey = before.ToArray();
    }

    private void CheckEnds()
    {
        for (int height = 1; height < _levels.Length; height++)
        {
            Level level = _levels[height];
            if (!level.IsUnknown && level.Last != 0 && level.Next != 0)
                findings.Damaged(HfsPlusCheckNames.TreeLinks,
                    $"The last node of a level of the {tree.Name} B-tree names {level.Next} as the one behind it.", PlaceOf(level.Last));
        }

        if (IsComplete && (Header.FirstLeafNode != _firstLeaf || Header.LastLeafNode != _lastLeaf))
        {
            findings.Damaged(HfsPlusCheckNames.TreeHeader,
                $"The {tree.Name} B-tree names {Header.FirstLeafNode} and {Header.LastLeafNode} as its first and last leaf; they are "
                    + $"{_firstLeaf} and {_lastLeaf}.", PlaceOf(0));
        }
    }

    // The map of used nodes: the header node's third record, then the records of the map nodes.
    private List<byte[]> ReadMap()
    {
        var map = new List<byte[]>();
        uint number = 0;
        long mapped = 0;
        try
        {
            BTreeNode node = tree.ReadHeaderNode();
            if (node.RecordCount != 3)
            {
                findings.Damaged(HfsPlusCheckNames.TreeHeader,
                    $"The header node of the {tree.Name} B-tree has {node.RecordCount} records instead of 3.", PlaceOf(0));
                return map;
            }

            map.Add(node.Record(2).ToArray());
            mapped = map[0].Length * 8L;
            for (number = node.ForwardLink; number != 0 && mapped < tree.NodeCount; number = node.ForwardLink)
            {
                cancellation.ThrowIfCancellationRequested();
                node = tree.Read(number);
                if (node.Kind != NodeKind.Map || node.RecordCount != 1 || !Use(number))
                    throw tree.Damaged("has a node in its chain of map nodes that is none", number);
                map.Add(node.Record(0).ToArray());
                mapped += map[^1].Length * 8L;
            }

            if (mapped < tree.NodeCount) throw tree.Damaged($"has a map of {mapped} bits for {tree.NodeCount} nodes", number);
            for (; number != 0; number = node.ForwardLink)
            {
                cancellation.ThrowIfCancellationRequested();
                node = tree.Read(number); // More map nodes than are needed: a file that shrank. They are in use all the same.
                if (node.Kind != NodeKind.Map || !Use(number))
                    throw tree.Damaged("has a node in its chain of map nodes that is none", number);
            }
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(HfsPlusCheckNames.TreeMap, e);
            map.Clear();
        }

        return map;
    }

    private void CompareMap(List<byte[]> map)
    {
        long number = 0;
        foreach (byte[] record in map)
        {
            cancellation.ThrowIfCancellationRequested();
            for (int i = 0; i < record.Length; i++, number += 8)
            {
                byte used = UsedByte(number);
                if (record[i] == used
                    || findings.TryCount(
                    ImageFindingGrade.Damaged, HfsPlusCheckNames.TreeMap, BitOperations.PopCount((uint)(record[i] ^ used)))) continue;
                for (int bit = 0; bit < 8; bit++)
                {
                    bool isUsed = (used & (0x80 >> bit)) != 0;
                    if (((record[i] & (0x80 >> bit)) != 0) == isUsed) continue;
                    findings.Damaged(HfsPlusCheckNames.TreeMap,
                        isUsed ? $"A node of the {tree.Name} B-tree is in use, but its map calls it free: the next change may overwrite it."
                            : $"The map of the {tree.Name} B-tree calls a node used to which nothing leads.",
                                PlaceOf((uint)(number + bit)));
                }
            }
        }
    }

    private void Broken(string check, string fault, uint number, int height)
    {
        findings.Damaged(check, $"The {tree.Name} B-tree {fault}.", PlaceOf(number));
        _faultyNodes++;
        if (height > 0) _levels[height].IsUnknown = true;
    }

    // False when it was used before.
    private bool Use(uint number)
    {
        (long page, long within) = Math.DivRem(number, 4096L);
        if (!_used.TryGetValue(page, out ulong[]? bits)) _used[page] = bits = new ulong[64];
        ulong mask = 0x8000_0000_0000_0000 >> (int)(within % 64);
        if ((bits[within / 64] & mask) != 0) return false;
        bits[within / 64] |= mask;
        _usedCount++;
        return true;
    }

    private byte UsedByte(long first) =>
        _used.TryGetValue(first / 4096, out ulong[]? bits) ? (byte)((bits[first % 4096 / 64] >> (56 - (int)(first % 64))) & 0xFF) : (byte)0;

    private string PlaceOf(uint node) => $"{tree.Name} B-tree node {node}";

    // What is remembered of a level: its last node so far, the one that follows by its own word, and the last key.
    private struct Level
    {
        public uint Last, Next;
        public bool IsUnknown; // after a node that could not be read
        public byte[]? LastKey;
    }
}
