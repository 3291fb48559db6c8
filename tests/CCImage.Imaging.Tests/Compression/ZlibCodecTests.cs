using System.IO.Compression;
using CCImage.Compression;

namespace CCImage.Tests.Compression;

public sealed class ZlibCodecTests
{
    [Fact]
    public void Every_level_comes_back_and_rfc1950_readers_read_it()
    {
        byte[] plain = BlockSamples.Text(300_000, 1);
        for (int level = 1; level <= 9; level++)
        {
            var codec = new ZlibCodec(level);
            byte[] encoded = new byte[plain.Length];
            int used = codec.Encode(plain, encoded);
            Assert.InRange(used, 1, plain.Length / 2);
            using var reader = new ZLibStream(new MemoryStream(encoded, 0, used), CompressionMode.Decompress);
            using var read = new MemoryStream();
            reader.CopyTo(read);
            Assert.Equal(plain, read.ToArray());
            byte[] decoded = new byte[plain.Length];
            new ZlibCodec().Decode(encoded.AsSpan(0, used), decoded);
            Assert.Equal(plain, decoded);
        }
    }

    [Fact]
    public void Says_so_when_the_room_is_too_small()
    {
        byte[] random = BlockSamples.Random(100_000, 1), text = BlockSamples.Text(100_000, 1);
        var codec = new ZlibCodec();
        Assert.Equal(0, codec.Encode(random, new byte[random.Length - 1]));
        byte[] room = new byte[text.Length];
        int used = codec.Encode(text, room);
        Assert.Equal(used, codec.Encode(text, room.AsSpan(0, used)));
        Assert.Equal(0, codec.Encode(text, room.AsSpan(0, used - 1)));
        Assert.Equal(0, codec.Encode(text, []));
    }

    [Fact]
    public void Blocks_of_another_length_or_damaged_are_refused()
    {
        byte[] plain = BlockSamples.Text(50_000, 2);
        byte[] encoded = new byte[plain.Length];
        var codec = new ZlibCodec();
        int used = codec.Encode(plain, encoded);
        byte[] block = encoded[..used];
        Damaged(block, plain.Length - 1);
        Damaged(block, plain.Length + 1);
        Damaged(block[..^20], plain.Length);
        Damaged([], 10);
        Damaged(new byte[100], 100);
        // asks for a preset dictionary (RFC 1950, FDICT); found by fuzzing
        Damaged(Convert.FromHexString("78F96360400500001000" + "01"), 16);
        foreach (int at in new[] { 0, 10, used / 2, used - 1 })
        {
            byte[] flipped = [.. block];
            flipped[at] ^= 0x10;
            Damaged(flipped, plain.Length);
        }

        void Damaged(byte[] bytes, int length) =>
            Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => codec.Decode(bytes, new byte[length])).Id);
    }

    [Fact]
    public void Many_threads_share_one_codec()
    {
        var codec = new ZlibCodec(1);
        Parallel.For(0, 40, i =>
        {
            byte[] plain = BlockSamples.Text(60_000, i), room = new byte[60_000], back = new byte[60_000];
            int used = codec.Encode(plain, room);
            codec.Decode(room.AsSpan(0, used), back);
            Assert.Equal(plain, back);
        });
    }
}
