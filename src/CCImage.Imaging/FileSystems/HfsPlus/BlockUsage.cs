using System.Runtime.InteropServices;
using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>What a run of blocks is used for.</summary>
internal enum BlockUse : byte
{
    /// <summary>Boot blocks and the two volume headers.</summary>
    Reserved,

    /// <summary>A special file of the volume header.</summary>
    SpecialFile,

    /// <summary>A data fork.</summary>
    Data,

    /// <summary>A resource fork.</summary>
    Resource,

    /// <summary>The value of an extended attribute.</summary>
    Attribute,

    /// <summary>Blocks the medium cannot keep.</summary>
    BadBlocks,
}

/// <summary>A run of allocation blocks and whose it is.</summary>
/// <param name="Start">First block.</param>
/// <param name="Count">Blocks.</param>
/// <param name="Owner">Catalog node id.</param>
/// <param name="Use">What for.</param>
internal readonly record struct UsedRun(uint Start, uint Count, uint Owner, BlockUse Use)
{
    /// <summary>The block behind it.</summary>
    public long End => (long)Start + Count;

    /// <inheritdoc/>
    public override string ToString() => Use switch
    {
        BlockUse.Reserved => "the volume header and its copy",
        BlockUse.BadBlocks => "the list of bad blocks",
        BlockUse.SpecialFile => $"the special file {Owner}",
        BlockUse.Attribute => $"an attribute of {Owner}",
        BlockUse.Resource => $"the resource fork of file {Owner}",
        _ => $"the data fork of file {Owner}",
    };
}

/// <summary>
/// The blocks that the structures of a volume say they use. A sorted list of runs, so that memory follows the number of extents and not the
/// size of the volume: 16 bytes each.
/// </summary>
internal sealed class BlockUsage
{
    private readonly List<UsedRun> _runs = [];

    /// <summary>Notes a run.</summary>
    /// <param name="run">Inside the volume, not empty.</param>
    public void Add(UsedRun run) => _runs.Add(run);

    /// <summary>Sorts and merges the runs. Only then the other questions can be asked.</summary>
    /// <param name="onShared">Receives each two runs that share blocks.</param>
    public void Seal(Action<UsedRun, UsedRun> onShared)
    {
        _runs.Sort(static (a, b) => a.Start.CompareTo(b.Start));
        Span<UsedRun> runs = CollectionsMarshal.AsSpan(_runs);
        int kept = 0;
        long end = 0;
        UsedRun furthest = default; // the one that reaches the end so far
        foreach (UsedRun run in runs)
        {
            if (kept > 0 && run.Start < end) onShared(furthest, run);
            if (kept > 0 && run.Start <= end)
            {
                ref UsedRun last = ref runs[kept - 1];
                last = last with { Count = (uint)(Math.Max(end, run.End) - last.Start) };
            }
            else
            {
                runs[kept++] = run;
            }

            if (run.End > end) (end, furthest) = (run.End, run);
        }

        _runs.RemoveRange(kept, _runs.Count - kept);
    }

    /// <summary>Whether every block of a range is used.</summary>
    /// <param name="start">First block.</param>
    /// <param name="count">Blocks.</param>
    public bool Covers(long start, long count)
    {
        int index = FirstEndingBehind(start);
        return index < _runs.Count && _runs[index].Start <= start && _runs[index].End >= start + count;
    }

    /// <summary>The runs that nobody uses, ascending.</summary>
    /// <param name="totalBlocks">Blocks of the volume.</param>
    public IEnumerable<BlockRange> Gaps(long totalBlocks)
    {
        long end = 0;
        foreach (UsedRun run in _runs)
        {
            if (run.Start > end) yield return new(end, run.Start - end);
            end = run.End;
        }

        if (end < totalBlocks) yield return new(end, totalBlocks - end);
    }

    /// <summary>Sets the bits of the used blocks, most significant bit first, as the allocation file keeps them.</summary>
    /// <param name="first">Block of the first bit; a multiple of 8.</param>
    /// <param name="bits">Cleared, then filled.</param>
    public void Render(long first, Span<byte> bits)
    {
        bits.Clear();
        long end = first + (bits.Length * 8L);
        for (int i = FirstEndingBehind(first); i < _runs.Count && _runs[i].Start < end; i++)
            Set(bits, Math.Max(_runs[i].Start, first) - first, Math.Min(_runs[i].End, end) - first);
    }

    private static void Set(Span<byte> bits, long from, long to)
    {
        for (; from < to && from % 8 != 0; from++) bits[(int)(from / 8)] |= (byte)(0x80 >> (int)(from % 8));
        if (to - from >= 8)
        {
            bits[(int)(from / 8)..(int)(to / 8)].Fill(0xFF);
            from = to / 8 * 8;
        }

        for (; from < to; from++) bits[(int)(from / 8)] |= (byte)(0x80 >> (int)(from % 8));
    }

    // Index of the first merged run that ends behind a block.
    private int FirstEndingBehind(long block)
    {
        int low = 0, high = _runs.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_runs[middle].End > block) high = middle;
            else low = middle + 1;
        }

        return low;
    }
}
