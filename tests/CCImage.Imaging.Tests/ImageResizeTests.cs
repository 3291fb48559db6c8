using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.FileSystems.HfsPlus;
using CCImage.Partitions.Gpt;
using CCImage.Storage;
using CCImage.Tests.Encryption;
using CCImage.Tests.Storage;

namespace CCImage.Tests;

using static TestImage;

/// <summary>Whole images resized: files unchanged, judged by our checker, fsck_hfs and sgdisk, and cut at every write.</summary>
public sealed class ImageResizeTests : IDisposable
{
    private const long Bitmap = 32_768L * 4096; // what one block of a bitmap covers

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<BackupImageFormat, BackupImageEncryption> Kinds => ImageCapacityTests.Kinds;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Images_grow_and_shrink_with_their_files(BackupImageFormat format, BackupImageEncryption encryption)
    {
        using Passphrase? passphrase = encryption == BackupImageEncryption.None ? null : Secrets.Of("correct horse");
        string image = Make(format, encryption, passphrase);
        string[] files = FilesOf(image, passphrase);
        long first = DiskImage.Inspect(image, passphrase).CapacityBytes!.Value;
        long[] sizes = format == BackupImageFormat.ReadWrite ? [first + 512, first + (20 << 12), 30 << 20, first]
            : [first + 512, 1008 * Band, 1009 * Band, (1009 * Band) + 512, 3 * Bitmap, first + Band];
        if (encryption != BackupImageEncryption.None) sizes = [sizes[2]]; // every opening derives keys, slowly
        foreach (long size in sizes) Resize(new(image) { SizeBytes = size }, size);
        long least =
            Assert.Throws<ImageException>(() => Resize(new(image) { SizeBytes = 512 }, 512)) is { Id: ImageErrorId.CapacityTooSmall } e
                ? NumberIn(e.Message) : 0;
        Assert.Equal(least, DiskImage.Inspect(image, passphrase).MinimumSizeBytes);
        Assert.Equal(
            ImageErrorId.CapacityTooSmall, Assert.Throws<ImageException>(() => Resize(new(image) { SizeBytes = least - 512 }, 0)).Id);
        least = ResizeToMinimum(least);
        Resize(new(image) { SizeBytes = least + Band }, least + Band);

        long ResizeToMinimum(long most)
        {
            long reached =
                ImageResize.Run(new(image) { Passphrase = passphrase, ToMinimumSize = true }, SilentObserver.Instance,
                    CancellationToken.None).CapacityBytesAfter;
            Assert.InRange(reached, most / 2, most);
            AssertUnchanged(new(image) { Passphrase = passphrase, ToMinimumSize = true }, reached, passphrase);
            return reached;
        }

        void Resize(ImageResizeRequest request, long expected)
        {
            ImageResizeResult result =
                ImageResize.Run(request with { Passphrase = passphrase }, SilentObserver.Instance, CancellationToken.None);
            Assert.Equal((expected, true, null), (result.CapacityBytesAfter, result.VolumeResized, result.Advice));
            Assert.Equal(expected, DiskImage.Inspect(image, passphrase).CapacityBytes);
            Assert.Equal(files, FilesOf(image, passphrase));
            AssertSound(image, passphrase);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Files_that_are_in_the_way_move(BackupImageFormat format, BackupImageEncryption encryption)
    {
        using Passphrase? passphrase = encryption == BackupImageEncryption.None ? null : Secrets.Of("correct horse");
        string image = Make(format, encryption, passphrase);
        TestImage.Scatter(image, passphrase, 7, 12);
        string[] files = FilesOf(image, passphrase);
        BackupImage before = DiskImage.Inspect(image, passphrase);
        long least = before.MinimumSizeBytes!.Value, middle = (least + before.CapacityBytes!.Value) / 1024 * 512;
        Assert.True(least < before.CapacityBytes / 2, $"{least} of {before.CapacityBytes}");
        Assert.Equal(
            ImageErrorId.CapacityTooSmall,
            Assert.Throws<ImageException>(
                () => ImageResize.Run(
                new(image) { Passphrase = passphrase, SizeBytes = least - 512 }, SilentObserver.Instance, CancellationToken.None)).Id);
        foreach (ImageResizeRequest request in (
            ImageResizeRequest[])[new(image) { SizeBytes = middle }, new(image) { ToMinimumSize = true }])
        {
            long? expected = request.SizeBytes ?? DiskImage.Inspect(image, passphrase).MinimumSizeBytes;
            ImageResizeResult result =
                ImageResize.Run(request with { Passphrase = passphrase }, SilentObserver.Instance, CancellationToken.None);
            if (request.ToMinimumSize)
            {
                expected = result.CapacityBytesAfter;
                AssertUnchanged(request with { Passphrase = passphrase }, result.CapacityBytesAfter, passphrase);
            }

            Assert.Equal(expected, result.CapacityBytesAfter);
            Assert.Equal(expected, DiskImage.Inspect(image, passphrase).CapacityBytes);
            Assert.Equal(files, FilesOf(image, passphrase));
            AssertSound(image, passphrase);
        }

        if (format == BackupImageFormat.ReadWrite && encryption == BackupImageEncryption.None && Oracle.Find("fsck_hfs") is not null
            && Oracle.Find("sgdisk") is not null) AssertForeign(image);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_size_that_the_image_has_changes_nothing(BackupImageFormat format, BackupImageEncryption encryption)
    {
        using Passphrase? passphrase = encryption == BackupImageEncryption.None ? null : Secrets.Of("correct horse");
        string image = Make(format, encryption, passphrase);
        long capacity = DiskImage.Inspect(image, passphrase).CapacityBytes!.Value;
        AssertUnchanged(new(image) { SizeBytes = capacity, Passphrase = passphrase }, capacity, passphrase);
        AssertUnchanged(new(image) { SizeBytes = capacity - 511, Passphrase = passphrase }, capacity, passphrase); // whole sectors
        Resize(capacity + 512);
        AssertUnchanged(new(image) { SizeBytes = capacity + 512, Passphrase = passphrase }, capacity + 512, passphrase);
        Resize(capacity);
        AssertUnchanged(new(image) { SizeBytes = capacity, Passphrase = passphrase }, capacity, passphrase);

        // What an interrupted one left is finished, and said so.
        using (DiskImage disk = DiskImage.Open(image, passphrase, writable: true)) disk.Container.SetCapacity(capacity + Band);
        Assert.False(Resize(capacity + Band).IsUnchanged);
        AssertUnchanged(new(image) { SizeBytes = capacity + Band, Passphrase = passphrase }, capacity + Band, passphrase);
        AssertSound(image, passphrase);

        ImageResizeResult Resize(long size) =>
            ImageResize.Run(new(image) { SizeBytes = size, Passphrase = passphrase }, SilentObserver.Instance, CancellationToken.None);
    }

    [Fact]
    public void Bands_and_a_list_that_an_interrupted_resize_left_are_no_size_that_the_image_has()
    {
        string image = Make(BackupImageFormat.SparseBundle);
        long capacity = DiskImage.Inspect(image).CapacityBytes!.Value;
        string behind = Path.Combine(image, "bands", "ff"), copy = Path.Combine(image, "Info.bckup");
        foreach (Action leave in (
            Action[])[() => File.WriteAllBytes(behind, new byte[512]), () => File.WriteAllText(copy, "old"), () => File.Delete(copy)])
        {
            leave();
            Assert.False(ImageResize.Run(new(image) { SizeBytes = capacity }, SilentObserver.Instance, CancellationToken.None).IsUnchanged);
            Assert.False(File.Exists(behind));
            Assert.Equal(File.ReadAllBytes(Path.Combine(image, "Info.plist")), File.ReadAllBytes(copy));
            AssertUnchanged(new(image) { SizeBytes = capacity }, capacity, null);
        }
    }

    // The files of the other file system may lie anywhere.
    [Fact]
    public void A_hybrid_disc_keeps_its_size()
    {
        string image = Make(BackupImageFormat.ReadWrite);
        using (DiskImage disk = DiskImage.Open(image, null, writable: true)) disk.Disk.Write(32769, "CD001"u8);
        Assert.Equal(
            ImageErrorId.UnsupportedFormat,
            Assert.Throws<ImageException>(
            () => ImageResize.Run(new(image) { ToMinimumSize = true }, SilentObserver.Instance, CancellationToken.None)).Id);
        Assert.Null(DiskImage.Inspect(image).MinimumSizeBytes);
    }

    [Theory]
    [InlineData(SpacePolicy.LargeImageBytes, false)]
    [InlineData(SpacePolicy.LargeImageBytes + 512, true)]
    public void Above_four_terabytes_it_is_asked_whether_an_image_is_the_right_fit(long size, bool isSaid)
    {
        string image = Make(BackupImageFormat.SparseBundle);
        var observer = new RecordingObserver();
        ImageResize.Run(new(image) { SizeBytes = size }, observer, CancellationToken.None);
        Assert.Equal(isSaid, observer.Warnings.Any(w => w.Message == SpacePolicy.LargeImageAdvice));
    }

    [OracleTheory("fsck_hfs", "sgdisk")]
    [InlineData(ImageFileSystem.HfsPlus)]
    [InlineData(ImageFileSystem.HfsPlusCaseSensitive)]
    public void Foreign_checkers_have_no_complaint(ImageFileSystem fileSystem)
    {
        string image = Make(BackupImageFormat.ReadWrite, fileSystem: fileSystem);
        string[] files = FilesOf(image, null);
        foreach (long size in (
            long[])[Bitmap + (80 * 512), Bitmap + (96 * 512), Bitmap + (120 * 512), (2 * Bitmap) + 66_048, (2 * Bitmap) + 512 - (1 << 20)])
        {
            try
            {
                ImageResize.Run(new(image) { SizeBytes = size }, SilentObserver.Instance, CancellationToken.None);
            }
            catch (ImageException e) when (e.Id == ImageErrorId.CapacityTooSmall)
            {
                // One block more has no room for a block of the bitmap and the copy of the header.
                Assert.Equal(Bitmap + (96 * 512), size);
            }

            AssertForeign(image);
            Assert.Equal(files, FilesOf(image, null));
        }

        image = Make(BackupImageFormat.ReadWrite, fileSystem: fileSystem);
        ImageResize.Run(new(image) { ToMinimumSize = true }, SilentObserver.Instance, CancellationToken.None);
        AssertForeign(image);
        Assert.Equal(files, FilesOf(image, null));
    }

    [Theory]
    [InlineData(12L << 20, 13L << 20)]
    [InlineData(12L << 20, (12L << 20) + 4096)]
    [InlineData(12L << 20, 136L << 20)]
    [InlineData(16L << 20, 12L << 20)]
    public void Cut_at_every_write_the_image_has_all_files(long from, long to)
    {
        string image = Make(BackupImageFormat.ReadWrite, size: from);
        string[] files = FilesOf(image, null);
        long before = new FileInfo(image).Length;
        to += before - from;
        byte[] disk = new byte[Math.Max(before, to)];
        using (FileStream stream = File.OpenRead(image)) stream.ReadExactly(disk, 0, (int)before);
        var storage = new WriteLog(disk);
        Rewrite(storage, before, to);
        Assert.True(storage.Writes.Count >= 8);
        for (int writes = 0; writes <= storage.Writes.Count; writes++)
        {
            foreach (int torn in writes < storage.Writes.Count && storage.Writes[writes].Bytes.Length > 512 ? (int[])[0, 512] : [0])
            {
                byte[] cut = storage.After(writes, torn);
                bool isDone = writes == storage.Writes.Count;
                WriteSparse(image, cut.AsSpan(0, isDone ? (int)to : cut.Length));
                Assert.Equal(files, FilesOf(image, null));
                ImageFinding[] findings = [.. ImageVerification.Run(new(image), SilentObserver.Instance, CancellationToken.None).Findings];
                Assert.DoesNotContain(findings, f => f.Grade == ImageFindingGrade.Damaged);
                if (isDone) Assert.DoesNotContain(findings, f => f.Grade == ImageFindingGrade.Repairable);
            }
        }
    }

    // The writes of a resize, as ImageResize orders them, on a disk that is as long as the longer of the two.
    private static void Rewrite(WriteLog disk, long before, long after)
    {
        using var old = new WindowStorage(disk, 0, before);
        var map = new GptResizer(old);
        long offset = map.LastOffset!.Value, oldWindow = map.LastEndFor(before) - offset, window = map.LastEndFor(after) - offset;
        var volume = new HfsPlusResizer(HfsPlusVolume.Open(new WindowStorage(disk, offset, oldWindow)), CancellationToken.None);
        HfsPlusResizer.Plan plan = volume.PlanFor(window);
        var longer = new WindowStorage(disk, offset, Math.Max(window, oldWindow));
        if (after < before) plan.Write(longer, static _ => { }, default);
        map.Write(disk, after, offset + window);
        if (after >= before) plan.Write(longer, static _ => { }, default);
    }

    private static void WriteSparse(string image, ReadOnlySpan<byte> bytes)
    {
        using FileStream stream = File.Create(image);
        stream.SetLength(bytes.Length);
        for (int at = 0; at < bytes.Length; at += 1 << 16)
        {
            ReadOnlySpan<byte> part = bytes[at..Math.Min(bytes.Length, at + (1 << 16))];
            if (!part.ContainsAnyExcept((byte)0)) continue;
            stream.Position = at;
            stream.Write(part);
        }
    }

    private static void AssertUnchanged(ImageResizeRequest request, long capacity, Passphrase? passphrase)
    {
        string[] before = HostFilesOf(request.Path);
        ImageResizeResult result = ImageResize.Run(request, SilentObserver.Instance, CancellationToken.None);
        Assert.Equal(
            (true, capacity, capacity, 0L), (result.IsUnchanged, result.CapacityBytesBefore, result.CapacityBytesAfter, result.BytesMoved));
        Assert.Equal(before, HostFilesOf(request.Path));
        if (request.ToMinimumSize) Assert.Equal(capacity, DiskImage.Inspect(request.Path, passphrase).MinimumSizeBytes);
    }

    private static long NumberIn(string message) =>
        long.Parse(message.Split(" now is ")[1].Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture);

    private void AssertForeign(string image)
    {
        AssertSound(image, null);
        (int exitCode, string output, string error) = Oracle.Run("sgdisk", "-v", image);
        Assert.True(exitCode == 0 && output.Contains("No problems found", StringComparison.Ordinal), output + error);
        string window = _folder["window"];
        using (DiskImage disk = DiskImage.Open(image))
        using (FileStream stream = File.Create(window))
        {
            BackupImagePartition partition = disk.Describe().Partitions[0];
            byte[] buffer = new byte[1 << 20];
            stream.SetLength(partition.SizeBytes);
            for (long at = 0; at < partition.SizeBytes; at += buffer.Length)
            {
                Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, partition.SizeBytes - at));
                disk.Disk.Read(partition.OffsetBytes + at, part);
                if (!part.ContainsAnyExcept((byte)0)) continue;
                stream.Position = at;
                stream.Write(part);
            }
        }

        (exitCode, output, error) = Oracle.Run("fsck_hfs", "-fn", window);
        Assert.True(exitCode == 0, output + error);
        Assert.Contains("appears to be OK", output + error, StringComparison.Ordinal);
    }

    private string Make(
        BackupImageFormat format, BackupImageEncryption encryption = BackupImageEncryption.None, Passphrase? passphrase = null,
            ImageFileSystem fileSystem = default, long size = 12 << 20) =>
        TestImage.Make(
            _folder, new() { Path = "", Format = format, SizeBytes = size, Encryption = encryption, Passphrase = passphrase,
            FileSystem = fileSystem });

    [CorpusFact]
    public void An_APFS_container_grows_with_its_image()
    {
        CorpusImage sample = CorpusImage.All.Single(i => i.File == "deploymenttheory__go-apfs-v2/basic.img.gz");
        string plain = sample.Materialise(_folder.Path);
        foreach (BackupImageFormat format in (
            BackupImageFormat[])[BackupImageFormat.ReadWrite, BackupImageFormat.Sparse, BackupImageFormat.SparseBundle])
        {
            foreach (BackupImageEncryption encryption in (
                BackupImageEncryption[])[BackupImageEncryption.None, BackupImageEncryption.Aes128])
            {
                using Passphrase? passphrase = encryption == BackupImageEncryption.None ? null : Secrets.Of("correct horse");
                string image = _folder[$"{format} {encryption}"];
                EncryptedImages.Write(plain, image, format, encryption, "correct horse");
                long capacity = DiskImage.Inspect(image, passphrase).CapacityBytes!.Value;
                Assert.Equal(ImageErrorId.CapacityTooSmall, Assert.Throws<ImageException>(() => Resize(capacity - 4096)).Id);
                ImageResizeResult grown = Resize(capacity + (1 << 20));
                Assert.Equal((true, null), (grown.VolumeResized, grown.Advice));
                AssertSound(image, passphrase);
                BackupImage now = DiskImage.Inspect(image, passphrase);
                Assert.InRange(now.Partitions![0].SizeBytes - now.Volumes![0].CapacityBytes, 0, 4095);

                // To several chunks, with other checkpoint areas; what is larger still is said with the way out, and taken back as far as
                // the container reaches.
                grown = Resize(1L << 30);
                Assert.Equal((true, null), (grown.VolumeResized, grown.Advice));
                AssertSound(image, passphrase);
                now = DiskImage.Inspect(image, passphrase);
                Assert.InRange(now.Partitions![0].SizeBytes - now.Volumes![0].CapacityBytes, 0, 4095);
                if (format != BackupImageFormat.SparseBundle) continue;
                ImageResizeResult more = Resize(129L << 40);
                Assert.False(more.VolumeResized);
                Assert.Contains("is made no larger than", more.Advice, StringComparison.Ordinal);
                Assert.Contains("diskutil apfs resizeContainer", more.Advice, StringComparison.Ordinal);
                AssertSound(image, passphrase);
                Assert.InRange(Resize(null).CapacityBytesAfter, (1L << 30) - 4095, 1L << 30); // no part of a block behind it
                AssertSound(image, passphrase);
                Assert.Equal(now.Volumes![0], DiskImage.Inspect(image, passphrase).Volumes![0]);

                ImageResizeResult Resize(long? size) => ImageResize.Run(
                    new(image) { Passphrase = passphrase, SizeBytes = size, ToMinimumSize = size is null }, SilentObserver.Instance,
                    CancellationToken.None);
            }
        }
    }
}
