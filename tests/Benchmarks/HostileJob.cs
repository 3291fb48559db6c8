using System.Diagnostics;
using System.Globalization;
using CCImage.Diagnostics;
using CCImage.Sources;

namespace CCImage.Benchmarks;

/// <summary>
/// What a session does first with an image that somebody sent. It prints how it ended, the highest memory, the processor time, and how much
/// of it a stop took (-1 where it was over before): whoever started the process judges them.
/// </summary>
internal static class HostileJob
{
    /// <summary>Does it.</summary>
    /// <param name="what">Describe, list, judge or convert.</param>
    /// <param name="image">The image.</param>
    /// <param name="stopAfter">Milliseconds until it is stopped; 0 for never.</param>
    public static void Run(string what, string image, int stopAfter)
    {
        using var stop = new CancellationTokenSource();
        using Process self = Process.GetCurrentProcess();
        double stopped = 0;
        stop.Token.Register(() => stopped = ProcessorTime(self));
        if (stopAfter > 0) stop.CancelAfter(stopAfter);
        string outcome;
        try
        {
            outcome = Do(what, image, stop.Token);
        }
        catch (ImageException e)
        {
            outcome = e.Id.ToString();
        }
        catch (OperationCanceledException)
        {
            outcome = "Stopped";
        }

        double end = ProcessorTime(self), latency = outcome == "Stopped" ? end - stopped : -1;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{outcome} {self.PeakWorkingSet64} {end} {latency}"));
    }

    // Not of the clock: what else the machine does is not the job's.
    private static double ProcessorTime(Process process)
    {
        process.Refresh();
        return process.TotalProcessorTime.TotalSeconds;
    }

    private static string Do(string what, string image, CancellationToken cancellation)
    {
        switch (what)
        {
            case "describe":
                DiskImage.Inspect(image, null, cancellation);
                return "Done";
            case "judge":
                return ImageVerification.Run(new ImageVerificationRequest(image), SilentObserver.Instance, cancellation).IsSound ? "Sound"
                    : "Unsound";
            case "convert":
                ImageConversion.Run(
                    new ImageConversionRequest { Path = image, DestinationPath = image + ".converted",
                    Format = BackupImageFormat.ReadOnlyZlib, Overwrite = true },
                    SilentObserver.Instance, cancellation);
                return "Done";
            default:
                using (DiskImage opened = DiskImage.Open(image, null, cancellation))
                using (SourceTree tree = opened.ReadTree(null, cancellation))
                {
                    List<BackupImageItem> items = [.. tree.Enumerate().Skip(1).Select(entry => BackupImageItem.From(image, entry))];
                    return $"Listed:{items.Count}";
                }
        }
    }
}
