using CCImage.Compression;

namespace CCImage.Tests.Compression;

public sealed class CompressibilityProbeTests
{
    private const int Size = 1 << 20;

    [Fact]
    public void Random_and_compressed_blocks_are_recognised()
    {
        for (int seed = 0; seed < 20; seed++)
        {
            Assert.False(CompressibilityProbe.IsCompressible(BlockSamples.Random(Size, seed)));
            Assert.False(CompressibilityProbe.IsCompressible(BlockSamples.Random(20_000, seed)));
        }

        byte[] compressed = new byte[Size];
        int used = new ZlibCodec(6).Encode(BlockSamples.Text(2 * Size, 1), compressed);
        Assert.NotEqual(0, used);
        Assert.False(CompressibilityProbe.IsCompressible(compressed.AsSpan(0, used)));
    }

    public static TheoryData<string> Compressible =>
        ["text", "zeros", "six bits", "seven bits", "one byte missing a quarter", "a little text", "repeated 4 KiB", "repeated 30,000",
            "repeats now and then"];

    [Theory]
    [MemberData(nameof(Compressible))]
    public void What_gets_smaller_is_tried(string kind)
    {
        byte[] block = BlockSamples.Random(Size, 7);
        switch (kind)
        {
            case "text":
                block = BlockSamples.Text(Size, 1);
                break;
            case "zeros":
                Array.Clear(block);
                break;
            case "six bits":
                for (int i = 0; i < Size; i++) block[i] &= 0x3F;
                break;
            case "seven bits":
                for (int i = 0; i < Size; i++) block[i] |= 0x80;
                break;
            case "one byte missing a quarter":
                for (int i = 0; i < Size; i++) block[i] = block[i] >= 0xC0 ? (byte)(block[i] >> 1) : block[i];
                break;
            case "a little text": // one allocation block in 16
                byte[] text = BlockSamples.Text(4096, 1);
                for (int i = 0; i < Size; i += 16 * 4096) text.CopyTo(block, i);
                break;
            case "repeated 4 KiB":
                for (int i = 4096; i < Size; i++) block[i] = block[i - 4096];
                break;
            case "repeated 30,000":
                for (int i = 30_000; i < Size; i++) block[i] = block[i - 30_000];
                break;
            case "repeats now and then": // 1 KiB in 16 came by shortly before
                for (int i = 16384; i < Size; i += 16384) block.AsSpan(i - 9999, 1024).CopyTo(block.AsSpan(i));
                break;
        }

        Assert.True(CompressibilityProbe.IsCompressible(block));

        // The claim itself: zlib does gain something here.
        Assert.NotEqual(0, new ZlibCodec(6).Encode(block, new byte[Size - (Size / 100)]));
    }
}
