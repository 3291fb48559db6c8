using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Translates forks to where their blocks go. Of those that need records in the extents-overflow file, or had some, these are collected;
/// other forks leave no trace here, so that memory follows the number of moves and of fragmented files.
/// </summary>
/// <param name="map">The volume's blocks.</param>
/// <param name="moves">What moves, ascending.</param>
internal sealed class ForkRelocation(HfsPlusBlockMap map, IReadOnlyList<BlockMove> moves)
{
    private readonly HashSet<(uint Id, byte Fork)> _changed = [];
    private readonly HashSet<uint> _attributeOwners = [];
    private readonly HashSet<(uint Id, string Name)> _attributes = [];
    private readonly List<(byte[] Key, byte[] Data)> _extents = [], _attributeRecords = [];

    // The attribute whose extents may follow.
    private byte[] _attributeKey = [];
    private AttributeForkData _attribute;
    private List<BlockRange> _attributeRuns = [];

    /// <summary>Whether an attribute has other extents now.</summary>
    public bool ChangesAttributes => _attributes.Count > 0;

    /// <summary>Translates a fork.</summary>
    /// <param name="fork">The fork; receives its new first extents.</param>
    /// <param name="id">Whose it is.</param>
    /// <param name="forkType">Data or resource.</param>
    /// <param name="collect">Whether its overflow records are collected: once for each fork.</param>
    /// <returns>Whether anything changed.</returns>
    public bool Translate(ref ForkData fork, uint id, byte forkType, bool collect)
    {
        if (fork.TotalBlocks == 0) return false;
        IReadOnlyList<BlockRange> old = map.ReadRuns(fork, id, forkType, $"fork of file {id}");
        if (Translate(old) is not { } runs) return false;
        Replace(ref fork, runs, id, forkType, collect);
        return true;
    }

    /// <summary>Gives a fork other extents.</summary>
    /// <param name="fork">The fork.</param>
    /// <param name="runs">All its extents.</param>
    /// <param name="id">Whose it is.</param>
    /// <param name="forkType">Data or resource.</param>
    /// <param name="collect">Whether its overflow records are collected: once for each fork.</param>
    public void Replace(ref ForkData fork, IReadOnlyList<BlockRange> runs, uint id, byte forkType, bool collect)
    {
        bool hadMore = CountOf(fork.Extents) < fork.TotalBlocks;
        fork.Extents = RecordAt(runs, 0, out long blocks);
        fork.TotalBlocks = (uint)runs.Sum(r => r.Count);
        if (!collect || !(hadMore || runs.Count > HfsPlusConstants.ExtentsPerRecord)) return;
        _changed.Add((id, forkType));
        for (int i = HfsPlusConstants.ExtentsPerRecord; i < runs.Count; i += HfsPlusConstants.ExtentsPerRecord)
        {
            var key = new ExtentKey { KeyLength = (ushort)(Unsafe.SizeOf<ExtentKey>() - sizeof(ushort)), ForkType = forkType, FileId = id,
                StartBlock = (uint)blocks };
            ExtentRecord record = RecordAt(runs, i, out long more);
            _extents.Add((Layout.ToBytes(key), Layout.ToBytes(record)));
            blocks += more;
        }
    }

    /// <summary>Takes a record of the attributes file. They come in their order.</summary>
    /// <param name="node">The leaf.</param>
    /// <param name="index">Record, from 0.</param>
    public void TakeAttribute(BTreeNode node, int index)
    {
        ReadOnlySpan<byte> data = node.Data(index);
        switch ((AttributeRecordType)(uint)Layout.Read<UInt32BE>(data))
        {
            case AttributeRecordType.ForkData:
                FinishAttributes();
                (_attributeKey, _attribute, _attributeRuns) = (node.Key(index).ToArray(), Layout.Read<AttributeForkData>(data), []);
                Append(_attribute.Fork.Extents);
                break;
            case AttributeRecordType.Extents:
                Append(Layout.Read<AttributeExtents>(data).Extents);
                break;
            default:
                FinishAttributes();
                break;
        }
    }

    /// <summary>To be called behind the last attribute.</summary>
    public void FinishAttributes()
    {
        if (_attributeKey.Length > 0 && Translate(_attributeRuns) is { } runs)
        {
            AttributeKey key = Layout.Read<AttributeKey>(_attributeKey);
            _attributeOwners.Add(key.FileId);
            _attributes.Add((key.FileId, NameOf(_attributeKey)));
            _attribute.Fork.Extents = RecordAt(runs, 0, out long blocks);
            _attributeRecords.Add((_attributeKey, Layout.ToBytes(_attribute)));
            for (int i = HfsPlusConstants.ExtentsPerRecord; i < runs.Count; i += HfsPlusConstants.ExtentsPerRecord)
            {
                key.StartBlock = (uint)blocks;
                byte[] bytes = [.. _attributeKey];
                Layout.Write(bytes, key);
                var record =
                    new AttributeExtents { RecordType = (uint)AttributeRecordType.Extents, Extents = RecordAt(runs, i, out long more) };
                _attributeRecords.Add((bytes, Layout.ToBytes(record)));
                blocks += more;
            }
        }

        _attributeKey = [];
    }

    /// <summary>The new records of the extents-overflow file.</summary>
    /// <param name="tree">The old file.</param>
    public RewrittenRecords ExtentsOf(BTreeFile tree)
    {
        var keys = new ExtentKeys();
        _extents.Sort((a, b) => keys.Compare(a.Key, b.Key));
        return new(tree, keys, IsDropped, _extents);

        bool IsDropped(ReadOnlySpan<byte> bytes)
        {
            ExtentKey key = Layout.Read<ExtentKey>(bytes);
            return _changed.Contains((key.FileId, key.ForkType));
        }
    }

    /// <summary>The new records of the attributes file.</summary>
    /// <param name="tree">The old file.</param>
    public RewrittenRecords AttributesOf(BTreeFile tree)
    {
        return new(tree, new AttributeKeys(), IsDropped, _attributeRecords);

        bool IsDropped(ReadOnlySpan<byte> bytes)
        {
            uint id = Layout.Read<AttributeKey>(bytes).FileId;
            return _attributeOwners.Contains(id) && _attributes.Contains((id, NameOf(bytes)));
        }
    }

    /// <summary>A record of extents.</summary>
    /// <param name="runs">All extents of a fork.</param>
    /// <param name="index">The first of the record.</param>
    /// <param name="blocks">Receives the blocks of the record.</param>
    private static ExtentRecord RecordAt(IReadOnlyList<BlockRange> runs, int index, out long blocks)
    {
        ExtentRecord record = default;
        blocks = 0;
        for (int i = 0; i < HfsPlusConstants.ExtentsPerRecord && index + i < runs.Count; i++)
        {
            BlockRange run = runs[index + i];
            record[i] = new ExtentDescriptor { StartBlock = (uint)run.Start, BlockCount = (uint)run.Count };
            blocks += run.Count;
        }

        return record;
    }

    private static long CountOf(in ExtentRecord record)
    {
        long blocks = 0;
        for (int i = 0; i < HfsPlusConstants.ExtentsPerRecord && record[i].BlockCount != 0; i++) blocks += record[i].BlockCount;
        return blocks;
    }

    private static string NameOf(ReadOnlySpan<byte> attributeKey) =>
        CatalogRecordKey.ReadName(attributeKey[Unsafe.SizeOf<AttributeKey>()..]);

    private void Append(in ExtentRecord record)
    {
        for (int i = 0; i < HfsPlusConstants.ExtentsPerRecord && record[i].BlockCount != 0; i++)
            _attributeRuns.Add(new(record[i].StartBlock, record[i].BlockCount));
    }

    // Null when nothing of it moves. What comes to lie next to each other becomes one extent.
    private List<BlockRange>? Translate(IReadOnlyList<BlockRange> runs)
    {
        List<BlockRange>? result = null;
        for (int i = 0; i < runs.Count; i++)
        {
            BlockRange run = runs[i];
            int move = FirstEndingBehind(run.Start);
            if (result is null && (move == moves.Count || moves[move].From >= run.End)) continue;
            result ??= [.. runs.Take(i)];
            for (long at = run.Start; at < run.End;)
            {
                bool moved = move < moves.Count && moves[move].From <= at;
                long end = Math.Min(run.End, move == moves.Count ? run.End : moved ? moves[move].Old.End : moves[move].From);
                Add(result, new(moved ? at - moves[move].From + moves[move].To : at, end - at));
                at = end;
                if (moved) move++;
            }
        }

        return result;
    }

    private static void Add(List<BlockRange> runs, BlockRange run)
    {
        if (runs.Count > 0 && runs[^1].End == run.Start) runs[^1] = runs[^1] with { Count = runs[^1].Count + run.Count };
        else runs.Add(run);
    }

    private int FirstEndingBehind(long block)
    {
        int low = 0, high = moves.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (moves[middle].Old.End > block) high = middle;
            else low = middle + 1;
        }

        return low;
    }
}
