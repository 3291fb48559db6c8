using CCImage.Diagnostics;

namespace CCImage;

/// <summary>The request to turn an image into a read-only one.</summary>
public sealed record ImageConversionRequest
{
    /// <summary>The image to read, as a full path.</summary>
    public required string Path { get; init; }

    /// <summary>The image to make, as a full path.</summary>
    public required string DestinationPath { get; init; }

    /// <summary>A read-only format.</summary>
    public required BackupImageFormat Format { get; init; }

    /// <summary>The codec's level; null for its default.</summary>
    public int? CompressionLevel { get; init; }

    /// <summary>Whether every byte of the disk is kept, free space included.</summary>
    public bool KeepFreeSpace { get; init; }

    /// <summary>Whether the source is deleted after the result was read back and verified.</summary>
    public bool DeleteSource { get; init; }

    /// <summary>Whether to replace an image that exists.</summary>
    public bool Overwrite { get; init; }
}

/// <summary>Turns any image that can be read into a read-only UDIF.</summary>
public static class ImageConversion
{
    /// <summary>Converts.</summary>
    /// <param name="request">What to make of what.</param>
    /// <param name="observer">Hears of progress.</param>
    /// <param name="cancellation">Ends it; nothing stays behind.</param>
    /// <returns>The new image.</returns>
    /// <exception cref="ImageException">The image cannot be read, or the result not written.</exception>
    public static BackupImage Run(ImageConversionRequest request, IImagingObserver observer, CancellationToken cancellation) =>
        throw new NotImplementedException();
}
