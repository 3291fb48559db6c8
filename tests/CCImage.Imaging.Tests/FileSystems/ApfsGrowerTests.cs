using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.FileSystems.Apfs;
using CCImage.Storage;
using CCImage.Tests.Encryption;
using CCImage.Tests.Storage;

namespace CCImage.Tests.FileSystems;

/// <summary>APFS containers that grow in place, judged by other people's tools; cut at every write.</summary>
public sealed class ApfsGrowerTests : IDisposable
{
    private const int BlockSize = 4096;
    private const string Small = "log2timeline__dfvfs/apfs.raw.gz";
    private const long MostOfSmall = 4544; // blocks, to which the checkpoint area of Apple's small containers is made
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [OracleFact("apfsck", "7z", "fsapfsinfo")]
    public void Real_containers_grow_and_other_readers_find_the_same()
    {
        int seen = 0, judged = 0;
        foreach ((string file, byte[] before) in Samples())
        {
            string path = _folder["container"];
            File.WriteAllBytes(path, before);
            (int ExitCode, string Output, string Error)[] verdicts = Judge(path);
            string content = ContentOf(path);
            foreach (long blocks in new[] { (before.Length / BlockSize) + 1, MostOfSmall, MostOfSmall + 1, 33_000 })
            {
                byte[] grown = Grow(before, blocks * BlockSize);
                using ApfsContainer old = ApfsContainer.Open(new MemoryStorage(before)),
                    container = ApfsContainer.Open(new MemoryStorage(grown));
                Assert.Equal((blocks * BlockSize, UsedForFiles(old)), (container.CapacityBytes, UsedForFiles(container)));
                Assert.Equal(container.FreeBytes, container.GetFreeExtents().Sum(e => e.Length));
                MustBeSound(container, file);
                File.WriteAllBytes(path, grown);
                Assert.Equal(verdicts, Judge(path));
                Assert.Equal(content, ContentOf(path));
            }

            seen++;
            if (verdicts[0].ExitCode == 0) judged++;
        }

        Assert.True(seen == 0 || (seen > 5 && judged > 3), $"{seen} containers, {judged} without a finding");
    }

    // The rings of the checkpoint areas go around, and new areas are made several times.
    [OracleFact("apfsck")]
    public void A_container_grows_again_and_again()
    {
        Require.Corpus();
        byte[] bytes = ReadAll(Corpus.OpenRaw(Small));
        string path = _folder["container"];
        for (int i = 1; i <= 40; i++)
        {
            bytes = Grow(bytes, bytes.Length / BlockSize * BlockSize + ((i * 3L) + (i % 10 == 0 ? 5000 : 0)) * BlockSize);
            using ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes));
            MustBeSound(container, $"{i}");
            File.WriteAllBytes(path, bytes);
            Assert.All(Judge(path), v => Assert.Equal((i, 0, ""), (i, v.ExitCode, v.Output + v.Error)));
        }
    }

    [OracleTheory("mkapfs", "apfsck")]
    [InlineData(1_114_112, 18_612_224)]
    [InlineData(4 << 20, 16 << 20)]
    [InlineData(60 << 20, 71 << 20)]
    [InlineData(133_000_000, 134_217_728)] // to the very end of the chunk
    [InlineData(135_000_000, 148_000_000)]
    [InlineData(900 << 20, 1000 << 20)] // the free queue may have more nodes, and there is room for them
    [InlineData(4100L << 20, 4224L << 20)]
    [InlineData((4100L << 20) + 4096, 4200L << 20)] // an octet of the bitmap that is shared
    [InlineData((20L << 30) + 4096, (20L << 30) + (100 << 20))] // a second chunk-info block
    [InlineData((700L << 30) + (1 << 20), (700L << 30) + (100 << 20))]
    [InlineData(4 << 20, 19 << 20)] // the free queue may have more nodes
    [InlineData(100 << 20, 120 << 20)]
    [InlineData(2 << 20, 300L << 30)]
    [InlineData(100 << 20, 500 << 20)]
    [InlineData(128 << 20, (128 << 20) + 4096)] // one block of a second chunk
    [InlineData(300 << 20, 1L << 30)]
    [InlineData(1L << 30, 2L << 30)]
    [InlineData(4000L << 20, 5000L << 20)]
    [InlineData(10L << 30, (126L << 27) + 4096)] // one chunk of a second chunk-info block
    [InlineData(50L << 30, 1L << 40)]
    [InlineData(1L << 40, 1500L << 30)] // a bitmap of the pool of two blocks
    [InlineData(2L << 40, 4L << 40)] // a space manager of two blocks
    [InlineData(7L << 40, 10L << 40)] // blocks of addresses
    [InlineData(9L << 40, 10L << 40)]
    public void Containers_of_another_writer(long size, long larger)
    {
        string path = Make(size);
        long used, usedNow;
        using (FileStorage storage = FileStorage.OpenRead(path))
        using (ApfsContainer old = ApfsContainer.Open(storage)) used = UsedForFiles(old);

        GrowFile(path, larger);
        Assert.All(Judge(path), v => Assert.Equal((0, "", ""), v));
        ApfsContainerSuperblock grownBlock;
        ApfsSpaceManager grown;
        using (FileStorage storage = FileStorage.OpenRead(path))
        {
            using ApfsContainer container = ApfsContainer.Open(storage);
            MustBeSound(container, "grown");
            (grownBlock, grown, usedNow) = (container.Superblock, container.OpenFreeSpace().Manager, UsedForFiles(container));
        }

        // What the same program makes of that size, but for what it places elsewhere.
        using FileStorage fresh = FileStorage.OpenRead(Make(larger));
        using ApfsContainer made = ApfsContainer.Open(fresh);
        ApfsSpaceManager expected = made.OpenFreeSpace().Manager;
        Assert.Equal((made.Superblock.BlockCount, made.Superblock.MostVolumes, made.Superblock.EphemeralInfo),
            (grownBlock.BlockCount, grownBlock.MostVolumes, grownBlock.EphemeralInfo));
        Assert.Equal(
            (expected.Main.BlockCount, expected.Main.ChunkCount, expected.Main.ChunkInfoBlocks, expected.PoolBlocks,
            expected.MainQueue.MostNodes, expected.PoolQueue.MostNodes),
            (grown.Main.BlockCount, grown.Main.ChunkCount, grown.Main.ChunkInfoBlocks, grown.PoolBlocks, grown.MainQueue.MostNodes,
            grown.PoolQueue.MostNodes));
        Assert.Equal((expected.PoolBitmapSize, expected.PoolBitmapBlocks, expected.Main.AddressBlocks),
            (grown.PoolBitmapSize, grown.PoolBitmapBlocks, grown.Main.AddressBlocks));
        Assert.Equal((used, 0UL), (usedNow, (ulong)grown.PoolQueue.Count));
        Assert.True(grownBlock.DataBlocks >= ApfsSizing.CheckpointDataBlocks((long)(ulong)grownBlock.BlockCount, 1, 1));
    }

    // The structures find room here and there, and bitmaps of chunks that do not change go along.
    [OracleFact("mkapfs", "apfsck")]
    public void A_container_grows_from_megabytes_to_terabytes()
    {
        string path = Make(2 << 20);
        int moved = 0;
        foreach (int gibibytes in new[] { 1, 3, 50, 51, 60, 500, 510, 515, 2000, 2010, 2011, 9000, 9100 })
        {
            moved += GrowFile(path, (long)gibibytes << 30);
            Assert.All(Judge(path), v => Assert.Equal((gibibytes, 0, ""), (gibibytes, v.ExitCode, v.Output + v.Error)));
        }

        Assert.True(moved > 0);
    }

    [OracleTheory("mkapfs")]
    [InlineData(2)]
    [InlineData(10)]
    [InlineData(60)]
    [InlineData(127)]
    [InlineData(128)]
    [InlineData(200)]
    [InlineData(512)]
    [InlineData(900)]
    [InlineData(1024)]
    [InlineData(8192)]
    [InlineData(20480)]
    [InlineData(51200)]
    public void The_checkpoint_area_is_four_times_the_largest_checkpoint(int mebibytes)
    {
        using FileStorage storage = FileStorage.OpenRead(Make((long)mebibytes << 20));
        using ApfsContainer container = ApfsContainer.Open(storage);
        long blocks = (long)container.Blocks.Count;
        Assert.Equal(container.Superblock.DataBlocks, ApfsSizing.CheckpointDataBlocks(blocks, ApfsSizing.MostVolumes(blocks), 1));
    }

    // As a Mac leaves a container that it made larger where there was no room for the pool in one piece.
    [CorpusFact]
    public void A_pool_in_several_pieces_is_not_damage()
    {
        byte[] bytes = ReadAll(Corpus.OpenRaw(Small));
        foreach (int block in BlocksOf(bytes, 5)) Change(bytes, block, 0x9F, 0x80, 1);
        using ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes));
        var findings = new ImageFindings("image");
        container.Check(findings, CancellationToken.None);
        Assert.Equal(ImageFindingGrade.Note, findings.Worst);
        Assert.Null(container.FreeBytes);
        Assert.Equal(ImageErrorId.UnsupportedFormat, Assert.Throws<ImageException>(() => container.GetFreeExtents().Count()).Id);
        MustBeRefused(bytes, "several pieces");
    }

    [OracleTheory("mkapfs")]
    [InlineData(8 << 20, 4 << 20, "smaller")]
    [InlineData(8 << 20, (128L << 40) + 4096, "no larger than 140737488355328 bytes")]
    public void What_is_too_small_or_too_large_is_refused(long size, long other, string why)
    {
        using FileStorage storage = FileStorage.OpenRead(Make(size));
        using ApfsContainer container = ApfsContainer.Open(storage);
        Assert.Null(new ApfsGrower(container, default).TryPlan(other, out string? obstacle));
        Assert.Contains(why, obstacle, StringComparison.Ordinal);
    }

    [CorpusFact]
    public void A_container_of_that_size_has_nothing_to_write()
    {
        byte[] bytes = ReadAll(Corpus.OpenRaw(Small));
        using ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes));
        ApfsGrower.Plan? plan = new ApfsGrower(container, default).TryPlan(bytes.Length, out string? obstacle);
        Assert.Null(obstacle);
        Assert.Equal((1014, 0), (plan!.Blocks, plan.Steps.Count));
    }

    [CorpusFact]
    public void Nothing_is_written_over_what_the_checkpoint_uses()
    {
        int judged = 0;
        foreach ((string file, byte[] before) in Samples())
        {
            using ApfsContainer container = ApfsContainer.Open(new MemoryStorage(before));
            ApfsContainerSuperblock s = container.Superblock;
            ApfsFreeSpace space = container.OpenFreeSpace();
            space.Verify(default);
            HashSet<ulong> kept =
                [.. space.OwnBlocks, .. container.ReadCheckpointMaps()
                    .SelectMany(m => Enumerable.Range(0, (int)(uint)m.Size / BlockSize).Select(i => m.Address + (uint)i))];
            for (uint i = 0; i < s.DescriptorLength; i++) kept.Add(s.DescriptorBase + ((s.DescriptorIndex + i) % s.DescriptorBlocks));
            foreach (long blocks in new[] { MostOfSmall, MostOfSmall + 1, 70_000 })
            {
                ApfsGrower.Plan plan = new ApfsGrower(container, default).TryPlan(blocks * BlockSize, out _)!;
                (ulong Block, byte[] Bytes)[] anew = [.. plan.Steps.Take(3).SelectMany(step => step)];
                ulong[] written =
                    [.. anew.SelectMany(w => Enumerable.Range(0, w.Bytes.Length / BlockSize).Select(i => w.Block + (uint)i)),
                        .. plan.Moved.Select(m => m.To)];
                Assert.DoesNotContain(written, kept.Contains);
                Assert.Equal(written.Length, written.Distinct().Count());
                Assert.All(written, w =>
                    Assert.True(IsFree(w) || (w >= s.DescriptorBase && w < s.DescriptorBase + s.DescriptorBlocks)
                        || (w >= s.DataBase && w < s.DataBase + s.DataBlocks)));
                Assert.Equal(blocks == MostOfSmall, anew.Any(w => !IsFree(w.Block)));
                Assert.Equal([.. plan.Steps[3].Select(w => (w.Block, w.Bytes.Length))], new[] { (0UL, 512) }); // whole on any disk
                Assert.Equal(blocks == MostOfSmall ? 4 : 5, plan.Steps.Count);
            }

            judged++;
            bool IsFree(ulong block) => block >= container.Blocks.Count || space.FirstFree(block, 1) is not null;
        }

        Assert.True(CorpusLocation.Folder is null || judged > 3);
    }

    [OracleTheory("apfsck", "7z")]
    [InlineData(1, 2014)]
    [InlineData(2, 3014)]
    [InlineData(3, 5000)] // into new areas
    [InlineData(4, 33_000)] // and to a second chunk
    public void Cut_anywhere_it_is_the_old_container_or_the_new_one(int seed, long blocks)
    {
        Require.Corpus();
        byte[] before = ReadAll(Corpus.OpenRaw(Small));
        string path = _folder["container"];
        File.WriteAllBytes(path, before);
        string files = FilesOf(path);
        Assert.NotEqual("", files);
        byte[] window = [.. before, .. new byte[(int)(blocks * BlockSize) - before.Length]];
        new Random(seed).NextBytes(window.AsSpan(before.Length)); // what lies behind the old end means nothing
        var storage = new WriteLog(window);
        using ApfsContainer container = ApfsContainer.Open(storage);
        var grower = new ApfsGrower(container, default);
        grower.TryPlan(window.Length, out _)!.Write(storage, static _ => { }, CancellationToken.None);
        Assert.Equal(blocks > MostOfSmall ? 5 : 4, storage.Epochs.Count);
        var sizes = new List<long>();
        int torn = 0;
        foreach ((byte[] state, bool isDurable) in storage.StatesOf(seed, blocks > 10_000 ? 3 : int.MaxValue))
        {
            using ApfsContainer found = ApfsContainer.Open(new MemoryStorage(state));
            Assert.Contains((long)found.Blocks.Count, new[] { 1014, blocks });
            if (isDurable) sizes.Add((long)found.Blocks.Count);
            if (!ApfsBlocks.IsIntact(state.AsSpan(0, BlockSize)))
            {
                // The last block of a container of less than 128 MiB, torn in itself: all it says is right but its checksum.
                torn++;
                Assert.Equal(blocks, (long)found.Blocks.Count);
                Assert.Equal(ImageFindingGrade.Repairable, GradeOf(found));
                using var disk = new WriteLog(state);
                using (ApfsContainer damaged = ApfsContainer.Open(disk)) Assert.Single(damaged.Repair(CancellationToken.None));
                disk.Now.CopyTo(state.AsSpan());
            }

            using ApfsContainer whole = ApfsContainer.Open(new MemoryStorage(state));
            MustBeSound(whole, "a state");
            File.WriteAllBytes(path, state);
            Assert.Equal((0, "", ""), Oracle.Run("apfsck", "-uw", path)); // -c would report that block 0 is older
            Assert.Equal(files, FilesOf(path));
        }

        // Where there are new areas, block 0 leads to them.
        Assert.Equal(blocks > MostOfSmall ? [1014, 1014, 1014, blocks, blocks] : [1014, 1014, blocks, blocks], sizes);
        Assert.Equal(blocks > MostOfSmall ? 1 : 0, torn);
    }

    [CorpusFact]
    public void What_is_not_known_is_refused()
    {
        byte[] sample = ReadAll(Corpus.OpenRaw(Small));
        (string Why, int Type, int Offset, ulong Value, int Width)[] cases =
        [
            ("features", 1, 0x30, 4, 1),
            ("features", 1, 0x38, 1, 1),
            ("features", 1, 0x40, 0x102, 2),
            ("features", 1, 0x4F0, 8, 1),
            ("begun", 1, 0x4E0, 1, 1),
            ("begun", 1, 0x4E8, 1, 1),
            ("not as other", 1, 0xB4, 2, 1),
            ("not as other", 1, 0x524, 2, 1),
            ("not as other", 5, 0xF0 + 24, 7, 1),
            ("not as other", 5, 0xC8 + 24, 3, 1),
            ("not as other", 5, 0x90, 2, 1),
            ("not as other", 5, 0x60, 1, 1),
            ("not as other", 5, 0x144, 0xE0, 1), // arrays that overlap
            ("damaged", 5, 0xA8, ulong.MaxValue, 8), // the ring outside the container
            ("damaged", 5, 0xA8, 1_000_000, 8),
            ("damaged", 5, 0xA8, 500, 8), // in free blocks
        ];
        foreach ((string why, int type, int offset, ulong value, int width) in cases)
        {
            byte[] bytes = [.. sample];
            foreach (int block in BlocksOf(bytes, type)) Change(bytes, block, offset, value, width);
            MustBeRefused(bytes, why);
        }
    }

    [CorpusFact]
    public void What_is_not_whole_is_refused()
    {
        byte[] sample = ReadAll(Corpus.OpenRaw(Small));
        byte[] bytes = [.. sample];
        bytes[100] ^= 1; // block 0
        MustBeRefused(bytes, "-Repair");
        bytes = [.. sample];
        Change(bytes, 0, 0x3D8, 77, 1); // a counter: Apple's copies differ in these
        using (ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes)))
            Assert.NotNull(new ApfsGrower(container, default).TryPlan(MostOfSmall * BlockSize, out _));
        Change(bytes, 0, 0x60, 77, 1); // the next transaction
        MustBeRefused(bytes, "not ejected");
        bytes = [.. sample];
        Change(bytes, 1, 0x10, 5, 1); // a map of a transaction that was not finished
        MustBeRefused(bytes, "not ejected");
        bytes = [.. sample];
        ulong bitmap = 78, info = 77;
        bytes[((int)bitmap * BlockSize) + 200] = 1; // a bit behind the last block
        MustBeRefused(bytes, "not as other");
        bytes = [.. sample];
        Change(bytes, (int)info, 40 + 16 + 3, 4, 1); // a flag of the chunk, above its count
        using (ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes)))
            Assert.Equal(container.FreeBytes, container.GetFreeExtents().Sum(e => e.Length));
        MustBeRefused(bytes, "not as other");
    }

    // Fields of what the transaction changes, in every copy that counts: refused, or grown with no more findings than before.
    [OracleFact("apfsck")]
    public void Whatever_is_accepted_grows_soundly()
    {
        Require.Corpus();
        byte[] sample = ReadAll(Corpus.OpenRaw(Small));
        // superblocks, space manager, the pool's queue, map, chunk-info block
        int[][] objects = [[.. BlocksOf(sample, 1)], [.. BlocksOf(sample, 5)], [21], [7], [77]];
        var random = new Random(12);
        string path = _folder["container"];
        int accepted = 0;
        for (int i = 0; i < 400; i++)
        {
            byte[] bytes = [.. sample];
            int[] blocks = objects[random.Next(objects.Length)];
            int[] used = [.. Enumerable.Range(8, BlockSize - 8).Where(at => bytes[(blocks[0] * BlockSize) + at] != 0)];
            int offset = Math.Min(used[random.Next(used.Length)] + random.Next(3), BlockSize - 1);
            ulong value = (ulong)random.Next(4) switch { 0 => 0, 1 => 0xFF, _ => (ulong)random.Next(256) };
            foreach (int block in blocks) Change(bytes, block, offset, value, 1);
            MalformedInput.Try(() =>
            {
                using ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes));
                if (new ApfsGrower(container, default).TryPlan(bytes.Length + (50 * BlockSize), out _) is null) return;
                accepted++;
                if (accepted % 4 != 0) return;
                byte[] grown = Grow(bytes, bytes.Length + (50 * BlockSize));
                using ApfsContainer after = ApfsContainer.Open(new MemoryStorage(grown));
                MustBeSound(after, $"{blocks[0]} at {offset:x}: {value:x}");
                File.WriteAllBytes(path, bytes);
                string before = Verdict();
                File.WriteAllBytes(path, grown);
                string now = Verdict();
                // the queue's node is made anew
                Assert.True(now == before || now == "0 ", $"{blocks[0]} at {offset:x}: {value:x}: before '{before}', now '{now}'");
            });
        }

        Assert.True(accepted is > 30 and < 300, $"{accepted} accepted");

        string Verdict()
        {
            (int exitCode, string output, _) = Oracle.Run("apfsck", "-cuw", path);
            return $"{exitCode} {output.Split(" in block")[0]}"; // the number differs
        }
    }

    // As a Mac leaves a container that it made smaller: it moved the pool, and the areas.
    [CorpusFact]
    public void A_container_without_a_queue_of_the_pool_grows()
    {
        byte[] bytes = ReadAll(Corpus.OpenRaw(Small));
        foreach (int block in BlocksOf(bytes, 5)) Change(bytes, block, 0xC8 + 8, 0, 8);
        MustBeRefused(bytes, "damaged"); // with blocks that wait in it
        foreach (int block in BlocksOf(bytes, 5)) Change(bytes, block, 0xC8, 0, 8);
        using ApfsContainer container = ApfsContainer.Open(new MemoryStorage(Grow(bytes, 33_000 * BlockSize)));
        MustBeSound(container, "grown");
        Assert.Equal((0UL, 0UL),
            ((ulong)container.OpenFreeSpace().Manager.PoolQueue.TreeId, (ulong)container.OpenFreeSpace().Manager.PoolQueue.Count));
    }

    [CorpusFact]
    public void A_queue_of_what_lies_outside_the_pool_is_refused()
    {
        byte[] sample = ReadAll(Corpus.OpenRaw(Small));
        ApfsFreeQueueLeaf leaf = ApfsFreeQueueLeaf.TryRead(sample.AsSpan(21 * BlockSize, BlockSize).ToArray())!;
        Assert.Contains((3UL, 79UL), leaf.Ranges.Keys);
        foreach (ulong first in new ulong[] { 10, 83 })
        {
            byte[] bytes = [.. sample];
            Span<byte> node = bytes.AsSpan(21 * BlockSize, BlockSize);
            byte[] key = [3, 0, 0, 0, 0, 0, 0, 0, 79, 0, 0, 0, 0, 0, 0, 0];
            BinaryPrimitives.WriteUInt64LittleEndian(node[(node.IndexOf(key) + 8)..], first);
            ApfsBlocks.Seal(node);
            MustBeRefused(bytes, "not as other");
        }
    }

    // A block of the descriptor area that an older container left there, with a later transaction.
    [CorpusFact]
    public void A_checkpoint_of_another_container_is_not_taken()
    {
        byte[] bytes = ReadAll(Corpus.OpenRaw(Small));
        bytes.AsSpan(8 * BlockSize, BlockSize).CopyTo(bytes.AsSpan(2 * BlockSize));
        Change(bytes, 2, 0x10, 99, 1);
        Change(bytes, 2, 0x28, 500, 2);
        using (ApfsContainer taken = ApfsContainer.Open(new MemoryStorage(bytes)))
            Assert.Equal((99UL, 500UL), (taken.Transaction, (ulong)taken.Superblock.BlockCount));
        Change(bytes, 2, 0x28, 2000, 2);
        using (ApfsContainer tooLarge = ApfsContainer.Open(new MemoryStorage(bytes))) Assert.Equal(4UL, tooLarge.Transaction);
        Change(bytes, 2, 0x28, 500, 2);
        Change(bytes, 2, 0x48, 0, 8);
        using ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes));
        Assert.Equal((4UL, 1014UL), (container.Transaction, (ulong)container.Superblock.BlockCount));
    }

    // Blocks in use but those of the structures that a larger container makes anew.
    private static long UsedForFiles(ApfsContainer container)
    {
        ApfsFreeSpace space = container.OpenFreeSpace();
        space.Verify(default);
        ApfsContainerSuperblock s = container.Superblock;
        ulong structures = s.DescriptorBlocks + s.DataBlocks + space.Manager.PoolBlocks + space.Manager.PoolBitmapBlocks;
        return (long)(container.Blocks.Count - space.Manager.Main.FreeCount - structures);
    }

    // In free blocks anything may lie: here superblocks of this container, of later transactions.
    [CorpusFact]
    public void New_areas_have_nothing_of_what_was_there()
    {
        byte[] bytes = ReadAll(Corpus.OpenRaw(Small));
        byte[] stale = bytes.AsSpan(BlocksOf(bytes, 1).Max() * BlockSize, BlockSize).ToArray();
        Layout.At<ApfsObjectHeader>(stale).TransactionId = 99;
        ApfsBlocks.Seal(stale);
        using (ApfsContainer old = ApfsContainer.Open(new MemoryStorage(bytes)))
        {
            foreach (StorageExtent free in old.GetFreeExtents().ToList())
            {
                for (long at = free.Offset; at < free.End; at += BlockSize) stale.CopyTo(bytes.AsSpan((int)at));
            }
        }

        using ApfsContainer grown = ApfsContainer.Open(new MemoryStorage(Grow(bytes, 5000 * BlockSize)));
        Assert.Equal((5UL, 5UL, 5000UL), (grown.Transaction, grown.NewestTransaction, grown.Blocks.Count));
        MustBeSound(grown, "grown");
    }

    private static void MustBeRefused(byte[] bytes, string why)
    {
        using ApfsContainer container = ApfsContainer.Open(new MemoryStorage(bytes));
        Assert.Null(new ApfsGrower(container, default).TryPlan(MostOfSmall * BlockSize, out string? obstacle));
        Assert.Contains(why, obstacle, StringComparison.Ordinal);
    }

    private static void MustBeSound(ApfsContainer container, string what)
    {
        var findings = new ImageFindings("image");
        container.Check(findings, CancellationToken.None);
        Assert.True(findings.IsSound, what + "\n" + string.Join('\n', findings.ToList()));
    }

    private static ImageFindingGrade GradeOf(ApfsContainer container)
    {
        var findings = new ImageFindings("image");
        container.Check(findings, CancellationToken.None);
        return findings.Worst;
    }

    private static byte[] Grow(byte[] before, long length)
    {
        byte[] window = [.. before, .. new byte[(int)length - before.Length]];
        var storage = new WriteLog(window);
        using ApfsContainer container = ApfsContainer.Open(storage);
        var grower = new ApfsGrower(container, default);
        ApfsGrower.Plan? plan = grower.TryPlan(length, out string? obstacle);
        Assert.Null(obstacle);
        plan!.Write(storage, static _ => { }, CancellationToken.None);
        return storage.Now;
    }

    private static int GrowFile(string path, long length)
    {
        using (FileStream file = File.OpenWrite(path)) file.SetLength(length);
        using FileStorage storage = FileStorage.OpenWrite(path);
        using ApfsContainer container = ApfsContainer.Open(storage);
        ApfsGrower.Plan? plan = new ApfsGrower(container, default).TryPlan(length, out string? obstacle);
        Assert.Null(obstacle);
        plan!.Write(storage, static _ => { }, CancellationToken.None);
        return plan.Moved.Count;
    }

    // The objects of a type that have the newest transaction; of superblocks the copy in block 0, too.
    private static List<int> BlocksOf(byte[] bytes, int type) => [.. Enumerable.Range(0, bytes.Length / BlockSize).Where(b =>
        (BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan((b * BlockSize) + 24)) & 0xFFFF) == type
        && BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan((b * BlockSize) + 16)) == 4
            && ApfsBlocks.IsIntact(bytes.AsSpan(b * BlockSize, BlockSize)))];

    private static void Change(byte[] bytes, int block, int offset, ulong value, int width)
    {
        Span<byte> content = bytes.AsSpan(block * BlockSize, BlockSize);
        byte[] little = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(little, value);
        little.AsSpan(0, width).CopyTo(content[offset..]);
        ApfsBlocks.Seal(content);
    }

    private static (int ExitCode, string Output, string Error)[] Judge(string path) =>
        [Oracle.Run("apfsck", "-cuw", path), Oracle.Run("apfsck", "-cw", path)];

    // What two other readers make of the files, as far as they can: one reads no encrypted volumes.
    private static string ContentOf(string path) => Oracle.Run("fsapfsinfo", "-H", path).Output + FilesOf(path);

    private static string FilesOf(string path)
    {
        (int exitCode, _, _) = Oracle.Run("7z", "t", "-tapfs", path);
        return exitCode != 0 ? "" : Convert.ToHexString(SHA256.HashData(Oracle.RunForBytes("7z", "x", "-so", "-tapfs", path)));
    }

    private static byte[] ReadAll(BlockStorage storage)
    {
        byte[] bytes = new byte[storage.Length];
        storage.Read(0, bytes);
        return bytes;
    }

    private string Make(long size)
    {
        string path = _folder["made" + size.ToString(CultureInfo.InvariantCulture)];
        using (FileStream file = File.Create(path)) file.SetLength(size);
        Assert.Equal(0, Oracle.Run("mkapfs", path).ExitCode);
        return path;
    }

    private IEnumerable<(string File, byte[] Bytes)> Samples()
    {
        if (CorpusLocation.Folder is null) yield break;
        HashSet<string> seen = [];
        foreach (CorpusImage sample in CorpusImage.All.Where(
            s => s.Contents.Contains("APFS container", StringComparison.Ordinal) && (!s.IsEncrypted || s.Passphrase.Length > 0)))
        {
            using CCImage.Encryption.Passphrase passphrase = Secrets.Of(sample.Passphrase);
            using DiskImage image = DiskImage.Open(sample.Materialise(_folder.Path), sample.IsEncrypted ? passphrase : null);
            DiskImage.FoundVolume found = image.Volumes.Single(v => v.Volume.Kind == VolumeKind.Apfs);
            byte[] bytes = new byte[found.Volume.CapacityBytes];
            image.Disk.Read(found.OffsetBytes, bytes);
            if (seen.Add(Convert.ToHexString(SHA256.HashData(bytes))) && bytes.Length < MostOfSmall * BlockSize)
                yield return (sample.File, bytes);
        }
    }
}
