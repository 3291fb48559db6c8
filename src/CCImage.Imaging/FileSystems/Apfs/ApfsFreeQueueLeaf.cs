using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The tree of a free queue that is a single node: which blocks are freed by which transaction, and not free yet.
/// Source: Apple File System Reference, "Space Manager" and "B-Trees".
/// </summary>
internal sealed class ApfsFreeQueueLeaf
{
    private const ushort Flags = ApfsConstants.NodeRoot | ApfsConstants.NodeLeaf | ApfsConstants.NodeFixedSize;
    private const int ValueSize = sizeof(ulong);

    private static readonly int HeaderSize = Unsafe.SizeOf<ApfsNodeHeader>();
    private static readonly int InfoSize = Unsafe.SizeOf<ApfsTreeInfo>();
    private static readonly int KeySize = Unsafe.SizeOf<ApfsFreeQueueKey>();

    private readonly byte[] _node;

    private ApfsFreeQueueLeaf(byte[] node, SortedDictionary<(ulong Transaction, ulong First), ulong> ranges) =>
        (_node, Ranges) = (node, ranges);

    /// <summary>Numbers of blocks.</summary>
    public SortedDictionary<(ulong Transaction, ulong First), ulong> Ranges { get; }

    /// <summary>All the blocks.</summary>
    public ulong Count => Ranges.Values.Aggregate(0UL, (sum, count) => sum + count);

    /// <summary>Takes a tree.</summary>
    /// <param name="node">Its root, proved to be an intact object; not changed.</param>
    /// <returns>Null for a tree of several nodes, or one of another kind.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static ApfsFreeQueueLeaf? TryRead(byte[] node)
    {
        var reader = new ApfsNode(node, "free queue");
        ApfsTreeInfo info = Layout.Read<ApfsTreeInfo>(node.AsSpan(node.Length - InfoSize));
        if (reader.Header.Flags != Flags || reader.Header.TableOffset != 0 || info.NodeCount != 1 || info.NodeSize != (uint)node.Length
            || info.KeyCount != (uint)reader.Count
            || info.KeySize != (uint)KeySize || info.ValueSize != ValueSize)
            return null;
        var ranges = new SortedDictionary<(ulong, ulong), ulong>();
        for (int i = 0; i < reader.Count; i++)
        {
            ApfsFreeQueueKey key = Layout.Read<ApfsFreeQueueKey>(reader.Key(i, KeySize));
            ReadOnlySpan<byte> value = reader.Value(i, ValueSize);
            ulong count = value.IsEmpty ? 1 : BinaryPrimitives.ReadUInt64LittleEndian(value);
            if (count is 0 or > uint.MaxValue || !ranges.TryAdd((key.TransactionId, key.Address), count)) return null;
        }

        return new(node, ranges);
    }

    /// <summary>The node without a range.</summary>
    public byte[] Emptied()
    {
        byte[] node = [.. _node];
        ref ApfsNodeHeader header = ref Layout.At<ApfsNodeHeader>(node);
        int end = node.Length - InfoSize;
        node.AsSpan(HeaderSize, end - HeaderSize).Clear();
        header.Count = 0;
        (header.Free.Offset, header.Free.Length) = (0, (ushort)(end - HeaderSize - header.TableLength));
        (header.FreeKeys.Offset, header.FreeKeys.Length, header.FreeValues.Offset, header.FreeValues.Length) =
            (ApfsConstants.NoValue, 0, ApfsConstants.NoValue, 0);
        Layout.At<ApfsTreeInfo>(node.AsSpan(end)).KeyCount = 0;
        return node;
    }
}
