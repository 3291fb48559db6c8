using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The tree of a free queue that is a single node, to be changed: which blocks are freed by which transaction, and not free yet.
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

    private ApfsFreeQueueLeaf(byte[] node, SortedDictionary<(ulong Transaction, ulong First), ulong> ranges) => (_node, Ranges) = (node, ranges);

    /// <summary>Numbers of blocks.</summary>
    public SortedDictionary<(ulong Transaction, ulong First), ulong> Ranges { get; }

    /// <summary>All the blocks.</summary>
    public ulong Count => Ranges.Values.Aggregate(0UL, (sum, count) => sum + count);

    /// <summary>The first transaction that freed any of them; 0 for none.</summary>
    public ulong OldestTransaction => Ranges.Count == 0 ? 0 : Ranges.Keys.First().Transaction;

    /// <summary>Takes a tree.</summary>
    /// <param name="node">Its root, proved to be an intact object; not changed.</param>
    /// <returns>Null for a tree of several nodes, or one of another kind.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static ApfsFreeQueueLeaf? TryRead(byte[] node)
    {
        var reader = new ApfsNode(node, "free queue");
        ApfsTreeInfo info = Layout.Read<ApfsTreeInfo>(node.AsSpan(node.Length - InfoSize));
        if (reader.Header.Flags != Flags || reader.Header.TableOffset != 0 || info.NodeCount != 1 || info.NodeSize != (uint)node.Length || info.KeyCount != (uint)reader.Count
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

    /// <summary>The node with the ranges as they are now.</summary>
    /// <returns>Null when they do not fit.</returns>
    public byte[]? TryWrite()
    {
        byte[] node = [.. _node];
        ref ApfsNodeHeader header = ref Layout.At<ApfsNodeHeader>(node);
        int keys = HeaderSize + header.TableLength, end = node.Length - InfoSize;
        int values = end - (Ranges.Values.Count(count => count != 1) * ValueSize), free = values - keys - (Ranges.Count * KeySize);
        if (Ranges.Count * 4 > header.TableLength || free < 0) return null;
        node.AsSpan(HeaderSize, end - HeaderSize).Clear();
        int index = 0, at = end;
        foreach (((ulong transaction, ulong first), ulong count) in Ranges)
        {
            Span<byte> entry = node.AsSpan(HeaderSize + (index * 4));
            ref ApfsFreeQueueKey key = ref Layout.At<ApfsFreeQueueKey>(node.AsSpan(keys + (index * KeySize)));
            (key.TransactionId, key.Address) = (transaction, first);
            BinaryPrimitives.WriteUInt16LittleEndian(entry, (ushort)(index++ * KeySize));
            if (count != 1) BinaryPrimitives.WriteUInt64LittleEndian(node.AsSpan(at -= ValueSize), count);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[2..], count == 1 ? ApfsConstants.NoValue : (ushort)(end - at));
        }

        header.Count = (uint)Ranges.Count;
        (header.Free.Offset, header.Free.Length) = ((ushort)(Ranges.Count * KeySize), (ushort)free);
        (header.FreeKeys.Offset, header.FreeKeys.Length, header.FreeValues.Offset, header.FreeValues.Length) = (ApfsConstants.NoValue, 0, ApfsConstants.NoValue, 0);
        ref ApfsTreeInfo info = ref Layout.At<ApfsTreeInfo>(node.AsSpan(end));
        info.KeyCount = (uint)Ranges.Count;
        if (at != end) info.LongestValue = ValueSize;
        return node;
    }
}
