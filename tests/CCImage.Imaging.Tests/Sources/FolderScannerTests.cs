using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.Sources;

public class FolderScannerTests
{
    private static HostTree Scan(string path, FolderScanOptions? options = null, IImagingObserver? observer = null) =>
        FolderScanner.Scan(path, options ?? new(), observer ?? SilentObserver.Instance, CancellationToken.None);

    private static string[] Paths(SourceTree tree) => [.. tree.Enumerate().Skip(1).Select(e => e.RelativePath)];

    private static SourceEntry Find(SourceTree tree, string path) => tree.Enumerate().Single(e => e.RelativePath == path);

    [Fact]
    public void Finds_everything_in_ordinal_order_and_counts_it()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["b", "inner"]);
        Directory.CreateDirectory(folder["empty"]);
        File.WriteAllText(folder["b", "inner", "file"], "12345");
        File.WriteAllText(folder["B"] + "x", "1");
        File.WriteAllText(folder["a"], "");
        using HostTree tree = Scan(folder.Path);
        Assert.Equal(["Bx", "a", "b", "b/inner", "b/inner/file", "empty"], Paths(tree));
        Assert.Equal((6L, 6L), (tree.EntryCount, tree.TotalBytes));
        Assert.Equal(folder["b", "inner", "file"], tree.DisplayPath(Find(tree, "b/inner/file")));
        Assert.Equal(folder.Path, tree.DisplayPath(tree.Root));
        using BlockStorage content = tree.OpenFork(Find(tree, "b/inner/file"), ForkKind.Data);
        byte[] bytes = new byte[5];
        content.Read(0, bytes);
        Assert.Equal("12345"u8.ToArray(), bytes);
    }

    [Fact]
    public void Leaves_out_what_the_patterns_name()
    {
        using var folder = new TemporaryFolder();
        foreach (string path in (string[])["keep/a", "keep/b.tmp", "Caches/x", "deep/Caches/y", "deep/node_modules/z", "top"])
        {
            Directory.CreateDirectory(Path.GetDirectoryName(folder[path])!);
            File.WriteAllText(folder[path], "");
        }

        using HostTree tree = Scan(folder.Path, new() { Exclude = ["*.tmp", "/Caches", "**/node_modules/"] });
        Assert.Equal(["deep", "deep/Caches", "deep/Caches/y", "keep", "keep/a", "top"], Paths(tree));
    }

    [LinuxFact]
    public void Leaves_out_the_image_itself_by_whichever_way_it_is_named()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["src", "out"]);
        Directory.CreateDirectory(folder["src", "other"]);
        File.WriteAllText(folder["src", "out", "x.dmg"], "");
        File.WriteAllText(folder["src", "out", "x.dmg.partial"], "");
        File.WriteAllText(folder["src", "other", "x.dmg"], "");
        Directory.CreateSymbolicLink(folder["way"], folder["src", "out"]);
        using HostTree tree = Scan(folder["src"], new() { ExcludePaths = [folder["way", "x.dmg"], "/nowhere/at/all"] });
        Assert.Equal(["other", "other/x.dmg", "out"], Paths(tree));
    }

    // HFS+ lists names decomposed, whatever form they were given in.
    [Fact]
    public void An_image_in_its_own_source_is_left_out_by_either_form_of_its_name()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["src"]);
        foreach (string name in new[] { "Mu\u0308ll.dmg", "Mu\u0308ll.dmg.partial", "Mull.dmg" })
            File.WriteAllText(folder["src", name], "");
        var mac = new PosedPlatform { NameComparer = new MacNameComparer() };
        using HostTree tree =
            FolderScanner.Scan(folder["src"], new() { ExcludePaths = [folder["src", "m\u00FCll.dmg"] ] }, mac, SilentObserver.Instance,
                CancellationToken.None);
        Assert.Equal(["Mull.dmg"], Paths(tree));
        Assert.True(mac.NameComparer.Equals("\uD800", "\uD800"));
    }

    [LinuxFact]
    public void Links_are_never_followed_and_the_root_may_be_one()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["real", "sub"]);
        File.CreateSymbolicLink(folder["real", "up"], "..");
        File.CreateSymbolicLink(folder["real", "self"], "self");
        File.CreateSymbolicLink(folder["real", "dangling"], "/no/such/file");
        Directory.CreateSymbolicLink(folder["root"], folder["real"]);
        using HostTree tree = Scan(folder["root"]);
        Assert.Equal(["dangling", "self", "sub", "up"], Paths(tree));
        SourceEntry link = Find(tree, "dangling");
        Assert.Equal((EntryKind.SymbolicLink, "/no/such/file", 0L), (link.Kind, link.LinkTarget, link.Size));
    }

    [LinuxFact]
    public void Hard_links_share_a_number_and_a_single_name_has_none()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["src", "sub"]);
        File.WriteAllText(folder["src", "one"], "abc");
        Oracle.RunForBytes("ln", folder["src", "one"], folder["src", "sub", "two"]);
        Oracle.RunForBytes("ln", folder["src", "one"], folder["src", "three"]);
        File.WriteAllText(folder["src", "half"], "x");
        Oracle.RunForBytes("ln", folder["src", "half"], folder["outside"]);
        using HostTree tree = Scan(folder["src"]);
        long id = Find(tree, "one").HardLinkId;
        Assert.NotEqual(0, id);
        Assert.Equal(id, Find(tree, "sub/two").HardLinkId);
        Assert.Equal(id, Find(tree, "three").HardLinkId);
        Assert.Equal(0, Find(tree, "half").HardLinkId);
        Assert.Equal(4, tree.TotalBytes);
    }

    [LinuxFact]
    public void Metadata_is_what_stat_says_to_the_nanosecond()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["f"], "x");
        Oracle.RunForBytes("touch", "-d", "1969-12-31T23:59:58.123456789Z", folder["f"]);
        Oracle.RunForBytes("chmod", "4751", folder["f"]);
        using HostTree tree = Scan(folder.Path);
        SourceEntry file = Find(tree, "f");
        Assert.Equal(-1_876_543_211, file.ModifyTime.Nanoseconds);
        Assert.Equal(Convert.ToUInt32("4751", 8), file.Mode);
        string[] facts = Oracle.Run("stat", "-c", "%i %u %g %W %.9Z", folder["f"]).Output.Trim().Split(' ');
        Assert.Equal((facts[0], facts[1], facts[2]), ($"{file.NodeId}", $"{file.UserId}", $"{file.GroupId}"));
        Assert.Equal(facts[3] is "0" or "-" ? "" : facts[3], file.BirthTime.IsKnown ? $"{file.BirthTime.Seconds}" : "");
        Assert.Equal(facts[4].Replace(".", "", StringComparison.Ordinal), $"{file.ChangeTime.Nanoseconds}");
    }

    [LinuxFact]
    public void Names_that_are_no_text_are_reported_with_their_bytes()
    {
        using var folder = new TemporaryFolder();
        Oracle.RunForBytes("bash", "-c", "touch \"$1\"/$'caf\\xE9.txt' \"$1\"/caf\u00e9.txt", "-", folder.Path);
        ImageException e = Assert.Throws<ImageException>(() => Scan(folder.Path));
        Assert.Equal(ImageErrorId.SourceUnreadable, e.Id);
        Assert.Equal(folder["caf\\xE9.txt"], e.Path);
        var observer = new RecordingObserver();
        using HostTree tree = Scan(folder.Path, new() { SkipUnreadable = true }, observer);
        Assert.Equal(["café.txt"], Paths(tree));
        Assert.Equal(ImagingWarningKind.SourceSkipped, Assert.Single(observer.Warnings).Kind);
        Assert.Equal(folder["caf\\xE9.txt"], Assert.Single(tree.Skipped).Path);
    }

    [Fact]
    public void What_cannot_be_read_ends_the_scan_or_is_left_out_as_the_caller_decides()
    {
        using var folder = new TemporaryFolder();
        foreach (string name in (string[])["a", "closed", "z"]) Directory.CreateDirectory(folder[name]);
        File.WriteAllText(folder["closed", "x"], "");
        File.WriteAllText(folder["secret"], "");
        var platform = new ClosedPlatform("closed", "secret");
        ImageException e = Assert.Throws<ImageException>(() =>
            FolderScanner.Scan(folder.Path, new(), platform, SilentObserver.Instance, CancellationToken.None));
        Assert.Equal((ImageErrorId.SourceUnreadable, folder["secret"]), (e.Id, e.Path));

        using HostTree tree =
            FolderScanner.Scan(folder.Path, new() { SkipUnreadable = true }, platform, SilentObserver.Instance, CancellationToken.None);
        Assert.Equal(["a", "closed", "z"], Paths(tree)); // the folder itself is known, its content is not
        Assert.Equal([folder["secret"], folder["closed"]], tree.Skipped.Select(s => s.Path));

        var asked = new List<string?>();
        Assert.Throws<ImageException>(() => FolderScanner.Scan(
            folder.Path, new() { OnUnreadable = x => { asked.Add(x.Path); return asked.Count < 2; } }, platform, SilentObserver.Instance,
                CancellationToken.None));
        Assert.Equal([folder["secret"], folder["closed"]], asked);
    }

    [Fact]
    public void A_source_that_is_not_there_or_no_folder_is_said_so()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["file"], "");
        Assert.Equal(ImageErrorId.SourceNotFound, Assert.Throws<ImageException>(() => Scan(folder["nothing"])).Id);
        Assert.Equal(ImageErrorId.SourceNotFound, Assert.Throws<ImageException>(() => Scan(folder["file"])).Id);
    }

    [LinuxFact]
    public void A_file_that_was_replaced_since_is_not_taken_for_the_old_one()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["src", "d"]);
        Directory.CreateDirectory(folder["elsewhere"]);
        File.WriteAllText(folder["src", "file"], "old");
        File.WriteAllText(folder["src", "d", "inner"], "old");
        File.WriteAllText(folder["elsewhere", "inner"], "secret");
        using HostTree tree = Scan(folder["src"]);
        File.Move(folder["src", "file"], folder["kept"]);
        Oracle.RunForBytes("mkfifo", folder["src", "file"]); // a FIFO must not be waited for either
        Assert.Equal(
            ImageErrorId.SourceUnreadable, Assert.Throws<ImageException>(() => tree.OpenFork(Find(tree, "file"), ForkKind.Data)).Id);
        Directory.Move(folder["src", "d"], folder["d"]);
        Directory.CreateSymbolicLink(folder["src", "d"], folder["elsewhere"]);
        Assert.Equal(
            ImageErrorId.SourceUnreadable, Assert.Throws<ImageException>(() => tree.OpenFork(Find(tree, "d/inner"), ForkKind.Data)).Id);
        Directory.Delete(folder["src", "d"]);
        Assert.Equal(
            ImageErrorId.SourceUnreadable, Assert.Throws<ImageException>(() => tree.OpenFork(Find(tree, "d/inner"), ForkKind.Data)).Id);
    }

    [Fact]
    public void A_file_that_becomes_shorter_while_it_is_read_ends_in_zeros_and_has_changed()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["file"], TestTree.Noise(10_000, 1));
        DateTime time = File.GetLastWriteTimeUtc(folder["file"]);
        using HostTree tree = Scan(folder.Path);
        SourceEntry entry = Find(tree, "file");
        using BlockStorage content = tree.OpenFork(entry, ForkKind.Data);
        using (FileStream file = File.OpenWrite(folder["file"])) file.SetLength(1000);
        File.SetLastWriteTimeUtc(folder["file"], time);
        byte[] bytes = new byte[10_000];
        content.Read(0, bytes);
        Assert.Equal([.. TestTree.Noise(10_000, 1)[..1000], .. new byte[9000]], bytes);
        Assert.True(tree.HasChanged(entry, content));
    }

    [LinuxFact]
    public void A_file_of_any_time_has_not_changed_until_it_does()
    {
        // In memory, where 64 bits of seconds are kept: from 1200 BC to the year 11476.
        using var folder = new TemporaryFolder(Directory.Exists("/dev/shm") ? "/dev/shm" : null);
        foreach (string time in (string[])["-3599.876543211", "1700000000.999999999", "300000000000", "-100000000000"])
        {
            File.WriteAllText(folder["file"], "text");
            Oracle.RunForBytes("touch", "-d", "@" + time, folder["file"]);
            using HostTree tree = Scan(folder.Path);
            SourceEntry entry = Find(tree, "file");
            using (BlockStorage content = tree.OpenFork(entry, ForkKind.Data)) Assert.False(tree.HasChanged(entry, content), time);
            File.AppendAllText(folder["file"], "!");
            using (BlockStorage content = tree.OpenFork(entry, ForkKind.Data)) Assert.True(tree.HasChanged(entry, content), time);
        }
    }

    [Fact]
    public void On_Windows_a_path_is_the_same_with_either_separator_and_case() =>
        Assert.Equal(PortableDirectory.IdentityOf(@"C:\Users\me\file"), PortableDirectory.IdentityOf(@"C:\Users\Me/FILE"));

    [LinuxFact]
    public void Holes_are_known()
    {
        using var folder = new TemporaryFolder();
        using (FileStream file = File.Create(folder["sparse"]))
        {
            file.SetLength(4 << 20);
            file.Position = 2 << 20;
            file.Write(new byte[4096].AsSpan());
            file.Flush(flushToDisk: true);
        }

        using HostTree tree = Scan(folder.Path);
        using BlockStorage content = tree.OpenFork(Find(tree, "sparse"), ForkKind.Data);
        StorageExtent[] extents = [.. content.GetExtents(0, content.Length)];
        Assert.Equal(4 << 20, extents.Sum(e => e.Length));
        Assert.Equal(4096, extents.Where(e => e.Kind == ExtentKind.Data).Sum(e => e.Length));
    }

    [LinuxFact]
    public void Depth_and_length_of_paths_are_no_danger()
    {
        using var folder = new TemporaryFolder();
        string name = new('d', 200);
        Oracle.RunForBytes(
            "bash", "-c",
            "cd \"$1\"; for i in $(seq 300); do mkdir $2; cd -P $2 2>/dev/null || cd $2; done; echo -n deep > file; ln file link", "-",
            folder.Path, name);
        File.WriteAllText(folder["z"], "");
        using HostTree tree = Scan(folder.Path);
        Assert.Equal(303, tree.EntryCount);
        SourceEntry file = tree.Enumerate().Single(e => e.Name == "file");
        Assert.Equal(300 * 201 + 4, file.RelativePath.Length);
        using BlockStorage content = tree.OpenFork(file, ForkKind.Data);
        Assert.Equal(4, content.Length);
    }

    [LinuxRootFact]
    public void On_one_file_system_a_mount_point_stays_empty()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["mnt"]);
        Require.That(Oracle.Run("mount", "-t", "tmpfs", "none", folder["mnt"]).ExitCode == 0, "Mounting is not permitted here.");
        try
        {
            File.WriteAllText(folder["mnt", "file"], "");
            using HostTree all = Scan(folder.Path);
            Assert.Equal(["mnt", "mnt/file"], Paths(all));
            using HostTree one = Scan(folder.Path, new() { OneFileSystem = true });
            Assert.Equal(["mnt"], Paths(one));
            HostVolume volume = HostPlatform.Current.GetVolume(folder["mnt", "not", "yet", "there"]);
            Assert.Equal((folder["mnt"], "tmpfs", false, true),
                (volume.MountPoint, volume.FileSystemType, volume.IsNetwork, volume.IsCaseSensitive));
            Assert.InRange(volume.FreeBytes, 1, volume.CapacityBytes);
        }
        finally
        {
            Oracle.Run("umount", folder["mnt"]);
        }
    }

    [Fact]
    public void What_is_in_the_cloud_only_is_named_and_left_out_unless_asked_for()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["cloud.txt"], "x");
        File.WriteAllText(folder["here.txt"], "x");
        Directory.CreateDirectory(folder["cloud folder"]);
        File.WriteAllText(folder["cloud folder", "file"], "x");
        var platform =
            new PosedPlatform { Change = (name, stat) => stat with { IsDataless = name.StartsWith("cloud", StringComparison.Ordinal) } };
        var observer = new RecordingObserver();
        using (HostTree tree = FolderScanner.Scan(folder.Path, new(), platform, observer, CancellationToken.None))
        {
            Assert.Equal(["here.txt"], Paths(tree));
            Assert.Equal([folder["cloud folder"], folder["cloud.txt"]], tree.Skipped.Select(s => s.Path));
            Assert.All(tree.Skipped, s => Assert.Contains("download", s.Message, StringComparison.Ordinal));
            Assert.Equal(tree.Skipped, observer.Warnings);
        }

        using HostTree all = FolderScanner.Scan(folder.Path, new() { IncludeDataless = true }, platform, observer, CancellationToken.None);
        Assert.Equal(["cloud folder", "cloud folder/file", "cloud.txt", "here.txt"], Paths(all));
    }

    // A Mac's startup disk: "Applications" and "Users" are firmlinks to the volume that is also mounted at "System/Volumes/Data"; another
    // one is at "Volumes/Stick".
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Firmlinks_are_followed_and_what_they_show_is_taken_once(bool oneFileSystem)
    {
        using var folder = new TemporaryFolder();
        foreach (string name in (string[])["Applications/app", "Users/me/deep", "System/Library", "System/Volumes/Data/Users/me",
            "System/Volumes/Data/own", "Volumes/Stick/music"])
            Directory.CreateDirectory(Path.Combine(folder.Path, name));
        var platform = new PosedPlatform
        {
            Change = (name, stat) => stat with
            {
                Identity = new(
                    name is "Applications" or "app" or "Users" or "me" or "deep" or "Data" or "own" ? 2ul : name is "Stick" or "music" ? 3ul
                    : 1ul,
                    name == "Users" ? 12345678 : stat.Identity.Inode),
            },
            Firmlinks = [folder["Applications"], folder["Users"]],
        };
        using HostTree tree =
            FolderScanner.Scan(
                folder.Path, new() { OneFileSystem = oneFileSystem }, platform, SilentObserver.Instance, CancellationToken.None);
        string[] expected =
            ["Applications", "Applications/app", "System", "System/Library", "System/Volumes", "System/Volumes/Data",
                "System/Volumes/Data/Users", "System/Volumes/Data/own", "Users", "Users/me", "Users/me/deep", "Volumes", "Volumes/Stick"];
        Assert.Equal(oneFileSystem ? expected : [.. expected, "Volumes/Stick/music"], Paths(tree));
    }

    [Fact]
    public void The_time_of_the_last_backup_is_kept()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["file"], "x");
        using HostTree tree =
            FolderScanner.Scan(
                folder.Path, new(), new PosedPlatform { BackupTime = TestTree.SomeTime }, SilentObserver.Instance, CancellationToken.None);
        Assert.All(tree.Enumerate(), e => Assert.Equal(TestTree.SomeTime, e.BackupTime));
        using HostTree none = Scan(folder.Path);
        Assert.All(none.Enumerate(), e => Assert.False(e.BackupTime.IsKnown));
    }

    [Fact]
    public void Cancellation_ends_it_and_progress_is_in_entries()
    {
        using var folder = new TemporaryFolder();
        for (int i = 0; i < 2500; i++) File.WriteAllText(folder[$"f{i}"], "");
        using var cancellation = new CancellationTokenSource();
        var observer = new RecordingObserver { WhenProgress = p => { if (p.Completed >= 2000) cancellation.Cancel(); } };
        Assert.Throws<OperationCanceledException>(
            () => FolderScanner.Scan(folder.Path, new() { Exclude = ["f2499"] }, observer, cancellation.Token).Dispose());
        Assert.Equal([new("Scanning", 1000, 0, "entries"), new ImagingProgress("Scanning", 2000, 0, "entries")], observer.Progress);
    }

    [LinuxFact]
    public void The_startup_volume_is_described()
    {
        HostVolume volume = HostPlatform.Current.GetVolume("/");
        Assert.Equal(("/", true), (volume.MountPoint, volume.IsStartupDisk));
        Assert.NotEqual("", volume.FileSystemType);
        Assert.Equal(HostPlatform.Current.GetStat("/").Identity.Device, volume.DeviceId);
    }

    [Theory]
    [InlineData("user.com.apple.quarantine", "com.apple.quarantine")]
    [InlineData("osx.com.apple.FinderInfo", "com.apple.FinderInfo")]
    [InlineData("security.selinux", "security.selinux")]
    [InlineData("system.posix_acl_access", "system.posix_acl_access")]
    [InlineData("trusted.overlay", "trusted.overlay")]
    [InlineData("user.security.selinux", "user.security.selinux")]
    [InlineData("user.user.x", "user.user.x")]
    [InlineData("user.", "user.")]
    public void Attribute_names_go_both_ways(string host, string model)
    {
        Assert.Equal(model, LinuxDirectory.ToModelName(host));
        if (!host.StartsWith("osx.", StringComparison.Ordinal)) Assert.Equal(host, LinuxDirectory.ToHostName(model));
    }

    /// <summary>Linux, but for some names that nobody may open.</summary>
    private sealed class ClosedPlatform(params string[] closed) : IHostPlatform
    {
        public bool IsPrivileged => false;

        public HostVolume GetVolume(string path) => HostPlatform.Current.GetVolume(path);

        public HostStat GetStat(string path) => HostPlatform.Current.GetStat(path);

        public HostDirectory OpenDirectory(string path) => new ClosedDirectory(HostPlatform.Current.OpenDirectory(path), closed);

        public string? ObjectionToName(string name) => HostPlatform.Current.ObjectionToName(name);
    }

    private sealed class ClosedDirectory(HostDirectory inner, string[] closed) : DirectoryDecorator(inner)
    {
        public override HostDirectory OpenDirectory(string name) =>
            closed.Contains(name) ? throw new HostException(HostFailure.AccessDenied, "Permission denied.") : base.OpenDirectory(name);

        public override bool CanRead(string name, in HostStat stat) => !closed.Contains(name);

        protected override HostDirectory Decorate(HostDirectory folder) => new ClosedDirectory(folder, closed);
    }

    /// <summary>This machine, posing as another: what stat says of a name is changed.</summary>
    private sealed class PosedPlatform : IHostPlatform
    {
        public Func<string, HostStat, HostStat> Change { get; init; } = (_, stat) => stat;

        public string[] Firmlinks { get; init; } = [];

        public IEqualityComparer<string> NameComparer { get; init; } = HostPlatform.Current.NameComparer;

        public UnixTime BackupTime { get; init; } = UnixTime.None;

        public bool IsPrivileged => false;

        public HostVolume GetVolume(string path) => HostPlatform.Current.GetVolume(path);

        public HostStat GetStat(string path) => HostPlatform.Current.GetStat(path);

        public HostDirectory OpenDirectory(string path) => new PosedDirectory(HostPlatform.Current.OpenDirectory(path), this, "");

        public bool IsFirmlink(string path, in HostStat stat) => Firmlinks.Contains(path);

        public string? ObjectionToName(string name) => HostPlatform.Current.ObjectionToName(name);
    }

    private sealed class PosedDirectory(HostDirectory inner, PosedPlatform platform, string name) : DirectoryDecorator(inner)
    {
        public override HostStat Stat => platform.Change(name, base.Stat);

        public override HostStat GetStat(string child) => platform.Change(child, base.GetStat(child));

        public override HostDirectory OpenDirectory(string child) =>
            new PosedDirectory(((PosedDirectory)base.OpenDirectory(child)).Inner, platform, child);

        public override HostAttributes ReadAttributes(HostNode node, in HostStat stat) =>
            base.ReadAttributes(node, stat) with { BackupTime = platform.BackupTime };

        private HostDirectory Inner { get; } = inner;

        protected override HostDirectory Decorate(HostDirectory folder) => new PosedDirectory(folder, platform, name);
    }
}
