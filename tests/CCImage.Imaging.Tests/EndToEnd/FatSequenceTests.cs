using System.Security.Cryptography;
using System.Text;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.EndToEnd;

/// <summary>
/// Seeded sequences on images of FAT and exFAT volumes: mtools, a driver in user space or the Linux kernel fills and deletes, we compact
/// and grow, and after each step
/// 7-Zip or that driver and we read the files, and the file system's own checker and ours read the rest.
/// </summary>
public sealed class FatSequenceTests : IDisposable
{
    private const int Rounds = 3;

    private readonly TemporaryFolder _folder = new();
    private readonly Dictionary<string, string> _files = [];

    public void Dispose() => _folder.Dispose();

    [OracleTheory("mkfs.fat", "fsck.fat", "mcopy", "mdel", "7z")]
    [InlineData("16", 16, true, 1)]
    [InlineData("16", 16, false, 2)]
    [InlineData("32", 36, true, 3)]
    public void Filled_deleted_compacted_and_grown(string bits, int mebibytes, bool isBundle, int seed)
    {
        using (FileStream file = File.Create(_folder["volume"])) file.SetLength((long)mebibytes << 20);
        Oracle.RunForBytes("mkfs.fat", "-F", bits, "-s", "1", _folder["volume"]);
        Run(mebibytes, isBundle, seed, new Fat(_folder));
    }

    [OracleTheory("mkfs.exfat", "fsck.exfat", "mount.exfat-fuse", "umount", "losetup")]
    [InlineData("512", true, 4)]
    [InlineData("4K", false, 5)]
    public void Filled_deleted_compacted_and_grown_with_exFAT(string clusterSize, bool isBundle, int seed)
    {
        const int Mebibytes = 24;
        using (FileStream file = File.Create(_folder["volume"])) file.SetLength((long)Mebibytes << 20);
        Oracle.RunForBytes("mkfs.exfat", "-c", clusterSize, _folder["volume"]);
        Run(Mebibytes, isBundle, seed, new ExFat(_folder));
    }

    [OracleTheory("mkfs.exfat", "fsck.exfat", "mkfs.fat", "fsck.fat", "uml-apfs")]
    [InlineData("exfat", "512", true, 6)]
    [InlineData("exfat", "32K", false, 7)]
    [InlineData("vfat", "", true, 8)]
    public void Filled_deleted_compacted_and_grown_with_the_kernel(string type, string clusterSize, bool isBundle, int seed)
    {
        const int Mebibytes = 36;
        using (FileStream file = File.Create(_folder["volume"])) file.SetLength((long)Mebibytes << 20);
        if (type == "exfat") Oracle.RunForBytes("mkfs.exfat", "-c", clusterSize, _folder["volume"]);
        else Oracle.RunForBytes("mkfs.fat", "-F", "32", "-s", "1", _folder["volume"]);
        Run(Mebibytes, isBundle, seed, new Kernel(_folder, type));
    }

    private void Run(int mebibytes, bool isBundle, int seed, Foreigner foreigner)
    {
        var random = new Random(seed);
        string raw = _folder["volume"], image = _folder["image"];
        if (isBundle) Directory.CreateDirectory(image);
        using (BlockStorage disk = isBundle
            ? SparseBundleStorage.Create(image, (long)mebibytes << 20, TestImage.Band)
            : SparseImageStorage.Create(FileStorage.CreateNew(image), (long)mebibytes << 20, ownsFile: true)) disk.Flush();
        for (int round = 0; round < Rounds; round++)
        {
            FillAndDelete(raw, random, foreigner);
            SpaceSequenceTests.Put(raw, image, null);
            Check(raw, image, foreigner);
            SpaceSequenceTests.Compact(image, null, isBundle);
            Check(raw, image, foreigner);
            long before = DiskImage.Inspect(image).CapacityBytes!.Value, size = before + (random.Next(1, 4000) * 512L);
            ImageResizeResult result = ImageResize.Run(new(image) { SizeBytes = size }, SilentObserver.Instance, CancellationToken.None);
            Assert.Equal((size, false), (result.CapacityBytesAfter, result.VolumeResized));
            Check(raw, image, foreigner);

            // And back to what the volume occupies.
            long least = ImageResize.Run(new(image) { ToMinimumSize = true }, SilentObserver.Instance, CancellationToken.None)
                .CapacityBytesAfter;
            Assert.Equal(DiskImage.Inspect(image).Volumes![0].CapacityBytes, least);
            Check(raw, image, foreigner);
            Assert.Equal(
                ImageErrorId.CapacityTooSmall,
                Assert.Throws<ImageException>(
                    () => ImageResize.Run(new(image) { SizeBytes = least - 512 }, SilentObserver.Instance, CancellationToken.None)).Id);
            ImageResize.Run(new(image) { SizeBytes = before }, SilentObserver.Instance, CancellationToken.None);
            SpaceSequenceTests.Compact(image, null, isBundle);
            Check(raw, image, foreigner);
        }
    }

    private void FillAndDelete(string raw, Random random, Foreigner foreigner)
    {
        string[] gone = [.. _files.Keys.Where(_ => random.Next(3) == 0)];
        foreach (string name in gone) _files.Remove(name);
        string host = Directory.CreateDirectory(_folder["host"]).FullName;
        for (int i = 0; i < 8; i++)
        {
            string name = $"file {random.Next()}";
            byte[] bytes = TestTree.Noise(random.Next(random.Next(3) == 0 ? 1_000_000 : 60_000), random.Next());
            File.WriteAllBytes(Path.Combine(host, name), bytes);
            _files[name] = Convert.ToHexStringLower(SHA256.HashData(bytes));
        }

        foreigner.Change(raw, gone, Directory.GetFiles(host));
        Directory.Delete(host, recursive: true);
    }

    /// <summary>What is in the image, read by others; it stands in <paramref name="raw"/> afterwards.</summary>
    private void Check(string raw, string image, Foreigner foreigner)
    {
        TestImage.AssertSound(image);
        using (DiskImage disk = DiskImage.Open(image))
        {
            byte[] bytes = new byte[disk.Disk.Length];
            disk.Disk.Read(0, bytes);
            File.WriteAllBytes(raw, bytes);
            using SourceTree tree = disk.ReadTree(null, CancellationToken.None);
            AssertHolds(tree.Root.Children.Select(f => (f.Name, HashOf(tree, f))));
            Assert.Equal((_files.Count, 0), (disk.Describe().Volumes![0].FileCount, disk.Describe().Volumes![0].FolderCount));
        }

        AssertHolds(foreigner.Read(raw));

        void AssertHolds(IEnumerable<(string Name, string Hash)> files) => Assert.Equal(
            _files.OrderBy(f => f.Key, StringComparer.Ordinal).Select(f => (f.Key, f.Value)),
                files.OrderBy(f => f.Name, StringComparer.Ordinal));
    }

    private static string HashOf(SourceTree tree, SourceEntry file)
    {
        using BlockStorage content = tree.OpenFork(file, ForkKind.Data);
        byte[] bytes = new byte[content.Length];
        content.Read(0, bytes);
        return Convert.ToHexStringLower(SHA256.HashData(bytes));
    }

    private static List<(string Name, string Hash)> HashesIn(string folder) =>
        [.. Directory.GetFiles(folder).Select(f => (Path.GetFileName(f), Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(f)))))];

    /// <summary>Other people's programs for a file system.</summary>
    private abstract class Foreigner
    {
        /// <summary>Deletes files, and puts others in.</summary>
        public abstract void Change(string volume, string[] gone, string[] added);

        /// <summary>Checks the volume, and reads its files.</summary>
        public abstract List<(string Name, string Hash)> Read(string volume);
    }

    private sealed class Fat(TemporaryFolder folder) : Foreigner
    {
        public override void Change(string volume, string[] gone, string[] added)
        {
            if (gone.Length > 0) Oracle.RunForBytes("mdel", ["-i", volume, .. gone.Select(n => $"::/{n}")]);
            Oracle.RunForBytes("mcopy", ["-i", volume, .. added, "::/"]);
        }

        public override List<(string Name, string Hash)> Read(string volume)
        {
            Oracle.RunForBytes("fsck.fat", "-n", volume);
            string read = folder["read"];
            Oracle.RunForBytes("7z", "x", "-y", "-tfat", $"-o{read}", volume);
            List<(string Name, string Hash)> files = HashesIn(read);
            Directory.Delete(read, recursive: true);
            return files;
        }
    }

    /// <summary>The Linux kernel's drivers.</summary>
    private sealed class Kernel(TemporaryFolder folder, string type) : Foreigner
    {
        public override void Change(string volume, string[] gone, string[] added) => Mounted(
            volume,
            "rw",
            [.. gone.Select(n => $"rm '/mnt/{n}'"), .. added.Select(f => $"cp '/host/{Path.GetFileName(f)}' /mnt")],
            Path.GetDirectoryName(added[0]));

        public override List<(string Name, string Hash)> Read(string volume)
        {
            Oracle.RunForBytes(type == "exfat" ? "fsck.exfat" : "fsck.fat", "-n", volume);
            string output = Mounted(volume, "ro", ["cd /mnt", "find . -type f -print0 | xargs -0 -r sha256sum", "cd /"], null);
            return [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => (l[68..], l[..64]))]; // "hash  ./name"
        }

        private string Mounted(string volume, string mode, string[] lines, string? host)
        {
            string script = folder["script.sh"];
            File.WriteAllText(
                script, string.Join('\n', ["set -e", $"mount -t {type} -o {mode} /dev/ubda /mnt", .. lines, "umount /mnt", ""]));
            (int exitCode, string output, string error) = host is null ? Oracle.Run("uml-apfs", volume, script)
                : Oracle.Run("uml-apfs", volume, script, host);
            Assert.True(exitCode == 0, output + error);
            return output;
        }
    }

    private sealed class ExFat(TemporaryFolder folder) : Foreigner
    {
        public override void Change(string volume, string[] gone, string[] added) => Mounted(volume, at =>
        {
            foreach (string name in gone) File.Delete(Path.Combine(at, name));
            foreach (string file in added) File.Copy(file, Path.Combine(at, Path.GetFileName(file)));
        });

        public override List<(string Name, string Hash)> Read(string volume)
        {
            Oracle.RunForBytes("fsck.exfat", "-n", volume);
            List<(string Name, string Hash)> files = [];
            Mounted(volume, at => files = HashesIn(at), "-o", "ro");
            return files;
        }

        private void Mounted(string volume, Action<string> act, params string[] options)
        {
            // FUSE takes block devices only for this one.
            string at = Directory.CreateDirectory(folder["mounted"]).FullName,
                device = Encoding.UTF8.GetString(Oracle.RunForBytes("losetup", "--find", "--show", volume)).Trim();
            try
            {
                Oracle.RunForBytes("mount.exfat-fuse", [.. options, device, at]);
                try
                {
                    act(at);
                }
                finally
                {
                    Unmount(at);
                }
            }
            finally
            {
                Oracle.RunForBytes("losetup", "--detach", device);
            }
        }

        // A process that another test is just starting has our files open for a moment.
        private static void Unmount(string at)
        {
            for (int tries = 0; tries < 100 && Oracle.Run("umount", at).ExitCode != 0; tries++) Thread.Sleep(100);
            Assert.Empty(Directory.GetFileSystemEntries(at));
        }
    }
}
