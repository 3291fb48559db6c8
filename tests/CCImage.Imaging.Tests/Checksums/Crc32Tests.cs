using System.Text;
using CCImage.Checksums;

namespace CCImage.Tests.Checksums;

public sealed class Crc32Tests
{
    [Theory]
    [InlineData("", 0x00000000u)]
    [InlineData("a", 0xE8B7BE43u)]
    [InlineData("123456789", 0xCBF43926u)]
    [InlineData("The quick brown fox jumps over the lazy dog", 0x414FA339u)]
    public void Known_vectors(string text, uint expected) => Assert.Equal(expected, Crc32.Of(Encoding.ASCII.GetBytes(text)));

    [Fact]
    public void Every_length_and_alignment_agrees_with_bit_by_bit()
    {
        byte[] bytes = new byte[700];
        new Random(1).NextBytes(bytes);
        for (int length = 0; length < 600; length++)
        {
            ReadOnlySpan<byte> part = bytes.AsSpan(length % 17, length);
            Assert.Equal(BitByBit(0, part), Crc32.Of(part));
        }
    }

    [Fact]
    public void Appending_in_pieces_is_the_same()
    {
        byte[] bytes = new byte[5000];
        var random = new Random(2);
        random.NextBytes(bytes);
        for (int round = 0; round < 50; round++)
        {
            uint crc = 0;
            int at = 0;
            while (at < bytes.Length)
            {
                int count = Math.Min(random.Next(400), bytes.Length - at);
                crc = Crc32.Append(crc, bytes.AsSpan(at, count));
                at += count;
            }

            Assert.Equal(Crc32.Of(bytes), crc);
        }
    }

    [Fact]
    public void Combining_is_the_checksum_of_the_concatenation()
    {
        byte[] bytes = new byte[3000];
        var random = new Random(3);
        random.NextBytes(bytes);
        for (int round = 0; round < 200; round++)
        {
            int cut = random.Next(bytes.Length + 1);
            Assert.Equal(Crc32.Of(bytes), Crc32.Combine(Crc32.Of(bytes.AsSpan(0, cut)), Crc32.Of(bytes.AsSpan(cut)), bytes.Length - cut));
        }
    }

    [Fact]
    public void Zeros_are_known_without_touching_them()
    {
        foreach (int length in new[] { 0, 1, 7, 8, 63, 64, 65, 511, 512, 4096, 1 << 20, (1 << 20) + 3 })
            Assert.Equal(Crc32.Of(new byte[length]), Crc32.OfZeros(length));
    }

    [Fact]
    public void Huge_lengths_add_up()
    {
        // More than 2^61 bytes are more than 2^64 bits: the exponent must not overflow.
        const long A = (1L << 62) + 12345, B = (1L << 61) + 999;
        Assert.Equal(Crc32.OfZeros(A + B), Crc32.Combine(Crc32.OfZeros(A), Crc32.OfZeros(B), B));
        Assert.Equal(Crc32.OfZeros(A + B), Crc32.Combine(Crc32.OfZeros(B), Crc32.OfZeros(A), A));
        Assert.Throws<ArgumentOutOfRangeException>(() => Crc32.OfZeros(-1));
    }

    private static uint BitByBit(uint crc, ReadOnlySpan<byte> bytes)
    {
        crc = ~crc;
        foreach (byte b in bytes)
        {
            crc ^= b;
            for (int i = 0; i < 8; i++) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xEDB88320u : crc >> 1;
        }

        return ~crc;
    }
}
