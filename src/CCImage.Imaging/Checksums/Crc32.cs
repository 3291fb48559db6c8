using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using ArmCrc32 = System.Runtime.Intrinsics.Arm.Crc32;

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

    // Multipliers that move 16 bytes ahead by 64 and by 16 bytes: x^(512+32), x^(512-32), x^(128+32), x^(128-32) modulo the polynomial,
    // reflected and shifted by one as the carry-less product of reflected operands wants it (Gopal et al., Intel, 2009, "Fast CRC
    // Computation for Generic Polynomials Using PCLMULQDQ Instruction"). The tests derive nothing from them but compare with bit by bit.
    private static readonly Vector128<ulong> By64 = Vector128.Create(0x1_5444_2BD4UL, 0x1_C6E4_1596UL);
    private static readonly Vector128<ulong> By16 = Vector128.Create(0x1_7519_97D0UL, 0x0_CCAA_009EUL);

    private static readonly uint[] Slices = MakeSlices();
    private static readonly uint[] PowersOfX = MakePowersOfX();

    /// <summary>The checksum of some bytes.</summary>
    /// <param name="bytes">The bytes.</param>
    public static uint Of(ReadOnlySpan<byte> bytes) => Append(0, bytes);

    /// <summary>The checksum of what <paramref name="crc"/> covers, followed by some bytes.</summary>
    /// <param name="crc">Checksum so far; 0 for nothing.</param>
    /// <param name="bytes">The bytes that follow.</param>
    public static uint Append(uint crc, ReadOnlySpan<byte> bytes)
    {
        uint state = ~crc;
        if (bytes.Length >= 64 && Pclmulqdq.IsSupported && BitConverter.IsLittleEndian) return ~AppendFolding(state, bytes);
        return ArmCrc32.Arm64.IsSupported ? ~AppendArm(state, bytes) : ~AppendSlicing(state, bytes);
    }

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

    /// <summary>The portable way, eight bytes a step; here so that the tests reach it on every machine.</summary>
    /// <param name="state">The inverted checksum so far.</param>
    /// <param name="bytes">The bytes that follow.</param>
    /// <returns>The inverted checksum.</returns>
    internal static uint AppendSlicing(uint state, ReadOnlySpan<byte> bytes)
    {
        ref uint table = ref MemoryMarshal.GetArrayDataReference(Slices);
        while (bytes.Length >= 8)
        {
            uint low = BinaryPrimitives.ReadUInt32LittleEndian(bytes) ^ state;
            uint high = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
            state = Unsafe.Add(ref table, (7 * 256) + (low & 0xFF))
                ^ Unsafe.Add(ref table, (6 * 256) + ((low >> 8) & 0xFF))
                ^ Unsafe.Add(ref table, (5 * 256) + ((low >> 16) & 0xFF))
                ^ Unsafe.Add(ref table, (4 * 256) + (low >> 24))
                ^ Unsafe.Add(ref table, (3 * 256) + (high & 0xFF))
                ^ Unsafe.Add(ref table, (2 * 256) + ((high >> 8) & 0xFF))
                ^ Unsafe.Add(ref table, 256 + ((high >> 16) & 0xFF))
                ^ Unsafe.Add(ref table, high >> 24);
            bytes = bytes[8..];
        }

        foreach (byte b in bytes) state = (state >> 8) ^ Unsafe.Add(ref table, (state ^ b) & 0xFF);
        return state;
    }

    // Four lanes of 16 bytes are folded 64 bytes ahead, then into one lane; that lane's 16 bytes have the remainder of all before them.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static uint AppendFolding(uint state, ReadOnlySpan<byte> bytes)
    {
        Vector128<ulong> lane0 = Load(bytes, 0) ^ Vector128.CreateScalar((ulong)state);
        Vector128<ulong> lane1 = Load(bytes, 16);
        Vector128<ulong> lane2 = Load(bytes, 32);
        Vector128<ulong> lane3 = Load(bytes, 48);
        bytes = bytes[64..];
        while (bytes.Length >= 64)
        {
            lane0 = Fold(lane0, By64) ^ Load(bytes, 0);
            lane1 = Fold(lane1, By64) ^ Load(bytes, 16);
            lane2 = Fold(lane2, By64) ^ Load(bytes, 32);
            lane3 = Fold(lane3, By64) ^ Load(bytes, 48);
            bytes = bytes[64..];
        }

        lane1 ^= Fold(lane0, By16);
        lane2 ^= Fold(lane1, By16);
        lane3 ^= Fold(lane2, By16);
        while (bytes.Length >= 16)
        {
            lane3 = Fold(lane3, By16) ^ Load(bytes, 0);
            bytes = bytes[16..];
        }

        Span<byte> rest = stackalloc byte[16];
        lane3.AsByte().CopyTo(rest);
        return AppendSlicing(AppendSlicing(0, rest), bytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Fold(Vector128<ulong> lane, Vector128<ulong> by) =>
        Pclmulqdq.CarrylessMultiply(lane, by, 0x00) ^ Pclmulqdq.CarrylessMultiply(lane, by, 0x11);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<ulong> Load(ReadOnlySpan<byte> bytes, int offset) =>
        Vector128.LoadUnsafe(ref MemoryMarshal.GetReference(bytes), (nuint)offset).AsUInt64();

    private static uint AppendArm(uint state, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length >= 8)
        {
            state = ArmCrc32.Arm64.ComputeCrc32(state, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
            bytes = bytes[8..];
        }

        foreach (byte b in bytes) state = ArmCrc32.ComputeCrc32(state, b);
        return state;
    }

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

    private static uint[] MakeSlices()
    {
        uint[] table = new uint[8 * 256];
        for (uint i = 0; i < 256; i++)
        {
            uint value = i;
            for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ ((value & 1) != 0 ? Polynomial : 0);
            table[i] = value;
        }

        for (int i = 256; i < table.Length; i++) table[i] = (table[i - 256] >> 8) ^ table[table[i - 256] & 0xFF];
        return table;
    }

    private static uint[] MakePowersOfX()
    {
        uint[] powers = new uint[32];
        powers[0] = 1u << 30; // x
        for (int i = 1; i < powers.Length; i++) powers[i] = Multiply(powers[i - 1], powers[i - 1]);
        return powers;
    }
}
