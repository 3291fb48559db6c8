using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>An object map: where virtual objects lie at a transaction. Source: Apple File System Reference, "Object Maps".</summary>
internal sealed class ApfsObjectMap
{
    public const int KeySize = 16;
    public const int ValueSize = 16;

    private const int MostKept = 256;

    private readonly ApfsBlocks _blocks;
    private readonly string _what;
    private readonly Dictionary<ulong, ApfsNode> _kept = []; // a walk of a volume's tree asks the same nodes again and again

    /// <summary>Opens the map.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public ApfsObjectMap(ApfsBlocks blocks, ulong address, string what)
    {
        (_blocks, _what) = (blocks, what);
        Header = Layout.Read<ApfsObjectMapHeader>(blocks.ReadObject(address, what, 1, ApfsObjectType.ObjectMap));
    }

    /// <summary>The fixed fields.</summary>
    public ApfsObjectMapHeader Header { get; }

    /// <summary>The newest version of an object up to a transaction, or null. For one thread at a time.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public ApfsObjectMapValue? Find(ulong id, ulong transaction)
    {
        ulong address = Header.TreeAddress;
        int parentLevel = -1;
        while (true)
        {
            ApfsNode node = Load(address);
            if (parentLevel >= 0 && node.Header.Level != parentLevel - 1)
                throw ImageException.Damaged($"A node of the {_what} is on the wrong level.", $"block {address}");
            int last = FindLast(node, id, transaction);
            if (last < 0) return null;
            if (node.IsLeaf) return ReadValue(node, last, id);
            (parentLevel, address) = (node.Header.Level, node.Child(last));
        }
    }

    private ApfsNode Load(ulong address)
    {
        if (_kept.TryGetValue(address, out ApfsNode? node)) return node;
        if (_kept.Count == MostKept) _kept.Clear();
        return _kept[address] = new(_blocks.ReadObject(address, _what, 1, ApfsObjectType.BTreeRoot, ApfsObjectType.BTreeNode), _what);
    }

    private static int FindLast(ApfsNode node, ulong id, ulong transaction)
    {
        int last = -1;
        for (int i = 0; i < node.Count; i++)
        {
            ApfsObjectMapKey key = Layout.Read<ApfsObjectMapKey>(node.Key(i, KeySize));
            if (key.ObjectId > id || (key.ObjectId == id && key.TransactionId > transaction)) break;
            last = i;
        }

        return last;
    }

    private static ApfsObjectMapValue? ReadValue(ApfsNode node, int index, ulong id)
    {
        if (Layout.Read<ApfsObjectMapKey>(node.Key(index, KeySize)).ObjectId != id) return null;
        ReadOnlySpan<byte> bytes = node.Value(index, ValueSize);
        if (bytes.IsEmpty) return null;
        ApfsObjectMapValue value = Layout.Read<ApfsObjectMapValue>(bytes);
        return (value.Flags & ApfsConstants.MapDeleted) != 0 ? null : value;
    }
}
