using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.FileSystems.ExFat;
using CCImage.FileSystems.Fat;
using CCImage.Storage;

namespace CCImage.Tests.FileSystems;

/// <summary>Layouts, doubts and damage of FAT and exFAT volumes.</summary>
public sealed class FatAndExFatTests
{
    [Fact]
    public void Structures_have_their_layout()
    {
        Assert.Equal(
            (36, 28, 26, 512, 32),
            (Unsafe.SizeOf<FatParameters>(), Unsafe.SizeOf<Fat32Parameters>(), Unsafe.SizeOf<FatExtension>(),
            Unsafe.SizeOf<FatInformation>(), Unsafe.SizeOf<FatDirectoryEntry>()));
        Assert.Equal(
            (120, 32, 32), (Unsafe.SizeOf<ExFatBootSector>(), Unsafe.SizeOf<ExFatStreamEntry>(), Unsafe.SizeOf<ExFatLabelEntry>()));
        Assert.Equal((11, 19, 32),
            (Offset<FatParameters>("BytesPerSector"), Offset<FatParameters>("Sectors16"), Offset<FatParameters>("Sectors32")));
        Assert.Equal(
            (484, 488, 508), (Offset<FatInformation>("Signature"), Offset<FatInformation>("FreeCount"), Offset<FatInformation>("Trail")));
        Assert.Equal((64, 106, 112),
            (Offset<ExFatBootSector>("PartitionOffset"), Offset<ExFatBootSector>("Flags"), Offset<ExFatBootSector>("PercentInUse")));
        Assert.Equal((20, 24), (Offset<ExFatStreamEntry>("FirstCluster"), Offset<ExFatStreamEntry>("Length")));
    }

    [OracleTheory("mkfs.fat", "mkfs.exfat")]
    [InlineData("fat12")]
    [InlineData("fat16")]
    [InlineData("fat32")]
    [InlineData("exfat")]
    public void In_doubt_nothing_is_free(string kind)
    {
        byte[] disk = Make(kind);
        Assert.NotEmpty(FreeExtents(disk));
        foreach ((int offset, byte bits) in Doubts(kind, disk))
        {
            byte[] doubtful = [.. disk];
            doubtful[offset] ^= bits;
            Assert.True(FreeExtents(doubtful).Count == 0, $"byte {offset}");
        }

        Assert.Empty(FreeExtents(disk[..^4096])); // cut short
    }

    [OracleFact("mkfs.fat")]
    public void Bad_clusters_are_not_free()
    {
        byte[] disk = Make("fat32");
        long before = FreeExtents(disk).Sum(e => e.Length);
        int fat = 32 * 512, length = BitConverter.ToInt32(disk, 36) * 512;
        foreach (int at in new[] { fat, fat + length }) BitConverter.TryWriteBytes(disk.AsSpan(at + (100 * 4)), 0x0FFFFFF7u);
        IReadOnlyList<StorageExtent> extents = FreeExtents(disk);
        Assert.Equal((before - 512, 2), (extents.Sum(e => e.Length), extents.Count));
    }

    [OracleFact("mkfs.exfat")]
    public void Bad_clusters_of_exFAT_are_not_free()
    {
        byte[] disk = Make("exfat");
        long before = FreeExtents(disk).Sum(e => e.Length);
        int fat = BitConverter.ToInt32(disk, 80) * 512;
        BitConverter.TryWriteBytes(disk.AsSpan(fat + (100 * 4)), 0xFFFFFFF7u);
        IReadOnlyList<StorageExtent> extents = FreeExtents(disk);
        Assert.Equal((before - 4096, 2), (extents.Sum(e => e.Length), extents.Count));
    }

    [OracleTheory("mkfs.exfat")]
    [InlineData(0b0101_0110)] // found by fuzzing: several runs of clear bits behind the last cluster
    [InlineData(0b1010_1000)]
    [InlineData(0)]
    public void Bits_behind_the_last_cluster_of_exFAT_mean_nothing(byte padding)
    {
        byte[] disk = Make("exfat");
        uint clusters = BitConverter.ToUInt32(disk, 92) - 7; // leaves most of the last octet without clusters
        Assert.Equal(1u, clusters % 8);
        BitConverter.TryWriteBytes(disk.AsSpan(92), clusters);
        int heap = BitConverter.ToInt32(disk, 88) * 512;
        disk[heap + (int)(clusters / 8)] = (byte)(padding & ~1);
        PutBootChecksum(disk);
        IReadOnlyList<StorageExtent> free = FreeExtents(disk);
        Assert.Equal(heap + (clusters * 4096L), Assert.Single(free).End);
    }

    [OracleFact("mkfs.exfat")]
    public void Chains_of_exFAT_that_run_in_a_circle_are_found()
    {
        byte[] disk = Make("exfat");
        int fat = BitConverter.ToInt32(disk, 80) * 512, heap = BitConverter.ToInt32(disk, 88) * 512;
        uint root = BitConverter.ToUInt32(disk, 96);
        disk.AsSpan(heap + ((int)(root - 2) * 4096), 4096).Fill(5); // entries that mean nothing, and no end
        foreach ((uint at, uint next) in new[] { (root, 100u), (100u, 101u), (101u, 102u), (102u, 100u) })
        {
            BitConverter.TryWriteBytes(disk.AsSpan(fat + ((int)at * 4)), next);
            disk.AsSpan(heap + ((int)(next - 2) * 4096), 4096).Fill(5);
        }

        using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(disk), out _);
        var findings = new ImageFindings("image");
        ReadAll(disk);
        volume.Check(findings, CancellationToken.None);
        Assert.Contains(findings.ToList(), f => f.Check == "exFAT root directory" && f.Grade == ImageFindingGrade.Damaged
            && f.Message.Contains("circle", StringComparison.Ordinal));
    }

    [OracleTheory("mkfs.fat", "mkfs.exfat")]
    [InlineData("fat32")]
    [InlineData("exfat")]
    public void The_most_clusters_there_can_be_take_little_time(string kind)
    {
        byte[] small = Make(kind), boot = small[..(24 * 512)];
        long length;
        if (kind == "fat32")
        {
            BitConverter.TryWriteBytes(boot.AsSpan(32), 0x0FFF_0000u); // sectors: a cluster each, and the FATs
            BitConverter.TryWriteBytes(boot.AsSpan(36), 0x0FFF_0000u / 128);
            length = 0x0FFF_0000L * 512;
        }
        else
        {
            uint clusters = 0xFFFF_FF00;
            BitConverter.TryWriteBytes(boot.AsSpan(72), ((ulong)clusters * 8) + 0x1_0000_0000);
            BitConverter.TryWriteBytes(boot.AsSpan(84), clusters / 127);
            BitConverter.TryWriteBytes(boot.AsSpan(88), 0x1000_0000u);
            BitConverter.TryWriteBytes(boot.AsSpan(92), clusters);
            BitConverter.TryWriteBytes(boot.AsSpan(96), 2u);
            PutBootChecksum(boot);
            length = ((clusters * 8L) + 0x1_0000_0000) * 512;
        }

        var disk = new SparseMemoryStorage(length);
        disk.Write(0, boot);
        if (kind == "exfat") PutEnormousBitmap(disk, BitConverter.ToUInt32(boot, 80) * 512L, 0x1000_0000L * 512, 0xFFFF_FF00u / 8);
        else disk.Write(BitConverter.ToUInt16(boot, 14) * 512L, [0xF8, 0xFF, 0xFF, 0x0F, 0xFF, 0xFF, 0xFF, 0x0F, 0xF8, 0xFF, 0xFF, 0x0F]);
        MalformedInput.Try(() =>
        {
            using FileSystemVolume volume = VolumeDetection.Open(disk, out ImageException? fault);
            Assert.Null(fault);
            Assert.True(volume.FreeBytes > length / 2);
            volume.Check(new ImageFindings("image"), CancellationToken.None);
            _ = volume.GetFreeExtents().Count();
        });
    }

    // A root directory in cluster 2 that names a bitmap from cluster 3 on, whose own clusters alone it calls used.
    private static void PutEnormousBitmap(SparseMemoryStorage disk, long fat, long heap, long bytes)
    {
        uint clusters = (uint)((bytes + 4095) / 4096);
        byte[] chain = new byte[(clusters + 3) * 4], root = new byte[32], used = new byte[(clusters / 8) + 1];
        for (uint i = 3; i < clusters + 2; i++) BitConverter.TryWriteBytes(chain.AsSpan((int)i * 4), i + 1);
        BitConverter.TryWriteBytes(chain.AsSpan(8), uint.MaxValue);
        BitConverter.TryWriteBytes(chain.AsSpan(((int)clusters + 2) * 4), uint.MaxValue);
        root[0] = ExFatStreamEntry.Bitmap;
        BitConverter.TryWriteBytes(root.AsSpan(20), 3u);
        BitConverter.TryWriteBytes(root.AsSpan(24), bytes);
        used.AsSpan().Fill(0xFF);
        disk.Write(fat, chain);
        disk.Write(heap, root);
        disk.Write(heap + 4096, used);
    }

    [OracleFact("mkfs.exfat")]
    public void Every_flipped_bit_of_the_up_case_table_is_found()
    {
        byte[] disk = Make("exfat");
        int heap = BitConverter.ToInt32(disk, 88) * 512, root = heap + ((BitConverter.ToInt32(disk, 96) - 2) * 4096);
        int entry = Enumerable.Range(0, 128).Select(i => root + (i * 32)).First(at => disk[at] == 0x82);
        int table = heap + ((BitConverter.ToInt32(disk, entry + 20) - 2) * 4096), length = BitConverter.ToInt32(disk, entry + 24);
        Assert.Equal(ImageFindingGrade.Ok, Worst(disk));
        for (int at = 0; at < length; at += 7) AssertFound(table + at, at % 8);
        for (int bit = 0; bit < 8 * 4; bit++) AssertFound(entry + 4 + (bit / 8), bit % 8); // its checksum
        AssertFound(entry, 7); // a deleted entry

        void AssertFound(int at, int bit)
        {
            disk[at] ^= (byte)(1 << bit);
            Assert.True(Worst(disk) == ImageFindingGrade.Damaged, $"byte {at}, bit {bit}");
            disk[at] ^= (byte)(1 << bit);
        }
    }

    [OracleTheory("mkfs.fat", "mkfs.exfat", "fsck.fat", "fsck.exfat")]
    [InlineData("fat32", 6 * 512 + 3, true)] // copy of the boot sector
    [InlineData("fat32", 512 + 2, true)] // information sector
    [InlineData("fat32", 32 * 512 + 1, false)] // media entry of the first FAT
    [InlineData("fat16", 4 * 512 + 900, false)] // one FAT
    [InlineData("exfat", 12 * 512 + 200, true)] // copy of the boot region
    [InlineData("exfat", 200, true)] // boot region
    [InlineData("exfat", 11 * 512, true)] // its checksum
    public void What_is_wrong_is_found_and_copies_are_mended(string kind, int offset, bool isRepairable)
    {
        byte[] original = Make(kind), disk = [.. original];
        disk[offset] ^= 0x10;
        var storage = new MemoryStorage(disk.Length);
        storage.Write(0, disk);
        using FileSystemVolume volume = VolumeDetection.Open(storage, out _);
        Assert.Equal(isRepairable ? ImageFindingGrade.Repairable : ImageFindingGrade.Damaged, Worst(volume));
        IReadOnlyList<string> mended = volume.Repair(CancellationToken.None);
        Assert.Equal(isRepairable, mended.Count > 0);
        using FileSystemVolume again = VolumeDetection.Open(storage, out _);
        Assert.Equal(isRepairable ? ImageFindingGrade.Ok : ImageFindingGrade.Damaged, Worst(again));
        if (!isRepairable) return;
        Assert.Empty(again.Repair(CancellationToken.None));
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["image"], storage.ToArray());
        (int exitCode, string output, _) = Oracle.Run(kind == "exfat" ? "fsck.exfat" : "fsck.fat", "-n", folder["image"]);
        Assert.True(exitCode == 0, output);
    }

    // Found by fuzzing: the repair of one was the damage of the other.
    [OracleFact("mkfs.fat")]
    public void One_place_for_the_copy_and_the_information_sector_is_damage_and_not_mended()
    {
        byte[] disk = Make("fat32");
        BitConverter.TryWriteBytes(disk.AsSpan(50), BitConverter.ToUInt16(disk, 48));
        using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(disk), out _);
        Assert.Equal(ImageFindingGrade.Damaged, Worst(volume));
        Assert.Empty(volume.Repair(CancellationToken.None));
    }

    [OracleTheory("mkfs.fat", "mkfs.exfat")]
    [InlineData("fat12")]
    [InlineData("fat16")]
    [InlineData("fat32")]
    [InlineData("exfat")]
    public void Flipped_bits_are_never_more_than_findings(string kind)
    {
        byte[] disk = Make(kind);
        int[] places = [.. Enumerable.Range(0, 128), .. MetadataOf(kind, disk)];
        var random = new Random(1);
        for (int i = 0; i < (kind == "fat32" ? 200 : 600); i++)
        {
            int place = i < 128 ? i : places[random.Next(places.Length)];
            byte old = disk[place];
            disk[place] = i % 3 == 0 ? (byte)0xFF : (byte)(old ^ (1 << random.Next(8)));
            ReadAll(disk);
            disk[place] = old;
        }

        foreach (uint absurd in new[] { 0u, 1u, 0x7FFF_FFFFu, 0x8000_0000u, 0xFFFF_FFFFu })
        {
            for (int place = 0; place < 128; place += kind == "fat32" ? 4 : 1)
            {
                byte[] old = disk[place..(place + 4)];
                BitConverter.TryWriteBytes(disk.AsSpan(place), absurd);
                ReadAll(disk);
                old.CopyTo(disk, place);
            }
        }
    }

    [CorpusFact]
    public void Real_volumes_are_sound()
    {
        int found = 0;
        using var folder = new TemporaryFolder();
        foreach (CorpusImage image in CorpusImage.All.Where(
            i => i.Contents.Contains("FAT", StringComparison.Ordinal) && !i.File.Contains("openwall.dmg", StringComparison.Ordinal)))
        {
            using CCImage.Encryption.Passphrase? passphrase = image.OpenPassphrase();
            using DiskImage disk = DiskImage.Open(image.Materialise(folder.Path), passphrase);
            foreach (DiskImage.FoundVolume volume in disk.Volumes.Where(v => v.Volume is FatVolume or ExFatVolume))
            {
                Assert.True(volume.Volume.FreeBytes > 0, image.File);
                Assert.True(Worst(volume.Volume) <= ImageFindingGrade.Note, image.File);
                found++;
            }
        }

        Assert.True(found > 10, $"{found}");
    }

    private static int Offset<T>(string field) => (int)Marshal.OffsetOf<T>(field);

    private static IReadOnlyList<StorageExtent> FreeExtents(byte[] disk)
    {
        using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(disk), out _);
        return [.. volume.GetFreeExtents()];
    }

    private static ImageFindingGrade Worst(FileSystemVolume volume)
    {
        var findings = new ImageFindings("image");
        volume.Check(findings, CancellationToken.None);
        return findings.Worst;
    }

    private static ImageFindingGrade Worst(byte[] disk)
    {
        using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(disk), out _);
        return Worst(volume);
    }

    private static void PutBootChecksum(byte[] disk)
    {
        uint checksum = 0;
        for (int i = 0; i < 11 * 512; i++)
            if (i is not (106 or 107 or 112)) checksum = unchecked((checksum >> 1 | checksum << 31) + disk[i]);
        for (int i = 0; i < 512; i += 4) BitConverter.TryWriteBytes(disk.AsSpan((11 * 512) + i), checksum);
    }

    private static void ReadAll(byte[] disk)
    {
        long start = Stopwatch.GetTimestamp(), allocated = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(disk), out _);
            _ = (volume.Name, volume.FreeBytes);
            long end = 0;
            foreach (StorageExtent extent in volume.GetFreeExtents())
            {
                Assert.True(extent.Offset >= end && extent.Length > 0 && extent.End <= disk.Length);
                end = extent.End + 1;
            }

            volume.Check(new ImageFindings("image"), CancellationToken.None);
        }
        catch (ImageException e)
        {
            Assert.Equal(ImageErrorId.ImageDamaged, e.Id);
        }

        Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(2), "too slow");
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - allocated < 100 << 20, "too much memory");
    }

    // Bits of which each alone makes the free space doubtful.
    private static IEnumerable<(int Offset, byte Bits)> Doubts(string kind, byte[] disk)
    {
        int fat = BitConverter.ToUInt16(disk, 14) * 512;
        switch (kind)
        {
            case "fat12":
                return [(fat, 1), (fat + 700, 4), (37, 1)];
            case "fat16":
                return [(fat, 1), (fat + 700, 4), (37, 1), (fat + 3, 0x80), (54 + 4, 4)];
            case "fat32":
                return [(fat, 1), (fat + 700, 4), (65, 1), (fat + 7, 0x08)];
            default:
                int heap = BitConverter.ToInt32(disk, 88) * 512;
                return [(106, 2), (106, 1), (200, 1), (heap, 1), (11 * 512, 1)];
        }
    }

    private static IEnumerable<int> MetadataOf(string kind, byte[] disk)
    {
        int fat = kind == "exfat" ? BitConverter.ToInt32(disk, 80) * 512 : BitConverter.ToUInt16(disk, 14) * 512;
        int heap = kind == "exfat" ? BitConverter.ToInt32(disk, 88) * 512 : fat;
        return [.. Enumerable.Range(0, 32 * 512), .. Enumerable.Range(fat, 64), .. Enumerable.Range(heap, 64),
            .. Enumerable.Range(heap + (3 * 4096), 128)];
    }

    private static byte[] Make(string kind)
    {
        using var folder = new TemporaryFolder();
        string image = folder["image"];
        int length = kind switch { "fat12" => 1440 << 10, "fat16" => 5 << 20, "fat32" => 36 << 20, _ => 8 << 20 };
        using (FileStream file = File.Create(image)) file.SetLength(length);
        (int exitCode, string output, string error) = kind == "exfat"
            ? Oracle.Run("mkfs.exfat", "-c", "4K", "-L", "LABEL", image)
            : Oracle.Run("mkfs.fat", "-F", kind[3..], "-s", "1", "-n", "LABEL", image);
        Assert.True(exitCode == 0, output + error);
        return File.ReadAllBytes(image);
    }
}
