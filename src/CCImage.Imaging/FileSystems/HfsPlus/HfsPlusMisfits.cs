using System.Globalization;
using System.Text;
using CCImage.Diagnostics;
using CCImage.Sources;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// The entries of a source that cannot be in the volume by the names they have: twins, which are one name there, and names that it cannot
/// keep. They are found all in one walk, because a source that takes an hour to scan should not have to be scanned once for each.
/// </summary>
/// <param name="tree">The source.</param>
internal sealed class HfsPlusMisfits(SourceTree tree)
{
    private const int MostNamed = 20;
    private const int ContextLength = 3;

    private readonly List<Misfit> _all = [];

    /// <summary>Whether there are none.</summary>
    public bool IsEmpty => _all.Count == 0;

    /// <summary>How many are twins that a case-sensitive volume keeps apart.</summary>
    public int CaseTwins => _all.Count(m => m.DifferInCase);

    /// <summary>Notes an entry whose name is the same as another's on the volume.</summary>
    /// <param name="entry">The entry that has to go.</param>
    /// <param name="twin">The one that has the name; null for a file of the volume's own.</param>
    /// <param name="differInCase">Whether they differ as the volume writes them, and are one only because it does not look at case.</param>
    public void AddTwin(SourceEntry entry, SourceEntry? twin, bool differInCase) =>
        _all.Add(new Misfit(entry, twin, twin is null ? "HFS+ keeps a file of its own under this name" : null, differInCase));

    /// <summary>Notes an entry whose name the volume cannot keep at all.</summary>
    /// <param name="entry">The entry.</param>
    /// <param name="reason">Why not, without a full stop.</param>
    public void AddName(SourceEntry entry, string reason) => _all.Add(new Misfit(entry, null, reason, false));

    /// <summary>One sentence about the twins that made the volume case-sensitive.</summary>
    public string DescribeChoice()
    {
        Misfit first = _all.First(m => m.DifferInCase);
        string others = CaseTwins == 1 ? "" : $", and {CaseTwins - 1} more,";
        return $"{Describe(first)}{others} where case does not count: the volume is made case-sensitive (HFSX). Choose with -FileSystem.";
    }

    /// <summary>Ends the job over them, or tells of each that it is left out.</summary>
    /// <param name="leaveOut">Whether they are left out.</param>
    /// <param name="observer">Hears of them then.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.SourceNotRepresentable"/>, naming the first of them and how many there
    /// are.</exception>
    public void Settle(bool leaveOut, IImagingObserver observer)
    {
        if (IsEmpty) return;
        if (leaveOut)
        {
            foreach (Misfit misfit in _all)
            {
                observer.OnWarning(new ImagingWarning(
                    ImagingWarningKind.SourceSkipped, tree.DisplayPath(misfit.Entry),
                    $"It was left out{(misfit.Entry.Kind == EntryKind.Directory ? " with all it holds" : "")}: {Reason(misfit)}."));
            }

            return;
        }

        var text = new StringBuilder();
        text.Append(_all.Count == 1 ? "A name cannot be kept on this volume: " : $"{_all.Count} names cannot be kept on this volume: ");
        text.AppendJoin("; ", _all.Take(MostNamed).Select(Describe));
        if (_all.Count > MostNamed) text.Append(CultureInfo.InvariantCulture, $"; and {_all.Count - MostNamed} more");
        string remedy = (CaseTwins > 0 ? "Use -FileSystem HfsPlusCaseSensitive, or leave -FileSystem out; or rename" : "Rename")
            + " or exclude what is named, or leave it out with -SkipUnreadable.";
        throw new ImageException(
            ImageErrorId.SourceNotRepresentable, text.Append('.').ToString(), tree.DisplayPath(_all.Count == 1 ? _all[0].Entry : tree.Root),
            remedy: remedy);
    }

    private string Describe(Misfit misfit) => $"'{tree.DisplayPath(misfit.Entry)}': {Reason(misfit)}";

    private string Reason(Misfit misfit)
    {
        if (misfit.Twin is null) return misfit.Reason!;
        string codes = "";
        if (!misfit.DifferInCase || !misfit.Entry.Name.Equals(misfit.Twin.Name, StringComparison.OrdinalIgnoreCase))
        {
            (string own, string other) = CodePoints(misfit.Entry.Name, misfit.Twin.Name);
            codes = $" ({own} here, {other} there)";
        }

        string why = misfit.DifferInCase ? "" : " on this volume, where both are written in the same Unicode form";
        return $"the name is the same as that of '{tree.DisplayPath(misfit.Twin)}'{why}{codes}";
    }

    // Two names that look alike: the characters from the first that differs.
    private static (string Own, string Other) CodePoints(string name, string twin)
    {
        int at = 0;
        while (at < name.Length && at < twin.Length && name[at] == twin[at]) at++;
        if (at > 0 && at < name.Length && char.IsLowSurrogate(name[at])) at--;
        return (From(name, at), From(twin, at));

        static string From(string text, int at)
        {
            var codes = new List<string>();
            foreach (Rune rune in text[Math.Min(at, text.Length)..].EnumerateRunes().Take(ContextLength))
                codes.Add($"U+{rune.Value:X4}");
            return codes.Count == 0 ? "nothing" : string.Join(' ', codes);
        }
    }

    private sealed record Misfit(SourceEntry Entry, SourceEntry? Twin, string? Reason, bool DifferInCase);
}
