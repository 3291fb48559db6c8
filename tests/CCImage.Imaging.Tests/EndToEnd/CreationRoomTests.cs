using System.Globalization;
using CCImage.Diagnostics;

namespace CCImage.Tests.EndToEnd;

/// <summary>What is promised before the source is read holds when it is written.</summary>
public sealed class CreationRoomTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-room-").FullName;

    public void Dispose() => Directory.Delete(_folder, true);

    [Theory]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    [InlineData(BackupImageFormat.ReadWrite)]
    [InlineData(BackupImageFormat.Sparse)]
    public void The_capacity_that_is_advised_makes_an_image(BackupImageFormat format)
    {
        string source = MakeSource();
        foreach (long asked in (long[])[1, 4096, 1 << 20])
        {
            ImageRecipe recipe =
                new() { SourcePath = source, Path = Path.Combine(_folder, "image"), Format = format, SizeBytes = asked, Overwrite = true };
            ImageException error =
                Assert.Throws<ImageException>(() => ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None));
            Assert.Equal(ImageErrorId.CapacityTooSmall, error.Id);
            long advised =
                long.Parse(System.Text.RegularExpressions.Regex.Match(error.Remedy!, "[0-9]+").Value, CultureInfo.InvariantCulture);
            using ImageCreation creation =
                ImageCreation.Prepare(recipe with { SizeBytes = advised }, SilentObserver.Instance, CancellationToken.None);
            Assert.Equal(advised, creation.Run(CancellationToken.None).CapacityBytes);
        }
    }

    [Fact]
    public void Holes_need_no_room_whatever_the_default_capacity()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Holes this large are made on Linux.");
        string source = MakeSource();
        using (FileStream file = File.Create(Path.Combine(source, "holes")))
        {
            try
            {
                file.SetLength(8L << 40);
            }
            catch (IOException e)
            {
                Assert.Skip($"The file system has no files of 8 TB: {e.Message}");
            }
        }

        ImageRecipe recipe =
            new() { SourcePath = source, Path = Path.Combine(_folder, "image.sparseimage"), Format = BackupImageFormat.Sparse };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        Assert.True(creation.Estimate.CapacityBytes > 8L << 40);
        Assert.True(creation.Estimate.ExpectedBytes < 2L << 30);
    }

    [Fact]
    public void A_file_system_that_takes_no_files_is_found_out_before_the_source_is_read()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "/proc is Linux'.");
        AssertUnwritable(MakeSource(), "/proc/self");
    }

    [Fact]
    public void Trying_the_destination_leaves_nothing_and_no_trace_in_its_times()
    {
        string source = MakeSource();
        DateTime then = new(2020, 2, 2, 2, 2, 2, DateTimeKind.Utc);
        Directory.SetLastWriteTimeUtc(source, then);
        ImageRecipe recipe =
            new() { SourcePath = source, Path = Path.Combine(source, "image.dmg"), Format = BackupImageFormat.ReadOnlyZlib };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        Assert.Equal(then, Directory.GetLastWriteTimeUtc(source));
        Assert.Equal(["a", "b"], Directory.GetFileSystemEntries(source).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    private static void AssertUnwritable(string source, string folder)
    {
        var observer = new RecordingObserver();
        ImageRecipe recipe =
            new() { SourcePath = source, Path = Path.Combine(folder, "image.dmg"), Format = BackupImageFormat.ReadOnlyZlib };
        ImageException error = Assert.Throws<ImageException>(() => ImageCreation.Prepare(recipe, observer, CancellationToken.None));
        Assert.Contains(error.Id, (ImageErrorId[])[ImageErrorId.DestinationUnwritable, ImageErrorId.DestinationFull]);
    }

    private string MakeSource()
    {
        string source = Directory.CreateDirectory(Path.Combine(_folder, "source")).FullName;
        File.WriteAllBytes(Path.Combine(source, "a"), TestTree.Noise(2_000_000, 1));
        File.WriteAllText(Path.Combine(source, "b"), "text");
        return source;
    }
}
