using System.Buffers.Binary;
using CCImage.Binary;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.PropertyLists;
using CCImage.Storage;
using CCImage.Tests.Compression;

namespace CCImage.Tests.Containers.Udif;

public sealed class UdifMalformedTests
{
    private static readonly byte[] Image = UdifWriterTests.Write(
        new UdifWriterTests.MixedDisk(
            (ExtentKind.Data, BlockSamples.Text(6144, 1)), (ExtentKind.Zero, new byte[8192]),
            (ExtentKind.Data, BlockSamples.Random(1024, 1)), (ExtentKind.Unused, new byte[8192])),
        UdifWriterTests.Zlib with { ChunkSize = 2048 });

    [Fact]
    public void The_image_itself_is_fine() => Assert.Null(Try(Image));

    [Fact]
    public void Every_truncation_is_an_image_exception()
    {
        for (int length = 0; length < Image.Length; length++)
        {
            byte[] cut = Image[..length];
            Assert.False(UdifStorage.IsMatch(new MemoryStorage(cut)));
            Assert.Equal(ImageErrorId.ImageDamaged, Try(cut)!.Id);

            // The trailer is there, but bytes before it are missing.
            if (length < Image.Length - 512 && length % 3 == 0) Assert.NotNull(Try([.. cut, .. Image[^512..]]));
        }
    }

    [Fact]
    public void Every_flipped_bit_is_an_image_exception_or_another_disk()
    {
        var random = new Random(1);
        byte[] bytes = [.. Image];
        for (int at = 0; at < bytes.Length; at++)
        {
            // All bits of the trailer, one of everything else.
            int dataEnd = bytes.Length - 512;
            for (int bit = at < dataEnd ? random.Next(8) : 0, last = at < dataEnd ? bit : 7; bit <= last; bit++)
            {
                bytes[at] ^= (byte)(1 << bit);
                Try(bytes);
                bytes[at] ^= (byte)(1 << bit);
            }
        }
    }

    [Fact]
    public void Every_field_of_a_block_table_may_lie()
    {
        (byte[] table, Func<byte[], byte[]> rebuild) = Table();
        int seen = 0;
        for (int at = 0; at + 8 <= table.Length; at += 4)
        {
            foreach (ulong value in new ulong[] { 0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x8000_0005, 1UL << 40, long.MaxValue, ulong.MaxValue,
                ulong.MaxValue / 512 })
            {
                byte[] changed = [.. table];
                BinaryPrimitives.WriteUInt64BigEndian(changed.AsSpan(at), value);
                if (Try(rebuild(changed)) is not null) seen++;
                changed = [.. table];
                BinaryPrimitives.WriteUInt32BigEndian(changed.AsSpan(at), unchecked((uint)value));
                Try(rebuild(changed));
            }
        }

        Assert.InRange(seen, 400, int.MaxValue);
    }

    [Theory]
    [InlineData("fewer runs than it says", 200, 0x00FF_FFFFu)]
    [InlineData("signature", 0, 0u)]
    [InlineData("version", 4, 2u)]
    [InlineData("leaves its block table's part", 204 + 16, 1u)]
    [InlineData("behind the end of the file", 204 + 24, 1u)]
    [InlineData("unknown type", 204, 0x8000_0055u)]
    [InlineData("LZFSE", 204, 0x8000_0007u)]
    public void What_is_wrong_is_said(string words, int at, uint value)
    {
        (byte[] table, Func<byte[], byte[]> rebuild) = Table();
        BinaryPrimitives.WriteUInt32BigEndian(table.AsSpan(at), value);
        ImageException e = Try(rebuild(table))!;
        Assert.Contains(words, e.Message, StringComparison.Ordinal);
        Assert.NotNull(e.Place);
        Assert.Equal(at == 4 || words == "unknown type" ? ImageErrorId.UnsupportedFormat : ImageErrorId.ImageDamaged, e.Id);
    }

    [Fact]
    public void Overlapping_runs_and_absurd_ones_are_refused()
    {
        (byte[] table, Func<byte[], byte[]> rebuild) = Table();
        byte[] overlapping = [.. table];
        BinaryPrimitives.WriteUInt64BigEndian(overlapping.AsSpan(204 + 40 + 8), 0);
        Assert.Contains("same sector", Try(rebuild(overlapping))!.Message, StringComparison.Ordinal);

        byte[] absurd = [.. table];
        BinaryPrimitives.WriteUInt64BigEndian(absurd.AsSpan(16), 1 << 20);
        BinaryPrimitives.WriteUInt64BigEndian(absurd.AsSpan(204 + 16), (64 << 11) + 1); // a sector more than 64 MiB
        Assert.Contains("absurd size", Try(rebuild(absurd))!.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("SegmentCount", ImageErrorId.UnsupportedFormat)]
    [InlineData("Version", ImageErrorId.UnsupportedFormat)]
    [InlineData("ResourceForkOnly", ImageErrorId.UnsupportedFormat)]
    [InlineData("NoPropertyList", ImageErrorId.ImageDamaged)]
    [InlineData("SectorCount", ImageErrorId.ImageDamaged)]
    [InlineData("XmlOffset", ImageErrorId.ImageDamaged)]
    [InlineData("XmlLength", ImageErrorId.ImageDamaged)]
    public void Trailers_that_cannot_be_are_refused(string what, ImageErrorId id)
    {
        byte[] image = [.. Image];
        var trailer = Layout.Read<UdifTrailer>(image.AsSpan(image.Length - 512));
        switch (what)
        {
            case "SegmentCount":
                trailer.SegmentCount = 2;
                break;
            case "Version":
                trailer.Version = 5;
                break;
            case "ResourceForkOnly":
                trailer.XmlLength = 0;
                trailer.ResourceForkLength = 100;
                break;
            case "NoPropertyList":
                trailer.XmlLength = 0;
                break;
            case "SectorCount":
                trailer.SectorCount = 1UL << 60;
                break;
            case "XmlOffset":
                trailer.XmlOffset = ulong.MaxValue - 10;
                break;
            case "XmlLength":
                trailer.XmlLength = ulong.MaxValue;
                break;
        }

        Layout.Write(image.AsSpan(image.Length - 512), trailer);
        Assert.Equal(id, Try(image)!.Id);
    }

    [Fact]
    public void A_trailer_without_sector_count_takes_the_tables()
    {
        byte[] image = [.. Image];
        var trailer = Layout.Read<UdifTrailer>(image.AsSpan(image.Length - 512));
        trailer.SectorCount = 0;
        Layout.Write(image.AsSpan(image.Length - 512), trailer);
        using UdifStorage disk = UdifStorage.Open(new MemoryStorage(image));
        Assert.Equal(6144 + 8192 + 1024 + 8192, disk.Length);
    }

    /// <summary>The image's block table, and a way to put another in its place.</summary>
    private static (byte[] Table, Func<byte[], byte[]> Rebuild) Table()
    {
        var trailer = Layout.Read<UdifTrailer>(Image.AsSpan(Image.Length - 512));
        int offset = (int)(ulong)trailer.XmlOffset;
        PropertyListDictionary list = PropertyListReader.ParseDictionary(Image[offset..^512]);
        var entry = (PropertyListDictionary)list.GetDictionary("resource-fork")!.GetArray("blkx")![0];
        return ([.. entry.GetData("Data")!], table =>
        {
            entry["Data"] = table;
            byte[] xml = PropertyListWriter.Write(list);
            trailer.XmlLength = (ulong)xml.Length;
            return [.. Image[..offset], .. xml, .. Layout.ToBytes(trailer)];
        });
    }

    /// <summary>Opens, reads and verifies; what is wrong must be an <see cref="ImageException"/>.</summary>
    private static ImageException? Try(byte[] image) => MalformedInput.Try(() =>
    {
        using UdifStorage disk = UdifStorage.Open(new MemoryStorage(image));
        byte[] buffer = new byte[4096];
        int steps = 0;
        foreach (StorageExtent extent in disk.GetExtents(0, disk.Length))
            for (long at = extent.Offset; at < extent.End && steps++ < 50; at += buffer.Length)
                disk.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, extent.End - at)));
        disk.Verify(SilentObserver.Instance, CancellationToken.None);
    });
}
