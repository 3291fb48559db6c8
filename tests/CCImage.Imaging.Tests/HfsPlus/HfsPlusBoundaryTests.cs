using System.Globalization;
using CCImage.Diagnostics;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

/// <summary>Every size at which the structure of a volume changes.</summary>
public class HfsPlusBoundaryTests
{
    /// <summary>Files in the root, and the depth that the catalog must have with them.</summary>
    [OracleTheory("fsck_hfs")]
    [InlineData(0, 1)]
    [InlineData(5, 1)]
    [InlineData(12, 2)]
    [InlineData(700, 2)]
    [InlineData(5_000, 3)]
    [InlineData(20_000, 3)]
    [InlineData(100_000, 4)]
    public void Catalogs_of_one_to_four_levels(int files, int depth)
    {
        TestTree tree = [];
        for (int i = 0; i < files; i++) tree.Add(TestTree.File($"file number {i}", i % 7 == 0 ? "some content" : ""));
        using VolumeFile file = VolumeFile.Write(tree);
        file.AssertFsckIsContent();
        VolumeAudit audit = files <= 5000 ? VolumeAudit.Compare(file, tree) : VolumeAudit.Run(file);
        Assert.Equal(depth, audit.CatalogDepth);
        Assert.Equal(files, (int)file.Plan.Entries);
    }

    [OracleFact("fsck_hfs")]
    public void Attributes_trees_of_several_levels_and_leaves_that_are_exactly_full()
    {
        TestTree tree = [];
        for (int i = 0; i < 600; i++)
            tree.Add(TestTree.File($"f{i}", "",
                new Meta { Attributes = [("first", Noise(3802, i)), (new string('n', 127), Noise(i % 3803, i)), ("x", Noise(4000, i))] }));
        using VolumeFile file = VolumeFile.Write(tree, VolumeFile.Options with { MaximumExtentBlocks = 1 });
        file.AssertFsckIsContent();
        VolumeAudit.Compare(file, tree);
    }

    [OracleFact("fsck_hfs")]
    public void Attribute_forks_with_overflow_extents()
    {
        TestTree tree = new()
        {
            TestTree.File("f", Noise(400_000, 1),
                new Meta { Attributes = [("big", Noise(300_000, 2)), ("small", [1])], Resource = Noise(200_000, 3) }),
            TestTree.File("g", Noise(4096 * 8, 4)),
            TestTree.File("h", Noise((4096 * 8) + 1, 5)),
            TestTree.File("i", Noise(4096 * 17, 6)),
        };
        using VolumeFile file = VolumeFile.Write(tree, VolumeFile.Options with { MaximumExtentBlocks = 1 });
        file.AssertFsckIsContent();
        VolumeAudit audit = VolumeAudit.Compare(file, tree);
        Assert.Equal(12 + 6 + 1 + 2, audit.OverflowRecords);
    }

    // From 16 TiB on the catalog begins with 512 MiB: 65,536 nodes, of which the header node's map has room for 63,488. Few file systems
    // take such a file; the one in memory does.
    [OracleFact("fsck_hfs")]
    public void Map_nodes_appear_when_the_header_node_has_no_room_for_the_map()
    {
        const string memory = "/dev/shm";
        const long size = 16L << 40;
        TestTree tree = new() { TestTree.File("a", "content") };
        HfsPlusPlan plan = HfsPlusPlanner.Plan(tree, VolumeFile.Options with { VolumeSizeBytes = size }, SilentObserver.Instance, default);
        Assert.Equal(65_536u, plan.CatalogTree.TotalNodes);
        Assert.Equal(3u, plan.CatalogTree.UsedNodes);
        Require.That(System.IO.Directory.Exists(memory), "There is no /dev/shm, where a sparse file of 16 TB fits.");
        using VolumeFile file = VolumeFile.Write(tree, VolumeFile.Options with { VolumeSizeBytes = size }, memory);
        file.AssertFsckIsContent();
        Assert.True(VolumeAudit.Run(file, claimBlocks: false).HasMapNodes);
    }

    [OracleFact("fsck_hfs")]
    public void Folders_200_deep()
    {
        TestTree tree = [];
        SourceEntry folder = tree.Root;
        for (int i = 0; i < 200; i++) folder = tree.Attach(folder, TestTree.Directory($"level {i}"));
        tree.Attach(folder, TestTree.File("bottom", "reached"));
        using VolumeFile file = VolumeFile.Write(tree);
        file.AssertFsckIsContent();
        VolumeAudit.Compare(file, tree);
    }

    [OracleTheory("fsck_hfs")]
    [InlineData((4L << 30) - 1)]
    [InlineData(4L << 30)]
    [InlineData((4L << 30) + 1)]
    public void Files_around_4_GiB(long size)
    {
        byte[] end = "the very end"u8.ToArray();
        TestTree tree = new() { TestTree.File("large", size, () => new EndStorage(size, end)), TestTree.File("small", "behind it") };
        using VolumeFile file = VolumeFile.Write(tree);
        file.AssertFsckIsContent();
        PlanFork fork = file.Plan.Forks[0];
        using FileStream stream = System.IO.File.OpenRead(file.Path);
        stream.Position = ((long)fork.StartBlock * file.Plan.BlockSize) + size - end.Length;
        byte[] read = new byte[end.Length + 4096];
        stream.ReadExactly(read, 0, end.Length);
        Assert.Equal(end, read[..end.Length]);
    }

    [OracleTheory("fsck_hfs")]
    [InlineData(1L << 20)]
    [InlineData((1L << 20) + 512)]
    [InlineData((1L << 20) + 3584)]
    [InlineData((128L << 20) - 4096)]
    [InlineData(128L << 20)]
    [InlineData(512L << 20)]
    [InlineData((1L << 30) - 512)]
    [InlineData(1L << 30)]
    [InlineData((2L << 40) - 4096)]
    [InlineData(2L << 40)]
    [InlineData((16L << 40) - (1 << 20))]
    public void Volumes_of_every_size(long size)
    {
        foreach (bool caseSensitive in (bool[])[false, true])
        {
            TestTree tree = new() { TestTree.File("a", "content"), TestTree.Directory("d", TestTree.File("b", Noise(20_000, 1))) };
            using VolumeFile file =
                VolumeFile.Write(tree, VolumeFile.Options with { VolumeSizeBytes = size, CaseSensitive = caseSensitive });
            Assert.Equal(size, new FileInfo(file.Path).Length);
            file.AssertFsckIsContent();
            VolumeAudit.Run(file, claimBlocks: size <= 128L << 20);
        }
    }

    [OracleTheory("newfs_hfs")]
    [InlineData(16L << 40)]
    [InlineData(100L << 40)]
    [InlineData(3L << 50)]
    public void Volumes_beyond_what_a_file_can_hold_are_as_newfs_hfs_would_make_them(long size)
    {
        HfsPlusPlan plan =
            HfsPlusPlanner.Plan(new TestTree(), VolumeFile.Options with { VolumeSizeBytes = size }, SilentObserver.Instance, default);
        string text = Oracle.Run("newfs_hfs", "-N" + size.ToString(CultureInfo.InvariantCulture), "-J").Output;
        if (!text.Contains("block-size", StringComparison.Ordinal))
            text = Oracle.Run("newfs_hfs", "-J", "-N", size.ToString(CultureInfo.InvariantCulture)).Output;
        Assert.Equal(Value("block-size"), plan.BlockSize);
        Assert.Equal(Value("total blocks"), plan.TotalBlocks);
        Assert.Equal(Value("journal-size") * 1024, plan.JournalSize);
        Assert.Equal(Value("catalog clump size"), plan.CatalogTree.ClumpSize);
        Assert.Equal(Value("extents clump size"), plan.ExtentsTree.ClumpSize);
        Assert.Equal(Value("attributes clump size"), plan.AttributesTree.ClumpSize);
        Assert.Equal(Value("initial allocation file size"), plan.AllocationFileSize);
        Assert.Equal(Value("data fork clump size"), plan.Header().DataClumpSize);

        long Value(string name) =>
            long.Parse(System.Text.RegularExpressions.Regex.Match(text, name + @":\s*(\d+)").Groups[1].Value, CultureInfo.InvariantCulture);
    }

    [Fact]
    public void A_small_volume_can_be_filled_to_the_last_block()
    {
        // From one block too many down to comfortable: every size either fits and is sound, or is refused with numbers.
        bool fitted = false, refused = false;
        for (int blocks = 0; blocks < 90; blocks++)
        {
            long content = (1 << 20) - (200 * 4096) + (blocks * 4096);
            TestTree tree = new() { TestTree.File("f", content, () => new ZeroStorage(content)) };
            try
            {
                using VolumeFile file = VolumeFile.Write(tree, VolumeFile.Options with { VolumeSizeBytes = 1 << 20 });
                VolumeAudit.Run(file);
                fitted = true;
                Assert.False(refused);
            }
            catch (ImageException e)
            {
                Assert.Equal(ImageErrorId.CapacityTooSmall, e.Id);
                refused = true;
            }
        }

        Assert.True(fitted && refused);
    }

    // Zeros with something at the end.
    private sealed class EndStorage(long length, byte[] end) : BlockStorage
    {
        public override long Length => length;

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            buffer.Clear();
            for (int i = 0; i < end.Length; i++)
            {
                long at = length - end.Length + i - offset;
                if (at >= 0 && at < buffer.Length) buffer[(int)at] = end[i];
            }
        }

        protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long range)
        {
            long data = Math.Clamp(length - end.Length, offset, offset + range);
            if (data > offset) yield return new StorageExtent(offset, data - offset, ExtentKind.Zero);
            if (offset + range > data) yield return new StorageExtent(data, offset + range - data, ExtentKind.Data);
        }
    }
}
