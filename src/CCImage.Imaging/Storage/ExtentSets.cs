namespace CCImage.Storage;

/// <summary>Ranges of bytes as sets: each list ascends, and its ranges neither overlap nor touch unless said otherwise.</summary>
internal static class ExtentSets
{
    /// <summary>What is in one list and not in another.</summary>
    /// <param name="ranges">The list: ascending, not overlapping.</param>
    /// <param name="without">What is taken away: ascending, not overlapping.</param>
    /// <returns>What is left, with the kinds it had.</returns>
    public static List<StorageExtent> Subtract(IReadOnlyList<StorageExtent> ranges, IReadOnlyList<StorageExtent> without)
    {
        var left = new List<StorageExtent>();
        int next = 0;
        foreach (StorageExtent range in ranges)
        {
            while (next < without.Count && without[next].End <= range.Offset) next++;
            long at = range.Offset;
            for (int i = next; i < without.Count && without[i].Offset < range.End; i++)
            {
                if (without[i].Offset > at) left.Add(range with { Offset = at, Length = without[i].Offset - at });
                at = Math.Max(at, without[i].End);
            }

            if (at < range.End) left.Add(range with { Offset = at, Length = range.End - at });
        }

        return left;
    }

    /// <summary>Ranges in any order as one list, in which what overlaps or touches is one.</summary>
    /// <param name="ranges">The ranges.</param>
    public static List<StorageExtent> Union(IReadOnlyList<StorageExtent> ranges)
    {
        var union = new List<StorageExtent>();
        foreach (StorageExtent range in ranges.OrderBy(r => r.Offset))
        {
            if (union is [.., var last] && last.End >= range.Offset)
                union[^1] = last with { Length = Math.Max(last.End, range.End) - last.Offset };
            else union.Add(range);
        }

        return union;
    }

    /// <summary>What two lists have in common, with the kinds of the first.</summary>
    /// <param name="ranges">The first list: ascending, not overlapping.</param>
    /// <param name="with">The second.</param>
    public static List<StorageExtent> Intersect(IReadOnlyList<StorageExtent> ranges, IReadOnlyList<StorageExtent> with)
    {
        var common = new List<StorageExtent>();
        for (int i = 0, j = 0; i < ranges.Count && j < with.Count;)
        {
            long from = Math.Max(ranges[i].Offset, with[j].Offset), to = Math.Min(ranges[i].End, with[j].End);
            if (to > from) common.Add(ranges[i] with { Offset = from, Length = to - from });
            if (ranges[i].End < with[j].End) i++;
            else j++;
        }

        return common;
    }

    /// <summary>Bytes of all ranges.</summary>
    /// <param name="ranges">A list.</param>
    public static long Bytes(IEnumerable<StorageExtent> ranges) => ranges.Sum(r => r.Length);
}
