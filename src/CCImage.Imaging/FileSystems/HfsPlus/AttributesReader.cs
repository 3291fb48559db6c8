using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Sources;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>An attribute whose value has extents of its own.</summary>
internal sealed class AttributeFork
{
    /// <summary>Size and first extents.</summary>
    public required ForkData Fork { get; init; }

    /// <summary>Further extent records, by the block of the fork they begin at.</summary>
    public Dictionary<uint, ExtentRecord> More { get; } = [];
}

/// <summary>Reads the attributes file in one pass. Source: Apple's public hfs_format.h; TN1150 only reserves the file.</summary>
internal sealed class AttributesReader
{
    private readonly Dictionary<uint, List<ExtendedAttribute>> _byFile = [];

    /// <summary>Attributes with extents of their own, by file and name.</summary>
    public Dictionary<(uint FileId, string Name), AttributeFork> Forks { get; } = [];

    /// <summary>The attributes of a file or folder.</summary>
    /// <param name="fileId">Its catalog node id.</param>
    public IReadOnlyList<ExtendedAttribute> Of(uint fileId) => _byFile.TryGetValue(fileId, out List<ExtendedAttribute>? found) ? found : [];

    /// <summary>Reads all records.</summary>
    /// <param name="tree">The attributes file.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public void Read(BTreeFile tree, CancellationToken cancellation)
    {
        foreach (BTreeNode node in tree.ReadLeaves())
        {
            cancellation.ThrowIfCancellationRequested();
            for (int i = 0; i < node.RecordCount; i++) ReadRecord(node, i);
        }
    }

    private void ReadRecord(BTreeNode node, int index)
    {
        ReadOnlySpan<byte> keyBytes = node.Key(index), data = node.Data(index);
        int keySize = Unsafe.SizeOf<AttributeKey>();
        if (keyBytes.Length < keySize) throw node.Damaged("has a key that is too short", index);
        AttributeKey key = Layout.Read<AttributeKey>(keyBytes);
        if (key.NameLength * sizeof(char) > keyBytes.Length - keySize) throw node.Damaged($"has a key with a name of {key.NameLength} units", index);
        string name = CatalogRecordKey.ReadName(keyBytes.Slice(keySize, key.NameLength * sizeof(char)));
        uint type = data.Length >= sizeof(uint) ? (uint)Layout.Read<UInt32BE>(data) : 0;
        switch ((AttributeRecordType)type)
        {
            case AttributeRecordType.InlineData when data.Length >= Unsafe.SizeOf<AttributeInlineData>():
                ReadOnlySpan<byte> value = data[Unsafe.SizeOf<AttributeInlineData>()..];
                uint size = Layout.Read<AttributeInlineData>(data).Size;
                if (size > value.Length) throw node.Damaged($"has an attribute of {size} bytes in a record of {data.Length}", index);
                Add(key.FileId, new ExtendedAttribute(name, size, value[..(int)size].ToArray()));
                break;
            case AttributeRecordType.ForkData when data.Length >= Unsafe.SizeOf<AttributeForkData>():
                ForkData fork = Layout.Read<AttributeForkData>(data).Fork;
                if (fork.LogicalSize > long.MaxValue || !Forks.TryAdd((key.FileId, name), new AttributeFork { Fork = fork }))
                    throw node.Damaged($"has an attribute of {fork.LogicalSize} bytes, or the same one twice", index);
                Add(key.FileId, new ExtendedAttribute(name, (long)(ulong)fork.LogicalSize, null));
                break;
            case AttributeRecordType.Extents when data.Length >= Unsafe.SizeOf<AttributeExtents>():
                if (!Forks.TryGetValue((key.FileId, name), out AttributeFork? first) || !first.More.TryAdd(key.StartBlock, Layout.Read<AttributeExtents>(data).Extents))
                    throw node.Damaged("has extents of an attribute that is not there", index);
                break;
            default:
                throw node.Damaged($"has a record of type 0x{type:X} in {data.Length} bytes", index);
        }
    }

    private void Add(uint fileId, ExtendedAttribute attribute)
    {
        if (!_byFile.TryGetValue(fileId, out List<ExtendedAttribute>? list)) _byFile[fileId] = list = new(1);
        list.Add(attribute);
    }
}
