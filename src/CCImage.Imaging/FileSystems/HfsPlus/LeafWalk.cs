using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Names what a key stands for, for people.</summary>
/// <param name="key">The key, length field included.</param>
internal delegate string KeyText(ReadOnlySpan<byte> key);

/// <summary>
/// The leaves of a B-tree as far as they can be reached: along their chain; where that breaks, by way of the index nodes from the root; and
/// where one of those is damaged, too, along the chain from its other end. Of a tree without damage only the chain is read. What is lost is
/// told with the range of keys that the index promised there. A leaf that only breaks the chain is not lost.
/// </summary>
/// <param name="tree">The tree.</param>
/// <param name="describe">Names a key.</param>
/// <param name="onLost">Hears of each node whose records are lost.</param>
/// <param name="cancellation">Ends it.</param>
internal sealed class LeafWalk(BTreeFile tree, KeyText describe, Action<ImageException> onLost, CancellationToken cancellation)
{
    private const int MaximumDepth = 16;

    private readonly HashSet<uint> _read = [];
    private ImageException? _chainFault;
    private bool _isIndexDamaged;

    /// <summary>Reads the leaves: in the order of their keys up to the first damage, each one once.</summary>
    /// <exception cref="ImageException">A fault of the host.</exception>
    public IEnumerable<BTreeNode> Read()
    {
        long records = 0;
        foreach (BTreeNode node in Follow(isForward: true))
        {
            records += node.RecordCount;
            yield return node;
        }

        // A leaf that counts fewer records than it had is like any other.
        if (_chainFault is null && records < tree.Header.LeafRecords)
            onLost(tree.Damaged($"counts {tree.Header.LeafRecords} records in its leaves, and there are {records}", 0));
        if (_chainFault is not { } first) yield break;
        foreach (BTreeNode node in Descend()) yield return node;
        if (!_isIndexDamaged) yield break;
        foreach (BTreeNode node in Follow(isForward: false)) yield return node;
        onLost(first);
    }

    // Each leaf must name the one it was reached from, so that no leaf of another place or time is taken.
    private IEnumerable<BTreeNode> Follow(bool isForward)
    {
        uint previous = 0, end = isForward ? tree.Header.LastLeafNode : tree.Header.FirstLeafNode;
        for (uint number = isForward ? tree.Header.FirstLeafNode : tree.Header.LastLeafNode; number != 0;)
        {
            cancellation.ThrowIfCancellationRequested();
            if (!isForward && _read.Contains(number)) yield break; // from here on everything was read
            if (TryRead(number, 1) is not { } node) yield break;
            if ((isForward ? node.BackwardLink : node.ForwardLink) != previous || !_read.Add(number))
            {
                _chainFault ??= tree.Damaged($"has a leaf that does not name node {previous} as its neighbour", number);
                yield break;
            }

            yield return node;
            previous = number;
            number = isForward ? node.ForwardLink : node.BackwardLink;
        }

        if (previous != end) _chainFault ??= tree.Damaged($"has a chain of leaves that ends before node {end}", previous);
    }

    private IEnumerable<BTreeNode> Descend()
    {
        var seen = new HashSet<uint>();
        var pending = new Stack<(uint Number, int Height, string From, string To)>();
        if (tree.Header.RootNode == 0 || (ushort)tree.Header.TreeDepth is 0 or > MaximumDepth) _isIndexDamaged = true;
        else pending.Push((tree.Header.RootNode, tree.Header.TreeDepth, "the first", "the last"));
        while (pending.TryPop(out (uint Number, int Height, string From, string To) at))
        {
            cancellation.ThrowIfCancellationRequested();
            if (at.Height == 1 && _read.Contains(at.Number)) continue;
            ImageException? fault = null;
            BTreeNode? node = seen.Add(at.Number) ? TryRead(at.Number, at.Height, out fault) : null;
            if (node is null)
            {
                _isIndexDamaged |= at.Height > 1;
                onLost(ImageException.Damaged(
                    ($"The {tree.Name} B-tree has a node that cannot be used: records from {at.From} to {at.To} may be missing. "
                        + $"{fault?.Problem}").TrimEnd(),
                    $"{tree.Name} B-tree node {at.Number}"));
            }
            else if (at.Height > 1)
            {
                PushChildren(node, at.Height - 1, at.To, pending);
            }
            else
            {
                _read.Add(at.Number);
                yield return node;
            }
        }
    }

    // The first child is taken first; its records end where the next one's begin.
    private void PushChildren(BTreeNode node, int height, string end, Stack<(uint Number, int Height, string From, string To)> pending)
    {
        for (int i = node.RecordCount - 1; i >= 0; i--)
        {
            try
            {
                ReadOnlySpan<byte> child = node.Data(i);
                if (child.Length < sizeof(uint)) throw node.Damaged("has an index record without a node number", i);
                string from = describe(node.Key(i));
                pending.Push((Layout.Read<UInt32BE>(child), height, from, end));
                end = from;
            }
            catch (ImageException e) when (e.IsFaultOfContent)
            {
                _isIndexDamaged = true;
                onLost(e);
            }
        }
    }

    private BTreeNode? TryRead(uint number, int height)
    {
        BTreeNode? node = TryRead(number, height, out ImageException? fault);
        _chainFault ??= fault;
        return node;
    }

    private BTreeNode? TryRead(uint number, int height, out ImageException? fault)
    {
        fault = null;
        try
        {
            BTreeNode node = tree.Read(number);
            if (node.RecordCount == 0) fault = tree.Damaged("has an empty node", number);
            else if (node.Height == height && node.Kind == (height == 1 ? NodeKind.Leaf : NodeKind.Index)) return node;
            else fault = tree.Damaged("has a node at the wrong height", number);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            fault = e;
        }

        return null;
    }
}
