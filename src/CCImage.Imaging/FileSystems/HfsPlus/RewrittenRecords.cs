namespace CCImage.FileSystems.HfsPlus;

/// <summary>A place in <see cref="RewrittenRecords"/>.</summary>
/// <param name="Node">Leaf of the old tree whose record comes next; 0 behind the last.</param>
/// <param name="Index">That record.</param>
/// <param name="Added">The added record that comes next.</param>
/// <param name="IsOld">Whether the record here is the old one.</param>
internal readonly record struct RewrittenCursor(uint Node, int Index, int Added, bool IsOld);

/// <summary>Whether a record of the old tree is left out.</summary>
/// <param name="key">Its key, length field included.</param>
internal delegate bool RecordFilter(ReadOnlySpan<byte> key);

/// <summary>Changes the data of an old record, not its size.</summary>
/// <param name="data">The data.</param>
internal delegate void RecordPatch(Span<byte> data);

/// <summary>The records of a tree, without some, and with others that were made: what a tree is built from that differs in a few
/// records.</summary>
/// <param name="tree">The old tree, sound.</param>
/// <param name="keys">Their order.</param>
/// <param name="isDropped">Which old records are left out.</param>
/// <param name="added">Keys and data, in order; none equal to a record that stays.</param>
/// <param name="patch">Changes old records; null for none.</param>
internal sealed class RewrittenRecords(
    BTreeFile tree, BTreeKeys keys, RecordFilter isDropped, IReadOnlyList<(byte[] Key, byte[] Data)> added, RecordPatch? patch = null)
    : BTreeRecords<RewrittenCursor>
{
    /// <inheritdoc/>
    public override bool Start(out RewrittenCursor cursor)
    {
        cursor = new(tree.Header.FirstLeafNode, 0, 0, false);
        return Settle(ref cursor);
    }

    /// <inheritdoc/>
    public override bool MoveNext(ref RewrittenCursor cursor)
    {
        cursor = cursor.IsOld ? cursor with { Index = cursor.Index + 1 } : cursor with { Added = cursor.Added + 1 };
        return Settle(ref cursor);
    }

    /// <inheritdoc/>
    public override int KeySize(in RewrittenCursor cursor) => Even(KeyOf(cursor).Length);

    /// <inheritdoc/>
    public override int DataSize(in RewrittenCursor cursor) => Even(DataOf(cursor).Length);

    /// <inheritdoc/>
    public override void WriteKey(in RewrittenCursor cursor, Span<byte> destination) => KeyOf(cursor).CopyTo(destination);

    /// <inheritdoc/>
    public override void WriteData(in RewrittenCursor cursor, Span<byte> destination)
    {
        DataOf(cursor).CopyTo(destination);
        if (cursor.IsOld) patch?.Invoke(destination);
    }

    private static int Even(int size) => size + (size & 1);

    private ReadOnlySpan<byte> KeyOf(in RewrittenCursor cursor) =>
        cursor.IsOld ? tree.LoadCached(cursor.Node).Key(cursor.Index) : added[cursor.Added].Key;

    private ReadOnlySpan<byte> DataOf(in RewrittenCursor cursor) =>
        cursor.IsOld ? tree.LoadCached(cursor.Node).Data(cursor.Index) : added[cursor.Added].Data;

    // Goes to the next old record that stays, and decides which of the two comes first.
    private bool Settle(ref RewrittenCursor cursor)
    {
        (uint number, int index) = (cursor.Node, cursor.Index);
        while (number != 0)
        {
            BTreeNode node = tree.LoadCached(number);
            while (index < node.RecordCount && isDropped(node.Key(index))) index++;
            if (index < node.RecordCount) break;
            (number, index) = (node.ForwardLink, 0);
        }

        bool hasAdded = cursor.Added < added.Count;
        bool isOld = number != 0 && (!hasAdded || keys.Compare(tree.LoadCached(number).Key(index), added[cursor.Added].Key) < 0);
        cursor = new(number, index, cursor.Added, isOld);
        return isOld || hasAdded;
    }
}
