using System.Numerics;

namespace CCImage.Checksums;

/// <summary>
/// The CRC-32 of zlib, GPT and UDIF: polynomial 0x04C11DB7, reflected, begun and ended with all bits inverted
/// (ISO 3309, ITU-T V.42; "123456789" gives 0xCBF43926).
/// <para>
/// A checksum is a polynomial of degree below 32 over GF(2), reflected: bit 31 is x^0. Appending n bytes multiplies by x^(8n) modulo the
/// polynomial, which is what <see cref="Combine"/> and <see cref="OfZeros"/> use instead of touching the bytes.
/// </para>
/// </summary>
internal static class Crc32
{
    private const uint Polynomial = 0xEDB88320;

    private static readonly uint[] PowersOfX = MakePowersOfX();

    /// <summary>The checksum of some bytes.</summary>
    /// <param name="bytes">The bytes.</param>
    public static uint Of(ReadOnlySpan<byte> bytes) => ExternalChecksums.Current.Crc32(bytes);

    /// <summary>The checksum of what <paramref name="crc"/> covers, followed by some bytes.</summary>
    /// <param name="crc">Checksum so far; 0 for nothing.</param>
    /// <param name="bytes">The bytes that follow.</param>
    public static uint Append(uint crc, ReadOnlySpan<byte> bytes) => crc == 0 ? Of(bytes) : Combine(crc, Of(bytes), bytes.Length);

    /// <summary>The checksum of A followed by B, in O(log length).</summary>
    /// <param name="crcA">Checksum of A.</param>
    /// <param name="crcB">Checksum of B.</param>
    /// <param name="lengthB">Length of B in bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative.</exception>
    public static uint Combine(uint crcA, uint crcB, long lengthB) => Multiply(PowerOfX8(lengthB), crcA) ^ crcB;

    /// <summary>The checksum of zeros, in O(log length).</summary>
    /// <param name="length">How many bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative.</exception>
    public static uint OfZeros(long length) => ~Multiply(PowerOfX8(length), uint.MaxValue);

    /// <summary>x^(8 · length): the product of x^(2^k) over the bits of the exponent. The powers repeat: x^(2^32) = x.</summary>
    private static uint PowerOfX8(long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        uint product = 1u << 31;
        for (ulong rest = (ulong)length; rest != 0; rest &= rest - 1)
            product = Multiply(PowersOfX[(BitOperations.TrailingZeroCount(rest) + 3) & 31], product);
        return product;
    }

    private static uint Multiply(uint a, uint b)
    {
        uint product = 0;
        for (uint bit = 1u << 31; bit != 0; bit >>= 1)
        {
            if ((a & bit) != 0) product ^= b;
            b = (b >> 1) ^ ((b & 1) != 0 ? Polynomial : 0);
        }

        return product;
    }

    private static uint[] MakePowersOfX()
    {
        uint[] powers = new uint[32];
        powers[0] = 1u << 30; // x
        for (int i = 1; i < powers.Length; i++) powers[i] = Multiply(powers[i - 1], powers[i - 1]);
        return powers;
    }
}
