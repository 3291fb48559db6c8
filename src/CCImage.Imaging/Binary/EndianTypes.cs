using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace CCImage.Binary;

// Integers as they lie on disk. A struct of such fields, in order and packed, *is* the layout of the structure, on every host.

/// <summary>A big-endian 16-bit unsigned integer.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal readonly struct UInt16BE
{
    private readonly ushort _raw;

    private UInt16BE(ushort value) => _raw = BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;

    public static implicit operator ushort(UInt16BE v) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(v._raw) : v._raw;

    public static implicit operator UInt16BE(ushort v) => new(v);

    public override string ToString() => ((ushort)this).ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>A big-endian 32-bit unsigned integer.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal readonly struct UInt32BE
{
    private readonly uint _raw;

    private UInt32BE(uint value) => _raw = BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;

    public static implicit operator uint(UInt32BE v) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(v._raw) : v._raw;

    public static implicit operator UInt32BE(uint v) => new(v);

    public override string ToString() => ((uint)this).ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>A big-endian 64-bit unsigned integer.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal readonly struct UInt64BE
{
    private readonly ulong _raw;

    private UInt64BE(ulong value) => _raw = BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;

    public static implicit operator ulong(UInt64BE v) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(v._raw) : v._raw;

    public static implicit operator UInt64BE(ulong v) => new(v);

    public override string ToString() => ((ulong)this).ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>A little-endian 16-bit unsigned integer.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal readonly struct UInt16LE
{
    private readonly ushort _raw;

    private UInt16LE(ushort value) => _raw = BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value);

    public static implicit operator ushort(UInt16LE v) => BitConverter.IsLittleEndian ? v._raw : BinaryPrimitives.ReverseEndianness(v._raw);

    public static implicit operator UInt16LE(ushort v) => new(v);

    public override string ToString() => ((ushort)this).ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>A little-endian 32-bit unsigned integer.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal readonly struct UInt32LE
{
    private readonly uint _raw;

    private UInt32LE(uint value) => _raw = BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value);

    public static implicit operator uint(UInt32LE v) => BitConverter.IsLittleEndian ? v._raw : BinaryPrimitives.ReverseEndianness(v._raw);

    public static implicit operator UInt32LE(uint v) => new(v);

    public override string ToString() => ((uint)this).ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>A little-endian 64-bit unsigned integer.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal readonly struct UInt64LE
{
    private readonly ulong _raw;

    private UInt64LE(ulong value) => _raw = BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value);

    public static implicit operator ulong(UInt64LE v) => BitConverter.IsLittleEndian ? v._raw : BinaryPrimitives.ReverseEndianness(v._raw);

    public static implicit operator UInt64LE(ulong v) => new(v);

    public override string ToString() => ((ulong)this).ToString(System.Globalization.CultureInfo.InvariantCulture);
}
