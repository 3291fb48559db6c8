using CCImage.Diagnostics;
using CCImage.Sources;

namespace CCImage.FileSystems;

/// <summary>
/// Collects what a tree of files lacks, while it is read. Damage repeats itself: the first ones are kept, the others counted, so that
/// memory stays bounded whatever the volume holds.
/// </summary>
internal sealed class TreeOmissions
{
    /// <summary>Those that are kept.</summary>
    public const int MostKept = 1000;

    private readonly List<ImagingWarning> _advice = [];
    private readonly List<ImagingWarning> _kept = [];

    /// <summary>Entries and attributes that are missing.</summary>
    public long Count { get; private set; }

    /// <summary>Whether another one would be kept: only then are its path and message worth putting together.</summary>
    public bool HasRoom => _kept.Count < MostKept;

    /// <summary>What was collected; the last one sums up what was too much.</summary>
    public IReadOnlyList<ImagingWarning> ToList() => Count <= _kept.Count
        ? [.. _advice, .. _kept]
        : [.. _advice, .. _kept,
            new(ImagingWarningKind.SourceSkipped, null, $"{Count - _kept.Count} further entries and attributes were left out.")];

    /// <summary>Takes an entry that is left out.</summary>
    /// <param name="path">Makes its path in the volume, as far as it is known; not called when it is not kept.</param>
    /// <param name="fault">Why.</param>
    public void LeaveOut(Func<string?> path, ImageException fault) =>
        Add(ImagingWarningKind.SourceSkipped, path, () => $"It was left out: {Describe(fault)}");

    /// <summary>Takes metadata that an entry lacks.</summary>
    /// <param name="path">As there.</param>
    /// <param name="what">What is lost, in half a sentence ("An attribute").</param>
    /// <param name="fault">Why.</param>
    public void Lose(Func<string?> path, string what, ImageException fault) =>
        Add(ImagingWarningKind.MetadataLost, path, () => $"{what} is lost: {Describe(fault)}");

    /// <summary>Takes something that is worth knowing and not missing.</summary>
    /// <param name="message">A sentence.</param>
    public void Advise(string message) => _advice.Add(new(ImagingWarningKind.Advice, null, message));

    /// <summary>The path of an entry, or of one that its folder lacks. Of a very long one the end: a chain of many thousand folders must
    /// not fill the memory.</summary>
    /// <param name="entry">The entry, or the folder.</param>
    /// <param name="name">The name that the folder lacks.</param>
    public static string PathOf(SourceEntry entry, string? name = null)
    {
        const int Longest = 4096;
        var names = new Stack<string>();
        int length = 0;
        if (name is not null) names.Push(name);
        for (SourceEntry? at = entry; at.Parent is not null; at = at.Parent)
        {
            names.Push(at.Name);
            if ((length += at.Name.Length + 1) <= Longest) continue;
            names.Push("…");
            break;
        }

        return "/" + string.Join('/', names);
    }

    /// <summary>Counts more that is missing without naming it.</summary>
    /// <param name="count">How much.</param>
    public void CountMore(long count) => Count += count;

    private static string Describe(ImageException fault) => fault.Place is null ? fault.Problem : $"{fault.Problem} ({fault.Place})";

    private void Add(ImagingWarningKind kind, Func<string?> path, Func<string> message)
    {
        Count++;
        if (HasRoom) _kept.Add(new(kind, path(), message()));
    }
}
