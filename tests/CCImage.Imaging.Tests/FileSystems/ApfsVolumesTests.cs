using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Checksums;
using CCImage.Containers.SparseImage;
using CCImage.Diagnostics;
using CCImage.FileSystems.Apfs;
using CCImage.Partitions;
using CCImage.Partitions.Gpt;
using CCImage.Storage;

namespace CCImage.Tests.FileSystems;

/// <summary>A container of several volumes with snapshots: what is told of it, what the jobs make of it, and what damage is seen.</summary>
public sealed class ApfsVolumesTests : IDisposable
{
    private const int BlockSize = 4096;
    private readonly TemporaryFolder _folder = new();
    private readonly string _image;

    public ApfsVolumesTests()
    {
        _image = _folder["image"];
        long length = GptLayout.DiskLengthFor(ApfsSample.Length);
        using SparseImageStorage disk = SparseImageStorage.Create(FileStorage.CreateNew(_image), length, ownsFile: true);
        GptLayout layout = GptLayout.Create(length, Guid.NewGuid(), Guid.NewGuid(), type: PartitionType.AppleApfs);
        foreach ((long offset, byte[] bytes) in layout.Pieces) disk.Write(offset, bytes);
        ApfsSample.Write(disk, layout.PartitionOffset);
        disk.Flush();
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Every_volume_is_listed_with_its_own_counts()
    {
        BackupImage image = DiskImage.Inspect(_image);
        Assert.Equal(
            [("Volume", 2L, 1L), ("Volume 2", 4L, 1L), ("Volume 3", 4L, 1L)],
            image.Volumes!.Select(v => (v.Name, v.FileCount!.Value, v.FolderCount!.Value)));
        Assert.All(image.Volumes!, v =>
            Assert.Equal((VolumeKind.Apfs, ApfsSample.Length, image.Volumes![0].FreeBytes, false),
                (v.Kind, v.CapacityBytes, v.FreeBytes, v.IsEncrypted)));
        Assert.True(image.Volumes!.Sum(v => v.UsedBytes) <= ApfsSample.Length - image.Volumes![0].FreeBytes);
        TestImage.AssertSound(_image);
        OnContainer(c => Assert.Equal(c.FreeBytes, c.GetFreeExtents().Sum(e => e.Length)));
    }

    [Fact]
    public void Compacting_growing_and_converting_keep_every_block_that_is_used()
    {
        Dictionary<ulong, ulong> used = [];
        OnContainer(c => used = UsedOf(c));
        using (DiskImage disk = DiskImage.Open(_image, null, writable: true))
        {
            foreach (StorageExtent extent in disk.GetFreeExtents().Where(f => f.Length > 4 << 20).Take(3))
                disk.Disk.Write(extent.Offset, TestTree.Noise(4 << 20, 1));
            disk.Disk.Flush();
        }

        Assert.InRange(ImageCompaction.Run(new(_image), SilentObserver.Instance, CancellationToken.None).ReclaimedBytes, 4 << 20, 64 << 20);
        AssertKept(_image, used);

        // With room in the checkpoint areas, and in new ones.
        foreach (long length in new[] { ApfsSample.Length + (4 << 20), 5L << 30 })
        {
            Dictionary<ulong, ulong> kept = [];
            OnContainer(c => kept = WithoutStructures(c, UsedOf(c)));
            long size = GptLayout.DiskLengthFor(length);
            ImageResizeResult grown = ImageResize.Run(new(_image) { SizeBytes = size }, SilentObserver.Instance, CancellationToken.None);
            Assert.Equal((size, true, null), (grown.CapacityBytesAfter, grown.VolumeResized, grown.Advice));
            OnContainer(c => Assert.Equal(length, c.CapacityBytes));
            OnContainer(c => Assert.Equal(kept, WithoutStructures(c, UsedOf(c))));
            TestImage.AssertSound(_image);
            Assert.Equal(3, DiskImage.Inspect(_image).Volumes!.Count);
        }

        OnContainer(c => used = UsedOf(c));
        string readOnly = _folder["read-only.dmg"];
        ImageConversion.Run(new() { Path = _image, DestinationPath = readOnly, Format = BackupImageFormat.ReadOnlyZlib },
            SilentObserver.Instance, CancellationToken.None);
        AssertKept(readOnly, used);
    }

    [Fact]
    public void A_flipped_bit_in_anything_of_a_snapshot_is_found()
    {
        List<(string What, ulong Block)> blocks = [];
        OnContainer(c => blocks = [.. SnapshotBlocks(c)]);
        Assert.Equal(4, blocks.Count(b => b.What == "superblock"));
        Assert.Equal(4, blocks.Count(b => b.What == "extents"));
        var random = new Random(3);
        foreach ((string what, ulong block) in blocks)
        {
            byte[] before = Read(block), changed = [.. before];
            int at = random.Next(BlockSize);
            changed[at] ^= (byte)(1 << random.Next(8));
            Write(block, changed);
            Assert.False(IsSound(), $"{what} in block {block}, byte {at}");
            Write(block, before);
        }

        Assert.True(IsSound());
    }

    [Fact]
    public void Contradictions_with_right_checksums_are_found()
    {
        ulong volume = 0, tree = 0, map = 0, mapTree = 0, other = 0;
        OnContainer(c =>
        {
            ApfsVolumeSuperblock superblock = VolumesOf(c)[1];
            volume = new ApfsObjectMap(c.Blocks, c.Superblock.ObjectMapAddress, "map")
                .Find(superblock.Object.ObjectId, c.Transaction)!.Value.Address;
            (tree, map) = (superblock.SnapshotTreeId, superblock.ObjectMapAddress);
            mapTree = new ApfsObjectMap(c.Blocks, map, "map").Header.SnapshotTreeAddress;
            other = SnapshotBlocks(c).First(b => b.What == "superblock").Block; // of the first volume
        });
        Sealed(volume, block => Layout.At<ApfsVolumeSuperblock>(block).SnapshotCount = 1);
        Sealed(map, block => Layout.At<ApfsObjectMapHeader>(block).SnapshotCount = 3);
        Sealed(mapTree, block =>
        {
            Assert.True(((ReadOnlySpan<byte>)block).Overlaps(new ApfsNode(block, "map").Key(0, 8), out int at));
            block[at] ^= 1;
        });
        Sealed(tree, block =>
            BinaryPrimitives.WriteUInt64LittleEndian(block.AsSpan(Records(block, ApfsConstants.SnapshotMetadata)[0])[8..], other));
        Sealed(tree, block => block.AsSpan(Records(block, ApfsConstants.SnapshotMetadata)[1])[8] ^= 1);
        Sealed(tree, block => block.AsSpan(Records(block, ApfsConstants.SnapshotName)[0])[0] ^= 1);
        Assert.True(IsSound());

        void Sealed(ulong block, Action<byte[]> change)
        {
            byte[] before = Read(block), changed = [.. before];
            change(changed);
            ApfsBlocks.Seal(changed);
            Assert.NotEqual(before, changed);
            Write(block, changed);
            Assert.False(IsSound());
            Write(block, before);
        }
    }

    // The bitmaps have no checksum, and their counts are right.
    [Fact]
    public void A_block_of_a_snapshot_that_is_marked_free_is_found()
    {
        ulong bitmap = 0, free = 0;
        List<(string What, ulong Block)> blocks = [];
        OnContainer(c =>
        {
            blocks = [.. SnapshotBlocks(c)];
            free = (ulong)c.GetFreeExtents().First(e => e.Length > 0).Offset / BlockSize;
            ApfsFreeSpace space = c.OpenFreeSpace();
            space.Verify(default);
            bitmap = space.Chunks[0].Bitmap;
        });
        foreach ((string what, ulong block) in blocks.Where(b => b.Block < 8 * BlockSize))
        {
            byte[] before = Read(bitmap), changed = [.. before];
            changed[block / 8] ^= (byte)(1 << (int)(block % 8));
            changed[free / 8] ^= (byte)(1 << (int)(free % 8));
            Write(bitmap, changed);
            Assert.False(IsSound(), $"{what} in block {block}");
            Write(bitmap, before);
        }

        Assert.True(IsSound());
    }

    [Fact]
    public void Malformed_snapshots_give_findings_and_typed_errors_only()
    {
        List<(string What, ulong Block)> blocks = [];
        OnContainer(c => blocks = [.. SnapshotBlocks(c)]);
        var random = new Random(11);
        foreach ((_, ulong block) in blocks)
        {
            byte[] before = Read(block);
            int[] used = [.. Enumerable.Range(8, BlockSize - 8).Where(at => before[at] != 0)];
            for (int i = 0; i < 25; i++)
            {
                byte[] changed = [.. before];
                for (int flips = random.Next(1, 4); flips > 0; flips--)
                    changed[used[random.Next(used.Length)]] ^= (byte)(1 << random.Next(8));
                ApfsBlocks.Seal(changed);
                Write(block, changed);
                MalformedInput.Try(() => _ = IsSound());
            }

            Write(block, before);
        }

        Assert.True(IsSound());
    }

    private static IEnumerable<(string What, ulong Block)> SnapshotBlocks(ApfsContainer container)
    {
        foreach (ApfsVolumeSuperblock volume in VolumesOf(container))
        {
            var map = new ApfsObjectMap(container.Blocks, volume.ObjectMapAddress, "map");
            yield return ("snapshot tree", volume.SnapshotTreeId);
            yield return ("snapshot tree of the object map", map.Header.SnapshotTreeAddress);
            byte[] block = container.Blocks.ReadObject(volume.SnapshotTreeId, "tree", 1);
            foreach (Range record in Records(block, ApfsConstants.SnapshotMetadata))
            {
                ApfsSnapshotMetadata metadata = Layout.Read<ApfsSnapshotMetadata>(block.AsSpan(record));
                yield return ("superblock", metadata.SuperblockAddress);
                yield return ("extents", metadata.ExtentTreeId);
            }
        }
    }

    /// <summary>Where the values of one kind are in the only node of a snapshot tree.</summary>
    private static List<Range> Records(byte[] block, ulong kind)
    {
        var node = new ApfsNode(block, "tree");
        var found = new List<Range>();
        for (int i = 0; i < node.Count; i++)
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(node.Key(i, 8)) >> ApfsConstants.TypeShift != kind) continue;
            int size = kind == ApfsConstants.SnapshotName ? 8 : Unsafe.SizeOf<ApfsSnapshotMetadata>();
            Assert.True(((ReadOnlySpan<byte>)block).Overlaps(node.Value(i, size), out int at));
            found.Add(at..(at + size));
        }

        return found;
    }

    private static ApfsVolumeSuperblock[] VolumesOf(ApfsContainer container)
    {
        var map = new ApfsObjectMap(container.Blocks, container.Superblock.ObjectMapAddress, "map");
        return [.. container.VolumeIds().Select(id => container.ReadVolume(map, id))];
    }

    /// <summary>The hash of each block that is not free.</summary>
    private static Dictionary<ulong, ulong> UsedOf(ApfsContainer container)
    {
        var used = new Dictionary<ulong, ulong>();
        ulong block = 0;
        foreach (StorageExtent free in container.GetFreeExtents().Append(new(container.CapacityBytes, 0, ExtentKind.Unused)))
        {
            for (; block < (ulong)free.Offset / BlockSize; block++)
                used[block] = Fletcher64.Compute(container.Blocks.Read(block, 1, "block"));
            block = (ulong)free.End / BlockSize;
        }

        return used;
    }

    // What a larger container has in other places.
    private static Dictionary<ulong, ulong> WithoutStructures(ApfsContainer container, Dictionary<ulong, ulong> used)
    {
        var left = new Dictionary<ulong, ulong>(used);
        foreach ((ulong first, ulong count) in container.Reserved(container.OpenFreeSpace().Manager))
        {
            for (ulong block = first; block < first + count; block++) left.Remove(block);
        }

        return left;
    }

    private static void AssertKept(string image, Dictionary<ulong, ulong> used)
    {
        TestImage.AssertSound(image);
        using DiskImage disk = DiskImage.Open(image, null);
        Assert.Equal(used, UsedOf((ApfsContainer)Assert.Single(disk.Volumes).Volume));
    }

    private void OnContainer(Action<ApfsContainer> action)
    {
        using DiskImage disk = DiskImage.Open(_image, null);
        action((ApfsContainer)Assert.Single(disk.Volumes).Volume);
    }

    private bool IsSound()
    {
        bool isSound = false;
        OnContainer(c =>
        {
            var findings = new ImageFindings("image");
            c.Check(findings, CancellationToken.None);
            isSound = findings.IsSound;
        });
        return isSound;
    }

    private byte[] Read(ulong block)
    {
        byte[] bytes = [];
        OnContainer(c => bytes = c.Blocks.Read(block, 1, "block"));
        return bytes;
    }

    private void Write(ulong block, byte[] bytes)
    {
        using DiskImage disk = DiskImage.Open(_image, null, writable: true);
        disk.Disk.Write(disk.Volumes[0].OffsetBytes + ((long)block * BlockSize), bytes);
        disk.Disk.Flush();
    }
}
