using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.Partitions;
using CCImage.Partitions.Gpt;
using CCImage.Storage;

namespace CCImage.Tests.EndToEnd;

/// <summary>
/// Seeded sequences on images of APFS containers: a driver of other people fills, deletes and takes snapshots, we compact and grow, and
/// after each step that driver, 7-Zip and the checkers read what is there.
/// </summary>
public sealed class ApfsSequenceTests : IDisposable
{
    private const int BlockSize = 4096;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [OracleTheory("mkapfs", "apfsck", "uml-apfs", "7z")]
    [InlineData(BackupImageFormat.SparseBundle, 24, 1)]
    [InlineData(BackupImageFormat.Sparse, 40, 2)]
    [InlineData(BackupImageFormat.ReadWrite, 16, 3)]
    [InlineData(BackupImageFormat.SparseBundle, 109, 4)] // towards a second chunk, and beyond
    [InlineData(BackupImageFormat.Sparse, 150, 5)] // two of them
    public void Filled_deleted_compacted_and_grown(BackupImageFormat format, int mebibytes, int seed)
    {
        var driver = new ForeignApfs(_folder, 1, seed);
        ForeignApfs.Make(_folder["container"], (long)mebibytes << 20);
        Run(driver, format, 1_500_000, seed);
    }

    [OracleTheory("apfsck", "uml-apfs")]
    [InlineData(BackupImageFormat.SparseBundle, 6)]
    public void Several_volumes_filled_deleted_compacted_and_grown(BackupImageFormat format, int seed)
    {
        var driver = new ForeignApfs(_folder, ApfsSample.Volumes, seed);
        using (FileStorage raw = FileStorage.CreateNew(_folder["container"])) ApfsSample.Write(raw, 0);
        driver.Adopt(_folder["container"], (0, "before"), (1, "before"), (1, "after"), (2, "before"));
        Run(driver, format, 1_000_000, seed);
    }

    // So many that extent trees, object maps and free queues have several nodes.
    [OracleFact("mkapfs", "apfsck", "uml-apfs")]
    public void Many_snapshots_of_many_files()
    {
        const int Snapshots = 5;
        string raw = _folder["container"];
        ForeignApfs.Make(raw, 60 << 20);
        var driver = new ForeignApfs(_folder, 1, 0);
        string script = """
            set -e
            mount -t apfs -o rw /dev/ubda /mnt
            s=0
            while [ $s -lt SNAPSHOTS ]; do
                mkdir /mnt/folder$s; i=0
                while [ $i -lt 120 ]; do seq $s $((s + i * 15)) > /mnt/folder$s/f$i; i=$((i+1)); done
                i=0
                while [ $i -lt 120 ]; do [ $s = 0 ] || rm /mnt/folder$((s-1))/f$i; i=$((i+3)); done
                sync; apfs-snap /mnt s$s; s=$((s+1))
            done
            umount /mnt
            """.Replace("SNAPSHOTS", $"{Snapshots}", StringComparison.Ordinal);
        driver.Run(raw, script, null);
        driver.Adopt(raw, [.. Enumerable.Range(0, Snapshots).Select(s => (0, $"s{s}"))]);
        ForeignApfs.CheckOurselvesAndWipe(raw);
        driver.Check(raw);
    }

    private void Run(ForeignApfs driver, BackupImageFormat format, int largest, int seed)
    {
        const int Rounds = 2;
        var random = new Random(seed);
        string raw = _folder["container"], image = _folder["image"];
        Make(raw, image, format);
        for (int round = 0; round < Rounds; round++)
        {
            driver.Change(raw, largest, round == seed % Rounds ? "middle" : null);
            Put(raw, image);
            Compact(image, format);
            Check(raw, image, driver);
            Grow(image, random.NextInt64(BlockSize, round == 0 ? 6 << 20 : 300 << 20)); // once in the same structures, once in larger ones
            Check(raw, image, driver);
            Compact(image, format);
            Check(raw, image, driver);
        }

        string readOnly = _folder["read-only.dmg"];
        ImageConversion.Run(
            new() { Path = image, DestinationPath = readOnly, Format = BackupImageFormat.ReadOnlyZlib, CompressionLevel = 1 },
            SilentObserver.Instance, CancellationToken.None);
        Check(raw, readOnly, driver);
    }

    private static void Make(string raw, string image, BackupImageFormat format)
    {
        long length = GptLayout.DiskLengthFor(new FileInfo(raw).Length);
        if (format == BackupImageFormat.SparseBundle) Directory.CreateDirectory(image);
        using (BlockStorage disk = format switch
        {
            BackupImageFormat.SparseBundle => SparseBundleStorage.Create(image, length, TestImage.Band),
            BackupImageFormat.Sparse => SparseImageStorage.Create(FileStorage.CreateNew(image), length, ownsFile: true),
            _ => FileStorage.CreateNew(image),
        })
        {
            foreach ((long offset, byte[] bytes) in GptLayout.Create(length, Guid.NewGuid(), Guid.NewGuid(), type: PartitionType.AppleApfs)
                .Pieces) disk.Write(offset, bytes);
            disk.Flush();
        }

        Put(raw, image);
    }

    /// <summary>Writes what differs.</summary>
    private static void Put(string raw, string image)
    {
        using DiskImage disk = DiskImage.Open(image, null, writable: true);
        using FileStorage container = FileStorage.OpenRead(raw);
        long offset = GptLayout.Create(disk.Disk.Length, default, default).PartitionOffset;
        byte[] now = new byte[1 << 20], old = new byte[1 << 20];
        for (long at = 0; at < container.Length; at += now.Length)
        {
            int length = (int)Math.Min(now.Length, container.Length - at);
            container.Read(at, now.AsSpan(0, length));
            disk.Disk.Read(offset + at, old.AsSpan(0, length));
            for (int block = 0; block < length; block += BlockSize)
            {
                ReadOnlySpan<byte> content = now.AsSpan(block, BlockSize);
                if (!content.SequenceEqual(old.AsSpan(block, BlockSize))) disk.Disk.Write(offset + at + block, content);
            }
        }

        disk.Disk.Flush();
    }

    private static void Compact(string image, BackupImageFormat format)
    {
        if (format != BackupImageFormat.ReadWrite) SpaceSequenceTests.Compact(image, null, format == BackupImageFormat.SparseBundle);
    }

    /// <summary>Whether the container grew too.</summary>
    private static void Grow(string image, long more)
    {
        long size = DiskImage.Inspect(image).CapacityBytes!.Value + (more / 512 * 512);
        ImageResizeResult result = ImageResize.Run(new(image) { SizeBytes = size }, SilentObserver.Instance, CancellationToken.None);
        Assert.Equal((size, true, null), (result.CapacityBytesAfter, result.VolumeResized, result.Advice));
        BackupImage after = DiskImage.Inspect(image);
        Assert.InRange(after.Partitions![0].SizeBytes - after.Volumes![0].CapacityBytes, 0, BlockSize - 1);
    }

    /// <summary>What is in the image, read by us and by others; it stands in <paramref name="raw"/> afterwards, with rubbish where it is
    /// free.</summary>
    private static void Check(string raw, string image, ForeignApfs driver)
    {
        TestImage.AssertSound(image);
        using (DiskImage disk = DiskImage.Open(image))
        using (FileStream file = File.Create(raw))
        {
            DiskImage.FoundVolume found = Assert.Single(disk.Volumes);
            Assert.Equal(VolumeKind.Apfs, found.Volume.Kind);
            byte[] bytes = new byte[1 << 20];
            file.SetLength(found.Volume.CapacityBytes);
            for (long at = 0; at < file.Length; at += bytes.Length)
            {
                Span<byte> piece = bytes.AsSpan(0, (int)Math.Min(bytes.Length, file.Length - at));
                disk.Disk.Read(found.OffsetBytes + at, piece);
                if (!piece.ContainsAnyExcept((byte)0)) continue;
                file.Position = at;
                file.Write(piece);
            }
        }

        ForeignApfs.CheckOurselvesAndWipe(raw);
        driver.Check(raw);
    }
}
