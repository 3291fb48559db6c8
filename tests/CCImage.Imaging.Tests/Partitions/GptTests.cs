using System.Buffers.Binary;
using CCImage.Binary;
using CCImage.Checksums;
using CCImage.Diagnostics;
using CCImage.Partitions;
using CCImage.Partitions.Gpt;
using CCImage.Storage;

namespace CCImage.Tests.Partitions;

public sealed class GptTests
{
    private static readonly Guid DiskId = new("11111111-2222-4333-8444-555555555555");
    private static readonly Guid PartitionId = new("66666666-7777-4888-9999-AAAAAAAAAAAA");

    [CorpusFact]
    public void Layout_is_byte_for_byte_that_of_Apples_images()
    {
        foreach (string name in new[] { "openwall__john-samples/Apple_Disk_Image_Media_apfs.dmg",
            "deploymenttheory__go-apfs-v2/basic.img.gz" })
            AssertSameAsApples(Corpus.OpenRaw(name), PartitionType.AppleApfs);
    }

    [Theory]
    [InlineData(4838, 4800, 8)]
    [InlineData(3817, 3784, 7)] // no free sectors behind the partition, and then no segment for them
    [InlineData(131072, 131032, 8)]
    [InlineData(13028, 12992, 8)]
    public void Layout_ends_the_partition_where_Apples_images_do(long sectors, long partitionEnd, int segments)
    {
        GptLayout layout = GptLayout.Create(sectors * 512, DiskId, PartitionId);
        Assert.Equal(40 * 512, layout.PartitionOffset);
        Assert.Equal(partitionEnd * 512, layout.PartitionOffset + layout.PartitionLength);
        Assert.Equal(segments, layout.Segments.Count);
    }

    [Fact]
    public void Layout_names_its_segments_as_Apples_images_do()
    {
        GptLayout layout = GptLayout.Create(4838 * 512, DiskId, PartitionId);
        DiskSegment[] expected =
        [
            new("Protective Master Boot Record (MBR : 0)", -1, 0, 1, 0),
            new("GPT Header (Primary GPT Header : 1)", 0, 1, 1, 1),
            new("GPT Partition Data (Primary GPT Table : 2)", 1, 2, 32, 2),
            new(" (Apple_Free : 3)", 2, 34, 6, 3),
            new("disk image (Apple_HFS : 4)", 3, 40, 4760, 4),
            new(" (Apple_Free : 5)", 4, 4800, 5, 5),
            new("GPT Partition Data (Backup GPT Table : 6)", 5, 4805, 32, 6),
            new("GPT Header (Backup GPT Header : 7)", 6, 4837, 1, 7),
        ];
        Assert.Equal(expected, layout.Segments);
    }

    [Fact]
    public void Disk_length_for_gives_room_for_exactly_that_partition()
    {
        foreach (long length in new long[] { 4096, 4097, 1 << 20, (5L << 40) + 12345 })
            Assert.Equal(
                Layout.RoundUp(length, 4096), GptLayout.Create(GptLayout.DiskLengthFor(length), DiskId, PartitionId).PartitionLength);
    }

    [Fact]
    public void Create_refuses_a_disk_without_room()
    {
        Assert.Equal(4096, GptLayout.Create(81 * 512, DiskId, PartitionId).PartitionLength);
        Assert.Equal(
            ImageErrorId.CapacityTooSmall, Assert.Throws<ImageException>(() => GptLayout.Create(80 * 512, DiskId, PartitionId)).Id);
    }

    [Fact]
    public void Read_finds_what_was_laid_out()
    {
        MemoryStorage disk = Make(2048);
        PartitionTable table = PartitionTable.Read(disk);
        Assert.Equal(PartitionScheme.Gpt, table.Scheme);
        Assert.Equal([new BackupImagePartition(1, "Apple_HFS", "disk image", 20480, (2008 - 40) * 512)], table.Partitions);
        Assert.Equal(GptLayout.Create(2048 * 512, DiskId, PartitionId).Segments, table.Segments);
    }

    [Theory]
    [InlineData(512)] // the primary's signature
    [InlineData(512 + 0x18)] // a field under the header's checksum
    [InlineData(1024 + 40)] // an entry
    public void Read_falls_back_to_the_backup(int damagedByte)
    {
        byte[] bytes = Make(2048).ToArray();
        bytes[damagedByte] ^= 0x10;
        Assert.Equal("disk image", Assert.Single(PartitionTable.Read(new MemoryStorage(bytes)).Partitions).Name);
        bytes[^512] ^= 1;
        ImageException error = Assert.Throws<ImageException>(() => PartitionTable.Read(new MemoryStorage(bytes)));
        Assert.Equal(ImageErrorId.ImageDamaged, error.Id);
        Assert.NotNull(error.Place);
    }

    [Fact]
    public void Read_survives_absurd_entries_under_valid_checksums()
    {
        foreach ((ulong first, ulong last) in new (
            ulong, ulong)[] { (40, 39), (0, ulong.MaxValue), (ulong.MaxValue, ulong.MaxValue), (0, 5000), (1UL << 40, 1UL << 41) })
        {
            byte[] bytes = Make(2048).ToArray();
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(1024 + 32), first);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(1024 + 40), last);
            Reseal(bytes);
            try
            {
                PartitionTable table = PartitionTable.Read(new MemoryStorage(bytes));
                AssertCovers(table.Segments, 2048);
            }
            catch (ImageException e)
            {
                Assert.Equal(ImageErrorId.ImageDamaged, e.Id);
            }
        }
    }

    [Theory]
    [InlineData(80, uint.MaxValue)] // entries
    [InlineData(84, uint.MaxValue)] // size of one
    [InlineData(72, uint.MaxValue)] // where they lie
    [InlineData(12, 600)] // size of the header
    [InlineData(12, 0)]
    public void Read_does_not_believe_absurd_headers(int field, uint value)
    {
        byte[] bytes = Make(2048).ToArray();
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(512 + field), value);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(512 + 16), GptChecksum.OfHeader(bytes.AsSpan(512, 92)));
        Assert.Single(PartitionTable.Read(new MemoryStorage(bytes)).Partitions); // from the backup
    }

    [Fact]
    public void Read_does_not_believe_an_absurd_size_of_no_entries()
    {
        byte[] bytes = Make(2048).ToArray();
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(512 + 80), 0);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(512 + 84), 0xC62B_0000); // found by fuzzing
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(512 + 88), Crc32.Of([]));
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(512 + 16), GptChecksum.OfHeader(bytes.AsSpan(512, 92)));
        Assert.Single(PartitionTable.Read(new MemoryStorage(bytes)).Partitions); // from the backup
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(34)]
    public void Repair_never_writes_over_the_good_copy(int backup)
    {
        byte[] bytes = Make(2048).ToArray();
        bytes.AsSpan(^512).Clear();
        bytes.AsSpan(1024, 128 * 128).Clear();
        Span<byte> header = bytes.AsSpan(512, 92);
        BinaryPrimitives.WriteInt64LittleEndian(header[32..], backup);
        header[40..56].Clear(); // no sector is for partitions
        BinaryPrimitives.WriteUInt32LittleEndian(header[80..], backup == 1 ? 0u : 4); // no entries, or a sector of them
        BinaryPrimitives.WriteUInt32LittleEndian(header[88..], Crc32.Of(bytes.AsSpan(1024, backup == 1 ? 0 : 4 * 128)));
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], GptChecksum.OfHeader(header));
        var disk = new MemoryStorage(bytes.Length);
        disk.Write(0, bytes);
        Assert.Equal(backup == 34, new GptChecker(disk).Repair() is not null);
        Assert.Equal(bytes[..1536], disk.ToArray()[..1536]);
    }

    // Found by fuzzing: a backup that keeps its entries where those of the primary belong.
    [Theory]
    [InlineData(10, false)]
    [InlineData(33, false)]
    [InlineData(40, true)]
    public void Repair_never_writes_over_the_entries_of_the_backup(int sector, bool isRepairable)
    {
        byte[] bytes = Make(2048).ToArray();
        byte[] entries = bytes[1024..(1024 + (128 * 128))];
        bytes.AsSpan(512, 512).Clear();
        entries.CopyTo(bytes, sector * 512);
        Span<byte> header = bytes.AsSpan(bytes.Length - 512, 92);
        BinaryPrimitives.WriteInt64LittleEndian(header[72..], sector);
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], 0);
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], GptChecksum.OfHeader(header));
        var disk = new MemoryStorage(bytes.Length);
        disk.Write(0, bytes);
        Assert.Equal(isRepairable, new GptChecker(disk).Repair() is not null);
        Assert.Equal(entries, disk.ToArray()[(sector * 512)..((sector * 512) + entries.Length)]);
    }

    [Fact]
    public void Read_every_truncation_is_a_typed_error_or_a_table()
    {
        byte[] whole = Make(128).ToArray();
        for (int length = 0; length <= whole.Length; length += 64)
        {
            MalformedInput.Try(() => AssertCovers(PartitionTable.Read(new MemoryStorage(whole[..length])).Segments, length / 512));
        }
    }

    internal static void AssertCovers(IReadOnlyList<DiskSegment> segments, long sectors)
    {
        long next = 0;
        foreach (DiskSegment segment in segments)
        {
            Assert.Equal(next, segment.StartSector);
            Assert.True(segment.SectorCount > 0);
            next += segment.SectorCount;
        }

        Assert.Equal(sectors, next);
    }

    internal static void AssertSameAsApples(BlockStorage disk, Guid type)
    {
        byte[] guids = new byte[16];
        disk.Read(512 + 0x38, guids);
        var diskId = new Guid(guids);
        disk.Read(1024 + 0x10, guids);
        GptLayout layout = GptLayout.Create(disk.Length, diskId, new Guid(guids), type: type);
        foreach ((long offset, byte[] expected) in layout.Pieces)
        {
            byte[] actual = new byte[expected.Length];
            disk.Read(offset, actual);
            Assert.Equal(Convert.ToHexString(actual), Convert.ToHexString(expected));
        }

        PartitionTable table = PartitionTable.Read(disk);
        BackupImagePartition partition = Assert.Single(table.Partitions);
        Assert.Equal((layout.PartitionOffset, layout.PartitionLength), (partition.OffsetBytes, partition.SizeBytes));
        Assert.Equal(layout.Segments, table.Segments);
    }

    private static MemoryStorage Make(int sectors)
    {
        var disk = new MemoryStorage(sectors * 512);
        foreach ((long offset, byte[] bytes) in GptLayout.Create(disk.Length, DiskId, PartitionId).Pieces) disk.Write(offset, bytes);
        return disk;
    }

    [Theory]
    [InlineData(0)] // sound
    [InlineData(1)] // the primary is damaged
    public void A_table_that_counts_larger_sectors_is_read_judged_and_mended(int damage)
    {
        byte[] bytes = MakeWide(256);
        if (damage == 1) bytes[4096 + 24] ^= 1;
        PartitionTable table = PartitionTable.Read(new MemoryStorage(bytes));
        Assert.Equal((PartitionScheme.Gpt, 4096), (table.Scheme, table.MapSectorSize));
        Assert.Equal([new BackupImagePartition(1, "Apple_HFS", "disk image", 6 * 4096, 100 * 4096)], table.Partitions);
        AssertCovers(table.Segments, bytes.Length / 512);
        Assert.Contains(table.Segments, s =>
            s.Name.StartsWith("disk image (Apple_HFS", StringComparison.Ordinal) && (s.StartSector, s.SectorCount) == (48, 800));
        var disk = new MemoryStorage(bytes.Length);
        disk.Write(0, bytes);
        var findings = new ImageFindings("disk");
        new PartitionChecker(disk, table).Check(findings);
        Assert.Equal(damage == 0 ? ImageFindingGrade.Ok : ImageFindingGrade.Repairable, findings.Worst);
        Assert.Equal(damage, new PartitionChecker(disk, table).Repair().Count);
        Assert.Equal(Convert.ToHexString(MakeWide(256)), Convert.ToHexString(disk.ToArray()));
        ImageException error = Assert.Throws<ImageException>(() => PartitionMapResizer.Open(disk, table));
        Assert.Equal(ImageErrorId.UnsupportedFormat, error.Id);
        Assert.Contains("4096 bytes", error.Problem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(512, false)]
    [InlineData(512, true)] // the begin of the disk is lost, and the backup is there
    [InlineData(4096, false)]
    [InlineData(4096, true)]
    public void A_table_without_a_protective_record_is_read_with_a_note(int sectorSize, bool isBackupOnly)
    {
        byte[] bytes = sectorSize == 512 ? Make(2048).ToArray() : MakeWide(256);
        bytes.AsSpan(0, isBackupOnly ? 64 << 10 : 512).Clear();
        PartitionTable table = PartitionTable.Read(new MemoryStorage(bytes));
        Assert.Equal((PartitionScheme.Gpt, sectorSize, 1), (table.Scheme, table.MapSectorSize, table.Partitions.Count));
        var findings = new ImageFindings("disk");
        new PartitionChecker(new MemoryStorage(bytes), table).Check(findings);
        Assert.Contains(findings.ToList(), f => f.Check == "Protective MBR" && f.Grade == ImageFindingGrade.Note);

        // With a boot record that names other partitions, with a wrong checksum, and on a disk that begins with a file system it does not
        // count.
        byte[] other = [.. bytes];
        (other[510], other[511], other[446 + 4], other[446 + 8], other[446 + 12]) = (0x55, 0xAA, 0xAF, 64, 16);
        Assert.Equal(PartitionScheme.Mbr, PartitionTable.Read(new MemoryStorage(other)).Scheme);
        other = [.. bytes];
        other[sectorSize + 24] ^= 1;
        other[^(sectorSize - 24)] ^= 1;
        Assert.Equal(PartitionScheme.None, PartitionTable.Read(new MemoryStorage(other)).Scheme);
        other = [.. bytes];
        "H+"u8.CopyTo(other.AsSpan(1024));
        Assert.Equal(PartitionScheme.None, PartitionTable.Read(new MemoryStorage(other)).Scheme);
    }

    [Fact]
    public void What_is_wrong_is_said_in_sentences()
    {
        byte[] bytes = Make(2048).ToArray();
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(512 + 32), 5000);
        Reseal(bytes);
        var findings = new ImageFindings("disk");
        new GptChecker(new MemoryStorage(bytes)).Check(findings);
        Assert.Contains(findings.ToList(), f =>
            f.Message == "One copy is damaged (its place lies outside the disk), and there is no certain place for a new one.");
    }

    // A disk of 4,096-byte sectors: entries in four sectors behind the header, and in front of the backup.
    private static byte[] MakeWide(int sectors)
    {
        const int Size = 4096;
        byte[] disk = new byte[sectors * Size], entries = Make(2048).ToArray()[1024..(1024 + (128 * 128))];
        BinaryPrimitives.WriteInt64LittleEndian(entries.AsSpan(32), 6);
        BinaryPrimitives.WriteInt64LittleEndian(entries.AsSpan(40), 105);
        Make(2048).ToArray().AsSpan(0, 512).CopyTo(disk);
        BinaryPrimitives.WriteInt32LittleEndian(disk.AsSpan(446 + 12), sectors - 1);
        foreach ((int own, int other, int at) in new[] { (1, sectors - 1, 2), (sectors - 1, 1, sectors - 5) })
        {
            entries.CopyTo(disk, at * Size);
            Span<byte> header = disk.AsSpan(own * Size, 92);
            Make(2048).ToArray().AsSpan(512, 92).CopyTo(header);
            foreach ((int field, long value) in new[] { (24, (long)own), (32, other), (40, 6), (48, sectors - 6), (72, at) })
                BinaryPrimitives.WriteInt64LittleEndian(header[field..], value);
            BinaryPrimitives.WriteUInt32LittleEndian(header[88..], Crc32.Of(entries));
            BinaryPrimitives.WriteUInt32LittleEndian(header[16..], GptChecksum.OfHeader(header));
        }

        return disk;
    }

    private static void Reseal(byte[] disk)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(disk.AsSpan(512 + 88), Crc32.Of(disk.AsSpan(1024, 128 * 128)));
        BinaryPrimitives.WriteUInt32LittleEndian(disk.AsSpan(512 + 16), GptChecksum.OfHeader(disk.AsSpan(512, 92)));
    }
}
