namespace CCImage.Diagnostics;

/// <summary>Passes everything on, and keeps the warnings for the job's report.</summary>
/// <param name="next">Who hears everything.</param>
internal sealed class WarningRecorder(IImagingObserver next) : IImagingObserver
{
    private readonly List<ImagingWarning> _warnings = [];

    /// <summary>The warnings of a kind, in the order they came.</summary>
    /// <param name="kind">The kind.</param>
    public IReadOnlyList<ImagingWarning> Of(ImagingWarningKind kind)
    {
        lock (_warnings) return [.. _warnings.Where(w => w.Kind == kind)];
    }

    /// <inheritdoc/>
    public void OnProgress(ImagingProgress progress) => next.OnProgress(progress);

    /// <inheritdoc/>
    public void OnVerbose(string message) => next.OnVerbose(message);

    /// <inheritdoc/>
    public void OnWarning(ImagingWarning warning)
    {
        lock (_warnings) _warnings.Add(warning);
        next.OnWarning(warning);
    }
}
