namespace CCImage.Checksums;

/// <summary>
/// The CRC-64 of xz: ECMA-182's polynomial 0x42F0E1EBA9EA3693, reflected, begun and ended with all bits inverted
/// ("123456789" gives 0x995DC9BBDF1939FA).
/// </summary>
internal static class Crc64
{
    /// <summary>The checksum of some bytes.</summary>
    /// <param name="bytes">The bytes.</param>
    public static ulong Of(ReadOnlySpan<byte> bytes) => ExternalChecksums.Current.Crc64(bytes);
}
