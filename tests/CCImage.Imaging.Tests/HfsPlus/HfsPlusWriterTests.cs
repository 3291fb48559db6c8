using CCImage.Diagnostics;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

/// <summary>What the planner decides and the renderer makes of it, judged by a reader of our own.</summary>
public class HfsPlusWriterTests
{
    [Theory]
    [MemberData(nameof(HfsPlusOracleTests.Variants), MemberType = typeof(HfsPlusOracleTests))]
    public void A_volume_holds_every_oddity_of_its_tree(bool caseSensitive, bool journaled, long? size, uint extentBlocks)
    {
        TestTree tree = HfsPlusOracleTests.Oddities();
        using VolumeFile file = VolumeFile.Write(tree,
            VolumeFile.Options with { CaseSensitive = caseSensitive, Journaled = journaled, VolumeSizeBytes = size,
            MaximumExtentBlocks = extentBlocks });
        VolumeAudit audit = VolumeAudit.Compare(file, tree);
        Assert.Equal(extentBlocks > 0, audit.OverflowRecords > 0);
        Assert.Equal(3u, audit.ById[audit.ByPath["/linked 1"].Special].Special);
        Assert.Equal(file.Plan.UsedBytes, (file.Plan.TotalBlocks - (long)Read32(audit.Header, 48)) * file.Plan.BlockSize);
        ImagingWarning warning = Assert.Single(file.Warnings);
        Assert.Equal(ImagingWarningKind.MetadataRounded, warning.Kind);
        Assert.Equal("/future", warning.Path);
    }

    [Fact]
    public void The_same_tree_gives_the_same_bytes_in_whatever_order_it_comes()
    {
        TestTree first = HfsPlusOracleTests.Oddities();
        TestTree second = [];
        foreach (SourceEntry child in first.Root.Children.Reverse().Where(c => c.Kind == EntryKind.File && c.HardLinkId == 0))
            second.Add(Copy(first, child));
        TestTree third = [];
        foreach (SourceEntry child in first.Root.Children.Where(c => c.Kind == EntryKind.File && c.HardLinkId == 0))
            third.Add(Copy(first, child));
        using VolumeFile a = VolumeFile.Write(second), b = VolumeFile.Write(third);
        Assert.Equal(System.IO.File.ReadAllBytes(a.Path), System.IO.File.ReadAllBytes(b.Path));

        static TestEntry Copy(TestTree tree, SourceEntry e) => TestTree.File(e.Name, e.Size, () => tree.OpenFork(e, ForkKind.Data));
    }

    [Fact]
    public void Extents_and_reads_of_every_alignment_agree()
    {
        TestTree tree = HfsPlusOracleTests.Oddities();
        foreach (uint extentBlocks in (uint[])[0, 2])
        {
            using VolumeFile file = VolumeFile.Write(tree, VolumeFile.Options with { MaximumExtentBlocks = extentBlocks });
            byte[] expected = System.IO.File.ReadAllBytes(file.Path);
            using var renderer = new HfsPlusRenderer(file.Plan, tree, SilentObserver.Instance);
            byte[] whole = new byte[renderer.Length];
            renderer.Read(0, whole);
            Assert.Equal(expected, whole); // what GetExtents called zero was not read for the file
            var random = new Random(42);
            Parallel.For(0, 200, _ =>
            {
                int at, count;
                lock (random)
                {
                    at = random.Next(expected.Length);
                    count = random.Next(Math.Min(200_000, expected.Length - at));
                }

                byte[] part = new byte[count];
                renderer.Read(at, part);
                Assert.True(part.AsSpan().SequenceEqual(expected.AsSpan(at, count)), $"{at}+{count}");
                long sum = 0;
                foreach (StorageExtent extent in renderer.GetExtents(at, count))
                {
                    Assert.Equal(at + sum, extent.Offset);
                    sum += extent.Length;
                    if (extent.Kind != ExtentKind.Data)
                        Assert.False(expected.AsSpan((int)extent.Offset, (int)extent.Length).ContainsAnyExcept((byte)0));
                }

                Assert.Equal(count, sum);
            });
            Assert.Contains(renderer.GetExtents(0, renderer.Length), e => e.Kind == ExtentKind.Unused);
            long unused = renderer.GetExtents(0, renderer.Length).Where(e => e.Kind == ExtentKind.Unused).Sum(e => e.Length);
            Assert.Equal((file.Plan.TotalBlocks - file.Plan.AllocatedBlocks) * (long)file.Plan.BlockSize, unused);
        }
    }

    [Fact]
    public void A_source_that_changes_is_cut_or_padded_and_told_once()
    {
        TestTree tree = new()
        {
            TestTree.File("grown", 5000, () => new MemoryStorage(Noise(9000, 1))),
            TestTree.File("shrunk", 5000, () => new MemoryStorage(Noise(100, 2))),
            TestTree.File("gone", 3_000_000, () => throw new ImageException(ImageErrorId.SourceUnreadable, "Gone.")),
            TestTree.File("faulty", 9000, () => new FaultyStorage(9000, 0, 9000)),
            TestTree.File("faulty in one place", 20_000, () => new FaultyStorage(20_000, 9000, 9001)),
            TestTree.File("still", "there"),
        };
        HfsPlusPlan plan = HfsPlusPlanner.Plan(tree, VolumeFile.Options, SilentObserver.Instance, default);
        using var renderer = new HfsPlusRenderer(plan, tree, SilentObserver.Instance);
        byte[] bytes = new byte[renderer.Length];
        foreach (int step in (int[])[4096, 65_536])
        {
            for (int at = 0; at < bytes.Length; at += step) renderer.Read(at, bytes.AsSpan(at, Math.Min(step, bytes.Length - at)));
        }

        Assert.Equal(["/grown"], renderer.ChangedEntries.Select(w => w.Path));
        Assert.All(renderer.ChangedEntries, w => Assert.Equal(ImagingWarningKind.SourceChanged, w.Kind));
        Assert.Equal(["/faulty", "/faulty in one place", "/gone", "/shrunk"],
            renderer.LostEntries.Select(w => w.Path).Order(StringComparer.Ordinal));
        Assert.All(renderer.LostEntries, w => Assert.Equal(ImagingWarningKind.ContentLost, w.Kind));
        Assert.Equal(Noise(9000, 1)[..5000], Content("grown"));
        Assert.Equal([.. Noise(100, 2), .. new byte[4900]], Content("shrunk"));
        Assert.Equal(new byte[3_000_000], Content("gone"));
        Assert.Equal(new byte[9000], Content("faulty"));
        byte[] salvaged = [.. Enumerable.Repeat((byte)0xEE, 20_000)];
        salvaged.AsSpan(8192, 4096).Clear();
        Assert.Equal(salvaged, Content("faulty in one place"));
        Assert.Equal("there"u8.ToArray(), Content("still"));

        byte[] Content(string name)
        {
            PlanFork fork = plan.Forks.Single(f => plan.Nodes[f.Node].Entry!.Name == name);
            return bytes.AsSpan((int)fork.StartBlock * plan.BlockSize, (int)plan.SizeOf(fork)).ToArray();
        }
    }

    [Fact]
    public void Holes_of_large_files_are_never_read()
    {
        const long size = 5L << 30;
        TestTree tree = new() { TestTree.File("hole", size, () => new ZeroStorage(size)) };
        HfsPlusPlan plan = HfsPlusPlanner.Plan(tree, VolumeFile.Options, SilentObserver.Instance, default);
        using var renderer = new HfsPlusRenderer(plan, tree, SilentObserver.Instance);
        Assert.True(renderer.GetExtents(0, renderer.Length).Where(e => e.Kind == ExtentKind.Data).Sum(e => e.Length) < 1 << 20);
        Assert.Contains(renderer.GetExtents(0, renderer.Length), e => e.Kind == ExtentKind.Zero && e.Length >= size);
    }

    [Fact]
    public void Small_files_are_opened_once_when_a_read_covers_them()
    {
        TestTree tree = [];
        for (int i = 0; i < 250; i++) tree.Add(TestTree.File($"f{i:d3}", Noise(4000, i)));
        HfsPlusPlan plan = HfsPlusPlanner.Plan(tree, VolumeFile.Options, SilentObserver.Instance, default);
        using var renderer = new HfsPlusRenderer(plan, tree, SilentObserver.Instance);
        byte[] bytes = new byte[1 << 20];
        renderer.Read((long)plan.Forks[0].StartBlock * plan.BlockSize, bytes.AsSpan(0, 250 * 4096));
        Assert.Equal(250, tree.Opened);
    }

    [Theory]
    [InlineData("a", "A", "HfsPlusCaseSensitive")]
    [InlineData("é", "e\u0301", "Rename")] // no volume keeps these two apart
    [InlineData("Straße\u200D", "stra\u00DFe", "HfsPlusCaseSensitive")]
    public void Names_that_are_one_on_the_volume_are_named_both(string one, string other, string remedy)
    {
        TestTree tree = new() { Directory("d", TestTree.File(one), TestTree.File(other)) };
        ImageException error =
            Assert.Throws<ImageException>(() => HfsPlusPlanner.Plan(tree, VolumeFile.Options, SilentObserver.Instance, default));
        Assert.Equal(ImageErrorId.SourceNotRepresentable, error.Id);
        Assert.Contains("/d/" + one, error.Message, StringComparison.Ordinal);
        Assert.Contains("/d/" + other, error.Message, StringComparison.Ordinal);
        Assert.Contains(remedy, error.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void Case_is_a_difference_on_a_case_sensitive_volume_but_normal_form_is_not()
    {
        TestTree fine = new() { TestTree.File("a"), TestTree.File("A") };
        using VolumeFile file = VolumeFile.Write(fine, VolumeFile.Options with { CaseSensitive = true });
        VolumeAudit.Compare(file, fine);
        TestTree twins = new() { TestTree.File("é"), TestTree.File("e\u0301") };
        Assert.Throws<ImageException>(
            () => HfsPlusPlanner.Plan(twins, VolumeFile.Options with { CaseSensitive = true }, SilentObserver.Instance, default));
    }

    [Fact]
    public void What_cannot_be_represented_is_refused()
    {
        foreach (string name in (string[])[new string('x', 256), new string('é', 128), "half \uD800", ".journal",
            ".HFS+ Private Directory Data\r", "\u2400\u2400\u2400\u2400HFS+ Private Data"])
        {
            TestTree tree = new() { TestTree.File(name) };
            ImageException error =
                Assert.Throws<ImageException>(() => HfsPlusPlanner.Plan(tree, VolumeFile.Options, SilentObserver.Instance, default));
            Assert.Equal(ImageErrorId.SourceNotRepresentable, error.Id);
        }

        foreach (string name in (string[])["", new string('v', 256), "a/b"])
        {
            ImageException error = Assert.Throws<ImageException>(
                () => HfsPlusPlanner.Plan(new TestTree(), VolumeFile.Options with { VolumeName = name }, SilentObserver.Instance, default));
            Assert.Equal(ImageErrorId.InvalidArgument, error.Id);
        }
    }

    [Fact]
    public void A_capacity_that_does_not_hold_the_tree_is_told_with_numbers()
    {
        TestTree tree = new() { TestTree.File("big", 10 << 20, () => new ZeroStorage(10 << 20)) };
        ImageException error = Assert.Throws<ImageException>(
            () => HfsPlusPlanner.Plan(tree, VolumeFile.Options with { VolumeSizeBytes = 8 << 20 }, SilentObserver.Instance, default));
        Assert.Equal(ImageErrorId.CapacityTooSmall, error.Id);
        long needed =
            long.Parse(System.Text.RegularExpressions.Regex.Match(error.Problem, @"at least (\d+)").Groups[1].Value,
                System.Globalization.CultureInfo.InvariantCulture);
        HfsPlusPlan plan =
            HfsPlusPlanner.Plan(tree, VolumeFile.Options with { VolumeSizeBytes = needed }, SilentObserver.Instance, default);
        Assert.True(plan.AllocatedBlocks <= plan.TotalBlocks);
    }

    [Fact]
    public void What_is_lost_is_told_once_a_kind()
    {
        TestTree tree = new()
        {
            Special("device 1", EntryKind.BlockDevice, 259, 1),
            Special("device 2", EntryKind.BlockDevice, 259, 2),
            TestTree.File("attribute", "", new Meta { Attributes = [(new string('a', 128), [1]), ("kept", [2])] }),
            TestTree.Link("l1", "t", new Meta { HardLinkId = 4 }),
            TestTree.Link("l2", "t", new Meta { HardLinkId = 4 }),
            TestTree.Link("long", new string('t', 1024)),
        };
        using VolumeFile file = VolumeFile.Write(tree);
        Assert.Equal(4, file.Warnings.Count);
        Assert.Contains(file.Warnings, w =>
            w.Kind == ImagingWarningKind.MetadataRounded && w.Message.StartsWith("2 entries", StringComparison.Ordinal));
        Assert.Contains(file.Warnings, w => w.Kind == ImagingWarningKind.MetadataLost && w.Path == "/attribute");
        VolumeAudit audit = VolumeAudit.Run(file);
        Assert.Equal(["kept"], audit.ByPath["/attribute"].Attributes.Keys);
    }

    private static uint Read32(byte[] bytes, int offset) =>
        System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(offset));

    private sealed class FaultyStorage(long length, long badFrom, long badTo) : BlockStorage
    {
        public override long Length => length;

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            buffer.Fill(0xEE);
            if (offset < badTo && badFrom < offset + buffer.Length) throw new IOException("Bad sector.");
        }
    }
}
