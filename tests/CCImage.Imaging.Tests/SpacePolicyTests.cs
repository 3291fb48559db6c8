using CCImage.Diagnostics;
using CCImage.Platform;

namespace CCImage.Tests;

/// <summary>The article's numbers, at their edges.</summary>
public sealed class SpacePolicyTests
{
    private const long Gigabyte = 1_000_000_000;

    [Theory]
    [InlineData(100, 25, false)]
    [InlineData(100, 24.999999999, true)]
    [InlineData(1000, 150, false)]
    [InlineData(1000, 149.999999999, true)]
    [InlineData(1000, 26, true)]
    [InlineData(20, 20, true)]
    public void Compacts_before_a_backup_below25_gigabytes_or15_percent(double capacity, double free, bool expected) =>
        Assert.Equal(expected, SpacePolicy.Default.ShouldCompact((long)(capacity * Gigabyte), (long)(free * Gigabyte)));

    [Fact]
    public void The_numbers_are_parameters()
    {
        var policy = new SpacePolicy { CompactBelowFreeBytes = 10, CompactBelowFreeShare = 0.5 };
        Assert.False(policy.ShouldCompact(20, 10));
        Assert.True(policy.ShouldCompact(21, 10));
        Assert.True(policy.ShouldCompact(1, 9));
    }

    [Theory]
    [InlineData(0, Gigabyte, true)]
    [InlineData(0, Gigabyte - 1, false)]
    [InlineData(5 * Gigabyte, 6 * Gigabyte, true)]
    [InlineData(5 * Gigabyte + 1, 6 * Gigabyte, false)]
    [InlineData(1, 0, false)]
    public void The_startup_disk_keeps_a_gigabyte_more_than_the_source_holds(long source, long free, bool expected) =>
        Assert.Equal(expected, SpacePolicy.FitsStartupDisk(free, source));

    [Theory]
    [InlineData(BackupImageFormat.SparseBundle, true, 6 * Gigabyte, false)]
    [InlineData(BackupImageFormat.SparseBundle, true, 6 * Gigabyte - 1, true)]
    [InlineData(BackupImageFormat.Sparse, true, 6 * Gigabyte - 1, true)]
    [InlineData(BackupImageFormat.Sparse, false, 6 * Gigabyte - 1, false)]
    [InlineData(BackupImageFormat.ReadWrite, true, 6 * Gigabyte - 1, false)]
    public void An_image_that_grows_on_the_startup_disk_is_refused_when_it_would_fill_it(
        BackupImageFormat format, bool isStartupDisk, long free, bool isRefused)
    {
        var host = new HostVolume { MountPoint = "/", FileSystemType = "apfs", IsStartupDisk = isStartupDisk, FreeBytes = free };
        var estimate = new ImageCreationEstimate(1, 5 * Gigabyte, 5 * Gigabyte, 5 * Gigabyte, free);
        var observer = new WarningRecorder(SilentObserver.Instance);
        Exception? e =
            Record.Exception(() => ImageCreation.CheckRoom(new ImageRecipe { Path = "/image", Format = format }, host, estimate, observer));
        Assert.Equal(isRefused ? ImageErrorId.DestinationFull : null, (e as ImageException)?.Id);
    }
}
