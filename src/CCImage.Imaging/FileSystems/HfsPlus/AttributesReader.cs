using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Sources;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>An attribute whose value is not kept: it has extents of its own, or is read from its record again.</summary>
internal sealed class AttributeFork
{
    private static readonly Dictionary<uint, ExtentRecord> s_none = [];

    /// <summary>Size and first extents.</summary>
    public ForkData Fork { get; init; }

    /// <summary>Further extent records, by the block of the fork they begin at.</summary>
    public IReadOnlyDictionary<uint, ExtentRecord> More { get; private set; } = s_none;

    /// <summary>Where the record is that has the value in it; null for a value with extents.</summary>
    public RecordLocation? Record { get; init; }

    /// <summary>How a value in a record says that the file is compressed.</summary>
    public CompressedFile? Compressed { get; init; }

    /// <summary>Takes further extents; false where there are such already.</summary>
    /// <param name="startBlock">The block of the fork they begin at.</param>
    /// <param name="extents">They.</param>
    public bool TryAdd(uint startBlock, in ExtentRecord extents)
    {
        if (More.Count == 0) More = new Dictionary<uint, ExtentRecord>();
        return ((Dictionary<uint, ExtentRecord>)More).TryAdd(startBlock, extents);
    }
}

/// <summary>Reads the attributes file in one pass. Source: Apple's public hfs_format.h; TN1150 only reserves the file.</summary>
internal sealed class AttributesReader
{
    /// <summary>Bytes of values that are kept; what comes then is read again when it is asked for.</summary>
    private const long MostKept = 16 << 20;

    private readonly Dictionary<uint, List<ExtendedAttribute>> _byFile = [];
    private readonly HashSet<uint> _damaged = [];
    private bool _isIncomplete;
    private long _kept;

    /// <summary>Attributes whose values are not kept, by file and name.</summary>
    public Dictionary<(uint FileId, string Name), AttributeFork> Forks { get; } = [];

    /// <summary>The attributes of a file or folder.</summary>
    /// <param name="fileId">Its catalog node id.</param>
    public IReadOnlyList<ExtendedAttribute> Of(uint fileId) => _byFile.TryGetValue(fileId, out List<ExtendedAttribute>? found) ? found : [];

    /// <summary>What could not be read, at most as much as a tree tells of it: whose it was, or 0 where that is not known.</summary>
    public List<(uint FileId, ImageException Fault)> Faults { get; } = [];

    /// <summary>How much could not be read.</summary>
    public long FaultCount { get; private set; }

    /// <summary>Whether the file may have had attributes that could not be read.</summary>
    /// <param name="fileId">Its catalog node id.</param>
    public bool MayLack(uint fileId) => _isIncomplete || _damaged.Contains(fileId);

    /// <summary>Reads all records that are without fault.</summary>
    /// <param name="open">Opens the attributes file; gives null where there is none.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">A fault of the host.</exception>
    public void Read(Func<BTreeFile?> open, CancellationToken cancellation)
    {
        try
        {
            if (open() is not { } tree) return;
            foreach (BTreeNode node in new LeafWalk(tree, Describe, fault => Lose(0, fault), cancellation).Read())
            {
                cancellation.ThrowIfCancellationRequested();
                for (int i = 0; i < node.RecordCount; i++) TakeRecord(node, i);
            }
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            Lose(0, e);
        }
    }

    private static string Describe(ReadOnlySpan<byte> key) =>
        key.Length < Unsafe.SizeOf<AttributeKey>() ? "a damaged key" : $"those of file {Layout.Read<AttributeKey>(key).FileId}";

    private void TakeRecord(BTreeNode node, int index)
    {
        uint fileId = 0;
        try
        {
            ReadOnlySpan<byte> key = node.Key(index);
            if (key.Length >= Unsafe.SizeOf<AttributeKey>()) fileId = Layout.Read<AttributeKey>(key).FileId;
            ReadRecord(node, index);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            Lose(fileId, e);
        }
    }

    private void Lose(uint fileId, ImageException fault)
    {
        FaultCount++;
        if (fileId == 0) _isIncomplete = true;
        else _damaged.Add(fileId);
        if (Faults.Count < TreeOmissions.MostKept) Faults.Add((fileId, fault));
    }

    private void ReadRecord(BTreeNode node, int index)
    {
        ReadOnlySpan<byte> keyBytes = node.Key(index), data = node.Data(index);
        int keySize = Unsafe.SizeOf<AttributeKey>();
        if (keyBytes.Length < keySize) throw node.Damaged("has a key that is too short", index);
        AttributeKey key = Layout.Read<AttributeKey>(keyBytes);
        if (key.NameLength * sizeof(char) > keyBytes.Length - keySize)
            throw node.Damaged($"has a key with a name of {key.NameLength} units", index);
        string name = CatalogRecordKey.ReadName(keyBytes.Slice(keySize, key.NameLength * sizeof(char)));
        uint type = data.Length >= sizeof(uint) ? (uint)Layout.Read<UInt32BE>(data) : 0;
        switch ((AttributeRecordType)type)
        {
            case AttributeRecordType.InlineData when data.Length >= Unsafe.SizeOf<AttributeInlineData>():
                ReadOnlySpan<byte> value = data[Unsafe.SizeOf<AttributeInlineData>()..];
                value = value[..(int)SizeOf(node, index)];
                bool isKept = (_kept += value.Length) <= MostKept;
                if (!isKept && !Forks.TryAdd(
                    (key.FileId, name), new AttributeFork { Record = new(node.Number, index), Compressed = CompressedOf(name, value) }))
                    throw node.Damaged("has the same attribute twice", index);
                Add(key.FileId, new ExtendedAttribute(name, value.Length, isKept ? value.ToArray() : null));
                break;
            case AttributeRecordType.ForkData when data.Length >= Unsafe.SizeOf<AttributeForkData>():
                ForkData fork = Layout.Read<AttributeForkData>(data).Fork;
                if (fork.LogicalSize > long.MaxValue || !Forks.TryAdd((key.FileId, name), new AttributeFork { Fork = fork }))
                    throw node.Damaged($"has an attribute of {fork.LogicalSize} bytes, or the same one twice", index);
                Add(key.FileId, new ExtendedAttribute(name, (long)(ulong)fork.LogicalSize, null));
                break;
            case AttributeRecordType.Extents when data.Length >= Unsafe.SizeOf<AttributeExtents>():
                if (!Forks.TryGetValue((key.FileId, name), out AttributeFork? first) || first.Record is not null
                    || !first.TryAdd(key.StartBlock, Layout.Read<AttributeExtents>(data).Extents))
                    throw node.Damaged("has extents of an attribute that is not there", index);
                break;
            default:
                throw node.Damaged($"has a record of type 0x{type:X} in {data.Length} bytes", index);
        }
    }

    /// <summary>The value in a record that was read before.</summary>
    /// <param name="node">Its leaf.</param>
    /// <param name="index">Record, from 0.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static byte[] ReadValue(BTreeNode node, int index) =>
        node.Data(index).Slice(Unsafe.SizeOf<AttributeInlineData>(), (int)SizeOf(node, index)).ToArray();

    private static uint SizeOf(BTreeNode node, int index)
    {
        ReadOnlySpan<byte> data = node.Data(index);
        uint size = Layout.Read<AttributeInlineData>(data).Size;
        return size <= data.Length - Unsafe.SizeOf<AttributeInlineData>()
            ? size
            : throw node.Damaged($"has an attribute of {size} bytes in a record of {data.Length}", index);
    }

    private static CompressedFile? CompressedOf(string name, ReadOnlySpan<byte> value) =>
        name == CompressedFile.AttributeName ? CompressedFile.TryParse(value) : null;

    private void Add(uint fileId, ExtendedAttribute attribute)
    {
        if (!_byFile.TryGetValue(fileId, out List<ExtendedAttribute>? list)) _byFile[fileId] = list = new(1);
        list.Add(attribute);
    }
}
