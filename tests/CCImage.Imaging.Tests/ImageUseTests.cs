using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.Tests;

public sealed class ImageUseTests : IDisposable
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
        if (exitCode != 0) return; // not permitted here
        try
        {
            Assert.True(DiskImage.Inspect(path).IsInUse);
            Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => DiskImage.Open(path, null, writable: true)).Id);
        }
        finally
        {
            Oracle.Run("losetup", "-d", output.Trim());
        }

        Assert.False(DiskImage.Inspect(path).IsInUse);
    }

    private string Make(BackupImageFormat format)
    {
        string path = _folder["image"];
        using ImageCreation creation = ImageCreation.Prepare(
            new ImageRecipe { Path = path, Format = format, SizeBytes = 20_000_000 }, SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
        return path;
    }
}
