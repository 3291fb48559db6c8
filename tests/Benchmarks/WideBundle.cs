using System.Globalization;
using CCImage.Diagnostics;

namespace CCImage.Benchmarks;

/// <summary>Bundles that are large for everything but the medium: their band files are nearly all holes.</summary>
internal static class WideBundle
{
    /// <summary>Band files, as many as Time Machine lets a bundle have.</summary>
    public const int Bands = 16_000;

    private const long Capacity = 10_000_000_000_000;
    private const long BandSize = 512L << 20; // a power of two: the next would make fewer bands

    /// <summary>A bundle of 10 TB with an empty HFS+ volume.</summary>
    /// <param name="source">An empty folder.</param>
    /// <param name="path">The bundle.</param>
    public static void Make(string source, string path)
    {
        using (var creation = ImageCreation.Prepare(
            new ImageRecipe { SourcePath = source, Path = path, Format = BackupImageFormat.SparseBundle, SizeBytes = Capacity,
            BandSizeBytes = BandSize, Overwrite = true },
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

    /// <summary>A bundle of 1 TB that stores 100 GB, half of which its volume does not use.</summary>
    /// <param name="source">An empty folder; receives files of 50 GB in all, which are holes.</param>
    /// <param name="path">The bundle.</param>
    public static void MakeHalfFree(string source, string path)
    {
        const long used = 50_000_000_000, file = 500_000_000;
        for (long made = 0; made < used; made += file)
        {
            using FileStream stream = File.Create(Path.Combine(source, $"{made / file}"));
            stream.SetLength(file);
        }

        using (var creation = ImageCreation.Prepare(
            new ImageRecipe { SourcePath = source, Path = path, Format = BackupImageFormat.SparseBundle, SizeBytes = 1_000_000_000_000,
            Overwrite = true },
            SilentObserver.Instance,
            CancellationToken.None))
        {
            creation.Run(CancellationToken.None);
        }

        long bandSize = DiskImage.Inspect(path).BandSizeBytes!.Value;
        for (long i = 0; i < 2 * used / bandSize; i++)
        {
            using FileStream stream =
                new(Path.Combine(path, "bands", i.ToString("x", CultureInfo.InvariantCulture)), FileMode.OpenOrCreate);
            if (stream.Length < bandSize) stream.SetLength(bandSize);
        }
    }
}
