using CCImage.Diagnostics;
using CCImage.Encryption;

namespace CCImage.Tests.Encryption;

/// <summary>Encrypted images made quickly: the same disk in any container, with few rounds of key derivation.</summary>
internal static class EncryptedImages
{
    public static readonly BackupImageFormat[] WritableFormats =
    [
        BackupImageFormat.Sparse, BackupImageFormat.SparseBundle, BackupImageFormat.ReadWrite, BackupImageFormat.ReadOnly,
        BackupImageFormat.ReadOnlyZlib,
        BackupImageFormat.ReadOnlyLzfse, BackupImageFormat.ReadOnlyLzma, BackupImageFormat.ReadOnlyBzip2,
    ];

    /// <summary>A plain read/write image of a folder with some files; bands and gaps included.</summary>
    public static string MakePlain(string folder, BackupImageFormat format = BackupImageFormat.ReadWrite, long? size = 12_000_000)
    {
        string source = Path.Combine(folder, "Source");
        if (!Directory.Exists(source))
        {
            Directory.CreateDirectory(source);
            var random = new Random(4);
            for (int i = 0; i < 12; i++)
            {
                byte[] bytes = new byte[random.Next(400_000)];
                if (i % 3 != 0) random.NextBytes(bytes.AsSpan(bytes.Length / 4));
                File.WriteAllBytes(Path.Combine(source, $"file {i}"), bytes);
            }
        }

        string image = Path.Combine(folder, "plain");
        using ImageCreation creation = ImageCreation.Prepare(
            new ImageRecipe { SourcePath = source, Path = image, Format = format, SizeBytes = size }, SilentObserver.Instance,
            CancellationToken.None);
        creation.Run(CancellationToken.None);
        return image;
    }

    /// <summary>Writes an image's disk into another image.</summary>
    public static void Write(
        string plain, string image, BackupImageFormat format, BackupImageEncryption encryption, string passphrase,
        int rounds = Secrets.FewRounds)
    {
        using Passphrase secret = Secrets.Of(passphrase);
        using DiskImage disk = DiskImage.Open(plain);
        var output = new ImageOutput
        {
            Path = image, Format = format, Encryption = encryption, Passphrase = secret, KeyDerivationRounds = rounds,
                SegmentId = new Guid(1, 2, 3, [4, 5, 6, 7, 8, 9, 10, 11]),
        };
        output.Write(disk.Disk, disk.Segments, "test", SilentObserver.Instance, CancellationToken.None);
    }
}
