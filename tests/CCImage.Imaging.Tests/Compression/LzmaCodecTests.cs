using CCImage.Checksums;
using CCImage.Compression;

namespace CCImage.Tests.Compression;

/// <summary>The encoder is the system's library; where it is absent, the contract has nothing to hold, and one skipped test says
/// so.</summary>
public sealed class LzmaCodecTests : BlockCodecContract
{
    internal static bool HasEncoder { get; } = Record.Exception(() => SystemLzma.Current) is null;

    private protected override BlockCodec[] Codecs { get; } = HasEncoder
        ? [new LzmaCodec(), new LzmaCodec(0), new LzmaCodec(9), new LzmaCodec(3)] : [];

    private protected override int DamageCount => 30_000;

    [LzmaFact]
    public void The_systems_encoder_is_found() => Assert.NotNull(SystemLzma.Current);

    [Fact]
    public void Checksums_have_their_check_values() => Assert.Equal(0x995D_C9BB_DF19_39FAUL, Crc64.Of("123456789"u8));

    [Fact]
    public void Without_a_library_the_error_says_what_to_install()
    {
        var e = Assert.Throws<ImageException>(() => SystemLzma.Load(["libnothing-a.so"], ["libnothing-b.so"]));
        Assert.Equal(ImageErrorId.ComponentMissing, e.Id);
        Assert.Contains("liblzma", e.Remedy, StringComparison.Ordinal);
    }

    [OracleFact("xz")]
    public void xz_reads_what_is_written() => WithFolder(folder =>
    {
        Require.That(HasEncoder, "This machine has no liblzma, whose encoder is tried.");
        string file = Path.Combine(folder, "block.xz");
        for (int seed = 0; seed < 60; seed++)
        {
            byte[] plain = GeneratedBlocks.Make(seed + 30_000), room = new byte[plain.Length + 2000];
            int used = Codecs[seed % Codecs.Length].Encode(plain, room);
            File.WriteAllBytes(file, room[..used]);
            Assert.Equal(plain, Oracle.RunForBytes("xz", "-dc", file));
            Assert.Equal(0, room[7]); // no check, as Apple has it
        }
    });

    [OracleFact("xz")]
    public void What_xz_writes_is_read() => WithFolder(folder =>
    {
        string file = Path.Combine(folder, "plain");
        string[][] ways =
        [
            ["-6", "--check=none"], ["-0", "--check=crc32"], ["-9e", "--check=crc64"], ["-1", "--check=sha256"],
                ["--block-size=5000", "--check=sha256"],
            ["--lzma2=preset=6,lc=0,lp=4,pb=4"], ["--lzma2=preset=2,lc=4,lp=0,pb=0"], ["--lzma2=preset=6,dict=4096"],
                ["--lzma2=preset=6,lc=1,lp=2,pb=1", "-T2"],
        ];
        for (int i = 0; i < 90; i++)
        {
            byte[] plain = i % 10 == 0 ? [.. BlockSamples.Text(300_000, i), .. BlockSamples.Random(70_000, i)]
                : GeneratedBlocks.Make(i + 40_000);
            File.WriteAllBytes(file, plain);
            byte[] block = Oracle.RunForBytes("xz", ["-zkc", .. ways[i % ways.Length], file]);
            Assert.Equal(plain, Decode(new LzmaCodec(), block, plain.Length, out ImageException? problem));
            Assert.Null(problem);

            // Two streams in a row with padding are one file.
            byte[] twice = [.. block, 0, 0, 0, 0, .. block, 0, 0, 0, 0, 0, 0, 0, 0];
            Assert.Equal([.. plain, .. plain], Decode(new LzmaCodec(), twice, plain.Length * 2, out problem));
            Assert.Null(problem);
        }
    });

    [OracleFact("xz")]
    public void Every_flipped_bit_of_a_checked_file_is_found() => WithFolder(folder =>
    {
        string file = Path.Combine(folder, "plain");
        byte[] plain = BlockSamples.Text(600, 1);
        File.WriteAllBytes(file, plain);
        foreach (string check in new[] { "crc32", "crc64", "sha256" })
        {
            byte[] block = Oracle.RunForBytes("xz", "-zkc", "--check=" + check, file);
            for (int bit = 0; bit < block.Length * 8; bit++)
            {
                block[bit >> 3] ^= (byte)(1 << (bit & 7));
                Decode(new LzmaCodec(), block, plain.Length, out ImageException? problem);
                Assert.True(problem is not null, $"{check}, bit {bit}");
                block[bit >> 3] ^= (byte)(1 << (bit & 7));
            }
        }
    });

    [OracleFact("xz")]
    public void Other_filters_and_huge_dictionaries_are_refused_as_unsupported() => WithFolder(folder =>
    {
        string file = Path.Combine(folder, "plain");
        byte[] plain = BlockSamples.Text(600, 1);
        File.WriteAllBytes(file, plain);
        Decode(new LzmaCodec(), Oracle.RunForBytes("xz", "-zkc", "--delta=dist=4", "--lzma2", file), plain.Length,
            out ImageException? problem);
        Assert.Equal(ImageErrorId.UnsupportedFormat, problem?.Id);

        // 0x20 is a dictionary of 256 MiB, 0x21 one of 384.
        byte[] block = Oracle.RunForBytes("xz", "-zkc", "--check=none", file);
        int at = block.AsSpan().IndexOf(new byte[] { 0x21, 0x01 }) + 2;
        int crc = 12 + (block[12] * 4);
        foreach ((byte code, ImageErrorId? id) in new (
            byte, ImageErrorId?)[] { (0x20, null), (0x21, ImageErrorId.UnsupportedFormat), (41, ImageErrorId.ImageDamaged) })
        {
            block[at] = code;
            BitConverter.TryWriteBytes(block.AsSpan(crc), Crc32.Of(block.AsSpan(12, crc - 12)));
            Decode(new LzmaCodec(), block, plain.Length, out problem);
            Assert.Equal(id, problem?.Id);
        }
    });
}

/// <summary>A fact that needs the system's LZMA encoder.</summary>
public sealed class LzmaFactAttribute : FactAttribute
{
    /// <summary>Decides at discovery.</summary>
    public LzmaFactAttribute()
    {
        if (!LzmaCodecTests.HasEncoder) Skip = "This machine has no liblzma: nothing that needs its encoder is tried.";
    }
}
