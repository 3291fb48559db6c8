using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>
/// A question for free space. A bitmap of a few stored bytes can describe thousands of millions of runs, so that not all of them can be
/// kept: when there are too many, the shorter ones are given up, step by step, and whoever looks for runs learns how short they may be.
/// What is given up counts as in use: what is not certain is not free.
/// </summary>
/// <param name="cancellation">Ends it.</param>
internal sealed class FreeSpaceQuery(CancellationToken cancellation = default)
{
    /// <summary>Most runs that are kept.</summary>
    public const int MostRuns = 1 << 19;

    // So that the first step makes searching fast: longer ones have a whole byte of a bitmap, whatever the usual size of a block.
    private const long FirstStep = 64 << 10;

    private long _shortest;

    /// <summary>Ends the search.</summary>
    public CancellationToken Cancellation => cancellation;

    /// <summary>The shortest run that is of use, in units.</summary>
    /// <param name="unit">Bytes of a block or cluster.</param>
    public long ShortestIn(long unit) => Layout.DivideUp(_shortest, unit);

    /// <summary>Keeps a run, or gives up the shorter half.</summary>
    /// <param name="found">Those that were kept so far.</param>
    /// <param name="extent">The run.</param>
    public void Keep(List<StorageExtent> found, StorageExtent extent)
    {
        if (extent.Length < _shortest) return;
        found.Add(extent);
        if (found.Count < MostRuns) return;
        cancellation.ThrowIfCancellationRequested();
        long[] lengths = [.. found.Select(e => e.Length)];
        Array.Sort(lengths);
        _shortest = Math.Max(lengths[lengths.Length / 2] + 1, FirstStep);
        found.RemoveAll(e => e.Length < _shortest);
    }
}
