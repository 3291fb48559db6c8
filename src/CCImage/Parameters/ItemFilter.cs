using System.Management.Automation;
using CCImage.Sources;

namespace CCImage.Parameters;

/// <summary>Chooses entries of a volume by PowerShell's wildcards; without patterns, all of them.</summary>
/// <param name="patterns">Patterns of names, or of whole paths where they have a slash.</param>
internal sealed class ItemFilter(IReadOnlyCollection<string> patterns)
{
    private const WildcardOptions Options = WildcardOptions.IgnoreCase | WildcardOptions.CultureInvariant;

    private readonly WildcardPattern[] _names = [.. patterns.Where(p => !p.Contains('/', StringComparison.Ordinal)).Select(p => new WildcardPattern(p, Options))];

    private readonly WildcardPattern[] _paths =
        [.. patterns.Where(p => p.Contains('/', StringComparison.Ordinal)).Select(p => new WildcardPattern(p.Trim('/'), Options))];

    /// <summary>Whether an entry is chosen.</summary>
    /// <param name="entry">The entry.</param>
    public bool Matches(SourceEntry entry) =>
        (_names.Length == 0 && _paths.Length == 0)
        || Array.Exists(_names, name => name.IsMatch(entry.Name))
        || (_paths.Length > 0 && entry.RelativePath is var path && Array.Exists(_paths, pattern => pattern.IsMatch(path)));
}
