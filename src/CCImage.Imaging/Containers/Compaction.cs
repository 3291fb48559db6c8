namespace CCImage.Containers;

/// <summary>What a compaction did to a container, or would do.</summary>
internal sealed class CompactionCounts
{
    /// <summary>Bands that are no longer stored.</summary>
    public int BandsRemoved { get; set; }

    /// <summary>Bands that lie elsewhere in the file.</summary>
    public int BandsMoved { get; set; }

    /// <summary>Bytes that became holes of the host's file system.</summary>
    public long BytesPunched { get; set; }

    /// <summary>Free bytes that stay stored: they lie in bands that are used in part, and there are no holes.</summary>
    public long KeptBytes { get; set; }
}

/// <summary>What a compaction would do, from metadata alone.</summary>
/// <param name="Counts">The steps.</param>
/// <param name="StoredBytesBefore">Bytes the image takes.</param>
/// <param name="StoredBytesAfter">Bytes it would take.</param>
internal readonly record struct CompactionEstimate(CompactionCounts Counts, long StoredBytesBefore, long StoredBytesAfter);
