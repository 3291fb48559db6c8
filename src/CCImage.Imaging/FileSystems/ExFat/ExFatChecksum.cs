using System.Numerics;

namespace CCImage.FileSystems.ExFat;

/// <summary>The 32-bit checksum of exFAT's boot region and up-case table: rotate right by one, add the byte. Source:
/// docs/formats/exfat.md.</summary>
internal static class ExFatChecksum
{
    /// <summary>The checksum of some bytes.</summary>
    /// <param name="bytes">The bytes.</param>
    public static uint Of(ReadOnlySpan<byte> bytes) => Append(0, bytes);

    /// <summary>The checksum of what came before and more bytes.</summary>
    /// <param name="checksum">Of what came before.</param>
    /// <param name="bytes">The bytes that follow.</param>
    public static uint Append(uint checksum, ReadOnlySpan<byte> bytes)
    {
        foreach (byte octet in bytes) checksum = unchecked(BitOperations.RotateRight(checksum, 1) + octet);
        return checksum;
    }
}
