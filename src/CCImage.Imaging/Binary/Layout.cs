using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace CCImage.Binary;

/// <summary>
/// Reads and writes structs that are declared as their disk layout (packed, endian-typed fields, <see cref="InlineArrayAttribute"/> for
/// arrays).
/// </summary>
internal static class Layout
{
    /// <summary>The structure at the start of <paramref name="source"/>.</summary>
    /// <typeparam name="T">The structure.</typeparam>
    /// <param name="source">At least its size in bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">Too few bytes; parsers check the length first and say what is cut short.</exception>
    public static T Read<T>(ReadOnlySpan<byte> source)
        where T : unmanaged => MemoryMarshal.Read<T>(source);

    /// <summary>Lays the structure down at the start of <paramref name="destination"/>.</summary>
    /// <typeparam name="T">The structure.</typeparam>
    /// <param name="destination">At least its size in bytes.</param>
    /// <param name="value">The structure.</param>
    public static void Write<T>(Span<byte> destination, in T value)
        where T : unmanaged => MemoryMarshal.Write(destination, in value);

    /// <summary>The structure at the start of <paramref name="bytes"/>, to be changed in place; bytes between its fields stay as they
    /// are.</summary>
    /// <typeparam name="T">The structure.</typeparam>
    /// <param name="bytes">At least its size in bytes.</param>
    public static ref T At<T>(Span<byte> bytes)
        where T : unmanaged => ref MemoryMarshal.AsRef<T>(bytes);

    /// <summary>The structure as a new array of its size.</summary>
    /// <typeparam name="T">The structure.</typeparam>
    /// <param name="value">The structure.</param>
    public static byte[] ToBytes<T>(in T value)
        where T : unmanaged
    {
        byte[] bytes = new byte[Unsafe.SizeOf<T>()];
        Write(bytes, in value);
        return bytes;
    }

    /// <summary>The bytes of an inline array or structure, in place.</summary>
    /// <typeparam name="T">The structure.</typeparam>
    /// <param name="value">The structure.</param>
    public static Span<byte> AsBytes<T>(ref T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new Span<T>(ref value));

    /// <summary>Divides, rounding up. Both are sizes: not negative, the divisor positive.</summary>
    /// <param name="value">Dividend.</param>
    /// <param name="unit">Divisor.</param>
    public static long DivideUp(long value, long unit) => (value / unit) + (value % unit == 0 ? 0 : 1);

    /// <summary>Rounds a size up to a multiple of <paramref name="unit"/>.</summary>
    /// <param name="value">The size.</param>
    /// <param name="unit">The unit.</param>
    public static long RoundUp(long value, long unit) => DivideUp(value, unit) * unit;
}
