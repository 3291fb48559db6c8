using System.Security.Cryptography;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Storage;
using CCImage.Tests.Encryption;
using CCImage.Tests.Storage;

namespace CCImage.Tests;

using static TestImage;

/// <summary>
/// Whole images compacted, of every file system at hand: what is used stays to the byte, what is free goes, and a second time nothing is
/// left to do. "Deleting" is noise in the free space, which is all that a deleted file leaves.
/// </summary>
public sealed class ImageCompactionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public static TheoryData<BackupImageFormat, BackupImageEncryption, bool> Kinds => new()
    {
        { BackupImageFormat.Sparse, BackupImageEncryption.None, false },
        { BackupImageFormat.Sparse, BackupImageEncryption.Aes256, false },
        { BackupImageFormat.SparseBundle, BackupImageEncryption.None, false },
        { BackupImageFormat.SparseBundle, BackupImageEncryption.None, true },
        { BackupImageFormat.SparseBundle, BackupImageEncryption.Aes128, false },
        { BackupImageFormat.SparseBundle, BackupImageEncryption.Aes128, true },
    };

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Free_space_goes_and_files_stay(BackupImageFormat format, BackupImageEncryption encryption, bool hasMaps)
    {
        using Passphrase? secret = encryption == BackupImageEncryption.None ? null : Secrets.Of("correct horse");
        string image = Make(format, encryption, secret);
        if (hasMaps) AddMaps(image);
        string[] files = FilesOf(image, secret);
        foreach (int seed in new[] { 1, 2 })
        {
            Dirty(image, secret, seed, seed == 1 ? 1 : 0.3);
            BackupImage before = DiskImage.Inspect(image, secret);
            byte[] used = UsedOf(image, secret);
            Dictionary<long, byte[]> maps = hasMaps ? MapsOf(image) : [];
            ImageCompactionResult estimate = Run(new(image) { EstimateOnly = true }, secret);
            Assert.True(estimate.IsEstimate);
            Assert.Equal(before.StoredBytes, DiskImage.Inspect(image, secret).StoredBytes);
            ImageCompactionResult result = Run(new(image), secret);
            Assert.Equal(before.StoredBytes, result.StoredBytesBefore);
            Assert.Equal(before.ReclaimableBytes, estimate.ReclaimedBytes);
            Assert.Equal(DiskImage.Inspect(image, secret).StoredBytes, result.StoredBytesAfter);
            Assert.Equal((estimate.BandsRemoved, estimate.BandsMoved), (result.BandsRemoved, result.BandsMoved));
            Assert.True(result.ReclaimedBytes > 3 * Band);
            if (format == BackupImageFormat.SparseBundle && OperatingSystem.IsLinux())
            {
                // Zeros that are used lie in holes of the bands, which an estimate takes for free ones.
                Assert.InRange(result.ReclaimedBytes, estimate.ReclaimedBytes - 65_536, estimate.ReclaimedBytes + Band);
                Assert.True(result.StoredBytesAfter <= before.UsedBytes + (2 * Band), $"{result.StoredBytesAfter} of {before.UsedBytes}");
                Assert.True(result.BytesPunched > 0);
            }

            if (hasMaps) AssertMaps(image, secret, maps);
            Assert.Equal(used, UsedOf(image, secret));
            Assert.Equal(files, FilesOf(image, secret));
            AssertSound(image, secret);
            ImageCompactionResult again = Run(new(image), secret);
            Assert.Equal((0, 0, 0L, 0L), (again.BandsRemoved, again.BandsMoved, again.BytesPunched, again.ReclaimedBytes));
            Assert.True(again.Reason is CompactionReason.NothingFree or CompactionReason.FreeSpaceIsScattered);
        }
    }

    [CorpusFact]
    public void Disks_of_Apple_and_others_keep_every_byte_that_is_used()
    {
        var seen = new HashSet<string>();
        foreach (CorpusImage row in CorpusImage.All.Where(r => r.CapacityBytes is > 0 and <= 128 << 20))
        {
            string path = row.Materialise(_folder.Path);
            using Passphrase? secret = row.OpenPassphrase();
            DiskImage source;
            try
            {
                source = DiskImage.Open(path, secret);
            }
            catch (ImageException)
            {
                continue; // what cannot be opened has tests of its own
            }

            using (source)
            {
                IReadOnlyList<StorageExtent> free = source.GetFreeExtents();
                string kinds = $"{source.PartitionScheme} {string.Join('+', source.Volumes.Select(v => v.Volume.Kind))}";
                if (free.Sum(f => f.Length) < Band || !seen.Add($"{kinds} {source.Disk.Length}")) continue;
                foreach (bool isBundle in new[] { true, false })
                {
                    string image = _folder[$"copy{seen.Count}{isBundle}"];
                    Copy(source.Disk, image, isBundle);
                    Dirty(image, null, seen.Count, 0.6);
                    byte[] used = UsedOf(image, null);
                    ImageCompactionResult result = Run(new(image), null);
                    Assert.True(
                        result.ReclaimedBytes > 0 || result.Reason == CompactionReason.FreeSpaceIsScattered, $"{row.File}: {result}");
                    Assert.True(used.SequenceEqual(UsedOf(image, null)), row.File);
                    ImageCompactionResult again = Run(new(image), null);
                    Assert.True(again is { ReclaimedBytes: 0, BandsRemoved: 0, BandsMoved: 0 }, $"{row.File}: {again}");
                    if (isBundle) Directory.Delete(image, recursive: true);
                    else File.Delete(image);
                }
            }
        }

        foreach (string kind in (string[])["Apfs", "HfsPlus", "ExFat", "Fat16", "Fat12", "Gpt", "Apple", "Mbr", "None"])
            Assert.Contains(seen, s => s.Contains(kind, StringComparison.Ordinal));
    }

    [OracleFact("mkfs.exfat", "fsck.exfat", "mkfs.fat", "fsck.fat")]
    public void Foreign_volumes_stay_clean_for_their_own_checkers()
    {
        foreach (string kind in (string[])["exfat", "fat"])
        {
            string raw = _folder[kind];
            using (FileStream file = File.Create(raw)) file.SetLength(40 << 20);
            Oracle.RunForBytes($"mkfs.{kind}", raw);
            string image = _folder[$"{kind}.sparsebundle"];
            using (BlockStorage disk = FileStorage.OpenRead(raw)) Copy(disk, image, isBundle: true);
            Dirty(image, null, 7, 1);
            Assert.True(Run(new(image), null).ReclaimedBytes > 30 << 20);
            using (DiskImage compacted = DiskImage.Open(image))
            using (FileStream file = File.Create(raw))
            {
                byte[] bytes = new byte[compacted.Disk.Length];
                compacted.Disk.Read(0, bytes);
                file.Write(bytes);
            }

            (int exitCode, string output, string error) = Oracle.Run($"fsck.{kind}", "-n", raw);
            Assert.True(exitCode == 0, output + error);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Cancelled_at_every_band_a_bundle_is_whole(bool hasMaps)
    {
        string image = Make(BackupImageFormat.SparseBundle, BackupImageEncryption.None, null);
        if (hasMaps) AddMaps(image);
        Dirty(image, null, 4, 0.7);
        string[] files = FilesOf(image, null);
        byte[] used = UsedOf(image, null);
        int steps = 0;
        while (true)
        {
            using var cancellation = new CancellationTokenSource();
            int left = steps + 1;
            var observer = new RecordingObserver
            {
                WhenProgress = _ =>
                {
                    if (--left == 0) cancellation.Cancel();
                },
            };
            try
            {
                ImageCompaction.Run(new(image), observer, cancellation.Token);
                break;
            }
            catch (OperationCanceledException)
            {
                steps++;
            }

            Assert.Equal(used, UsedOf(image, null));
            Assert.Equal(files, FilesOf(image, null));
            AssertSound(image, null);
            Assert.True(steps < 100);
        }

        Assert.Equal(used, UsedOf(image, null));
        Assert.True(steps > 0);
        Assert.Equal(0, Run(new(image), null).ReclaimedBytes);
    }

    [Fact]
    public void The_reason_is_said()
    {
        string bundle = Make(BackupImageFormat.SparseBundle, BackupImageEncryption.None, null);
        Assert.Equal(CompactionReason.NothingFree, Run(new(bundle), null).Reason);
        Dirty(bundle, null, 1, 1);
        ImageCompactionResult below = Run(new(bundle) { MinimumReclaimBytes = 1 << 30 }, null);
        Assert.Equal((CompactionReason.BelowMinimum, 0L, 0), (below.Reason, below.ReclaimedBytes, below.BandsRemoved));
        Assert.Null(Run(new(bundle) { MinimumReclaimBytes = 1 << 20 }, null).Reason);

        string sparse = Make(BackupImageFormat.Sparse, BackupImageEncryption.None, null);
        ImageCompactionResult scattered = Run(new(sparse), null);
        Assert.Equal(CompactionReason.FreeSpaceIsScattered, scattered.Reason);
        Assert.InRange(scattered.KeptBytes, 1, 4 * Band);

        Assert.Equal(
            CompactionReason.FixedSizeFormat, Run(new(Make(BackupImageFormat.ReadWrite, BackupImageEncryption.None, null)), null).Reason);
        Assert.Equal(
            CompactionReason.ReadOnlyFormat, Run(new(Make(BackupImageFormat.ReadOnlyZlib, BackupImageEncryption.None, null)), null).Reason);

        string unknown = _folder["unknown.sparsebundle"];
        using (var noise = new MemoryStorage(TestTree.Noise(3 * Band, 1))) Copy(noise, unknown, isBundle: true);
        Assert.Equal(CompactionReason.UnknownFileSystem, Run(new(unknown), null).Reason);
    }

    [Fact]
    public void A_volume_that_was_not_unmounted_keeps_everything()
    {
        string image = Make(BackupImageFormat.SparseBundle, BackupImageEncryption.None, null);
        Dirty(image, null, 1, 1);
        using (DiskImage disk = DiskImage.Open(image, null, writable: true))
        {
            // The attribute "unmounted" of the volume header (TN1150: bit 8).
            long at = disk.Volumes[0].OffsetBytes + 1024 + 4;
            byte[] attributes = new byte[4];
            disk.Disk.Read(at, attributes);
            attributes[2] &= 0xFE;
            disk.Disk.Write(at, attributes);
            disk.Disk.Flush();
        }

        ImageCompactionResult result = Run(new(image), null);
        Assert.Equal((CompactionReason.VolumeNotClean, 0L), (result.Reason, result.ReclaimedBytes));
    }

    // The counts of header and bitmap agree; only what the files use tells that a block of one is called free.
    [Fact]
    public void A_used_block_that_the_bitmap_calls_free_is_not_given_back()
    {
        string image = Make(BackupImageFormat.SparseBundle, BackupImageEncryption.None, null);
        Dirty(image, null, 1, 1);
        using (DiskImage disk = DiskImage.Open(image, null, writable: true))
        {
            BackupImagePartition partition = disk.Describe().Partitions[0];
            byte[] window = new byte[partition.SizeBytes];
            disk.Disk.Read(partition.OffsetBytes, window);
            var volume = new HfsPlus.EditableVolume(window);
            uint free = volume.FreeBlock();
            volume.FlipBit(volume.U32(volume.File("file 0") + 88 + 16));
            volume.FlipBit(free);
            disk.Disk.Write(partition.OffsetBytes + volume.Bitmap, window.AsSpan(volume.Bitmap, volume.BlockSize));
            disk.Disk.Flush();
        }

        string[] files = FilesOf(image);
        ImageCompactionResult result = Run(new(image), null);
        Assert.Equal((CompactionReason.VolumeNotClean, 0L), (result.Reason, result.ReclaimedBytes));
        Assert.Equal(files, FilesOf(image));
    }

    [Fact]
    public void A_bundle_is_compacted_without_reading_it()
    {
        string image = Make(BackupImageFormat.SparseBundle, BackupImageEncryption.None, null);
        Dirty(image, null, 5, 0.5);
        StorageExtent[] free;
        using (DiskImage disk = DiskImage.Open(image)) free = [.. disk.GetFreeExtents()];
        var bands = new List<CountingStorage>();
        using (SparseBundleStorage bundle = SparseBundleStorage.Open(image, writable: true, Count))
        {
            Assert.True(bundle.Compact(free, _ => { }, CancellationToken.None) is { BandsRemoved: > 0, BytesPunched: > 0 }
                || !OperatingSystem.IsLinux());
            Assert.Equal(0, bands.Sum(b => b.Reads));
            bundle.Read(0, new byte[512]);
            Assert.Equal(1, bands.Sum(b => b.Reads));
        }

        CountingStorage Count(BlockStorage band)
        {
            var counting = new CountingStorage(band);
            bands.Add(counting);
            return counting;
        }
    }

    [Fact]
    public void An_image_in_use_is_refused()
    {
        foreach (BackupImageFormat format in new[] { BackupImageFormat.Sparse, BackupImageFormat.SparseBundle })
        {
            string image = Make(format, BackupImageEncryption.None, null);
            using DiskImage open = DiskImage.Open(image);
            Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => Run(new(image), null)).Id);
        }
    }

    [RamfsFact]
    public void On_a_host_without_holes_only_bands_and_tails_go()
    {
        string mount = _folder["ramfs"];
        Directory.CreateDirectory(mount);
        Oracle.RunForBytes("mount", "-t", "ramfs", "ramfs", mount);
        try
        {
            string image = Path.Combine(mount, "image");
            Directory.Move(Make(BackupImageFormat.SparseBundle, BackupImageEncryption.None, null), _folder["there"]);
            Oracle.RunForBytes("cp", "-a", _folder["there"], image);
            Dirty(image, null, 3, 0.6);
            byte[] used = UsedOf(image, null);
            ImageCompactionResult estimate = Run(new(image) { EstimateOnly = true }, null), result = Run(new(image), null);
            Assert.Equal((estimate.BandsRemoved, estimate.KeptBytes), (result.BandsRemoved, result.KeptBytes));
            Assert.InRange(result.ReclaimedBytes, estimate.ReclaimedBytes, estimate.ReclaimedBytes + Band);
            Assert.Equal(0, result.BytesPunched);
            Assert.True(result is { BandsRemoved: > 0, KeptBytes: > 0, ReclaimedBytes: > 0 });
            Assert.Equal(used, UsedOf(image, null));
            Assert.Equal(0, Run(new(image), null).ReclaimedBytes);
        }
        finally
        {
            Oracle.Run("umount", mount);
        }
    }

    private static ImageCompactionResult Run(ImageCompactionRequest request, Passphrase? secret) =>
        ImageCompaction.Run(request with { Passphrase = secret }, SilentObserver.Instance, CancellationToken.None);

    /// <summary>Fills a share of the free space with noise, in ranges of up to a band.</summary>
    private static void Dirty(string image, Passphrase? secret, int seed, double share)
    {
        using DiskImage disk = DiskImage.Open(image, secret, writable: true);
        var random = new Random(seed);
        byte[] noise = TestTree.Noise(Band, seed);
        foreach (StorageExtent extent in disk.GetFreeExtents())
        {
            for (long at = extent.Offset; at < extent.End;)
            {
                int length = (int)Math.Min(extent.End - at, random.Next(512, Band));
                if (random.NextDouble() < share) disk.Disk.Write(at, noise.AsSpan(0, length));
                at += length;
            }
        }

        disk.Disk.Flush();
    }

    private static void AddMaps(string image)
    {
        string folder = Directory.CreateDirectory(Path.Combine(image, "mapped")).FullName;
        byte[] map = new byte[Band / 4096 / 8];
        Array.Fill(map, (byte)0xFF);
        foreach (string band in Directory.GetFiles(Path.Combine(image, "bands")))
            File.WriteAllBytes(Path.Combine(folder, Path.GetFileName(band)), map);
    }

    private static Dictionary<long, byte[]> MapsOf(string image) =>
        Directory.GetFiles(Path.Combine(image, "mapped")).ToDictionary(f => Convert.ToInt64(Path.GetFileName(f), 16), File.ReadAllBytes);

    /// <summary>Of the bits that were there those of free units are gone, and no other one.</summary>
    private static void AssertMaps(string image, Passphrase? secret, Dictionary<long, byte[]> before)
    {
        using DiskImage disk = DiskImage.Open(image, secret);
        var isFree = new bool[disk.Disk.Length / 4096];
        foreach (StorageExtent extent in disk.GetFreeExtents())
        {
            for (long unit = (extent.Offset + 4095) / 4096; unit < extent.End / 4096; unit++) isFree[unit] = true;
        }

        Dictionary<long, byte[]> after = MapsOf(image);
        Assert.NotEmpty(after);
        foreach ((long band, byte[] map) in before)
        {
            for (int unit = 0; unit < Band / 4096 && (band * Band / 4096) + unit < isFree.Length; unit++)
            {
                bool isSet = after.TryGetValue(band, out byte[]? now) && (now[unit / 8] & (1 << (unit % 8))) != 0;
                Assert.Equal((map[unit / 8] & (1 << (unit % 8))) != 0 && !isFree[(band * Band / 4096) + unit], isSet);
            }
        }
    }

    /// <summary>A hash of everything that is used.</summary>
    private static byte[] UsedOf(string image, Passphrase? secret)
    {
        using DiskImage disk = DiskImage.Open(image, secret);
        using var used = new MaskedStorage(disk.Disk, disk.GetFreeExtents().Select(e => (e.Offset, e.Length)));
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = new byte[Band];
        for (long at = 0; at < used.Length; at += buffer.Length)
        {
            Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, used.Length - at));
            used.Read(at, part);
            hash.AppendData(part);
        }

        return hash.GetHashAndReset();
    }

    private static void Copy(BlockStorage disk, string image, bool isBundle)
    {
        if (isBundle) Directory.CreateDirectory(image);
        using BlockStorage copy = isBundle
            ? SparseBundleStorage.Create(image, disk.Length, Band)
            : SparseImageStorage.Create(FileStorage.CreateNew(image), disk.Length, ownsFile: true);
        byte[] buffer = new byte[Band];
        for (long at = 0; at < disk.Length; at += buffer.Length)
        {
            Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, disk.Length - at));
            disk.Read(at, part);
            copy.Write(at, part);
        }

        copy.Flush();
    }

    private string Make(BackupImageFormat format, BackupImageEncryption encryption, Passphrase? secret) =>
        TestImage.Make(
            _folder, new() { Path = "", Format = format, SizeBytes = 24 << 20, Encryption = encryption, Passphrase = secret }, 9, 300_000);
}

/// <summary>A test that mounts a file system without holes.</summary>
public sealed class RamfsFactAttribute : FactAttribute
{
    public RamfsFactAttribute()
    {
        if (!OperatingSystem.IsLinux() || !Environment.IsPrivilegedProcess) Skip = "Mounting needs root on Linux.";
        else if (!CanMount()) Skip = "A ramfs cannot be mounted here.";
    }

    private static bool CanMount()
    {
        using var folder = new TemporaryFolder();
        bool done = Oracle.Run("mount", "-t", "ramfs", "ramfs", folder.Path).ExitCode == 0;
        if (done) Oracle.Run("umount", folder.Path);
        return done;
    }
}
