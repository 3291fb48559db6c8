using System.Buffers.Binary;
using System.Security.Cryptography;
using CCImage.Checksums;

namespace CCImage.Compression;

/// <summary>
/// Reads .xz files ("The .xz File Format" 1.2.0 of tukaani.org): streams of blocks in LZMA2 with their checks (none, CRC-32, CRC-64,
/// SHA-256), index and footer, all of which must agree. One instance serves one thread at a time.
/// </summary>
internal sealed class XzDecoder
{
    /// <summary>A dictionary of more bytes than this is refused: no writer of images needs one larger than its runs.</summary>
    public const uint MaxDictionarySize = 256 << 20;

    private const int StreamHeaderSize = 12;
    private const int StreamFooterSize = 12;
    private const ulong Lzma2Filter = 0x21;

    private readonly Lzma2Decoder _lzma2 = new();

    private static ReadOnlySpan<byte> HeaderMagic => [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00];

    /// <summary>Decodes a whole file.</summary>
    /// <param name="source">One stream or more, with padding between and after them.</param>
    /// <param name="destination">Filled exactly.</param>
    /// <exception cref="ImageException">Damaged, or with filters other than LZMA2.</exception>
    public void Decode(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        int read = 0;
        int written = 0;
        do
        {
            DecodeStream(source, ref read, destination, ref written);

            // Stream padding: zeros, four at a time.
            while (source.Length - read >= 4 && source.Slice(read, 4).IndexOfAnyExcept((byte)0) < 0) read += 4;
        }
        while (read < source.Length);

        if (written != destination.Length) throw Damaged($"holds {written} bytes instead of {destination.Length}", read);
    }

    private static ImageException Damaged(string what, int at) =>
        ImageException.Damaged($"An xz stream {what}.", $"byte {at} of the stream");

    /// <summary>Sizes of the check by its kind; kinds are reserved in threes, so that unknown ones can be skipped.</summary>
    private static int CheckSize(int kind) => kind == 0 ? 0 : 4 << ((kind - 1) / 3);

    private void DecodeStream(ReadOnlySpan<byte> source, ref int read, Span<byte> destination, ref int written)
    {
        int start = read;
        if (source.Length - read < StreamHeaderSize) throw Damaged("is cut short", read);
        ReadOnlySpan<byte> header = source.Slice(read, StreamHeaderSize);
        if (!header.StartsWith(HeaderMagic)) throw Damaged("does not start as one", read);
        ReadOnlySpan<byte> flags = header.Slice(6, 2);
        if (Crc32.Of(flags) != BinaryPrimitives.ReadUInt32LittleEndian(header[8..]))
            throw Damaged("has a header with a wrong checksum", read);
        if (flags[0] != 0 || flags[1] > 0xF)
            throw ImageException.Unsupported("An xz stream has flags this version does not know.", place: $"byte {read} of the stream");
        int check = flags[1];
        read += StreamHeaderSize;

        // Each block takes at least eight bytes of source, so the list is bounded by it.
        var blocks = new List<(ulong UnpaddedSize, ulong PlainSize)>();
        while (read < source.Length && source[read] != 0)
            blocks.Add(DecodeBlock(source, ref read, destination, ref written, check));

        int indexStart = read;
        CheckIndex(source, ref read, blocks);
        int indexSize = read - indexStart;

        if (source.Length - read < StreamFooterSize) throw Damaged("is cut short", read);
        ReadOnlySpan<byte> footer = source.Slice(read, StreamFooterSize);
        if (footer[10] != 'Y' || footer[11] != 'Z') throw Damaged("does not end as one", read);
        if (Crc32.Of(footer.Slice(4, 6)) != BinaryPrimitives.ReadUInt32LittleEndian(footer))
            throw Damaged("has a footer with a wrong checksum", read);
        if (((long)BinaryPrimitives.ReadUInt32LittleEndian(footer[4..]) + 1) * 4 != indexSize || !footer.Slice(8, 2).SequenceEqual(flags))
            throw Damaged($"has a footer that contradicts the rest (header at byte {start})", read);
        read += StreamFooterSize;
    }

    private (ulong UnpaddedSize, ulong PlainSize) DecodeBlock(
        ReadOnlySpan<byte> source, ref int read, Span<byte> destination, ref int written, int check)
    {
        int start = read;
        int headerSize = (source[read] + 1) * 4;
        if (source.Length - read < headerSize) throw Damaged("is cut short", read);
        ReadOnlySpan<byte> header = source.Slice(read, headerSize - 4);
        if (Crc32.Of(header) != BinaryPrimitives.ReadUInt32LittleEndian(source[(read + headerSize - 4)..]))
            throw Damaged("has a block header with a wrong checksum", read);

        int flags = header[1];
        if ((flags & 0x3C) != 0)
            throw ImageException.Unsupported("An xz block has flags this version does not know.", place: $"byte {start} of the stream");
        int at = 2;
        ulong? codedSize = (flags & 0x40) != 0 ? ReadInteger(header, ref at, start) : null;
        ulong? plainSize = (flags & 0x80) != 0 ? ReadInteger(header, ref at, start) : null;
        ulong filter = ReadInteger(header, ref at, start);
        ulong propertiesSize = ReadInteger(header, ref at, start);
        if ((flags & 3) != 0 || filter != Lzma2Filter)
        {
            throw ImageException.Unsupported(
                $"An xz block uses filters other than LZMA2 (first: 0x{filter:X}).", "Convert the image with the program that wrote it.",
                $"byte {start} of the stream");
        }

        if (propertiesSize != 1 || at >= header.Length) throw Damaged("has a block with malformed LZMA2 properties", start);
        uint dictionarySize = DictionarySize(header[at++], start);
        if (header[at..].IndexOfAnyExcept((byte)0) >= 0) throw Damaged("has a block header with more than it should", start);
        read += headerSize;

        (int coded, int plain) = _lzma2.Decode(source[read..], destination[written..], dictionarySize);
        if ((codedSize is { } c && c != (ulong)coded) || (plainSize is { } u && u != (ulong)plain))
            throw Damaged("has a block whose sizes are not those of its header", start);
        ReadOnlySpan<byte> content = destination.Slice(written, plain);
        read += coded;
        written += plain;

        int padding = -coded & 3;
        int checkSize = CheckSize(check);
        if (source.Length - read < padding + checkSize) throw Damaged("is cut short", read);
        if (source.Slice(read, padding).IndexOfAnyExcept((byte)0) >= 0) throw Damaged("has a block with malformed padding", read);
        read += padding;
        VerifyCheck(check, content, source.Slice(read, checkSize), read);
        read += checkSize;
        return ((ulong)(headerSize + coded + checkSize), (ulong)plain);
    }

    private static uint DictionarySize(int code, int at)
    {
        if (code > 40) throw Damaged("has a block with an impossible dictionary size", at);
        long size = code == 40 ? uint.MaxValue : (2L | (code & 1)) << ((code >> 1) + 11);
        if (size > MaxDictionarySize)
        {
            throw ImageException.Unsupported(
                $"An xz block asks for a dictionary of {size} bytes; at most {MaxDictionarySize} are supported.",
                "Write the image again with a smaller dictionary.", $"byte {at} of the stream");
        }

        return (uint)size;
    }

    private static void VerifyCheck(int kind, ReadOnlySpan<byte> content, ReadOnlySpan<byte> stored, int at)
    {
        bool right = kind switch
        {
            1 => Crc32.Of(content) == BinaryPrimitives.ReadUInt32LittleEndian(stored),
            4 => Crc64.Of(content) == BinaryPrimitives.ReadUInt64LittleEndian(stored),
            10 => SHA256.HashData(content).AsSpan().SequenceEqual(stored),
            _ => true, // none, or a kind that nobody has defined yet
        };
        if (!right)
            throw new ImageException(ImageErrorId.ChecksumMismatch, "An xz block does not match its checksum.",
                place: $"byte {at} of the stream", remedy: "Restore the image from another copy.");
    }

    /// <summary>Reads the index, which must list the blocks as they were found.</summary>
    private static void CheckIndex(ReadOnlySpan<byte> source, ref int read, List<(ulong UnpaddedSize, ulong PlainSize)> blocks)
    {
        int start = read;
        if (read >= source.Length) throw Damaged("is cut short", read);
        read++;
        if (ReadInteger(source, ref read, start) != (ulong)blocks.Count) throw Damaged("has an index of another number of blocks", start);
        foreach ((ulong unpadded, ulong plain) in blocks)
        {
            if (ReadInteger(source, ref read, start) != unpadded || ReadInteger(source, ref read, start) != plain)
                throw Damaged("has an index that contradicts its blocks", start);
        }

        int padding = -(read - start) & 3;
        if (source.Length - read < padding + 4) throw Damaged("is cut short", read);
        if (source.Slice(read, padding).IndexOfAnyExcept((byte)0) >= 0) throw Damaged("has an index with malformed padding", read);
        read += padding;
        if (Crc32.Of(source[start..read]) != BinaryPrimitives.ReadUInt32LittleEndian(source[read..]))
            throw Damaged("has an index with a wrong checksum", start);
        read += 4;
    }

    /// <summary>An integer of one to nine bytes, seven bits each, the lowest first.</summary>
    private static ulong ReadInteger(ReadOnlySpan<byte> source, ref int at, int place)
    {
        ulong value = 0;
        for (int shift = 0; shift < 63; shift += 7)
        {
            if (at >= source.Length) throw Damaged("is cut short", place);
            byte b = source[at++];
            value |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80) return b != 0 || shift == 0 ? value : throw Damaged("has an integer with needless bytes", place);
        }

        throw Damaged("has an integer of more than 63 bits", place);
    }
}
