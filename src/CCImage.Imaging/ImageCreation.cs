using CCImage.Diagnostics;

namespace CCImage;

/// <summary>What a new image will be, before anything is written: the answer to <c>-WhatIf</c>.</summary>
/// <param name="Entries">Entries to store.</param>
/// <param name="SourceBytes">Bytes of file content.</param>
/// <param name="CapacityBytes">Size of the disk.</param>
/// <param name="ExpectedBytes">Bytes the image will take at most (before compression).</param>
/// <param name="AvailableBytes">Bytes free where it goes.</param>
public sealed record ImageCreationEstimate(long Entries, long SourceBytes, long CapacityBytes, long ExpectedBytes, long AvailableBytes);

/// <summary>
/// Makes a new image: prepares (scan, plan, check the room), and then writes. Between the two nothing has touched the destination.
/// </summary>
public sealed class ImageCreation : IDisposable
{
    private ImageCreation(ImageCreationEstimate estimate) => Estimate = estimate;

    /// <summary>What will be written.</summary>
    public ImageCreationEstimate Estimate { get; }

    /// <summary>Scans the source and plans the image.</summary>
    /// <param name="recipe">The request.</param>
    /// <param name="observer">Hears of progress and of what is skipped.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The source cannot be read, the plan does not fit, the destination is taken.</exception>
    public static ImageCreation Prepare(ImageRecipe recipe, IImagingObserver observer, CancellationToken cancellation) =>
        throw new NotImplementedException();

    /// <summary>Writes the image.</summary>
    /// <param name="cancellation">Ends it; nothing stays behind.</param>
    /// <returns>The finished image, with its report.</returns>
    public BackupImage Run(CancellationToken cancellation) => throw new NotImplementedException();

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
