using System.Reflection;
using CCImage.Platform;

namespace CCImage.Compression;

/// <summary>
/// What the core needs from third-party packages. The core names none of them: the one assembly that does (<c>CCImage.Private</c>) implements
/// this and is found by name.
/// </summary>
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

/// <summary>The way to the codecs that are not ours. Nothing is loaded before the first use.</summary>
internal static class ExternalCodecs
{
    private const string TypeName = "CCImage.Private.SharpZipLibCodecs";
    private static readonly Lazy<IExternalCodecs> Loaded = new(() => Load(PrivateLoadContext.Locate));

    /// <summary>The codecs.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/> when the assembly is not there.</exception>
    public static IExternalCodecs Current => Loaded.Value;

    /// <summary>Finds the implementation in whatever assembly the locator answers with.</summary>
    /// <param name="locate">Returns the assembly, or null.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/>.</exception>
    internal static IExternalCodecs Load(Func<Assembly?> locate)
    {
        Exception? cause = null;
        try
        {
            Type? type = locate()?.GetType(TypeName, throwOnError: false);
            if (type is not null && Activator.CreateInstance(type) is IExternalCodecs codecs) return codecs;
        }
        catch (Exception e) when (e is IOException or BadImageFormatException or TypeLoadException or TargetInvocationException)
        {
            cause = e;
        }

        throw new ImageException(
            ImageErrorId.ComponentMissing,
            $"The assembly {PrivateLoadContext.AssemblyName}, which holds the bzip2 codec, is not where the program was installed.",
            remedy: "Install the module again, with its folder bin/private.",
            innerException: cause);
    }
}
