using CCImage.Components;

namespace CCImage.Compression;

/// <summary>Codecs that come from a package.</summary>
internal interface IExternalCodecs
{
    /// <summary>Compresses to one bzip2 stream.</summary>
    /// <param name="source">The plain bytes.</param>
    /// <param name="destination">Room for the stream.</param>
    /// <param name="level">Block size in units of 100,000 bytes, 1 to 9.</param>
    /// <returns>Bytes written, or 0 when the stream is longer than the room.</returns>
    int CompressBzip2(ReadOnlySpan<byte> source, Span<byte> destination, int level);

    /// <summary>Decompresses one bzip2 stream that yields exactly the bytes of the destination.</summary>
    /// <param name="source">The stream.</param>
    /// <param name="destination">Room for the plain bytes; filled to the last one.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="InvalidDataException">The stream is damaged, or yields fewer or more bytes.</exception>
    void DecompressBzip2(ReadOnlySpan<byte> source, Span<byte> destination, CancellationToken cancellation);
}

/// <summary>The way to the codecs that are not ours.</summary>
internal static class ExternalCodecs
{
    private static readonly Lazy<IExternalCodecs> Loaded =
        new(() => ExternalComponent.Load<IExternalCodecs>("CCImage.Private.SharpZipLibCodecs", "the bzip2 codec"));

    /// <summary>The codecs.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/> when the assembly is not there.</exception>
    public static IExternalCodecs Current => Loaded.Value;
}
