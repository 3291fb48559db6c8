using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Platform;
using CCImage.Tests.Encryption;

namespace CCImage.Tests.Trust;

/// <summary>Links and things that are no files, where an image or a part of a bundle is expected: never followed, never waited
/// for.</summary>
[System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
public sealed class HostileBundleTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("bands")]
    [InlineData("bands/0")]
    [InlineData("mapped")]
    [InlineData("mapped/0")]
    [InlineData("Info.plist")]
    [InlineData("Info.bckup")]
    [InlineData("token")]
    public void A_link_anywhere_in_a_bundle_is_damage_and_nothing_behind_it_is_touched(string name)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        using Passphrase old = Secrets.Of("old"), next = Secrets.Of("new");
        bool isEncrypted = name == "token";
        string image = TestImage.Make(_folder, new()
        {
            Path = "", Format = BackupImageFormat.SparseBundle, Encryption = isEncrypted ? BackupImageEncryption.Aes128
                : BackupImageEncryption.None, Passphrase = isEncrypted ? old : null,
        });
        if (name.StartsWith("mapped", StringComparison.Ordinal))
        {
            Directory.CreateDirectory(Path.Combine(image, "mapped"));
            File.WriteAllBytes(Path.Combine(image, "mapped", "0"), TestTree.Noise(32, 1));
        }

        // It leads to what is right, so that only the link can be what is wrong.
        string inside = Path.Combine(image, name), outside = _folder["outside"];
        if (Directory.Exists(inside)) Directory.Move(inside, outside);
        else File.Move(inside, outside);
        File.CreateSymbolicLink(inside, outside);
        string[] before = TestImage.HostFilesOf(outside);
        Passphrase? passphrase = isEncrypted ? old : null;
        var silent = SilentObserver.Instance;
        Action[] uses =
        [
            () => ImageCompaction.Run(new ImageCompactionRequest(image) { Passphrase = passphrase }, silent, CancellationToken.None),
            () => ImageResize.Run(
                new ImageResizeRequest(image) { Passphrase = passphrase, SizeBytes = 400_000_000 }, silent, CancellationToken.None),
            () => ImageResize.Run(
                new ImageResizeRequest(image) { Passphrase = passphrase, ToMinimumSize = true }, silent, CancellationToken.None),
            () => ImageRestore.Run(new ImageRestoreRequest { Path = image, Passphrase = passphrase, DestinationPath = _folder["out"] },
                silent, CancellationToken.None),
            () => WriteEverywhere(image, passphrase),
        ];
        foreach (Action use in uses.Skip(name is "mapped/0" or "Info.bckup" ? 4 : 0))
        {
            // The copy and the bits are not read by everybody; whoever writes to them meets the link.
            if (name == "Info.bckup") break;
            Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(use).Id);
        }

        if (name == "Info.bckup") Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(uses[1]).Id);
        if (isEncrypted)
            Assert.Equal(ImageErrorId.ImageDamaged,
                Assert.Throws<ImageException>(() => ImagePassphrase.Change(image, old, next, silent, CancellationToken.None)).Id);
        Assert.Equal(before, TestImage.HostFilesOf(outside));
        Assert.NotNull(new FileInfo(inside).LinkTarget);
    }

    [Theory]
    [InlineData("bands")]
    [InlineData("bands/0")]
    [InlineData("mapped")]
    [InlineData("Info.plist")]
    [InlineData("Info.bckup")]
    [InlineData("token")]
    public void A_link_in_a_bundle_is_found_when_it_is_judged(string name)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string image = TestImage.Make(_folder, new() { Path = "", Format = BackupImageFormat.SparseBundle });
        string inside = Path.Combine(image, name), outside = _folder["outside"];
        if (name == "mapped") Directory.CreateDirectory(outside);
        else if (Directory.Exists(inside)) Directory.Move(inside, outside);
        else File.Move(inside, outside);
        File.CreateSymbolicLink(inside, outside);
        ImageVerificationResult result = ImageVerification.Run(new(image), SilentObserver.Instance, CancellationToken.None);
        Assert.False(result.IsSound);
        Assert.Contains(
            result.Findings, f => f.Grade == ImageFindingGrade.Damaged && f.Message.Contains("symbolic link", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("")]
    [InlineData("Info.plist")]
    [InlineData("token")]
    [InlineData("bands/0")]
    [InlineData("bands")]
    public void A_fifo_is_not_waited_for(string name)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string image =
            TestImage.Make(
                _folder, new() { Path = "", Format = name.Length == 0 ? BackupImageFormat.Sparse : BackupImageFormat.SparseBundle }),
                place = Path.Join(image, name.Length == 0 ? "" : "/" + name);
        if (Directory.Exists(place)) Directory.Delete(place, recursive: true);
        else File.Delete(place);
        Oracle.RunForBytes("mkfifo", place);
        Action[] uses =
        [
            () => DiskImage.Inspect(image),
            () => ImageRestore.Run(new ImageRestoreRequest { Path = image, DestinationPath = _folder["out"] }, SilentObserver.Instance,
                CancellationToken.None),
            () => ImageCompaction.Run(new ImageCompactionRequest(image), SilentObserver.Instance, CancellationToken.None),
            () => ReplacingTests.Make(image, name.Length == 0 ? BackupImageFormat.Sparse : BackupImageFormat.SparseBundle),
        ];
        foreach (Action use in name == "bands/0" ? uses[..3] : uses)
        {
#pragma warning disable xUnit1031 // The point is to see whether it waits.
            Task task = Task.Run(use);
            Assert.True(task.ContinueWith(_ => { }, TaskScheduler.Default).Wait(TimeSpan.FromSeconds(20)), "It waits.");
#pragma warning restore xUnit1031
            ImageException e = Assert.IsType<ImageException>(task.Exception?.InnerException);
            Assert.True(e.Id is ImageErrorId.ImageDamaged or ImageErrorId.UnknownFormat or ImageErrorId.DestinationExists, e.Message);
        }
    }

    [LinuxFact]
    public void A_device_or_a_socket_is_refused_by_name()
    {
        ImageException e = Assert.Throws<ImageException>(() => DiskImage.Open("/dev/zero"));
        Assert.Equal(ImageErrorId.UnknownFormat, e.Id);
        Assert.Contains("device", e.Message, StringComparison.Ordinal);
        using var socket =
            new System.Net.Sockets.Socket(
                System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Unspecified);
        socket.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(_folder["s"]));
        e = Assert.Throws<ImageException>(() => DiskImage.Open(_folder["s"]));
        Assert.Contains("socket", e.Message, StringComparison.Ordinal);
    }

    // What the calls of systems answer that are not here: errno of macOS for "not possible".
    [Theory]
    [InlineData(0, 5, FlushReach.Full)]
    [InlineData(45, 0, FlushReach.Ordinary)]
    [InlineData(25, 0, FlushReach.Ordinary)]
    [InlineData(25, 25, FlushReach.None)]
    [InlineData(45, 45, FlushReach.None)]
    [InlineData(102, 102, FlushReach.None)]
    [InlineData(22, 30, FlushReach.None)]
    public void A_flush_goes_as_far_as_the_host_can(int full, int ordinary, object expected)
    {
        Assert.Equal(expected, FileSystemCalls.FlushFile(() => full, () => ordinary));
        if (ordinary != 5) Assert.NotEqual(FlushReach.Full, FileSystemCalls.FlushFile(null, () => ordinary));
    }

    [Fact]
    public void A_flush_that_fails_for_the_medium_is_an_error()
    {
        int interrupted = 2;
        Assert.Throws<IOException>(() => FileSystemCalls.FlushFile(() => 5, () => 5));
        Assert.Throws<IOException>(() => FileSystemCalls.FlushFile(null, () => 28));
        Assert.Equal(FlushReach.Full, FileSystemCalls.FlushFile(() => interrupted-- > 0 ? 4 : 0, () => 5));
    }

    private static void WriteEverywhere(string image, Passphrase? passphrase)
    {
        using DiskImage disk = DiskImage.Open(image, passphrase, writable: true);
        byte[] bytes = TestTree.Noise(4096, 5);
        for (long at = 0; at < disk.Disk.Length; at += 1 << 20)
            disk.Disk.Write(at, bytes.AsSpan(0, (int)Math.Min(512, disk.Disk.Length - at)));
        disk.Disk.Flush();
    }
}
