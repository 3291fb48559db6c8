using System.Text;
using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Restoring;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.Restoring;

public class TreeRestorerTests
{
    private static TreeRestoreReport Restore(
        SourceTree tree, string destination, bool overwrite = false, string[]? include = null, IImagingObserver? observer = null,
        IHostPlatform? platform = null, RestoreOwnership? ownership = null, bool untrusted = false, Func<bool>? isGone = null,
        string[]? items = null, CancellationToken cancellation = default) =>
        TreeRestorer.Restore(
            tree,
            new()
            {
                DestinationPath = destination, Overwrite = overwrite, Include = include
                    ?? [], Items = items, Ownership = ownership, IsUntrusted = untrusted,
                IsSourceGone = isGone ?? (() => true),
            },
            platform ?? HostPlatform.Current,
            observer ?? SilentObserver.Instance, cancellation);

    private static HostTree Scan(string path) => FolderScanner.Scan(path, new(), SilentObserver.Instance, CancellationToken.None);

    // Everything that a restore gives back, content included; the change time and the file's number are the host's own business.
    private static string[] Describe(SourceTree tree)
    {
        var lines = new List<string>();
        var links = new Dictionary<long, int>();
        foreach (SourceEntry e in tree.Enumerate())
        {
            int link = e.HardLinkId == 0 ? 0 : links.TryGetValue(e.HardLinkId, out int known) ? known
                : links[e.HardLinkId] = links.Count + 1;
            string content = e.Kind == EntryKind.File
                ? Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(ReadAll(tree.OpenFork(e, ForkKind.Data)))) : "";
            string fork = e.ResourceForkSize > 0 ? Convert.ToHexString(ReadAll(tree.OpenFork(e, ForkKind.Resource))) : "";
            string attributes =
                string.Join(';', e.Attributes.Select(a => $"{a.Name}={Convert.ToHexString(a.Value ?? ReadAll(tree.OpenAttribute(e, a)))}"));
            lines.Add($"{e.RelativePath}|{e.Kind}|{Convert.ToString(e.Mode, 8)}|{e.UserId}:{e.GroupId}|" +
                $"{e.DeviceMajor},{e.DeviceMinor}|{e.Size}|{content}|" +
                $"{e.ModifyTime.Nanoseconds}|{link}|{e.LinkTarget}|{Convert.ToHexString(e.FinderInfo ?? [])}|{fork}|{attributes}");
        }

        return [.. lines];
    }

    private static byte[] ReadAll(BlockStorage storage)
    {
        using (storage)
        {
            byte[] bytes = new byte[storage.Length];
            storage.Read(0, bytes);
            return bytes;
        }
    }

    // Not through links: the runtime's own recursion would show what is behind them.
    private static string Listing(string folder)
    {
        var lines = new List<string>();
        var pending = new Stack<string>([folder]);
        while (pending.TryPop(out string? at))
        {
            foreach (string path in Directory.GetFileSystemEntries(at))
            {
                string? target = new FileInfo(path).LinkTarget;
                lines.Add(Path.GetRelativePath(folder, path) + (target is null ? "" : " -> " + target));
                if (target is null && Directory.Exists(path)) pending.Push(path);
            }
        }

        return string.Join('\n', lines.Order(StringComparer.Ordinal));
    }

    [LinuxRootFact]
    public void Everything_comes_back_as_it_was()
    {
        using var folder = new TemporaryFolder();
        string script = """
            set -e
            cd "$1"; mkdir src; cd src
            mkdir plain empty "with space" sticky
            echo hello > plain/file; chown 1234:4321 plain/file; chmod 4751 plain/file
            : > plain/nothing
            echo x > $'line\nbreak'; echo c > a:b; echo e > $'\U1F600.txt'
            echo 255 > $(printf 'n%.0s' $(seq 255))
            echo nfc > $'nfc-\u00e9'; echo nfd > $'nfd-e\u0301'
            ln -s plain/file link; ln -s /no/such/place dangling; ln -s . sticky/here
            chown -h 77:88 dangling
            ln plain/file "with space/second name"; ln plain/file third
            mkfifo -m 640 pipe; mknod -m 600 null c 1 3; mknod -m 660 disk b 259 300
            python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
            truncate -s 5M sparse; printf data | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none
            setfattr -n user.small -v value plain/file; setfattr -n user.empty plain/nothing
            setfattr -n user.com.apple.FinderInfo -v 0x54455854747478740000000000000000000000000000000000000000000000ff plain/nothing
            setfattr -n user.com.apple.ResourceFork -v 0x000102030405 plain/nothing
            setfattr -n user.large -v 0x$(printf 'ab%.0s' $(seq 3000)) empty
            setfattr -n trusted.secret -v t "with space"
            setfacl -m u:1234:rwx,d:g:99:rx plain
            chmod 1777 sticky; chmod 2750 empty; chmod 000 $'nfc-\u00e9'
            find . -depth -exec touch -h -d '2001-02-03T04:05:06.123456789Z' {} +
            touch -d '1955-11-05T06:00:00.5Z' plain
            chown 55:66 .; chmod 751 .
            """;
        (int exit, _, string error) = Oracle.Run("bash", "-c", script, "-", folder.Path);
        Assert.True(exit == 0, error);
        using HostTree source = Scan(folder["src"]);
        TreeRestoreReport report = Restore(source, folder["out", "deeper"]);
        Assert.Empty(report.Warnings);
        Assert.Equal(source.EntryCount, report.Entries);
        using HostTree back = Scan(folder["out", "deeper"]);
        Assert.Equal(Describe(source), Describe(back));
        Assert.Contains("user:1234:rwx", Oracle.Run("getfacl", "-pcn", folder["out", "deeper", "plain"]).Output, StringComparison.Ordinal);
        Assert.True(
            int.Parse(Oracle.Run("stat", "-c", "%b", folder["out", "deeper", "sparse"]).Output,
            System.Globalization.CultureInfo.InvariantCulture) <= 64, "The hole was filled.");
    }

    [LinuxFact]
    public void A_tree_of_any_depth_comes_back()
    {
        using var folder = new TemporaryFolder();
        string name = new('d', 200);
        Oracle.RunForBytes(
            "bash", "-c",
            "cd \"$1\"; mkdir src; cd src; for i in $(seq 300); do mkdir $2; cd $2; echo $i > f; ln -s f l; done; chmod 500 ../f", "-",
            folder.Path, name);
        using HostTree source = Scan(folder["src"]);
        Assert.Empty(Restore(source, folder["out"]).Warnings);
        using HostTree back = Scan(folder["out"]);
        Assert.Equal(Describe(source), Describe(back));
    }

    [Fact]
    public void Names_that_would_lead_outside_are_left_out_and_named()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["victim"], "mine");
        Directory.CreateDirectory(folder["out"]);
        string outside = folder["absolute"];
        string[] bad = ["..", ".", "", "../victim", outside, "a/b", "nul\0", "half\uD800"];
        using var tree = new LiteralTree(
            [.. bad.Select(n => (LiteralTree.Node)LiteralTree.File(n, "evil")),
                .. bad.Select(n => (LiteralTree.Node)LiteralTree.Folder(n, LiteralTree.File("victim", "evil"))),
             .. bad.Select(n => (LiteralTree.Node)LiteralTree.Link(n, "/etc")), LiteralTree.File("good", "good")]);
        TreeRestoreReport report = Restore(tree, folder["out"], overwrite: true);
        Assert.Equal("good", Listing(folder["out"]));
        Assert.Equal("out\nout/good\nvictim", Listing(folder.Path));
        Assert.Equal("mine", File.ReadAllText(folder["victim"]));
        Assert.Equal(3 * bad.Length, report.Warnings.Count(w => w.Kind == ImagingWarningKind.SourceSkipped));
        Assert.Equal(1, report.Entries);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Nothing_is_written_through_a_link_of_the_tree_itself(bool overwrite)
    {
        // A link, and a folder of the same name with a file in it: whoever makes them in that order writes outside.
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["outside"]);
        using var tree = new LiteralTree(
            LiteralTree.Link("d", folder["outside"]), LiteralTree.Folder("d", LiteralTree.File("planted", "evil")),
            LiteralTree.Link("f", folder["outside", "created"]), LiteralTree.File("f", "evil"));
        TreeRestoreReport report = Restore(tree, folder["out"], overwrite);
        Assert.Empty(Directory.GetFileSystemEntries(folder["outside"]));
        Assert.Equal("d\nd/planted\nf", Listing(folder["out"]));
        Assert.Equal(2, report.Warnings.Count(w => w.Kind == ImagingWarningKind.SourceSkipped));
    }

    [Fact]
    public void Nothing_is_written_through_a_link_at_the_destination()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["outside"]);
        File.WriteAllText(folder["outside", "kept"], "mine");
        Directory.CreateDirectory(folder["out"]);
        Directory.CreateSymbolicLink(folder["out", "d"], folder["outside"]);
        File.CreateSymbolicLink(folder["out", "f"], folder["outside", "kept"]);
        using var tree = new LiteralTree(LiteralTree.Folder("d", LiteralTree.File("kept", "evil")), LiteralTree.File("f", "new"));
        TreeRestoreReport report = Restore(tree, folder["out"]);
        Assert.Equal((0, 2, 1), (report.Entries, report.Failed, report.Skipped));
        Assert.Equal("d -> " + folder["outside"] + "\nf -> " + folder["outside", "kept"], Listing(folder["out"]));

        // When asked to overwrite, the links themselves give way.
        Assert.Equal(3, Restore(tree, folder["out"], overwrite: true).Entries);
        Assert.Equal("d\nd/kept\nf", Listing(folder["out"]));
        Assert.Equal("mine", File.ReadAllText(folder["outside", "kept"]));
        Assert.Equal("new", File.ReadAllText(folder["out", "f"]));
    }

    [LinuxFact]
    public void A_folder_swapped_for_a_link_during_the_restore_is_not_entered()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["outside"]);
        bool swapped = false;
        void Swap(ImagingProgress progress)
        {
            if (swapped || !Directory.Exists(folder["out", "d"])) return;
            swapped = true;
            Directory.Delete(folder["out", "d"]);
            Directory.CreateSymbolicLink(folder["out", "d"], folder["outside"]);
        }

        // Both are made before either is entered; the file's progress is reported in between.
        using var tree = new LiteralTree(LiteralTree.Folder("d", LiteralTree.File("planted", "evil")), LiteralTree.File("e", "x"));
        TreeRestoreReport report = Restore(tree, folder["out"], observer: new RecordingObserver { WhenProgress = Swap });
        Assert.True(swapped);
        Assert.Equal((1, 2), (report.Entries, report.Failed));
        Assert.Contains(
            "Nothing was written through that", Assert.Single(report.Warnings, w => w.Path == "/d").Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(folder["outside"]));
    }

    [Fact]
    public void Twins_are_never_written_over_each_other()
    {
        using var folder = new TemporaryFolder();
        using var tree = new LiteralTree(
            LiteralTree.File("same", "first"), LiteralTree.File("same", "second"), LiteralTree.Folder("dir", LiteralTree.File("a", "1")),
            LiteralTree.Folder("dir", LiteralTree.File("b", "2")), LiteralTree.Link("same", "x"));
        TreeRestoreReport report = Restore(tree, folder["out"], overwrite: true);
        Assert.Equal("first", File.ReadAllText(folder["out", "same"]));
        Assert.Equal("dir\ndir/a\nsame", Listing(folder["out"]));
        Assert.Equal(
            3, report.Warnings.Count(
            w => w.Kind == ImagingWarningKind.SourceSkipped && w.Message.Contains("differing in case", StringComparison.Ordinal)));
    }

    [LinuxRootFact("vfat")]
    public void On_a_file_system_without_case_twins_and_impossible_names_are_reported()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["mnt"]);
        using (FileStream disk = File.Create(folder["fat"])) disk.SetLength(40 << 20);
        Require.That(
            Oracle.Find("mkfs.vfat") is not null && Oracle.Run("mkfs.vfat", folder["fat"]).ExitCode == 0
            && Oracle.Run("mount", "-o", "loop,shortname=mixed,utf8=1", folder["fat"], folder["mnt"]).ExitCode == 0,
            "A FAT volume cannot be made and mounted here.");
        try
        {
            HostVolume volume = HostPlatform.Current.GetVolume(folder["mnt"]);
            Assert.Equal(
                ("vfat", (long?)uint.MaxValue, (bool?)false), (volume.FileSystemType, volume.MaximumFileSize, volume.IsCaseSensitive));
            using var tree = new LiteralTree(
                LiteralTree.File("Readme", "first"), LiteralTree.File("README", "second"), LiteralTree.File("a:b", "c"),
                LiteralTree.Folder("Dir", LiteralTree.File("x", "1")), LiteralTree.Folder("dir", LiteralTree.File("x", "2")),
                LiteralTree.Link("l", "Readme"),
                LiteralTree.File("owned", "o", e =>
                    new() { Name = e, Kind = EntryKind.File, Mode = 0x1A4, UserId = 5, Attributes = [new("a", 1, [1])] }));
            TreeRestoreReport report = Restore(tree, folder["mnt", "out"], overwrite: true);
            Assert.Equal("Dir\nDir/x\nReadme\nowned", Listing(folder["mnt", "out"]));
            Assert.Equal("first", File.ReadAllText(folder["mnt", "out", "Readme"]));
            Assert.Equal("1", File.ReadAllText(folder["mnt", "out", "Dir", "x"]));
            Assert.Equal(4, report.Warnings.Count(w => w.Kind == ImagingWarningKind.SourceSkipped));
            Assert.Contains(report.Warnings, w =>
                w.Kind == ImagingWarningKind.MetadataLost && w.Message.Contains("extended attributes", StringComparison.Ordinal));
        }
        finally
        {
            Oracle.Run("umount", folder["mnt"]);
        }
    }

    [Fact]
    public void What_exists_is_kept_unless_overwriting_is_asked_for()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["out", "d"]);
        File.WriteAllText(folder["out", "d", "old"], "old");
        File.WriteAllText(folder["out", "d", "f"], "mine");
        using var tree = new LiteralTree(LiteralTree.Folder("d", LiteralTree.File("f", "theirs")));
        TreeRestoreReport kept = Restore(tree, folder["out"]);
        Assert.Equal((1, 0, 1), (kept.Entries, kept.Failed, kept.Skipped));
        Assert.Equal("/d/f", Assert.Single(kept.Warnings).Path);
        Assert.Equal("mine", File.ReadAllText(folder["out", "d", "f"]));
        Restore(tree, folder["out"], overwrite: true);
        Assert.Equal("theirs", File.ReadAllText(folder["out", "d", "f"]));
        Assert.Equal("old", File.ReadAllText(folder["out", "d", "old"]));

        using var other = new LiteralTree(LiteralTree.File("d", "a file where a folder is"));
        Assert.Equal(1, Restore(other, folder["out"], overwrite: true).Failed);
        Assert.Equal("old", File.ReadAllText(folder["out", "d", "old"]));
        Assert.Equal(ImageErrorId.DestinationExists, Assert.Throws<ImageException>(() => Restore(other, folder["out", "d", "f"])).Id);
    }

    [LinuxFact]
    public void Folders_that_were_there_keep_their_metadata()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["out", "d"]);
        Oracle.RunForBytes("chmod", "711", folder["out"], folder["out", "d"]);
        using var tree = new LiteralTree(LiteralTree.Folder("d", LiteralTree.File("f", "")));
        Restore(tree, folder["out"]);
        Assert.Equal("711\n711", Oracle.Run("stat", "-c", "%a", folder["out"], folder["out", "d"]).Output.Trim());
        Restore(tree, folder["out"], overwrite: true);
        Assert.Equal("711\n755", Oracle.Run("stat", "-c", "%a", folder["out"], folder["out", "d"]).Output.Trim());
    }

    [Fact]
    public void Patterns_take_what_they_match_with_all_in_it_and_the_folders_on_the_way()
    {
        using var folder = new TemporaryFolder();
        using var tree = new LiteralTree(
            LiteralTree.Folder(
            "a", LiteralTree.Folder("b", LiteralTree.File("x", "1"), LiteralTree.File("y.txt", "2")), LiteralTree.File("z", "3")),
            LiteralTree.Folder("c", LiteralTree.File("w.txt", "4"), LiteralTree.Link("l.txt", "w.txt")), LiteralTree.Folder("e"));
        Assert.Equal(7, Restore(tree, folder["one"], include: ["a/b", "*.txt"]).Entries);
        Assert.Equal("a\na/b\na/b/x\na/b/y.txt\nc\nc/l.txt -> w.txt\nc/w.txt", Listing(folder["one"]));
        Assert.Equal(
            ImageErrorId.InvalidArgument, Assert.Throws<ImageException>(() => Restore(tree, folder["two"], include: ["nothing*"])).Id);
        Assert.False(Path.Exists(folder["two"]));
    }

    [Fact]
    public void A_file_that_cannot_be_read_is_named_and_leaves_nothing()
    {
        using var folder = new TemporaryFolder();
        using var tree = new LiteralTree(
            LiteralTree.Damaged("closed", opens: false), LiteralTree.Damaged("torn", opens: true), LiteralTree.File("whole", "fine"));
        TreeRestoreReport report = Restore(tree, folder["out"]);
        Assert.Equal("whole", Listing(folder["out"]));
        Assert.Equal(["/closed", "/torn"], report.Warnings.Select(w => w.Path));
    }

    [Fact]
    public void Cancellation_removes_the_file_that_was_being_written()
    {
        using var folder = new TemporaryFolder();
        using var cancellation = new CancellationTokenSource();
        using var tree = new LiteralTree(LiteralTree.File("big", new string('x', 3 << 20)));
        Assert.Throws<OperationCanceledException>(() =>
            Restore(tree, folder["out"], observer: new RecordingObserver { WhenProgress = _ => cancellation.Cancel() },
                cancellation: cancellation.Token));
        Assert.Empty(Directory.GetFileSystemEntries(folder["out"]));
    }

    [Fact]
    public void What_is_to_be_replaced_stays_until_the_new_is_whole()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["out"]);
        foreach (string name in (string[])["torn", "closed", "big"]) File.WriteAllText(folder["out", name], "mine");
        using var torn = new LiteralTree(LiteralTree.Damaged("closed", opens: false), LiteralTree.Damaged("torn", opens: true));
        Assert.Equal(0, Restore(torn, folder["out"], overwrite: true).Entries);
        using var cancellation = new CancellationTokenSource();
        using var big = new LiteralTree(LiteralTree.File("big", new string('x', 3 << 20)));
        Assert.Throws<OperationCanceledException>(() => Restore(
            big, folder["out"], overwrite: true, observer: new RecordingObserver { WhenProgress = _ => cancellation.Cancel() },
                cancellation: cancellation.Token));
        Assert.Equal("big\nclosed\ntorn", Listing(folder["out"]));
        foreach (string name in (string[])["torn", "closed", "big"]) Assert.Equal("mine", File.ReadAllText(folder["out", name]));
    }

    [LinuxFact]
    public void Hard_links_are_replaced_by_hard_links()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["source"]);
        File.WriteAllText(folder["source", "a"], "new");
        Assert.Equal(0, Oracle.Run("ln", folder["source", "a"], folder["source", "b"]).ExitCode);
        Directory.CreateDirectory(folder["out"]);
        File.WriteAllText(folder["out", "a"], "old");
        Assert.Equal(0, Oracle.Run("ln", folder["out", "a"], folder["out", "b"]).ExitCode);
        using HostTree tree = Scan(folder["source"]);
        Assert.Equal(2, Restore(tree, folder["out"], overwrite: true).Entries);
        Assert.Equal("a\nb", Listing(folder["out"]));
        Assert.Equal("2 2", Oracle.Run("stat", "-c", "%h", folder["out", "a"], folder["out", "b"]).Output.Trim().Replace('\n', ' '));
        Assert.Equal("new", File.ReadAllText(folder["out", "b"]));
    }

    [LinuxFact]
    public void A_set_user_bit_comes_back_only_with_its_owner()
    {
        using var folder = new TemporaryFolder();
        using var tree =
            new LiteralTree(
                LiteralTree.File("tool", "x", n => new() { Name = n, Kind = EntryKind.File, Mode = 0xDED, UserId = 4242, GroupId = 4242 }));
        TreeRestoreReport report = Restore(tree, folder["out"], platform: new NoOwnersPlatform());
        Assert.Equal("755", Oracle.Run("stat", "-c", "%a", folder["out", "tool"]).Output.Trim());
        ImagingWarning warning = Assert.Single(report.Warnings);
        Assert.Equal((ImagingWarningKind.MetadataLost, "/tool"), (warning.Kind, warning.Path));
        Assert.Contains("owner", warning.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_access_control_list_is_set_after_everything_that_it_may_forbid()
    {
        using var folder = new TemporaryFolder();
        byte[] list = new byte[44];
        using var tree = new LiteralTree(LiteralTree.File("guarded", "x", n => new()
        {
            Name = n, Kind = EntryKind.File, Mode = 0x1A4, Flags = 2, BackupTime = TestTree.SomeTime, ModifyTime = TestTree.SomeTime,
            Attributes = [new("aaa", 1, [1]), new(HostAttributes.AccessListName, list.Length, list), new("zzz", 1, [2])],
        }));
        var calls = new List<string>();
        Restore(tree, folder["out"], platform: new NotingPlatform(calls));
        Assert.Equal(["aaa", "zzz", "mode", $"times {TestTree.SomeTime}", HostAttributes.AccessListName, "flags of guarded"], calls);
    }

    // A Mac gives a file that is locked by a flag no further name; links and nodes have flags like anything else.
    [LinuxFact]
    public void Flags_are_set_after_the_last_name_of_a_file_and_on_links_and_nodes_too()
    {
        using var folder = new TemporaryFolder();
        SourceEntry Locked(string name) => new() { Name = name, Kind = EntryKind.File, Mode = 0x1A4, Flags = 2, HardLinkId = 1 };
        using var tree = new LiteralTree(
            LiteralTree.File("a", "", Locked),
            new(new() { Name = "link", Kind = EntryKind.SymbolicLink, LinkTarget = "a", Flags = 0x8000 }, [], null),
            new(new() { Name = "pipe", Kind = EntryKind.Fifo, Mode = 0x1A4, Flags = 0x8000 }, [], null),
            LiteralTree.File("twin", "", Locked));
        var calls = new List<string>();
        Assert.Empty(Restore(tree, folder["out"], platform: new NotingPlatform(calls)).Warnings);
        Assert.Equal(["flags of pipe", "name", "flags of a", "flags of link"],
            calls.Where(c => c == "name" || c.StartsWith("flags", StringComparison.Ordinal)));
    }

    [Fact]
    public void The_portable_folder_of_Windows_restores_names_links_and_contents()
    {
        // Its code is the runtime's own and runs anywhere; the rules for names are Windows' wherever it runs.
        using var folder = new TemporaryFolder();
        using var tree = new LiteralTree(
            LiteralTree.Folder("d", LiteralTree.File("f", "1"), LiteralTree.Link("l", "f")), LiteralTree.File("con.txt", "x"),
            LiteralTree.File("a:b", "x"),
            LiteralTree.File("dot.", "x"), LiteralTree.File(@"back\slash", "x"), LiteralTree.File("fine", "x"));
        TreeRestoreReport report = Restore(tree, folder["out"], platform: new WindowsPlatform());
        Assert.Equal("d\nd/f\nd/l -> f\nfine", Listing(folder["out"]).Replace('\\', '/'));
        Assert.Equal(4, report.Warnings.Count(w => w.Kind == ImagingWarningKind.SourceSkipped));
    }

    [Theory]
    [InlineData("CON", false)]
    [InlineData("com1.txt", false)]
    [InlineData("LPT¹", false)]
    [InlineData("com10", true)]
    [InlineData("console", true)]
    [InlineData("a?", false)]
    [InlineData("a ", false)]
    [InlineData("a\u0001", false)]
    [InlineData("..", false)]
    [InlineData("été", true)]
    public void Windows_rules_for_names(string name, bool allowed) =>
        Assert.Equal(allowed, WindowsPlatform.ObjectionToWindowsName(name) is null);

    /// <summary>Linux, but nobody may give files away.</summary>
    private sealed class NoOwnersPlatform : IHostPlatform
    {
        public bool IsPrivileged => false;

        public HostVolume GetVolume(string path) => HostPlatform.Current.GetVolume(path);

        public HostStat GetStat(string path) => HostPlatform.Current.GetStat(path);

        public HostDirectory OpenDirectory(string path) => new ForwardingDirectory(HostPlatform.Current.OpenDirectory(path));

        public string? ObjectionToName(string name) => HostPlatform.Current.ObjectionToName(name);

        private sealed class ForwardingDirectory(HostDirectory inner) : DirectoryDecorator(inner)
        {
            public override void SetOwner(HostNode node, uint user, uint group) =>
                throw new HostException(HostFailure.AccessDenied, "Operation not permitted.");

            protected override HostDirectory Decorate(HostDirectory folder) => new ForwardingDirectory(folder);
        }
    }

    /// <summary>This machine, where what is set is noted only, and which has access control lists as a Mac has them.</summary>
    private sealed class NotingPlatform(List<string> calls) : IHostPlatform
    {
        public bool IsPrivileged => false;

        public HostVolume GetVolume(string path) => HostPlatform.Current.GetVolume(path);

        public HostStat GetStat(string path) => HostPlatform.Current.GetStat(path);

        public HostDirectory OpenDirectory(string path) => new NotingDirectory(HostPlatform.Current.OpenDirectory(path), calls);

        public string? ObjectionToName(string name) => HostPlatform.Current.ObjectionToName(name);

        private sealed class NotingDirectory(HostDirectory inner, List<string> calls) : DirectoryDecorator(inner)
        {
            private readonly HostDirectory _inner = inner;

            public override bool IsAccessList(string attribute) => attribute == HostAttributes.AccessListName;

            public override void SetOwner(HostNode node, uint user, uint group)
            {
            }

            public override void SetAttribute(HostNode node, string attribute, ReadOnlySpan<byte> value) => Note(node, attribute);

            public override void SetMode(HostNode node, uint mode) => Note(node, "mode");

            public override void SetTimes(HostNode node, in HostStat stat) => Note(node, $"times {stat.BackupTime}");

            public override void SetFlags(HostNode node, uint flags) => Note(node, $"flags of {node.Name}");

            public override void CreateLink(string name, HostDirectory folder, string existing)
            {
                calls.Add("name");
                base.CreateLink(name, Inner(folder), existing);
            }

            protected override HostDirectory Decorate(HostDirectory folder) => new NotingDirectory(folder, calls);

            private static HostDirectory Inner(HostDirectory folder) => folder is NotingDirectory noting ? noting._inner : folder;

            private void Note(HostNode node, string what)
            {
                if (node.Name != ".") calls.Add(what);
            }
        }
    }
}
