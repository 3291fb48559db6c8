using System.IO.Hashing;
using CCImage.Checksums;
using PackageCrc32 = System.IO.Hashing.Crc32;
using PackageCrc64 = System.IO.Hashing.Crc64;

namespace CCImage.Private;

/// <summary>Checksums by System.IO.Hashing.</summary>
internal sealed class HashingChecksums : IExternalChecksums
{
    // ECMA-182's polynomial, reflected, begun and ended with all bits inverted; the package's own Ecma182 is not.
    private static readonly Crc64ParameterSet s_xz =
        Crc64ParameterSet.Create(0x42F0_E1EB_A9EA_3693, ulong.MaxValue, ulong.MaxValue, reflectValues: true);

    /// <inheritdoc/>
    public uint Crc32(ReadOnlySpan<byte> bytes) => PackageCrc32.HashToUInt32(bytes);

    /// <inheritdoc/>
    public ulong Crc64(ReadOnlySpan<byte> bytes) => PackageCrc64.HashToUInt64(s_xz, bytes);
}
