using System.Buffers.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.Fat;

/// <summary>One file allocation table of a volume: an entry per cluster, 0 for a free one.</summary>
/// <param name="volume">The volume.</param>
/// <param name="geometry">Its geometry.</param>
/// <param name="number">Which table, from 0.</param>
internal sealed class FatTable(BlockStorage volume, FatGeometry geometry, int number)
{
    /// <summary>Entries read at once; even, so that each part of a FAT12 begins at a whole byte.</summary>
    private const int Step = 64 << 10;

    private readonly long _offset = geometry.TableOffset + (number * geometry.TableLength);

    /// <summary>Entries that exist: two and one per cluster.</summary>
    public long EntryCount { get; } = geometry.ClusterCount + ClusterRuns.First;

    /// <summary>The entry that ends a chain, and all above it.</summary>
    public uint EndOfChain => geometry.Kind switch { VolumeKind.Fat12 => 0xFF8, VolumeKind.Fat16 => 0xFFF8, _ => 0x0FFFFFF8 };

    /// <summary>One entry.</summary>
    /// <param name="index">Number of the cluster.</param>
    public uint this[uint index]
    {
        get
        {
            Span<uint> entry = stackalloc uint[2];
            entry = entry[..(int)Math.Min(2, EntryCount - (index & ~1u))];
            Read(index & ~1u, entry, stackalloc byte[8]);
            return entry[(int)(index & 1)];
        }
    }

    /// <summary>Runs of free clusters, ascending; two may touch.</summary>
    /// <param name="cancellation">Ends it.</param>
    public IEnumerable<(long First, long Count)> FreeRuns(CancellationToken cancellation = default)
    {
        uint[] entries = new uint[(int)Math.Min(Step, EntryCount)];
        byte[] buffer = new byte[entries.Length * 4];
        var runs = new List<(long First, long Count)>();
        for (long first = 0; first < EntryCount; first += Step)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(Step, EntryCount - first);
            Read(first, entries.AsSpan(0, count), buffer);
            runs.Clear();
            FindZeros(entries.AsSpan(0, count), first, runs);
            foreach ((long First, long Count) run in runs) yield return run;
        }
    }

    private static void FindZeros(ReadOnlySpan<uint> entries, long first, List<(long First, long Count)> runs)
    {
        for (int at = first == 0 ? (int)ClusterRuns.First : 0; at < entries.Length;)
        {
            int skip = entries[at..].IndexOf(0u);
            if (skip < 0) return;
            at += skip;
            int count = entries[at..].IndexOfAnyExcept(0u);
            if (count < 0) count = entries.Length - at;
            runs.Add((first + at, count));
            at += count;
        }
    }

    /// <summary>Reads a part of the table.</summary>
    /// <param name="first">The first entry; an even number.</param>
    /// <param name="entries">To be filled; all of them exist.</param>
    /// <param name="buffer">Four bytes for each.</param>
    public void Read(long first, Span<uint> entries, Span<byte> buffer)
    {
        Span<byte> bytes = buffer[..(int)(geometry.BytesOf(first + entries.Length) - geometry.BytesOf(first))];
        if (!ClusterRuns.ReadTable(volume, _offset + geometry.BytesOf(first), bytes))
        {
            entries.Clear(); // the tables of large volumes are mostly not stored
            return;
        }

        for (int i = 0; i < entries.Length; i++)
        {
            entries[i] = geometry.Kind switch
            {
                VolumeKind.Fat12 => (uint)((bytes[i * 3 / 2] | (bytes[(i * 3 / 2) + 1] << 8)) >> ((i & 1) * 4)) & 0xFFF,
                VolumeKind.Fat16 => BinaryPrimitives.ReadUInt16LittleEndian(bytes[(i * 2)..]),
                _ => BinaryPrimitives.ReadUInt32LittleEndian(bytes[(i * 4)..]) & 0x0FFFFFFF, // the upper four bits are not the table's
            };
        }
    }
}

/// <summary>Entries of a table one after the other, as chains have them: a part of the table is kept. For one thread.</summary>
/// <param name="table">The table.</param>
internal sealed class FatTableWindow(FatTable table)
{
    private const uint Size = 512;

    // Not before they are needed: most files have one cluster.
    private uint[] _entries = [];
    private byte[] _buffer = [];
    private long _first = -1;

    /// <summary>One entry.</summary>
    /// <param name="index">A cluster that exists.</param>
    public uint this[uint index]
    {
        get
        {
            uint first = index / Size * Size;
            if (first != _first)
            {
                _first = -1;
                if (_entries.Length == 0) (_entries, _buffer) = (new uint[Size], new byte[Size * sizeof(uint)]);
                table.Read(first, _entries.AsSpan(0, (int)Math.Min(Size, table.EntryCount - first)), _buffer);
                _first = first;
            }

            return _entries[index - first];
        }
    }
}
