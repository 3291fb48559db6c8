namespace CCImage.Tests;

/// <summary>Finds the folder of real images that lies beside the checkout, where there is one.</summary>
internal static class CorpusLocation
{
    /// <summary>The folder, or null.</summary>
    public static string? Folder { get; } = Find();

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
        if (CorpusLocation.Folder is null) Skip = "The folder of real images (shared/corpus beside the checkout) is absent.";
    }
}

/// <summary>A fact that needs programs on the PATH; skipped with a reason where one is absent.</summary>
public sealed class OracleFactAttribute : FactAttribute
{
    /// <summary>Decides at discovery.</summary>
    /// <param name="tools">Names of the programs.</param>
    public OracleFactAttribute(params string[] tools)
    {
        string[] missing = [.. tools.Where(t => Oracle.Find(t) is null)];
        if (missing.Length > 0) Skip = "Not on the PATH: " + string.Join(", ", missing);
    }
}

/// <summary>A theory that needs programs on the PATH; skipped with a reason where one is absent.</summary>
public sealed class OracleTheoryAttribute : TheoryAttribute
{
    /// <summary>Decides at discovery.</summary>
    /// <param name="tools">Names of the programs.</param>
    public OracleTheoryAttribute(params string[] tools)
    {
        string[] missing = [.. tools.Where(t => Oracle.Find(t) is null)];
        if (missing.Length > 0) Skip = "Not on the PATH: " + string.Join(", ", missing);
    }
}
