using System.Diagnostics;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Platform;
using CCImage.Restoring;
using CCImage.Sources;

namespace CCImage;

/// <summary>The request to extract files from an image.</summary>
public sealed record ImageRestoreRequest
{
    /// <summary>The image, as a full path.</summary>
    public required string Path { get; init; }

    /// <summary>Opens the image; not used where it is not encrypted. Stays the caller's.</summary>
    public Passphrase? Passphrase { get; init; }

    /// <summary>The folder to restore into, as a full path; made when it does not exist.</summary>
    public required string DestinationPath { get; init; }

    /// <summary>Number of the volume among the image's volumes, from 1; null for the only one that can be read.</summary>
    public int? Volume { get; init; }

    /// <summary>Paths or wildcard patterns in the volume to restore (see <see cref="Sources.PathPatterns"/>); empty for everything.</summary>
    public IReadOnlyList<string> Include { get; init; } = [];

    /// <summary>Whether to replace files that exist.</summary>
    public bool Overwrite { get; init; }
}

/// <summary>What a restore did.</summary>
/// <param name="Path">The image.</param>
/// <param name="DestinationPath">Where the files are.</param>
/// <param name="Entries">Entries restored.</param>
/// <param name="Bytes">Bytes of content written.</param>
/// <param name="Duration">Wall time.</param>
/// <param name="Warnings">What could not be restored as it was, and why.</param>
public sealed record ImageRestoreResult(
    string Path, string DestinationPath, long Entries, long Bytes, TimeSpan Duration, IReadOnlyList<ImagingWarning> Warnings);

/// <summary>Extracts the files of a volume to a folder of the host, never outside it.</summary>
public static class ImageRestore
{
    /// <summary>Restores.</summary>
    /// <param name="request">What to where.</param>
    /// <param name="observer">Hears of progress and of what could not be kept.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The image cannot be read, or the destination not written.</exception>
    public static ImageRestoreResult Run(ImageRestoreRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        using DiskImage image = DiskImage.Open(request.Path, request.Passphrase);
        using SourceTree tree = image.ReadTree(request.Volume, cancellation);
        var options = new TreeRestoreOptions { DestinationPath = request.DestinationPath, Include = request.Include, Overwrite = request.Overwrite };
        TreeRestoreReport report = TreeRestorer.Restore(tree, options, HostPlatform.Current, observer, cancellation);
        image.CheckUnchanged();
        return new(request.Path, request.DestinationPath, report.Entries, report.Bytes, clock.Elapsed, report.Warnings);
    }
}
