using System.Globalization;
using System.Security.Cryptography;
using CCImage.Diagnostics;
using CCImage.Storage;
using CCImage.Tests.Encryption;

namespace CCImage.Tests.EndToEnd;

using static TestImage;

/// <summary>
/// Whole resizes and compactions as the host sees them, through every container: cut at every call, with unflushed writes and names lost,
/// each state is an image that opens with all its files. And what they read.
/// </summary>
public sealed class SpaceCrashTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [OracleTheory("strace")]
    [InlineData(BackupImageFormat.ReadWrite, false, 1)]
    [InlineData(BackupImageFormat.ReadWrite, true, 2)]
    [InlineData(BackupImageFormat.Sparse, false, 3)]
    [InlineData(BackupImageFormat.Sparse, true, 4)]
    [InlineData(BackupImageFormat.SparseBundle, false, 5)]
    [InlineData(BackupImageFormat.SparseBundle, true, 6)]
    public void Cut_at_every_call_the_image_has_all_files(BackupImageFormat format, bool grows, int seed)
    {
        string image = TestImage.Make(_folder, new() { Path = "", Format = format, SizeBytes = 6 << 20 }, 5, 60_000);
        Scatter(image, null, seed, 5);
        string[] files = FilesOf(image);
        BackupImage before = DiskImage.Inspect(image);

        // Sparse formats grow so far that the bitmap needs another block.
        long size = !grows ? before.MinimumSizeBytes!.Value : format == BackupImageFormat.ReadWrite ? 8 << 20 : 140 << 20;
        var states = new CrashStates(image);
        List<HostCall> calls = TracedJob.Run(image, _folder["trace"], "resize", image, size.ToString(CultureInfo.InvariantCulture));
        Assert.True(calls.Count(c => c.Kind == HostCallKind.Write) >= (grows ? 8 : 20));
        Assert.Equal(size, DiskImage.Inspect(image).CapacityBytes);
        Assert.Equal(files, FilesOf(image));
        states.Forget(image);
        int prefixes = 0;
        foreach ((string name, Dictionary<string, byte[]> state, bool isPrefix) in states.Of(calls, seed))
        {
            states.Materialise(state);
            Judge(name, image, files, before.CapacityBytes!.Value, size);
            if (!isPrefix || prefixes++ % 9 != 0) continue;

            // Asked again, it ends where it would have ended.
            ImageResize.Run(new(image) { SizeBytes = size }, SilentObserver.Instance, CancellationToken.None);
            Assert.Equal(files, FilesOf(image));
            AssertSound(image);
            states.Forget(image);
        }
    }

    // With new checkpoint areas, to which block 0 leads.
    [OracleTheory("strace", "7z")]
    [InlineData(BackupImageFormat.ReadWrite, 9)]
    [InlineData(BackupImageFormat.Sparse, 10)]
    [InlineData(BackupImageFormat.SparseBundle, 11)]
    public void A_growing_APFS_container_cut_at_every_call_has_all_files(BackupImageFormat format, int seed)
    {
        Require.Corpus();
        const long Size = 20 << 20;
        string image = _folder["image"];
        EncryptedImages.Write(
            CorpusImage.All.Single(i => i.File == "deploymenttheory__go-apfs-v2/basic.img.gz").Materialise(_folder.Path), image, format,
                BackupImageEncryption.None, "");
        string files = ApfsFilesOf(image);
        long before = DiskImage.Inspect(image).CapacityBytes!.Value;
        var states = new CrashStates(image);
        List<HostCall> calls = TracedJob.Run(image, _folder["trace"], "resize", image, Size.ToString(CultureInfo.InvariantCulture));
        long container = DiskImage.Inspect(image).Volumes![0].CapacityBytes;
        Assert.InRange(container, Size - (1 << 20), Size);
        Assert.Equal(files, ApfsFilesOf(image));
        states.Forget(image);
        int judged = 0, old = 0;
        foreach ((string name, Dictionary<string, byte[]> state, bool isPrefix) in states.Of(calls, seed))
        {
            if (judged++ % 3 != 0 && !isPrefix) continue;
            states.Materialise(state);
            Judge(name, image, null, before, Size);
            Assert.Equal(files, ApfsFilesOf(image));
            if (!isPrefix) continue;
            if (DiskImage.Inspect(image).Volumes![0].CapacityBytes != container) old++;
            ImageResize.Run(new(image) { SizeBytes = Size }, SilentObserver.Instance, CancellationToken.None);
            Assert.Equal((name, container), (name, DiskImage.Inspect(image).Volumes![0].CapacityBytes));
            AssertSound(image);
            states.Forget(image);
        }

        Assert.True(old > 5, $"{old} of {judged} with the container of before");
    }

    // What deleted files have left goes back to the host, piece by piece.
    [OracleTheory("strace")]
    [InlineData(BackupImageFormat.Sparse, 7)]
    [InlineData(BackupImageFormat.SparseBundle, 8)]
    public void Compacted_and_cut_at_every_call_the_image_has_all_files(BackupImageFormat format, int seed)
    {
        string image = TestImage.Make(_folder, new() { Path = "", Format = format, SizeBytes = 20 << 20 }, 5, 60_000);
        Scatter(image, null, seed, 5);
        using (DiskImage disk = DiskImage.Open(image, null, writable: true))
        {
            foreach (StorageExtent room in disk.GetFreeExtents().ToArray())
                disk.Disk.Write(room.Offset, TestTree.Noise((int)room.Length, seed));
            disk.Disk.Flush();
        }

        string[] files = FilesOf(image);
        BackupImage before = DiskImage.Inspect(image);
        var states = new CrashStates(image);
        List<HostCall> calls = TracedJob.Run(image, _folder["trace"], "compact", image);
        long after = DiskImage.Inspect(image).StoredBytes;
        Assert.True(after < before.StoredBytes * 3 / 4, $"{before.StoredBytes} -> {after}");
        states.Forget(image);
        int prefixes = 0;
        foreach ((string name, Dictionary<string, byte[]> state, bool isPrefix) in states.Of(calls, seed))
        {
            states.Materialise(state);
            Judge(name, image, files, before.CapacityBytes!.Value);
            if (!isPrefix || prefixes++ % 2 != 0) continue;
            ImageCompaction.Run(new(image), SilentObserver.Instance, CancellationToken.None);
            Assert.Equal(files, FilesOf(image));
            AssertSound(image);
            Assert.InRange(DiskImage.Inspect(image).StoredBytes, 1, after);
            states.Forget(image);
        }

        Assert.True(prefixes > 3, $"{prefixes}");
    }

    // 24 MB of files, as much of what deleted files have left: neither is read.
    [OracleFact("strace")]
    public void Neither_resizing_nor_compacting_reads_files()
    {
        const int Files = 6, FileSize = 4 << 20, Metadata = 2 << 20;
        string image =
            TestImage.Make(_folder, new() { Path = "", Format = BackupImageFormat.SparseBundle, SizeBytes = 64 << 20 }, Files, FileSize);
        using (DiskImage disk = DiskImage.Open(image, null, writable: true))
        {
            StorageExtent room = disk.GetFreeExtents().MaxBy(e => e.Length)!;
            disk.Disk.Write(room.Offset, TestTree.Noise(Files * FileSize, 1));
            disk.Disk.Flush();
        }

        string[] files = FilesOf(image);
        Assert.True(DiskImage.Inspect(image).StoredBytes > 2 * Files * FileSize);
        AssertReads("resize", image, $"{1L << 40}");
        AssertReads("resize", image, $"{62 << 20}");
        AssertReads("resize", image, $"{60 << 20}");
        AssertReads("compact", image);
        Assert.True(DiskImage.Inspect(image).StoredBytes < Files * FileSize + Metadata);
        Assert.Equal(files, FilesOf(image));

        // The counter counts.
        Assert.InRange(BytesRead("restore-disk", image, _folder["disk"]), Files * FileSize, long.MaxValue);

        void AssertReads(params string[] job) => Assert.InRange(BytesRead(job), 4096, Metadata);

        long BytesRead(params string[] job) =>
            TracedJob.Run(image, _folder["trace"], job).Where(c => c.Kind == HostCallKind.Read).Sum(c => c.Length);
    }

    private string ApfsFilesOf(string image)
    {
        using DiskImage disk = DiskImage.Open(image);
        DiskImage.FoundVolume found = Assert.Single(disk.Volumes);
        byte[] bytes = new byte[found.Volume.CapacityBytes];
        disk.Disk.Read(found.OffsetBytes, bytes);
        string path = _folder["container"];
        File.WriteAllBytes(path, bytes);
        return Convert.ToHexString(SHA256.HashData(Oracle.RunForBytes("7z", "x", "-so", "-tapfs", path)));
    }

    private static void Judge(string name, string image, string[]? files, params long[] capacities)
    {
        try
        {
            if (files is not null) Assert.Equal(files, FilesOf(image));
            Assert.Contains(DiskImage.Inspect(image).CapacityBytes!.Value, capacities);
            IReadOnlyList<ImageFinding> findings = ImageVerification.Run(new(image), SilentObserver.Instance, CancellationToken.None)
                .Findings;
            Assert.DoesNotContain(findings, f => f.Grade == ImageFindingGrade.Damaged);
        }
        catch (Exception e) when (e is Xunit.Sdk.XunitException or ImageException)
        {
            throw new InvalidOperationException($"{name}: {e.Message}", e);
        }
    }
}
