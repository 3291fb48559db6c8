using System.Collections.Concurrent;
using System.Diagnostics;
using CCImage.Diagnostics;

namespace CCImage.Pipeline;

/// <summary>
/// The engine's observer for a cmdlet: workers post here, the pipeline thread takes out. Of progress only the newest is kept, and it is
/// handed out at most ten times a second: every record costs the host a redraw.
/// </summary>
internal sealed class WorkerObserver : IImagingObserver, IDisposable
{
    /// <summary>The shortest time between two progress records.</summary>
    public static readonly TimeSpan ProgressInterval = TimeSpan.FromMilliseconds(100);

    private readonly ConcurrentQueue<object> _messages = new();
    private readonly AutoResetEvent _signal = new(false);
    private readonly Stopwatch _sinceProgress = Stopwatch.StartNew();
    private Box? _progress;

    /// <inheritdoc/>
    public void OnProgress(ImagingProgress progress) => Volatile.Write(ref _progress, new Box(progress));

    /// <inheritdoc/>
    public void OnWarning(ImagingWarning warning) => Post(warning);

    /// <inheritdoc/>
    public void OnVerbose(string message) => Post(message);

    /// <summary>Wakes the pipeline thread.</summary>
    public void Signal() => _signal.Set();

    /// <summary>Waits for a message, but no longer than until the next progress is due.</summary>
    public void Wait() => _signal.WaitOne(ProgressInterval);

    /// <summary>Takes the next message: an <see cref="ImagingWarning"/>, or a string of detail.</summary>
    /// <param name="message">The message.</param>
    public bool TryTake([System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out object? message) => _messages.TryDequeue(out message);

    /// <summary>Takes the newest progress, if there is one and the time has come.</summary>
    /// <param name="progress">The progress.</param>
    public bool TryTakeProgress(out ImagingProgress progress)
    {
        progress = default;
        if (_sinceProgress.Elapsed < ProgressInterval || Interlocked.Exchange(ref _progress, null) is not { } box) return false;
        _sinceProgress.Restart();
        progress = box.Value;
        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => _signal.Dispose();

    private void Post(object message)
    {
        _messages.Enqueue(message);
        _signal.Set();
    }

    // A reference, so that the newest value can be exchanged without a lock.
    private sealed record Box(ImagingProgress Value);
}
