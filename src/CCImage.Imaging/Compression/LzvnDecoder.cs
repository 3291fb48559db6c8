using System.Buffers.Binary;

namespace CCImage.Compression;

/// <summary>
/// LZVN, the byte-oriented code inside <c>bvxn</c> blocks. Each code is one to three bytes that tell a count of literals (which follow), a
/// match length and a distance, some of them implied.
/// </summary>
internal static class LzvnDecoder
{
    private const int EndCode = 0x06;
    private const int EndCodeBytes = 8;

    /// <summary>Decodes one payload.</summary>
    /// <param name="source">The payload, end code included; it must be used up.</param>
    /// <param name="destination">The whole output so far and the room for this block; matches may reach back into earlier blocks.</param>
    /// <param name="start">Where this block's output starts; it must reach the end of <paramref name="destination"/>.</param>
    /// <exception cref="ImageException">Damaged.</exception>
    public static void Decode(ReadOnlySpan<byte> source, Span<byte> destination, int start)
    {
        int read = 0;
        int written = start;
        int distance = 0;
        while (true)
        {
            if (read >= source.Length) throw Damaged("ends without its end code", read);
            int code = source[read];
            int codeBytes = 1;
            int literals = 0;
            int match = 0;
            switch (code >> 4)
            {
                case 0xE: // literals only; a count of 0 means that it follows, less 16
                    literals = code & 0xF;
                    if (literals == 0)
                    {
                        codeBytes = 2;
                        Require(source, read, codeBytes);
                        literals = source[read + 1] + 16;
                    }

                    break;

                case 0xF: // match only, at the distance of the one before
                    match = code & 0xF;
                    if (match == 0)
                    {
                        codeBytes = 2;
                        Require(source, read, codeBytes);
                        match = source[read + 1] + 16;
                    }

                    break;

                case 0xA or 0xB: // 101LLMMM DDDDDDMM DDDDDDDD
                    codeBytes = 3;
                    Require(source, read, codeBytes);
                    int rest = BinaryPrimitives.ReadUInt16LittleEndian(source[(read + 1)..]);
                    literals = (code >> 3) & 3;
                    match = (((code & 7) << 2) | (rest & 3)) + 3;
                    distance = rest >> 2;
                    break;

                case 0x7 or 0xD:
                    throw Damaged($"has the undefined code 0x{code:X2}", read);

                default: // LLMMMDDD, where DDD = 7 is a distance of two bytes and 6 the distance of the match before
                    literals = code >> 6;
                    match = ((code >> 3) & 7) + 3;
                    switch (code & 7)
                    {
                        case 7:
                            codeBytes = 3;
                            Require(source, read, codeBytes);
                            distance = BinaryPrimitives.ReadUInt16LittleEndian(source[(read + 1)..]);
                            break;

                        case 6 when code == EndCode:
                            if (source.Length - read != EndCodeBytes) throw Damaged("goes on after its end code", read);
                            if (written != destination.Length)
                                throw Damaged($"holds {written - start} bytes instead of {destination.Length - start}", read);
                            return;

                        case 6 when code is 0x0E or 0x16: // nothing
                            read++;
                            continue;

                        case 6:
                            if (literals == 0) throw Damaged($"has the undefined code 0x{code:X2}", read);
                            break;

                        default:
                            codeBytes = 2;
                            Require(source, read, codeBytes);
                            distance = ((code & 7) << 8) | source[read + 1];
                            break;
                    }

                    break;
            }

            int at = read;
            read += codeBytes;
            if (literals + match > destination.Length - written) throw Damaged("holds more bytes than it should", at);
            Require(source, read, literals);
            source.Slice(read, literals).CopyTo(destination[written..]);
            read += literals;
            written += literals;
            if (match == 0) continue;
            if (distance == 0 || distance > written) throw Damaged("refers to bytes before the start of the output", at);
            if (distance >= match) destination.Slice(written - distance, match).CopyTo(destination[written..]);
            else
            {
                for (int i = written; i < written + match; i++) destination[i] = destination[i - distance];
            }

            written += match;
        }
    }

    private static void Require(ReadOnlySpan<byte> source, int at, int count)
    {
        if (count > source.Length - at) throw Damaged("ends inside a code", at);
    }

    private static ImageException Damaged(string what, int at) =>
        ImageException.Damaged($"An LZVN block {what}.", $"byte {at} of the payload");
}
