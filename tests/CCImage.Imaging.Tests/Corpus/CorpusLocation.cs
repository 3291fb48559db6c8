namespace CCImage.Tests;

/// <summary>Finds the folder of real images that lies beside the checkout, where there is one.</summary>
internal static class CorpusLocation
{
    /// <summary>The folder, or null.</summary>
    public static string? Folder { get; } = Find();

    /// <summary>The reason for which a test is skipped without it.</summary>
    public const string Absent = "The folder of real images (shared/corpus beside the checkout) is absent.";

    private static string? Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "shared", "corpus");
            if (File.Exists(Path.Combine(candidate, "manifest.tsv"))) return candidate;
        }

        return null;
    }
}

/// <summary>A fact that needs the folder of real images; skipped with a reason where it is absent.</summary>
public sealed class CorpusFactAttribute : FactAttribute
{
    /// <summary>Decides at discovery.</summary>
    public CorpusFactAttribute()
    {
        if (CorpusLocation.Folder is null) Skip = CorpusLocation.Absent;
    }
}
