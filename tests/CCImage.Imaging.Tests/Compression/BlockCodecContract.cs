using CCImage.Compression;

namespace CCImage.Tests.Compression;

/// <summary>What holds for every codec that compresses.</summary>
public abstract class BlockCodecContract
{
    private const int GuardSize = 64;
    private const byte Guard = 0xC5;

    /// <summary>The codecs, under the levels to be tried in turn; none where the machine lacks what they need.</summary>
    private protected abstract BlockCodec[] Codecs { get; }

    /// <summary>How many changed blocks to try, by what the codec can bear in a test's time.</summary>
    private const string NoEncoder = "This machine has no encoder of this codec.";

    private protected virtual int DamageCount => 20_000;

    /// <summary>Whether a changed block can be told from a sound one always, because the format has a checksum.</summary>
    private protected virtual bool FindsAllDamage => false;

    [Fact]
    public void Ten_thousand_generated_blocks_come_back()
    {
        BlockCodec[] codecs = Codecs;
        Require.That(codecs.Length > 0, NoEncoder);
        Parallel.For(0, 10_000, new ParallelOptions { MaxDegreeOfParallelism = 2 }, seed =>
        {
            BlockCodec codec = codecs[seed % codecs.Length];
            byte[] plain = GeneratedBlocks.Make(seed);
            byte[] room = new byte[plain.Length + (plain.Length / 8) + 2000];
            int used = codec.Encode(plain, room);
            Assert.True(used > 0 && used <= room.Length, $"Seed {seed} takes {used} bytes.");
            byte[] back = Decode(codec, room.AsSpan(0, used), plain.Length, out ImageException? problem);
            Assert.True(problem is null, $"Seed {seed}: {problem?.Message}");
            Assert.True(back.AsSpan().SequenceEqual(plain), $"Seed {seed} comes back as something else.");
        });
    }

    [Fact]
    public void Takes_exactly_the_room_it_needs_and_says_so_when_there_is_less()
    {
        foreach (BlockCodec codec in Codecs)
        {
            byte[] text = BlockSamples.Text(100_000, 1), noise = BlockSamples.Random(100_000, 1);
            byte[] room = new byte[text.Length];
            int used = codec.Encode(text, room);
            Assert.InRange(used, 1, text.Length / 2);
            Assert.Equal(0, codec.Encode(noise, new byte[noise.Length - 1]));
            Assert.Equal(0, codec.Encode(text, []));
            for (int less = 1; less < used; less = (less * 2) + 1)
            {
                byte[] guarded = new byte[used + GuardSize];
                guarded.AsSpan().Fill(Guard);
                Assert.Equal(0, codec.Encode(text, guarded.AsSpan(0, used - less)));
                Assert.Equal(-1, guarded.AsSpan(used - less).IndexOfAnyExcept(Guard));
            }
        }
    }

    [Fact]
    public void Blocks_of_another_length_are_refused()
    {
        foreach (BlockCodec codec in Codecs)
        {
            byte[] plain = BlockSamples.Text(50_000, 2);
            byte[] room = new byte[plain.Length];
            byte[] block = room[..codec.Encode(plain, room)];
            foreach (int length in new[] { 0, 1, 100, plain.Length - 1, plain.Length + 1, plain.Length * 2 })
            {
                Decode(codec, block, length, out ImageException? problem);
                Assert.Equal(ImageErrorId.ImageDamaged, problem?.Id);
                Assert.NotNull(problem?.Remedy);
            }
        }
    }

    [Fact]
    public void Blocks_cut_short_are_refused()
    {
        foreach (BlockCodec codec in Codecs)
        {
            byte[] plain = BlockSamples.Text(20_000, 3);
            byte[] room = new byte[plain.Length];
            int used = codec.Encode(plain, room);
            for (int length = 0; length < used; length += length < 100 || length > used - 100 ? 1 : 37)
            {
                Decode(codec, room.AsSpan(0, length), plain.Length, out ImageException? problem);
                Assert.Equal(ImageErrorId.ImageDamaged, problem?.Id);
            }
        }
    }

    [Fact]
    public void Damaged_blocks_give_an_image_exception_or_other_bytes_and_nothing_else()
    {
        Require.That(Codecs.Length > 0, NoEncoder);
        BlockCodec codec = Codecs[0];
        var blocks = new List<(byte[] Plain, byte[] Block)>();
        for (int seed = 0; blocks.Count < 40; seed++)
        {
            byte[] plain = GeneratedBlocks.Make(seed, 40_000);
            byte[] room = new byte[plain.Length + 5000];
            if (plain.Length > 50) blocks.Add((plain, room[..codec.Encode(plain, room)]));
        }

        var random = new Random(11);
        int refused = 0;
        for (int i = 0; i < DamageCount; i++)
        {
            (byte[] plain, byte[] block) = blocks[i % blocks.Count];
            byte[] changed = [.. block];
            int changes = 1 + random.Next(3);
            for (int n = 0; n < changes; n++)
            {
                // Headers are where structure is: half of the changes go there.
                int at = random.Next(random.Next(2) == 0 ? Math.Min(changed.Length, 64) : changed.Length);
                if (random.Next(3) == 0) changed[at] = (byte)random.Next(256);
                else changed[at] ^= (byte)(1 << random.Next(8));
            }

            byte[] back = [];
            ImageException? problem = null;
            MalformedInput.Try(() => back = Decode(codec, changed, plain.Length, out problem));
            if (problem is not null) refused++;
            else if (FindsAllDamage) Assert.True(back.AsSpan().SequenceEqual(plain), $"Change {i} went unnoticed.");
        }

        Assert.True(refused > DamageCount / 4, $"Only {refused} of {DamageCount} were refused.");
    }

    [Fact]
    public void Noise_is_refused()
    {
        Require.That(Codecs.Length > 0, NoEncoder);
        BlockCodec codec = Codecs[0];
        for (int seed = 0; seed < 1000; seed++)
        {
            Decode(codec, BlockSamples.Random(seed, seed), 5000, out ImageException? problem);
            Assert.Contains(problem?.Id, new ImageErrorId?[] { ImageErrorId.ImageDamaged, ImageErrorId.UnsupportedFormat });
        }
    }

    [Fact]
    public void Many_threads_share_one_codec()
    {
        Require.That(Codecs.Length > 0, NoEncoder);
        BlockCodec codec = Codecs[0];
        Parallel.For(0, 64, i =>
        {
            byte[] plain = BlockSamples.Text(60_000, i), room = new byte[60_000];
            byte[] back = Decode(codec, room.AsSpan(0, codec.Encode(plain, room)), plain.Length, out _);
            Assert.Equal(plain, back);
        });
    }

    /// <summary>Decodes and makes sure that nothing is written outside the destination.</summary>
    private protected static byte[] Decode(BlockCodec codec, ReadOnlySpan<byte> block, int length, out ImageException? problem)
    {
        byte[] guarded = new byte[length + (2 * GuardSize)];
        guarded.AsSpan(0, GuardSize).Fill(Guard);
        guarded.AsSpan(GuardSize + length).Fill(Guard);
        problem = null;
        try
        {
            codec.Decode(block, guarded.AsSpan(GuardSize, length));
        }
        catch (ImageException e)
        {
            problem = e;
        }

        Assert.Equal(-1, guarded.AsSpan(0, GuardSize).IndexOfAnyExcept(Guard));
        Assert.Equal(-1, guarded.AsSpan(GuardSize + length).IndexOfAnyExcept(Guard));
        return guarded[GuardSize..(GuardSize + length)];
    }

    /// <summary>Runs a test's body with a folder of its own.</summary>
    private protected static void WithFolder(Action<string> body)
    {
        string folder = Directory.CreateTempSubdirectory("ccimage-codec-").FullName;
        try
        {
            body(folder);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
