using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

using static EditableVolume;

/// <summary>One bad record hides nothing but itself, and nothing is missing in silence.</summary>
public sealed class HfsPlusOmissionTests
{
    // Damage after which no tree can be opened at all.
    private static readonly string[] Fatal = ["version", "node size", "clump"];

    [Theory]
    [MemberData(nameof(HfsPlusDamageTests.Kinds), MemberType = typeof(HfsPlusDamageTests))]
    public void No_kind_of_damage_hides_what_is_without_fault(string name)
    {
        HfsPlusDamage damage = HfsPlusDamage.All.Single(d => d.Name == name);
        HashSet<string> whole = PathsOf(HfsPlusDamage.BaseOf(damage.Base), out _);
        HashSet<string> found;
        SourceTree tree;
        try
        {
            tree = HfsPlusVolume.Open(new MemoryStorage(damage.Make())).ReadTree();
            found = [.. tree.Enumerate().Select(e => e.RelativePath)];
        }
        catch (ImageException e) when (Fatal.Contains(name))
        {
            Assert.Equal(ImageErrorId.ImageDamaged, e.Id);
            return;
        }

        string[] missing = [.. whole.Except(found)];
        // one leaf holds fewer
        Assert.True(missing.Length < 60, $"{missing.Length} of {whole.Count} are missing: {string.Join(", ", missing)}");
        bool isTold = missing.Length <= tree.OmittedCount
            || tree.Omissions.Any(o => o.Message.Contains("records", StringComparison.Ordinal));
        Assert.True(isTold || found.Except(whole).Count() >= missing.Length,
            $"{missing.Length} are missing, {tree.OmittedCount} are told: {string.Join(", ", missing)}");
    }

    [Fact]
    public void A_hard_link_without_its_node_is_left_out() =>
        MustLeaveOut(v => v.Set32(v.File("linked 1") + 44, 4), "/linked 1", "leads to node 4");

    [Fact]
    public void A_fork_of_more_bytes_than_there_can_be_is_left_out() =>
        MustLeaveOut(v => v.Set64(v.File("large") + 88, 1UL << 63), "/large", "claims 9223372036854775808 bytes");

    [Fact]
    public void A_link_with_a_target_that_is_too_long_is_left_out() =>
        MustLeaveOut(v => v.Set64(v.File("link") + 88, 70_000), "/link", "70000 bytes");

    [Fact]
    public void A_link_whose_target_is_outside_is_left_out() =>
        MustLeaveOut(v => v.Set32(v.File("link") + 88 + 16, v.TotalBlocks), "/link", "");

    [Fact]
    public void A_record_of_an_unknown_type_is_left_out() => MustLeaveOut(v => v.Set16(v.File("small"), 9), "/small", "record of type 9");

    [Fact]
    public void A_file_that_is_marked_as_a_thread_is_left_out() =>
        MustLeaveOut(v => v.Set16(v.File("small"), 4), "/small", "record of type 4");

    [Fact]
    public void A_file_that_is_marked_as_a_folder_is_left_out() =>
        MustLeaveOut(v => v.Set16(v.File("small"), 1), "/small", "record of type 1");

    // Its thread tells where it was.
    [Fact]
    public void A_folder_without_its_record_is_listed_with_its_files()
    {
        using SourceTree tree = Read(v => v.Set16(v.File("folder"), 9), out HashSet<string> paths);
        Assert.Equal(PathsOf(HfsPlusDamage.BaseOf(DamageBase.Ordinary), out _), paths);
        ImagingWarning omission = Assert.Single(tree.Omissions);
        Assert.Equal((ImagingWarningKind.MetadataLost, "/folder", 1L), (omission.Kind, omission.Path, tree.OmittedCount));
    }

    [Fact]
    public void The_root_without_its_record_has_its_files()
    {
        using SourceTree tree =
            Read(v => v.Set16(v.Data(v.Record(CatalogTree, v.FirstLeaf(CatalogTree), 0)), 9), out HashSet<string> paths);
        Assert.Equal(PathsOf(HfsPlusDamage.BaseOf(DamageBase.Ordinary), out _), paths);
        Assert.Contains(tree.Omissions, o => o.Path == "/");
    }

    [Fact]
    public void Hard_links_are_read_without_the_record_of_the_folder_of_their_nodes()
    {
        using SourceTree tree = Read(v => v.Set16(v.File("\0\0\0\0HFS+ Private Data"), 9), out HashSet<string> paths);
        Assert.Equal(PathsOf(HfsPlusDamage.BaseOf(DamageBase.Ordinary), out _), paths);
        Assert.Equal(1, tree.OmittedCount);
    }

    [Fact]
    public void Each_leaf_that_is_lost_is_told_with_its_keys_and_hides_no_other()
    {
        var volume = new EditableVolume([.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)]);
        HashSet<string> whole = PathsOf(volume.Bytes, out _);
        var lost = new HashSet<string>();
        int leaves = 0;
        for (uint number = volume.U32(volume.TreeHeader(CatalogTree) + 10); number != 0; leaves++)
        {
            uint leaf = number;
            number = volume.U32(volume.Node(CatalogTree, leaf));
            using SourceTree tree = Read(v => v.Bytes[v.Node(CatalogTree, leaf) + 8] = 7, out HashSet<string> paths);
            Assert.True(tree.OmittedCount > 0);
            Assert.Contains(tree.Omissions, o => o.Message.Contains($"node {leaf}", StringComparison.Ordinal)
                && o.Message.Contains("records from", StringComparison.Ordinal));
            lost.UnionWith(whole.Except(paths));
            Assert.True(paths.Count >= whole.Count - 40, $"{paths.Count} of {whole.Count} without leaf {leaf}");
        }

        Assert.True(leaves > 3 && lost.Count > whole.Count / 2); // each leaf held something
    }

    // Neither the chain nor the index shows it; the header counts the records.
    [Fact]
    public void Records_that_a_leaf_no_longer_counts_are_told()
    {
        using SourceTree tree = Read(
            v =>
            {
                int leaf = v.NextLeaf(CatalogTree, v.FirstLeaf(CatalogTree));
                v.Set16(leaf + 10, v.U16(leaf + 10) - 3);
                v.Set16(leaf + v.NodeSize(CatalogTree) - (2 * (v.U16(leaf + 10) + 1)),
                    v.U16(leaf + v.NodeSize(CatalogTree) - (2 * (v.U16(leaf + 10) + 4))));
            },
            out HashSet<string> paths);
        Assert.True(paths.Count < PathsOf(HfsPlusDamage.BaseOf(DamageBase.Ordinary), out _).Count);
        Assert.Contains(tree.Omissions, o => o.Message.Contains("counts", StringComparison.Ordinal));
    }

    [Fact]
    public void Two_leaves_and_the_index_that_leads_to_them_hide_no_other_end()
    {
        using SourceTree tree = Read(
            v =>
            {
                v.Bytes[v.Root(CatalogTree) + 8] = 7;
                v.Bytes[v.NextLeaf(CatalogTree, v.FirstLeaf(CatalogTree)) + 8] = 7;
            },
            out HashSet<string> paths);
        Assert.Contains("zz", paths); // by the chain from its end
        Assert.True(tree.OmittedCount >= 2);
    }

    [Fact]
    public void An_attribute_that_is_damaged_costs_nothing_else()
    {
        using SourceTree tree = Read(v => v.Set32(v.Data(v.Attribute("user.odd", 0x10)) + 12, 5000), out HashSet<string> paths);
        Assert.Equal(PathsOf(HfsPlusDamage.BaseOf(DamageBase.Ordinary), out _), paths);
        ImagingWarning omission = Assert.Single(tree.Omissions);
        Assert.Equal((ImagingWarningKind.MetadataLost, "/attributes"), (omission.Kind, omission.Path));
        Assert.Equal(7, tree.Root.Children.Single(c => c.Name == "attributes").Attributes.Count);
    }

    [Fact]
    public void An_attributes_file_that_cannot_be_opened_costs_attributes_only()
    {
        using SourceTree tree = Read(v => v.Bytes[v.Node(AttributesTree, 0) + 8] = 7, out HashSet<string> paths);
        Assert.Equal(PathsOf(HfsPlusDamage.BaseOf(DamageBase.Ordinary), out _), paths);
        Assert.Equal(1, tree.OmittedCount);
    }

    // Its data fork is empty: without the header it would be taken for an empty file.
    [Fact]
    public void A_compressed_file_without_its_header_is_listed_and_its_content_is_an_error()
    {
        byte[] header = [.. "fpmc"u8, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0xFF, .. "text"u8];
        var source = new TestTree
        {
            TestTree.File("compressed", "", new Meta { Flags = 0x20, Attributes = [("com.apple.decmpfs", header)] }),
            TestTree.File("other", "text"),
        };
        using SparseMemoryStorage storage = HfsPlusCheckerTests.Render(source, VolumeFile.Options);
        byte[] bytes = new byte[storage.Length];
        storage.Read(0, bytes);
        using (SourceTree whole = HfsPlusVolume.Open(new MemoryStorage(bytes)).ReadTree())
            Assert.Equal(4, whole.Root.Children.Single(c => c.Name == "compressed").Size);
        var volume = new EditableVolume(bytes);
        volume.Bytes[volume.Data(volume.Attribute("com.apple.decmpfs", 0x10)) + 16] = 0;
        using HfsPlusVolume damaged = HfsPlusVolume.Open(new MemoryStorage(bytes));
        using SourceTree tree = damaged.ReadTree();
        SourceEntry file = tree.Root.Children.Single(c => c.Name == "compressed");
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => tree.OpenFork(file, ForkKind.Data)).Id);
        tree.OpenFork(tree.Root.Children.Single(c => c.Name == "other"), ForkKind.Data).Dispose();
        var findings = new ImageFindings("volume");
        damaged.Check(findings, CancellationToken.None);
        Assert.Contains(findings.ToList(), f =>
            f.Grade == ImageFindingGrade.Damaged && f.Message.Contains("com.apple.decmpfs", StringComparison.Ordinal));
    }

    [Fact]
    public void An_attributes_file_as_the_kernel_makes_it_is_in_order()
    {
        var volume = new EditableVolume([.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)]);
        volume.Bytes[volume.TreeHeader(AttributesTree) + 36] = 255;
        using HfsPlusVolume opened = HfsPlusVolume.Open(new MemoryStorage(volume.Bytes));
        var findings = new ImageFindings("volume");
        opened.Check(findings, CancellationToken.None);
        Assert.Equal(ImageFindingGrade.Ok, findings.Worst);
        Assert.Null(opened.OpenResizer(CancellationToken.None).PlanFor(volume.Bytes.Length + (1 << 20)).Obstacle);
        volume.Bytes[volume.TreeHeader(CatalogTree) + 36] = 255;
        findings = new ImageFindings("volume");
        HfsPlusVolume.Open(new MemoryStorage(volume.Bytes)).Check(findings, CancellationToken.None);
        Assert.Equal(ImageFindingGrade.Damaged, findings.Worst);
    }

    [OracleFact("fsck_hfs")]
    public void Apples_checker_is_content_with_that_attributes_file()
    {
        var volume = new EditableVolume([.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)]);
        volume.Bytes[volume.TreeHeader(AttributesTree) + 36] = 255;
        Assert.False(HfsPlusDamageTests.IsFoundByFsck(volume.Bytes, out string text), text);
    }

    // As Apple's tools leave a volume that they made smaller.
    [Fact]
    public void The_header_of_an_old_journal_beside_the_flag_for_a_new_one_is_not_worth_a_note()
    {
        var volume = new EditableVolume([.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)]);
        volume.Set32(volume.JournalInfo, 5);
        Assert.Equal(ImageFindingGrade.Ok, WorstOf(volume.Bytes));
        volume.Bytes[volume.Journal + 36]++; // its checksum
        Assert.Equal(ImageFindingGrade.Note, WorstOf(volume.Bytes));
        volume.Bytes.AsSpan(volume.Journal, 512).Clear();
        Assert.Equal(ImageFindingGrade.Note, WorstOf(volume.Bytes));
    }

    // A fault of the host is one: never a volume without a name, or without free space.
    [Fact]
    public void A_catalog_that_the_host_does_not_give_is_an_error()
    {
        byte[] bytes = [.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)];
        var volume = new EditableVolume(bytes);
        using HfsPlusVolume opened = HfsPlusVolume.Open(new UnreadableStorage(bytes, volume.ForkAt(HeaderAt + CatalogTree)));
        Assert.Equal(ImageErrorId.ImageUnreadable, Assert.Throws<ImageException>(() => opened.Name).Id);
        Assert.Equal(ImageErrorId.ImageUnreadable, Assert.Throws<ImageException>(() => opened.Describe(1)).Id);
        Assert.Equal(ImageErrorId.ImageUnreadable, Assert.Throws<ImageException>(() => opened.ReadTree()).Id);
    }

    private static void MustLeaveOut(Action<EditableVolume> damage, string path, string why)
    {
        HashSet<string> whole = PathsOf(HfsPlusDamage.BaseOf(DamageBase.Ordinary), out _);
        using SourceTree tree = Read(damage, out HashSet<string> paths);
        Assert.Equal([path[1..]], whole.Except(paths));
        ImagingWarning omission = Assert.Single(tree.Omissions);
        Assert.Equal((ImagingWarningKind.SourceSkipped, path, 1L), (omission.Kind, omission.Path, tree.OmittedCount));
        Assert.Contains(why, omission.Message, StringComparison.Ordinal);
    }

    private static ImageFindingGrade WorstOf(byte[] volume)
    {
        var findings = new ImageFindings("volume");
        HfsPlusVolume.Open(new MemoryStorage(volume)).Check(findings, CancellationToken.None);
        return findings.Worst;
    }

    private static SourceTree Read(Action<EditableVolume> damage, out HashSet<string> paths)
    {
        var volume = new EditableVolume([.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)]);
        damage(volume);
        SourceTree tree = HfsPlusVolume.Open(new MemoryStorage(volume.Bytes)).ReadTree();
        paths = [.. tree.Enumerate().Select(e => e.RelativePath)];
        return tree;
    }

    private static HashSet<string> PathsOf(byte[] volume, out long omitted)
    {
        using SourceTree tree = HfsPlusVolume.Open(new MemoryStorage(volume)).ReadTree();
        omitted = tree.OmittedCount;
        return [.. tree.Enumerate().Select(e => e.RelativePath)];
    }

    private sealed class UnreadableStorage(byte[] bytes, long from) : BlockStorage
    {
        public override long Length => bytes.Length;

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            if (offset + buffer.Length > from && offset < from + 4096)
                throw new ImageException(ImageErrorId.ImageUnreadable, "It cannot be read.");
            bytes.AsSpan((int)offset, buffer.Length).CopyTo(buffer);
        }
    }
}
