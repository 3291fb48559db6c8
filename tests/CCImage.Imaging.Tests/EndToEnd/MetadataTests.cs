using System.Globalization;
using System.Text.RegularExpressions;
using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Restoring;
using CCImage.Sources;
using CCImage.Tests.HfsPlus;

namespace CCImage.Tests.EndToEnd;

/// <summary>Metadata on its way from Linux into an image, read there by others, and from real images of Macs to Linux.</summary>
public sealed partial class MetadataTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [OracleFact("setfattr", "fls", "icat", "7z", "fshfsinfo", "chown", "mkfifo", "mknod", "touch")]
    public void What_Linux_has_is_read_back_by_others()
    {
        Require.LinuxRoot();
        string source = Directory.CreateDirectory(_folder["source"]).FullName, file = Path.Combine(source, "file"),
            folder = Path.Combine(source, "folder");
        File.WriteAllText(file, "content");
        Directory.CreateDirectory(folder);
        Run("mkfifo", Path.Combine(source, "pipe"));
        Run("mknod", Path.Combine(source, "device"), "c", "5", "7");
        File.CreateSymbolicLink(Path.Combine(folder, "link"), "../file");
        byte[] large = TestTree.Noise(3000, 1), fork = TestTree.Noise(2500, 2);
        Run("setfattr", "-n", "user.com.example.small", "-v", "value", file);
        Run("setfattr", "-n", "user.com.apple.ResourceFork", "-v", "0x" + Convert.ToHexString(fork), file);
        Run("setfattr", "-n", "user.large", "-v", "0x" + Convert.ToHexString(large), folder);
        Run("setfattr", "-n", "user.empty", folder);
        Run("chown", "501:20", file);
        Run("chown", "-h", "502:21", Path.Combine(folder, "link"));
        Run("chmod", "4751", file);
        Run("chmod", "1770", folder);
        Run("touch", "-h", "-d", "2020-02-03 04:05:06 UTC", file, folder, Path.Combine(folder, "link"), Path.Combine(source, "pipe"),
            Path.Combine(source, "device"));
        const long seconds = 1580702706;
        string image = _folder["image.dmg"], window = _folder["window.hfs"], read = _folder["read"];
        var recipe =
            new ImageRecipe { SourcePath = source, Path = image, Format = BackupImageFormat.ReadWrite, SizeBytes = 20_000_000,
                VolumeName = "Volume" };
        using (ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None))
            creation.Run(CancellationToken.None);

        Dictionary<string, ForeignEntry> entries = ForeignReaders.List(image);
        Assert.Equal(new('r', "rwsr-x--x", 501, 20, 7, seconds, entries["file"].Inode), entries["file"]);
        Assert.Equal(new('d', "rwxrwx--T", 0, 0, 0, seconds, entries["folder"].Inode), entries["folder"]);
        Assert.Equal(
            ('l', 502u, 21u, seconds),
            (entries["folder/link"].Type, entries["folder/link"].UserId, entries["folder/link"].GroupId,
            entries["folder/link"].ModifySeconds));
        Assert.Equal(('p', 'c'), (entries["pipe"].Type, entries["device"].Type));
        Assert.Equal("content"u8.ToArray(), ForeignReaders.Content(image, entries["file"].Inode));

        // Debian's fshfsinfo shows an entry up to its dates, and of one without the date at which it was added no more.
        string shown =
            Oracle.Run("fshfsinfo", "-o", (ForeignReaders.PartitionSector * 512).ToString(CultureInfo.InvariantCulture), "-F", "/file",
                image).Output;
        Assert.Matches(@"Size\s+: 7\n", shown);
        Assert.Matches(@"\sModification time\s+: Feb 03, 2020 04:05:06 UTC", shown);

        ForeignReaders.CopyWindow(image, window);
        Run("7z", "x", "-y", "-thfs", "-sns", "-snl-", "-o" + read, window);
        Assert.Equal(fork, Stream("file:rsrc"));
        Assert.Equal("value"u8.ToArray(), Stream("file:com.example.small"));
        Assert.Equal(large, Stream("folder:large"));

        byte[] Stream(string name) => File.ReadAllBytes(Path.Combine(read, "Volume", name));
    }

    [CorpusFact]
    public void What_Macs_images_have_is_restored()
    {
        Require.Linux();
        int attributes = 0, forks = 0;
        foreach (CorpusImage sample in CorpusImage.All.Where(s =>
            !s.IsEncrypted && !s.File.Contains("asif", StringComparison.Ordinal) && !s.File.Contains("vmstore", StringComparison.Ordinal)))
        {
            string name = sample.File.Replace(".gz", "", StringComparison.Ordinal);
            if (!File.Exists(CorpusManifest.PathOf(name)) || sample.File.Contains("aj_bundle_joined", StringComparison.Ordinal)) continue;
            using DiskImage image = DiskImage.Open(sample.Materialise(_folder.Path));
            foreach (DiskImage.FoundVolume found in image.Volumes.Where(v => v.Volume.HasReadableTree(0)))
            {
                if (CorpusManifest.Read(name).FirstOrDefault(m => m.Offset == found.OffsetBytes && m.Type.Length > 0) is not { } expected)
                    continue;
                string to = _folder["restored"];
                TreeRestoreReport report;
                using (SourceTree tree = image.ReadTree(found.Number, CancellationToken.None))
                {
                    var options = new TreeRestoreOptions { DestinationPath = to, Overwrite = false, Include = [] };
                    report = TreeRestorer.Restore(tree, options, HostPlatform.Current, SilentObserver.Instance, CancellationToken.None);
                    Assert.DoesNotContain(report.Warnings, w => w.Kind != ImagingWarningKind.MetadataLost);
                }

                using (HostTree restored = FolderScanner.Scan(to, new(), SilentObserver.Instance, CancellationToken.None))
                {
                    // Linux gives links no attributes, and its file systems end them at 4 KiB or later: what is lost is counted.
                    HashSet<string> streams = [.. restored.Enumerate().SelectMany(StreamsOf)];
                    string[] lost = [.. expected.Files.Keys.Where(k => !streams.Contains(k))];
                    Assert.InRange(lost.Length, 0, report.Warnings.Select(w => Lost().Match(w.Message)).Where(m => m.Success)
                        .Sum(m => int.Parse(m.Groups[1].Value, CultureInfo.InvariantCulture)));
                    HfsPlusReaderTests.AssertHoldsTheManifest(
                        restored, name, expected with { Files = expected.Files.Where(f => !lost.Contains(f.Key)).ToDictionary() });
                    attributes += restored.Enumerate().Sum(e => e.Attributes.Count);
                    forks += restored.Enumerate().Count(e => e.ResourceForkSize > 0);
                }

                Directory.Delete(to, recursive: true);
            }
        }

        Assert.InRange(attributes, 150, 1000); // the more, the more of them the file system takes
        Assert.Equal(7, forks);
    }

    private static IEnumerable<string> StreamsOf(SourceEntry entry) =>
        [entry.RelativePath, $"{entry.RelativePath}:rsrc", $"{entry.RelativePath}:com.apple.ResourceFork",
            .. entry.Attributes.Select(a => $"{entry.RelativePath}:{a.Name}")];

    [GeneratedRegex(@"^Not kept for (\d+) entries[^:]*: extended attributes")]
    private static partial Regex Lost();

    private static void Run(string tool, params string[] arguments) => Oracle.RunForBytes(tool, arguments);
}
