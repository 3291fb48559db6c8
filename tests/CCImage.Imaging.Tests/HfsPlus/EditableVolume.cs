using System.Buffers.Binary;
using System.Text;

namespace CCImage.Tests.HfsPlus;

/// <summary>
/// A volume's bytes, with the places of its structures: to damage them. Written apart from the product's structures. The special files lie
/// in one extent, as ours do.
/// </summary>
internal sealed class EditableVolume(byte[] bytes)
{
    public const int HeaderAt = 1024, ExtentsTree = 192, CatalogTree = 272, AttributesTree = 352;

    public byte[] Bytes => bytes;

    public int Alternate => bytes.Length - 1024;

    public int BlockSize => (int)U32(HeaderAt + 40);

    public uint TotalBlocks => U32(HeaderAt + 44);

    public int Bitmap => BlockAt(U32(HeaderAt + 112 + 16));

    public int JournalInfo => BlockAt(U32(HeaderAt + 12));

    public int Journal => (int)U64(JournalInfo + 36);

    public ushort U16(int at) => BinaryPrimitives.ReadUInt16BigEndian(bytes.AsSpan(at));

    public uint U32(int at) => BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(at));

    public ulong U64(int at) => BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(at));

    public void Set16(int at, int value) => BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(at), (ushort)value);

    public void Set32(int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at), value);

    public void Set64(int at, ulong value) => BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(at), value);

    /// <summary>Changes the same field in both headers.</summary>
    public void SetBoth32(int field, uint value)
    {
        Set32(HeaderAt + field, value);
        Set32(Alternate + field, value);
    }

    public int BlockAt(uint block) => (int)(block * BlockSize);

    /// <summary>Where a fork's first extent begins.</summary>
    public int ForkAt(int fork) => BlockAt(U32(fork + 16));

    public void FlipBit(uint block) => bytes[Bitmap + (int)(block / 8)] ^= (byte)(0x80 >> (int)(block % 8));

    public uint FreeBlock()
    {
        for (uint block = TotalBlocks - 1; ; block--)
        {
            if ((bytes[Bitmap + (int)(block / 8)] & (0x80 >> (int)(block % 8))) == 0) return block;
        }
    }

    /// <summary>Blocks that the bitmap calls free.</summary>
    public uint CountFree()
    {
        if (U16(HeaderAt) == 0) return 0;
        uint free = 0;
        for (uint block = 0; block < TotalBlocks; block++)
        {
            if ((bytes[Bitmap + (int)(block / 8)] & (0x80 >> (int)(block % 8))) == 0) free++;
        }

        return free;
    }

    /// <summary>Where a tree's header record begins.</summary>
    public int TreeHeader(int tree) => ForkAt(HeaderAt + tree) + 14;

    public int NodeSize(int tree) => U16(TreeHeader(tree) + 18);

    public int Node(int tree, uint number) => ForkAt(HeaderAt + tree) + ((int)number * NodeSize(tree));

    public int Root(int tree) => Node(tree, U32(TreeHeader(tree) + 2));

    public int FirstLeaf(int tree) => Node(tree, U32(TreeHeader(tree) + 10));

    public int NextLeaf(int tree, int leaf) => Node(tree, U32(leaf));

    public int Record(int tree, int node, int index) => node + U16(node + NodeSize(tree) - (2 * (index + 1)));

    public int Data(int record) => record + 2 + U16(record);

    public IEnumerable<int> Records(int tree)
    {
        for (uint number = U32(TreeHeader(tree) + 10); number != 0;)
        {
            int leaf = Node(tree, number);
            for (int i = 0; i < U16(leaf + 10); i++) yield return Record(tree, leaf, i);
            number = U32(leaf);
        }
    }

    /// <summary>The key of the file or folder with a name.</summary>
    public int Entry(string name) => Records(CatalogTree).First(r => U16(Data(r)) is 1 or 2 && NameOf(r) == name);

    /// <summary>The data of the file or folder with a name.</summary>
    public int File(string name) => Data(Entry(name));

    public uint IdOf(string name) => U32(File(name) + 8);

    /// <summary>The data of the thread of the file or folder with a name.</summary>
    public int Thread(string name)
    {
        uint id = IdOf(name);
        return Data(Records(CatalogTree).First(r => U32(r + 2) == id && U16(r + 6) == 0));
    }

    public string NameOf(int key) => Encoding.BigEndianUnicode.GetString(bytes, key + 8, 2 * U16(key + 6));

    /// <summary>The key of the attribute with a name.</summary>
    public int Attribute(string name, uint type) => Records(AttributesTree)
        .First(r => Encoding.BigEndianUnicode.GetString(bytes, r + 14, 2 * U16(r + 12)) == name && U32(Data(r)) == type);
}
