using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Restoring;
using CCImage.Sources;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Tests.Restoring;

/// <summary>What cannot be restored is counted, the rest goes on, and what ends a job leaves order.</summary>
public sealed class RestoringInPartTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private TreeRestoreReport Restore(
        SourceTree tree, bool overwrite = false, IHostPlatform? platform = null, IImagingObserver? observer = null,
        RestoreOwnership? ownership = null, bool untrusted = false, Func<bool>? isGone = null, string[]? items = null, string to = "out",
        CancellationToken cancellation = default) =>
        TreeRestorer.Restore(
            tree,
            new()
            {
                DestinationPath = _folder[to], Overwrite = overwrite, Ownership = ownership, IsUntrusted = untrusted, Items = items,
                IsSourceGone = isGone ?? (() => true),
            },
            platform ?? HostPlatform.Current, observer ?? SilentObserver.Instance, cancellation);

    private string ModeOf(params string[] path) => Oracle.Run("stat", "-c", "%a", _folder[path]).Output.Trim();

    [LinuxFact]
    public void One_entry_that_the_host_refuses_is_named_and_the_rest_goes_on()
    {
        using var tree = new LiteralTree(
            LiteralTree.File("a", "1"), LiteralTree.File("*star?", "2"),
            LiteralTree.Folder("closed", LiteralTree.File("x", "3"), LiteralTree.File("y", "4")),
            LiteralTree.Folder("d", LiteralTree.File("z", "5")),
            new(new() { Name = "disk", Kind = EntryKind.BlockDevice, DeviceMajor = 254 }, [], null), LiteralTree.File("b", "6"));
        var refusing = new RefusingPlatform(name => name switch
        {
            "*star?" => new(HostFailure.BadName, "Invalid argument."), "disk" or "closed" =>
                new(HostFailure.AccessDenied, "Operation not permitted."), _ => null,
        });
        TreeRestoreReport report = Restore(tree, platform: refusing);
        Assert.Equal((4, 5, 0), (report.Entries, report.Failed, report.Skipped));
        Assert.Equal(["/*star?", "/closed", "/disk"], report.Warnings.Select(w => w.Path));
        Assert.Contains("2 entries in it are missing as well", report.Warnings[1].Message, StringComparison.Ordinal);
        Assert.Equal("6", File.ReadAllText(_folder["out", "b"]));
        Assert.Equal(("755", "755"), (ModeOf("out"), ModeOf("out", "d")));
        ImageException? shortfall = ImageRestore.ShortfallOf(new() { Path = "/i.dmg", DestinationPath = _folder["out"] }, report);
        Assert.Equal((ImageErrorId.RestoredInPart, "/i.dmg"), (shortfall?.Id, shortfall?.Path));
    }

    [LinuxFact]
    public void A_full_destination_ends_the_job_and_leaves_folders_with_their_modes()
    {
        using var tree =
            new LiteralTree(LiteralTree.Folder("d", LiteralTree.File("a", "1"), LiteralTree.File("full", "2")), LiteralTree.Folder("e"));
        var refusing = new RefusingPlatform(name => name == "full" ? new(HostFailure.NoSpace, "No space left on device.") : null);
        Assert.Equal(ImageErrorId.DestinationFull, Assert.Throws<ImageException>(() => Restore(tree, platform: refusing)).Id);
        Assert.Equal(("755", "755", "755"), (ModeOf("out"), ModeOf("out", "d"), ModeOf("out", "e")));
        Assert.Equal("1", File.ReadAllText(_folder["out", "d", "a"]));
    }

    [LinuxFact]
    public void A_stop_leaves_folders_with_their_modes()
    {
        using var stop = new CancellationTokenSource();
        using var tree =
            new LiteralTree(LiteralTree.Folder("d", LiteralTree.File("a", "1"), LiteralTree.File("b", "2")), LiteralTree.Link("l", "d"));
        Assert.ThrowsAny<OperationCanceledException>(
            () => Restore(tree, observer: new RecordingObserver { WhenProgress = _ => stop.Cancel() }, cancellation: stop.Token));
        Assert.Equal(("755", "755"), (ModeOf("out"), ModeOf("out", "d")));
        Assert.False(Path.Exists(_folder["out", "l"]));
    }

    [Fact]
    public void An_image_that_is_gone_ends_the_job_and_one_place_that_cannot_be_read_does_not()
    {
        LiteralTree Tree() => new(
            LiteralTree.File("a", "1"),
            new(new() { Name = "b", Kind = EntryKind.File, Mode = 0x1A4, Size = 1 }, [], () =>
                throw new ImageException(ImageErrorId.ImageUnreadable, "Input/output error.")),
            LiteralTree.File("c", "3"));
        using LiteralTree gone = Tree(), scratched = Tree();
        Assert.Equal(ImageErrorId.ImageUnreadable, Assert.Throws<ImageException>(() => Restore(gone)).Id);
        TreeRestoreReport report = Restore(scratched, overwrite: true, isGone: () => false);
        Assert.Equal((2, 1), (report.Entries, report.Failed));
    }

    [LinuxRootFact]
    public void A_folder_that_is_swapped_before_the_second_pass_is_not_touched()
    {
        // The one whose owner and set-group bit another folder would get is there as an empty place of the victim's.
        Directory.CreateDirectory(_folder["victim"]);
        Assert.Equal(0, Oracle.Run("chmod", "700", _folder["victim"]).ExitCode);
        using var tree = new LiteralTree(
            new LiteralTree.Node(
            new() { Name = "d", Kind = EntryKind.Directory, Mode = 0x5FD, GroupId = 8 }, [LiteralTree.File("x", "1")], null),
            LiteralTree.Folder("e", LiteralTree.File("last", "2")));
        void Swap(ImagingProgress progress)
        {
            if (!File.Exists(_folder["out", "e", "last"]) || Directory.Exists(_folder["moved"])) return;
            Directory.Move(_folder["out", "d"], _folder["moved"]);
            Directory.Move(_folder["victim"], _folder["out", "d"]);
        }

        TreeRestoreReport report = Restore(tree, observer: new RecordingObserver { WhenProgress = Swap });
        Assert.Equal((2, 2), (report.Entries, report.Failed));
        Assert.Equal("700 0 0", Oracle.Run("stat", "-c", "%a %u %g", _folder["out", "d"]).Output.Trim());
        Assert.Equal("/d", Assert.Single(report.Warnings).Path);
    }

    [LinuxFact]
    public void A_folder_that_is_not_the_one_that_was_made_is_not_written_into()
    {
        // Swapped at once for a folder that somebody filled: between making and opening.
        Directory.CreateDirectory(_folder["theirs", "inside"]);
        using var tree = new LiteralTree(LiteralTree.Folder("d", LiteralTree.File("x", "1")), LiteralTree.File("y", "2"));
        var swapping = new SwappingPlatform("d", () =>
        {
            Directory.Delete(_folder["out", "d"]);
            Directory.Move(_folder["theirs"], _folder["out", "d"]);
        });
        TreeRestoreReport report = Restore(tree, platform: swapping);
        Assert.Equal((1, 2), (report.Entries, report.Failed));
        Assert.Equal(["inside"], Directory.GetFileSystemEntries(_folder["out", "d"]).Select(Path.GetFileName));
    }

    [LinuxFact]
    public void New_folders_are_closed_to_others_until_they_have_their_modes()
    {
        var seen = new List<string>();
        using var tree = new LiteralTree(LiteralTree.Folder("d", LiteralTree.File("x", "1")));
        Restore(tree,
            observer: new RecordingObserver { WhenProgress = _ =>
            seen.AddRange([ModeOf("out"), ModeOf("out", "d"), ModeOf("out", "d", "x")]) });
        Assert.Equal(["700", "700", "600"], seen);
        Assert.Equal(("755", "755"), (ModeOf("out"), ModeOf("out", "d")));
    }

    [LinuxFact]
    public void A_file_whose_content_was_lost_is_never_put_over_another()
    {
        byte[] mark = new byte[32];
        LostContentMark.Apply(mark);
        SourceEntry Marked(string name) => new() { Name = name, Kind = EntryKind.File, Mode = 0x1A4, Size = 4, FinderInfo = mark };
        using var tree =
            new LiteralTree(
                LiteralTree.File("good", "zero", Marked), LiteralTree.File("new", "zero", Marked), LiteralTree.File("other", "o"));
        Directory.CreateDirectory(_folder["out"]);
        File.WriteAllText(_folder["out", "good"], "the good one");
        TreeRestoreReport report = Restore(tree, overwrite: true);
        Assert.Equal((1, 2, 0), (report.Entries, report.Failed, report.Skipped));
        Assert.Equal(["/good", "/new"], report.Warnings.Where(w => w.Kind == ImagingWarningKind.ContentLost).Select(w => w.Path));
        Assert.Equal("the good one", File.ReadAllText(_folder["out", "good"]));
        Assert.Equal("zero", File.ReadAllText(_folder["out", "new"]));
        Assert.True(BackupImageItem.From("/i", tree.Root.Children[0]).IsContentLost);
        Assert.False(BackupImageItem.From("/i", tree.Root.Children[2]).IsContentLost);
    }

    [Fact]
    public void What_does_not_fit_is_refused_before_anything_is_written()
    {
        const long piece = 1L << 30;
        using var data =
            new TestTree { TestTree.File("a", piece, () => new Pattern(piece, 1)), TestTree.File("b", piece, () => new Pattern(piece, 1)) };
        using var zeros =
            new TestTree { TestTree.File("a", piece, () => new Pattern(piece, 0)), TestTree.File("b", piece, () => new Pattern(piece, 0)) };
        var small = new SmallPlatform(piece + (piece / 2));
        Assert.Equal(ImageErrorId.DestinationFull, Assert.Throws<ImageException>(() => Restore(data, platform: small)).Id);
        Assert.False(Path.Exists(_folder["out"]));

        // All of it zeros, as an encrypted image gives its holes: nothing will be written.
        TreeRestoreReport report = Restore(zeros, platform: small);
        Assert.Equal((2, 0), (report.Entries, report.Bytes));
        Assert.Equal(piece, new FileInfo(_folder["out", "a"]).Length);

        // One file with two names is written once.
        using var linked = new TestTree
        {
            TestTree.File("a", piece, () => new Pattern(piece, 0), new() { HardLinkId = 5 }),
                TestTree.File("b", piece, () => new Pattern(piece, 0), new() { HardLinkId = 5 }),
        };
        Assert.Equal(2, Restore(linked, platform: small, to: "linked").Entries);
    }

    [LinuxFact]
    public void Long_runs_of_zeros_become_holes()
    {
        byte[] content = new byte[8 << 20];
        content[(4 << 20) + 100] = 7;
        content[^1] = 9;
        using var tree = new TestTree { TestTree.File("f", content) };
        TreeRestoreReport report = Restore(tree);
        Assert.Equal(content, File.ReadAllBytes(_folder["out", "f"]));
        Assert.Equal(2 * ContentRestorer.HoleSize, report.Bytes);
        Assert.InRange(
            long.Parse(Oracle.Run("stat", "-c", "%b", _folder["out", "f"]).Output, System.Globalization.CultureInfo.InvariantCulture) * 512,
            1, 256 << 10);
    }

    [Fact]
    public void A_destination_that_cannot_be_written_is_refused_at_once()
    {
        Directory.CreateDirectory(_folder["out"]);
        using var tree = new LiteralTree(LiteralTree.Folder("d"));
        var refusing =
            new RefusingPlatform(
                name => name.EndsWith(".partial", StringComparison.Ordinal) ? new(HostFailure.ReadOnly, "Read-only file system.") : null);
        Assert.Equal(ImageErrorId.DestinationUnwritable, Assert.Throws<ImageException>(() => Restore(tree, platform: refusing)).Id);
        Assert.Empty(Directory.GetFileSystemEntries(_folder["out"]));
    }

    [LinuxRootFact]
    public void An_untrusted_image_gives_nobody_rights()
    {
        byte[] capability = Convert.FromHexString("0100000280" + new string('0', 30));
        SourceEntry Powerful(string name) => new()
        {
            Name = name, Kind = EntryKind.File, Mode = 0xDED, UserId = 65534, GroupId = 65534, Flags = 0x20002,
            Attributes = [new("security.capability", 20, capability), new("trusted.overlay.opaque", 1, [0x79]), new("note", 1, [1])],
        };
        using var tree = new LiteralTree(
            LiteralTree.File("suid", "x", Powerful),
            new(new() { Name = "disk", Kind = EntryKind.BlockDevice, DeviceMajor = 254, Mode = 0x1B6 }, [], null));
        TreeRestoreReport report = Restore(tree, untrusted: true);
        Assert.Equal((1, 0, 1), (report.Entries, report.Failed, report.Excluded));
        Assert.Equal("755 0", Oracle.Run("stat", "-c", "%a %u", _folder["out", "suid"]).Output.Trim());
        Assert.Equal("user.note", Oracle.Run("getfattr", "-m", "-", "--absolute-names", _folder["out", "suid"]).Output.Split('\n')[1]);
        Assert.Equal(["suid"], Directory.GetFileSystemEntries(_folder["out"]).Select(Path.GetFileName));

        using var again =
            new LiteralTree(
                LiteralTree.File(
                "suid", "x", n =>
                new() { Name = n, Kind = EntryKind.File, Mode = 0xDED, UserId = 65534,
                    Attributes = [new("security.capability", 20, capability)] }));
        Restore(again, ownership: RestoreOwnership.Current, to: "current");
        Assert.Equal("755 0", Oracle.Run("stat", "-c", "%a %u", _folder["current", "suid"]).Output.Trim());
        Assert.Empty(Oracle.Run("getfattr", "-m", "-", "--absolute-names", _folder["current", "suid"]).Output);
        Restore(again, to: "keep");
        Assert.Equal("6755 65534", Oracle.Run("stat", "-c", "%a %u", _folder["keep", "suid"]).Output.Trim());
    }

    [LinuxFact]
    public void An_ordinary_user_gets_no_set_user_bits_by_default()
    {
        (uint user, uint group) = OwnIds();
        SourceEntry Tool(string name) => new() { Name = name, Kind = EntryKind.File, Mode = 0xDED, UserId = user, GroupId = group };
        using var tree = new LiteralTree(LiteralTree.File("tool", "x", Tool));
        var ordinary = new RefusingPlatform(_ => null);
        TreeRestoreReport report = Restore(tree, platform: ordinary);
        Assert.Equal(("755", 1), (ModeOf("out", "tool"), report.MetadataLost));
        Assert.Contains("set-user", Assert.Single(report.Warnings).Message, StringComparison.Ordinal);
        Restore(tree, platform: ordinary, ownership: RestoreOwnership.Keep, to: "keep");
        Assert.Equal("6755", ModeOf("keep", "tool"));
    }

    [LinuxFact]
    public void An_ordinary_users_folders_are_opened_for_the_time_of_the_restore_and_closed_again()
    {
        // Root could write there anyhow: what is seen is that the modes are opened, and put back.
        Directory.CreateDirectory(_folder["out", "d", "e"]);
        Assert.Equal(0, Oracle.Run("chmod", "555", _folder["out", "d", "e"], _folder["out", "d"], _folder["out"]).ExitCode);
        var seen = new List<string>();
        using var tree =
            new LiteralTree(LiteralTree.Folder("d", LiteralTree.Folder("e", LiteralTree.File("f", "1")), LiteralTree.Link("l", "e")));
        var observer =
            new RecordingObserver { WhenProgress = _ => seen.AddRange([ModeOf("out"), ModeOf("out", "d"), ModeOf("out", "d", "e")]) };
        TreeRestoreReport report = Restore(tree, platform: new RefusingPlatform(_ => null), observer: observer);
        string[] after = [ModeOf("out"), ModeOf("out", "d"), ModeOf("out", "d", "e")];
        Assert.Equal(0, Oracle.Run("chmod", "-R", "u+w", _folder["out"]).ExitCode);
        Assert.Equal(["755", "755", "755"], seen);
        Assert.Equal(["555", "555", "555"], after);
        Assert.Equal((4, 0), (report.Entries, report.Failed));
    }

    [LinuxRootFact]
    public void Flags_that_Linux_has_come_back()
    {
        using var tree = new LiteralTree(
            LiteralTree.File("immutable", "x", n => new() { Name = n, Kind = EntryKind.File, Mode = 0x1A4, Flags = 0x20000 }),
            new LiteralTree.Node(new() { Name = "d", Kind = EntryKind.Directory, Mode = 0x1ED, Flags = 0x40001 }, [], null));
        TreeRestoreReport report = Restore(tree);
        string flags = Oracle.Run("lsattr", "-d", _folder["out", "immutable"], _folder["out", "d"]).Output;
        Oracle.Run("chattr", "-i", _folder["out", "immutable"]);
        Oracle.Run("chattr", "-a", _folder["out", "d"]);
        Assert.Empty(report.Warnings);
        string[] lines = flags.Split('\n');
        Assert.Contains('i', lines[0].Split(' ')[0]);
        Assert.Contains('a', lines[1].Split(' ')[0]);
        Assert.Contains('d', lines[1].Split(' ')[0]);
    }

    [LinuxFact]
    public void Items_are_taken_as_they_are_written_and_alone()
    {
        using var tree = new LiteralTree(
            LiteralTree.Folder("a*", LiteralTree.File("[x]", "1"), LiteralTree.File("y", "2")),
            LiteralTree.Folder("ab", LiteralTree.File("x", "3")),
            LiteralTree.File("?", "4"), LiteralTree.File("z", "5"));
        TreeRestoreReport report = Restore(tree, items: ["/a*/[x]", "/?", "/ab"]);
        Assert.Equal(
            ["?", "a*", "a*/[x]", "ab"],
            Directory.GetFileSystemEntries(_folder["out"], "*", SearchOption.AllDirectories)
                .Select(p => Path.GetRelativePath(_folder["out"], p)).Order(StringComparer.Ordinal));
        Assert.Equal((4, 3), (report.Entries, report.Excluded));
        Assert.Contains("without what lies in them", Assert.Single(report.Warnings).Message, StringComparison.Ordinal);
        Assert.Throws<ImageException>(() => Restore(tree, items: ["/nothing"], to: "none"));
    }

    [LinuxFact]
    public void A_folder_that_is_there_gets_the_times_of_what_is_restored_into_it()
    {
        Directory.CreateDirectory(_folder["out"]);
        using var tree = new TestTree { TestTree.File("f", "x") };
        Restore(tree);
        Assert.Equal(TestTree.SomeTime.ToDateTimeOffset().UtcDateTime, Directory.GetLastWriteTimeUtc(_folder["out"]));
    }

    [Theory]
    [InlineData(@"C:\a\b", @"\\?\C:\a\b")]
    [InlineData(@"C:/a/b", @"\\?\C:\a\b")]
    [InlineData(@"\\server\share\a", @"\\?\UNC\server\share\a")]
    [InlineData(@"\\?\C:\a", @"\\?\C:\a")]
    public void Long_paths_of_Windows_get_their_prefix(string path, string expected) => Assert.Equal(expected, WindowsCalls.LongPath(path));

    [Theory]
    [InlineData("plain ünï \U0001F600 a\u200Db", "plain ünï \U0001F600 a\u200Db")]
    [InlineData("\u001B]0;t\u0007", @"\u001B]0;t\u0007")]
    [InlineData("a\u009Bb\u202Ec\u2028d\ne", @"a\u009Bb\u202Ec\u2028d\u000Ae")]
    public void Control_characters_are_shown_by_their_numbers(string text, string shown)
    {
        Assert.Equal(shown, DisplayText.Escape(text));
        Assert.Equal(shown + ": " + shown, new ImagingWarning(ImagingWarningKind.Advice, text, text).ToString());
        Assert.Equal(shown + ": " + shown, new ImageException(ImageErrorId.ImageDamaged, text, text).Message);
        Assert.Equal(text, new ImageException(ImageErrorId.ImageDamaged, text, text).Path);
    }

    private (uint User, uint Group) OwnIds()
    {
        File.WriteAllText(_folder["own"], "");
        HostStat stat = HostPlatform.Current.GetStat(_folder["own"]);
        return (stat.UserId, stat.GroupId);
    }

    /// <summary>Content of one byte's value; all of it counts as stored.</summary>
    private sealed class Pattern(long length, byte value) : BlockStorage
    {
        public override long Length => length;

        protected override void ReadCore(long offset, Span<byte> buffer) => buffer.Fill(value);
    }

    private abstract class DecoratedPlatform : IHostPlatform
    {
        public virtual bool IsPrivileged => HostPlatform.Current.IsPrivileged;

        public virtual HostVolume GetVolume(string path) => HostPlatform.Current.GetVolume(path);

        public HostStat GetStat(string path) => HostPlatform.Current.GetStat(path);

        public HostDirectory OpenDirectory(string path) => Decorate(HostPlatform.Current.OpenDirectory(path));

        public string? ObjectionToName(string name) => HostPlatform.Current.ObjectionToName(name);

        protected virtual HostDirectory Decorate(HostDirectory folder) => folder;
    }

    /// <summary>A volume with little room.</summary>
    private sealed class SmallPlatform(long free) : DecoratedPlatform
    {
        public override HostVolume GetVolume(string path) => base.GetVolume(path) with { FreeBytes = free, CapacityBytes = 1L << 40 };
    }

    /// <summary>Refuses to make some names; no root.</summary>
    private sealed class RefusingPlatform(Func<string, HostException?> refuse) : DecoratedPlatform
    {
        public override bool IsPrivileged => false;

        protected override HostDirectory Decorate(HostDirectory folder) => new Folder(folder, refuse);

        private sealed class Folder(HostDirectory inner, Func<string, HostException?> refuse) : DirectoryDecorator(inner)
        {
            public override void CreateDirectory(string name)
            {
                if (refuse(name) is { } e) throw e;
                base.CreateDirectory(name);
            }

            public override SafeFileHandle CreateFile(string name) => refuse(name) is { } e ? throw e : base.CreateFile(name);

            public override void CreateNode(string name, in HostStat stat)
            {
                if (refuse(name) is { } e) throw e;
                base.CreateNode(name, stat);
            }

            protected override HostDirectory Decorate(HostDirectory folder) => new Folder(folder, refuse);
        }
    }

    /// <summary>Somebody acts as soon as a folder is made.</summary>
    private sealed class SwappingPlatform(string name, Action swap) : DecoratedPlatform
    {
        protected override HostDirectory Decorate(HostDirectory folder) => new Folder(folder, name, swap);

        private sealed class Folder(HostDirectory inner, string swapped, Action swap) : DirectoryDecorator(inner)
        {
            public override void CreateDirectory(string name)
            {
                base.CreateDirectory(name);
                if (name == swapped) swap();
            }

            protected override HostDirectory Decorate(HostDirectory folder) => new Folder(folder, swapped, swap);
        }
    }
}
