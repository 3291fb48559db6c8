using System.Buffers.Binary;
using System.Text;

namespace CCImage.Tests.Hostile;

/// <summary>
/// An HFS+ volume that claims much and stores little, made from nothing and apart from the product's own writer: leaves without an index,
/// extents that share blocks, whatever a test asks for. Source: TN1150.
/// </summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1001", Justification = "A stream in memory holds nothing.")]
internal sealed class HostileVolume
{
    public const int BlockSize = 4096;

    private const int Sector = 512, NodeSize = 8192;
    private const uint SomeDate = 3_600_000_000;

    private readonly MemoryStream _content = new();
    private readonly Leaves _catalog = new(516), _attributes = new(266), _extents = new(10);

    public HostileVolume()
    {
        _content.SetLength(BlockSize); // the boot blocks and the volume header
        AddFolder(1, "volume", 2);
    }

    /// <summary>Stores bytes once; the fork may be given to any number of files.</summary>
    public byte[] Store(byte[] bytes)
    {
        uint block = (uint)(_content.Length / BlockSize), count = (uint)((bytes.Length + BlockSize - 1) / BlockSize);
        _content.Position = _content.Length;
        _content.Write(bytes);
        _content.SetLength((block + count) * (long)BlockSize);
        return Fork(bytes.Length, count, [(block, count)]);
    }

    /// <summary>A fork: size, blocks, and at most eight extents.</summary>
    public static byte[] Fork(long size, uint blocks, (uint Start, uint Count)[] extents)
    {
        byte[] fork = new byte[80];
        BinaryPrimitives.WriteInt64BigEndian(fork, size);
        Put32(fork, 12, blocks);
        for (int i = 0; i < extents.Length; i++)
        {
            Put32(fork, 16 + (8 * i), extents[i].Start);
            Put32(fork, 20 + (8 * i), extents[i].Count);
        }

        return fork;
    }

    public void AddFolder(uint parent, string name, uint id)
    {
        byte[] record = Record(1, id, 0x41ED, 88, 0);
        _catalog.Add(CatalogKey(parent, name), record);
    }

    public void AddFile(uint parent, string name, uint id, byte[]? data = null, ushort mode = 0x81A4, byte ownerFlags = 0, string type = "",
        uint special = 0)
    {
        byte[] record = Record(2, id, mode, 248, special);
        record[41] = ownerFlags;
        Encoding.ASCII.GetBytes(type).CopyTo(record, 48);
        data?.CopyTo(record, 88);
        _catalog.Add(CatalogKey(parent, name), record);
    }

    public void AddAttribute(uint id, string name, byte[] value)
    {
        byte[] record = new byte[16 + value.Length + (value.Length & 1)];
        Put32(record, 0, 0x10);
        Put32(record, 12, (uint)value.Length);
        value.CopyTo(record, 16);
        _attributes.Add(AttributeKey(id, name), record);
    }

    public void AddAttributeFork(uint id, string name, byte[] fork) =>
        _attributes.Add(AttributeKey(id, name), [0, 0, 0, 0x20, 0, 0, 0, 0, .. fork]);

    /// <summary>The volume's bytes.</summary>
    public byte[] ToArray()
    {
        byte[] catalog = Store(_catalog.ToArray()), extents = Store(_extents.ToArray()), attributes = _attributes.Count == 0 ? new byte[80]
            : Store(_attributes.ToArray());
        uint total = (uint)(_content.Length / BlockSize) + 64;
        byte[] bitmap = new byte[(total / 8 / BlockSize * BlockSize) + BlockSize];
        total += (uint)(bitmap.Length / BlockSize);
        bitmap = new byte[bitmap.Length + BlockSize];
        bitmap.AsSpan(0, (int)((total - 60) / 8)).Fill(0xFF);
        byte[] volume = new byte[total * (long)BlockSize];
        byte[] allocation = Store(bitmap);
        _content.ToArray().CopyTo(volume, 0);
        byte[] header = Header(total, BlockSize, allocation, extents, catalog, attributes);
        header.CopyTo(volume, 1024);
        header.CopyTo(volume, volume.Length - 1024);
        return volume;
    }

    /// <summary>A volume header.</summary>
    public static byte[] Header(uint total, int blockSize, byte[] allocation, byte[] extents, byte[] catalog, byte[] attributes)
    {
        byte[] header = new byte[Sector];
        "H+"u8.CopyTo(header);
        header[3] = 4;
        Put32(header, 4, 0x100); // unmounted
        for (int at = 16; at < 32; at += 4) Put32(header, at, SomeDate);
        Put32(header, 40, (uint)blockSize);
        Put32(header, 44, total);
        Put32(header, 48, total - 1);
        Put32(header, 64, 1_000_000);
        byte[][] forks = [allocation, extents, catalog, attributes];
        for (int i = 0; i < forks.Length; i++) forks[i].CopyTo(header, 112 + (80 * i));
        return header;
    }

    /// <summary>The leaves of a catalog with nothing but a root folder, and those of an empty tree of extents.</summary>
    public static (byte[] Catalog, byte[] Extents) EmptyTrees()
    {
        var volume = new HostileVolume();
        return (volume._catalog.ToArray(), volume._extents.ToArray());
    }

    private static byte[] Record(short kind, uint id, ushort mode, int length, uint special)
    {
        byte[] record = new byte[length];
        record[1] = (byte)kind;
        Put32(record, 8, id);
        for (int at = 12; at < 32; at += 4) Put32(record, at, SomeDate);
        BinaryPrimitives.WriteUInt16BigEndian(record.AsSpan(42), mode);
        Put32(record, 44, special);
        return record;
    }

    private static byte[] CatalogKey(uint parent, string name)
    {
        byte[] text = Encoding.BigEndianUnicode.GetBytes(name), key = new byte[8 + text.Length];
        BinaryPrimitives.WriteUInt16BigEndian(key, (ushort)(key.Length - 2));
        Put32(key, 2, parent);
        BinaryPrimitives.WriteUInt16BigEndian(key.AsSpan(6), (ushort)name.Length);
        text.CopyTo(key, 8);
        return key;
    }

    private static byte[] AttributeKey(uint id, string name)
    {
        byte[] text = Encoding.BigEndianUnicode.GetBytes(name), key = new byte[14 + text.Length];
        BinaryPrimitives.WriteUInt16BigEndian(key, (ushort)(key.Length - 2));
        Put32(key, 4, id);
        BinaryPrimitives.WriteUInt16BigEndian(key.AsSpan(12), (ushort)name.Length);
        text.CopyTo(key, 14);
        return key;
    }

    private static void Put32(byte[] bytes, int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at), value);

    // A tree of which there are only the header and the chain of leaves.
    private sealed class Leaves(ushort longestKey)
    {
        private readonly List<List<byte[]>> _nodes = [];
        private int _used;

        public int Count { get; private set; }

        public void Add(byte[] key, byte[] data)
        {
            byte[] record = [.. key, .. data];
            if (_nodes.Count == 0 || _used + record.Length + 2 > NodeSize)
            {
                _nodes.Add([]);
                _used = 16;
            }

            _nodes[^1].Add(record);
            _used += record.Length + 2;
            Count++;
        }

        public byte[] ToArray()
        {
            uint last = (uint)_nodes.Count;
            byte[] tree = new byte[(last + 1) * NodeSize];
            tree[8] = 1;
            tree[11] = 3;
            BinaryPrimitives.WriteUInt16BigEndian(tree.AsSpan(14), (ushort)(last > 0 ? 1 : 0));
            Put32(tree, 16, last > 0 ? 1u : 0);
            Put32(tree, 20, (uint)Count);
            Put32(tree, 24, last > 0 ? 1u : 0);
            Put32(tree, 28, last);
            BinaryPrimitives.WriteUInt16BigEndian(tree.AsSpan(32), NodeSize);
            BinaryPrimitives.WriteUInt16BigEndian(tree.AsSpan(34), longestKey);
            Put32(tree, 36, last + 1);
            Put32(tree, 52, 6);
            foreach ((int place, int offset) in (ReadOnlySpan<(int, int)>)[(1, 14), (2, 120), (3, 248), (4, NodeSize - 8)])
                BinaryPrimitives.WriteUInt16BigEndian(tree.AsSpan(NodeSize - (2 * place)), (ushort)offset);
            for (int i = 0; i < _nodes.Count; i++)
                WriteLeaf(tree.AsSpan((i + 1) * NodeSize, NodeSize), _nodes[i], i + 1 < _nodes.Count ? (uint)i + 2 : 0, (uint)i);
            return tree;
        }

        private static void WriteLeaf(Span<byte> node, List<byte[]> records, uint next, uint previous)
        {
            BinaryPrimitives.WriteUInt32BigEndian(node, next);
            BinaryPrimitives.WriteUInt32BigEndian(node[4..], previous);
            (node[8], node[9]) = (0xFF, 1);
            BinaryPrimitives.WriteUInt16BigEndian(node[10..], (ushort)records.Count);
            int at = 14;
            for (int i = 0; i <= records.Count; i++)
            {
                BinaryPrimitives.WriteUInt16BigEndian(node[(NodeSize - (2 * (i + 1)))..], (ushort)at);
                if (i == records.Count) break;
                records[i].CopyTo(node[at..]);
                at += records[i].Length;
            }
        }
    }
}
