using System.Buffers.Binary;
using System.Globalization;
using CCImage.Checksums;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.FileSystems;
using CCImage.FileSystems.Apfs;
using CCImage.Storage;
using CCImage.Tests.Encryption;

namespace CCImage.Tests.FileSystems;

/// <summary>APFS containers: what is free, what is there, and what is damaged.</summary>
public sealed class ApfsTests : IDisposable
{
    private const string Small = "log2timeline__dfvfs/apfs.raw.gz";
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [CorpusFact]
    public void What_is_free_is_what_the_space_manager_counts()
    {
        int seen = 0;
        ForEachSample((sample, image, container) =>
        {
            StorageExtent[] free = [.. container.GetFreeExtents()];
            Assert.Equal((sample.File, container.FreeBytes), (sample.File, free.Sum(e => e.Length)));
            Assert.All(free.Zip(free.Skip(1)), pair => Assert.True(pair.First.End < pair.Second.Offset));
            Assert.True(free.Length > 0 && free[^1].End <= container.CapacityBytes);
            Assert.Equal(container.CapacityBytes - container.FreeBytes, image.Describe().UsedBytes);
            seen++;
        });
        Assert.True(seen > 10, $"{seen} containers");
    }

    [CorpusFact]
    public void Real_containers_are_sound() => ForEachSample((sample, _, container) =>
    {
        ImageFindings findings = Check(container);
        Assert.True(findings.IsSound, sample.File + "\n" + string.Join('\n', findings.ToList()));
        Assert.True(findings.ToList().Count > 2);
    });

    // Apple's own converter left free space out: what it kept is not free, and what we call free it left out, but for what it rounds.
    [CorpusFact]
    public void What_Apples_converter_kept_is_not_free()
    {
        int compared = 0;
        ForEachSample((sample, image, container) =>
        {
            if (image.Container.Udif is not { } udif) return; // not made by the converter
            long offset = image.Volumes.Single(v => v.Volume == container).OffsetBytes;
            long free = 0, kept = 0;
            foreach (StorageExtent extent in container.GetFreeExtents())
            {
                free += extent.Length;
                kept += udif.GetExtents(offset + extent.Offset, extent.Length).Where(e => e.Kind == ExtentKind.Data).Sum(e => e.Length);
            }

            compared++;
            Assert.True(kept * 20 <= free, $"{sample.File}: of {free} free bytes Apple kept {kept}");
        });
        Assert.True(compared > 5, $"{compared} images");
    }

    [OracleFact("apfsck")]
    public void A_broken_block_0_is_restored_from_the_newest_checkpoint()
    {
        Require.Corpus();
        string path = _folder["container"];
        // the last: block 0 claims a later transaction
        foreach ((int at, bool isRepairable) in new[] { (100, true), (2000, true), (0x10, false) })
        {
            byte[] bytes = new byte[Corpus.OpenRaw(Small).Length];
            Corpus.OpenRaw(Small).Read(0, bytes);
            bytes[at] ^= 0x40;
            File.WriteAllBytes(path, bytes);
            using (FileStorage storage = FileStorage.OpenWrite(path))
            using (ApfsContainer container = ApfsContainer.Open(storage))
            {
                Assert.Equal(isRepairable ? ImageFindingGrade.Repairable : ImageFindingGrade.Damaged, Check(container).Worst);
                Assert.Equal(isRepairable ? 1 : 0, container.Repair(CancellationToken.None).Count);
            }

            using (FileStorage storage = FileStorage.OpenWrite(path))
            using (ApfsContainer container = ApfsContainer.Open(storage))
            {
                Assert.Equal(isRepairable, Check(container).IsSound);
                Assert.Empty(container.Repair(CancellationToken.None));
            }

            Assert.Equal(isRepairable ? 0 : 1, Oracle.Run("apfsck", "-cuw", path).ExitCode);
        }
    }

    // Found by fuzzing: it was copied to block 0 by a repair, and nothing could be read any more.
    [CorpusFact]
    public void A_checkpoint_data_area_that_cannot_be_is_found()
    {
        byte[] bytes = new byte[Corpus.OpenRaw(Small).Length];
        Corpus.OpenRaw(Small).Read(0, bytes);
        int newest;
        using (ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes)))
            newest = (int)(
                container.Superblock.DescriptorBase
                + ((container.Superblock.DescriptorIndex
                + (ulong)container.Superblock.DescriptorLength - 1) % container.Superblock.DescriptorBlocks));
        Span<byte> block = bytes.AsSpan(newest * 4096, 4096);
        block[0x6F] = 0x40;
        BinaryPrimitives.WriteUInt64LittleEndian(block, Fletcher64.Compute(block[8..]));
        using (ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes)))
            Assert.Equal(ImageFindingGrade.Damaged, Check(container).Worst);
        block[0x6F] = 0x80;
        BinaryPrimitives.WriteUInt64LittleEndian(block, Fletcher64.Compute(block[8..]));
        Assert.Equal(ImageErrorId.UnsupportedFormat, Assert.Throws<ImageException>(() => ApfsContainer.Open(new MemoryStorage(bytes))).Id);
    }

    [OracleFact("apfsck")]
    public void Zeroing_what_is_free_changes_nothing_for_another_checker()
    {
        int compared = 0;
        ForEachSample((sample, image, container) =>
        {
            if (container.CapacityBytes > 64 << 20) return;
            long offset = image.Volumes.Single(v => v.Volume == container).OffsetBytes;
            byte[] bytes = new byte[container.CapacityBytes];
            image.Disk.Read(offset, bytes);
            string path = _folder["container"];
            File.WriteAllBytes(path, bytes);
            var before = Oracle.Run("apfsck", "-cuw", path);
            foreach (StorageExtent extent in container.GetFreeExtents()) bytes.AsSpan((int)extent.Offset, (int)extent.Length).Clear();
            File.WriteAllBytes(path, bytes);
            var after = Oracle.Run("apfsck", "-cuw", path);
            Assert.Equal((sample.File, before), (sample.File, after));
            using ApfsContainer again = ApfsContainer.Open(new MemoryStorage(bytes));
            Assert.True(Check(again).IsSound);
            compared++;
        });
        Assert.True(compared == 0 || compared > 5, $"{compared} containers");
    }

    [OracleTheory("mkapfs", "apfsck")]
    [InlineData("1M")]
    [InlineData("4M")]
    [InlineData("100M")]
    [InlineData("128M")]
    [InlineData("1000M")]
    [InlineData("16G")]
    [InlineData("300G")]
    [InlineData("1023G")]
    [InlineData("4T")]
    [InlineData("10T")]
    public void Containers_of_another_writer(string size)
    {
        string path = _folder["container"];
        long bytes = long.Parse(size[..^1], CultureInfo.InvariantCulture) << (size[^1] switch { 'M' => 20, 'G' => 30, _ => 40 });
        using (FileStream file = File.Create(path)) file.SetLength(bytes);
        Assert.Equal(0, Oracle.Run("mkapfs", "-L", "Made by mkapfs", path).ExitCode);
        using FileStorage storage = FileStorage.OpenRead(path);
        using ApfsContainer container = ApfsContainer.Open(storage);
        Assert.Equal(container.FreeBytes, container.GetFreeExtents().Sum(e => e.Length));
        BackupImageVolume volume = Assert.Single(container.Describe(1));
        Assert.Equal(("Made by mkapfs", 0L, 0L, false), (volume.Name, volume.FileCount, volume.FolderCount, volume.IsEncrypted));
        ImageFindings findings = Check(container);
        Assert.True(findings.IsSound, string.Join('\n', findings.ToList()));
    }

    [CorpusFact]
    public void A_flipped_bit_in_any_object_is_found()
    {
        byte[] bytes = ReadAll(Corpus.OpenRaw(Small));
        HashSet<long> free = [];
        long poolFirst, poolCount, descriptors, data;
        using (ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes)))
        {
            foreach (StorageExtent extent in container.GetFreeExtents())
                for (long at = extent.Offset; at < extent.End; at += 4096) free.Add(at / 4096);
            ApfsSpaceManager manager = container.OpenFreeSpace().Manager;
            (poolFirst, poolCount) = ((long)(ulong)manager.PoolBase, (long)(ulong)manager.PoolBlocks);
            descriptors = (long)(ulong)container.Superblock.DescriptorBase + container.Superblock.DescriptorBlocks;
            data = (long)(ulong)container.Superblock.DataBase + container.Superblock.DataBlocks;
        }

        int found = 0;
        var missed = new List<long>();
        for (long block = 1; block < bytes.Length / 4096; block++)
        {
            Span<byte> content = bytes.AsSpan((int)block * 4096, 4096);
            if (!ApfsBlocks.IsIntact(content.ToArray()) || !content.ContainsAnyExcept((byte)0)) continue;
            content[100] ^= 8;
            if (IsSound(bytes)) missed.Add(block);
            else found++;
            content[100] ^= 8;
        }

        // Of what goes unnoticed, a later version exists that is in use: in the checkpoint areas, in the pool, or waiting to be freed.
        Assert.True(found >= 15, $"{found} found");
        long[] unknown =
            [.. missed.Where(b => !free.Contains(b) && b >= Math.Max(descriptors, data) && (b < poolFirst || b >= poolFirst + poolCount)
                && !IsSuperseded(b))];
        Assert.True(unknown.Length == 0, $"{found} found; unnoticed in {string.Join(' ', unknown)}");

        bool IsSuperseded(long block) => Enumerable.Range(1, (bytes.Length / 4096) - 1).Any(other =>
            bytes.AsSpan((other * 4096) + 24, 8).SequenceEqual(bytes.AsSpan((int)(block * 4096) + 24, 8))
            && BitConverter.ToUInt64(bytes, (other * 4096) + 16) > BitConverter.ToUInt64(bytes, (int)(block * 4096) + 16));

        foreach (long block in free.Take(50))
        {
            bytes[block * 4096] ^= 1;
            Assert.True(IsSound(bytes));
            bytes[block * 4096] ^= 1;
        }
    }

    [CorpusFact]
    public void Damage_gives_findings_and_typed_errors_only()
    {
        byte[] bytes = ReadAll(Corpus.OpenRaw(Small));
        int[] used = [.. Enumerable.Range(0, bytes.Length).Where(at => bytes[at] != 0 && at % 4096 < 1024)];
        var random = new Random(8);
        for (int i = 0; i < 600; i++)
        {
            byte[] changed = random.Next(6) == 0 ? bytes[..random.Next(bytes.Length)] : [.. bytes];
            for (int flips = random.Next(1, 4); flips > 0; flips--)
            {
                int at = used[random.Next(used.Length)];
                if (at >= changed.Length) continue;
                changed[at] ^= (byte)(1 << random.Next(8));
                if (random.Next(2) == 0) Mend(changed, at / 4096); // as one who means harm would
            }

            MalformedInput.Try(() => Use(changed));
        }

        static void Mend(byte[] bytes, int block)
        {
            Span<byte> content = bytes.AsSpan(block * 4096, Math.Min(4096, bytes.Length - (block * 4096)));
            if (content.Length == 4096) BinaryPrimitives.WriteUInt64LittleEndian(content, Fletcher64.Compute(content[8..]));
        }

        static void Use(byte[] bytes)
        {
            using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(bytes), out ImageException? fault);
            if (fault is not null) throw fault;
            _ = (volume.Name, volume.FreeBytes, volume.Describe(0));
            volume.Check(new ImageFindings("x"), CancellationToken.None);
            _ = volume is ApfsContainer container ? new ApfsGrower(container, default).TryPlan(bytes.Length + 40960, out string? _) : null;
            _ = volume.GetFreeExtents().Count();
        }
    }

    [OracleFact("mkapfs")]
    public void Objects_that_are_named_again_and_again_end_the_check()
    {
        string path = _folder["container"];
        using (FileStream file = File.Create(path)) file.SetLength(4 << 20);
        Assert.Equal(0, Oracle.Run("mkapfs", path).ExitCode);
        byte[] bytes = File.ReadAllBytes(path);
        ulong map, tree;
        using (ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes)))
        {
            map = container.Superblock.ObjectMapAddress;
            tree = new ApfsObjectMap(container.Blocks, map, "map").Header.TreeAddress;
        }

        // A leaf whose hundred objects of 1 MiB, without a header and so without a checksum, all lie in the same place.
        Span<byte> node = bytes.AsSpan((int)tree * 4096, 4096);
        node[32..].Clear();
        const int Count = 100;
        BinaryPrimitives.WriteUInt16LittleEndian(node[32..], ApfsConstants.NodeRoot | ApfsConstants.NodeLeaf | ApfsConstants.NodeFixedSize);
        BinaryPrimitives.WriteUInt32LittleEndian(node[36..], Count);
        BinaryPrimitives.WriteUInt16LittleEndian(node[42..], Count * 4);
        for (int i = 0; i < Count; i++)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(node[(56 + (i * 4))..], (ushort)(i * 16));
            BinaryPrimitives.WriteUInt16LittleEndian(node[(58 + (i * 4))..], (ushort)((i + 1) * 16));
            BinaryPrimitives.WriteUInt64LittleEndian(node[(56 + (Count * 4) + (i * 16))..], 5000 + (ulong)i);
            Span<byte> value = node[(4096 - 40 - ((i + 1) * 16))..];
            BinaryPrimitives.WriteUInt32LittleEndian(value, ApfsConstants.MapNoHeader);
            BinaryPrimitives.WriteUInt32LittleEndian(value[4..], 1 << 20);
            BinaryPrimitives.WriteUInt64LittleEndian(value[8..], 1);
        }

        BinaryPrimitives.WriteUInt64LittleEndian(node, Fletcher64.Compute(node[8..]));
        MalformedInput.Try(() =>
        {
            using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(bytes), out _);
            Assert.Contains(Check(volume).ToList(), f =>
                f.Grade == ImageFindingGrade.Damaged && f.Message.Contains("more blocks than the container", StringComparison.Ordinal));
        });
    }

    private static bool IsSound(byte[] bytes)
    {
        using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(bytes), out ImageException? fault);
        if (fault is not null) return false;
        return Check(volume).IsSound;
    }

    private static ImageFindings Check(FileSystemVolume volume)
    {
        var findings = new ImageFindings("image");
        volume.Check(findings, CancellationToken.None);
        return findings;
    }

    private static byte[] ReadAll(BlockStorage storage)
    {
        byte[] bytes = new byte[storage.Length];
        storage.Read(0, bytes);
        return bytes;
    }

    private void ForEachSample(Action<CorpusImage, DiskImage, ApfsContainer> action)
    {
        Require.Corpus();
        foreach (CorpusImage sample in CorpusImage.All.Where(
            s => s.Contents.Contains("APFS container", StringComparison.Ordinal) && (!s.IsEncrypted || s.Passphrase.Length > 0)))
        {
            using Passphrase passphrase = Secrets.Of(sample.Passphrase);
            using DiskImage image = DiskImage.Open(sample.Materialise(_folder.Path), sample.IsEncrypted ? passphrase : null);
            DiskImage.FoundVolume found = image.Volumes.Single(v => v.Volume.Kind == VolumeKind.Apfs);
            Assert.True(found.Fault is null, $"{sample.File}: {found.Fault?.Message}");
            action(sample, image, (ApfsContainer)found.Volume);
        }
    }
}
