using System.Buffers.Binary;
using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>A node of an APFS B-tree. Source: Apple File System Reference, "B-Trees".</summary>
internal sealed class ApfsNode
{
    private const int HeaderSize = 56;
    private const int MostLevels = 16; // two children each would make a tree that nobody has
    private const int RootInfoSize = 40; // btree_info_t, at the end of a root

    private readonly byte[] _block;
    private readonly string _what;
    private readonly int _table;
    private readonly int _keys;
    private readonly int _end;

    /// <summary>Takes a block that was read as an object.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public ApfsNode(byte[] block, string what)
    {
        (_block, _what, Header) = (block, what, Layout.Read<ApfsNodeHeader>(block));
        _table = HeaderSize + Header.TableOffset;
        _keys = _table + Header.TableLength;
        _end = block.Length - ((Header.Flags & ApfsConstants.NodeRoot) != 0 ? RootInfoSize : 0);
        if (_keys > _end || Header.Count > Header.TableLength / (uint)EntrySize) throw Damaged();
        if (IsLeaf != (Header.Level == 0) || Header.Level > MostLevels) throw Damaged();
    }

    /// <summary>The fixed fields.</summary>
    public ApfsNodeHeader Header { get; }

    /// <summary>Entries.</summary>
    public int Count => (int)(uint)Header.Count;

    /// <summary>Whether its values are the tree's, not children.</summary>
    public bool IsLeaf => (Header.Flags & ApfsConstants.NodeLeaf) != 0;

    private bool IsFixed => (Header.Flags & ApfsConstants.NodeFixedSize) != 0;

    private int EntrySize => IsFixed ? 4 : 8;

    /// <summary>The start of a key.</summary>
    /// <param name="index">Entry.</param>
    /// <param name="size">Bytes that are needed.</param>
    public ReadOnlySpan<byte> Key(int index, int size)
    {
        int start = _keys + Field(index, 0);
        if ((!IsFixed && Field(index, 2) < size) || start > _end - size) throw Damaged();
        return _block.AsSpan(start, size);
    }

    /// <summary>The start of a value; empty when the entry has none.</summary>
    /// <param name="index">Entry.</param>
    /// <param name="size">Bytes that are needed.</param>
    public ReadOnlySpan<byte> Value(int index, int size)
    {
        int back = Field(index, IsFixed ? 2 : 4);
        if (back == ApfsConstants.NoValue) return [];
        if ((!IsFixed && Field(index, 6) < size) || back < size || back > _end - _keys) throw Damaged();
        return _block.AsSpan(_end - back, size);
    }

    /// <summary>A whole key of a tree whose keys have lengths.</summary>
    /// <param name="index">Entry.</param>
    public ReadOnlySpan<byte> Key(int index) => Key(index, IsFixed ? throw Damaged() : Field(index, 2));

    /// <summary>A whole value of a tree whose values have lengths.</summary>
    /// <param name="index">Entry.</param>
    public ReadOnlySpan<byte> Value(int index) => Value(index, IsFixed ? throw Damaged() : Field(index, 6));

    /// <summary>The child of an index node: an address or an object id, as the tree has it.</summary>
    public ulong Child(int index)
    {
        ReadOnlySpan<byte> value = Value(index, sizeof(ulong));
        return value.IsEmpty ? throw Damaged() : BinaryPrimitives.ReadUInt64LittleEndian(value);
    }

    private ushort Field(int index, int offset) =>
        BinaryPrimitives.ReadUInt16LittleEndian(_block.AsSpan(_table + (index * EntrySize) + offset));

    private ImageException Damaged() =>
        ImageException.Damaged($"A node of the {_what} contradicts itself.", $"object {(ulong)Header.Object.ObjectId}");
}
