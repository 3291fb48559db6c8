using System.Diagnostics;

namespace CCImage.Tests;

/// <summary>What every parser promises about malformed input: a typed error or a result, within 2 seconds and 100 MB, and nothing
/// else.</summary>
internal static class MalformedInput
{
    private const long MostMemory = 100 << 20;
    private static readonly TimeSpan s_mostTime = TimeSpan.FromSeconds(2);
    private static readonly ImageErrorId[] s_verdicts =
        [ImageErrorId.ImageDamaged, ImageErrorId.UnsupportedFormat, ImageErrorId.UnknownFormat];

    /// <summary>Reads, and holds the reader to its promise.</summary>
    /// <param name="read">Reads the malformed thing, on this thread; it may be asked to do so twice.</param>
    /// <returns>The typed error, or null.</returns>
    public static ImageException? Try(Action read)
    {
        // A second try, for a machine that was busy with something else.
        for (bool mayRepeat = true; ; mayRepeat = false)
        {
            long start = Stopwatch.GetTimestamp(), allocated = GC.GetAllocatedBytesForCurrentThread();
            ImageException? problem = null;
            try
            {
                read();
            }
            catch (ImageException e)
            {
                problem = e;
                Assert.Contains(e.Id, s_verdicts);
            }

            Assert.True(GC.GetAllocatedBytesForCurrentThread() - allocated < MostMemory, "Too much memory for malformed input.");
            if (Stopwatch.GetElapsedTime(start) < s_mostTime) return problem;
            Assert.True(mayRepeat, "Too much time for malformed input.");
        }
    }
}
