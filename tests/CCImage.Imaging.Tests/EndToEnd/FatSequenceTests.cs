using System.Security.Cryptography;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.Tests.EndToEnd;

/// <summary>
/// Seeded sequences on images of FAT volumes: mtools fills and deletes, we compact and grow, and after each step 7-Zip reads the files and the file
/// system's own checker reads the rest. For exFAT there is no writer without privileges: the kernel of user-mode-linux has no driver for it.
/// </summary>
public sealed class FatSequenceTests : IDisposable
{
    private const int Rounds = 3;

    private readonly TemporaryFolder _folder = new();
    private readonly Dictionary<string, string> _files = [];

    public void Dispose() => _folder.Dispose();

    [OracleTheory("mkfs.fat", "fsck.fat", "mcopy", "mdel", "7z")]
    [InlineData("16", 16, true, 1)]
    [InlineData("16", 16, false, 2)]
    [InlineData("32", 36, true, 3)]
    public void FilledDeletedCompactedAndGrown(string bits, int mebibytes, bool isBundle, int seed)
    {
        var random = new Random(seed);
        string raw = _folder["volume"], image = _folder["image"];
        using (FileStream file = File.Create(raw)) file.SetLength((long)mebibytes << 20);
        Oracle.RunForBytes("mkfs.fat", "-F", bits, "-s", "1", raw);
        if (isBundle) Directory.CreateDirectory(image);
        using (BlockStorage disk = isBundle
            ? SparseBundleStorage.Create(image, (long)mebibytes << 20, TestImage.Band)
            : SparseImageStorage.Create(FileStorage.CreateNew(image), (long)mebibytes << 20, ownsFile: true)) disk.Flush();
        for (int round = 0; round < Rounds; round++)
        {
            FillAndDelete(raw, random);
            SpaceSequenceTests.Put(raw, image, null);
            Check(raw, image);
            SpaceSequenceTests.Compact(image, null, isBundle);
            Check(raw, image);
            long before = DiskImage.Inspect(image).CapacityBytes!.Value, size = before + (random.Next(1, 4000) * 512L);
            ImageResizeResult result = ImageResize.Run(new(image) { SizeBytes = size }, SilentObserver.Instance, CancellationToken.None);
            Assert.Equal((size, false), (result.CapacityBytesAfter, result.VolumeResized));
            Check(raw, image);
            Assert.Equal(
                ImageErrorId.CapacityTooSmall,
                Assert.Throws<ImageException>(() => ImageResize.Run(new(image) { SizeBytes = before }, SilentObserver.Instance, CancellationToken.None)).Id);
            SpaceSequenceTests.Compact(image, null, isBundle);
            Check(raw, image);
        }
    }

    private void FillAndDelete(string raw, Random random)
    {
        string[] gone = [.. _files.Keys.Where(_ => random.Next(3) == 0)];
        if (gone.Length > 0) Oracle.RunForBytes("mdel", ["-i", raw, .. gone.Select(n => $"::/{n}")]);
        foreach (string name in gone) _files.Remove(name);
        string host = Directory.CreateDirectory(_folder["host"]).FullName;
        for (int i = 0; i < 8; i++)
        {
            string name = $"file {random.Next()}";
            byte[] bytes = TestTree.Noise(random.Next(random.Next(3) == 0 ? 1_000_000 : 60_000), random.Next());
            File.WriteAllBytes(Path.Combine(host, name), bytes);
            _files[name] = Convert.ToHexStringLower(SHA256.HashData(bytes));
        }

        Oracle.RunForBytes("mcopy", ["-i", raw, .. Directory.GetFiles(host), "::/"]);
        Directory.Delete(host, recursive: true);
    }

    /// <summary>What is in the image, read by others; it stands in <paramref name="raw"/> afterwards.</summary>
    private void Check(string raw, string image)
    {
        using (DiskImage disk = DiskImage.Open(image))
        {
            byte[] bytes = new byte[disk.Disk.Length];
            disk.Disk.Read(0, bytes);
            File.WriteAllBytes(raw, bytes);
        }

        (int exitCode, string output, string error) = Oracle.Run("fsck.fat", "-n", raw);
        Assert.True(exitCode == 0, output + error);
        string folder = _folder["read"];
        (exitCode, output, error) = Oracle.Run("7z", "x", "-y", "-tfat", $"-o{folder}", raw);
        Assert.True(exitCode == 0, output + error);
        Assert.Equal(
            _files.OrderBy(f => f.Key, StringComparer.Ordinal).Select(f => (f.Key, f.Value)),
            Directory.GetFiles(folder).Select(f => (Path.GetFileName(f), Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(f))))).OrderBy(f => f.Item1, StringComparer.Ordinal));
        Directory.Delete(folder, recursive: true);
    }
}
