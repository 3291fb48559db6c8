using System.IO.Compression;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using CCImage.Containers.SparseImage;
using CCImage.Storage;
using CCImage.Tests.Storage;

namespace CCImage.Tests.Containers;

public sealed class SparseImageStorageTests : WritableStorageContract
{
    private readonly MemoryStorage _file = new();

    [Fact]
    public void Layouts_are_those_on_disk()
    {
        Assert.Equal(0x1000, Unsafe.SizeOf<SparseImageHeader>());
        Assert.Equal(0x00, Offset<SparseImageHeader>("Signature"));
        Assert.Equal(0x04, Offset<SparseImageHeader>("Version"));
        Assert.Equal(0x08, Offset<SparseImageHeader>("SectorsPerBand"));
        Assert.Equal(0x0C, Offset<SparseImageHeader>("Flags"));
        Assert.Equal(0x10, Offset<SparseImageHeader>("TotalSectorsLow"));
        Assert.Equal(0x14, Offset<SparseImageHeader>("NextNodeOffset"));
        Assert.Equal(0x1C, Offset<SparseImageHeader>("TotalSectors"));
        Assert.Equal(0x24, Offset<SparseImageHeader>("Reserved"));
        Assert.Equal(0x40, Offset<SparseImageHeader>("Slots"));
        Assert.Equal(0x1000, Unsafe.SizeOf<SparseImageIndexNode>());
        Assert.Equal(0x04, Offset<SparseImageIndexNode>("Number"));
        Assert.Equal(0x08, Offset<SparseImageIndexNode>("Flags"));
        Assert.Equal(0x0C, Offset<SparseImageIndexNode>("NextNodeOffset"));
        Assert.Equal(0x14, Offset<SparseImageIndexNode>("Reserved"));
        Assert.Equal(0x38, Offset<SparseImageIndexNode>("Slots"));

        static long Offset<T>(string field) => (long)Marshal.OffsetOf<T>(field);
    }

    [Theory]
    [InlineData(1007, 0)]
    [InlineData(1008, 0)]
    [InlineData(1009, 1)]
    [InlineData(2018, 1)]
    [InlineData(2019, 2)]
    [InlineData(3000, 2)]
    public void Has_as_many_index_nodes_as_it_needs(int bands, int nodes)
    {
        const int bandSize = 1024;
        var file = new MemoryStorage();
        var model = new Dictionary<int, byte>();
        using (SparseImageStorage disk = SparseImageStorage.Create(file, 5000L * bandSize, bandSize))
        {
            for (int i = 0; i < bands; i++)
            {
                int band = (int)(i * 7919L % 5000);
                model[band] = (byte)((i % 255) + 1);
                disk.Write(((long)band * bandSize) + 5, [model[band]]);
                if (i % 700 == 0) disk.Flush();
            }
        }

        Assert.Equal(4096L * (nodes + 1) + ((long)bands * bandSize), file.Length);
        for (int round = 0; round < 2; round++)
        {
            using SparseImageStorage disk = SparseImageStorage.Open(file, writable: round == 0);
            Assert.Equal(bands + round, disk.StoredBandCount);
            Assert.Equal(model.Keys.Order(), disk.StoredBands());
            byte[] read = new byte[bandSize];
            for (int band = 0; band < 5000; band++)
            {
                disk.Read((long)band * bandSize, read);
                Assert.Equal(model.GetValueOrDefault(band), read[5]);
                Assert.False(read.AsSpan(6).ContainsAnyExcept((byte)0));
            }

            if (round == 1) break;
            int added = Enumerable.Range(0, 5000).First(b => !model.ContainsKey(b));
            model[added] = 9;
            disk.Write(((long)added * bandSize) + 5, [9]);
        }
    }

    [Fact]
    public void Holds_sixteen_terabytes()
    {
        const long length = 16L << 40;
        var file = new SparseMemoryStorage(64 << 20);
        var growing = new GrowingStorage(file);
        using (SparseImageStorage disk = SparseImageStorage.Create(growing, length))
        {
            disk.Write(length - 3, [1, 2, 3]);
            disk.Write(8L << 40, [4]);
            Assert.Equal(2, disk.GetExtents(0, length).Count(e => e.Kind == ExtentKind.Data));
        }

        using SparseImageStorage again = SparseImageStorage.Open(growing, writable: false);
        Assert.Equal(length, again.Length);
        byte[] read = new byte[4];
        again.Read(length - 4, read);
        Assert.Equal([0, 1, 2, 3], read);
        Assert.Equal(
            [
                new(0, 8L << 40, ExtentKind.Zero), new(8L << 40, 1 << 20, ExtentKind.Data),
                new((8L << 40) + (1 << 20), length - (8L << 40) - (2 << 20), ExtentKind.Zero),
                new(length - (1 << 20), 1 << 20, ExtentKind.Data),
            ],
            again.GetExtents(0, length));
        Assert.Equal(4096 + (2 << 20), again.StoredBytes);
    }

    [Fact]
    public void Zeros_take_no_room()
    {
        using SparseImageStorage disk = SparseImageStorage.Create(_file, 10 << 20);
        disk.Write(0, new byte[10 << 20]);
        disk.Flush();
        Assert.Equal(4096, _file.Length);
        Assert.Equal([new(0, 10 << 20, ExtentKind.Zero)], disk.GetExtents(0, 10 << 20));
    }

    [Fact]
    public void The_table_knows_a_band_only_after_the_band_was_flushed()
    {
        var log = new LoggingStorage(_file);
        using SparseImageStorage disk = SparseImageStorage.Create(log, 100 << 10, 512);
        for (int band = 0; band < 200; band++) disk.Write(band * 512, [1]);
        log.Events.Clear();
        disk.Flush();
        Assert.Equal(["flush", "write 0", "flush"], log.Events);

        // What a killed job leaves behind the last band is not taken for zeros.
        byte[] stale = Enumerable.Repeat((byte)0xEE, 3 << 20).ToArray();
        var file = new MemoryStorage();
        SparseImageStorage.Create(file, 2 << 20).Dispose();
        file.Write(4096, stale);
        using SparseImageStorage reopened = SparseImageStorage.Open(file, writable: true);
        reopened.Write(700, [1]);
        byte[] expected = new byte[2 << 20];
        expected[700] = 1;
        Assert.Equal(expected, ReadAll(reopened));
    }

    [Fact]
    public void Nodes_are_written_before_what_points_to_them()
    {
        var log = new LoggingStorage(_file);
        using SparseImageStorage disk = SparseImageStorage.Create(log, 5000L * 512, 512);
        for (int band = 0; band < 2100; band++) disk.Write(band * 512, [1]);
        log.Events.Clear();
        disk.Flush();
        long first = 4096 + (1008 * 512), second = first + 4096 + (1010 * 512);
        Assert.Equal(["flush", $"write {first}", $"write {second}", "flush", "write 0", "flush"], log.Events);
    }

    [Theory]
    [InlineData(0x04, 2u)] // version
    [InlineData(0x08, 0u)] // no band
    [InlineData(0x10, 0u, 0x20, 0u)] // no disk
    [InlineData(0x1C, 0x7FFFFFFFu)] // huge disk
    [InlineData(0x40, 41u)] // band outside the disk
    [InlineData(0x40, 2u)] // the same as the next slot, whose bytes differ
    [InlineData(0x18, 4096u)] // node inside its own bands
    [InlineData(0x18, 1u)] // node inside the header
    [InlineData(0x14, 0x80000000u)] // node nowhere
    [InlineData(0x18, 0x7FFFFFFFu)] // node behind the file
    [InlineData(0x18, 0x00300000u)] // node inside a band
    public void Refuses_malformed(int offset, uint value, int otherOffset = -1, uint otherValue = 0)
    {
        using (SparseImageStorage disk = SparseImageStorage.Create(_file, 40 << 20))
        {
            for (int band = 0; band < 4; band++) disk.Write(band << 20, [(byte)(band + 1)]);
        }

        Put(offset, value);
        if (otherOffset >= 0) Put(otherOffset, otherValue);
        ImageException e = Assert.Throws<ImageException>(() => SparseImageStorage.Open(_file, writable: false));
        Assert.True(e.Id is ImageErrorId.ImageDamaged or ImageErrorId.UnsupportedFormat);
        Assert.NotNull(e.Place);

        void Put(int at, uint number) =>
            _file.Write(at, [(byte)(number >> 24), (byte)((number >> 16) & 255), (byte)((number >> 8) & 255), (byte)(number & 255)]);
    }

    [Fact]
    public void Reads_what_is_left_of_one_cut_short_but_does_not_write_it()
    {
        using (SparseImageStorage disk = SparseImageStorage.Create(_file, 40 << 20))
        {
            disk.Write(0, [1]);
            disk.Write(5 << 20, [2]);
        }

        byte[] cut = _file.ToArray()[..((1 << 20) + 8192)];
        using SparseImageStorage read = SparseImageStorage.Open(new MemoryStorage(cut), writable: false);
        byte[] one = new byte[1];
        read.Read(0, one);
        Assert.Equal([1], one);
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => read.Read((6 << 20) - 1, one)).Id);
        var growable = new MemoryStorage();
        growable.Write(0, cut);
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => SparseImageStorage.Open(growable, writable: true)).Id);
    }

    [Fact]
    public void Random_damage_gives_typed_errors_only()
    {
        using (SparseImageStorage disk = SparseImageStorage.Create(_file, 1 << 20, 512))
        {
            for (int band = 0; band < 1100; band++) disk.Write(band * 512, [1]);
        }

        byte[] good = _file.ToArray();
        var random = new Random(3);
        for (int i = 0; i < 1500; i++)
        {
            byte[] bad = (byte[])good.Clone();
            int place = random.Next(2) == 0 ? random.Next(100) : 4096 + (1008 * 512) + random.Next(200);
            for (int flips = random.Next(1, 4); flips > 0; flips--) bad[place + random.Next(8)] ^= (byte)(1 << random.Next(8));
            if (random.Next(3) == 0) bad = bad[..random.Next(bad.Length)];
            MalformedInput.Try(() =>
            {
                using SparseImageStorage disk = SparseImageStorage.Open(new MemoryStorage(bad), writable: false);
                byte[] buffer = new byte[4096];
                for (long at = 0; at + 4096 < Math.Min(disk.Length, 1 << 20); at += 50_000) disk.Read(at, buffer);
                foreach (StorageExtent extent in disk.GetExtents(0, disk.Length).Take(2000)) Assert.True(extent.Length > 0);
            });
        }
    }

    [CorpusFact]
    public void Apples_image_decodes_to_its_hash_and_is_made_the_same_by_us()
    {
        byte[] apple = Unzip("alienjax__UDIF/aj_sparse.sparseimage.gz");
        using SparseImageStorage disk = SparseImageStorage.Open(new MemoryStorage(apple), writable: false);
        Assert.Equal(40_960_000, disk.Length);
        Assert.Equal(
            "ca3f866acde4efa5ff4c010f1f044ccc72135a92114bafdcc53644e0a093acbf", Convert.ToHexStringLower(SHA256.HashData(ReadAll(disk))));

        // The same bands in the same order give the same file, to the byte.
        using SparseImageStorage ours = SparseImageStorage.Create(_file, disk.Length);
        foreach (int band in new[] { 0, 1, 0x13, 0x25, 0x26, 0x27, 4 })
        {
            byte[] bytes = new byte[Math.Min(1 << 20, disk.Length - (band << 20))];
            disk.Read(band << 20, bytes);
            ours.Write(band << 20, [1]); // some of Apple's bands hold nothing but zeros
            ours.Write(band << 20, bytes);
        }

        ours.Flush();
        Assert.True(apple.AsSpan().SequenceEqual(_file.ToArray()), "The files differ.");
    }

    [OracleFact("modiinfo")]
    public void Libmodi_sees_our_image()
    {
        string path = Path.Combine(Folder, "ours.sparseimage");
        using (var file = FileStorage.CreateNew(path))
        using (SparseImageStorage disk = SparseImageStorage.Create(file, 40_960_000))
        {
            disk.Write(3 << 20, [1, 2, 3]);
        }

        (int exitCode, string output, string error) = Oracle.Run("modiinfo", path);
        Assert.True(exitCode == 0, error);
        Assert.Contains("40960000", output, StringComparison.Ordinal);
        Assert.Contains("sparse", output, StringComparison.OrdinalIgnoreCase);
    }

    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 300_032);
        SparseImageStorage disk = SparseImageStorage.Create(_file, content.Length, 4096);
        for (int at = 0; at < content.Length; at += 1000) disk.Write(at, content.AsSpan(at, Math.Min(1000, content.Length - at)));
        return disk;
    }

    protected override BlockStorage Reopen(BlockStorage storage)
    {
        storage.Dispose();
        return SparseImageStorage.Open(_file, writable: false);
    }

    private static byte[] Unzip(string name)
    {
        using var zipped = new GZipStream(File.OpenRead(Path.Combine(CorpusLocation.Folder!, name)), CompressionMode.Decompress);
        using var content = new MemoryStream();
        zipped.CopyTo(content);
        return content.ToArray();
    }

    private sealed class LoggingStorage(BlockStorage inner) : BlockStorage
    {
        public List<string> Events { get; } = [];

        public override long Length => inner.Length;

        public override bool CanWrite => true;

        public override bool CanGrow => true;

        public override void Flush() => Events.Add("flush");

        protected override void ReadCore(long offset, Span<byte> buffer) => inner.Read(offset, buffer);

        protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
        {
            Events.Add($"write {offset}");
            inner.Write(offset, buffer);
        }
    }

    /// <summary>A file that grows inside a disk of fixed length.</summary>
    private sealed class GrowingStorage(BlockStorage inner) : BlockStorage
    {
        private long _length;

        public override long Length => _length;

        public override bool CanWrite => true;

        public override bool CanGrow => true;

        protected override void ReadCore(long offset, Span<byte> buffer) => inner.Read(offset, buffer);

        protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
        {
            inner.Write(offset, buffer);
            _length = Math.Max(_length, offset + buffer.Length);
        }
    }
}
