using System.Buffers.Binary;
using CCImage.Partitions;
using CCImage.Storage;

namespace CCImage.Tests.Partitions;

public sealed class PartitionTableTests
{
    [CorpusFact]
    public void Apple_map_of_real_disks()
    {
        PartitionTable table = PartitionTable.Read(Corpus.OpenRaw("citruz__dmgwiz/output_non_null_data_offset.bin.gz"));
        Assert.Equal(PartitionScheme.ApplePartitionMap, table.Scheme);
        Assert.Equal([new BackupImagePartition(2, "Apple_HFS", "disk image", 64 * 512, 7488 * 512)], table.Partitions);
        DiskSegment[] expected =
        [
            new("Driver Descriptor Map (DDM : 0)", -1, 0, 1, -1),
            new("Apple (Apple_partition_map : 1)", 0, 1, 63, 0),
            new("disk image (Apple_HFS : 2)", 1, 64, 7488, 1),
            new(" (Apple_Free : 3)", 2, 7552, 10, 2),
        ];
        Assert.Equal(expected, table.Segments);

        Assert.Equal((64 * 512, 24512 * 512),
            Range(Assert.Single(PartitionTable.Read(Corpus.OpenRaw("deploymenttheory__go-apfs-v2/hfs-apm.img.gz")).Partitions)));
        Assert.Equal((64 * 512, 16320 * 512),
            Range(Assert.Single(PartitionTable.Read(Corpus.OpenRaw("SecurityRonin__apm-partition-forensic/apm_map_32k.bin")).Partitions)));
    }

    [CorpusFact]
    public void Apple_map_of_a_disk_that_is_cut_short()
    {
        PartitionTable table = PartitionTable.Read(Corpus.OpenRaw("jhermsmeier__node-apple-partition-map/mac-os-disk-utility.bin"));
        Assert.Equal(["Apple_HFS", "Apple_HFSX", "DOS_FAT_32", "Windows_NTFS"], table.Partitions.Select(p => p.Type));
        Assert.Equal([3, 4, 5, 6], table.Partitions.Select(p => p.Number));
        Assert.Equal(52820624L * 512, table.Partitions[3].OffsetBytes);
        GptTests.AssertCovers(table.Segments, 64);
    }

    [CorpusFact]
    public void MBR_of_a_real_disk()
    {
        PartitionTable table = PartitionTable.Read(Corpus.OpenRaw("balena-io-modules__etcher-sdk/etcher-test.img.gz"));
        Assert.Equal(PartitionScheme.Mbr, table.Scheme);
        Assert.Equal(
            [new BackupImagePartition(1, "Windows_FAT_16", "", 128 * 512, 2048 * 512),
                new BackupImagePartition(2, "Windows_FAT_16", "", 2176 * 512, 2048 * 512)],
            table.Partitions);
        DiskSegment[] expected =
        [
            new("Master Boot Record (MBR : 0)", -1, 0, 1, 0),
            new(" (Apple_Free : 1)", 0, 1, 127, 1),
            new(" (Windows_FAT_16 : 2)", 1, 128, 2048, 2),
            new(" (Windows_FAT_16 : 3)", 2, 2176, 2048, 3),
            new(" (Apple_Free : 4)", 3, 4224, 6016, 4),
        ];
        Assert.Equal(expected, table.Segments);
    }

    [CorpusFact]
    public void Maps_of_real_disks_damaged()
    {
        string[] samples =
        [
            "jhermsmeier__node-apple-partition-map/mac-os-disk-utility.bin", "balena-io-modules__etcher-sdk/etcher-test.img.gz",
            "citruz__dmgwiz/output_non_null_data_offset.bin.gz", "deploymenttheory__go-apfs-v2/basic.img.gz",
        ];
        foreach (string sample in samples)
        {
            BlockStorage disk = Corpus.OpenRaw(sample);
            byte[] start = new byte[Math.Min(disk.Length, 64 << 10)];
            disk.Read(0, start);
            int[] used = [.. Enumerable.Range(0, start.Length).Where(at => start[at] != 0)];
            var random = new Random(5);
            for (int i = 0; i < 1000; i++)
            {
                // Half of the changes hit a byte that means something, the others bytes that ought to be zero.
                byte[] changed = random.Next(8) == 0 ? start[..random.Next(start.Length)] : [.. start];
                for (int flips = random.Next(1, 4); flips > 0 && changed.Length > 0; flips--)
                {
                    int at = random.Next(2) == 0 ? used[random.Next(used.Length)] : random.Next(2048);
                    if (at < changed.Length) changed[at] ^= (byte)(1 << random.Next(8));
                }

                MalformedInput.Try(
                    () => GptTests.AssertCovers(PartitionTable.Read(new MemoryStorage(changed)).Segments, changed.Length / 512));
            }
        }
    }

    [CorpusFact]
    public void No_map_of_a_real_disk()
    {
        PartitionTable table = PartitionTable.Read(Corpus.OpenRaw("log2timeline__dfvfs/hfsplus.raw.gz"));
        Assert.Equal(PartitionScheme.None, table.Scheme);
        Assert.Empty(table.Partitions);
        Assert.Equal(new DiskSegment("whole disk (Apple_HFS : 0)", 0, 0, 4153344 / 512, -2), Assert.Single(table.Segments));
    }

    [Fact]
    public void Apple_map_in_blocks_of2048()
    {
        byte[] disk = new byte[256 * 2048];
        "ER"u8.CopyTo(disk);
        BinaryPrimitives.WriteUInt16BigEndian(disk.AsSpan(2), 2048);
        PutAppleEntry(disk, 2048, 2, 1, 2, "Apple", "Apple_partition_map");
        PutAppleEntry(disk, 4096, 2, 16, 240, "disc", "Apple_HFS");
        PartitionTable table = PartitionTable.Read(new MemoryStorage(disk));
        Assert.Equal([new BackupImagePartition(2, "Apple_HFS", "disc", 16 * 2048, 240 * 2048)], table.Partitions);
        GptTests.AssertCovers(table.Segments, disk.Length / 512);
    }

    [Fact]
    public void Apple_map_prefers_entries_in512_byte_blocks_on_a_hybrid_disc()
    {
        byte[] disk = new byte[256 * 2048];
        "ER"u8.CopyTo(disk);
        BinaryPrimitives.WriteUInt16BigEndian(disk.AsSpan(2), 2048);
        PutAppleEntry(disk, 512, 2, 1, 63, "Apple", "Apple_partition_map");
        PutAppleEntry(disk, 1024, 2, 900, 56, "disc", "Apple_HFS");
        Assert.Equal((900 * 512, 56 * 512), Range(Assert.Single(PartitionTable.Read(new MemoryStorage(disk)).Partitions)));
    }

    [Fact]
    public void Apple_map_that_contradicts_itself_is_a_typed_error()
    {
        byte[] disk = new byte[64 * 512];
        PutAppleEntry(disk, 512, 2, 1, 63, "Apple", "Apple_partition_map");
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => PartitionTable.Read(new MemoryStorage(disk))).Id);
        foreach (uint count in new uint[] { 0, 64, 5000, uint.MaxValue })
        {
            PutAppleEntry(disk, 512, count, 1, 63, "Apple", "Apple_partition_map");
            Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => PartitionTable.Read(new MemoryStorage(disk))).Id);
        }
    }

    [Fact]
    public void Apple_map_with_overlapping_partitions_is_stored_as_a_whole()
    {
        byte[] disk = new byte[64 * 512];
        PutAppleEntry(disk, 512, 2, 1, 63, "Apple", "Apple_partition_map");
        PutAppleEntry(disk, 1024, 2, 10, uint.MaxValue, "disk image", "Apple_HFS");
        PartitionTable table = PartitionTable.Read(new MemoryStorage(disk));
        Assert.Equal("whole disk (unknown partition : 0)", Assert.Single(table.Segments).Name);
        Assert.Equal(uint.MaxValue * 512L, Assert.Single(table.Partitions).SizeBytes);
    }

    [Fact]
    public void MBR_follows_the_chain_of_extended_records()
    {
        byte[] disk = new byte[1000 * 512];
        PutMbrEntry(disk, 0, 0, 0x0C, 10, 90);
        PutMbrEntry(disk, 0, 1, 0x05, 100, 800);
        PutMbrEntry(disk, 100, 0, 0x83, 10, 50);
        PutMbrEntry(disk, 100, 1, 0x05, 200, 100);
        PutMbrEntry(disk, 300, 0, 0xAF, 10, 60);
        PartitionTable table = PartitionTable.Read(new MemoryStorage(disk));
        Assert.Equal([(1, "Windows_FAT_32", 10L), (5, "Linux", 110L), (6, "Apple_HFS", 310L)],
            table.Partitions.Select(p => (p.Number, p.Type, p.OffsetBytes / 512)));
        GptTests.AssertCovers(table.Segments, 1000);

        PutMbrEntry(disk, 300, 1, 0x05, 0, 100); // back to the first record
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => PartitionTable.Read(new MemoryStorage(disk))).Id);
    }

    [Fact]
    public void Boot_sectors_are_no_partition_tables()
    {
        byte[] fat = new byte[64 * 512];
        byte[] parameters = [0xEB, 0x3C, 0x90, .. "MSDOS5.0"u8, 0x00, 0x02, 0x04, 0x01, 0x00, 0x02];
        parameters.CopyTo(fat, 0);
        PutMbrEntry(fat, 0, 0, 0x0C, 1, 10); // what stands there is code
        Assert.Equal(PartitionScheme.None, PartitionTable.Read(new MemoryStorage(fat)).Scheme);
        fat[0] = 0;
        Assert.Equal(PartitionScheme.Mbr, PartitionTable.Read(new MemoryStorage(fat)).Scheme);
    }

    [Fact]
    public void Random_sectors_never_escape_as_anything_but_a_typed_error()
    {
        var random = new Random(7);
        byte[] disk = new byte[100 * 512];
        for (int round = 0; round < 3000; round++)
        {
            random.NextBytes(disk.AsSpan(0, 4096));
            disk[510] = 0x55;
            disk[511] = 0xAA;
            if (round % 3 == 0) disk[450] = 0xEE;
            if (round % 3 == 1) "PM"u8.CopyTo(disk.AsSpan(512));
            if (round % 3 == 2) disk[450] = 0x05;
            if (round % 2 == 0) disk.AsSpan(446, 64).Clear();
            if (round % 6 == 5) PutMbrEntry(disk, 0, random.Next(4), 5, (uint)random.Next(100), (uint)random.Next(1000));
            try
            {
                GptTests.AssertCovers(PartitionTable.Read(new MemoryStorage(disk)).Segments, 100);
            }
            catch (ImageException e)
            {
                Assert.Equal(ImageErrorId.ImageDamaged, e.Id);
            }
        }
    }

    private static (long Offset, long Length) Range(BackupImagePartition partition) => (partition.OffsetBytes, partition.SizeBytes);

    private static void PutAppleEntry(byte[] disk, int offset, uint entries, uint start, uint count, string name, string type)
    {
        Span<byte> entry = disk.AsSpan(offset, 512);
        entry.Clear();
        "PM"u8.CopyTo(entry);
        BinaryPrimitives.WriteUInt32BigEndian(entry[4..], entries);
        BinaryPrimitives.WriteUInt32BigEndian(entry[8..], start);
        BinaryPrimitives.WriteUInt32BigEndian(entry[12..], count);
        System.Text.Encoding.ASCII.GetBytes(name, entry[16..]);
        System.Text.Encoding.ASCII.GetBytes(type, entry[48..]);
    }

    private static void PutMbrEntry(byte[] disk, int sector, int slot, byte type, uint start, uint count)
    {
        Span<byte> record = disk.AsSpan(sector * 512, 512);
        Span<byte> entry = record[(446 + (16 * slot))..];
        entry[4] = type;
        BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], start);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[12..], count);
        record[510] = 0x55;
        record[511] = 0xAA;
    }
}
