using System.Globalization;
using CCImage.Diagnostics;
using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;
using static CCImage.Tests.TestTree;

namespace CCImage.Tests.HfsPlus;

/// <summary>Names that a volume cannot keep apart, or at all: found all in one walk, named, and left out only on request.</summary>
public sealed class HfsPlusMisfitTests
{
    private static readonly HfsPlusPlanOptions s_sensitive = VolumeFile.Options with { CaseSensitive = true };

    [Fact]
    public void All_collisions_of_a_tree_are_in_one_error_the_first_twenty_by_name()
    {
        TestTree tree = new();
        for (int i = 0; i < 30; i++)
        {
            string name = i.ToString("D2", CultureInfo.InvariantCulture);
            tree.Add(Directory("d" + name, TestTree.File("readme"), TestTree.File("README"), TestTree.File("ReadMe")));
        }

        ImageException error =
            Assert.Throws<ImageException>(() => HfsPlusPlanner.Plan(tree, VolumeFile.Options, SilentObserver.Instance, default));
        Assert.Equal(ImageErrorId.SourceNotRepresentable, error.Id);
        Assert.Contains("60 names", error.Message, StringComparison.Ordinal);
        Assert.Contains("40 more", error.Message, StringComparison.Ordinal);
        Assert.Contains("'/d00/ReadMe'", error.Message, StringComparison.Ordinal);
        Assert.Contains("'/d00/readme'", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("/d29/", error.Message, StringComparison.Ordinal);
        Assert.Contains("HfsPlusCaseSensitive", error.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void Names_that_look_alike_are_told_apart_by_their_code_points()
    {
        TestTree tree = new() { TestTree.File("caf\u00E9"), TestTree.File("cafe\u0301") };
        foreach (HfsPlusPlanOptions options in (HfsPlusPlanOptions[])[VolumeFile.Options, s_sensitive])
        {
            ImageException error =
                Assert.Throws<ImageException>(() => HfsPlusPlanner.Plan(tree, options, SilentObserver.Instance, default));
            Assert.Contains("U+00E9", error.Message, StringComparison.Ordinal);
            Assert.Contains("U+0065 U+0301", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_tree_with_case_twins_may_make_the_volume_case_sensitive_with_one_warning()
    {
        var observer = new RecordingObserver();
        TestTree tree =
            new() { Directory("a", TestTree.File("x"), TestTree.File("X")), Directory("b", TestTree.File("y"), TestTree.File("Y")) };
        HfsPlusPlan plan = HfsPlusPlanner.Plan(tree, VolumeFile.Options with { MayBecomeCaseSensitive = true }, observer, default);
        Assert.True(plan.Options.CaseSensitive);
        Assert.Equal(6, plan.Entries);
        ImagingWarning warning = Assert.Single(observer.Warnings);
        Assert.Equal(ImagingWarningKind.Advice, warning.Kind);
        Assert.Contains("HFSX", warning.Message, StringComparison.Ordinal);

        HfsPlusPlan plain =
            HfsPlusPlanner.Plan(
                new TestTree { TestTree.File("x") }, VolumeFile.Options with { MayBecomeCaseSensitive = true }, observer, default);
        Assert.False(plain.Options.CaseSensitive);
        Assert.Single(observer.Warnings);
    }

    [Fact]
    public void A_case_sensitive_volume_does_not_help_names_that_differ_in_their_normal_form()
    {
        TestTree tree = new() { TestTree.File("x"), TestTree.File("X"), TestTree.File("\u00E9"), TestTree.File("e\u0301") };
        ImageException error = Assert.Throws<ImageException>(
            () => HfsPlusPlanner.Plan(tree, VolumeFile.Options with { MayBecomeCaseSensitive = true }, SilentObserver.Instance, default));
        Assert.DoesNotContain("HfsPlusCaseSensitive", error.Remedy, StringComparison.Ordinal);
        Assert.Contains("'/\u00E9'", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("'/X'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_cannot_be_kept_is_left_out_on_request_and_told_one_by_one()
    {
        using VolumeFile file = VolumeFile.Write(MakeMisfits(), VolumeFile.Options with { LeaveOutMisfits = true });
        Assert.All(file.Warnings, w => Assert.Equal(ImagingWarningKind.SourceSkipped, w.Kind));
        Assert.Equal(
            ["/.journal", "/readme", "/twin", "/" + new string('x', 256)], file.Warnings.Select(w => w.Path).Order(StringComparer.Ordinal));
        Assert.Equal(6, file.Plan.Entries); // TWIN, kept, deep, f, README, fine
        VolumeAudit.Run(file);
    }

    [OracleFact("fsck_hfs")]
    public void Fsck_has_no_complaint_of_a_volume_from_which_names_were_left_out()
    {
        using VolumeFile file = VolumeFile.Write(MakeMisfits(), VolumeFile.Options with { LeaveOutMisfits = true });
        file.AssertFsckIsContent();
    }

    [Fact]
    public void The_size_that_is_advised_is_one_that_works()
    {
        var random = new Random(5);
        for (int round = 0; round < 40; round++)
        {
            TestTree tree = new();
            for (int i = random.Next(200); i >= 0; i--)
            {
                long size = random.NextInt64(1L << random.Next(1, 28));
                tree.Add(TestTree.File(string.Create(CultureInfo.InvariantCulture, $"f{i}"), size, () => new ZeroStorage(size)));
            }

            ImageException error = Assert.Throws<ImageException>(
                () => HfsPlusPlanner.Plan(
                    tree, VolumeFile.Options with { VolumeSizeBytes = 512 * random.Next(1, 900) }, SilentObserver.Instance, default));
            Assert.Equal(ImageErrorId.CapacityTooSmall, error.Id);
            long advised =
                long.Parse(System.Text.RegularExpressions.Regex.Match(error.Remedy!, "[0-9]+").Value, CultureInfo.InvariantCulture);
            HfsPlusPlan plan =
                HfsPlusPlanner.Plan(tree, VolumeFile.Options with { VolumeSizeBytes = advised }, SilentObserver.Instance, default);
            Assert.Equal(advised, plan.VolumeBytes);
        }
    }

    [Theory]
    [InlineData(8L << 40)]
    [InlineData(40L << 40)]
    [InlineData(7L << 50)]
    public void A_size_that_is_only_a_wish_gives_way_to_the_content(long size)
    {
        TestTree tree = new() { TestTree.File("holes", size, () => new ZeroStorage(size)) };
        HfsPlusPlan plan =
            HfsPlusPlanner.Plan(
                tree, VolumeFile.Options with { VolumeSizeBytes = 50L << 30, MayBecomeLarger = true }, SilentObserver.Instance, default);
        Assert.True(plan.VolumeBytes > size);
        Assert.True(HfsPlusPlanner.Plan(tree, VolumeFile.Options, SilentObserver.Instance, default).VolumeBytes > size);
        ImageException error = Assert.Throws<ImageException>(
            () => HfsPlusPlanner.Plan(tree, VolumeFile.Options with { VolumeSizeBytes = 1 << 20 }, SilentObserver.Instance, default));
        Assert.Equal(ImageErrorId.CapacityTooSmall, error.Id);
    }

    [Fact]
    public void Content_beyond_every_volume_is_named()
    {
        const long size = 7L << 60;
        TestTree tree =
            new() { TestTree.File("a", size, () => new ZeroStorage(size)), TestTree.File("b", size, () => new ZeroStorage(size)),
                TestTree.File("c", "text") };
        ImageException error =
            Assert.Throws<ImageException>(() => HfsPlusPlanner.Plan(tree, VolumeFile.Options, SilentObserver.Instance, default));
        Assert.Equal((ImageErrorId.SourceNotRepresentable, "a"), (error.Id, error.Path));
    }

    private static TestTree MakeMisfits() => new()
    {
        Directory("twin", TestTree.File("kept")),
        Directory("TWIN", TestTree.File("kept"), Directory("deep", TestTree.File("f"))),
        TestTree.File("readme", "small", new Meta { HardLinkId = 7 }),
        TestTree.File("README", "small", new Meta { HardLinkId = 7 }),
        TestTree.File(new string('x', 256)),
        TestTree.File(".journal"),
        TestTree.File("fine"),
    };
}
