using CCImage.Storage;
namespace CCImage.Partitions;

/// <summary>Collects what a partition map says of a disk, and turns it into segments that cover the disk without a gap.</summary>
/// <param name="totalSectors">Sectors of the disk.</param>
/// <param name="firstDescriptor">Descriptor of the first segment: 0, or -1 for an Apple partition map.</param>
internal sealed class SegmentList(long totalSectors, int firstDescriptor)
{
    private readonly List<(long Start, long Count, string Name, string Type)> _parts = [];

    /// <summary>Adds a stretch; in any order. Empty ones and those that begin behind the disk are ignored, the end is cut at the
    /// disk's.</summary>
    /// <param name="start">First sector.</param>
    /// <param name="count">Sectors.</param>
    /// <param name="name">Name of the stretch.</param>
    /// <param name="type">Its type, in parentheses.</param>
    public void Add(long start, long count, string name, string type)
    {
        if (start >= 0 && start < totalSectors && count > 0) _parts.Add((start, Math.Min(count, totalSectors - start), name, type));
    }

    /// <summary>The segments, gaps filled with <c>Apple_Free</c>; or null when stretches overlap: then the disk can only be taken as a
    /// whole.</summary>
    public IReadOnlyList<DiskSegment>? Build()
    {
        _parts.Sort((a, b) => a.Start.CompareTo(b.Start));
        var segments = new List<DiskSegment>();
        long next = 0;
        foreach ((long start, long count, string name, string type) in _parts)
        {
            if (start < next) return null;
            if (start > next) Append("", "Apple_Free", next, start - next);
            Append(name, type, start, count);
            next = start + count;
        }

        if (next < totalSectors) Append("", "Apple_Free", next, totalSectors - next);
        return segments;

        void Append(string name, string type, long start, long count)
        {
            int number = segments.Count;
            segments.Add(new DiskSegment($"{name} ({type} : {number})", number - 1, start, count, number + firstDescriptor));
        }
    }
}
