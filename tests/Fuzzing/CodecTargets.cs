using System.Buffers.Binary;
using CCImage.Checksums;
using CCImage.Compression;

namespace CCImage.Fuzzing;

/// <summary>A codec; an input is the length of the block in units of 16 bytes (two bytes) and the compressed form.</summary>
internal class CodecTarget(BlockCodec codec) : FuzzTarget
{
    private const int Unit = 16;

    private readonly byte[] _block = new byte[ushort.MaxValue * Unit];

    /// <inheritdoc/>
    public override IEnumerable<byte[]> Seeds()
    {
        if (codec is AdcCodec) yield return [4, 0, 0x81, 1, 2, 0x3C, 1, 0x40 | 20, 0, 5]; // literals, a short and a long copy
        else
            foreach (int size in (int[])[16, 512, 4096, 40_000])
                foreach (int kind in (int[])[0, 1, 2, 3]) yield return Compress(Sample(size, kind));
    }

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        if (input.Length >= sizeof(ushort))
            Decode(input.AsSpan(sizeof(ushort)), _block.AsSpan(0, BinaryPrimitives.ReadUInt16LittleEndian(input) * Unit));
        return [];
    }

    /// <summary>Decompresses.</summary>
    protected virtual void Decode(Span<byte> source, Span<byte> block) => codec.Decode(source, block);

    private static byte[] Sample(int size, int kind)
    {
        byte[] sample = new byte[size];
        var random = new Random(kind);
        for (int i = 0; i < size; i++)
            sample[i] = kind switch { 0 => 0, 1 => (byte)random.Next(256), 2 =>
                (byte)((random.Next(4) + (i / 100)) & 0xFF), _ => "the quick brown fox "u8[((i * i / 50) + i) % 20] };
        return sample;
    }

    private byte[] Compress(byte[] sample)
    {
        byte[] compressed = new byte[(sample.Length * 2) + 1000];
        int length = codec.Encode(sample, compressed.AsSpan(sizeof(ushort)));
        BinaryPrimitives.WriteUInt16LittleEndian(compressed, (ushort)(sample.Length / Unit));
        return compressed[..(sizeof(ushort) + length)];
    }
}

/// <summary>xz files; once as they are, once with the checksums of header, first block header, index and footer put right.</summary>
internal sealed class XzTarget() : CodecTarget(new LzmaCodec())
{
    /// <inheritdoc/>
    protected override void Decode(Span<byte> source, Span<byte> block)
    {
        byte[] original = source.ToArray();
        byte[] target = new byte[block.Length];
        Expect(() => base.Decode(original, target));
        if (source.Length < 40) return;
        Seal(source, 6, 2, 8);
        int header = (source[12] + 1) * 4;
        if (12 + header <= source.Length) Seal(source, 12, header - 4, 8 + header);
        long index = (BinaryPrimitives.ReadUInt32LittleEndian(source[^8..]) + 1L) * 4;
        Seal(source, source.Length - 8, 6, source.Length - 12);
        if (index is >= 8 && index + 12 < source.Length)
            Seal(source, (int)(source.Length - 12 - index), (int)index - 4, source.Length - 16);
        base.Decode(source, block);
    }

    private static void Seal(Span<byte> bytes, int at, int length, int checksum) =>
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[checksum..], Crc32.Of(bytes.Slice(at, length)));
}

/// <summary>What is inside of xz files, without their checksums.</summary>
internal sealed class Lzma2Target() : CodecTarget(new LzmaCodec())
{
    private const int BeforeChunks = 24; // stream header and the block header our encoder writes

    private readonly Lzma2Decoder _decoder = new();

    /// <inheritdoc/>
    public override IEnumerable<byte[]> Seeds() => base.Seeds().Select(s => (byte[])[.. s[..2], .. s[(2 + BeforeChunks)..]]);

    /// <inheritdoc/>
    protected override void Decode(Span<byte> source, Span<byte> block)
    {
        (int read, int written) = _decoder.Decode(source, block, 1 << 20);
        if (read > source.Length || written > block.Length) throw new ContradictionException("more than there is");
    }
}

/// <summary>Property lists, XML and binary.</summary>
internal sealed class PropertyListTarget : FuzzTarget
{
    /// <inheritdoc/>
    public override IReadOnlyList<byte[]> Words { get; } =
    [
        .. ("<dict>|</dict>|<array>|<array/>|<key>a</key>|<data>|</data>|<integer>0x7fffffffffffffff</integer>|<real>nan</real>|"
            + "<date>2020-01-01T00:00:00Z</date>|&amp;|&#x10FFFF;|<![CDATA[|]]>|<true/>|<!--")
            .Split('|').Select(System.Text.Encoding.ASCII.GetBytes),
        [0xD1, 1, 2], [0xA2, 1, 1], [0x5F, 0x13, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], [0x4F, 0x14], [0xEF, 0x12], [0x33],
            [0x80, 1], [0x6F, 0x10, 0xFF],
    ];

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        Containers.SparseBundle.SparseBundleInfo.Read(input);
        PropertyLists.PropertyListReader.Parse(input);
        return [];
    }
}
