using System.Buffers.Binary;
using System.Globalization;
using System.Text.RegularExpressions;
using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.Storage;

namespace CCImage.Tests.FileSystems;

/// <summary>FAT and exFAT volumes made by the Linux tools: names, free counts and free sectors compared with other people's
/// readers.</summary>
public sealed partial class FatAndExFatOracleTests
{
    // Size in KiB, bits of an entry, sectors in a cluster; those around the limits between the kinds are mkfs.fat's own choice.
    [OracleTheory("mkfs.fat", "fsck.fat", "mcopy", "mdel", "minfo", "blkls")]
    [InlineData(1440, 12, 1)]
    [InlineData(3000, 12, 2)]
    [InlineData(16340, 12, 8)]
    [InlineData(4400, 16, 1)]
    [InlineData(60000, 16, 4)]
    [InlineData(33600, 32, 1)]
    [InlineData(140000, 32, 2)]
    public void FAT_is_read_as_others_read_it(int kibibytes, int bits, int perCluster)
    {
        using var folder = new TemporaryFolder();
        string image = folder["fat.img"];
        using (FileStream file = File.Create(image)) file.SetLength(kibibytes * 1024L);
        string[] options = ["-F", $"{bits}", "-s", $"{perCluster}", "-n", "OLD", image];
        Assert.Equal(0, Oracle.Run("mkfs.fat", options).ExitCode);
        AssertAgrees(image, bits, perCluster, "OLD");
        Fill(folder, image);
        Assert.Equal(0, Oracle.Run("mlabel", "-i", image, "::NEW NAME").ExitCode);
        AssertAgrees(image, bits, perCluster, "NEW NAME");
    }

    [OracleTheory("mkfs.exfat", "dump.exfat", "fsck.exfat", "blkls")]
    [InlineData(8, "512")]
    [InlineData(16, "4K")]
    [InlineData(64, "32K")]
    [InlineData(60, "128K")]
    [InlineData(40, "1M")]
    public void Ex_FAT_is_read_as_others_read_it(int mebibytes, string clusterSize)
    {
        using var folder = new TemporaryFolder();
        string image = folder["exfat.img"];
        using (FileStream file = File.Create(image)) file.SetLength((long)mebibytes << 20);
        Assert.Equal(0, Oracle.Run("mkfs.exfat", "-L", "Vol été", "-c", clusterSize, image).ExitCode);
        Assert.Equal(0, Oracle.Run("fsck.exfat", "-n", image).ExitCode);
        AssertExFatAgrees(image);

        // Clusters taken at random; only the bitmap tells, so that they belong to nobody.
        var random = new Random(mebibytes);
        using (FileStream file = File.Open(image, FileMode.Open))
        {
            Span<byte> boot = stackalloc byte[120];
            file.ReadExactly(boot);
            long heap = (long)BinaryPrimitives.ReadUInt32LittleEndian(boot[88..]) << boot[108];
            int clusters = BinaryPrimitives.ReadInt32LittleEndian(boot[92..]);
            for (int i = 0; i < 200; i++)
            {
                int cluster = random.Next(clusters); // mkfs.exfat puts the bitmap into cluster 2, where the heap begins
                file.Position = heap + (cluster / 8);
                int octet = file.ReadByte();
                file.Position--;
                file.WriteByte((byte)(octet | 1 << (cluster & 7)));
            }
        }

        AssertExFatAgrees(image);
    }

    [OracleFact("mkfs.exfat")]
    public void An_empty_huge_exFAT_is_quick()
    {
        using var folder = new TemporaryFolder();
        string image = folder["huge.img"];
        using (FileStream file = File.Create(image)) file.SetLength(1L << 36);
        Assert.Equal(0, Oracle.Run("mkfs.exfat", "-c", "4K", image).ExitCode);
        using FileStorage storage = FileStorage.OpenRead(image);
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        using FileSystemVolume volume = VolumeDetection.Open(storage, out _);
        Assert.Equal(volume.FreeBytes, volume.GetFreeExtents().Sum(e => e.Length));
        Assert.True(System.Diagnostics.Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(2));
    }

    private static void Fill(TemporaryFolder folder, string image)
    {
        var random = new Random(7);
        for (int i = 0; i < 12; i++)
        {
            byte[] content = new byte[random.Next(1, 60_000)];
            random.NextBytes(content);
            File.WriteAllBytes(folder[$"file {i} with a long name.bin"], content);
            Assert.Equal(0, Oracle.Run("mcopy", "-i", image, folder[$"file {i} with a long name.bin"], "::").ExitCode);
        }

        for (int i = 0; i < 12; i += 3) Assert.Equal(0, Oracle.Run("mdel", "-i", image, $"::file {i} with a long name.bin").ExitCode);
        Assert.Equal(0, Oracle.Run("mmd", "-i", image, "::folder").ExitCode);
    }

    private static void AssertAgrees(string image, int bits, int perCluster, string name)
    {
        (int exitCode, string output, string error) = Oracle.Run("fsck.fat", "-n", "-v", image);
        Assert.True(exitCode == 0, output + error);
        Match counts = Clusters().Match(output);
        long free = Number(counts, 2) - Number(counts, 1);
        using FileStorage storage = FileStorage.OpenRead(image);
        using FileSystemVolume volume = VolumeDetection.Open(storage, out ImageException? fault);
        Assert.Null(fault);
        Assert.Equal(bits switch { 12 => VolumeKind.Fat12, 16 => VolumeKind.Fat16, _ => VolumeKind.Fat32 }, volume.Kind);
        Assert.Equal((name, free * perCluster * 512), (volume.Name, volume.FreeBytes));
        AssertSectors(image, volume, storage.Length, perCluster - 1);
        AssertSound(volume);
    }

    private static void AssertExFatAgrees(string image)
    {
        string output = Oracle.Run("dump.exfat", image).Output;
        using FileStorage storage = FileStorage.OpenRead(image);
        using FileSystemVolume volume = VolumeDetection.Open(storage, out ImageException? fault);
        Assert.Null(fault);
        long free = Number(FreeClusters().Match(output), 1) * Number(ClusterSize().Match(output), 1);
        Assert.Equal(
            (VolumeKind.ExFat, "Vol été", storage.Length, free), (volume.Kind, volume.Name, volume.CapacityBytes, volume.FreeBytes));
        AssertSectors(image, volume, storage.Length, 0);
        AssertSound(volume);
    }

    // The Sleuth Kit says of every sector whether it is allocated; the few behind the last whole cluster it calls free, we never do.
    private static void AssertSectors(string image, FileSystemVolume volume, long length, int rest)
    {
        bool[] ours = new bool[length / 512];
        foreach (StorageExtent extent in volume.GetFreeExtents())
            ours.AsSpan((int)(extent.Offset / 512), (int)(extent.Length / 512)).Fill(true);
        Assert.Equal(volume.FreeBytes, ours.Count(free => free) * 512L);
        foreach (string line in Oracle.Run("blkls", "-e", "-l", image).Output.Split('\n'))
        {
            if (line.Length < 3 || line[^2] != '|' || !int.TryParse(line[..^2], CultureInfo.InvariantCulture, out int sector)) continue;
            if (sector >= (volume.CapacityBytes / 512) - rest && !ours[sector]) continue;
            Assert.True((line[^1] == 'f') == ours[sector], $"sector {sector}: {line}");
        }
    }

    private static void AssertSound(FileSystemVolume volume)
    {
        var findings = new ImageFindings("image");
        volume.Check(findings, CancellationToken.None);
        Assert.All(findings.ToList(), f =>
            Assert.Equal(f.Message.Contains("belong to no file", StringComparison.Ordinal) ? ImageFindingGrade.Note
                : ImageFindingGrade.Ok, f.Grade));
        Assert.NotEmpty(findings.ToList());
    }

    private static long Number(Match match, int group) => long.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"(\d+)/(\d+) clusters")]
    private static partial Regex Clusters();

    [GeneratedRegex(@"Free Clusters:\s*(\d+)")]
    private static partial Regex FreeClusters();

    [GeneratedRegex(@"Cluster size:\s*(\d+)")]
    private static partial Regex ClusterSize();
}
