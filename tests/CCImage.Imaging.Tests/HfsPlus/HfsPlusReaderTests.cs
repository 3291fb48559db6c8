using System.Security.Cryptography;
using CCImage.FileSystems;
using CCImage.FileSystems.HfsPlus;
using CCImage.Partitions;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.HfsPlus;
using CCImage.Tests.Storage;

namespace CCImage.Tests.HfsPlus;

public sealed class HfsPlusReaderTests
{
    private static readonly string[] RawSamples =
    [
        "log2timeline__dfvfs/hfsplus.raw.gz", "log2timeline__dfvfs/hfsplus.older.raw.gz",
        "citruz__dmgwiz/output_non_null_data_offset.bin.gz",
        "alienjax__UDIF/aj_dmg.dmg.gz", "deploymenttheory__go-apfs-v2/hfs-apm.img.gz",
        "go-filesystems__hfsplus/hfsplus.dmg.gz", "balena-io__etcher/raw.img",
    ];

    [CorpusFact]
    public void Tree_holds_what_seven_zip_reads_from_the_same_volume()
    {
        foreach (string name in RawSamples)
        {
            using BlockStorage disk = Corpus.OpenRaw(name);
            using HfsPlusVolume volume = OpenOnly(disk);
            using SourceTree tree = volume.ReadTree();
            AssertHoldsTheManifest(tree, name.Replace(".gz", "", StringComparison.Ordinal));
        }
    }

    [CorpusFact]
    public void Free_extents_are_as_many_blocks_as_the_header_counts()
    {
        foreach (string name in RawSamples) AssertFreeSpace(OpenOnly(Corpus.OpenRaw(name)), name);
    }

    [Fact]
    public void A_listing_reads_many_nodes_at_once()
    {
        TestTree tree = [];
        for (int i = 0; i < 5000; i++) tree.Add(TestTree.File($"a file with a name of some length {i}"));
        using VolumeFile file = VolumeFile.Write(tree);
        using FileStorage storage = FileStorage.OpenRead(file.Path);
        var counted = new CountingStorage(storage);
        using (SourceTree read = HfsPlusVolume.Open(counted).ReadTree()) Assert.Equal(5000, read.Root.Children.Count);
        Assert.InRange(file.Plan.CatalogTree.UsedNodes, 400u, 1000u);
        Assert.InRange(counted.Reads, 1, 60);
    }

    internal static HfsPlusVolume OpenOnly(BlockStorage disk)
    {
        PartitionTable table = PartitionTable.Read(disk);
        if (table.Scheme == PartitionScheme.None) return HfsPlusVolume.Open(disk);
        BackupImagePartition partition = table.Partitions.Single(p => p.Type is "Apple_HFS" or "Apple_HFSX");
        return HfsPlusVolume.Open(new WindowStorage(disk, partition.OffsetBytes, partition.SizeBytes));
    }

    internal static void AssertFreeSpace(HfsPlusVolume volume, string name)
    {
        long free = 0, end = 0;
        foreach (StorageExtent extent in volume.GetFreeExtents())
        {
            Assert.True(extent.Offset > end || end == 0, $"{name}: extents touch or go back");
            end = extent.End;
            free += extent.Length;
        }

        Assert.Equal((name, volume.FreeBytes), (name, free));
        Assert.True(end <= volume.CapacityBytes - 1024);
    }

    internal static void AssertHoldsTheManifest(SourceTree tree, string image) =>
        AssertHoldsTheManifest(tree, image, Assert.Single(CorpusManifest.Read(image), m => m.Files.Count > 0));

    internal static void AssertHoldsTheManifest(SourceTree tree, string image, CorpusManifest expected)
    {
        string fork = expected.Type == "APFS" ? "com.apple.ResourceFork" : "rsrc";
        Dictionary<string, string> files = [], links = [];
        foreach (SourceEntry entry in tree.Enumerate())
        {
            if (entry.Kind == EntryKind.SymbolicLink) links[entry.RelativePath] = entry.LinkTarget!;
            if (entry.Kind == EntryKind.File)
            {
                if (tree.OpenFork(entry, ForkKind.Data) is { } data) files[entry.RelativePath] = HashOf(data);
                if (entry.ResourceForkSize > 0) files[$"{entry.RelativePath}:{fork}"] = HashOf(tree.OpenFork(entry, ForkKind.Resource));
            }

            if (entry.Kind == EntryKind.Directory && expected.Type == "APFS") continue; // 7-Zip shows no attributes of folders there
            foreach (ExtendedAttribute attribute in entry.Attributes)
                files[$"{entry.RelativePath}:{attribute.Name}"] = HashOf(tree.OpenAttribute(entry, attribute));
        }

        // not recorded when absolute
        foreach ((string path, _) in expected.Links.Where(p => p.Value == "(path)"))
            Assert.StartsWith("/", links[path], StringComparison.Ordinal);
        AssertSame(image, expected.Links.Where(p => p.Value != "(path)").ToDictionary(),
            links.Where(p => p.Value[0] != '/').ToDictionary());
        AssertSame(image, expected.Files, files);
    }

    private static void AssertSame(string image, IReadOnlyDictionary<string, string> expected, Dictionary<string, string> actual)
    {
        string difference =
            string.Join(
                '\n', [.. expected.Except(actual).Select(p => $"missing {p}"), .. actual.Except(expected).Select(p => $"too much {p}")]);
        Assert.True(difference.Length == 0, $"{image}:\n{difference}");
    }

    internal static string HashOf(BlockStorage storage)
    {
        byte[] bytes = new byte[storage.Length];
        storage.Read(0, bytes);
        return Convert.ToHexStringLower(SHA256.HashData(bytes));
    }
}
