using CCImage.Diagnostics;
using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>Parts of the checker that no volume at hand reaches.</summary>
public sealed class HfsPlusCheckerPartTests
{
    private static readonly HardLink[] Chain = [new(30, 20, 0, 31, 5, true), new(31, 20, 30, 32, 5, true), new(32, 20, 31, 0, 5, true)];

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Chains_of_links(bool isFolders)
    {
        Assert.Equal(0, Faults(isFolders, 3, Chain));
        Assert.Equal(1, Faults(isFolders, 2, Chain));
        Assert.Equal(1, Faults(isFolders, 2, Chain[..2])); // names a third
        Assert.Equal(1, Faults(isFolders, 3, Chain[0], Chain[1], Chain[2] with { Node = 20, Previous = 30 }));
        Assert.Equal(1, Faults(isFolders, 3, Chain[0], Chain[1] with { Next = 30 }, Chain[2]));
        Assert.Equal(1, Faults(isFolders, 3, Chain[0], Chain[1] with { HasChain = false }, Chain[2]));
        Assert.Equal(1 + 1, Faults(isFolders, 3, Chain[0], Chain[1], Chain[2] with { Node = 21 }));
        Assert.Equal(1, Faults(isFolders, 3));
        Assert.Equal(isFolders ? 0 : 1, Faults(isFolders, 3, Chain[0], Chain[1], Chain[2] with { CreateDate = 6 }));
    }

    [Fact]
    public void Used_blocks_are_merged_and_rendered()
    {
        var usage = new BlockUsage();
        foreach ((uint start, uint count) in new[] { (40u, 20u), (0u, 1u), (1u, 2u), (7u, 2u), (50u, 3u), (55u, 10u), (90u, 9u), (92u, 2u),
            (100u, 1u) }) usage.Add(new UsedRun(start, count, start, BlockUse.Data));
        var shared = new List<(uint, uint)>();
        usage.Seal((a, b) => shared.Add((a.Owner, b.Owner)));
        Assert.Equal([(40u, 50u), (40u, 55u), (90u, 92u)], shared);
        Assert.True(usage.Covers(40, 25) && usage.Covers(1, 2) && !usage.Covers(40, 26) && !usage.Covers(2, 2) && !usage.Covers(101, 1));
        byte[] bits = new byte[14], behind = new byte[6];
        usage.Render(0, bits);
        usage.Render(64, behind);
        bool[] used = [.. Enumerable.Range(0, 112).Select(b => b is 0 or 1 or 2 or 7 or 8 or 100 or (>= 40 and < 65) or (>= 90 and < 99))];
        Assert.Equal(used, Enumerable.Range(0, 112).Select(b => (bits[b / 8] & (0x80 >> (b % 8))) != 0));
        Assert.Equal(bits[8..], behind);
    }

    [Theory]
    [InlineData("plain", true)]
    [InlineData("a\u0308", true)]
    [InlineData("\u00E4", false)]
    [InlineData("a\u0301\u0323", false)] // marks in the wrong order
    [InlineData("\uD55C", false)]
    [InlineData("\u1112\u1161\u11AB", true)]
    [InlineData("\0\0/:\u2400", true)]
    [InlineData("\uD83D\uDE00", true)]
    [InlineData("\uF900\u2126", true)] // never decomposed
    public void Names_must_be_decomposed(string name, bool isDecomposed) => Assert.Equal(isDecomposed, HfsPlusUnicode.IsDecomposed(name));

    /// <summary>Allocation blocks that are smaller than the headers need, and larger than they are.</summary>
    [OracleTheory("newfs_hfs", "fsck_hfs")]
    [InlineData("512")]
    [InlineData("1024")]
    [InlineData("2048")]
    [InlineData("65536")]
    public void Volumes_of_newfs_with_other_blocks_are_sound(string blockSize)
    {
        string path = Path.Combine(Path.GetTempPath(), "ccimage-" + Guid.NewGuid());
        try
        {
            using (FileStream file = File.Create(path)) file.SetLength((9 << 20) + 512);
            Assert.Equal(0, Oracle.Run("newfs_hfs", "-b", blockSize, "-v", "Other", path).ExitCode);
            Assert.Equal(0, Oracle.Run("fsck_hfs", "-fn", path).ExitCode);
            using var storage = FileStorage.OpenRead(path);
            IReadOnlyList<ImageFinding> findings = HfsPlusCheckerTests.Check(HfsPlusVolume.Open(storage), out bool isSound);
            Assert.True(isSound, HfsPlusCheckerTests.TextOf(findings));
        }
        finally
        {
            File.Delete(path);
        }
    }

    // A volume that claims 16 TiB, and trees as large as that, in a storage of nothing.
    [Fact]
    public void Huge_claims_take_neither_time_nor_memory()
    {
        var storage = new SparseMemoryStorage(16L << 40, 4096);
        byte[] header = new byte[512];
        var volume = new EditableVolume(header);
        volume.Set32(0, 0x482B_0004);
        volume.Set32(4, 0x100);
        volume.Set32(40, 4096);
        volume.Set32(44, uint.MaxValue);
        foreach (int fork in new[] { 112, 192, 272, 352 })
        {
            volume.Set64(fork, (16UL << 40) - 8192);
            volume.Set32(fork + 12, uint.MaxValue - 1);
            volume.Set32(fork + 16, 1);
            volume.Set32(fork + 20, uint.MaxValue - 1);
        }

        storage.Write(1024, header);
        byte[] tree = new byte[512];
        tree[8] = 1;
        tree[11] = 3;
        var node = new EditableVolume(tree);
        node.Set16(14, 5);
        node.Set32(16, 1);
        node.Set16(32, 32768);
        node.Set32(36, uint.MaxValue);
        storage.Write(4096, tree);
        long start = System.Diagnostics.Stopwatch.GetTimestamp(), allocated = GC.GetAllocatedBytesForCurrentThread();
        HfsPlusCheckerTests.Check(HfsPlusVolume.Open(storage), out bool isSound);
        Assert.False(isSound);
        Assert.True(System.Diagnostics.Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(2), "too slow");
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - allocated < 100 << 20, "too much memory");
    }

    private static int Faults(bool isFolders, uint count, params HardLink[] links)
    {
        var findings = new ImageFindings("x");
        var checker = new HardLinkChecker(isFolders, findings);
        checker.AddNode(20, 20, count, isFolders ? 0u : 30u, hasChain: true);
        foreach (HardLink link in links) checker.AddLink(link);
        checker.Check((5, 4));
        return findings.ToList().Count;
    }
}
