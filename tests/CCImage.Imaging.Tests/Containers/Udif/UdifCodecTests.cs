using CCImage.Compression;
using CCImage.Containers.Udif;
using CCImage.Storage;
using CCImage.Tests.Compression;

namespace CCImage.Tests.Containers.Udif;

/// <summary>Images of every codec that is written, read by ourselves and by 7-Zip.</summary>
public sealed class UdifCodecTests
{
    private static readonly byte[] Disk =
    [
        .. BlockSamples.Text(1_500_000, 1), .. BlockSamples.Random(600_000, 2), .. BlockSamples.Text(1_000_000, 3), .. new byte[300_000],
        .. BlockSamples.Text(1024 - ((1_500_000 + 600_000 + 1_000_000 + 300_000) % 512), 4),
    ];

    [Theory]
    [InlineData("ULFO")]
    [InlineData("ULMO")]
    [InlineData("UDBZ")]
    public void Images_come_back(string code)
    {
        using UdifStorage read = UdifStorage.Open(new MemoryStorage(Write(code)), ownsFile: true);
        Assert.Equal(code, read.FormatCode);
        byte[] back = new byte[read.Length];
        read.Read(0, back);
        Assert.Equal(Disk, back);
    }

    [Fact]
    public void Damage_in_a_run_names_the_run()
    {
        byte[] image = Write("ULFO");
        image[image.AsSpan().IndexOf("bvx2"u8)] ^= 1;
        using UdifStorage read = UdifStorage.Open(new MemoryStorage(image), ownsFile: true);
        var e = Assert.Throws<ImageException>(() => read.Read(0, new byte[512]));
        Assert.Equal(ImageErrorId.ImageDamaged, e.Id);
        Assert.StartsWith("byte 0 of the stream in the run at sector 0, stored at byte ", e.Place, StringComparison.Ordinal);
    }

    [OracleFact("7z")]
    public void Seven_zip_finds_nothing_to_say()
    {
        string folder = Directory.CreateTempSubdirectory("ccimage-udif-").FullName;
        try
        {
            foreach (string code in new[] { "ULFO", "ULMO", "UDBZ" })
            {
                string path = Path.Combine(folder, code + ".dmg");
                File.WriteAllBytes(path, Write(code));
                (int exitCode, string output, string error) = Oracle.Run("7z", "t", "-tdmg", path);
                Assert.True(exitCode == 0 && output.Contains("Everything is Ok", StringComparison.Ordinal), code + output + error);
                Assert.DoesNotContain("arning", output + error, StringComparison.Ordinal);
                Assert.DoesNotContain("rror", output + error, StringComparison.Ordinal);
                Assert.Equal(Disk, Oracle.RunForBytes("7z", "x", "-tdmg", "-so", path));
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static byte[] Write(string code)
    {
        BlockCodec compressor = code switch { "ULFO" => new LzfseCodec(), "ULMO" => new LzmaCodec(), _ => new Bzip2Codec() };
        UdifCodec codec = UdifCodecs.Compressed.Single(c => c.FormatCode == code);
        return UdifWriterTests.Write(
            new MemoryStorage(Disk),
            new UdifWriterSettings { Codec = codec, Compressor = compressor,
            SegmentId = new Guid("00112233-4455-6677-8899-aabbccddeeff") });
    }
}
