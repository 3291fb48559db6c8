using CCImage.Diagnostics;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

/// <summary>A tree is planned, rendered and read again: nothing but what HFS+ cannot keep may differ.</summary>
public class HfsPlusRoundTripTests
{
    // The last second of HFS+.
    private static readonly UnixTime End = UnixTime.FromSeconds(uint.MaxValue - 2_082_844_800L);

    [Theory]
    [MemberData(nameof(HfsPlusOracleTests.Variants), MemberType = typeof(HfsPlusOracleTests))]
    public void Every_oddity_comes_back(bool caseSensitive, bool journaled, long? size, uint extentBlocks)
    {
        using TestTree source = HfsPlusOracleTests.Oddities();
        AssertComesBack(
            source, VolumeFile.Options with { CaseSensitive = caseSensitive, Journaled = journaled, VolumeSizeBytes = size,
            MaximumExtentBlocks = extentBlocks });
    }

    [Fact]
    public void Thousands_of_entries_come_back()
    {
        var random = new Random(5);
        using var source = new TestTree();
        List<SourceEntry> folders = [source.Root];
        for (int i = 0; i < 6000; i++)
        {
            // Letters that decompose and letters that do not, each followed by its number so that no two names fold alike; composed,
            // because names are shown so (U+0387 for one becomes U+00B7).
            string name =
                string.Concat(Enumerable.Range(0, 1 + random.Next(40))
                    .Select(_ => (char)("a\u00C0\uAC00\u3041\u0386"[random.Next(5)] + random.Next(20)))).Normalize() + i;
            SourceEntry parent = folders[random.Next(folders.Count)];
            if (random.Next(10) == 0) folders.Add(source.Attach(parent, Directory(name)));
            else source.Attach(parent, File(name, name));
        }

        AssertComesBack(source, VolumeFile.Options);
        AssertComesBack(source, VolumeFile.Options with { CaseSensitive = true });
    }

    [Fact]
    public void An_empty_volume_comes_back()
    {
        using var source = new TestTree();
        AssertComesBack(source, VolumeFile.Options);
    }

    private static void AssertComesBack(TestTree source, HfsPlusPlanOptions options)
    {
        HfsPlusPlan plan = HfsPlusPlanner.Plan(source, options, SilentObserver.Instance, default);
        using var renderer = new HfsPlusRenderer(plan, source, SilentObserver.Instance);
        using HfsPlusVolume volume = HfsPlusVolume.Open(renderer);
        Assert.Equal((options.VolumeName, options.Journaled), (volume.Name, volume.IsJournaled));
        Assert.Equal(options.CaseSensitive ? VolumeKind.HfsPlusCaseSensitive : VolumeKind.HfsPlus, volume.Kind);
        Assert.Equal((plan.FileCount, plan.FolderCount), (volume.FileCount, volume.FolderCount));
        Assert.Equal(volume.FreeBytes, volume.GetFreeExtents().Sum(e => e.Length));
        using SourceTree tree = volume.ReadTree();
        Dictionary<string, SourceEntry> actual = tree.Enumerate().ToDictionary(e => e.RelativePath);
        Assert.Equal(
            source.Enumerate().Select(e => e.RelativePath).Order(StringComparer.Ordinal), actual.Keys.Order(StringComparer.Ordinal));
        Dictionary<long, int> names = source.Enumerate().CountBy(e => e.HardLinkId).ToDictionary();
        Dictionary<long, long> links = [];
        foreach (SourceEntry expected in source.Enumerate())
        {
            SourceEntry entry = actual[expected.RelativePath];
            Assert.Equal(FactsOf(source, expected), FactsOf(tree, entry));
            bool isLinked = expected.HardLinkId != 0 && names[expected.HardLinkId] > 1;
            Assert.Equal((expected.RelativePath, isLinked), (expected.RelativePath, entry.HardLinkId != 0));
            if (isLinked)
                Assert.Equal(entry.HardLinkId, links[expected.HardLinkId] = links.GetValueOrDefault(expected.HardLinkId, entry.HardLinkId));
        }

        Assert.Equal(links.Count, links.Values.Distinct().Count());
    }

    private static string FactsOf(SourceTree tree, SourceEntry entry)
    {
        string data = entry.Kind == EntryKind.File ? HashOf(tree.OpenFork(entry, ForkKind.Data)) : "";
        string resource = entry.ResourceForkSize > 0 ? HashOf(tree.OpenFork(entry, ForkKind.Resource)) : "";
        string attributes =
            string.Join(", ", entry.Attributes.OrderBy(a => a.Name, StringComparer.Ordinal)
                .Select(a => $"{a.Name}={a.Size}:{HashOf(tree.OpenAttribute(entry, a))}"));
        return $"{entry.RelativePath} {entry.Kind} {(entry.Kind == EntryKind.File ? entry.Size : 0)} {data} rsrc {entry.ResourceForkSize} "
            + $"{resource} mode {entry.Mode:X} {entry.UserId}:{entry.GroupId} flags {entry.Flags:X} "
            + $"device {entry.DeviceMajor},{entry.DeviceMinor} times {Clamp(entry.BirthTime)} {Clamp(entry.ModifyTime)} "
            + $"{Clamp(entry.ChangeTime)} {Clamp(entry.AccessTime)} "
            + $"link {entry.LinkTarget} finder {Convert.ToHexString(entry.FinderInfo ?? [])} attributes {attributes}";
    }

    private static string HashOf(BlockStorage storage)
    {
        using (storage) return HfsPlusReaderTests.HashOf(storage);
    }

    private static long Clamp(UnixTime time) => Math.Min(time.Seconds, End.Seconds);
}
