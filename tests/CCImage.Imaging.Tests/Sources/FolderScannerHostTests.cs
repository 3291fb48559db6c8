using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.Sources;

/// <summary>What a scan owes to the kind of machine, posed on this one: holes that are not to be believed, files in the cloud, attributes
/// kept beside the files.</summary>
public sealed class FolderScannerHostTests
{
    private static readonly byte[] s_appleDouble = [0, 5, 0x16, 7, 0, 2, 0, 0, 1, 2, 3];

    [Fact]
    public void Holes_of_a_host_that_is_not_believed_are_read()
    {
        using var folder = new TemporaryFolder();
        using (FileStream file = File.Create(folder["sparse"]))
        {
            file.SetLength(8 << 20);
            file.Position = 4 << 20;
            file.Write([1, 2, 3]);
        }

        using HostTree believed = Scan(folder.Path, new() { TrustsHoles = true });
        using HostTree doubted = Scan(folder.Path, new() { TrustsHoles = false });
        Assert.Equal([ExtentKind.Data], Kinds(doubted));
        if (OperatingSystem.IsLinux()) Assert.Contains(ExtentKind.Zero, Kinds(believed));

        static ExtentKind[] Kinds(HostTree tree)
        {
            using BlockStorage fork = tree.OpenFork(tree.Root.Children[0], ForkKind.Data);
            return [.. fork.GetExtents(0, fork.Length).Select(e => e.Kind)];
        }
    }

    [Fact]
    public void Zeros_of_such_a_host_are_not_stored_all_the_same()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["source"]);
        using (FileStream file = File.Create(folder["source", "sparse"]))
        {
            file.SetLength(64 << 20);
            file.Position = 40 << 20;
            file.Write([1, 2, 3]);
        }

        HostTree tree = Scan(folder["source"], new() { TrustsHoles = false });
        var recipe =
            new ImageRecipe { Path = folder["image"], Format = BackupImageFormat.Sparse, SizeBytes = 200_000_000, VolumeName = "v" };
        using ImageCreation creation = ImageCreation.PrepareFrom(recipe, tree, SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
        Assert.InRange(new FileInfo(folder["image"]).Length, 1 << 20, 16 << 20);
    }

    [Fact]
    public void Files_in_the_cloud_are_downloaded_on_request_only_and_only_while_the_tree_is_in_use()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["f"], "content");
        var platform = new PosedPlatform();
        using (HostTree tree = Scan(folder.Path, platform))
        {
            Assert.Equal(0, platform.Downloading);
            Assert.Equal(1, platform.Kept);
            using BlockStorage fork = tree.OpenFork(tree.Root.Children[0], ForkKind.Data);
            int before = platform.Kept;
            fork.Read(0, new byte[7]);
            Assert.True(platform.Kept > before, "A thread that reads has to be kept from downloading, too.");
        }

        platform = new PosedPlatform();
        using (HostTree tree = Scan(folder.Path, platform, new() { IncludeDataless = true }))
        {
            using BlockStorage fork = tree.OpenFork(tree.Root.Children[0], ForkKind.Data);
            fork.Read(0, new byte[7]);
            Assert.Equal(1, platform.Downloading);
        }

        Assert.Equal((0, 0), (platform.Downloading, platform.Kept));
        Assert.Throws<ImageException>(() => Scan(folder["missing"], platform, new() { IncludeDataless = true }));
        Assert.Equal(0, platform.Downloading);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_the_system_keeps_beside_a_file_is_not_taken_twice(bool keepsBeside)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["f"], "content");
        File.WriteAllBytes(folder["._f"], s_appleDouble);
        File.WriteAllBytes(folder["._alone"], s_appleDouble);
        File.WriteAllText(folder["g"], "content");
        File.WriteAllText(folder["._g"], "no AppleDouble at all");
        File.WriteAllText(folder["h"], "");
        File.WriteAllText(folder["._h"], "\0");
        using HostTree tree = Scan(folder.Path, new() { KeepsBeside = keepsBeside });
        string[] names = [.. tree.Root.Children.Select(e => e.Name)];
        Assert.Equal(!keepsBeside, names.Contains("._f"));
        Assert.Superset(new HashSet<string> { "._alone", "._g", "._h", "f", "g", "h" }, names.ToHashSet());
    }

    [Fact]
    public void Patterns_that_match_nothing_are_told_once_each_and_what_they_leave_out_is_counted()
    {
        using var folder = new TemporaryFolder();
        foreach (string path in (string[])["a.tmp", "b.tmp", "Caches/x.tmp", "deep/y"])
        {
            Directory.CreateDirectory(Path.GetDirectoryName(folder[path])!);
            File.WriteAllText(folder[path], "");
        }

        var observer = new RecordingObserver();
        using HostTree tree = FolderScanner.Scan(
            folder.Path, new() { Exclude = ["*.tmp", "*.TEMP", "/Caches", "a.*", "/y"] }, HostPlatform.Current, observer,
            CancellationToken.None);
        Assert.Equal(3, tree.ExcludedCount); // a.tmp, b.tmp, Caches
        Assert.Equal(2, observer.Warnings.Count(w => w.Message.Contains("matched nothing", StringComparison.Ordinal)));
        Assert.Contains(observer.Warnings, w => w.Message.Contains("'*.TEMP'", StringComparison.Ordinal));
        Assert.Contains(observer.Warnings, w => w.Message.Contains("'/y'", StringComparison.Ordinal));
        Assert.Equal(3, observer.Verbose.Count(v => v.Contains("was left out", StringComparison.Ordinal)));
        Assert.Contains(observer.Verbose, v =>
            v.Contains(folder["Caches"], StringComparison.Ordinal) && v.Contains("'/Caches'", StringComparison.Ordinal));
    }

    [Fact]
    public void Refusals_of_macOS_that_are_not_a_matter_of_rights_say_what_they_are()
    {
        HostException privacy = MacDirectory.FailureOf(1), rights = MacDirectory.FailureOf(13), cloud = MacDirectory.FailureOf(11);
        Assert.Contains("Full Disk Access", privacy.RemedyForReading, StringComparison.Ordinal);
        Assert.Null(rights.RemedyForReading);
        Assert.Contains("-IncludeCloudFiles", cloud.Message, StringComparison.Ordinal);

        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["Library", "Mail"]);
        var platform = new PosedPlatform { OnOpen = name => name == "Mail" ? throw MacDirectory.FailureOf(1) : null };
        ImageException error = Assert.Throws<ImageException>(() => Scan(folder.Path, platform));
        Assert.Equal(ImageErrorId.SourceUnreadable, error.Id);
        Assert.Contains("Full Disk Access", error.Remedy, StringComparison.Ordinal);
        var observer = new RecordingObserver();
        using HostTree tree = FolderScanner.Scan(folder.Path, new() { SkipUnreadable = true }, platform, observer, CancellationToken.None);
        Assert.Contains("Full Disk Access", Assert.Single(observer.Warnings).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Attributes_of_Linux_become_the_flags_that_correspond()
    {
        const ulong compressed = 0x4, immutable = 0x10, append = 0x20, noDump = 0x40, all = compressed | immutable | append | noDump;
        Assert.Equal(0x7u, new LinuxStat { Attributes = immutable | append | noDump, AttributesMask = all }.ToHostStat().Flags);
        Assert.Equal(0x2u, new LinuxStat { Attributes = immutable, AttributesMask = all }.ToHostStat().Flags);
        Assert.Equal(0u, new LinuxStat { Attributes = immutable, AttributesMask = 0 }.ToHostStat().Flags);
        Assert.False(new LinuxStat { Attributes = immutable, AttributesMask = all }.ToHostStat().HasUnkeptAttributes);
        Assert.True(new LinuxStat { Attributes = compressed, AttributesMask = all }.ToHostStat().HasUnkeptAttributes);

        using var folder = new TemporaryFolder();
        foreach (string name in (string[])["a", "b", "c"]) File.WriteAllText(folder[name], "");
        var observer = new RecordingObserver();
        var platform = new PosedPlatform { Change = (name, stat) => stat with { HasUnkeptAttributes = name != "a" } };
        using HostTree tree = FolderScanner.Scan(folder.Path, new(), platform, observer, CancellationToken.None);
        ImagingWarning warning = Assert.Single(observer.Warnings);
        Assert.Equal((ImagingWarningKind.MetadataLost, folder["b"]), (warning.Kind, warning.Path));
        Assert.StartsWith("2 entries", warning.Message, StringComparison.Ordinal);
    }

    private static HostTree Scan(string path, PosedPlatform platform, FolderScanOptions? options = null) =>
        FolderScanner.Scan(path, options ?? new(), platform, SilentObserver.Instance, CancellationToken.None);

    private sealed class PosedPlatform : IHostPlatform
    {
        public bool TrustsHoles { get; init; } = true;

        public bool KeepsBeside { get; init; }

        public Func<string, object?> OnOpen { get; init; } = _ => null;

        public Func<string, HostStat, HostStat> Change { get; init; } = (_, stat) => stat;

        public int Downloading { get; private set; }

        public int Kept { get; private set; }

        public bool IsPrivileged => false;

        public IDisposable DownloadCloudFiles()
        {
            Downloading++;
            return new Ended(this);
        }

        public void KeepThreadFromDownloading() => Kept++;

        public HostVolume GetVolume(string path) => HostPlatform.Current.GetVolume(path);

        public HostStat GetStat(string path) => HostPlatform.Current.GetStat(path);

        public HostDirectory OpenDirectory(string path) => new PosedDirectory(HostPlatform.Current.OpenDirectory(path), this);

        public string? ObjectionToName(string name) => HostPlatform.Current.ObjectionToName(name);

        private sealed class Ended(PosedPlatform platform) : IDisposable
        {
            public void Dispose() => platform.Downloading--;
        }
    }

    private sealed class PosedDirectory(HostDirectory inner, PosedPlatform platform) : DirectoryDecorator(inner)
    {
        public override bool KeepsAttributesBeside => platform.KeepsBeside;

        public override HostStat GetStat(string name) => platform.Change(name, base.GetStat(name));

        public override HostDirectory OpenDirectory(string name)
        {
            platform.OnOpen(name);
            return base.OpenDirectory(name);
        }

        protected override HostDirectory Decorate(HostDirectory folder) => new PosedDirectory(folder, platform);
    }
}
