using System.Buffers.Binary;

namespace CCImage.Checksums;

/// <summary>The checksum of APFS objects. Source: Apple File System Reference, "Objects", <c>o_cksum</c>.</summary>
internal static class Fletcher64
{
    private const ulong Modulus = uint.MaxValue;
    private const int WordsBetweenReductions = 4096; // both sums stay below 2^57

    /// <summary>Computes it.</summary>
    /// <param name="data">A multiple of four bytes; of an object, all that follows the checksum itself.</param>
    public static ulong Compute(ReadOnlySpan<byte> data)
    {
        ulong low = 0, high = 0;
        while (data.Length >= sizeof(uint))
        {
            int words = Math.Min(data.Length / sizeof(uint), WordsBetweenReductions);
            for (int i = 0; i < words; i++)
            {
                low += BinaryPrimitives.ReadUInt32LittleEndian(data[(i * sizeof(uint))..]);
                high += low;
            }

            (low, high) = (low % Modulus, high % Modulus);
            data = data[(words * sizeof(uint))..];
        }

        ulong first = Modulus - ((low + high) % Modulus);
        ulong second = Modulus - ((low + first) % Modulus);
        return (second << 32) | first;
    }
}
