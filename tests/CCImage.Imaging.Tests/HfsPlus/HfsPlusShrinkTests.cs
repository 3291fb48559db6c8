using System.Security.Cryptography;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

/// <summary>Volumes that shrink although something lies in the way: judged by our checker, fsck_hfs and 7-Zip.</summary>
public sealed class HfsPlusShrinkTests
{
    [Theory]
    [InlineData(1, 1, false)]
    [InlineData(2, 3, true)]
    [InlineData(3, 8, false)]
    [InlineData(4, 30, false)]
    [InlineData(5, 90, true)]
    [InlineData(6, 30, false, 8192)]
    [InlineData(7, 30, false, 16384)]
    public void What_is_in_the_way_moves(int seed, int pieces, bool caseSensitive, int blockSize = 4096)
    {
        byte[] volume = MakeScattered(seed, pieces, caseSensitive, blockSize);
        string[] files = FilesOf(volume);
        long least = new HfsPlusResizer(Open(volume), default).LeastLength;
        Assert.Equal(least, HfsPlusMinimumSize.Of(Open(volume)));
        Assert.True(least < volume.Length * 9 / 10, $"{least} of {volume.Length}");
        var random = new Random(seed);
        for (long size = volume.Length; size > least;)
        {
            size = Math.Max(least, size - random.NextInt64(512, volume.Length / 3));
            byte[] small = Shrink(volume, size);
            Assert.Equal(files, FilesOf(small));
            AssertSound(small);
            if (random.Next(2) == 0) volume = small;
            least = new HfsPlusResizer(Open(volume), default).LeastLength;
        }
    }

    [Fact]
    public void One_sector_below_the_minimum_is_refused()
    {
        byte[] volume = MakeScattered(11, 30, false, 4096);
        var resizer = new HfsPlusResizer(Open(volume), default);
        ImageException e = Assert.Throws<ImageException>(() => resizer.PlanFor(resizer.LeastLength - 512));
        Assert.Equal(ImageErrorId.CapacityTooSmall, e.Id);
        Assert.Contains(
            resizer.LeastLength.ToString(System.Globalization.CultureInfo.InvariantCulture), e.Message, StringComparison.Ordinal);
        AssertSound(Shrink(volume, resizer.LeastLength));
    }

    [Fact]
    public void Bad_blocks_stay_where_they_are()
    {
        byte[] volume = MakeScattered(12, 3, false, 4096, hasBadBlock: true);
        long least = new HfsPlusResizer(Open(volume), default).LeastLength;
        Assert.True(least > volume.Length * 7L / 8, $"{least} of {volume.Length}");
        Assert.Equal(least, HfsPlusMinimumSize.Of(Open(volume)));
        byte[] small = Shrink(volume, least);
        AssertSound(small);
        Assert.Equal(FilesOf(volume), FilesOf(small));
    }

    internal static byte[] MakeScattered(
        int seed, int pieces, bool caseSensitive, int blockSize, long size = 24 << 20, bool hasBadBlock = false)
    {
        TestTree tree = HfsPlusOracleTests.Oddities();
        for (int i = 0; i < 60; i++) tree.Add(File($"zz {i}", Noise(i * 700, i)));
        tree.Add(File("zz forks", Noise(5000, 1),
            new Meta { Resource = Noise(300_000, 2), Attributes = [("large", Noise(200_000, 3)), ("small", Noise(100, 4))] }));
        using SparseMemoryStorage storage = HfsPlusCheckerTests.Render(
            tree, VolumeFile.Options with { VolumeSizeBytes = size, CaseSensitive = caseSensitive, BlockSize = blockSize });
        byte[] bytes = new byte[storage.Length];
        storage.Read(0, bytes);
        bytes = ScatteredVolume.Scatter(bytes, seed, pieces, hasBadBlock);
        AssertSound(bytes);
        return bytes;
    }

    internal static HfsPlusVolume Open(byte[] volume) => HfsPlusVolume.Open(new MemoryStorage(volume));

    internal static byte[] Shrink(byte[] volume, long size)
    {
        var storage = new MemoryStorage();
        storage.Write(0, volume);
        using var window = new WindowStorage(storage, 0, volume.Length);
        var resizer = new HfsPlusResizer(HfsPlusVolume.Open(window), default);
        size = size / 512 * 512;
        resizer.PlanFor(size).Write(window, static _ => { }, default);
        return storage.ToArray()[..(int)size];
    }

    internal static void AssertSound(byte[] volume)
    {
        IReadOnlyList<ImageFinding> findings = HfsPlusCheckerTests.Check(Open(volume), out bool isSound);
        Assert.True(isSound, HfsPlusCheckerTests.TextOf(findings));
        if (Oracle.Find("fsck_hfs") is not null) AssertFsckIsContent(volume);
    }

    // Where the program is absent, this one is seen to be skipped for all that would be judged by it.
    [OracleFact("fsck_hfs")]
    public void Apples_checker_judges_volumes_that_shrink()
    {
        byte[] volume = MakeScattered(13, 30, false, 4096);
        AssertFsckIsContent(Shrink(volume, new HfsPlusResizer(Open(volume), default).LeastLength));
        volume[1024 + 40] ^= 0x40; // the header's block size
        Assert.ThrowsAny<Exception>(() => AssertFsckIsContent(volume));
    }

    private static void AssertFsckIsContent(byte[] volume)
    {
        using var folder = new TemporaryFolder();
        System.IO.File.WriteAllBytes(folder["volume"], volume);
        (int exitCode, string output, string error) = Oracle.Run("fsck_hfs", "-fn", folder["volume"]);
        Assert.True(exitCode == 0 && (output + error).Contains("appears to be OK", StringComparison.Ordinal), output + error);
    }

    /// <summary>Every file with everything it contains.</summary>
    internal static string[] FilesOf(byte[] volume)
    {
        using SourceTree tree = Open(volume).ReadTree();
        return [.. tree.Enumerate()
            .Select(e =>
            $"{e.RelativePath} {e.Kind} {e.LinkTarget} {e.HardLinkId} {e.ModifyTime.Seconds} {string.Join(' ', HashesOf(tree, e))}")
                .Order(StringComparer.Ordinal)];
    }

    private static IEnumerable<string> HashesOf(SourceTree tree, SourceEntry entry)
    {
        if (entry.Kind == EntryKind.File)
        {
            yield return Hash(tree.OpenFork(entry, ForkKind.Data));
            yield return Hash(tree.OpenFork(entry, ForkKind.Resource));
        }

        foreach (ExtendedAttribute attribute in entry.Attributes) yield return attribute.Name + Hash(tree.OpenAttribute(entry, attribute));
    }

    private static string Hash(BlockStorage storage)
    {
        using (storage)
        {
            byte[] bytes = new byte[storage.Length];
            storage.Read(0, bytes);
            return Convert.ToHexStringLower(SHA256.HashData(bytes));
        }
    }
}
