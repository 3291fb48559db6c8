using System.Globalization;
using CCImage.Diagnostics;

namespace CCImage.Restoring;

/// <summary>
/// Gathers what a restore has to tell. Entries that are missing are named one by one, up to a number that a person would still read;
/// metadata that a host does not take concerns thousands of entries alike, and is told once with the count and the first of them.
/// </summary>
internal sealed class RestoreWarnings(IImagingObserver observer)
{
    private const int MaximumNamed = 1000;

    private readonly List<ImagingWarning> _warnings = [];
    private readonly Dictionary<string, (long Count, string Path, string Reason)> _lost = [];
    private readonly SortedDictionary<string, long> _left = new(StringComparer.Ordinal);
    private long _skipped;

    /// <summary>Pieces of metadata that were left out.</summary>
    public long Lost => _lost.Values.Sum(l => l.Count);

    /// <summary>An entry was left out.</summary>
    /// <param name="path">Makes its path; not called for those that are only counted.</param>
    /// <param name="reason">A sentence.</param>
    /// <param name="kind">Why, for scripts.</param>
    public void Skip(Func<string> path, string reason, ImagingWarningKind kind = ImagingWarningKind.SourceSkipped)
    {
        if (++_skipped <= MaximumNamed) Tell(new(kind, path(), $"Not restored: {reason}"));
    }

    /// <summary>An entry is there, but its content is not what it was.</summary>
    /// <param name="path">As there.</param>
    /// <param name="message">A sentence.</param>
    public void LoseContent(Func<string> path, string message)
    {
        if (++_skipped <= MaximumNamed) Tell(new(ImagingWarningKind.ContentLost, path(), message));
    }

    /// <summary>Metadata of an entry was left out.</summary>
    /// <param name="what">Which, in the plural or as a mass: it stands behind a number of entries.</param>
    /// <param name="path">Makes the entry's path; called for the first one only.</param>
    /// <param name="reason">A sentence.</param>
    public void Lose(string what, Func<string> path, string reason) =>
        _lost[what] = _lost.TryGetValue(what, out (long Count, string Path, string Reason) known) ? known with { Count = known.Count + 1 }
            : (1, path(), reason);

    /// <summary>An entry was left out as it was asked for.</summary>
    /// <param name="what">What it is, in the plural.</param>
    public void LeaveOut(string what) => _left[what] = _left.GetValueOrDefault(what) + 1;

    /// <summary>Says something that is worth knowing.</summary>
    /// <param name="message">A sentence.</param>
    public void Advise(string message) => Tell(new(ImagingWarningKind.Advice, null, message));

    /// <summary>Tells the sums.</summary>
    /// <returns>Everything that was told.</returns>
    public IReadOnlyList<ImagingWarning> Finish()
    {
        if (_skipped > MaximumNamed)
            Tell(new(ImagingWarningKind.SourceSkipped, null,
                string.Create(CultureInfo.InvariantCulture, $"{_skipped - MaximumNamed} further entries were not restored.")));
        foreach ((string what, long count) in _left)
            Advise(string.Create(CultureInfo.InvariantCulture, $"Left out, because the image is not trusted: {count} {what}."));
        foreach ((string what, (long count, string path, string reason)) in _lost.OrderBy(l => l.Key, StringComparer.Ordinal))
            Tell(new(ImagingWarningKind.MetadataLost, path,
                string.Create(
                CultureInfo.InvariantCulture, $"Not kept for {count} entries, of which this is the first: {what}. {reason}")));
        return _warnings;
    }

    private void Tell(ImagingWarning warning)
    {
        _warnings.Add(warning);
        observer.OnWarning(warning);
    }
}
