namespace CCImage.Tests;

/// <summary>Finds the folder of small inputs that went wrong once, where there is one beside the checkout.</summary>
internal static class CasesLocation
{
    /// <summary>Why a test is skipped without it.</summary>
    public const string Reason = "The folder of cases (shared/cases beside the checkout) is absent.";

    /// <summary>The folder, or null.</summary>
    public static string? Folder { get; } = Find();

    private static string? Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "shared", "cases");
            if (Directory.Exists(candidate)) return candidate;
        }

        return null;
    }
}

/// <summary>A fact that needs the folder of cases; skipped with a reason where it is absent.</summary>
public sealed class CasesFactAttribute : FactAttribute
{
    /// <summary>Decides at discovery.</summary>
    public CasesFactAttribute()
    {
        if (CasesLocation.Folder is null) Skip = CasesLocation.Reason;
    }
}

/// <summary>A theory that needs the folder of cases; skipped with a reason where it is absent.</summary>
public sealed class CasesTheoryAttribute : TheoryAttribute
{
    /// <summary>Decides at discovery.</summary>
    public CasesTheoryAttribute()
    {
        if (CasesLocation.Folder is null) Skip = CasesLocation.Reason;
    }
}
