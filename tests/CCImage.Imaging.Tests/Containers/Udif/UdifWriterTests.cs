using CCImage.Binary;
using CCImage.Compression;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.Partitions;
using CCImage.Partitions.Gpt;
using CCImage.PropertyLists;
using CCImage.Storage;
using CCImage.Tests.Compression;

namespace CCImage.Tests.Containers.Udif;

public sealed class UdifWriterTests
{
    private static readonly Guid Id = new("00112233-4455-6677-8899-aabbccddeeff");

    internal static UdifWriterSettings Zlib { get; } = new() { Codec = UdifCodecs.Zlib, Compressor = new ZlibCodec(), SegmentId = Id };

    internal static UdifWriterSettings Raw { get; } = new() { Codec = UdifCodecs.Raw, SegmentId = Id };

    /// <summary>A disk of 12 MiB: text, random, zeros, holes of both kinds, and a few sectors of this and that.</summary>
    internal static MixedDisk Disk() => new(
        (ExtentKind.Data, BlockSamples.Text(2_500_096, 1)), (ExtentKind.Unused, new byte[1_000_448]),
        (ExtentKind.Data, BlockSamples.Random(3_000_320, 2)),
        (ExtentKind.Zero, new byte[3_000_320]), (ExtentKind.Data, new byte[2_097_152]), (ExtentKind.Data, BlockSamples.Text(5120, 3)),
        (ExtentKind.Unused, new byte[979_456]));

    internal static byte[] Write(
        BlockStorage disk, UdifWriterSettings settings, IReadOnlyList<DiskSegment>? segments = null, int? workers = 2)
    {
        var file = new MemoryStorage();
        using var writer =
            new UdifWriter(file, disk.Length, segments ?? [DiskSegment.Whole("unknown partition", disk.Length / 512)], settings);
        ConversionPump.Run(disk, writer, "", SilentObserver.Instance, CancellationToken.None, workers);
        return file.ToArray();
    }

    [Fact]
    public void A_licence_agreement_is_kept_when_an_image_is_converted()
    {
        // As Apple's udifrez leaves it: a list of languages, buttons and a text, each an array of resources.
        static PropertyListArray Resource(string id, byte[] data) =>
            new([new PropertyListDictionary { { "Attributes", "0x0000" }, { "Data", data }, { "ID", id }, { "Name", "English" } }]);
        var licence = new PropertyListDictionary
        {
            { "LPic", Resource("5000", [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]) }, { "STR#", Resource("5000", [0, 1, 5, .. "Agree"u8]) },
            { "TEXT", Resource("5000", [.. "Do what you like."u8]) }, { "styl", Resource("5000", [0, 0]) },
        };
        using var folder = new TemporaryFolder();
        byte[] disk = new byte[40_960];
        "NTFS    "u8.CopyTo(disk.AsSpan(3)); // something that is recognised
        (disk[510], disk[511], disk[11], disk[12]) = (0x55, 0xAA, 0, 2);
        File.WriteAllBytes(folder["licensed.dmg"], Write(new MemoryStorage(disk), Zlib with { LicenceResources = licence }));
        foreach (BackupImageFormat format in (BackupImageFormat[])[BackupImageFormat.ReadOnly, BackupImageFormat.ReadOnlyLzfse])
        {
            var request =
                new ImageConversionRequest { Path = folder["licensed.dmg"], DestinationPath = folder[$"{format}.dmg"], Format = format };
            ImageConversion.Run(request, SilentObserver.Instance, CancellationToken.None);
            using UdifStorage converted = UdifStorage.Open(FileStorage.OpenRead(request.DestinationPath), ownsFile: true);
            Assert.Equal(PropertyListWriter.Write(licence), PropertyListWriter.Write(converted.ReadLicenceResources()!));
            byte[] back = new byte[disk.Length];
            converted.Read(0, back);
            Assert.Equal(disk, back);
        }

        using UdifStorage free = UdifStorage.Open(new MemoryStorage(Write(new MemoryStorage(disk), Zlib)));
        Assert.Null(free.ReadLicenceResources());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_is_written_reads_back(bool compressed)
    {
        MixedDisk disk = Disk();
        byte[] image = Write(disk, compressed ? Zlib : Raw, Segments(disk.Length));
        using UdifStorage read = UdifStorage.Open(new MemoryStorage(image));
        Assert.Equal(disk.Length, read.Length);
        byte[] back = new byte[disk.Length];
        read.Read(0, back);
        Assert.Equal(disk.Content, back);
        Assert.Empty(read.Verify(SilentObserver.Instance, CancellationToken.None));
        Assert.Equal(compressed ? "UDZO" : "UDRO", read.FormatCode);

        // Not a byte is stored for the holes, nor for the data that is zeros.
        Assert.InRange(image.Length, 3_000_320, compressed ? 4_500_000 : 5_560_000);
        Assert.Equal(compressed, read.Tables.Any(t => t.Runs.Any(r => r.Type == UdifRunType.Raw && r.Length == 1 << 20)) && compressed);
        Assert.Contains(read.GetExtents(0, read.Length), e => e.Kind == ExtentKind.Unused && e.Length == 1_000_448);
    }

    [Fact]
    public void Random_reads_agree_with_the_disk()
    {
        MixedDisk disk = Disk();
        using UdifStorage read = UdifStorage.Open(new MemoryStorage(Write(disk, Zlib)));
        Parallel.For(0, 8, seed =>
        {
            var random = new Random(seed);
            byte[] buffer = new byte[200_000];
            for (int i = 0; i < 60; i++)
            {
                Span<byte> part = buffer.AsSpan(0, random.Next(buffer.Length));
                int at = random.Next((int)disk.Length - part.Length);
                read.Read(at, part);
                Assert.True(part.SequenceEqual(disk.Content.AsSpan(at, part.Length)));
                foreach (StorageExtent e in read.GetExtents(at, part.Length))
                    if (e.Kind != ExtentKind.Data) Assert.False(part.Slice((int)e.Offset - at, (int)e.Length).ContainsAnyExcept((byte)0));
            }
        });
    }

    [Fact]
    public void The_same_recipe_gives_the_same_bytes_whatever_the_number_of_threads() =>
        Assert.Equal(Write(Disk(), Zlib, workers: 1), Write(Disk(), Zlib, workers: 5));

    [Fact]
    public void No_image_before_the_trailer()
    {
        MixedDisk disk = Disk();
        byte[] image = Write(disk, Raw);
        Assert.True(UdifStorage.IsMatch(new MemoryStorage(image)));
        Assert.False(UdifStorage.IsMatch(new MemoryStorage(image[..^1])));
        Assert.False(UdifStorage.IsMatch(new MemoryStorage(image[..^512])));
    }

    [CorpusFact]
    public void Our_uncompressed_images_are_Apples_to_the_byte()
    {
        int compared = 0;
        foreach (string path in ConvertedSamples("UDRO"))
        {
            byte[] theirs = File.ReadAllBytes(path);
            byte[] ours = Rewrite(theirs, Raw);
            Assert.Equal(theirs, ours);
            compared++;
        }

        Assert.Equal(3, compared);
    }

    [CorpusFact]
    public void Our_zlib_images_have_Apples_trailers_and_tables()
    {
        int compared = 0;
        foreach (string path in ConvertedSamples("UDZO"))
        {
            byte[] theirs = File.ReadAllBytes(path);
            byte[] ours = Rewrite(theirs, Zlib);
            using UdifStorage their = UdifStorage.Open(new MemoryStorage(theirs)), our = UdifStorage.Open(new MemoryStorage(ours));
            UdifTrailer a = their.Trailer, b = our.Trailer;

            // What depends on how well zlib compressed.
            (b.DataForkLength, b.XmlOffset, b.XmlLength, b.DataForkChecksum) =
                (a.DataForkLength, a.XmlOffset, a.XmlLength, a.DataForkChecksum);
            Assert.Equal(Convert.ToHexString(Layout.ToBytes(a)), Convert.ToHexString(Layout.ToBytes(b)));
            Assert.Equal(their.Tables.Count, our.Tables.Count);
            foreach ((UdifBlockTable t, UdifBlockTable o) in their.Tables.Zip(our.Tables))
            {
                Assert.Equal((t.Name, t.Id), (o.Name, o.Id));
                UdifBlockTableHeader h = o.Header;

                // Older versions of hdiutil ask for buffers where nothing is stored, and number an end run of no sectors.
                if (h.BuffersNeeded == 0) h.BuffersNeeded = t.Header.BuffersNeeded;
                UdifRun[] expected = Normal(t.Runs), actual = Normal(o.Runs);
                h.RunCount = t.Header.RunCount;
                Assert.Equal(Convert.ToHexString(Layout.ToBytes(t.Header)), Convert.ToHexString(Layout.ToBytes(h)));
                Assert.Equal(expected, actual);
            }

            compared++;
        }

        Assert.InRange(compared, 5, 100);

        // Positions depend on zlib; whether a chunk was zeros, or one of ours too dense to compress, may differ; chunks are cut elsewhere
        // behind a gap.
        static UdifRun[] Normal(UdifRun[] runs)
        {
            var merged = new List<UdifRun>();
            foreach (UdifRun run in runs)
            {
                UdifRun next =
                    run with { StoredOffset = 0, StoredLength = 0, Type = run.Type == UdifRunType.Ignore ? run.Type : UdifRunType.Zlib };
                if (merged.Count > 0 && merged[^1].Type == next.Type)
                    merged[^1] = merged[^1] with { SectorCount = merged[^1].SectorCount + next.SectorCount };
                else merged.Add(next);
            }

            return [.. merged];
        }
    }

    [CorpusFact]
    public void Segments_are_named_and_numbered_as_in_Apples_images()
    {
        foreach (string name in new[] { "input_ro.dmg", "hfsplus_zlib.dmg", "compression-raw.dmg", "example.dmg", "apm_hfsplus.dmg",
            "node-udif/raw.dmg" })
        {
            string path = UdifCorpusTests.Samples().Single(s => s.Path.EndsWith(name, StringComparison.Ordinal)).Path;
            using UdifStorage disk = UdifStorage.Open(new MemoryStorage(File.ReadAllBytes(path)));

            // The map may be followed by a sector or two that the trailer counts and no table covers.
            DiskSegment[] apples = SegmentsOf(disk);
            using var covered = new WindowStorage(disk, 0, apples.Sum(s => s.SectorCount) * 512);
            Assert.Equal(apples, PartitionTable.Read(covered).Segments);
        }
    }

    [Fact]
    public void A_name_that_no_property_list_can_hold_is_no_obstacle()
    {
        MixedDisk disk = Disk();
        byte[] image = Write(disk, Zlib, [DiskSegment.Whole("a\u0001b\uD800c\uFFFE \U0001F600", disk.Length / 512)]);
        using UdifStorage written = UdifStorage.Open(new MemoryStorage(image));
        Assert.Equal(DiskSegment.Whole("a\uFFFDb\uFFFDc\uFFFD \U0001F600", disk.Length / 512), Assert.Single(SegmentsOf(written)));
    }

    [Fact]
    public void Many_runs_make_them_longer_not_the_property_list_too_long()
    {
        // Full: 4 TiB of data in one piece.
        UdifWriterSettings full = Zlib.FittedTo(new ExtentSource(1, 4L << 40, 0), 8, CancellationToken.None);
        Assert.Equal((32 << 20, 4096), (full.ChunkSize, full.ShortestGap));

        // Small: as it is.
        Assert.Equal(Zlib, Zlib.FittedTo(new ExtentSource(1000, 1 << 20, 1 << 20), 8, CancellationToken.None));

        // In tatters: 1,000,000 pieces with holes of 8 KiB.
        UdifWriterSettings tatters = Zlib.FittedTo(new ExtentSource(1_000_000, 4096, 8192), 8, CancellationToken.None);
        Assert.Equal((1 << 20, 16384), (tatters.ChunkSize, tatters.ShortestGap));
    }

    [Fact]
    public void The_property_list_of_the_longest_tables_stays_below16_MiB()
    {
        // 120,000 runs of data of one sector and as many gaps, without what the settings would do about it.
        var file = new MemoryStorage();
        using var writer =
            new UdifWriter(
                file, 250_000 * 512L, [DiskSegment.Whole("Apple_HFS", 250_000)], Raw with { ChunkSize = 512, ShortestGap = 512 });
        var chunk = new CCImage.Containers.DiskChunk { Plain = BlockSamples.Random(512, 1) };
        for (int i = 0; i < 250_000; i++)
        {
            (chunk.Offset, chunk.Length, chunk.Kind) = (i * 512L, 512, i % 2 == 0 ? ExtentKind.Data : ExtentKind.Zero);
            writer.Encode(chunk);
            writer.Append(chunk);
        }

        writer.Complete();
        using UdifStorage read = UdifStorage.Open(file);
        Assert.Equal(250_001u, (uint)read.Tables[0].Header.RunCount);
        Assert.InRange((long)(ulong)read.Trailer.XmlLength, 1, 16 << 20);
        Assert.Empty(read.Verify(SilentObserver.Instance, CancellationToken.None));
    }

    [OracleFact("7z")]
    public void Seven_zip_finds_nothing_to_say()
    {
        MixedDisk disk = Disk();
        foreach (UdifWriterSettings settings in new[] { Zlib, Raw, Zlib with { ChunkSize = 256 << 10 } })
        {
            foreach (IReadOnlyList<DiskSegment> segments in new[] { Segments(disk.Length),
                [DiskSegment.Whole("Apple_HFS", disk.Length / 512)] })
            {
                InTemporaryFolder(folder =>
                {
                    string path = Path.Combine(folder, "image.dmg");
                    File.WriteAllBytes(path, Write(disk, settings, segments));
                    (int exitCode, string output, string error) = Oracle.Run("7z", "t", "-tdmg", path);
                    Assert.True(exitCode == 0 && output.Contains("Everything is Ok", StringComparison.Ordinal), output + error);
                    Assert.DoesNotContain("arning", output + error, StringComparison.Ordinal);
                    Assert.DoesNotContain("rror", output + error, StringComparison.Ordinal);
                });
            }
        }
    }

    [OracleFact("qemu-img")]
    public void Qemu_reads_the_same_disk()
    {
        MixedDisk disk = Disk();
        foreach (UdifWriterSettings settings in new[] { Zlib, Raw })
        {
            InTemporaryFolder(folder =>
            {
                string path = Path.Combine(folder, "image.dmg"), raw = Path.Combine(folder, "disk.raw");
                File.WriteAllBytes(path, Write(disk, settings, Segments(disk.Length)));
                (int exitCode, string output, string error) = Oracle.Run("qemu-img", "convert", "-f", "dmg", "-O", "raw", path, raw);
                Assert.True(exitCode == 0, output + error);
                Assert.Equal(disk.Content, File.ReadAllBytes(raw));
            });
        }
    }

    private static IReadOnlyList<DiskSegment> Segments(long length) => GptLayout.Create(length, Id, Id).Segments;

    private static DiskSegment[] SegmentsOf(UdifStorage disk) =>
        [.. disk.Tables.Select(
            t => new DiskSegment(t.Name, t.Id, (long)(ulong)t.Header.FirstSector, (long)(ulong)t.Header.SectorCount,
            unchecked((int)(uint)t.Header.BlockDescriptor)))];

    /// <summary>Samples that hdiutil's convert made, in its present form.</summary>
    private static IEnumerable<string> ConvertedSamples(string code)
    {
        foreach ((string path, string sampleCode, _, _) in UdifCorpusTests.Samples())
        {
            using UdifStorage disk = UdifStorage.Open(new MemoryStorage(File.ReadAllBytes(path)));
            bool isOld = disk.Trailer.SectorCount == 0 || disk.Trailer.ResourceForkLength != 0;
            if (sampleCode == code && disk.Trailer.SegmentCount == 1 && !isOld) yield return path;
        }
    }

    /// <summary>Reads an image and writes its disk again, with its extents, segments and id.</summary>
    private static byte[] Rewrite(byte[] image, UdifWriterSettings settings)
    {
        using UdifStorage disk = UdifStorage.Open(new MemoryStorage(image));
        UdifTrailer trailer = disk.Trailer;
        var id = new Guid(Layout.AsBytes(ref trailer.SegmentId), bigEndian: true);
        return Write(disk, settings with { SegmentId = id, ShortestGap = 512 }, SegmentsOf(disk));
    }

    private static void InTemporaryFolder(Action<string> act)
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("ccimage-udif-");
        try
        {
            act(folder.FullName);
        }
        finally
        {
            folder.Delete(true);
        }
    }

    /// <summary>A disk in memory with extents of every kind; reading a hole is an error.</summary>
    internal sealed class MixedDisk : BlockStorage
    {
        private readonly List<StorageExtent> _extents = [];

        public MixedDisk(params (ExtentKind Kind, byte[] Bytes)[] parts)
        {
            long at = 0;
            foreach ((ExtentKind kind, byte[] bytes) in parts)
            {
                Assert.Equal(0, bytes.Length % 512);
                _extents.Add(new(at, bytes.Length, kind));
                at += bytes.Length;
            }

            Content = [.. parts.SelectMany(p => p.Bytes)];
        }

        public byte[] Content { get; }

        public override long Length => Content.Length;

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            foreach (StorageExtent extent in GetExtentsCore(offset, buffer.Length))
                Assert.True(extent.Kind == ExtentKind.Data || extent.Length < 4096, "A hole was read.");
            Content.AsSpan((int)offset, buffer.Length).CopyTo(buffer);
        }

        protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) =>
            _extents.Where(e => e.Offset < offset + length && e.End > offset)
                .Select(e =>
                    new StorageExtent(Math.Max(e.Offset, offset), Math.Min(e.End, offset + length) - Math.Max(e.Offset, offset), e.Kind));
    }

    /// <summary>Data and gaps in turn, only to be listed.</summary>
    private sealed class ExtentSource(int count, long data, long gap) : BlockStorage
    {
        public override long Length => count * (data + gap);

        protected override void ReadCore(long offset, Span<byte> buffer) => throw new NotSupportedException();

        protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
        {
            for (long at = offset; at < offset + length;)
            {
                long inside = at % (data + gap);
                long next = Math.Min(at - inside + (inside < data ? data : data + gap), offset + length);
                yield return new(at, next - at, inside < data ? ExtentKind.Data : ExtentKind.Unused);
                at = next;
            }
        }
    }
}
