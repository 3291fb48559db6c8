using CCImage.Components;

namespace CCImage.Checksums;

/// <summary>Checksums that come from a package, which uses what the processor has for them.</summary>
internal interface IExternalChecksums
{
    /// <summary>The CRC-32 of ISO 3309, as zlib, GPT and UDIF have it.</summary>
    /// <param name="bytes">The bytes.</param>
    uint Crc32(ReadOnlySpan<byte> bytes);

    /// <summary>The CRC-64 of xz.</summary>
    /// <param name="bytes">The bytes.</param>
    ulong Crc64(ReadOnlySpan<byte> bytes);
}

/// <summary>The way to the checksums that are not ours.</summary>
internal static class ExternalChecksums
{
    private static readonly Lazy<IExternalChecksums> Loaded =
        new(() => ExternalComponent.Load<IExternalChecksums>("CCImage.Private.HashingChecksums", "the checksums"));

    /// <summary>The checksums.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/> when the assembly is not there.</exception>
    public static IExternalChecksums Current => Loaded.Value;
}
