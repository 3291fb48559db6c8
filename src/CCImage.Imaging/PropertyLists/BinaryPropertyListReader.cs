using System.Buffers.Binary;
using System.Text;

namespace CCImage.PropertyLists;

/// <summary>
/// Reads the binary form of a property list. Layout (from the public sources of Core Foundation, <c>CFBinaryPList.c</c>): <c>bplist00</c>,
/// objects, a table of their offsets, and a trailer of 32 bytes: 6 unused, size of an offset, size of a reference, number of objects (8),
/// number of the outermost object (8), offset of the table (8); big-endian throughout.
/// </summary>
/// <param name="bytes">The whole property list.</param>
internal sealed class BinaryPropertyListReader(byte[] bytes)
{
    private const int TrailerSize = 32;

    private static readonly DateTime Epoch = new(2001, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    private int _offsetSize;
    private int _referenceSize;
    private long _objectCount;
    private long _tableOffset;
    private long _budget;
    private int _nodes;

    /// <summary>Whether the bytes begin as a binary property list does.</summary>
    /// <param name="bytes">The bytes.</param>
    public static bool IsMatch(ReadOnlySpan<byte> bytes) => bytes.StartsWith("bplist0"u8);

    /// <summary>Reads the outermost value.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public PropertyListNode Read()
    {
        if (bytes.Length < 8 + TrailerSize) throw Bad("The binary property list is cut short.", bytes.Length);
        ReadOnlySpan<byte> trailer = bytes.AsSpan(bytes.Length - TrailerSize);
        _offsetSize = trailer[6];
        _referenceSize = trailer[7];
        _objectCount = Number(trailer.Slice(8, 8), bytes.Length - 24);
        long top = Number(trailer.Slice(16, 8), bytes.Length - 16);
        _tableOffset = Number(trailer.Slice(24, 8), bytes.Length - 8);
        long room = bytes.Length - TrailerSize - _tableOffset;
        if (_offsetSize is < 1 or > 8 || _referenceSize is < 1 or > 8 || _tableOffset < 8 || room < 0 || _objectCount > room / _offsetSize)
            throw Bad("The trailer of the binary property list is out of bounds.", bytes.Length - TrailerSize);

        // Objects may be shared, so a small file can unfold to a huge tree: texts and data count against what the file could hold by
        // itself.
        _budget = 4L * bytes.Length;
        return ReadObject(top, 1);
    }

    private PropertyListNode ReadObject(long number, int depth)
    {
        if (number >= _objectCount) throw Bad($"There is no object {number}.", _tableOffset);

        // Cycles end here as well: nothing is deeper than this or has more values.
        if (depth > PropertyListReader.MaximumDepth + 1) throw Bad("The property list is too deep, or contains itself.", _tableOffset);
        if (++_nodes > PropertyListReader.MaximumNodes) throw Bad("The property list holds too many values.", _tableOffset);
        long at = Number(Slice(_tableOffset + (number * _offsetSize), _offsetSize), _tableOffset);
        if (at < 8 || at >= _tableOffset) throw Bad($"The object {number} is out of bounds.", _tableOffset);
        byte marker = bytes[at];
        int low = marker & 0x0F;
        switch (marker >> 4)
        {
            case 0x0 when low is 8 or 9:
                return low == 9;
            case 0x1 when low <= 3:
                ReadOnlySpan<byte> integer = Slice(at + 1, 1 << low);
                return low == 3 ? BinaryPrimitives.ReadInt64BigEndian(integer) : Number(integer, at);
            case 0x1 when low == 4:
                Int128 wide = BinaryPrimitives.ReadInt128BigEndian(Slice(at + 1, 16));
                return wide >= long.MinValue && wide <= long.MaxValue ? (long)wide : throw Bad("An integer does not fit into 64 bits.", at);
            case 0x2 when low == 2:
                return new PropertyListReal(BinaryPrimitives.ReadSingleBigEndian(Slice(at + 1, 4)));
            case 0x2 when low == 3:
                return new PropertyListReal(BinaryPrimitives.ReadDoubleBigEndian(Slice(at + 1, 8)));
            case 0x3 when low == 3:
                double seconds = BinaryPrimitives.ReadDoubleBigEndian(Slice(at + 1, 8));
                return Math.Abs(seconds) < 6e10 ? new PropertyListDate(Epoch.AddSeconds(seconds))
                    : throw Bad("A date is out of range.", at);
            case 0x4:
                long length = Count(ref at, low);
                return new PropertyListData(Charged(at, length).ToArray());
            case 0x5:
                length = Count(ref at, low);
                return Encoding.ASCII.GetString(Charged(at, length));
            case 0x6:
                length = Count(ref at, low);
                return Encoding.BigEndianUnicode.GetString(Charged(at, length * 2));
            case 0xA:
                return ReadArray(at, low, depth);
            case 0xD:
                return ReadDictionary(at, low, depth);
            default:
                throw Bad($"An object of the unknown kind 0x{marker:x2}.", at);
        }
    }

    private PropertyListArray ReadArray(long at, int low, int depth)
    {
        long count = Count(ref at, low);
        ReadOnlySpan<byte> references = Slice(at, count * _referenceSize);
        var items = new List<PropertyListNode>();
        for (long i = 0; i < count; i++) items.Add(ReadObject(Reference(references, i, at), depth + 1));
        return new PropertyListArray(items);
    }

    private PropertyListDictionary ReadDictionary(long at, int low, int depth)
    {
        long count = Count(ref at, low);
        ReadOnlySpan<byte> references = Slice(at, count * _referenceSize * 2);
        var dictionary = new PropertyListDictionary();
        for (long i = 0; i < count; i++)
        {
            if (ReadObject(Reference(references, i, at), depth + 1) is not PropertyListString key) throw Bad("A key is not a string.", at);
            dictionary[key.Value] = ReadObject(Reference(references, count + i, at), depth + 1);
        }

        return dictionary;
    }

    private long Reference(ReadOnlySpan<byte> references, long index, long at) =>
        Number(references.Slice((int)(index * _referenceSize), _referenceSize), at);

    /// <summary>The count of a marker, 15 meaning that an integer object follows; moves <paramref name="at"/> to the content.</summary>
    private long Count(ref long at, int low)
    {
        long marker = at++;
        if (low < 15) return low;
        byte kind = Slice(at++, 1)[0];
        if (kind >> 4 != 1 || (kind & 15) > 3) throw Bad("A count is not an integer.", marker);
        int size = 1 << (kind & 15);
        long count = Number(Slice(at, size), marker);
        at += size;
        return count <= bytes.Length ? count : throw Bad("A count is larger than the property list.", marker);
    }

    private ReadOnlySpan<byte> Charged(long at, long length)
    {
        ReadOnlySpan<byte> content = Slice(at, length);
        _budget -= length;
        return _budget >= 0 ? content : throw Bad("The property list unfolds to far more than its size.", at);
    }

    private ReadOnlySpan<byte> Slice(long at, long length) => length <= bytes.Length - TrailerSize - at
        ? bytes.AsSpan((int)at, (int)length)
        : throw Bad("An object leaves the property list.", at);

    private static long Number(ReadOnlySpan<byte> digits, long at)
    {
        ulong value = 0;
        foreach (byte digit in digits) value = (value << 8) | digit;
        return value <= long.MaxValue ? (long)value : throw Bad("A number is out of range.", at);
    }

    private static ImageException Bad(string message, long at) => PropertyListReader.Damaged(message, $"byte {at}");
}
