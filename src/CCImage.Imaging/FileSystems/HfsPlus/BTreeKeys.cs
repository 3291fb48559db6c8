using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>What the keys of a B-tree must look like, and their order.</summary>
internal abstract class BTreeKeys
{
    /// <summary>The longest key, without its length field, in bytes: a field of the header record.</summary>
    public abstract int MaximumLength { get; }

    /// <summary>Whether the header record must say that index nodes hold keys as short as they are.</summary>
    public virtual bool AreVariable => true;

    /// <summary>What is wrong with a key by itself, or null.</summary>
    /// <param name="key">The key, length field included.</param>
    public abstract string? FaultOf(ReadOnlySpan<byte> key);

    /// <summary>Compares two keys without fault.</summary>
    /// <param name="left">Length field included.</param>
    /// <param name="right">Length field included.</param>
    public abstract int Compare(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right);

    /// <summary>Turns stored UTF-16 units into the host's.</summary>
    /// <param name="bytes">Two bytes a unit, big-endian.</param>
    /// <param name="target">Room for them.</param>
    /// <returns>The filled part of <paramref name="target"/>.</returns>
    protected static ReadOnlySpan<char> Decode(ReadOnlySpan<byte> bytes, Span<char> target)
    {
        ReadOnlySpan<ushort> units = MemoryMarshal.Cast<byte, ushort>(bytes);
        Span<ushort> result = MemoryMarshal.Cast<char, ushort>(target)[..units.Length];
        if (BitConverter.IsLittleEndian) BinaryPrimitives.ReverseEndianness(units, result);
        else units.CopyTo(result);
        return target[..units.Length];
    }
}

/// <summary>Keys of the catalog: parent, then name.</summary>
/// <param name="isBinary">Whether names are ordered by the value of their units, as on case-sensitive volumes.</param>
internal sealed class CatalogKeys(bool isBinary) : BTreeKeys
{
    /// <inheritdoc/>
    public override int MaximumLength => 516;

    /// <inheritdoc/>
    public override string? FaultOf(ReadOnlySpan<byte> key)
    {
        int size = Unsafe.SizeOf<CatalogKey>();
        if (key.Length < size) return $"a key of {key.Length} bytes";
        CatalogKey fields = Layout.Read<CatalogKey>(key);
        if (fields.NameLength > HfsPlusConstants.MaximumNameLength) return $"a name of {fields.NameLength} units in its key";
        return key.Length != size + (fields.NameLength * sizeof(char))
            ? $"a key of {key.Length} bytes for a name of {fields.NameLength} units" : null;
    }

    /// <inheritdoc/>
    public override int Compare(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right)
    {
        int order = ((uint)Layout.Read<CatalogKey>(left).ParentId).CompareTo(Layout.Read<CatalogKey>(right).ParentId);
        if (order != 0) return order;
        Span<char> a = stackalloc char[HfsPlusConstants.MaximumNameLength], b = stackalloc char[HfsPlusConstants.MaximumNameLength];
        int size = Unsafe.SizeOf<CatalogKey>();
        ReadOnlySpan<char> leftName = Decode(left[size..], a), rightName = Decode(right[size..], b);
        return isBinary ? HfsPlusUnicode.CompareBinary(leftName, rightName) : HfsPlusUnicode.CompareFolded(leftName, rightName);
    }
}

/// <summary>Keys of the extents-overflow file: file, fork, first block.</summary>
internal sealed class ExtentKeys : BTreeKeys
{
    /// <inheritdoc/>
    public override int MaximumLength => 10;

    /// <inheritdoc/>
    public override bool AreVariable => false;

    /// <inheritdoc/>
    public override string? FaultOf(ReadOnlySpan<byte> key)
    {
        if (key.Length != Unsafe.SizeOf<ExtentKey>()) return $"a key of {key.Length} bytes";
        byte fork = Layout.Read<ExtentKey>(key).ForkType;
        return fork is not (ExtentsOverflow.DataFork or ExtentsOverflow.ResourceFork) ? $"a key for a fork of type {fork}" : null;
    }

    /// <inheritdoc/>
    public override int Compare(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right)
    {
        ExtentKey a = Layout.Read<ExtentKey>(left), b = Layout.Read<ExtentKey>(right);
        return ((uint)a.FileId, a.ForkType, (uint)a.StartBlock).CompareTo(((uint)b.FileId, b.ForkType, (uint)b.StartBlock));
    }
}

/// <summary>Keys of the attributes file: file, name, first block.</summary>
internal sealed class AttributeKeys : BTreeKeys
{
    /// <summary>The longest name of an attribute in UTF-16 units.</summary>
    public const int MaximumNameLength = 127;

    /// <inheritdoc/>
    public override int MaximumLength => 266;

    /// <inheritdoc/>
    /// <remarks>They are, but the empty trees that Mac OS X 10.4 and older made do not say so.</remarks>
    public override bool AreVariable => false;

    /// <inheritdoc/>
    public override string? FaultOf(ReadOnlySpan<byte> key)
    {
        int size = Unsafe.SizeOf<AttributeKey>();
        if (key.Length < size) return $"a key of {key.Length} bytes";
        AttributeKey fields = Layout.Read<AttributeKey>(key);
        if (fields.NameLength == 0 || fields.NameLength > MaximumNameLength)
            return $"an attribute name of {fields.NameLength} units in its key";
        return key.Length != size + (fields.NameLength * sizeof(char))
            ? $"a key of {key.Length} bytes for a name of {fields.NameLength} units" : null;
    }

    /// <inheritdoc/>
    public override int Compare(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right)
    {
        AttributeKey a = Layout.Read<AttributeKey>(left), b = Layout.Read<AttributeKey>(right);
        int order = ((uint)a.FileId).CompareTo(b.FileId);
        if (order != 0) return order;
        Span<char> first = stackalloc char[MaximumNameLength], second = stackalloc char[MaximumNameLength];
        int size = Unsafe.SizeOf<AttributeKey>();
        order = HfsPlusUnicode.CompareBinary(Decode(left[size..], first), Decode(right[size..], second));
        return order != 0 ? order : ((uint)a.StartBlock).CompareTo(b.StartBlock);
    }
}
