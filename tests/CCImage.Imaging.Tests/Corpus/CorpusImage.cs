using System.IO.Compression;
using System.Security;

namespace CCImage.Tests;

/// <summary>A row of the corpus' inventory.</summary>
internal sealed record CorpusImage(
    string File, string Container, string Passphrase, bool IsEncrypted, long? CapacityBytes, string Sha256, string Contents)
{
    /// <summary>Full path of the image as it lies in the corpus.</summary>
    public string FullPath => Path.Combine(CorpusLocation.Folder!, File);

    /// <summary>The whole inventory.</summary>
    public static IReadOnlyList<CorpusImage> All { get; } = CorpusLocation.Folder is null
        ? []
        : [.. System.IO.File.ReadLines(Path.Combine(CorpusLocation.Folder, "manifest.tsv")).Skip(1).Select(Parse)];

    /// <summary>A path at which the image can be opened: where the corpus keeps it compressed, a copy in
    /// <paramref name="folder"/>.</summary>
    public string Materialise(string folder)
    {
        if (!File.EndsWith(".gz", StringComparison.Ordinal)) return FullPath;
        string copy = Path.Combine(folder, Path.GetFileNameWithoutExtension(File));
        using var source = new GZipStream(System.IO.File.OpenRead(FullPath), CompressionMode.Decompress);
        using FileStream target = System.IO.File.Create(copy);
        source.CopyTo(target);
        return copy;
    }

    /// <summary>The passphrase, or null where there is none.</summary>
    public CCImage.Encryption.Passphrase? OpenPassphrase()
    {
        if (Passphrase.Length == 0) return null;
        using var secret = new SecureString();
        foreach (char c in Passphrase) secret.AppendChar(c);
        return CCImage.Encryption.Passphrase.From(secret);
    }

    private static CorpusImage Parse(string line)
    {
        string[] cells = line.Split('\t');
        return new CorpusImage(
            cells[0], cells[1], cells[2], cells[3].Length > 0,
            long.TryParse(cells[4], System.Globalization.CultureInfo.InvariantCulture, out long bytes) ? bytes : null, cells[5], cells[6]);
    }
}
