namespace CCImage.Tests;

/// <summary>What 7-Zip read from a volume of the folder of real images: the lines "7z" of a manifest.</summary>
/// <param name="Files">SHA-256 of files, forks and attributes by path without the volume's name; a colon precedes attribute names and
/// "rsrc".</param>
/// <param name="Links">Targets of symbolic links by path.</param>
internal sealed record CorpusManifest(
    long Offset, long Length, IReadOnlyDictionary<string, string> Files, IReadOnlyDictionary<string, string> Links)
{
    /// <summary>What 7-Zip calls the file system; empty when it read none.</summary>
    public string Type { get; private set; } = "";

    /// <summary>Reads the volumes of a manifest.</summary>
    /// <param name="image">Path of the image in the folder, without ".gz".</param>
    public static IReadOnlyList<CorpusManifest> Read(string image)
    {
        var volumes = new List<CorpusManifest>();
        Dictionary<string, string> files = [], links = [];
        foreach (string line in File.ReadLines(PathOf(image)))
        {
            if (line.StartsWith("## ", StringComparison.Ordinal))
            {
                string[] words = line.Split(' ');
                (files, links) = ([], []);
                volumes.Add(new(ToLong(words[^5]), ToLong(words[^3]), files, links));
            }
            else if (line.StartsWith("   7-Zip rc=0 ", StringComparison.Ordinal) && line.Split("Type = ") is [_, var type])
                volumes[^1].Type = type.Split(' ')[0];
            else if (line.StartsWith("   7z  link -> ", StringComparison.Ordinal))
            {
                string[] parts = line[15..].Split("  ", 2);
                links[PathIn(volumes[^1], parts[1])] = parts[0];
            }
            else if (line.StartsWith("   7z  ", StringComparison.Ordinal) && line.Length > 83 && line[71] == ' ')
            {
                string path = PathIn(volumes[^1], line[7..].Split(' ', 2)[1].TrimStart().Split(' ', 2)[1]);
                if (path is not (".journal" or ".journal_info_block")) files[path] = line[7..71]; // 7-Zip shows the journal, we do not
            }
        }

        return volumes;
    }

    /// <summary>Path of a manifest.</summary>
    /// <param name="image">As for <see cref="Read"/>.</param>
    public static string PathOf(string image) =>
        Path.Combine(CorpusLocation.Folder!, "manifests", image.Replace("/", "__", StringComparison.Ordinal) + ".txt");

    private static long ToLong(string text) => long.Parse(text, System.Globalization.CultureInfo.InvariantCulture);

    // Of HFS+ it shows the root as a folder of the volume's name.
    private static string PathIn(CorpusManifest volume, string path) => volume.Type == "HFS" ? path[(path.IndexOf('/') + 1)..] : path;
}
