using System.Buffers.Binary;

namespace CCImage.Tests.HfsPlus;

using static EditableVolume;

/// <summary>
/// Spreads everything on a volume over all of its blocks, in pieces, with records in the extents-overflow file where eight extents are not
/// enough: as a volume looks that was in use for years. Written apart from the product's structures. Takes volumes whose forks lie in one
/// extent, as ours do.
/// </summary>
internal sealed class ScatteredVolume
{
    private readonly EditableVolume _volume;
    private readonly Random _random;
    private readonly uint[] _newBlock;
    private readonly bool[] _used;
    private readonly SortedDictionary<(uint Id, byte Fork, uint Start), List<(uint Start, uint Count)>> _overflow = [];

    private ScatteredVolume(byte[] bytes, int seed)
    {
        (_volume, _random) = (new([.. bytes]), new(seed));
        (_newBlock, _used) = (new uint[_volume.TotalBlocks], new bool[_volume.TotalBlocks]);
        int reserved = Math.Max(1, 1024 / _volume.BlockSize);
        _used.AsSpan(0, _volume.BlockSize < 1536 ? 1536 / _volume.BlockSize : 1).Fill(true);
        _used.AsSpan(_used.Length - reserved).Fill(true);
    }

    /// <summary>Scatters.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="seed">Of all choices.</param>
    /// <param name="pieces">Most pieces of a file's fork.</param>
    /// <param name="hasBadBlock">Whether a block in the last quarter cannot be kept by the medium.</param>
    public static byte[] Scatter(byte[] volume, int seed, int pieces, bool hasBadBlock = false)
    {
        var scattered = new ScatteredVolume(volume, seed);
        if (hasBadBlock) scattered.AddBadBlock();
        return scattered.Run(pieces);
    }

    private void AddBadBlock()
    {
        uint block = _volume.TotalBlocks * 7 / 8;
        _used[block] = true;
        _overflow.Add((5, 0, 0), [(block, 1)]);
        _volume.Set32(HeaderAt + 48, _volume.U32(HeaderAt + 48) - 1);
        _volume.Set32(HeaderAt + 4, _volume.U32(HeaderAt + 4) | (1 << 9)); // spared blocks
    }

    private byte[] Run(int pieces)
    {
        EditableVolume v = _volume;
        uint journal = 0, newJournal = 0, info = v.U32(HeaderAt + 12), newInfo = 0;
        if (info != 0)
        {
            journal = (uint)(v.Journal / v.BlockSize);
            newJournal = Place(journal, (uint)(v.U64(v.JournalInfo + 44) / (uint)v.BlockSize), 1, 1)[0].Start;
            newInfo = Place(info, 1, 1, 1)[0].Start;
            v.Set64(v.JournalInfo + 36, newJournal * (ulong)v.BlockSize);
        }

        foreach (int record in v.Records(CatalogTree).Select(v.Data).Where(d => v.U16(d) == 2).ToList())
        {
            ScatterFile(record + 88, 0);
            ScatterFile(record + 168, 0xFF);

            void ScatterFile(int fork, byte type)
            {
                uint start = v.U32(fork + 16);
                if (v.U32(fork + 12) == 0) return;
                if (start == journal || start == info) v.Set32(fork + 16, start == journal ? newJournal : newInfo);
                else ScatterFork(fork, v.U32(record + 8), type, pieces, 1);
            }
        }

        foreach (int fork in v.Records(AttributesTree).Select(v.Data).Where(d => v.U32(d) == 0x20).Select(d => d + 8).ToList())
            ScatterFork(fork, 0, 0, Math.Min(pieces, 8), 1);
        int[] places = [ExtentsTree, CatalogTree, AttributesTree, 112];
        List<(uint, uint)>[] special = [.. places.Select((p, i) => Place(
            v.U32(HeaderAt + p + 16), v.U32(HeaderAt + p + 12), _random.Next(1, 4), i == 3 ? 1u
            : (uint)Math.Max(1, v.NodeSize(p) / v.BlockSize)))];
        WriteOverflow();
        WriteBitmap();
        for (int i = 0; i < 4; i++) SetExtents(HeaderAt + places[i] + 16, special[i]);
        if (info != 0) v.Set32(HeaderAt + 12, newInfo);
        v.Bytes.AsSpan(HeaderAt, 512).CopyTo(v.Bytes.AsSpan(v.Alternate));

        byte[] result = [.. v.Bytes];
        for (uint block = 0; block < _newBlock.Length; block++)
        {
            if (_newBlock[block] != 0) v.Bytes.AsSpan(v.BlockAt(block), v.BlockSize).CopyTo(result.AsSpan(v.BlockAt(_newBlock[block])));
        }

        return result;
    }

    private void ScatterFork(int fork, uint id, byte type, int pieces, uint unit)
    {
        uint start = _volume.U32(fork + 16), count = _volume.U32(fork + 12);
        if (count == 0) return;
        Assert.Equal(count, _volume.U32(fork + 20));
        List<(uint Start, uint Count)> runs = Place(start, count, _random.Next(1, pieces + 1), unit);
        SetExtents(fork + 16, [.. runs.Take(8)]);
        uint done = (uint)runs.Take(8).Sum(r => r.Count);
        for (int i = 8; i < runs.Count; i += 8)
        {
            _overflow.Add((id, type, done), [.. runs.Skip(i).Take(8)]);
            done += (uint)runs.Skip(i).Take(8).Sum(r => r.Count);
        }
    }

    // New places for blocks, in at most so many pieces, each of whole units.
    private List<(uint Start, uint Count)> Place(uint old, uint count, int pieces, uint unit)
    {
        List<(uint Start, uint Count)> runs = [];
        for (int left = pieces; count > 0; left--)
        {
            uint size = left <= 1 ? count : Math.Min(count, Math.Max(1, (uint)_random.NextInt64(1, (count / unit) + 1)) * unit);
            uint start = Find(size);
            for (uint i = 0; i < size; i++, old++)
            {
                _used[start + i] = true;
                _newBlock[old] = start + i;
            }

            runs.Add((start, size));
            count -= size;
        }

        return runs;
    }

    private uint Find(uint size)
    {
        uint from = (uint)_random.Next(_used.Length);
        uint free = 0;
        for (uint i = 0; i < 2 * _used.Length; i++)
        {
            uint block = (from + i) % (uint)_used.Length;
            free = block == 0 || _used[block] ? 0 : free + 1;
            if (free == size) return block + 1 - size;
        }

        throw new InvalidOperationException("The volume is too full to be scattered so.");
    }

    private void SetExtents(int at, List<(uint Start, uint Count)> runs)
    {
        _volume.Bytes.AsSpan(at, 64).Clear();
        for (int i = 0; i < runs.Count; i++)
        {
            _volume.Set32(at + (8 * i), runs[i].Start);
            _volume.Set32(at + (8 * i) + 4, runs[i].Count);
        }
    }

    private void WriteBitmap()
    {
        Span<byte> bitmap = _volume.Bytes.AsSpan(_volume.Bitmap, (int)_volume.U64(HeaderAt + 112));
        bitmap.Clear();
        for (int i = 0; i < _used.Length; i++)
        {
            if (_used[i]) bitmap[i / 8] |= (byte)(0x80 >> (i % 8));
        }
    }

    // Leaves of 40 records from node 1 on, a root above them when there are several.
    private void WriteOverflow()
    {
        if (_overflow.Count == 0) return;
        EditableVolume v = _volume;
        int header = v.TreeHeader(ExtentsTree), leaves = (_overflow.Count + 39) / 40, used = 1 + leaves + (leaves > 1 ? 1 : 0);
        Assert.Equal(0, (int)v.U32(header + 6));
        int number = 0;
        foreach (((uint id, byte fork, uint start), List<(uint, uint)> runs) in _overflow)
        {
            int node = v.Node(ExtentsTree, (uint)(1 + (number / 40))), index = number % 40, record = node + 14 + (76 * index);
            WriteKey(record, id, fork, start);
            SetExtents(record + 12, runs);
            Describe(node, -1, 1, index + 1, 76);
            v.Set32(node, number / 40 == leaves - 1 ? 0 : (uint)(2 + (number / 40)));
            v.Set32(node + 4, (uint)(number / 40));
            if (leaves > 1 && index == 0)
            {
                int root = v.Node(ExtentsTree, (uint)(1 + leaves)), child = root + 14 + (16 * (number / 40));
                WriteKey(child, id, fork, start);
                v.Set32(child + 12, (uint)(1 + (number / 40)));
                Describe(root, 0, 2, 1 + (number / 40), 16);
            }

            number++;
        }

        v.Set16(header, leaves > 1 ? 2 : 1);
        v.Set32(header + 2, (uint)used - 1);
        v.Set32(header + 6, (uint)_overflow.Count);
        v.Set32(header + 10, 1);
        v.Set32(header + 14, (uint)leaves);
        v.Set32(header + 26, v.U32(header + 22) - (uint)used);
        for (int i = 0; i < used; i++) v.Bytes[v.Node(ExtentsTree, 0) + 248 + (i / 8)] |= (byte)(0x80 >> (i % 8));
    }

    private void WriteKey(int at, uint id, byte fork, uint start)
    {
        _volume.Set16(at, 10);
        _volume.Bytes[at + 2] = fork;
        _volume.Set32(at + 4, id);
        _volume.Set32(at + 8, start);
    }

    private void Describe(int node, sbyte kind, byte height, int records, int size)
    {
        (_volume.Bytes[node + 8], _volume.Bytes[node + 9]) = (unchecked((byte)kind), height);
        _volume.Set16(node + 10, records);
        int end = node + _volume.NodeSize(ExtentsTree);
        for (int i = 0; i <= records; i++)
            BinaryPrimitives.WriteUInt16BigEndian(_volume.Bytes.AsSpan(end - (2 * (i + 1))), (ushort)(14 + (i * size)));
    }
}
