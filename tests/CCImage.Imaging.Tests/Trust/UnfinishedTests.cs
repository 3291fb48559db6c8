using System.Diagnostics;
using CCImage.Containers.SparseBundle;
using CCImage.Storage;
using CCImage.Tests.EndToEnd;

namespace CCImage.Tests.Trust;

/// <summary>What a run that was stopped leaves is no image to anybody, and goes with the next run.</summary>
[System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
public sealed class UnfinishedTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(BackupImageFormat.SparseBundle)]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.ReadWrite)]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    public void What_a_killed_run_leaves_is_refused_and_removed_by_the_next_run_of_any_name(BackupImageFormat format)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        MakeSource();
        string image = _folder["out", "image"], partial = image + ".partial";
        Directory.CreateDirectory(_folder["out"]);
        var random = new Random(3);
        bool wasSeen = false;
        for (int i = 0; i < 12 && !wasSeen; i++)
        {
            using (Process job = ReplacingTests.Start("new", format.ToString(), "-", _folder["src"], image))
            {
                // Somewhere in the middle of writing.
                WaitFor(() =>
                    job.HasExited || Directory.Exists(Path.Combine(partial, "image")) || File.Exists(Path.Combine(partial, "image")));
                Thread.Sleep(random.Next(0, 300));
                job.Kill();
                job.WaitForExit();
            }

            wasSeen = Directory.Exists(partial);
            if (File.Exists(image)) File.Delete(image);
            if (Directory.Exists(image)) Directory.Delete(image, recursive: true);
        }

        Assert.True(wasSeen, "No run was killed in the middle.");
        foreach (string path in new[] { partial, Path.Combine(partial, "image") })
        {
            if (!Path.Exists(path)) continue;
            ImageException e = Assert.Throws<ImageException>(() => DiskImage.Inspect(path));
            Assert.Equal(ImageErrorId.ImageDamaged, e.Id);
            Assert.Contains("unfinished", e.Message, StringComparison.Ordinal);
            Assert.Throws<ImageException>(() => DiskImage.Open(path, null));
        }

        ReplacingTests.Make(_folder["out", "another"], format);
        Assert.Equal([_folder["out", "another"]], Directory.GetFileSystemEntries(_folder["out"]));
    }

    [Fact]
    public void Only_what_is_provably_ours_and_not_in_use_is_removed()
    {
        // Somebody's folder of such a name, one with a lock of another program, and one that is being written.
        Directory.CreateDirectory(_folder["a.partial"]);
        File.WriteAllText(_folder["a.partial", "letter"], "dear");
        Directory.CreateDirectory(_folder["b.partial"]);
        File.WriteAllText(_folder["b.partial", ".lock"], "");
        File.WriteAllText(_folder["c.partial"], "a download");
        using (var live = new AtomicFile(_folder["d"], overwrite: false))
        {
            ReplacingTests.Make(_folder["image"], BackupImageFormat.ReadOnlyZlib);
            live.Storage.Write(0, "whole"u8);
            live.Commit();
        }

        Assert.Equal(["a.partial", "b.partial", "c.partial", "d", "image"],
            Directory.GetFileSystemEntries(_folder.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal("whole", File.ReadAllText(_folder["d"]));
        ImageException e = Assert.Throws<ImageException>(() => new AtomicFile(_folder["a"], overwrite: false));
        Assert.Equal(ImageErrorId.DestinationExists, e.Id);
        Assert.True(File.Exists(_folder["a.partial", "letter"]));
    }

    [Fact]
    public void An_old_image_that_was_set_aside_by_a_killed_run_comes_back()
    {
        Directory.CreateDirectory(_folder["x.sparsebundle.partial", "replaced"]);
        File.WriteAllText(_folder["x.sparsebundle.partial", "replaced", "content"], "old");
        File.WriteAllText(_folder["x.sparsebundle.partial", ".lock"],
            "An image that CCImage has not finished. The next image that is made beside this folder removes it.\n");
        ReplacingTests.Make(_folder["another"], BackupImageFormat.ReadOnlyZlib);
        Assert.Equal("old", File.ReadAllText(_folder["x.sparsebundle", "content"]));
        Assert.False(Directory.Exists(_folder["x.sparsebundle.partial"]));
    }

    [Fact]
    public void A_bundle_is_none_before_its_property_list_is_written()
    {
        using var folder = new AtomicFolder(_folder["x"], overwrite: false);
        using (var bundle = SparseBundleStorage.CreateUnfinished(
            SparseBundleFolder.Take(folder.OpenFolder(), folder.PartialPath), 20 << 20))
        {
            bundle.Write(0, [1]);
            bundle.Flush();
            Assert.Equal(["bands", "token"],
                Directory.GetFileSystemEntries(folder.PartialPath).Select(Path.GetFileName).Order(StringComparer.Ordinal));
            bundle.Seal();
        }

        folder.Commit();
        Assert.True(SparseBundleStorage.IsMatch(_folder["x"]));
    }

    [Theory]
    [InlineData("TERM", 143)]
    [InlineData("HUP", 129)]
    public void A_signal_that_ends_the_process_leaves_nothing_behind(string signal, int exitCode)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        MakeSource();
        Directory.CreateDirectory(_folder["out"]);
        foreach (BackupImageFormat format in (BackupImageFormat[])[BackupImageFormat.SparseBundle, BackupImageFormat.ReadOnlyZlib])
        {
            string partial = _folder["out", "image.partial"];
            using Process job = ReplacingTests.Start("new", format.ToString(), "-", _folder["src"], _folder["out", "image"]);
            WaitFor(() => job.HasExited || Path.Exists(Path.Combine(partial, "image")));
            Assert.False(job.HasExited, job.HasExited ? job.StandardError.ReadToEnd() : "");
            Oracle.RunForBytes("kill", $"-{signal}", job.Id.ToString(System.Globalization.CultureInfo.InvariantCulture));
            Assert.True(job.WaitForExit(60_000));
            Assert.Equal(exitCode, job.ExitCode);
            Assert.Empty(Directory.GetFileSystemEntries(_folder["out"]));
        }
    }

    private static void WaitFor(Func<bool> condition)
    {
        var clock = Stopwatch.StartNew();
        while (!condition() && clock.Elapsed < TimeSpan.FromSeconds(60)) Thread.Sleep(2);
    }

    private void MakeSource()
    {
        Directory.CreateDirectory(_folder["src"]);
        for (int i = 0; i < 60; i++) File.WriteAllBytes(_folder["src", $"file {i}"], TestTree.Noise(4_000_000, i));
    }
}
