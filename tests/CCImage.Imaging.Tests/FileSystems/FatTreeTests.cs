using System.Text;
using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.FileSystems;

/// <summary>The files of FAT volumes: as mtools put them there, and directories that cannot be.</summary>
public sealed class FatTreeTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [OracleTheory("mkfs.fat", "mcopy", "mmd", "mdel", "mattrib")]
    [InlineData("12", 2)]
    [InlineData("16", 8)]
    [InlineData("32", 40)]
    public void What_mtools_wrote_is_read(string kind, int mebibytes)
    {
        string image = Make(kind, mebibytes);
        var expected = new Dictionary<string, byte[]>();
        string host = Directory.CreateDirectory(_folder["host"]).FullName;
        Oracle.RunForBytes("mmd", "-i", image, "::/Ordner mit langem Namen", "::/SHORT");
        string longName = new string('n', 200) + ".txt";
        foreach (string name in new[] { "A.TXT", "lower.txt", "Mixed Case.Text", "ünïcødé файл 漢字.txt", longName, "SHORT/B",
            "Ordner mit langem Namen/one.more.dot" })
            Put(name, TestTree.Noise(name.Length * 300, name.Length));
        for (int i = 0; i < 70; i++) Put($"SHORT/file number {i} of many in one folder", Encoding.ASCII.GetBytes($"{i}"));
        for (int i = 0; i < 6; i++) Put($"gap{i}", TestTree.Noise(20_000, i));
        foreach (int i in new[] { 0, 2, 4 })
        {
            Oracle.RunForBytes("mdel", "-i", image, $"::/gap{i}");
            expected.Remove($"gap{i}");
        }

        Put("in pieces", TestTree.Noise(mebibytes == 2 ? 300_000 : 1_500_000, 9));
        Put("empty", []);
        Oracle.RunForBytes("mattrib", "+r", "+h", "-i", image, "::/A.TXT");
        using FileStorage storage = FileStorage.OpenRead(image);
        using FileSystemVolume volume = VolumeDetection.Open(storage, out _);
        using SourceTree tree = volume.ReadTree()!;
        Dictionary<string, SourceEntry> files = tree.Enumerate().Where(e => e.Kind == EntryKind.File).ToDictionary(e => e.RelativePath);
        Assert.Equal(expected.Keys.Order(StringComparer.Ordinal), files.Keys.Order(StringComparer.Ordinal));
        foreach ((string path, byte[] bytes) in expected)
            Assert.Equal((path, Convert.ToHexString(bytes)), (path, Convert.ToHexString(Read(tree, files[path]))));
        Assert.Equal((0x124u, 0x8000u), (files["A.TXT"].Mode, files["A.TXT"].Flags));
        Assert.Equal((0x1A4u, 0u), (files["empty"].Mode, files["empty"].Flags));
        Assert.InRange(DateTimeOffset.UtcNow - files["empty"].ModifyTime.ToDateTimeOffset(), TimeSpan.FromHours(-1), TimeSpan.FromHours(1));
        Assert.True(Check(volume).IsSound, string.Join('\n', Check(volume).ToList()));

        void Put(string path, byte[] bytes)
        {
            File.WriteAllBytes(Path.Combine(host, "f"), bytes);
            Oracle.RunForBytes("mcopy", "-i", image, Path.Combine(host, "f"), "::/" + path);
            expected[path] = bytes;
        }
    }

    [OracleFact("mkfs.fat", "mcopy", "mmd")]
    public void Directories_that_cannot_be_are_damage()
    {
        string image = Make("16", 8);
        Oracle.RunForBytes("mmd", "-i", image, "::/FOLDER", "::/FOLDER/INNER");
        File.WriteAllBytes(_folder["f"], TestTree.Noise(5000, 1));
        Oracle.RunForBytes("mcopy", "-i", image, _folder["f"], "::/FOLDER/FILE.BIN");
        byte[] good = File.ReadAllBytes(image);
        int inner = good.AsSpan().IndexOf("INNER      "u8), file = good.AsSpan().IndexOf("FILE    BIN"u8),
            folder = good.AsSpan().IndexOf("FOLDER     "u8);

        // Each: where, which byte, and whether the folder tree is lost or the one file.
        // the folder contains itself
        Assert.Contains("which cannot be", Read(inner + 26, good[folder + 26])?.Problem, StringComparison.Ordinal);
        Assert.Contains("which cannot be", Read(inner + 27, 0xF0)?.Problem, StringComparison.Ordinal); // outside
        Assert.Contains("whose name cannot be one", Read(file, (byte)'/')?.Problem, StringComparison.Ordinal);
        Assert.Contains("has clusters for", Read(file + 29, 0xFF)?.Problem, StringComparison.Ordinal); // 64 KiB that nobody wrote
        Assert.Contains("and all clusters have", Read(file + 31, 0x10)?.Problem, StringComparison.Ordinal); // 256 MiB
        int first = BitConverter.ToUInt16(good, file + 26), table = BitConverter.ToUInt16(good, 14) * 512;
        Assert.Contains("in a circle", Read(table + ((first + 4) * 2), (byte)(first + 2))?.Problem, StringComparison.Ordinal);
        Assert.Null(Read(0, good[0]));

        ImageException? Read(int at, byte value)
        {
            byte[] bytes = [.. good];
            bytes[at] = value;
            using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(bytes), out _);
            ImageException? found = null;
            try
            {
                using SourceTree tree = volume.ReadTree()!;
                foreach (SourceEntry entry in tree.Enumerate().Where(e => e.Kind == EntryKind.File)) _ = FatTreeTests.Read(tree, entry);
                if (tree.OmittedCount > 0) found = ImageException.Damaged(Assert.Single(tree.Omissions).Message);
                Assert.Equal("FOLDER", Assert.Single(tree.Root.Children).Name); // what is without fault is listed
            }
            catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
            {
                found = e;
            }

            Assert.Equal(found is null, Check(volume).IsSound);
            return found;
        }
    }

    private string Make(string kind, int mebibytes)
    {
        string image = _folder["fat"];
        using (FileStream file = File.Create(image)) file.SetLength((long)mebibytes << 20);
        Oracle.RunForBytes("mkfs.fat", "-F", kind, "-s", "1", image);
        return image;
    }

    private static ImageFindings Check(FileSystemVolume volume)
    {
        var findings = new ImageFindings("volume");
        volume.Check(findings, CancellationToken.None);
        return findings;
    }

    private static byte[] Read(SourceTree tree, SourceEntry entry)
    {
        using BlockStorage content = tree.OpenFork(entry, ForkKind.Data);
        byte[] bytes = new byte[content.Length];
        content.Read(0, bytes);
        return bytes;
    }
}
