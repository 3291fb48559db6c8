using System.Diagnostics;
using CCImage.Diagnostics;
using CCImage.Tests.EndToEnd;

namespace CCImage.Tests.Trust;

/// <summary>What cannot be is refused before anything is made, and few open files are enough.</summary>
[System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
public sealed class LimitsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(BackupImageFormat.SparseBundle)]
    [InlineData(BackupImageFormat.Sparse)]
    public void A_capacity_beyond_what_can_be_made_is_refused_before_a_file_is_written(BackupImageFormat format)
    {
        foreach (long size in new[] { (1L << 60) + 512, 1L << 61, 1L << 62, long.MaxValue - 511 })
        {
            ImageException e =
                Assert.Throws<ImageException>(() => Prepare(new() { Path = _folder["x"], Format = format, SizeBytes = size }));
            Assert.Equal(ImageErrorId.InvalidArgument, e.Id);
        }

        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    [Theory]
    [InlineData(BackupImageFormat.SparseBundle)]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    public void Preallocation_of_a_format_that_cannot_is_an_error(BackupImageFormat format)
    {
        ImageException e =
            Assert.Throws<ImageException>(
                () => Prepare(new() { Path = _folder["x"], Format = format, SizeBytes = 20_000_000, Preallocate = true }));
        Assert.Equal(ImageErrorId.InvalidArgument, e.Id);
    }

    [LinuxFact]
    public void A_preallocated_image_takes_its_room_at_once()
    {
        using (ImageCreation creation =
            Prepare(new() { Path = _folder["x"], Format = BackupImageFormat.ReadWrite, SizeBytes = 20_000_000, Preallocate = true }))
            creation.Run(CancellationToken.None);
        Assert.True(Platform().AllocatedBytes >= 19_000_000);

        CCImage.Platform.HostStat Platform() => CCImage.Platform.HostPlatform.Current.GetStat(_folder["x"]);
    }

    // A process of the runtime has about 70 files open before it does anything.
    [LinuxFact]
    public void A_restore_with_few_file_descriptors_left_restores_everything()
    {
        string image =
            TestImage.Make(_folder, new() { Path = "", Format = BackupImageFormat.SparseBundle }, files: 120, fileSize: 1_000_000);
        string deep = _folder["Source"];
        for (int i = 0; i < 40; i++) deep = Directory.CreateDirectory(Path.Combine(deep, "d")).FullName;
        File.WriteAllText(Path.Combine(deep, "x"), "deep");
        image = TestImage.Make(_folder, new() { Path = "", Format = BackupImageFormat.SparseBundle }, files: 120, fileSize: 1_000_000);
        Assert.True(Directory.GetFiles(Path.Combine(image, "bands")).Length > 100);
        (int exitCode, _, string error) = Oracle.Run(
            "prlimit", "--nofile=110:110", "dotnet", "exec", KillTests.Program, "--job", "restore", image, _folder["out"]);
        Assert.True(exitCode == 0, error);
        (exitCode, string output, _) = Oracle.Run("diff", "-r", _folder["Source"], _folder["out"]);
        Assert.True(exitCode == 0, output);
    }

    private static ImageCreation Prepare(ImageRecipe recipe) =>
        ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
}
