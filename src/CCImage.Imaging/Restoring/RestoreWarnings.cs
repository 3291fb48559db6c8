using System.Globalization;
using CCImage.Diagnostics;

namespace CCImage.Restoring;

/// <summary>
/// Gathers what a restore has to tell. Entries that are missing are named one by one, up to a number that a person would still read; metadata
/// that a host does not take concerns thousands of entries alike, and is told once with the count and the first of them.
/// </summary>
internal sealed class RestoreWarnings(IImagingObserver observer)
{
    private const int MaximumNamed = 1000;

    private readonly List<ImagingWarning> _warnings = [];
    private readonly Dictionary<string, (long Count, string Path, string Reason)> _lost = [];
    private long _skipped;

    /// <summary>An entry was left out.</summary>
    /// <param name="path">The entry.</param>
    /// <param name="reason">A sentence.</param>
    public void Skip(string path, string reason)
    {
        if (++_skipped <= MaximumNamed) Tell(new(ImagingWarningKind.SourceSkipped, path, $"Not restored: {reason}"));
    }

    /// <summary>Metadata of an entry was left out.</summary>
    /// <param name="what">Which, in the plural or as a mass: it stands behind a number of entries.</param>
    /// <param name="path">The entry.</param>
    /// <param name="reason">A sentence.</param>
    public void Lose(string what, string path, string reason) =>
        _lost[what] = _lost.TryGetValue(what, out (long Count, string Path, string Reason) known) ? known with { Count = known.Count + 1 } : (1, path, reason);

    /// <summary>Tells the sums.</summary>
    /// <returns>Everything that was told.</returns>
    public IReadOnlyList<ImagingWarning> Finish()
    {
        if (_skipped > MaximumNamed)
            Tell(new(ImagingWarningKind.SourceSkipped, null, string.Create(CultureInfo.InvariantCulture, $"{_skipped - MaximumNamed} further entries were not restored.")));
        foreach ((string what, (long count, string path, string reason)) in _lost.OrderBy(l => l.Key, StringComparer.Ordinal))
            Tell(new(ImagingWarningKind.MetadataLost, path, string.Create(CultureInfo.InvariantCulture, $"Not kept for {count} entries, of which this is the first: {what}. {reason}")));
        return _warnings;
    }

    private void Tell(ImagingWarning warning)
    {
        _warnings.Add(warning);
        observer.OnWarning(warning);
    }
}
