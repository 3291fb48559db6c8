namespace CCImage.FileSystems;

/// <summary>
/// Which ranges of which streams of the source could not be read while they were copied. Thread-safe. Memory is bounded: beyond a number of
/// ranges in one stream the first ones are forgotten, for what counts is whether there are any, and where the last one begins.
/// </summary>
internal sealed class ContentLosses
{
    private const int MostRanges = 1024;

    private readonly Lock _gate = new();
    private readonly Dictionary<int, List<(long From, long To)>> _streams = [];
    private volatile bool _any;

    /// <summary>Whether nothing is lost.</summary>
    public bool IsEmpty => !_any;

    /// <summary>Notes a range that could not be read.</summary>
    /// <param name="stream">The stream's number.</param>
    /// <param name="from">First byte.</param>
    /// <param name="to">The first byte behind it.</param>
    public void Add(int stream, long from, long to)
    {
        if (from >= to) return;
        lock (_gate)
        {
            if (!_streams.TryGetValue(stream, out List<(long From, long To)>? ranges)) _streams.Add(stream, ranges = []);
            int at = ranges.FindIndex(r => r.To >= from);
            if (at < 0) at = ranges.Count;
            int end = at;
            for (; end < ranges.Count && ranges[end].From <= to; end++)
                (from, to) = (Math.Min(from, ranges[end].From), Math.Max(to, ranges[end].To));
            ranges.RemoveRange(at, end - at);
            ranges.Insert(at, (from, to));
            if (ranges.Count > MostRanges) ranges.RemoveAt(0);
            _any = true;
        }
    }

    /// <summary>Notes that a range was read after all.</summary>
    /// <param name="stream">The stream's number.</param>
    /// <param name="from">First byte.</param>
    /// <param name="to">The first byte behind it.</param>
    public void Remove(int stream, long from, long to)
    {
        if (!_any) return;
        lock (_gate)
        {
            if (!_streams.TryGetValue(stream, out List<(long From, long To)>? ranges)) return;
            for (int i = ranges.Count - 1; i >= 0; i--)
            {
                (long first, long behind) = ranges[i];
                if (behind <= from || first >= to) continue;
                ranges.RemoveAt(i);
                if (behind > to) ranges.Insert(i, (to, behind));
                if (first < from) ranges.Insert(i, (first, from));
            }

            if (ranges.Count == 0) _streams.Remove(stream);
        }
    }

    /// <summary>What is lost of each stream, by number: the bytes in all, and where what could be read ends.</summary>
    /// <param name="sizeOf">Gives a stream's planned length.</param>
    public SortedDictionary<int, (long LostBytes, long KeptSize)> Sum(Func<int, long> sizeOf)
    {
        var sum = new SortedDictionary<int, (long, long)>();
        lock (_gate)
        {
            foreach ((int stream, List<(long From, long To)> ranges) in _streams)
            {
                long size = sizeOf(stream);
                sum.Add(stream, (ranges.Sum(r => r.To - r.From), ranges[^1].To >= size ? ranges[^1].From : size));
            }
        }

        return sum;
    }
}
