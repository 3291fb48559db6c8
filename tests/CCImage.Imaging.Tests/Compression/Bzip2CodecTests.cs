using CCImage.Compression;

namespace CCImage.Tests.Compression;

public sealed class Bzip2CodecTests : BlockCodecContract
{
    private protected override BlockCodec[] Codecs { get; } = [new Bzip2Codec(1), new Bzip2Codec(2)];

    // The package takes a millisecond and some MB a block.
    private protected override int DamageCount => 3000;

    private protected override bool FindsAllDamage => true;

    [Theory]
    [InlineData(512, 9, '1')]
    [InlineData(417_792, 9, '5')]
    [InlineData(1 << 20, 9, '9')]
    [InlineData(1 << 20, 3, '3')]
    public void The_level_is_the_smallest_that_holds_the_block(int length, int level, char expected)
    {
        byte[] room = new byte[length];
        Assert.InRange(new Bzip2Codec(level).Encode(BlockSamples.Text(length, 1), room), 1, length);
        Assert.Equal(expected, (char)room[3]);
    }

    [OracleFact("bzip2")]
    public void Bzip2_reads_what_is_written() => WithFolder(folder =>
    {
        string file = Path.Combine(folder, "block.bz2");
        for (int seed = 0; seed < 40; seed++)
        {
            byte[] plain = GeneratedBlocks.Make(seed + 50_000), room = new byte[plain.Length + 2000];
            int used = new Bzip2Codec(1 + (seed % 9)).Encode(plain, room);
            File.WriteAllBytes(file, room[..used]);
            Assert.Equal(plain, Oracle.RunForBytes("bzip2", "-dc", file));
        }
    });

    [OracleFact("bzip2")]
    public void What_bzip2_writes_is_read() => WithFolder(folder =>
    {
        string file = Path.Combine(folder, "plain");
        for (int seed = 0; seed < 40; seed++)
        {
            byte[] plain = seed == 0 ? BlockSamples.Text(1 << 20, 1) : GeneratedBlocks.Make(seed + 60_000);
            File.WriteAllBytes(file, plain);
            byte[] block = Oracle.RunForBytes("bzip2", "-zkc", "-" + (1 + (seed % 9)), file);
            Assert.Equal(plain, Decode(new Bzip2Codec(), block, plain.Length, out ImageException? problem));
            Assert.Null(problem);
        }
    });
}
