using CCImage.Diagnostics;
using CCImage.Restoring;
using CCImage.Storage;
using CCImage.Tests.Platform;

namespace CCImage.Tests.Restoring;

/// <summary>Restoring to file systems that cannot keep everything.</summary>
public sealed class RestoringToPlacesTests(HostPlaces places) : IClassFixture<HostPlaces>
{
    // 17 TiB: files of ext4 with blocks of 4 KiB end at 16 TiB, which nobody knows beforehand.
    [PlaceFact(HostPlaces.Ext4)]
    public void A_file_that_is_too_large_is_left_out() => AssertLeftOut(HostPlaces.Ext4, 17L << 40);

    [PlaceFact(HostPlaces.Fat)]
    public void A_file_that_is_too_large_for_FAT_is_left_out() => AssertLeftOut(HostPlaces.Fat, 5L << 30);

    private void AssertLeftOut(string name, long length)
    {
        HostPlace place = places[name];
        using var tree = new TestTree { TestTree.File("large", length, () => new ZeroStorage(length)), TestTree.File("small", "content") };
        var options = new TreeRestoreOptions { DestinationPath = Path.Combine(place.Folder, "to"), Overwrite = false, Include = [] };
        TreeRestoreReport report = TreeRestorer.Restore(tree, options, place.Platform, SilentObserver.Instance, CancellationToken.None);
        Assert.Contains("a file of this size", Assert.Single(report.Warnings, w => w.Path == "/large").Message, StringComparison.Ordinal);
        Assert.Equal("content", File.ReadAllText(Path.Combine(options.DestinationPath, "small")));
        Assert.Equal(["small"], Directory.GetFileSystemEntries(options.DestinationPath).Select(Path.GetFileName));
    }
}
