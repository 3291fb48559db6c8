namespace CCImage.Compression;

/// <summary>
/// Apple Data Compression, the LZ77 code of UDCO images (run type 0x80000004): read only, as every newer codec is smaller.
/// The stream is a row of codes and has neither header nor end mark. Fields and provenance: <c>docs/formats/codecs.md</c>.
/// </summary>
internal sealed class AdcCodec : BlockCodec
{
    /// <inheritdoc/>
    public override string Name => "ADC";

    /// <inheritdoc/>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override int Encode(ReadOnlySpan<byte> source, Span<byte> destination) =>
        throw new NotSupportedException("ADC is read, not written.");

    /// <inheritdoc/>
    public override void Decode(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        int read = 0;
        int written = 0;
        while (read < source.Length)
        {
            int at = read;
            int code = source[read];
            if (code >= 0x80)
            {
                int count = (code & 0x7F) + 1;
                if (count >= source.Length - read) throw CutShort(at);
                if (count > destination.Length - written) throw TooLong(at);
                source.Slice(read + 1, count).CopyTo(destination[written..]);
                read += count + 1;
                written += count;
                continue;
            }

            bool far = (code & 0x40) != 0;
            int size = far ? 3 : 2;
            if (size > source.Length - read) throw CutShort(at);
            int length = far ? (code & 0x3F) + 4 : (code >> 2) + 3;
            int distance = 1 + (far ? (source[read + 1] << 8) | source[read + 2] : ((code & 3) << 8) | source[read + 1]);
            if (distance > written)
                throw ImageException.Damaged("An ADC block refers to bytes before its start.", $"byte {at} of the block");
            if (length > destination.Length - written) throw TooLong(at);
            CopyMatch(destination, written, distance, length);
            read += size;
            written += length;
        }

        if (written != destination.Length)
            throw ImageException.Damaged(
                $"An ADC block holds {written} bytes instead of {destination.Length}.", $"byte {read} of the block");
    }

    /// <summary>Repeats earlier bytes; source and target overlap when the distance is shorter than the length, which repeats a
    /// pattern.</summary>
    private static void CopyMatch(Span<byte> destination, int at, int distance, int length)
    {
        if (distance >= length) destination.Slice(at - distance, length).CopyTo(destination[at..]);
        else if (distance == 1) destination.Slice(at, length).Fill(destination[at - 1]);
        else
        {
            for (int i = at; i < at + length; i++) destination[i] = destination[i - distance];
        }
    }

    private static ImageException CutShort(int at) => ImageException.Damaged("An ADC block ends inside a code.", $"byte {at} of the block");

    private static ImageException TooLong(int at) =>
        ImageException.Damaged("An ADC block holds more bytes than it should.", $"byte {at} of the block");
}
