using System.Globalization;
using CCImage.Diagnostics;

namespace CCImage.Benchmarks;

/// <summary>A bundle of 10 TB with an empty HFS+ volume whose band files exist, nearly all of them holes.</summary>
internal static class WideBundle
{
    /// <summary>Band files, as many as Time Machine lets a bundle have.</summary>
    public const int Bands = 16_000;

    private const long Capacity = 10_000_000_000_000;
    private const long BandSize = 512L << 20; // a power of two: the next would make fewer bands

    /// <summary>Makes it.</summary>
    /// <param name="source">An empty folder.</param>
    /// <param name="path">The bundle.</param>
    public static void Make(string source, string path)
    {
        using (var creation = ImageCreation.Prepare(
            new ImageRecipe { SourcePath = source, Path = path, Format = BackupImageFormat.SparseBundle, SizeBytes = Capacity, BandSizeBytes = BandSize, Overwrite = true },
            SilentObserver.Instance,
            CancellationToken.None))
        {
            creation.Run(CancellationToken.None);
        }

        for (int i = 0; i < Bands; i++)
        {
            string band = Path.Combine(path, "bands", i.ToString("x", CultureInfo.InvariantCulture));
            if (File.Exists(band)) continue;
            using FileStream file = File.Create(band);
            file.SetLength(1 << 20);
        }
    }
}
