using System.IO.Compression;
using CCImage.Storage;

namespace CCImage.Tests;

/// <summary>Opens disks of the folder of real images.</summary>
internal static class Corpus
{
    /// <summary>The bytes of a sample that is the disk itself, unpacked where it is gzip-compressed.</summary>
    /// <param name="name">Path in the folder.</param>
    public static MemoryStorage OpenRaw(string name)
    {
        string path = Path.Combine(CorpusLocation.Folder!, name);
        if (!name.EndsWith(".gz", StringComparison.Ordinal)) return new MemoryStorage(File.ReadAllBytes(path));
        using var unpacked = new MemoryStream();
        using (var stream = new GZipStream(File.OpenRead(path), CompressionMode.Decompress)) stream.CopyTo(unpacked);
        return new MemoryStorage(unpacked.ToArray());
    }
}
