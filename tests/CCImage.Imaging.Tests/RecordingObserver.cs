using System.Collections.Concurrent;
using CCImage.Diagnostics;

namespace CCImage.Tests;

/// <summary>An observer that remembers.</summary>
internal sealed class RecordingObserver : IImagingObserver
{
    /// <summary>The warnings, in order.</summary>
    public ConcurrentQueue<ImagingWarning> Warnings { get; } = new();

    /// <summary>The reports of progress, in order.</summary>
    public ConcurrentQueue<ImagingProgress> Progress { get; } = new();

    /// <summary>Called with each report of progress.</summary>
    public Action<ImagingProgress>? WhenProgress { get; init; }

    /// <inheritdoc/>
    public void OnProgress(ImagingProgress progress)
    {
        Progress.Enqueue(progress);
        WhenProgress?.Invoke(progress);
    }

    /// <inheritdoc/>
    public void OnWarning(ImagingWarning warning) => Warnings.Enqueue(warning);

    /// <summary>The details, in order.</summary>
    public ConcurrentQueue<string> Verbose { get; } = new();

    /// <inheritdoc/>
    public void OnVerbose(string message) => Verbose.Enqueue(message);
}
