using System.Buffers.Binary;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The B-tree of a volume's files. Its nodes are virtual objects: they name their children by id, and the volume's object map knows where
/// those lie. Keys are ordered by object, then by type of record. Safe to use from several threads. Source: Apple File System Reference,
/// "B-Trees", "File-System Objects".
/// </summary>
internal sealed class ApfsFileTree
{
    private const int MostKept = 256;

    private readonly Lock _loading = new();
    private readonly Dictionary<ulong, ApfsNode> _kept = [];
    private readonly ApfsBlocks _blocks;
    private readonly BlockStorage _storage;
    private readonly ApfsObjectMap _map;
    private readonly ulong _root;
    private readonly ulong _transaction;

    /// <summary>Takes the tree.</summary>
    /// <param name="blocks">The container.</param>
    /// <param name="storage">The same as bytes.</param>
    /// <param name="volume">The volume.</param>
    /// <param name="transaction">The state that is read.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public ApfsFileTree(ApfsBlocks blocks, BlockStorage storage, in ApfsVolumeSuperblock volume, ulong transaction)
    {
        (_blocks, _storage, _root, _transaction) = (blocks, storage, volume.RootTreeId, transaction);
        _map = new(blocks, volume.ObjectMapAddress, "volume object map");
        HasHashedNames = (volume.IncompatibleFeatures & ApfsConstants.VolumeHashesNames) != 0;
    }

    /// <summary>Whether keys of folder entries have a hash of the name.</summary>
    public bool HasHashedNames { get; }

    /// <summary>All leaves, in the order of their keys.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public IEnumerable<ApfsNode> ReadLeaves() => ReadLeaves(0, ulong.MaxValue);

    /// <summary>All leaves that can be reached, in the order of their keys.</summary>
    /// <param name="onLost">Hears of each node whose records are lost.</param>
    /// <exception cref="ImageException">A fault of the host.</exception>
    public IEnumerable<ApfsNode> ReadLeaves(Action<ImageException> onLost) => ReadLeaves(0, ulong.MaxValue, onLost);

    /// <summary>The records of an object of one type, in the order of their keys.</summary>
    /// <param name="id">The object.</param>
    /// <param name="type">The type.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public IEnumerable<(ApfsNode Leaf, int Index)> Find(ulong id, ApfsRecordType type)
    {
        ulong wanted = Order(id | ((ulong)type << ApfsConstants.TypeShift));
        foreach (ApfsNode leaf in ReadLeaves(wanted, wanted))
        {
            for (int i = 0; i < leaf.Count; i++)
            {
                if (Order(HeadOf(leaf, i)) == wanted) yield return (leaf, i);
            }
        }
    }

    /// <summary>Opens a stream of bytes by its extents.</summary>
    /// <param name="id">What its extents go by.</param>
    /// <param name="size">Its length in bytes.</param>
    /// <param name="place">What errors call it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: the extents do not hold as many bytes, or lie
    /// outside.</exception>
    public BlockStorage OpenStream(ulong id, long size, string place)
    {
        if (size == 0) return new MemoryStorage([]);
        var runs = new List<(long Offset, long Length)>();
        long end = 0;
        foreach ((ApfsNode leaf, int index) in Find(id, ApfsRecordType.Extent))
        {
            (long Offset, long Length) run = ReadExtent(leaf, index, end, place);
            runs.Add(run);
            end += run.Length;
        }

        return end >= size ? new ForkStorage(_storage, size, runs)
            : throw ImageException.Damaged($"A file of {size} bytes has extents for {end}.", place);
    }

    /// <summary>Reads an extent.</summary>
    /// <param name="leaf">Its leaf.</param>
    /// <param name="index">Its record.</param>
    /// <param name="end">Where the one before it ends, in bytes of the stream.</param>
    /// <param name="place">What errors call it.</param>
    /// <returns>Where it lies in the container, or <see cref="ForkStorage.Hole"/>, and its length, both in bytes.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public (long Offset, long Length) ReadExtent(ApfsNode leaf, int index, long end, string place)
    {
        ulong at = BinaryPrimitives.ReadUInt64LittleEndian(leaf.Key(index, 16)[8..]);
        ReadOnlySpan<byte> value = leaf.Value(index, 24);
        if (value.IsEmpty) throw ImageException.Damaged("An extent of a file has no value.", place);
        ApfsFileExtent extent = Layout.Read<ApfsFileExtent>(value);
        ulong length = extent.Length & ApfsFileConstants.ExtentLengthMask;
        if (at != (ulong)end || length == 0 || length % (uint)_blocks.Size != 0 || length > (ulong)(long.MaxValue - end))
            throw ImageException.Damaged($"The extents of a file do not follow each other: {length} bytes at {at}, behind {end}.", place);
        if (extent.Address == 0) return (ForkStorage.Hole, (long)length);
        if (!_blocks.Contains(extent.Address, length / (uint)_blocks.Size))
            throw ImageException.Damaged("An extent of a file leaves the container.", place);
        return ((long)(ulong)extent.Address * _blocks.Size, (long)length);
    }

    /// <summary>The first word of a key: object and type.</summary>
    public static ulong HeadOf(ApfsNode node, int index) => BinaryPrimitives.ReadUInt64LittleEndian(node.Key(index, sizeof(ulong)));

    // The object is in the low bits, and counts first.
    private static ulong Order(ulong head) => (head << (64 - ApfsConstants.TypeShift)) | (head >> ApfsConstants.TypeShift);

    // The leaves that may hold keys of a range, by Order.
    private IEnumerable<ApfsNode> ReadLeaves(ulong first, ulong last, Action<ImageException>? onLost = null)
    {
        var seen = new HashSet<ulong>();
        var pending = new Stack<(ulong Id, int Level)>([(_root, -1)]);
        while (pending.TryPop(out (ulong Id, int Level) next))
        {
            if (TryLoad(next.Id, next.Level, seen, onLost) is not { } node) continue;
            if (node.IsLeaf)
            {
                yield return node;
                continue;
            }

            // What a child holds begins with its key and ends with the next one's.
            for (int i = node.Count - 1; i >= 0; i--)
            {
                if (TryHeadOf(node, i, onLost) is not (ulong head, ulong child) || Order(head) > last) continue;
                pending.Push((child, node.Header.Level));
                if (Order(head) < first) break;
            }
        }
    }

    private static (ulong Head, ulong Child)? TryHeadOf(ApfsNode node, int index, Action<ImageException>? onLost)
    {
        try
        {
            return (HeadOf(node, index), node.Child(index));
        }
        catch (ImageException e) when (onLost is not null && e.IsFaultOfContent)
        {
            onLost(e);
            return null;
        }
    }

    private ApfsNode? TryLoad(ulong id, int parentLevel, HashSet<ulong> seen, Action<ImageException>? onLost)
    {
        try
        {
            if (!seen.Add(id)) throw ImageException.Damaged("A node of the tree of files is there twice.", $"object {id}");
            ApfsNode node = Load(id);
            return parentLevel < 0 || node.Header.Level == parentLevel - 1
                ? node
                : throw ImageException.Damaged("A node of the tree of files is on the wrong level.", $"object {id}");
        }
        catch (ImageException e) when (onLost is not null && id != _root && e.IsFaultOfContent)
        {
            onLost(ImageException.Damaged(
                $"A node of the tree of files cannot be used, and all that it leads to is lost: {e.Problem}", e.Place));
            return null;
        }
    }

    private ApfsNode Load(ulong id)
    {
        lock (_loading)
        {
            if (_kept.TryGetValue(id, out ApfsNode? node)) return node;
            ApfsObjectMapValue place = _map.Find(id, _transaction)
                ?? throw ImageException.Damaged("A node of the tree of files is missing.", $"object {id}");
            if ((place.Flags & (ApfsConstants.MapEncrypted | ApfsConstants.MapNoHeader)) != 0)
                throw new ImageException(ImageErrorId.UnsupportedFormat,
                    "The tree of files is encrypted or sealed, which this version does not read.", place: $"object {id}");
            if (place.Size != (uint)_blocks.Size)
                throw ImageException.Damaged($"A node of the tree of files has {(uint)place.Size} bytes.", $"object {id}");
            byte[] block = _blocks.ReadObject(place.Address, "tree of files", 1, ApfsObjectType.BTreeRoot, ApfsObjectType.BTreeNode);
            if (Layout.Read<ApfsObjectHeader>(block).ObjectId != id)
                throw ImageException.Damaged("A node of the tree of files is another object.", $"block {(ulong)place.Address}");
            if (_kept.Count == MostKept) _kept.Clear();
            return _kept[id] = new(block, "tree of files");
        }
    }
}
