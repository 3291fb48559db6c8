using System.IO.Compression;
using CCImage.Containers.SparseBundle;
using CCImage.Diagnostics;
using CCImage.Sources;

namespace CCImage.Fuzzing;

/// <summary>Writes small images of a few files with our own writers, one of each kind, and the volume and the disk in them; and the tests'
/// APFS container.</summary>
internal static class SeedWriter
{
    /// <summary>Writes the seeds.</summary>
    /// <param name="folder">Where to: a folder for each target.</param>
    public static void Write(string folder)
    {
        string source = Directory.CreateTempSubdirectory("ccimage-fuzz-").FullName;
        try
        {
            MakeSource(source);
            foreach (BackupImageFormat format in Enum.GetValues<BackupImageFormat>())
                if (format is not (BackupImageFormat.SparseBundle or BackupImageFormat.ReadOnlyAdc or BackupImageFormat.ReadOnly))
                    WriteImage(folder, source, format);
        }
        finally
        {
            Directory.Delete(source, recursive: true);
        }

        Put(folder, "apfs", "ThreeVolumes", ReadApfs());
        Put(folder, "plist", "info", new SparseBundleInfo(1 << 30, 1 << 23, 1).ToPropertyList());
    }

    private static void MakeSource(string source)
    {
        Directory.CreateDirectory(Path.Combine(source, "folder", "inner"));
        byte[] bytes = new byte[3000];
        new Random(5).NextBytes(bytes);
        File.WriteAllBytes(Path.Combine(source, "bytes"), bytes);
        File.WriteAllText(Path.Combine(source, "folder", "text"), new string('x', 5000));
        for (int i = 0; i < 60; i++)
            File.WriteAllText(Path.Combine(source, "folder", "inner", $"a file with a long name {i}"), $"hello {i}");
        File.CreateSymbolicLink(Path.Combine(source, "link"), "folder/text");
    }

    private static void WriteImage(string folder, string source, BackupImageFormat format)
    {
        string path = Path.Combine(source, "..", $"ccimage-fuzz-{Guid.NewGuid():N}");
        var recipe = new ImageRecipe
        {
            SourcePath = source, Path = path, Format = format, SizeBytes = format == BackupImageFormat.Sparse ? 4 << 20 : null,
            CreationTime = UnixTime.FromSeconds(1_700_000_000), Seed = new Guid(1, 2, 3, new byte[8]),
            FileSystem = format == BackupImageFormat.Sparse ? ImageFileSystem.HfsPlusCaseSensitive : ImageFileSystem.HfsPlus,
        };
        try
        {
            using (ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None))
                creation.Run(CancellationToken.None);
            if (format != BackupImageFormat.ReadWrite)
                Put(folder, format == BackupImageFormat.Sparse ? "sparse" : "udif", $"{format}", File.ReadAllBytes(path));
            if (format is not (BackupImageFormat.ReadWrite or BackupImageFormat.Sparse)) return;
            using DiskImage image = DiskImage.Open(path);
            byte[] disk = new byte[image.Disk.Length];
            image.Disk.Read(0, disk);
            Put(folder, "map", $"{format}", disk);
            DiskImage.FoundVolume volume = image.Volumes[0];
            byte[] bytes = disk[(int)volume.OffsetBytes..(int)(volume.OffsetBytes + volume.Volume.CapacityBytes)];
            foreach (string target in (string[])["hfs", "hfs-resize"]) Put(folder, target, $"{format}", bytes);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static byte[] ReadApfs()
    {
        using var packed =
            new BrotliStream(
                typeof(SeedWriter).Assembly.GetManifestResourceStream("apfs-three-volumes.raw.br")!, CompressionMode.Decompress);
        using var container = new MemoryStream();
        packed.CopyTo(container);
        return container.ToArray();
    }

    private static void Put(string folder, string target, string name, byte[] bytes)
    {
        Directory.CreateDirectory(Path.Combine(folder, target));
        File.WriteAllBytes(Path.Combine(folder, target, name), bytes);
    }
}
