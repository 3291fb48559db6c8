using CCImage.Containers;
using CCImage.Containers.SparseImage;
using CCImage.Diagnostics;
using CCImage.Storage;
using CCImage.Tests.Storage;

namespace CCImage.Tests.Containers;

/// <summary>Compaction of a sparse image: what it does to the table and the file, and what a loss of power leaves at every step.</summary>
public sealed class SparseImageCompactionTests
{
    private const int Band = 4096;

    [Theory]
    [InlineData(1, 1)]
    [InlineData(7, 2)]
    [InlineData(1008, 3)]
    [InlineData(1009, 4)]
    [InlineData(1010, 5)]
    [InlineData(2018, 6)]
    [InlineData(2019, 7)]
    [InlineData(3500, 8)]
    public void What_is_used_stays_and_the_file_holds_nothing_else(int stored, int seed)
    {
        var random = new Random(seed);
        foreach (double share in new[] { 0, 0.01, 0.5, 0.99, 1 })
        {
            byte[] file = Make(stored, stored + 50, random, out byte[] disk);
            bool[] isFree = [.. Enumerable.Range(0, disk.Length / Band).Select(_ => random.NextDouble() < share)];
            StorageExtent[] free = FreeOf(isFree);
            using var log = new WriteLog(file, canGrow: true);
            CompactionEstimate estimate;
            int used;
            using (SparseImageStorage image = SparseImageStorage.Open(log, writable: true))
            {
                used = image.StoredBands().Count(b => !isFree[b]);
                estimate = image.EstimateCompaction(free);
                CompactionCounts counts = image.Compact(free, log.Cut, _ => { }, CancellationToken.None);
                Assert.Equal(stored - used, counts.BandsRemoved);
                Assert.Equal((estimate.Counts.BandsRemoved, estimate.Counts.BandsMoved, 0),
                    (counts.BandsRemoved, counts.BandsMoved, counts.KeptBytes));
                Assert.Equal(estimate.StoredBytesAfter, image.StoredBytes);
                AssertSame(disk, isFree, image);

                // The same session goes on.
                image.Write(Band * (stored + 5L), [7]);
                image.Flush();
                Assert.Equal(7, Read(image, Band * (stored + 5L), 1)[0]);
            }

            using SparseImageStorage again = SparseImageStorage.Open(new MemoryStorage(log.Now), writable: false);
            Assert.InRange(again.StoredBandCount, used, used + 1);
            disk[Band * (stored + 5)] = 7;
            isFree[stored + 5] = true;
            AssertSame(disk, isFree, again);
            int nodes = again.StoredBandCount <= 1008 ? 1 : 1 + ((again.StoredBandCount - 1008 + 1009) / 1010);
            Assert.Equal((nodes * 4096L) + (again.StoredBandCount * (long)Band), log.Length);
        }
    }

    [Fact]
    public void A_second_compaction_writes_nothing()
    {
        using var log = new WriteLog(Make(300, 310, new Random(5), out byte[] disk), canGrow: true);
        StorageExtent[] free = FreeOf([.. Enumerable.Range(0, disk.Length / Band).Select(b => b % 3 == 0)]);
        Compact(log, free);
        using var second = new WriteLog(log.Now, canGrow: true);
        Compact(second, free);
        Assert.Equal(log.Now, second.Now);
        Assert.DoesNotContain(second.States(), s => s.Bytes.Length != log.Length);
    }

    [Fact]
    public void Free_bytes_in_bands_that_are_used_in_part_are_kept()
    {
        using var log = new WriteLog(Make(10, 10, new Random(6), out byte[] disk), canGrow: true);
        StorageExtent[] free = [new(100, Band, ExtentKind.Zero), new(3 * Band, (2 * Band) + 1, ExtentKind.Zero)];
        using SparseImageStorage image = SparseImageStorage.Open(log, writable: true);
        CompactionCounts counts = image.Compact(free, log.Cut, _ => { }, CancellationToken.None);
        Assert.Equal((2, Band + 1L), (counts.BandsRemoved, counts.KeptBytes));
        Assert.Equal(disk[..(3 * Band)], Read(image, 0, 3 * Band));
    }

    [Fact]
    public void Every_state_that_a_loss_of_power_leaves_is_a_whole_image_and_compacting_ends_the_work()
    {
        // Over the end of an index node, in several batches; and bands that are longer than a batch.
        foreach ((int stored, int bandSize, int batch) in new[] { (1040, 512, 512 * 20), (6, 3 << 18, 512) })
        {
            var random = new Random(stored);
            byte[] file = Make(stored, stored + 3, random, out byte[] disk, bandSize);
            bool[] isFree = [.. Enumerable.Range(0, disk.Length / bandSize).Select(b => b < 20 || b % 5 == 0)];
            if (stored < 10) isFree = [.. Enumerable.Range(0, disk.Length / bandSize).Select(b => b < 3)];
            StorageExtent[] free = FreeOf(isFree, bandSize);
            using var log = new WriteLog(file, canGrow: true);
            Compact(log, free, batch);
            byte[] done = log.Now;
            Assert.True(done.Length < file.Length);
            int states = 0;
            foreach ((string name, byte[] bytes) in log.States())
            {
                states++;
                using (SparseImageStorage image = SparseImageStorage.Open(new MemoryStorage(bytes), writable: false))
                    AssertSame(disk, isFree, image, name);
                using var rest = new WriteLog(bytes, canGrow: true);
                Compact(rest, free);
                Assert.True(done.Length == rest.Length, name);
                using SparseImageStorage finished = SparseImageStorage.Open(new MemoryStorage(rest.Now), writable: false);
                AssertSame(disk, isFree, finished, name);
                Assert.Equal(0, finished.DuplicateBandCount);
            }

            Assert.True(states > 10);
        }
    }

    [Fact]
    public void A_band_in_two_slots_is_read_where_both_are_equal_and_cleared_before_a_write()
    {
        byte[] file = Make(10, 12, new Random(1), out byte[] disk);
        int firstEntry = 4096 - (1008 * 4), copy = 4096 + (11 * Band), band = 1 + BandOf(file, 3);
        Array.Resize(ref file, copy + Band);
        file.AsSpan(4096 + (3 * Band), Band).CopyTo(file.AsSpan(copy));
        file[firstEntry + (11 * 4) + 3] = (byte)band;
        using (SparseImageStorage image = SparseImageStorage.Open(new MemoryStorage(file), writable: false))
        {
            Assert.Equal((1, 10), (image.DuplicateBandCount, image.StoredBandCount));
            AssertSame(disk, new bool[12], image);
            var findings = new ImageFindings("image");
            new SparseImageChecker(image).Check(findings);
            Assert.Contains(
                findings.ToList(), f => f.Grade == ImageFindingGrade.Note && f.Message.Contains("twice", StringComparison.Ordinal));
        }

        var written = new WriteLog(file, canGrow: true);
        using (SparseImageStorage image = SparseImageStorage.Open(written, writable: true))
        {
            image.Write((band - 1) * Band, [1, 2, 3]);
            image.Flush();
        }

        using (SparseImageStorage image = SparseImageStorage.Open(new MemoryStorage(written.Now), writable: false))
        {
            Assert.Equal(0, image.DuplicateBandCount);
            Assert.Equal([1, 2, 3], Read(image, (band - 1) * Band, 3));
        }

        file[^1] ^= 1;
        foreach (bool writable in new[] { false, true })
            Assert.Equal(ImageErrorId.ImageDamaged,
                Assert.Throws<ImageException>(() => SparseImageStorage.Open(new WriteLog(file, canGrow: true), writable)).Id);
    }

    [Fact]
    public void Cancelled_between_two_batches_the_image_is_whole()
    {
        using var log = new WriteLog(Make(40, 40, new Random(9), out byte[] disk, 1 << 19), canGrow: true);
        bool[] isFree = [.. Enumerable.Range(0, 40).Select(b => b < 3)];
        using (SparseImageStorage image = SparseImageStorage.Open(log, writable: true))
        {
            Assert.Throws<OperationCanceledException>(
                () => image.Compact(FreeOf(isFree, 1 << 19), log.Cut, _ => { }, new CancellationToken(true)));
        }

        using SparseImageStorage cut = SparseImageStorage.Open(new MemoryStorage(log.Now), writable: false);
        AssertSame(disk, isFree, cut);
    }

    private static void Compact(WriteLog log, StorageExtent[] free, long batch = 64 << 20)
    {
        using SparseImageStorage image = SparseImageStorage.Open(log, writable: true);
        image.Compact(free, log.Cut, _ => { }, CancellationToken.None, batch);
    }

    /// <summary>An image whose bands were written in random order.</summary>
    private static byte[] Make(int stored, int capacity, Random random, out byte[] disk, int bandSize = Band)
    {
        disk = new byte[capacity * bandSize];
        var file = new MemoryStorage();
        using (SparseImageStorage image = SparseImageStorage.Create(file, disk.Length, bandSize))
        {
            int[] bands = [.. Enumerable.Range(0, stored)];
            random.Shuffle(bands);
            foreach (int band in bands)
            {
                Span<byte> bytes = disk.AsSpan(band * bandSize, bandSize);
                random.NextBytes(bytes);
                image.Write(band * (long)bandSize, bytes);
            }
        }

        byte[] result = new byte[file.Length];
        file.Read(0, result);
        return result;
    }

    private static int BandOf(byte[] file, int slot) => file[4096 - (1008 * 4) + (slot * 4) + 3] - 1;

    private static StorageExtent[] FreeOf(bool[] isFree, int bandSize = Band)
    {
        var free = new List<StorageExtent>();
        for (int i = 0; i < isFree.Length; i++)
        {
            if (!isFree[i]) continue;
            if (free.Count > 0 && free[^1].End == i * (long)bandSize) free[^1] = free[^1] with { Length = free[^1].Length + bandSize };
            else free.Add(new(i * (long)bandSize, bandSize, ExtentKind.Zero));
        }

        return [.. free];
    }

    private static void AssertSame(byte[] disk, bool[] isFree, SparseImageStorage image, string state = "")
    {
        int band = (int)image.BandSizeBytes;
        byte[] now = Read(image, 0, disk.Length);
        for (int i = 0; i < isFree.Length; i++)
        {
            if (!isFree[i]) Assert.True(now.AsSpan(i * band, band).SequenceEqual(disk.AsSpan(i * band, band)), $"band {i} {state}");
        }
    }

    private static byte[] Read(BlockStorage storage, long offset, int length)
    {
        byte[] bytes = new byte[length];
        storage.Read(offset, bytes);
        return bytes;
    }
}
