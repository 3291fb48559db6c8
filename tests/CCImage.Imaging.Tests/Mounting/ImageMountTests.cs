using System.Text;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Mounting;
using CCImage.Platform;
using CCImage.Tests.Encryption;

namespace CCImage.Tests.Mounting;

/// <summary>Everything of mounting but macOS itself, whose programs are stood in for.</summary>
public sealed class ImageMountTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(false, false, false, "hdiutil attach -plist -noautoopen /a b.dmg")]
    [InlineData(true, false, false, "hdiutil attach -plist -noautoopen -readonly /a b.dmg")]
    [InlineData(true, true, true, "hdiutil attach -plist -noautoopen -readonly -nobrowse -stdinpass /a b.dmg")]
    public void Hdiutil_is_asked_where_diskutil_attaches_nothing(bool readOnly, bool noBrowse, bool isSecret, string expected) =>
        Assert.Equal(
            expected, Line(
            DiskImageTools.AttachCommand(
            new("/a b.dmg", readOnly, noBrowse), isSecret, DiskImageTools.OptionsOf(MacTexts.DiskutilWithoutImages))));

    [Theory]
    [InlineData(false, false, false, "diskutil image attach --plist /a b.dmg")]
    [InlineData(true, true, false, "diskutil image attach --plist --readOnly --nobrowse /a b.dmg")]
    [InlineData(false, true, true, "diskutil image attach --plist --stdinpassphrase --nobrowse /a b.dmg")]
    public void Diskutil_is_asked_where_it_has_the_options(bool readOnly, bool noBrowse, bool isSecret, string expected) =>
        Assert.Equal(
            expected, Line(
            DiskImageTools.AttachCommand(new("/a b.dmg", readOnly, noBrowse), isSecret, DiskImageTools.OptionsOf(MacTexts.DiskutilHelp))));

    [Fact]
    public void The_choice_follows_the_options_that_the_help_names()
    {
        IReadOnlySet<string> options = DiskImageTools.OptionsOf(MacTexts.DiskutilHelpWithoutNobrowse);
        Assert.Equal("diskutil image attach --plist --mountOptions nobrowse /a",
            Line(DiskImageTools.AttachCommand(new("/a", false, NoBrowse: true), false, options)));
        Assert.Equal("diskutil image attach --plist --readOnly --mountOptions nobrowse /a",
            Line(DiskImageTools.AttachCommand(new("/a", true, NoBrowse: true), false, options)));
        foreach (string missing in (string[])["--plist", "--readOnly", "--stdinpassphrase", "--mountOptions"])
            Assert.StartsWith(
                "hdiutil", Line(DiskImageTools.AttachCommand(new("/a", true, true), true, options.Where(o => o != missing).ToHashSet())),
                StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, false, "hdiutil detach /dev/disk4")]
    [InlineData(true, false, "hdiutil detach /dev/disk4 -force")]
    [InlineData(false, true, "diskutil eject /dev/disk4")]
    [InlineData(true, true, "diskutil unmountDisk force /dev/disk4; diskutil eject /dev/disk4")]
    public void Detaching(bool force, bool hasDiskutil, string expected) =>
        Assert.Equal(expected, string.Join("; ", DiskImageTools.DetachCommands("/dev/disk4", force, hasDiskutil).Select(Line)));

    [Theory]
    [InlineData(MacTexts.AttachedHfs, "/dev/disk4", "/Volumes/My Backup")]
    [InlineData(MacTexts.AttachedApfs, "/dev/disk9", "/Volumes/One|/Volumes/Two")]
    [InlineData(MacTexts.AttachedApfsLow, "/dev/disk9", "/Volumes/One|/Volumes/Two")]
    [InlineData(MacTexts.AttachedWhole, "/dev/disk5", "/Volumes/Whole")]
    [InlineData(MacTexts.AttachedByDiskutil, "/dev/disk25", "/Volumes/One")]
    public void The_answer_tells_device_and_mount_points(string answer, string device, string mountPoints)
    {
        var tools = new RecordingTools().On("hdiutil attach", answer)
            .On("diskutil image attach --help", "", 1, MacTexts.DiskutilWithoutImages);
        AttachedImage image = new DiskImageTools(tools, SilentObserver.Instance)
            .Attach(new("/a.dmg", false, false), [], CancellationToken.None);
        Assert.Equal(("/a.dmg", device, mountPoints), (image.Path, image.Device, string.Join('|', image.MountPoints)));
    }

    [Theory]
    [InlineData("hdiutil: attach failed - Authentication error", 1, true, ImageErrorId.WrongPassphrase)]
    [InlineData("hdiutil: attach failed - Resource temporarily unavailable", 1, true, ImageErrorId.ImageInUse)]
    [InlineData("hdiutil: couldn't eject \"disk4\" - Resource busy", 16, false, ImageErrorId.ImageInUse)]
    [InlineData("hdiutil: Ressource occupée", 16, false, ImageErrorId.ImageInUse)]
    [InlineData("Volume failed to eject: dissented by PID 77 (/usr/bin/mds)", 1, false, ImageErrorId.ImageInUse)]
    [InlineData("hdiutil: attach failed - No such file or directory", 1, true, ImageErrorId.ImageNotFound)]
    [InlineData("hdiutil: attach failed - image not recognized", 1, true, ImageErrorId.UnknownFormat)]
    [InlineData("hdiutil: attach failed - no mountable file systems", 1, true, ImageErrorId.VolumeNotFound)]
    [InlineData("hdiutil: attach failed - corrupt image", 1, true, ImageErrorId.ImageDamaged)]
    [InlineData("hdiutil: attach failed - Operation not permitted", 1, true, ImageErrorId.AccessDenied)]
    [InlineData("hdiutil: attach canceled", 1, true, ImageErrorId.MountFailed)]
    [InlineData("", 5, true, ImageErrorId.MountFailed)]
    public void What_the_programs_say_becomes_an_error_with_its_own_words(string words, int exitCode, bool attaching, ImageErrorId expected)
    {
        string warning =
            "hdiutil: WARNING: 'hdiutil attach -readonly ...' is deprecated. Please use 'diskutil image attach --readOnly ...' instead.\n";
        ImageException e = DiskImageTools.Failure(new(exitCode, [], warning + words + "\n"), "/a.dmg", attaching);
        Assert.Equal((expected, "/a.dmg"), (e.Id, e.Path));
        Assert.Contains(words.Length > 0 ? words : "exit code 5", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("deprecated", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_exit_code_of_zero_without_a_device_is_a_failure()
    {
        var tools = new RecordingTools().On("hdiutil", MacTexts.AttachedNothing).On("diskutil", "", 1);
        var images = new DiskImageTools(tools, SilentObserver.Instance);
        Assert.Equal(ImageErrorId.MountFailed,
            Assert.Throws<ImageException>(() => images.Attach(new("/a", false, false), [], CancellationToken.None)).Id);
        tools.On("hdiutil", "no property list", 0, "hdiutil: attach failed - Authentication error");
        Assert.Equal(ImageErrorId.WrongPassphrase,
            Assert.Throws<ImageException>(() => images.Attach(new("/a", false, false), [], CancellationToken.None)).Id);
        Assert.Null(images.List(CancellationToken.None));
        Assert.Equal(ImageErrorId.ComponentMissing, Assert.Throws<ImageException>(
            () => new DiskImageTools(new RecordingTools(), SilentObserver.Instance)
                .Attach(new("/a", false, false), [], CancellationToken.None)).Id);
    }

    [Theory]
    [InlineData("pass wörd", true, "hdiutil")]
    [InlineData("pass wörd", false, "diskutil")] // for the day when it is gone
    [InlineData("pass\nword", true, "hdiutil")]
    [InlineData("pass\nword", false, null)] // diskutil reads a line
    [InlineData("pass\rword", false, null)]
    public void The_passphrase_goes_to_the_standard_input_as_it_is_and_nowhere_else(string passphrase, bool hasHdiutil, string? tool)
    {
        string path = Make(BackupImageFormat.SparseBundle, passphrase);
        RecordingTools tools = Mac().On("diskutil image attach --plist", MacTexts.AttachedHfs);
        if (hasHdiutil) tools.On("hdiutil attach", MacTexts.AttachedHfs);
        var observer = new RecordingObserver();
        using Passphrase secret = Secrets.Of(passphrase);
        MountedBackupImage Attach() => ImageMount.Attach(new(path) { Passphrase = secret }, tools, observer, CancellationToken.None);
        if (tool is null)
        {
            Assert.Equal(ImageErrorId.ComponentMissing, Assert.Throws<ImageException>(Attach).Id);
            return;
        }

        MountedBackupImage image = Attach();
        Assert.Equal((path, "/dev/disk4"), (image.Path, image.Device));
        (string program, string[] arguments, byte[] input) = tools.Calls[^1];
        Assert.Equal((tool, path), (Path.GetFileName(program), arguments[^1]));
        Assert.Equal(Encoding.UTF8.GetBytes(passphrase), input);
        Assert.All(tools.Calls.Where(call => Path.GetFileName(call.Program) != "hdiutil" && tool == "hdiutil"), call =>
            Assert.Empty(call.Input));
        Assert.DoesNotContain(
            tools.Calls.SelectMany(c => c.Arguments).Concat(observer.Verbose), text => text.Contains(passphrase, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(26, "hdiutil attach -plist -noautoopen")]
    [InlineData(27, "diskutil image attach --plist")]
    public void Hdiutil_comes_first_where_it_is_not_deprecated(int version, string expected)
    {
        string path = Make(BackupImageFormat.Sparse, null);
        RecordingTools tools = Mac(version).On("diskutil image attach --plist", MacTexts.AttachedHfs)
            .On("hdiutil attach", MacTexts.AttachedHfs);
        ImageMount.Attach(new(path), tools, SilentObserver.Instance, CancellationToken.None);
        Assert.StartsWith(expected, Lines(tools)[^1], StringComparison.Ordinal);
        tools.On("hdiutil info", MacTexts.Info((path, "/dev/disk8", "/Volumes/This"))).On("diskutil eject", "").On("hdiutil detach", "");
        ImageMount.Detach(path, force: false, tools, SilentObserver.Instance, CancellationToken.None);
        Assert.Equal(version < 27 ? "hdiutil detach /dev/disk8" : "diskutil eject /dev/disk8", Lines(tools)[^1]);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("/dev/disk8")] // attached in part, and in the way
    public void Hdiutil_is_tried_once_where_diskutil_fails(string? remains)
    {
        string path = Make(BackupImageFormat.Sparse, null);
        bool isThere = false;
        RecordingTools tools = Mac()
            .On("diskutil image attach --plist", _ => new(1, [], $"Error: something odd {isThere = remains is not null}"))
            .On("hdiutil info", _ => new(0, Encoding.UTF8.GetBytes(isThere ? MacTexts.Info((path, remains!, "")) : MacTexts.Info()), ""))
            .On("diskutil eject", _ => new(0, [], $"{isThere = false}"))
            .On("hdiutil attach", MacTexts.AttachedHfs);
        Assert.Equal("/dev/disk4", ImageMount.Attach(new(path), tools, SilentObserver.Instance, CancellationToken.None).Device);
        string[] expected = remains is null
            ? ["diskutil image attach --plist", "hdiutil info -plist", "hdiutil attach -plist"]
            : ["diskutil image attach --plist", "hdiutil info -plist", "diskutil eject /dev/disk8", "hdiutil attach -plist"];
        string[] calls = [.. Lines(tools).SkipWhile(l => !l.StartsWith("diskutil image attach --plist", StringComparison.Ordinal))];
        Assert.Equal(expected.Length, calls.Length);
        Assert.All(expected.Zip(calls), pair => Assert.StartsWith(pair.First, pair.Second, StringComparison.Ordinal));
    }

    [Fact]
    public void What_both_programs_refuse_is_refused_in_the_words_of_the_second()
    {
        string path = Make(BackupImageFormat.Sparse, null);
        RecordingTools tools = Mac().On("diskutil image attach --plist", "", 1, "Error: something odd")
            .On("hdiutil attach", "", 1, "hdiutil: attach failed - corrupt image");
        Assert.Equal(ImageErrorId.ImageDamaged, Refusal(new(path), tools));
        Assert.Single(Lines(tools), l => l.StartsWith("hdiutil attach", StringComparison.Ordinal));
        tools = Mac().On("diskutil image attach --plist", "", 1, "Error: something odd"); // no hdiutil to attach with
        Assert.Contains(
            "something odd",
            Assert.Throws<ImageException>(() => ImageMount.Attach(new(path), tools, SilentObserver.Instance, CancellationToken.None))
            .Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Remains_that_cannot_be_detached_are_named()
    {
        string path = Make(BackupImageFormat.Sparse, null);
        bool isThere = false;
        RecordingTools tools = Mac()
            .On("diskutil image attach --plist", _ => new(1, [], $"Error: something odd {isThere = true}"))
            .On("hdiutil info", _ =>
                new(0, Encoding.UTF8.GetBytes(isThere ? MacTexts.Info((path, "/dev/disk8", "")) : MacTexts.Info()), ""))
            .On("diskutil eject", "", 1, "Volume failed to eject")
            .On("hdiutil attach", "", 1, "hdiutil: attach failed - some other failure");
        ImageException e =
            Assert.Throws<ImageException>(() => ImageMount.Attach(new(path), tools, SilentObserver.Instance, CancellationToken.None));
        Assert.Equal(ImageErrorId.MountFailed, e.Id);
        Assert.Contains("left attached as /dev/disk8", e.Message, StringComparison.Ordinal);
        Assert.Contains("Dismount-BackupImage", e.Remedy, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(26, "hdiutil attach", "hdiutil: attach failed - Resource busy")]
    [InlineData(27, "diskutil image attach --plist", "Error: Resource busy")]
    public void Attaching_that_is_busy_for_a_moment_is_tried_again_and_nothing_else_is(int version, string program, string words)
    {
        string path = Make(BackupImageFormat.Sparse, null);
        int times = 0;
        RecordingTools tools = Mac(version)
            .On(program, _ => ++times < 3 ? new(1, [], words) : new(0, Encoding.UTF8.GetBytes(MacTexts.AttachedHfs), ""));
        Assert.Equal("/dev/disk4", ImageMount.Attach(new(path), tools, SilentObserver.Instance, CancellationToken.None).Device);
        Assert.Equal((3, 2), (times, tools.Waits));
        tools = Mac(version).On(program, "", 1, words);
        Assert.Equal(ImageErrorId.ImageInUse, Refusal(new(path), tools));
        Assert.Equal(3, tools.Waits);
        Assert.All(Lines(tools)
            .Where(l => l.Contains("attach", StringComparison.Ordinal) && !l.Contains("--help", StringComparison.Ordinal)), l =>
            Assert.StartsWith(program, l, StringComparison.Ordinal));
    }

    [Fact]
    public void The_image_is_looked_at_before_macOS_is_asked()
    {
        string path = Make(BackupImageFormat.ReadWrite, "right");
        RecordingTools tools = Mac();
        Assert.Equal(ImageErrorId.PassphraseRequired, Refusal(new(path), tools));
        using (Passphrase wrong = Secrets.Of("wrong"))
            Assert.Equal(ImageErrorId.WrongPassphrase, Refusal(new(path) { Passphrase = wrong }, tools));
        Assert.Equal(ImageErrorId.ImageNotFound, Refusal(new(_folder["no such.dmg"]), tools));
        using (DiskImage.Open(Make(BackupImageFormat.Sparse, null), null, writable: true))
            Assert.Equal(ImageErrorId.ImageInUse, Refusal(new(_folder["Sparse"]), tools));
        tools.On("hdiutil info", MacTexts.Info((path, "/dev/disk7", "/Volumes/There")));
        ImageException e =
            Assert.Throws<ImageException>(() => ImageMount.Attach(new(path), tools, SilentObserver.Instance, CancellationToken.None));
        Assert.Equal(ImageErrorId.ImageInUse, e.Id);
        Assert.Contains("/dev/disk7 at /Volumes/There", e.Message, StringComparison.Ordinal);
        Assert.All(tools.Calls, call => Assert.Equal("info", call.Arguments[0]));
    }

    [Fact]
    public void What_only_macOS_understands_is_left_to_it()
    {
        string path = _folder["raw.img"];
        File.WriteAllBytes(path, new byte[4096]);
        RecordingTools tools = Mac().On("diskutil image attach --plist", MacTexts.AttachedWhole);
        Assert.Equal("/dev/disk5", ImageMount.Attach(new(path), tools, SilentObserver.Instance, CancellationToken.None).Device);
    }

    [Fact]
    public void Dismounting_finds_the_device_by_the_image_by_a_link_to_it_or_by_its_mount_point()
    {
        string path = Make(BackupImageFormat.Sparse, null), link = _folder["link"];
        if (OperatingSystem.IsWindows()) link = path; // no file numbers there, and no mounting
        else File.CreateSymbolicLink(link, path);
        string info = MacTexts.Info(("/elsewhere.dmg", "/dev/disk3", "/Volumes/Else"), (path, "/dev/disk8", "/Volumes/This"));
        foreach (string given in (string[])[path, link, "/Volumes/This"])
        {
            RecordingTools tools = Mac().On("hdiutil info", info).On("diskutil eject", "Disk /dev/disk8 ejected\n");
            MountedBackupImage image = ImageMount.Detach(given, force: false, tools, SilentObserver.Instance, CancellationToken.None);
            Assert.Equal(
                (given == link ? link : path, "/dev/disk8", "/Volumes/This"), (image.Path, image.Device, Assert.Single(image.MountPoints)));
            Assert.Equal(["eject", "/dev/disk8"], tools.Calls[^1].Arguments);
        }

        Assert.Equal(ImageErrorId.ImageNotMounted, Assert.Throws<ImageException>(
            () => ImageMount.Detach(
                _folder["other"], false, Mac().On("hdiutil info", info), SilentObserver.Instance, CancellationToken.None)).Id);
        Assert.Equal(ImageErrorId.MountFailed, Assert.Throws<ImageException>(
            () => ImageMount.Detach(path, false, Mac().On("hdiutil info", "", 1), SilentObserver.Instance, CancellationToken.None)).Id);
    }

    [LinuxFact]
    public void A_mount_point_is_found_by_a_path_over_links()
    {
        // macOS tells /private/tmp/mount where the user says /tmp/mount.
        string path = Make(BackupImageFormat.Sparse, null), mountPoint = _folder["private", "mount"];
        Directory.CreateDirectory(mountPoint);
        Directory.CreateSymbolicLink(_folder["tmp"], _folder["private"]);
        string info = MacTexts.Info((path, "/dev/disk8", mountPoint));
        foreach (string given in (string[])[_folder["tmp", "mount"], mountPoint + "/"])
        {
            RecordingTools tools = Mac().On("hdiutil info", info).On("diskutil eject", _ =>
            {
                Directory.Delete(mountPoint);
                return new(0, [], "");
            });
            Assert.Equal(path, ImageMount.Detach(given, force: false, tools, SilentObserver.Instance, CancellationToken.None).Path);
            Directory.CreateDirectory(mountPoint);
        }
    }

    [Fact]
    public void A_busy_volume_stops_a_forced_dismount_before_the_eject()
    {
        string path = Make(BackupImageFormat.Sparse, null);
        RecordingTools tools = Mac().On("hdiutil info", MacTexts.Info((path, "/dev/disk8", "/Volumes/This")))
            .On("diskutil unmountDisk", "", 1, "Unmount of disk8 failed: at least one volume could not be unmounted");
        Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(
            () => ImageMount.Detach(path, force: true, tools, SilentObserver.Instance, CancellationToken.None)).Id);
        Assert.DoesNotContain(tools.Calls, call => call.Arguments[0] == "eject");
    }

    [Fact]
    public void A_volume_that_is_busy_for_a_moment_is_tried_again()
    {
        string path = Make(BackupImageFormat.Sparse, null);
        int times = 0;
        RecordingTools tools = Mac().On("hdiutil info", MacTexts.Info((path, "/dev/disk8", "/Volumes/This")))
            .On("diskutil eject", _ => ++times < 3 ? new(1, [], "Volume failed to eject") : new(0, [], ""));
        ImageMount.Detach(path, force: false, tools, SilentObserver.Instance, CancellationToken.None);
        Assert.Equal((3, 2), (times, tools.Waits));
        tools.On("diskutil eject", "", 1, "hdiutil: some other failure");
        Assert.Equal(ImageErrorId.MountFailed,
            Assert.Throws<ImageException>(() => ImageMount.Detach(path, false, tools, SilentObserver.Instance, CancellationToken.None)).Id);
        Assert.Equal(2, tools.Waits);
    }

    [Fact]
    public void What_was_attached_when_the_user_stopped_is_detached_again()
    {
        string path = Make(BackupImageFormat.Sparse, null);
        bool attached = false;
        RecordingTools tools = Mac()
            .On("diskutil image attach --plist", _ => throw new OperationCanceledException(attached ? "" : $"{attached = true}"))
            .On("hdiutil info", _ =>
                new(0, Encoding.UTF8.GetBytes(attached ? MacTexts.Info((path, "/dev/disk8", "/Volumes/This")) : MacTexts.Info()), ""))
            .On("diskutil eject", "");
        Assert.Throws<OperationCanceledException>(
            () => ImageMount.Attach(new(path), tools, SilentObserver.Instance, CancellationToken.None));
        Assert.Equal(["eject", "/dev/disk8"], tools.Calls[^1].Arguments);
    }

    [Fact]
    public void Other_systems_are_refused_with_the_way_out()
    {
        ImageException e = Assert.Throws<ImageException>(() => ImageMount.CheckPlatform(isMac: false));
        Assert.Equal(ImageErrorId.PlatformNotSupported, e.Id);
        Assert.Contains("Restore-BackupImage", e.Remedy, StringComparison.Ordinal);
        ImageMount.CheckPlatform(isMac: true);
        if (OperatingSystem.IsMacOS()) return;
        Assert.Throws<ImageException>(() => ImageMount.Attach(new("/a"), SilentObserver.Instance, CancellationToken.None));
        Assert.Throws<ImageException>(() => ImageMount.Detach("/a", false, SilentObserver.Instance, CancellationToken.None));
    }

    [LinuxFact]
    public void The_real_starter_passes_arguments_and_input_byte_by_byte()
    {
        byte[] secret = "s3cr\0et\n"u8.ToArray();
        ToolResult? result =
            SystemTools.Instance.Run(
                "/bin/sh", ["-c", "cat; printf '%s|' \"$@\" >&2; exit 3", "sh", "a b", "$(x)", "'\""], secret, CancellationToken.None);
        Assert.Equal(3, result!.ExitCode);
        Assert.Equal(secret, result.Output);
        Assert.Equal("a b|$(x)|'\"|", result.Error);
        Assert.Null(SystemTools.Instance.Run(_folder["no such program"], [], [], CancellationToken.None));

        // One that does not read what it is sent.
        Assert.Equal(0, SystemTools.Instance.Run("/bin/true", [], new byte[1 << 20], CancellationToken.None)!.ExitCode);
        using var stop = new CancellationTokenSource(200);
        Assert.ThrowsAny<OperationCanceledException>(() => SystemTools.Instance.Run("/bin/sleep", ["60"], [], stop.Token));
    }

    private static RecordingTools Mac(int version = 27) =>
        new RecordingTools { MacVersion = version }.On("diskutil image attach --help", MacTexts.DiskutilHelp)
            .On("hdiutil info", MacTexts.Info());

    private static string[] Lines(RecordingTools tools) => [.. tools.Calls.Select(c => Line((c.Program, c.Arguments)))];

    private static string Line((string Program, string[] Arguments) command) =>
        $"{Path.GetFileName(command.Program)} {string.Join(' ', command.Arguments)}";

    private static ImageErrorId Refusal(ImageMountRequest request, RecordingTools tools) =>
        Assert.Throws<ImageException>(() => ImageMount.Attach(request, tools, SilentObserver.Instance, CancellationToken.None)).Id;

    private string Make(BackupImageFormat format, string? passphrase)
    {
        string path = _folder[format.ToString()];
        using Passphrase? secret = passphrase is null ? null : Secrets.Of(passphrase);
        using ImageCreation creation = ImageCreation.Prepare(
            new ImageRecipe
            {
                Path = path, Format = format, SizeBytes = 20_000_000, Passphrase = secret,
                Encryption = secret is null ? BackupImageEncryption.None : BackupImageEncryption.Aes128,
            },
            SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
        return path;
    }
}
