using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Names as HFS+ keeps and compares them. Source: TN1150 ("Unicode Subtleties", the case folding table) for the order; for decomposition
/// the behaviour of Apple's kernel since Mac OS X 10.3: the canonical decompositions of Unicode 3.2, frozen, because keys on disk must
/// never change. <see cref="string.Normalize()"/> follows the Unicode version of the host and is therefore not used.
/// <para>Only the Basic Multilingual Plane decomposes; a surrogate is passed through as it is.</para>
/// </summary>
internal static class HfsPlusUnicode
{
    private const int HangulFirst = 0xAC00;
    private const int HangulLast = 0xD7A3;

    // Apple's kernel stands U+2400 in for a NUL in a name, in both directions.
    private const char SymbolForNull = '\u2400';

    private static readonly Dictionary<char, (char First, char Second)> Decompositions = LoadDecompositions();
    private static readonly byte[] CombiningClasses = LoadCombiningClasses();
    private static readonly char[] Folds = LoadFolds();

    /// <summary>The image of a unit under case folding: 0 for an ignorable one, U+FFFF for NUL.</summary>
    /// <param name="unit">A UTF-16 unit.</param>
    public static char Fold(char unit) => Folds[unit];

    /// <summary>
    /// The order of names on case-insensitive volumes (TN1150's FastUnicodeCompare): unit by unit after folding, ignorable units left out.
    /// </summary>
    /// <param name="left">Decomposed name in UTF-16.</param>
    /// <param name="right">Decomposed name in UTF-16.</param>
    /// <returns>Negative, zero, positive.</returns>
    public static int CompareFolded(ReadOnlySpan<char> left, ReadOnlySpan<char> right)
    {
        int i = 0, j = 0;
        while (true)
        {
            char a = '\0', b = '\0';
            while (i < left.Length && a == 0) a = Folds[left[i++]];
            while (j < right.Length && b == 0) b = Folds[right[j++]];
            if (a != b) return a < b ? -1 : 1;
            if (a == 0) return 0;
        }
    }

    /// <summary>The order of names on case-sensitive volumes and of attribute names: by the value of the units.</summary>
    /// <param name="left">Name in UTF-16.</param>
    /// <param name="right">Name in UTF-16.</param>
    /// <returns>Negative, zero, positive.</returns>
    public static int CompareBinary(ReadOnlySpan<char> left, ReadOnlySpan<char> right) => left.SequenceCompareTo(right);

    /// <summary>
    /// Turns a name as a POSIX host shows it into the units that lie on an HFS+ disk: decomposed, <c>:</c> as <c>/</c>, U+2400 as NUL.
    /// An ordinary ASCII name comes back as the same object.
    /// </summary>
    /// <param name="hostName">The name; no <c>/</c> in it.</param>
    public static string ToVolumeName(string hostName)
    {
        int plain = hostName.AsSpan().IndexOfAnyExceptInRange('\u0001', '\u00BF');
        if (plain < 0) return hostName.Contains(':', StringComparison.Ordinal) ? hostName.Replace(':', '/') : hostName;

        var units = new List<char>(hostName.Length + 8);
        // The run of combining marks that is still to be put in order. As in Apple's kernel a character that decomposes starts a new run,
        // even if it is itself a mark.
        int runStart = 0;
        foreach (char unit in hostName)
        {
            if (unit == ':')
            {
                OrderMarks(units, runStart);
                units.Add('/');
                runStart = units.Count;
            }
            else if (TryDecompose(unit, out string? parts))
            {
                OrderMarks(units, runStart);
                runStart = units.Count + 1;
                units.AddRange(parts);
            }
            else
            {
                bool combines = IsCombining(unit);
                if (!combines) OrderMarks(units, runStart);
                units.Add(unit == SymbolForNull ? '\0' : unit);
                if (!combines) runStart = units.Count;
            }
        }

        OrderMarks(units, runStart);
        return new string(CollectionsMarshal.AsSpan(units));
    }

    /// <summary>Whether a name is as it must lie on disk: every character that decomposes is decomposed, marks are in order.</summary>
    /// <param name="stored">UTF-16 units as on disk.</param>
    public static bool IsDecomposed(string stored)
    {
        // The two characters that a host's name exchanges stand for themselves here; a letter stands in for them.
        string name = stored.AsSpan().ContainsAny(':', SymbolForNull) ? stored.Replace(':', 'x').Replace(SymbolForNull, 'x') : stored;
        return ToVolumeName(name) == name;
    }

    private static bool TryDecompose(char unit, [NotNullWhen(true)] out string? parts)
    {
        parts = null;
        if (unit < '\u00C0') return false;
        if (unit is >= (char)HangulFirst and <= (char)HangulLast)
        {
            // Unicode 3.2, section 3.11: 19 leading consonants × 21 vowels × 28 trailing consonants.
            int index = unit - HangulFirst;
            int trailing = index % 28;
            string pair = new([(char)(0x1100 + (index / 588)), (char)(0x1161 + (index % 588 / 28))]);
            parts = trailing == 0 ? pair : pair + (char)(0x11A7 + trailing);
            return true;
        }

        if (!Decompositions.TryGetValue(unit, out (char First, char Second) step)) return false;
        string tail = "";
        while (true)
        {
            if (step.Second != 0) tail = step.Second + tail;
            if (!Decompositions.TryGetValue(step.First, out (char First, char Second) next)) break;
            step = next;
        }

        parts = step.First + tail;
        return true;
    }

    private static bool IsCombining(char unit) => CombiningClasses[unit] != 0xFF;

    // Puts the marks from runStart to the end in canonical order (stable, by combining class; class 0 does not move).
    private static void OrderMarks(List<char> units, int runStart)
    {
        for (int end = runStart + 1; end < units.Count; end++)
        {
            byte own = ClassOf(units[end]);
            if (own == 0) continue;
            int at = end;
            while (at > runStart && ClassOf(units[at - 1]) > own)
            {
                (units[at - 1], units[at]) = (units[at], units[at - 1]);
                at--;
            }
        }
    }

    private static byte ClassOf(char unit) => CombiningClasses[unit] is byte c and not 0xFF ? c : (byte)0;

    private static Dictionary<char, (char First, char Second)> LoadDecompositions()
    {
        string table = HfsPlusUnicodeTables.Decompositions;
        var map = new Dictionary<char, (char, char)>(table.Length / 3);
        for (int i = 0; i < table.Length; i += 3) map.Add(table[i], (table[i + 1], table[i + 2]));
        return map;
    }

    private static byte[] LoadCombiningClasses()
    {
        byte[] classes = new byte[0x10000];
        Array.Fill(classes, (byte)0xFF);
        string table = HfsPlusUnicodeTables.CombiningRanges;
        for (int i = 0; i < table.Length; i += 3)
        {
            for (int unit = table[i]; unit <= table[i + 1]; unit++) classes[unit] = (byte)table[i + 2];
        }

        return classes;
    }

    private static char[] LoadFolds()
    {
        char[] folds = new char[0x10000];
        for (int unit = 0; unit < folds.Length; unit++) folds[unit] = (char)unit;
        string table = HfsPlusUnicodeTables.FoldRanges;
        for (int i = 0; i < table.Length; i += 4)
        {
            int first = table[i], last = table[i + 1], step = table[i + 2], image = table[i + 3];
            for (int unit = first; unit <= last; unit += Math.Max(step, 1)) folds[unit] = (char)(step == 0 ? image : image + unit - first);
        }

        return folds;
    }
}
