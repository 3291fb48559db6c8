using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Tests.Encryption;

namespace CCImage.Tests;

using static TestImage;

/// <summary>A resize that is only planned tells what the resize does; and one that is stopped while files move has done nothing.</summary>
public sealed class ImageResizePlanTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public static TheoryData<BackupImageFormat, BackupImageEncryption> Kinds => ImageCapacityTests.Kinds;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_plan_says_what_happens_and_changes_nothing(BackupImageFormat format, BackupImageEncryption encryption)
    {
        using Passphrase? passphrase = encryption == BackupImageEncryption.None ? null : Secrets.Of("correct horse");
        string image = Make(format, encryption, passphrase);
        Scatter(image, passphrase, 3, 6);
        string[] files = FilesOf(image, passphrase);
        BackupImage first = DiskImage.Inspect(image, passphrase);
        long capacity = first.CapacityBytes!.Value, middle = (first.MinimumSizeBytes!.Value + capacity) / 1024 * 512;
        foreach (ImageResizeRequest request in (ImageResizeRequest[])[
            new(image) { SizeBytes = capacity + (5 << 20) }, new(image) { SizeBytes = middle }, new(image) { ToMinimumSize = true }])
        {
            string[] before = HostFilesOf(image);
            ImageResizeResult plan = Run(request with { EstimateOnly = true }, passphrase);
            Assert.Equal(before, HostFilesOf(image));
            Assert.True(plan.IsEstimate);
            Assert.Equal(request.SizeBytes ?? DiskImage.Inspect(image, passphrase).MinimumSizeBytes, plan.CapacityBytesAfter);
            ImageResizeResult result = Run(request, passphrase);
            if (!request.ToMinimumSize) Assert.Equal(plan with { IsEstimate = false }, result);
            // what has moved is smaller, and the plan did not read it
            else Assert.InRange(result.CapacityBytesAfter, capacity / 10, plan.CapacityBytesAfter);
            if (request.SizeBytes > capacity) Assert.Equal(0, plan.BytesMoved);
            else Assert.InRange(plan.BytesMoved, 4096, capacity);
            Assert.NotEqual(before, HostFilesOf(image));
            Assert.Equal(files, FilesOf(image, passphrase));
        }
    }

    [Fact]
    public void A_plan_fails_where_the_resize_does()
    {
        foreach (BackupImageFormat format in (
            BackupImageFormat[])[BackupImageFormat.Sparse, BackupImageFormat.SparseBundle, BackupImageFormat.ReadWrite])
        {
            string image = Make(format);
            Assert.Equal(ImageErrorId.CapacityTooSmall, FailureOf(new(image) { SizeBytes = 512 }));
            Assert.Equal(ImageErrorId.InvalidArgument, FailureOf(new(image) { SizeBytes = 512, ToMinimumSize = true }));
            if (format == BackupImageFormat.Sparse)
                Assert.Equal(ImageErrorId.InvalidArgument, FailureOf(new(image) { SizeBytes = 1L << 52 }));
            if (!OperatingSystem.IsLinux()) continue; // elsewhere only opening for writing tells
            using DiskImage open = DiskImage.Open(image);
            Assert.Equal(ImageErrorId.ImageInUse,
                Assert.Throws<ImageException>(() => Run(new(image) { EstimateOnly = true, SizeBytes = 64 << 20 }, null)).Id);
        }

        string bundle = Make(BackupImageFormat.SparseBundle);
        File.WriteAllText(Path.Combine(bundle, "Info.plist"), "");
        Assert.Equal(ImageErrorId.ImageDamaged, FailureOf(new(bundle) { SizeBytes = 64 << 20 }));
        Assert.Equal(ImageErrorId.UnsupportedFormat, FailureOf(new(Make(BackupImageFormat.ReadOnlyZlib)) { SizeBytes = 64 << 20 }));
        Assert.Equal(ImageErrorId.ImageNotFound, FailureOf(new(_folder["none"]) { SizeBytes = 64 << 20 }));
    }

    // Nothing is moved, the volume stays as it is; the sentence is the same.
    [OracleFact("mkfs.fat")]
    public void A_plan_has_the_advice_of_the_resize()
    {
        string image = _folder["fat"];
        using (FileStream file = File.Create(image)) file.SetLength(4 << 20);
        Oracle.RunForBytes("mkfs.fat", image);
        ImageResizeResult plan = Run(new(image) { SizeBytes = 8 << 20, EstimateOnly = true }, null);
        Assert.False(plan.VolumeResized);
        Assert.NotNull(plan.Advice);
        Assert.Equal(4 << 20, new FileInfo(image).Length);
        Assert.Equal(plan with { IsEstimate = false }, Run(new(image) { SizeBytes = 8 << 20 }, null));
        Assert.Equal(8 << 20, new FileInfo(image).Length);
        Assert.Equal(ImageErrorId.CapacityTooSmall, FailureOf(new(image) { SizeBytes = 1 << 20 }));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Cancelled_while_files_move_the_image_is_as_it_was(BackupImageFormat format, BackupImageEncryption encryption)
    {
        using Passphrase? passphrase = encryption == BackupImageEncryption.None ? null : Secrets.Of("correct horse");
        string image = Make(format, encryption, passphrase);
        Scatter(image, passphrase, 5, 4);
        string[] files = FilesOf(image, passphrase);
        BackupImage before = DiskImage.Inspect(image, passphrase);
        for (int step = 1; ; step += encryption == BackupImageEncryption.None ? 1 : 4)
        {
            using var cancellation = new CancellationTokenSource();
            int left = step;
            var observer = new RecordingObserver
            {
                WhenProgress = _ =>
                {
                    if (--left == 0) cancellation.Cancel();
                },
            };
            try
            {
                ImageResizeResult result =
                    ImageResize.Run(new(image) { Passphrase = passphrase, ToMinimumSize = true }, observer, cancellation.Token);
                Assert.True(step > 4);
                AssertProgress(observer, result);
                break;
            }
            catch (OperationCanceledException)
            {
                BackupImage now = DiskImage.Inspect(image, passphrase);
                Assert.Equal((before.CapacityBytes, before.UsedBytes, before.MinimumSizeBytes),
                    (now.CapacityBytes, now.UsedBytes, now.MinimumSizeBytes));
                Assert.Equal(files, FilesOf(image, passphrase));
                AssertSound(image, passphrase);
            }
        }

        Assert.Equal(files, FilesOf(image, passphrase));
        AssertSound(image, passphrase);
    }

    private static void AssertProgress(RecordingObserver observer, ImageResizeResult result)
    {
        Assert.All(observer.Progress, p => Assert.Equal((result.BytesMoved, "bytes"), (p.Total, p.Unit)));
        Assert.Equal(observer.Progress.Select(p => p.Completed).Order(), observer.Progress.Select(p => p.Completed));
        Assert.Equal(result.BytesMoved, observer.Progress.Last().Completed);
    }

    private static ImageErrorId FailureOf(ImageResizeRequest request)
    {
        ImageException plan = Assert.Throws<ImageException>(() => Run(request with { EstimateOnly = true }, null));
        ImageException resize = Assert.Throws<ImageException>(() => Run(request, null));
        Assert.Equal((resize.Id, resize.Message), (plan.Id, plan.Message));
        return plan.Id;
    }

    private static ImageResizeResult Run(ImageResizeRequest request, Passphrase? passphrase) =>
        ImageResize.Run(request with { Passphrase = passphrase }, SilentObserver.Instance, CancellationToken.None);

    private string Make(
        BackupImageFormat format, BackupImageEncryption encryption = BackupImageEncryption.None, Passphrase? passphrase = null) =>
        TestImage.Make(
            _folder, new() { Path = "", Format = format, SizeBytes = 12 << 20, Encryption = encryption, Passphrase = passphrase });
}
