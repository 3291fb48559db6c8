using System.Text;
using System.Text.RegularExpressions;

namespace CCImage.Sources;

/// <summary>
/// Patterns that select entries of a tree: what a backup leaves out, what a restore takes. They are a part of gitignore's language:
/// <list type="bullet">
/// <item><c>*</c> stands for any characters of one name, <c>?</c> for one, <c>[abc]</c>, <c>[a-z]</c> and <c>[!abc]</c> for one of (or none
/// of) a set; a backslash takes the character behind it as it is.</item>
/// <item>A pattern without a slash matches a name at any depth: <c>*.tmp</c>, <c>.DS_Store</c>.</item>
/// <item>A pattern with a slash at its begin or inside is a path from the source's root: <c>/Library/Caches</c>,
/// <c>Users/*/Downloads</c>.</item>
/// <item><c>**</c> as a whole part of a path stands for any number of folders, none included: <c>**/node_modules/cache</c>,
/// <c>build/**</c>.</item>
/// <item>A slash at the end restricts the pattern to folders: <c>Caches/</c>.</item>
/// </list>
/// What matches is selected with everything in it. There are no comments and no <c>!</c> that reverses an earlier pattern. Letters are
/// compared as the host's file systems usually do: with case on Linux, without on macOS and Windows.
/// </summary>
public sealed class PathPatterns
{
    private readonly List<(Regex Regex, bool FoldersOnly, int Number)> _names = [];
    private readonly List<(Regex Regex, bool FoldersOnly, int Number)> _paths = [];

    /// <summary>Compiles patterns.</summary>
    /// <param name="patterns">The patterns.</param>
    /// <param name="ignoreCase">Whether letters are compared without case; null for the host's habit.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>: a pattern is empty or a set is not closed.</exception>
    public PathPatterns(IEnumerable<string> patterns, bool? ignoreCase = null)
    {
        // No backtracking: the time is proportional to the text, whatever the pattern.
        RegexOptions options = RegexOptions.NonBacktracking | RegexOptions.CultureInvariant | RegexOptions.Singleline;
        if (ignoreCase ?? !OperatingSystem.IsLinux()) options |= RegexOptions.IgnoreCase;
        int number = 0;
        foreach (string pattern in patterns)
        {
            bool foldersOnly = pattern.EndsWith('/') && !pattern.EndsWith("\\/", StringComparison.Ordinal);
            string body = foldersOnly ? pattern[..^1] : pattern;
            bool isPath = body.Contains('/');
            body = body.TrimStart('/');
            if (body.Length == 0) throw Invalid(pattern, "is empty");
            (isPath ? _paths : _names).Add((new Regex(Translate(pattern, body), options), foldersOnly, number++));
        }
    }

    /// <summary>Whether there are none.</summary>
    public bool IsEmpty => _names.Count == 0 && _paths.Count == 0;

    /// <summary>Whether a pattern matches this very entry. That what lies in a matching folder is selected with it is the caller's
    /// business, who goes from the root downward.</summary>
    /// <param name="relativePath">Path from the source's root, with <c>/</c> and no leading one.</param>
    /// <param name="isFolder">Whether it is a folder.</param>
    public bool IsMatch(string relativePath, bool isFolder) =>
        IsMatch(relativePath[(relativePath.LastIndexOf('/') + 1)..], isFolder, () => relativePath);

    /// <summary>The same, for a caller that would have to make up the path and is glad not to.</summary>
    /// <param name="name">The entry's name.</param>
    /// <param name="isFolder">Whether it is a folder.</param>
    /// <param name="relativePath">Gives the path when it is needed.</param>
    /// <param name="matched">Gets the number of every pattern that matches, in the order they were given; null for a caller that asks only
    /// whether one does.</param>
    internal bool IsMatch(string name, bool isFolder, Func<string> relativePath, Action<int>? matched = null)
    {
        bool any = IsMatch(_names, name, isFolder, matched);
        if (_paths.Count == 0 || (any && matched is null)) return any;
        return IsMatch(_paths, relativePath(), isFolder, matched) || any;
    }

    private static bool IsMatch(
        List<(Regex Regex, bool FoldersOnly, int Number)> patterns, string text, bool isFolder, Action<int>? matched)
    {
        bool any = false;
        foreach ((Regex regex, bool foldersOnly, int number) in patterns)
        {
            if ((!isFolder && foldersOnly) || !regex.IsMatch(text)) continue;
            if (matched is null) return true;
            matched(number);
            any = true;
        }

        return any;
    }

    private static string Translate(string pattern, string body)
    {
        var regex = new StringBuilder(@"\A");
        string[] parts = body.Split('/');
        for (int p = 0; p < parts.Length; p++)
        {
            bool isLast = p == parts.Length - 1;
            if (parts[p] == "**")
            {
                // "a/**" is everything in a, but not a itself; "**/b" is b anywhere.
                regex.Append(isLast ? ".+" : "(?:[^/]+/)*");
                continue;
            }

            if (parts[p].Length == 0) throw Invalid(pattern, "has an empty part");
            TranslatePart(pattern, parts[p], regex);
            if (!isLast) regex.Append('/');
        }

        return regex.Append(@"\z").ToString();
    }

    private static void TranslatePart(string pattern, string part, StringBuilder regex)
    {
        for (int i = 0; i < part.Length; i++)
        {
            switch (part[i])
            {
                case '*':
                    while (i + 1 < part.Length && part[i + 1] == '*') i++;
                    regex.Append("[^/]*");
                    break;
                case '?':
                    // A character outside the basic plane is two units of UTF-16.
                    regex.Append(@"(?:[\uD800-\uDBFF][\uDC00-\uDFFF]|[^/])");
                    break;
                case '[':
                    i = TranslateSet(pattern, part, i, regex);
                    break;
                case '\\' when i + 1 < part.Length:
                    regex.Append(Literal(part[++i]));
                    break;
                default:
                    regex.Append(Literal(part[i]));
                    break;
            }
        }
    }

    private static int TranslateSet(string pattern, string part, int start, StringBuilder regex)
    {
        int i = start + 1;
        bool isNegated = i < part.Length && part[i] is '!' or '^';
        if (isNegated) i++;
        int first = i;
        regex.Append(isNegated ? "[^/" : "[");
        for (; i < part.Length && (part[i] != ']' || i == first); i++)
        {
            char from = part[i];
            if (i + 2 < part.Length && part[i + 1] == '-' && part[i + 2] != ']')
            {
                char to = part[i + 2];
                if (to < from) throw Invalid(pattern, $"has a range that runs backwards, {from}-{to}");
                regex.Append(Literal(from)).Append('-').Append(Literal(to));
                i += 2;
            }
            else
            {
                regex.Append(Literal(from));
            }
        }

        if (i >= part.Length) throw Invalid(pattern, "has a [ without its ]");
        regex.Append(']');
        return i;
    }

    // As a number: nothing is left that could mean something to the regular expression.
    private static string Literal(char c) => $"\\u{(int)c:X4}";

    private static ImageException Invalid(string pattern, string problem) =>
        new(ImageErrorId.InvalidArgument, $"The pattern '{pattern}' {problem}.", remedy: "about_CCImage tells the form of patterns.");
}
