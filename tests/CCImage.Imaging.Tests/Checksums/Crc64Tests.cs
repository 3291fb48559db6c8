using CCImage.Checksums;

namespace CCImage.Tests.Checksums;

public sealed class Crc64Tests
{
    [Fact]
    public void Is_that_of_xz()
    {
        Assert.Equal(0UL, Crc64.Of([]));
        Assert.Equal(0x995D_C9BB_DF19_39FAUL, Crc64.Of("123456789"u8));
    }

    [Fact]
    public void Every_length_and_alignment_agrees_with_bit_by_bit()
    {
        byte[] bytes = new byte[700];
        new Random(1).NextBytes(bytes);
        for (int length = 0; length < 600; length++)
        {
            ReadOnlySpan<byte> part = bytes.AsSpan(length % 17, length);
            ulong expected = ulong.MaxValue;
            foreach (byte b in part)
            {
                expected ^= b;
                for (int i = 0; i < 8; i++) expected = (expected & 1) != 0 ? (expected >> 1) ^ 0xC96C_5795_D787_0F42 : expected >> 1;
            }

            Assert.Equal(~expected, Crc64.Of(part));
        }
    }
}
