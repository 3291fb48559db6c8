using CCImage.Compression;

namespace CCImage.Tests.Compression;

public class AdcCodecTests
{
    [Theory]
    [InlineData("83 61 62 63 64", "61626364")]
    [InlineData("80 61 00 00", "61616161")] // three more of the byte before
    [InlineData("81 61 62 04 01", "61626162" + "6162")] // 4 bytes, 2 back
    [InlineData("80 61 40 00 00", "6161616161")] // the long form, at least 4
    public void Codes_mean_what_they_mean(string codes, string plain)
    {
        byte[] expected = Convert.FromHexString(plain);
        byte[] back = new byte[expected.Length];
        new AdcCodec().Decode(Convert.FromHexString(codes.Replace(" ", "", StringComparison.Ordinal)), back);
        Assert.Equal(expected, back);
    }

    [Fact]
    public void Ten_thousand_generated_blocks_decode_as_their_model_says()
    {
        var codec = new AdcCodec();
        for (int seed = 0; seed < 10_000; seed++)
        {
            var random = new Random(seed);
            (byte[] block, byte[] plain) = Make(random);
            byte[] back = new byte[plain.Length];
            codec.Decode(block, back);
            Assert.True(back.AsSpan().SequenceEqual(plain), $"Seed {seed} decodes to something else.");

            Refused(block, plain.Length - 1);
            Refused(block, plain.Length + 1);
            Refused(block[..random.Next(block.Length)], plain.Length);
            block[random.Next(block.Length)] ^= (byte)(1 << random.Next(8));
            try
            {
                codec.Decode(block, back);
            }
            catch (ImageException e)
            {
                Assert.Equal(ImageErrorId.ImageDamaged, e.Id);
            }
        }

        void Refused(byte[] bytes, int length) =>
            Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => codec.Decode(bytes, new byte[length])).Id);
    }

    [Fact]
    public void References_before_the_start_are_refused()
    {
        var e = Assert.Throws<ImageException>(() => new AdcCodec().Decode([0x80, 0x61, 0x00, 0x01], new byte[4]));
        Assert.Equal("byte 2 of the block", e.Place);
    }

    [Fact]
    public void Is_not_written() => Assert.Throws<NotSupportedException>(() => new AdcCodec().Encode(new byte[10], new byte[10]));

    private static (byte[] Block, byte[] Plain) Make(Random random)
    {
        var block = new List<byte>();
        var plain = new List<byte>();
        for (int i = random.Next(1, 50); i >= 0; i--)
        {
            int kind = plain.Count == 0 ? 0 : random.Next(3);
            if (kind == 0)
            {
                byte[] literals = new byte[random.Next(1, 129)];
                random.NextBytes(literals);
                block.Add((byte)(0x7F + literals.Length));
                block.AddRange(literals);
                plain.AddRange(literals);
                continue;
            }

            int length, distance;
            if (kind == 1)
            {
                length = random.Next(3, 19);
                distance = random.Next(1, Math.Min(plain.Count, 1024) + 1);
                block.AddRange([(byte)(((length - 3) << 2) | ((distance - 1) >> 8)), (byte)((distance - 1) & 0xFF)]);
            }
            else
            {
                length = random.Next(4, 68);
                distance = random.Next(1, Math.Min(plain.Count, 65_536) + 1);
                block.AddRange([(byte)(0x40 | (length - 4)), (byte)((distance - 1) >> 8), (byte)((distance - 1) & 0xFF)]);
            }

            for (int n = 0; n < length; n++) plain.Add(plain[^distance]);
        }

        return ([.. block], [.. plain]);
    }
}
