using System.Security.Cryptography;
using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Storage;
using CCImage.Tests.Storage;

namespace CCImage.Tests.Containers;

public class SparseBundleStorageTests : WritableStorageContract
{
    private const int Band = 1 << 20;

    private string Bundle => Path.Combine(Folder, "bundle");

    [Fact]
    public void A_new_bundle_has_Apples_files()
    {
        using (SparseBundleStorage disk = New(100_000_256, 8 << 20))
        {
            disk.Write((11L * (8 << 20)) + 512, [1, 2]);
            disk.Write(100_000_255, [3]);
            disk.Write(0, new byte[512]);
        }

        Assert.Equal(["Info.bckup", "Info.plist", "bands", "token"],
            Directory.GetFileSystemEntries(Bundle).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal(["b"], Directory.GetFiles(Path.Combine(Bundle, "bands")).Select(Path.GetFileName));
        Assert.Equal(0, new FileInfo(Path.Combine(Bundle, "token")).Length);
        Assert.Equal(100_000_256 - (11L * (8 << 20)), new FileInfo(Path.Combine(Bundle, "bands", "b")).Length);
        Assert.Equal(File.ReadAllBytes(Path.Combine(Bundle, "Info.plist")), File.ReadAllBytes(Path.Combine(Bundle, "Info.bckup")));
    }

    [CorpusFact]
    public void The_property_list_is_as_Apple_writes_it()
    {
        using (SparseBundleStorage disk = New(100_000_256, 8 << 20))
        {
            disk.Write(0, new byte[512]);
        }

        string apple = Path.Combine(CorpusLocation.Folder!, "chocol4te__sparsebundle-utils", "none-fat.sparsebundle", "Info.plist");
        Assert.Equal(File.ReadAllText(apple), File.ReadAllText(Path.Combine(Bundle, "Info.plist")));
    }

    [Fact]
    public void Bands_grow_with_the_disk()
    {
        Assert.Equal(8L << 20, SparseBundleInfo.BandSizeFor(1));
        Assert.Equal(8L << 20, SparseBundleInfo.BandSizeFor(128L << 30));
        Assert.Equal(16L << 20, SparseBundleInfo.BandSizeFor((128L << 30) + 512));
        Assert.Equal(1L << 30, SparseBundleInfo.BandSizeFor(16L << 40));
        Assert.Equal(8L << 30, SparseBundleInfo.BandSizeFor(long.MaxValue - 511));
        foreach (long band in new[] { 512, (1 << 20) + 512, 3 << 20, 16L << 30 })
            Assert.Equal(ImageErrorId.InvalidArgument, Assert.Throws<ImageException>(() => New(1 << 20, band)).Id);
    }

    [Fact]
    public void Opening_touches_no_band()
    {
        using (SparseBundleStorage disk = New(10 * Band, Band)) disk.Write(0, [1]);
        File.WriteAllBytes(Path.Combine(Bundle, "bands", "0"), new byte[Band + 1]);
        using SparseBundleStorage opened = SparseBundleStorage.Open(Bundle, writable: false);
        ImageException e = Assert.Throws<ImageException>(() => opened.Read(0, new byte[1]));
        Assert.Equal((ImageErrorId.ImageDamaged, "bands/0"), (e.Id, e.Place));
        opened.Read(Band, new byte[1]);
    }

    [Fact]
    public void Keeps_few_bands_open_and_finds_all_again()
    {
        using SparseBundleStorage disk = New(300L * Band, Band);
        for (int band = 0; band < 300; band++) disk.Write(((long)band * Band) + band, [(byte)((band % 250) + 1)]);
        disk.Flush();
        if (OperatingSystem.IsLinux())
            Assert.True(new DirectoryInfo("/proc/self/fd").GetFileSystemInfos()
                .Count(f => f.LinkTarget?.StartsWith(Bundle, StringComparison.Ordinal) == true) <= 66);
        byte[] one = new byte[1];
        for (int band = 299; band >= 0; band--)
        {
            disk.Read(((long)band * Band) + band, one);
            Assert.Equal((band % 250) + 1, one[0]);
        }

        Assert.Equal(Enumerable.Range(0, 300).Sum(b => b + 1L), disk.StoredBytes);
        Assert.Equal(300, disk.GetExtents(0, disk.Length).Count(e => e.Kind == ExtentKind.Data && e.Offset % Band < 300));
    }

    [Fact]
    public void One_writer_or_many_readers()
    {
        New(Band, Band).Dispose();
        using (SparseBundleStorage.Open(Bundle, writable: true))
        {
            ImageException e = Assert.Throws<ImageException>(() => SparseBundleStorage.Open(Bundle, writable: false));
            Assert.Equal((ImageErrorId.ImageInUse, Bundle), (e.Id, e.Path));
        }

        using SparseBundleStorage first = SparseBundleStorage.Open(Bundle, writable: false);
        using SparseBundleStorage second = SparseBundleStorage.Open(Bundle, writable: false);
        Assert.False(second.CanWrite);
    }

    [Theory]
    [InlineData("missing")]
    [InlineData("garbage")]
    public void The_copy_of_the_property_list_serves_for_reading(string state)
    {
        using (SparseBundleStorage disk = New(Band, Band)) disk.Write(3, [7]);
        string list = Path.Combine(Bundle, "Info.plist");
        if (state == "missing") File.Delete(list);
        else File.WriteAllText(list, "<plist>");
        Assert.True(SparseBundleStorage.IsMatch(Bundle));
        using SparseBundleStorage read = SparseBundleStorage.Open(Bundle, writable: false);
        Assert.Equal(7, ReadAll(read)[3]);
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => SparseBundleStorage.Open(Bundle, writable: true)).Id);
        File.Delete(Path.Combine(Bundle, "Info.bckup"));
        Assert.Equal(
            state == "missing" ? ImageErrorId.UnknownFormat : ImageErrorId.ImageDamaged,
            Assert.Throws<ImageException>(() => SparseBundleStorage.Open(Bundle, writable: false)).Id);
    }

    [Theory]
    [InlineData("<integer>1048576</integer>", "<integer>1000</integer>", ImageErrorId.ImageDamaged)]
    [InlineData("<integer>1048576</integer>", "<integer>0</integer>", ImageErrorId.ImageDamaged)]
    [InlineData("<integer>1048576</integer>", "<integer>-1048576</integer>", ImageErrorId.ImageDamaged)]
    [InlineData("<integer>1048576</integer>", "<string>1048576</string>", ImageErrorId.ImageDamaged)]
    [InlineData("<integer>2097152</integer>", "<integer>-1</integer>", ImageErrorId.ImageDamaged)]
    [InlineData("<key>size</key>", "<key>sise</key>", ImageErrorId.ImageDamaged)]
    [InlineData("<integer>1</integer>", "<integer>2</integer>", ImageErrorId.UnsupportedFormat)]
    [InlineData("image.sparsebundle", "image.other", ImageErrorId.UnknownFormat)]
    public void Refuses_malformed(string old, string now, ImageErrorId expected)
    {
        New(2 * Band, Band).Dispose();
        foreach (string name in new[] { "Info.plist", "Info.bckup" })
        {
            string path = Path.Combine(Bundle, name);
            File.WriteAllText(path, File.ReadAllText(path).Replace(old, now, StringComparison.Ordinal));
        }

        ImageException e = Assert.Throws<ImageException>(() => SparseBundleStorage.Open(Bundle, writable: false));
        Assert.Equal(expected, e.Id);
        Assert.Equal(Bundle, e.Path);
    }

    [Fact]
    public void Random_damage_of_the_property_list_gives_typed_errors_only()
    {
        New(2 * Band, Band).Dispose();
        byte[] good = File.ReadAllBytes(Path.Combine(Bundle, "Info.plist"));
        var random = new Random(9);
        for (int i = 0; i < 1000; i++)
        {
            byte[] bad = random.Next(4) == 0 ? good[..random.Next(good.Length)] : [.. good];
            for (int flips = random.Next(1, 4); flips > 0 && bad.Length > 0; flips--)
                bad[random.Next(bad.Length)] ^= (byte)(1 << random.Next(8));
            foreach (string name in new[] { "Info.plist", "Info.bckup" }) File.WriteAllBytes(Path.Combine(Bundle, name), bad);
            MalformedInput.Try(() =>
            {
                using SparseBundleStorage disk = SparseBundleStorage.Open(Bundle, writable: false);
                disk.Read(0, new byte[(int)Math.Min(disk.Length, 4096)]);
                _ = disk.GetExtents(0, disk.Length).Take(100).Count();
            });
        }
    }

    [Fact]
    public void A_bundle_without_bands_folder_is_damaged()
    {
        New(Band, Band).Dispose();
        Directory.Delete(Path.Combine(Bundle, "bands"));
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => SparseBundleStorage.Open(Bundle, writable: false)).Id);
    }

    [Fact]
    public void Bands_that_cannot_be_reached_are_no_zeros()
    {
        using (SparseBundleStorage disk = New(40 * Band, Band)) disk.Write(Band, [7]);
        string bands = Path.Combine(Bundle, "bands"), away = Path.Combine(Folder, "away");
        using SparseBundleStorage opened = SparseBundleStorage.Open(Bundle, writable: true);
        Directory.Move(bands, away); // as if the share were gone
        byte[] one = new byte[1];
        Action[] uses =
        [
            () => opened.Read(Band, one), () => opened.Write(5 * Band, new byte[512]), () =>
                Assert.NotEmpty(opened.GetExtents(0, 2 * Band)), () => Assert.NotEmpty(opened.GetExtents(0, 40 * Band)),
        ];
        foreach (Action use in uses)
        {
            ImageException e = Assert.Throws<ImageException>(use);
            Assert.NotNull(e.Path);
            Assert.NotNull(e.Remedy);
        }

        Directory.Move(away, bands);
        opened.Read(Band, one);
        Assert.Equal(7, one[0]);
    }

    [Fact]
    public void Keeps_the_map_where_there_is_one()
    {
        New(3 * Band, Band).Dispose();
        Directory.CreateDirectory(Path.Combine(Bundle, "mapped"));
        using (SparseBundleStorage disk = SparseBundleStorage.Open(Bundle, writable: true))
        {
            disk.Write(4095, [1, 2]);
            disk.Write((2 * Band) + (9 * 4096), [1]);
            disk.Flush();
            disk.Write((2 * Band) + (10 * 4096), [1]);
        }

        byte[] first = File.ReadAllBytes(Path.Combine(Bundle, "mapped", "0")),
            last = File.ReadAllBytes(Path.Combine(Bundle, "mapped", "2"));
        Assert.Equal(32, first.Length);
        Assert.Equal(3, first[0]);
        Assert.Equal([0, 6], last[..2]);
        Assert.False(File.Exists(Path.Combine(Bundle, "mapped", "1")));
    }

    [Fact]
    public void Of_what_is_cut_off_no_bit_stays()
    {
        New(3 * Band, Band).Dispose();
        string mapped = Directory.CreateDirectory(Path.Combine(Bundle, "mapped")).FullName;
        using SparseBundleStorage disk = SparseBundleStorage.Open(Bundle, writable: true);
        for (long at = 0; at < disk.Length; at += Band) disk.Write(at, Enumerable.Repeat((byte)1, Band).ToArray());
        disk.SetCapacity(Band + (5 * 4096) + 512);
        Assert.Equal(["0", "1"], Directory.GetFiles(mapped).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal([0x3F, .. new byte[31]], File.ReadAllBytes(Path.Combine(mapped, "1")));
        Assert.Equal(Enumerable.Repeat((byte)0xFF, 32), File.ReadAllBytes(Path.Combine(mapped, "0")));
        disk.SetCapacity(3 * Band);
        Assert.Equal(0x3F, File.ReadAllBytes(Path.Combine(mapped, "1"))[0]);
    }

    [Fact]
    public void No_band_is_removed_before_its_map()
    {
        using (SparseBundleStorage made = New(3 * Band, Band)) made.Write(2 * Band, [1]);
        Directory.CreateDirectory(Path.Combine(Bundle, "mapped", "2")); // cannot be deleted as a file: the resize ends there
        using SparseBundleStorage disk = SparseBundleStorage.Open(Bundle, writable: true);
        Assert.Throws<ImageException>(() => disk.SetCapacity(Band));
        Assert.True(File.Exists(Path.Combine(Bundle, "bands", "2")));
    }

    [Fact]
    public void In_an_encrypted_bundle_what_the_map_leaves_out_is_deciphered_too()
    {
        New(Band, Band).Dispose();
        Directory.CreateDirectory(Path.Combine(Bundle, "mapped"));
        using (SparseBundleStorage disk = SparseBundleStorage.Open(Bundle, writable: true, f => new InvertedStorage(f)))
        {
            disk.Write(40_000, new byte[] { 5, 6 });
        }

        using SparseBundleStorage read = SparseBundleStorage.Open(Bundle, writable: false, f => new InvertedStorage(f));
        byte[] expected = new byte[Band];
        expected.AsSpan(0, 40_000).Fill(0xFF);
        (expected[40_000], expected[40_001]) = (5, 6);
        Assert.Equal(expected, ReadAll(read));
        Assert.Equal([new(0, 40_002, ExtentKind.Data), new(40_002, Band - 40_002, ExtentKind.Zero)], read.GetExtents(0, Band));
    }

    [CorpusFact]
    public void Apples_bundles_decode_to_their_hashes()
    {
        int compared = 0;
        foreach (string[] row in File.ReadLines(Path.Combine(CorpusLocation.Folder!, "manifest.tsv")).Select(l => l.Split('\t')))
        {
            if (row[1] != "sparsebundle" || row[3].Length > 0) continue;
            string path = Path.Combine(CorpusLocation.Folder!, row[0]);
            Assert.Equal(ContainerKind.SparseBundle, ContainerDetection.Detect(path));
            using SparseBundleStorage disk = SparseBundleStorage.Open(path, writable: false);
            Assert.Equal(row[4], disk.Length.ToString(System.Globalization.CultureInfo.InvariantCulture));
            Assert.Equal(row[5], Convert.ToHexStringLower(SHA256.HashData(ReadAll(disk))));
            Assert.Contains(disk.GetExtents(0, disk.Length), e => e.Kind == ExtentKind.Data);
            compared++;
        }

        Assert.True(compared >= 3, $"Only {compared} bundles were found.");
    }

    [CorpusFact]
    public void A_bundle_of_version_two_is_recognised_and_refused()
    {
        string path = Path.Combine(CorpusLocation.Folder!, "tmc__vmstore.sparsebundle", "vmstore.sparsebundle");
        Assert.Equal(ContainerKind.SparseBundle, ContainerDetection.Detect(path));
        ImageException e = Assert.Throws<ImageException>(() => SparseBundleStorage.Open(path, writable: false));
        Assert.Equal(ImageErrorId.UnsupportedFormat, e.Id);
        Assert.Contains("version 2", e.Message, StringComparison.Ordinal);
        Assert.Equal(122_368, SparseBundleStorage.ReadToken(path).Length);
    }

    protected override BlockStorage Make(int seed, out byte[] content)
    {
        // Three bands, the last one odd.
        content = Content(seed, (2 * Band) + 77_824);
        content.AsSpan(Band - 5000, 300_000).Clear();
        if (seed % 2 == 1) content.AsSpan(0, Band).Clear();
        SparseBundleStorage disk = New(content.Length, Band);
        for (int at = 0; at < content.Length; at += 65_000) disk.Write(at, content.AsSpan(at, Math.Min(65_000, content.Length - at)));
        return disk;
    }

    protected override BlockStorage Reopen(BlockStorage storage)
    {
        storage.Dispose();
        return SparseBundleStorage.Open(Bundle, writable: false);
    }

    private SparseBundleStorage New(long length, long bandSize) =>
        SparseBundleStorage.Create(Directory.CreateDirectory(Bundle).FullName, length, bandSize);

    /// <summary>Stands for encryption: what was never written comes out as noise.</summary>
    private sealed class InvertedStorage(BlockStorage inner) : BlockStorage
    {
        public override long Length => inner.Length;

        public override bool CanWrite => inner.CanWrite;

        public override bool CanGrow => inner.CanGrow;

        public override void Flush() => inner.Flush();

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            inner.Read(offset, buffer);
            foreach (ref byte b in buffer) b ^= 0xFF;
        }

        protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
        {
            byte[] copy = buffer.ToArray();
            foreach (ref byte b in copy.AsSpan()) b ^= 0xFF;
            inner.Write(offset, copy);
        }

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            base.Dispose(disposing);
        }
    }
}

public sealed class ContainerDetectionTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Tells_by_content()
    {
        byte[] File(int length, int at, string text)
        {
            byte[] bytes = new byte[length];
            System.Text.Encoding.ASCII.GetBytes(text).CopyTo(bytes, at);
            return bytes;
        }

        void Is(ContainerKind kind, byte[] bytes)
        {
            Assert.Equal(kind, ContainerDetection.Detect(new MemoryStorage(bytes)));
            string path = Path.Combine(_folder, "any.sparsebundle.txt");
            System.IO.File.WriteAllBytes(path, bytes);
            Assert.Equal(kind, ContainerDetection.Detect(path));
        }

        Is(ContainerKind.Raw, new byte[1024]);
        Is(ContainerKind.Udif, File(1024, 512, "koly"));
        Is(ContainerKind.Udif, File(777, 265, "koly"));
        Is(ContainerKind.SparseImage, File(4096, 0, "sprs"));
        Is(ContainerKind.Encrypted, File(5000, 0, "encrcdsa"));
        Is(ContainerKind.Encrypted, File(5000, 4992, "cdsaencr"));
        Is(ContainerKind.Asif, File(4096, 0, "shdw"));
    }

    [Fact]
    public void Refuses_what_is_no_image()
    {
        ImageErrorId Of(Action action) => Assert.Throws<ImageException>(action).Id;
        Assert.Equal(ImageErrorId.UnknownFormat, Of(() => ContainerDetection.Detect(new MemoryStorage([]))));
        Assert.Equal(ImageErrorId.UnknownFormat, Of(() => ContainerDetection.Detect(new MemoryStorage([1, 2, 3]))));
        Assert.Equal(ImageErrorId.UnknownFormat, Of(() => ContainerDetection.Detect(new MemoryStorage(new byte[700]))));
        Assert.Equal(ImageErrorId.UnknownFormat, Of(() => ContainerDetection.Detect(_folder)));
        Assert.Equal(ImageErrorId.ImageNotFound, Of(() => ContainerDetection.Detect(Path.Combine(_folder, "none"))));
        File.WriteAllText(Path.Combine(_folder, "Info.plist"), "<plist><dict/></plist>");
        Assert.Equal(ImageErrorId.UnknownFormat, Of(() => ContainerDetection.Detect(_folder)));
        Assert.Contains("diskutil image", ContainerDetection.AsifUnsupported().Message, StringComparison.Ordinal);
    }

    [CorpusFact]
    public void Recognises_Apples_asif()
    {
        using var zipped = new System.IO.Compression.GZipStream(
            File.OpenRead(Path.Combine(CorpusLocation.Folder!, "fox-it__dissect.hypervisor", "basic.asif.gz")),
            System.IO.Compression.CompressionMode.Decompress);
        byte[] head = new byte[4096];
        zipped.ReadExactly(head);
        Assert.Equal(ContainerKind.Asif, ContainerDetection.Detect(new MemoryStorage(head)));
    }
}

public sealed class StorageImageWriterTests
{
    [Fact]
    public void Writes_data_in_place_and_skips_the_rest()
    {
        byte[] content = new byte[5 << 20];
        new Random(1).NextBytes(content.AsSpan(0, 1 << 20));
        new Random(2).NextBytes(content.AsSpan(3 << 20, 1 << 20));
        var target = new MemoryStorage();
        using var writer = new StorageImageWriter(target);
        DiskChunk[] chunks =
        [
            new() { Offset = 0, Length = 1 << 20, Kind = ExtentKind.Data, Plain = content[..(1 << 20)] },
            new() { Offset = 1 << 20, Length = 2 << 20, Kind = ExtentKind.Zero, Plain = [1] },
            new() { Offset = 3 << 20, Length = 1 << 20, Kind = ExtentKind.Data, Plain = content[(3 << 20)..] },
            new() { Offset = 4 << 20, Length = 1 << 20, Kind = ExtentKind.Unused },
        ];
        foreach (DiskChunk chunk in chunks.Reverse()) writer.Encode(chunk);
        foreach (DiskChunk chunk in chunks) writer.Append(chunk);
        writer.Complete();
        Assert.Equal(content, target.ToArray());
        Assert.Equal(5 << 20, writer.AppendedBytes);
        Assert.Throws<ArgumentException>(() => new StorageImageWriter(target, 1000));
        Assert.Throws<ArgumentException>(() => new StorageImageWriter(new ZeroStorage(5)));
    }
}
