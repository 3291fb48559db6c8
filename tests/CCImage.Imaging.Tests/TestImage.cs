using System.Security.Cryptography;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.HfsPlus;

namespace CCImage.Tests;

/// <summary>Small images for tests of jobs that change them, and what must be true of them before and after.</summary>
internal static class TestImage
{
    /// <summary>Bytes in a band of the bundles.</summary>
    public const int Band = 1 << 20;

    /// <summary>Makes an image with some files of noise.</summary>
    /// <param name="folder">For it and its source.</param>
    /// <param name="recipe">Format, encryption, size and the like; its paths are not used.</param>
    /// <param name="files">How many files.</param>
    /// <param name="fileSize">Bytes of the first one; each next one has one more.</param>
    /// <returns>Its path.</returns>
    public static string Make(TemporaryFolder folder, ImageRecipe recipe, int files = 5, int fileSize = 100_000)
    {
        string source = folder["Source"], image = folder[$"{recipe.Format}"];
        Directory.CreateDirectory(source);
        for (int i = 0; i < files; i++) File.WriteAllBytes(Path.Combine(source, $"file {i}"), TestTree.Noise(fileSize + i, i));
        recipe = recipe with { SourcePath = source, Path = image, Overwrite = true,
            BandSizeBytes = recipe.Format == BackupImageFormat.SparseBundle ? Band : null };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
        return image;
    }

    /// <summary>Spreads what lies on the volume of an image over all of it.</summary>
    public static void Scatter(string image, Passphrase? passphrase, int seed, int pieces)
    {
        using DiskImage disk = DiskImage.Open(image, passphrase, writable: true);
        BackupImagePartition partition = disk.Describe().Partitions[0];
        byte[] window = new byte[partition.SizeBytes];
        disk.Disk.Read(partition.OffsetBytes, window);
        disk.Disk.Write(partition.OffsetBytes, ScatteredVolume.Scatter(window, seed, pieces));
        disk.Disk.Flush();
    }

    /// <summary>The paths of all entries, and the hash of each file.</summary>
    public static string[] FilesOf(string image, Passphrase? passphrase = null)
    {
        using DiskImage disk = DiskImage.Open(image, passphrase);
        using SourceTree tree = disk.ReadTree(null, CancellationToken.None);
        return [.. tree.Enumerate().Select(e => $"{e.RelativePath} {HashOf(tree, e)}").Order(StringComparer.Ordinal)];
    }

    /// <summary>Our checkers find nothing, not even something to mend.</summary>
    public static void AssertSound(string image, Passphrase? passphrase = null)
    {
        ImageVerificationResult result =
            ImageVerification.Run(new(image) { Passphrase = passphrase }, SilentObserver.Instance, CancellationToken.None);
        Assert.True(result.IsSound, string.Join('\n', result.Findings));
    }

    /// <summary>Every file that the image is made of as the host has it: name, time and content.</summary>
    public static string[] HostFilesOf(string image)
    {
        string[] paths = Directory.Exists(image) ? [image, .. Directory.GetFileSystemEntries(image, "*", SearchOption.AllDirectories)]
            : [image];
        return [.. paths.Order(StringComparer.Ordinal).Select(p => $"{p} {File.GetLastWriteTimeUtc(p):O} "
            + $"{(File.Exists(p) ? Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(p))) : "")}")];
    }

    private static string HashOf(SourceTree tree, SourceEntry entry)
    {
        if (entry.Kind != EntryKind.File) return "";
        using BlockStorage fork = tree.OpenFork(entry, ForkKind.Data);
        byte[] bytes = new byte[fork.Length];
        fork.Read(0, bytes);
        return Convert.ToHexStringLower(SHA256.HashData(bytes));
    }
}
