using System.Diagnostics;
using System.Runtime.InteropServices;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Storage;
using CCImage.Tests.Encryption;
using CCImage.Tests.EndToEnd;

namespace CCImage.Tests.Trust;

/// <summary>A writer may not pull an image from under a reader, and <c>-Force</c> replaces images only.</summary>
[System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
public sealed class ReplacingTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.SparseBundle)]
    [InlineData(BackupImageFormat.ReadWrite)]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    public void An_image_that_is_being_read_is_not_replaced_by_another_process(BackupImageFormat format)
    {
        string image = TestImage.Make(_folder, new() { Path = "", Format = format });
        string[] before = TestImage.FilesOf(image);
        using (DiskImage reader = DiskImage.Open(image))
        {
            using Process writer = Start("new", format.ToString(), "-", _folder["Source"], image);
            string error = writer.StandardError.ReadToEnd();
            writer.WaitForExit();
            Assert.NotEqual(0, writer.ExitCode);
            Assert.Contains(OperatingSystem.IsLinux() ? "lock on the image" : "in use", error, StringComparison.Ordinal);
            reader.CheckUnchanged();
        }

        Assert.Equal(before, TestImage.FilesOf(image));
        TestImage.Make(_folder, new() { Path = "", Format = format }); // and now it is
        Assert.Equal(2, Directory.GetFileSystemEntries(_folder.Path).Length);
    }

    [Fact]
    public void A_bundle_that_is_renamed_or_replaced_by_somebody_else_is_still_the_one_that_was_opened()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string image = TestImage.Make(_folder, new() { Path = "", Format = BackupImageFormat.SparseBundle, SizeBytes = 40_000_000 });
        byte[] expected = WholeDisk(image);
        using DiskImage reader = DiskImage.Open(image);
        Directory.Move(image, _folder["away"]);
        Directory.CreateDirectory(Path.Combine(image, "bands"));
        File.Copy(Path.Combine(_folder["away"], "Info.plist"), Path.Combine(image, "Info.plist"));
        byte[] found = new byte[reader.Disk.Length];
        reader.Disk.Read(0, found);
        Assert.True(found.AsSpan().SequenceEqual(expected));
        reader.CheckUnchanged();
    }

    [Theory]
    [InlineData("delete")]
    [InlineData("delete a band")]
    [InlineData("exchange the bands")]
    public void A_restore_from_a_bundle_that_is_taken_away_meanwhile_ends_with_an_error(string what)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string image =
            TestImage.Make(_folder, new() { Path = "", Format = BackupImageFormat.SparseBundle }, files: 30, fileSize: 2_000_000);
        string bands = Path.Combine(image, "bands");
        var observer = new ActingObserver(() =>
        {
            switch (what)
            {
                case "delete":
                    Directory.Delete(image, recursive: true);
                    break;
                case "delete a band":
                    File.Delete(Directory.GetFiles(bands).Order(StringComparer.Ordinal).Last());
                    break;
                default:
                    Directory.Move(bands, bands + ".old");
                    Directory.CreateDirectory(bands);
                    break;
            }
        });
        ImageException e = Assert.Throws<ImageException>(() => ImageRestore.Run(
            new ImageRestoreRequest { Path = image, DestinationPath = _folder["out"] }, observer, CancellationToken.None));
        Assert.True(e.Id is ImageErrorId.ImageInUse or ImageErrorId.ImageUnreadable, e.Message);
        Assert.True(observer.Warnings.Count < 3, string.Join('\n', observer.Warnings));
    }

    [Fact]
    public void A_conversion_of_a_bundle_that_is_taken_away_meanwhile_makes_nothing()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string image =
            TestImage.Make(_folder, new() { Path = "", Format = BackupImageFormat.SparseBundle }, files: 30, fileSize: 2_000_000);
        var observer = new ActingObserver(() => Directory.Delete(image, recursive: true));
        ImageException e = Assert.Throws<ImageException>(() => ImageConversion.Run(
            new ImageConversionRequest { Path = image, DestinationPath = _folder["out.dmg"], Format = BackupImageFormat.ReadOnlyZlib },
            observer, CancellationToken.None));
        Assert.True(e.Id is ImageErrorId.ImageInUse or ImageErrorId.ImageUnreadable, e.Message);
        Assert.Equal(["Source"], Directory.GetFileSystemEntries(_folder.Path).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData(BackupImageFormat.SparseBundle, "folder")]
    [InlineData(BackupImageFormat.SparseBundle, "folder with bands")]
    [InlineData(BackupImageFormat.SparseBundle, "link")]
    [InlineData(BackupImageFormat.ReadOnlyZlib, "text")]
    [InlineData(BackupImageFormat.ReadOnlyZlib, "sectors")]
    [InlineData(BackupImageFormat.ReadOnlyZlib, "link")]
    public void What_is_not_recognised_as_an_image_is_not_replaced(BackupImageFormat format, string what)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string precious = _folder["precious"], path = _folder["x"];
        switch (what)
        {
            case "folder":
                Directory.CreateDirectory(path);
                File.WriteAllText(Path.Combine(path, "letter"), "dear");
                break;
            case "folder with bands":
                Directory.CreateDirectory(Path.Combine(path, "bands"));
                File.WriteAllText(Path.Combine(path, "Info.plist"),
                    "<plist version=\"1.0\"><dict><key>CFBundleName</key><string>x</string></dict></plist>");
                break;
            case "link" when format == BackupImageFormat.SparseBundle:
                Directory.CreateDirectory(precious);
                File.CreateSymbolicLink(path, precious);
                break;
            case "link":
                File.WriteAllText(precious, "");
                File.CreateSymbolicLink(path, precious);
                break;
            default:
                File.WriteAllBytes(path, what == "text" ? "a letter"u8.ToArray() : TestTree.Noise(4096, 1));
                break;
        }

        string[] before = TestImage.HostFilesOf(_folder.Path);
        ImageException e = Assert.Throws<ImageException>(() => Make(path, format));
        Assert.Equal(ImageErrorId.DestinationExists, e.Id);
        Assert.Equal(before[1..], TestImage.HostFilesOf(_folder.Path)[1..]);
    }

    [Fact]
    public void Images_and_empty_files_are_replaced_encrypted_ones_too()
    {
        using Passphrase passphrase = Secrets.Of("a");
        foreach (BackupImageFormat format in (BackupImageFormat[])[
            BackupImageFormat.SparseBundle, BackupImageFormat.Sparse, BackupImageFormat.ReadWrite, BackupImageFormat.ReadOnlyZlib])
        {
            var recipe = new ImageRecipe { Path = "", Format = format, Encryption = BackupImageEncryption.Aes128, Passphrase = passphrase };
            TestImage.Make(_folder, recipe);
            TestImage.Make(_folder, recipe with { Encryption = BackupImageEncryption.None, Passphrase = null });
        }

        File.WriteAllBytes(_folder["empty"], []);
        Make(_folder["empty"], BackupImageFormat.ReadOnlyZlib);
        TestImage.AssertSound(_folder["empty"]);
    }

    [Fact]
    public void A_new_image_is_never_more_readable_than_the_one_it_replaces()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        const UnixFileMode Own = UnixFileMode.UserRead | UnixFileMode.UserWrite, OwnFolder = Own | UnixFileMode.UserExecute,
            others = UnixFileMode.GroupRead | UnixFileMode.OtherRead;
        foreach (BackupImageFormat format in (BackupImageFormat[])[BackupImageFormat.ReadWrite, BackupImageFormat.SparseBundle])
        {
            string image = TestImage.Make(_folder, new() { Path = "", Format = format });
            string[] files = Directory.Exists(image) ? Directory.GetFiles(image, "*", SearchOption.AllDirectories) : [image];
            foreach (string file in files) File.SetUnixFileMode(file, Own);
            if (Directory.Exists(image)) File.SetUnixFileMode(image, OwnFolder | UnixFileMode.GroupExecute);
            var seen = new List<string>();
            var observer = new ActingObserver(
                () =>
                {
                    // What is being made lies in a folder that nobody else can enter.
                    seen.Add(File.GetUnixFileMode(image + ".partial").ToString());
                    Assert.Equal(OwnFolder, File.GetUnixFileMode(image + ".partial"));
                });
            Make(image, format, observer, _folder["Source"]);
            Assert.Single(seen);
            files = Directory.Exists(image) ? Directory.GetFiles(image, "*", SearchOption.AllDirectories) : [image];
            Assert.All(files, f => Assert.Equal((UnixFileMode)0, File.GetUnixFileMode(f) & others));
            if (Directory.Exists(image)) Assert.Equal(OwnFolder | UnixFileMode.GroupExecute, File.GetUnixFileMode(image));
        }
    }

    [Theory]
    [InlineData(BackupImageFormat.ReadWrite)]
    [InlineData(BackupImageFormat.SparseBundle)]
    public void A_partial_folder_that_somebody_swaps_is_not_followed(BackupImageFormat format)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string image = TestImage.Make(_folder, new() { Path = "", Format = format }), victim = _folder["victim"];
        Directory.CreateDirectory(Path.Combine(victim, "image", "bands"));
        File.WriteAllText(Path.Combine(victim, ".lock"), "mine");
        string[] before = TestImage.HostFilesOf(victim);
        var observer = new ActingObserver(() =>
        {
            Directory.Move(image + ".partial", _folder["away"]);
            File.CreateSymbolicLink(image + ".partial", victim);
        });
        Make(image, format, observer, _folder["Source"]);
        Assert.Equal(before, TestImage.HostFilesOf(victim));
        TestImage.AssertSound(image);
    }

    [Theory]
    [InlineData(BackupImageFormat.ReadWrite)]
    [InlineData(BackupImageFormat.SparseBundle)]
    public void What_somebody_puts_in_the_place_of_the_old_image_meanwhile_is_neither_replaced_nor_followed(BackupImageFormat format)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string image = TestImage.Make(_folder, new() { Path = "", Format = format }), victim = _folder["victim"];
        if (format == BackupImageFormat.SparseBundle) Directory.CreateDirectory(victim);
        else File.WriteAllText(victim, "precious");
        File.SetUnixFileMode(victim, (UnixFileMode)0x1FF);
        var observer = new ActingObserver(() =>
        {
            if (Directory.Exists(image)) Directory.Move(image, _folder["away"]);
            else File.Move(image, _folder["away"]);
            File.CreateSymbolicLink(image, victim);
        });
        ImageException e = Assert.Throws<ImageException>(() => Make(image, format, observer, _folder["Source"]));
        Assert.Equal(ImageErrorId.DestinationExists, e.Id);
        Assert.NotNull(new FileInfo(image).LinkTarget);
        Assert.False(Path.Exists(image + ".partial"));
        TestImage.AssertSound(_folder["away"]);
    }

    internal static Process Start(params string[] job) => Process.Start(
        new ProcessStartInfo(
        "dotnet", ["exec", KillTests.Program, "--job", .. job]) { RedirectStandardOutput = true, RedirectStandardError = true })!;

    internal static void Make(string path, BackupImageFormat format, IImagingObserver? observer = null, string? source = null)
    {
        var recipe =
            new ImageRecipe { Path = path, Format = format, Overwrite = true, SizeBytes = source is null ? 20_000_000
                : null, SourcePath = source };
        using ImageCreation creation = ImageCreation.Prepare(recipe, observer ?? SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
    }

    private static byte[] WholeDisk(string image)
    {
        using DiskImage disk = DiskImage.Open(image);
        byte[] bytes = new byte[disk.Disk.Length];
        disk.Disk.Read(0, bytes);
        return bytes;
    }

    /// <summary>Does something once, when the job tells of its first progress.</summary>
    private sealed class ActingObserver(Action act) : IImagingObserver
    {
        private int _acted;

        public List<string> Warnings { get; } = [];

        public void OnProgress(ImagingProgress progress)
        {
            if (progress is { Unit: "bytes", Completed: > 0 } && Interlocked.Exchange(ref _acted, 1) == 0) act();
        }

        public void OnWarning(ImagingWarning warning)
        {
            lock (Warnings) Warnings.Add(warning.ToString());
        }

        public void OnVerbose(string message)
        {
        }
    }
}
