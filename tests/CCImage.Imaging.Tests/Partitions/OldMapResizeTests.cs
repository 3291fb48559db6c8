using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using CCImage.Diagnostics;
using CCImage.Partitions;
using CCImage.Storage;
using CCImage.Tests.HfsPlus;
using CCImage.Tests.Storage;

namespace CCImage.Tests.Partitions;

/// <summary>Disks with an Apple partition map or a master boot record, resized with the HFS+ volume in them: judged by our reader, 7-Zip
/// and fsck_hfs.</summary>
public sealed class OldMapResizeTests : IDisposable
{
    private const int Start = 64; // first sector of the volume

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<PartitionScheme, int> Maps =>
        new() { { PartitionScheme.Mbr, 0 }, { PartitionScheme.ApplePartitionMap, 10 }, { PartitionScheme.ApplePartitionMap, 0 } };

    public void Dispose() => _folder.Dispose();

    [OracleTheory("7z")]
    [MemberData(nameof(Maps))]
    public void Map_and_volume_follow_the_disk(PartitionScheme scheme, int free)
    {
        byte[] volume = HfsPlusShrinkTests.MakeScattered(21, 3, false, 4096);
        string[] files = HfsPlusShrinkTests.FilesOf(volume);
        string image = _folder["image.dmg"];
        System.IO.File.WriteAllBytes(image, MakeDisk(scheme, volume, free));
        long least = DiskImage.Inspect(image).MinimumSizeBytes!.Value;
        Assert.Equal(ImageErrorId.CapacityTooSmall, Assert.Throws<ImageException>(() => Resize(least - 512)).Id);
        foreach (long size in (long[])[volume.Length + (40 << 10), 40 << 20, (40 << 20) + 512, 20 << 20, least])
        {
            Resize(size);
            Assert.Equal(size, new FileInfo(image).Length);
            byte[] disk = System.IO.File.ReadAllBytes(image);
            PartitionTable table = PartitionTable.Read(new MemoryStorage(disk));
            BackupImagePartition partition = Assert.Single(table.Partitions);
            Assert.Equal((scheme, Start * 512L), (table.Scheme, partition.OffsetBytes));
            Assert.InRange(partition.OffsetBytes + partition.SizeBytes, size - (free * 512) - 4095, size - (free * 512));
            byte[] window = disk[(Start * 512)..(int)(partition.OffsetBytes + partition.SizeBytes)];
            HfsPlusShrinkTests.AssertSound(window);
            Assert.Equal(files, HfsPlusShrinkTests.FilesOf(window));
            (int exitCode, string output, string error) =
                Oracle.Run("7z", "l", "-slt", scheme == PartitionScheme.Mbr ? "-tmbr" : "-tapm", image);
            Assert.True(
                exitCode == 0
                && output.Contains($"Size = {window.Length.ToString(CultureInfo.InvariantCulture)}", StringComparison.Ordinal), output
                + error);
        }

        void Resize(long size) => ImageResize.Run(new(image) { SizeBytes = size }, SilentObserver.Instance, CancellationToken.None);
    }

    [Theory]
    [MemberData(nameof(Maps))]
    public void No_part_of_the_map_ever_overlaps_another(PartitionScheme scheme, int free)
    {
        foreach (int sectors in (int[])[1500, 2010, 3000])
        {
            byte[] disk = MakeDisk(scheme, new byte[(2000 - Start) * 512], free);
            int before = disk.Length;
            Array.Resize(ref disk, Math.Max(disk.Length, sectors * 512));
            var storage = new WriteLog(disk);
            PartitionMapResizer map = PartitionMapResizer.Open(storage, PartitionTable.Read(new MemoryStorage(disk[..before])))!;
            long end = map.LastEndFor(sectors * 512L);
            map.Write(storage, sectors * 512L, end);
            foreach ((byte[] state, _) in storage.StatesOf(sectors))
            {
                PartitionTable table = PartitionTable.Read(new MemoryStorage(state));
                BackupImagePartition partition = Assert.Single(table.Partitions);
                Assert.Contains(partition.OffsetBytes + partition.SizeBytes, new[] { 2000 * 512, end });
                Assert.True(table.Segments.Count > 1, "The parts of the map overlap.");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Maps))]
    public void Two_tebibytes_are_the_limit(PartitionScheme scheme, int free)
    {
        byte[] disk = MakeDisk(scheme, new byte[(2000 - Start) * 512], free);
        PartitionMapResizer map = PartitionMapResizer.Open(new MemoryStorage(disk), PartitionTable.Read(new MemoryStorage(disk)))!;
        Assert.True(map.LastEndFor((2L << 40) - 512) > 0);
        Assert.Equal(ImageErrorId.UnsupportedFormat, Assert.Throws<ImageException>(() => map.LastEndFor(2L << 40)).Id);
    }

    private static byte[] MakeDisk(PartitionScheme scheme, byte[] volume, int free)
    {
        byte[] disk = new byte[(Start * 512) + volume.Length + (free * 512)];
        volume.CopyTo(disk, Start * 512);
        int sectors = disk.Length / 512;
        if (scheme == PartitionScheme.Mbr)
        {
            disk[446 + 4] = 0xAF;
            BinaryPrimitives.WriteUInt32LittleEndian(disk.AsSpan(446 + 8), Start);
            BinaryPrimitives.WriteUInt32LittleEndian(disk.AsSpan(446 + 12), (uint)(sectors - Start));
            BinaryPrimitives.WriteUInt16LittleEndian(disk.AsSpan(510), 0xAA55);
            return disk;
        }

        "ER"u8.CopyTo(disk);
        BinaryPrimitives.WriteUInt16BigEndian(disk.AsSpan(2), 512);
        BinaryPrimitives.WriteUInt32BigEndian(disk.AsSpan(4), (uint)sectors);
        int count = free > 0 ? 3 : 2;
        Put(1, "Apple", "Apple_partition_map", 1, Start - 1);
        Put(2, "disk image", "Apple_HFS", Start, sectors - free - Start);
        if (free > 0) Put(3, "", "Apple_Free", sectors - free, free);
        return disk;

        void Put(int number, string name, string type, int start, int length)
        {
            Span<byte> entry = disk.AsSpan(number * 512, 512);
            "PM"u8.CopyTo(entry);
            int[] fields = [count, start, length];
            for (int i = 0; i < 3; i++) BinaryPrimitives.WriteInt32BigEndian(entry[(4 + (4 * i))..], fields[i]);
            Encoding.ASCII.GetBytes(name, entry[16..]);
            Encoding.ASCII.GetBytes(type, entry[48..]);
            BinaryPrimitives.WriteInt32BigEndian(entry[84..], length);
        }
    }
}
