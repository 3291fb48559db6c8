using CCImage.Sources;

namespace CCImage.Restoring;

/// <summary>Which entries of a tree are meant: what matches patterns, or single items; neither for everything.</summary>
/// <param name="Include">Patterns (see <see cref="PathPatterns"/>); empty for everything.</param>
/// <param name="Items">Paths of single entries, as they are written, and nothing of what lies in them; null for no such choice.</param>
internal sealed record EntryChoice(IReadOnlyList<string> Include, IReadOnlyCollection<string>? Items)
{
    /// <summary>Everything.</summary>
    public static EntryChoice Everything { get; } = new([], null);

    /// <summary>Whether nothing is left out.</summary>
    public bool IsEverything => Include.Count == 0 && Items is null;
}
