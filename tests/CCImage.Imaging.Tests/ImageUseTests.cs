using System.Runtime.InteropServices;
using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Tests;

public sealed partial class ImageUseTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.SparseBundle)]
    [InlineData(BackupImageFormat.ReadWrite)]
    public void An_image_that_is_open_is_in_use(BackupImageFormat format)
    {
        string path = Make(format);
        Assert.False(DiskImage.Inspect(path).IsInUse);
        using (DiskImage.Open(path))
        {
            // A reader lets others read, but whoever wants to write has to wait.
            Assert.True(DiskImage.Inspect(path).IsInUse);
            Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => DiskImage.Open(path, null, writable: true)).Id);
        }

        using (DiskImage.Open(path, null, writable: true))
        {
            Assert.True(ImageUse.Ask(path));
            Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => DiskImage.Open(path)).Id);
        }

        Assert.False(DiskImage.Inspect(path).IsInUse);
        Assert.Null(ImageUse.Ask(_folder["no such"]));
    }

    [LinuxRootFact]
    public void A_loop_device_counts_as_use()
    {
        string path = Make(BackupImageFormat.ReadWrite);
        (int exitCode, string output, _) = Oracle.Run("losetup", "-f", "--show", path);
        Require.That(exitCode == 0, "There are no loop devices here.");
        try
        {
            Assert.True(DiskImage.Inspect(path).IsInUse);
            Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => DiskImage.Open(path, null, writable: true)).Id);

            // The kernel names the file by another path than this one, which leads over a link to the folder; a copy is another file.
            Directory.CreateSymbolicLink(_folder["link"], _folder.Path);
            Assert.True(DiskImage.Inspect(_folder["link", "image"]).IsInUse);
            File.Copy(path, _folder["copy"]);
            Assert.False(DiskImage.Inspect(_folder["copy"]).IsInUse);

            // Deleted and made anew: the device has the old one.
            File.Delete(path);
            File.Move(_folder["copy"], path);
            Assert.False(DiskImage.Inspect(path).IsInUse);
        }
        finally
        {
            Oracle.Run("losetup", "-d", output.Trim());
        }

        Assert.False(DiskImage.Inspect(path).IsInUse);
    }

    [LinuxFact]
    public void A_lock_of_a_server_or_an_emulator_counts_as_use()
    {
        foreach (BackupImageFormat format in (BackupImageFormat[])[BackupImageFormat.Sparse, BackupImageFormat.SparseBundle])
        {
            string path = Make(format), file = format == BackupImageFormat.Sparse ? path : Path.Combine(path, "token");

            // lockf(3) makes a lock of fcntl's kind, which flock, by which images are opened here, does not meet; and the runtime would
            // lock by both.
            using (var handle = new SafeFileHandle(UnixCalls.Open(file, 2), ownsHandle: true))
            {
                const int tryLock = 2;
                Assert.Equal(0, Lock(handle, tryLock, 1));
                Require.That(LinuxFileUse.IsLocked(file), "This file system tells other numbers in /proc/locks (btrfs).");
                Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => DiskImage.Open(path, null, writable: true)).Id);

                // Last: a process loses such locks of its own by closing the file once, however it had been opened.
                Assert.True(DiskImage.Inspect(path).IsInUse);
            }

            Assert.False(DiskImage.Inspect(path).IsInUse);
            if (Directory.Exists(path)) Directory.Delete(path, recursive: true);
            else File.Delete(path);
        }
    }

    // The lines of proc_locks(5), with those that must not count: another file, another device, a lease, and one that only waits.
    [Theory]
    [InlineData("1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF", true)]
    [InlineData("5: FLOCK  ADVISORY  READ  877 fd:00:2531452 0 EOF", true)]
    [InlineData("7: OFDLCK ADVISORY  READ  -1 fd:00:2531452 100 101", true)]
    [InlineData("1: POSIX  ADVISORY  WRITE 3568 fd:00:253145 0 EOF", false)]
    [InlineData("1: POSIX  ADVISORY  WRITE 3568 fd:10:2531452 0 EOF", false)]
    [InlineData("2: LEASE  ACTIVE    READ  901 fd:00:2531452 0 EOF", false)]
    [InlineData("1: -> POSIX  ADVISORY  WRITE 3570 fd:00:2531452 0 EOF", false)]
    [InlineData("", false)]
    public void Reads_the_table_of_locks(string line, bool expected) =>
        Assert.Equal(
            expected, LinuxFileUse.IsLocked($"9: FLOCK  ADVISORY  WRITE 1 00:1f:7 0 EOF\n{line}\n", new((0xFDul << 32) | 0, 2531452)));

    [LibraryImport("libc", EntryPoint = "lockf", SetLastError = true)]
    private static partial int Lock(SafeFileHandle file, int command, long length);

    private string Make(BackupImageFormat format)
    {
        string path = _folder["image"];
        using ImageCreation creation = ImageCreation.Prepare(
            new ImageRecipe { Path = path, Format = format, SizeBytes = 20_000_000 }, SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
        return path;
    }
}
