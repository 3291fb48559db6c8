using System.Buffers.Binary;

namespace CCImage.Checksums;

/// <summary>
/// The CRC-64 of xz: ECMA-182's polynomial 0x42F0E1EBA9EA3693, reflected, begun and ended with all bits inverted
/// ("123456789" gives 0x995DC9BBDF1939FA).
/// </summary>
internal static class Crc64
{
    private const ulong Polynomial = 0xC96C_5795_D787_0F42;
    private const int Width = 8;

    private static readonly ulong[] Slices = MakeSlices();

    /// <summary>The checksum of some bytes.</summary>
    /// <param name="bytes">The bytes.</param>
    public static ulong Of(ReadOnlySpan<byte> bytes)
    {
        ulong[] table = Slices;
        ulong state = ulong.MaxValue;
        while (bytes.Length >= Width)
        {
            ulong word = BinaryPrimitives.ReadUInt64LittleEndian(bytes) ^ state;
            state = 0;
            for (int i = 0; i < Width; i++) state ^= table[((Width - 1 - i) << 8) + (int)((word >> (8 * i)) & 0xFF)];
            bytes = bytes[Width..];
        }

        foreach (byte b in bytes) state = (state >> 8) ^ table[(int)((state ^ b) & 0xFF)];
        return ~state;
    }

    private static ulong[] MakeSlices()
    {
        ulong[] table = new ulong[Width << 8];
        for (int i = 0; i < 256; i++)
        {
            ulong value = (ulong)i;
            for (int bit = 0; bit < 8; bit++) value = (value & 1) != 0 ? (value >> 1) ^ Polynomial : value >> 1;
            table[i] = value;
        }

        for (int i = 256; i < table.Length; i++) table[i] = (table[i - 256] >> 8) ^ table[(int)(table[i - 256] & 0xFF)];
        return table;
    }
}
