using System.Runtime.InteropServices;

namespace CCImage.Platform;

/// <summary>
/// SIGTERM and SIGHUP end a job as Ctrl+C does: running jobs are cancelled, and the process ends, as the signal has it, when they have
/// removed what they had begun. Nothing is changed about what the signal does otherwise.
/// </summary>
internal static partial class TerminationSignals
{
    private const int HangUp = 1;

    // A job that hangs in the host must not keep the process from ending.
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);
    private static readonly Lock s_gate = new();
    private static readonly HashSet<Job> s_jobs = [];
    private static PosixSignalRegistration[]? s_registrations;
    private static bool s_isEnding;

    /// <summary>Begins a job.</summary>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>To be disposed when the job has ended and nothing of it is left, by the thread that works.</returns>
    public static IDisposable Watch(CancellationTokenSource cancellation)
    {
        var job = new Job(cancellation);
        bool isEnding;
        lock (s_gate)
        {
            s_registrations ??= Register();
            s_jobs.Add(job);
            isEnding = s_isEnding;
        }

        if (isEnding) job.Cancel();
        return job;
    }

    private static PosixSignalRegistration[] Register()
    {
        if (OperatingSystem.IsWindows()) return [];
        var signals = new List<PosixSignal> { PosixSignal.SIGTERM };

        // nohup(1): who asked for it does not want to be ended by it.
        if (!IsIgnored(HangUp)) signals.Add(PosixSignal.SIGHUP);
        return [.. signals.Select(s => PosixSignalRegistration.Create(s, _ => End()))];
    }

    // The runtime goes on with what the signal does when this returns.
    private static void End()
    {
        Job[] jobs;
        lock (s_gate)
        {
            s_isEnding = true;
            jobs = [.. s_jobs];
        }

        foreach (Job job in jobs) job.Cancel();
        DateTime deadline = DateTime.UtcNow + s_patience;
        foreach (Job job in jobs)
        {
            TimeSpan left = deadline - DateTime.UtcNow;
            job.Wait(left > TimeSpan.Zero ? left : TimeSpan.Zero);
        }
    }

    // struct sigaction begins with the handler on Linux and macOS; its size is below 160 bytes. SIG_IGN is 1.
    private static bool IsIgnored(int signal)
    {
        Span<byte> action = stackalloc byte[256];
        action.Clear();
        return GetAction(signal, 0, action) == 0 && MemoryMarshal.Read<nint>(action) == 1;
    }

    [LibraryImport("libc", EntryPoint = "sigaction", SetLastError = true)]
    private static partial int GetAction(int signal, nint action, Span<byte> old);

    private sealed class Job(CancellationTokenSource cancellation) : IDisposable
    {
        private readonly ManualResetEventSlim _ended = new();

        public void Cancel()
        {
            try
            {
                cancellation.Cancel();
            }
            catch (ObjectDisposedException)
            {
                // It ended just now.
            }
        }

        public void Wait(TimeSpan time) => _ended.Wait(time);

        public void Dispose()
        {
            lock (s_gate) s_jobs.Remove(this);
            _ended.Set();
        }
    }
}
