using CCImage.Diagnostics;

namespace CCImage.Tests;

using static TestImage;

/// <summary>Resizes that end because the disk under the image is full: at every point where one more page would have been needed.</summary>
public sealed class FullDiskResizeTests : IDisposable
{
    private const int Page = 4096;
    private const int MostPages = 4096;

    private readonly TemporaryFolder _folder = new();
    private string? _mounted;

    public void Dispose()
    {
        if (_mounted is not null) Oracle.Run("umount", _mounted);
        _folder.Dispose();
    }

    [LinuxRootFact("tmpfs")]
    public void A_raw_image_that_grows_has_all_files_wherever_the_disk_ends() =>
        Try(BackupImageFormat.ReadWrite, 300L << 20, scatter: false);

    [LinuxRootFact("tmpfs")]
    public void A_sparse_image_that_grows_has_all_files_wherever_the_disk_ends() =>
        Try(BackupImageFormat.Sparse, 300L << 20, scatter: false);

    [LinuxRootFact("tmpfs")]
    public void A_bundle_that_grows_has_all_files_wherever_the_disk_ends() =>
        Try(BackupImageFormat.SparseBundle, 300L << 20, scatter: false);

    [LinuxRootFact("tmpfs")]
    public void A_sparse_image_that_shrinks_has_all_files_wherever_the_disk_ends() => Try(BackupImageFormat.Sparse, null, scatter: true);

    [LinuxRootFact("tmpfs")]
    public void A_bundle_that_shrinks_has_all_files_wherever_the_disk_ends() => Try(BackupImageFormat.SparseBundle, null, scatter: true);

    // Fewer free pages, and ever more, until it succeeds.
    private void Try(BackupImageFormat format, long? size, bool scatter)
    {
        string original = Make(_folder, new() { Path = "", Format = format, SizeBytes = 12 << 20 });
        if (scatter) Scatter(original, null, 5, 8);
        // so that what moves needs room
        if (format != BackupImageFormat.ReadWrite) ImageCompaction.Run(new(original), SilentObserver.Instance, CancellationToken.None);
        string[] files = FilesOf(original, null);
        string small = _folder["small"], image = Path.Combine(small, "image");
        Directory.CreateDirectory(small);
        (int exitCode, _, string error) = Oracle.Run("mount", "-t", "tmpfs", "-o", "size=48m", "none", small);
        Assert.True(exitCode == 0, error);
        _mounted = small;
        int failed = 0;
        for (int pages = 0; pages < MostPages; pages = Math.Max(pages + 1, pages * 5 / 4))
        {
            foreach (string entry in Directory.GetFileSystemEntries(small)) Delete(entry);
            Copy(original, image);
            Fill(small, pages);
            ImageResizeRequest request = new(image) { SizeBytes = size, ToMinimumSize = size is null };
            if (Failure(request) is not { } failure)
            {
                Assert.InRange(failed, 1, int.MaxValue);
                AssertSound(image);
                return;
            }

            failed++;
            Assert.Equal(ImageErrorId.DestinationFull, failure.Id);
            Assert.Equal(files, FilesOf(image, null));
            ImageVerificationResult found = ImageVerification.Run(new(image), SilentObserver.Instance, CancellationToken.None);
            Assert.DoesNotContain(found.Findings, f => f.Grade == ImageFindingGrade.Damaged);
            Assert.True(found.IsSound || failure.Remedy!.Contains("Test-BackupImage -Repair", StringComparison.Ordinal),
                $"{pages}: {failure}\n{string.Join('\n', found.Findings)}");

            // With room, either of what the error says finishes it.
            File.Delete(Path.Combine(small, "filler"));
            if (failed % 2 == 0) Assert.Null(Failure(request));
            else ImageVerification.Run(new(image) { Repair = true }, SilentObserver.Instance, CancellationToken.None);
            AssertSound(image);
            Assert.Equal(files, FilesOf(image, null));
        }

        Assert.Fail("It does not succeed with any room.");
    }

    private static ImageException? Failure(ImageResizeRequest request)
    {
        try
        {
            ImageResize.Run(request, SilentObserver.Instance, CancellationToken.None);
            return null;
        }
        catch (ImageException e)
        {
            return e;
        }
    }

    private static void Fill(string folder, int pages)
    {
        long free = new DriveInfo(folder).AvailableFreeSpace - ((long)pages * Page);
        using FileStream filler = File.Create(Path.Combine(folder, "filler"));
        byte[] bytes = new byte[Page];
        for (long at = 0; at < free; at += Page) filler.Write(bytes);
    }

    private static void Copy(string from, string to) => Assert.Equal(0, Oracle.Run("cp", "-a", "--sparse=always", from, to).ExitCode);

    private static void Delete(string path)
    {
        if (Directory.Exists(path)) Directory.Delete(path, recursive: true);
        else File.Delete(path);
    }
}
