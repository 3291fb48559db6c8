namespace CCImage.Diagnostics;

/// <summary>What kind of thing a <see cref="ImagingWarning"/> is about; stable, for scripts that filter.</summary>
public enum ImagingWarningKind
{
    /// <summary>A file changed after it was scanned; its copy has the size it had then, cut or padded, and may mix old content and
    /// new.</summary>
    SourceChanged,

    /// <summary>Something could not be read and was left out.</summary>
    SourceSkipped,

    /// <summary>A value could not be kept exactly (time past 2040, owner, name).</summary>
    MetadataRounded,

    /// <summary>Metadata that the target cannot carry was left out.</summary>
    MetadataLost,

    /// <summary>Advice about size, place or use.</summary>
    Advice,

    /// <summary>Content that was to be copied could not be read any more: what stands in its place is not the file's content.</summary>
    ContentLost,
}

/// <summary>Something the user should know that does not stop the job.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Path">The file concerned, if any.</param>
/// <param name="Message">A sentence.</param>
public sealed record ImagingWarning(ImagingWarningKind Kind, string? Path, string Message)
{
    /// <summary>Path and message for people, control characters in them by their numbers.</summary>
    public override string ToString() => DisplayText.Escape(Path is null ? Message : $"{Path}: {Message}");
}

/// <summary>How far a job is.</summary>
/// <param name="Activity">What is being done, for people.</param>
/// <param name="Completed">Units done (bytes, or entries while scanning).</param>
/// <param name="Total">Units in all; 0 while unknown.</param>
/// <param name="Unit">"bytes" or "entries".</param>
public readonly record struct ImagingProgress(string Activity, long Completed, long Total, string Unit);

/// <summary>
/// The engine's one way to speak: a pipeline, a console and a test are three observers. Members are called from any thread, often;
/// implementations must be thread-safe, cheap and must not throw. Throttling is the observer's business.
/// </summary>
public interface IImagingObserver
{
    /// <summary>Progress was made.</summary>
    /// <param name="progress">How far.</param>
    void OnProgress(ImagingProgress progress);

    /// <summary>Something to tell.</summary>
    /// <param name="warning">The warning.</param>
    void OnWarning(ImagingWarning warning);

    /// <summary>A detail for <c>-Verbose</c>.</summary>
    /// <param name="message">A sentence.</param>
    void OnVerbose(string message);
}

/// <summary>An observer that listens to nothing.</summary>
public sealed class SilentObserver : IImagingObserver
{
    private SilentObserver()
    {
    }

    /// <summary>The instance.</summary>
    public static SilentObserver Instance { get; } = new();

    /// <inheritdoc/>
    public void OnProgress(ImagingProgress progress)
    {
    }

    /// <inheritdoc/>
    public void OnWarning(ImagingWarning warning)
    {
    }

    /// <inheritdoc/>
    public void OnVerbose(string message)
    {
    }
}
