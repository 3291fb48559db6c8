using CCImage.Sources;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

/// <summary>Volumes that other people's programs check and read.</summary>
public class HfsPlusOracleTests
{
    internal static TestTree Oddities(bool hardLinks = true) => new()
    {
        File("empty"),
        File("small", "hello\n"),
        File("block", Noise(4096, 1)),
        File("large", Noise(3_000_001, 2), new Meta { Mode = 0xDED, UserId = 0, GroupId = 0, Flags = 0x2 }),
        File("Ünïcode-ÅÄÖ-한글-Ά", "decomposed"),
        File("emoji 😀.txt", "beyond the plane"),
        File("a:colon", "stored with a slash"),
        File(new string('n', 255), "longest name"),
        File("resource", "data", new Meta { Resource = Noise(70_000, 3), FinderInfo = [.. "TEXTttxt"u8, .. new byte[24]] }),
        File("attributes", "x", new Meta
        {
            Attributes = [("user.odd", [1, 2, 3]), ("com.apple.quarantine", "0081;"u8.ToArray()), ("big", Noise(100_000, 4)), ("edge", Noise(3802, 5)), ("over", Noise(3803, 6)), ("none", [])],
            AttributesOnDemand = [("lazy", Noise(100, 7)), ("lazy big", Noise(9000, 8))],
        }),
        Link("link", "small"),
        Link("dangling", "/no/where/ä"),
        Special("fifo", EntryKind.Fifo),
        Special("socket", EntryKind.Socket),
        Special("null", EntryKind.CharacterDevice, 1, 3),
        Special("disk", EntryKind.BlockDevice, 8, 0x12345),
        Directory("folder",
            Directory("empty folder"),
            Directory("with attributes", new Meta { Mode = 0x1ED, Attributes = [("folder", "value"u8.ToArray())] }),
            File("Makefile", "all:"),
            File("makefile.am", "all:"),
            File("MAKEFILE.in", "all:"),
            File("inner", "inner")),
        File("linked 1", "shared content", new Meta { HardLinkId = hardLinks ? 77 : 0, Attributes = [("on inode", [9])] }),
        Directory("links",
            File("linked 2", "shared content", new Meta { HardLinkId = hardLinks ? 77 : 0, Attributes = [("on inode", [9])] }),
            File("linked 3", "shared content", new Meta { HardLinkId = hardLinks ? 77 : 0, Attributes = [("on inode", [9])] }),
            File("pair 1", Noise(5000, 9), new Meta { HardLinkId = hardLinks ? 5 : 0 }),
            File("pair 2", Noise(5000, 9), new Meta { HardLinkId = hardLinks ? 5 : 0 }),
            File("single", "not linked in this tree", new Meta { HardLinkId = 123 })),
        File("old", "1904", new Meta { Time = UnixTime.FromSeconds(-2_082_844_799) }),
        File("future", "2100", new Meta { Time = UnixTime.FromSeconds(4_102_444_800) }),
    };

    public static TheoryData<bool, bool, long?, uint> Variants => new()
    {
        { false, true, null, 0 }, { true, true, null, 0 }, { false, false, null, 0 }, { true, false, 64L << 20, 0 }, { false, true, 3L << 30, 0 }, { false, true, null, 1 }, { false, true, 200L << 20, 3 },
    };

    [OracleTheory("fsck_hfs")]
    [MemberData(nameof(Variants))]
    public void Fsck_finds_nothing(bool caseSensitive, bool journaled, long? size, uint extentBlocks)
    {
        using VolumeFile file = VolumeFile.Write(Oddities(),
            VolumeFile.Options with { CaseSensitive = caseSensitive, Journaled = journaled, VolumeSizeBytes = size, MaximumExtentBlocks = extentBlocks });
        file.AssertFsckIsContent();
    }

    [OracleFact("fsck_hfs")]
    public void Fsck_finds_nothing_in_an_empty_volume()
    {
        foreach (bool caseSensitive in (bool[])[false, true])
        {
            using VolumeFile file = VolumeFile.Write([], VolumeFile.Options with { CaseSensitive = caseSensitive });
            file.AssertFsckIsContent();
        }
    }
}
