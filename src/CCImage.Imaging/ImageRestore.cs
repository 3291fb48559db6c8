using System.Diagnostics;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Platform;
using CCImage.Restoring;
using CCImage.Sources;
using CCImage.Storage;

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

    /// <summary>Paths or wildcard patterns in the volume to restore (see <see cref="Sources.PathPatterns"/>); empty for
    /// everything.</summary>
    public IReadOnlyList<string> Include { get; init; } = [];

    /// <summary>
    /// Paths of single entries to restore, as they are written (<see cref="BackupImageItem.ItemPath"/>): a folder without what lies in it,
    /// unless that is among them too. Null for no such choice.
    /// </summary>
    public IReadOnlyCollection<string>? Items { get; init; }

    /// <summary>Whether to replace files that exist.</summary>
    public bool Overwrite { get; init; }

    /// <summary>Whose the files become. Null: as root their owner's in the image, otherwise the user's who restores, but for groups that he
    /// may give.</summary>
    public RestoreOwnership? Ownership { get; init; }

    /// <summary>
    /// Whether the image may come from a stranger: no owners, no set-user and set-group bits, no devices, no access control lists, none of
    /// the attributes that give rights.
    /// </summary>
    public bool IsUntrusted { get; init; }

    /// <summary>What is to be restored.</summary>
    internal EntryChoice Choice => new(Include, Items);
}

/// <summary>What a restore did.</summary>
/// <param name="Path">The image.</param>
/// <param name="DestinationPath">Where the files are.</param>
/// <param name="Entries">Entries restored.</param>
/// <param name="Bytes">Bytes of content written; holes are not written.</param>
/// <param name="Duration">Wall time.</param>
/// <param name="Warnings">What could not be restored as it was, and why.</param>
public sealed record ImageRestoreResult(
    string Path, string DestinationPath, long Entries, long Bytes, TimeSpan Duration, IReadOnlyList<ImagingWarning> Warnings)
{
    /// <summary>Entries restored.</summary>
    public long Restored => Entries;

    /// <summary>Entries that were to be restored and were not, or without their content.</summary>
    public long Failed { get; init; }

    /// <summary>Entries left alone because something of their name exists at the destination.</summary>
    public long Skipped { get; init; }

    /// <summary>Entries that were not asked for.</summary>
    public long Excluded { get; init; }

    /// <summary>Pieces of metadata that the host did not take; that is no failure.</summary>
    public long MetadataLost { get; init; }

    /// <summary>What the result lacks, as an error; null when everything that was asked for is there.</summary>
    public ImageException? Shortfall { get; init; }

    /// <summary>Why content that was restored is in doubt (checksums that do not fit, parts of the disk that are not stored); null when
    /// nothing is known against it.</summary>
    public ImageException? Doubt { get; init; }
}

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
        using DiskImage image = DiskImage.Open(request.Path, request.Passphrase, cancellation);
        using ReadingStop.Scope scope = image.Container.Stop.By(cancellation);
        var recorder = new WarningRecorder(observer);
        var doubts = RestoreDoubts.Begin(image, request, recorder, cancellation);
        using SourceTree tree = image.ReadTree(request.Volume, cancellation);
        var options = new TreeRestoreOptions
        {
            DestinationPath = request.DestinationPath, Include = request.Include, Items = request.Items, Overwrite = request.Overwrite,
            Ownership = request.Ownership, IsUntrusted = request.IsUntrusted, IsSourceGone = () => image.Container.IsGone(),
        };
        foreach (ImagingWarning omission in tree.Omissions) observer.OnWarning(omission);
        TreeRestoreReport report = TreeRestorer.Restore(tree, options, HostPlatform.Current, observer, cancellation);
        // what the volume itself has lost
        report = report with { Failed = report.Failed + tree.OmittedCount, Warnings = [.. tree.Omissions, .. report.Warnings] };
        image.CheckUnchanged();
        ImageException? doubt = doubts.Complete(tree, cancellation);
        IReadOnlyList<ImagingWarning> lost = recorder.Of(ImagingWarningKind.ContentLost);
        return new(request.Path, request.DestinationPath, report.Entries, report.Bytes, clock.Elapsed, [.. lost, .. report.Warnings])
        {
            Failed = report.Failed, Skipped = report.Skipped, Excluded = report.Excluded, MetadataLost = report.MetadataLost,
            Doubt = doubt, Shortfall = Join(ShortfallOf(request, report), doubt),
        };
    }

    // One error a job: what is missing, and what is in doubt.
    private static ImageException? Join(ImageException? shortfall, ImageException? doubt) => shortfall is null || doubt is null
        ? shortfall ?? doubt
        : new(ImageErrorId.RestoredInPart, $"{shortfall.Problem} {doubt.Problem}", shortfall.Path, remedy: shortfall.Remedy,
            innerException: doubt);

    /// <summary>What a report says as an error; null when all is there.</summary>
    /// <param name="request">What was asked for.</param>
    /// <param name="report">What came of it.</param>
    internal static ImageException? ShortfallOf(ImageRestoreRequest request, TreeRestoreReport report)
    {
        string left = $"{report.Skipped} files exist at the destination and were left alone";
        if (report.Failed > 0)
        {
            return new(
                ImageErrorId.RestoredInPart,
                $"{report.Failed} entries were not restored, or without their content{(report.Skipped > 0 ? ", and " + left : "")}; "
                    + $"{report.Entries} were.",
                request.Path, remedy: "The warnings name them, and the result has them in its property Warnings.");
        }

        return report.Skipped == 0 ? null : new(
            ImageErrorId.DestinationExists, $"{left}; {report.Entries} entries were restored.", request.DestinationPath,
            remedy: "Restore into an empty folder, or replace them with -Force.");
    }
}
