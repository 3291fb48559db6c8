using System.Diagnostics;
using System.Globalization;
using System.Security;
using CCImage.Containers;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage.Benchmarks;

/// <summary>What a measured process of ours does. It prints what the measuring process cannot see from outside.</summary>
internal static class Jobs
{
    private static readonly CancellationTokenSource s_stop = new();

    /// <summary>Does a job.</summary>
    /// <param name="arguments">Its name and what it takes.</param>
    /// <returns>The exit code.</returns>
    public static int Run(string[] arguments)
    {
        using IDisposable watch = TerminationSignals.Watch(s_stop);
        try
        {
            return RunWatched(arguments);
        }
        catch (OperationCanceledException)
        {
            // The signal ends the process.
            watch.Dispose();
            Thread.Sleep(Timeout.Infinite);
            return 1;
        }
    }

    private static int RunWatched(string[] arguments)
    {
        if (arguments is ["hostile", var what, var hostile, var stopAfter])
        {
            HostileJob.Run(what, hostile, int.Parse(stopAfter, CultureInfo.InvariantCulture));
            return 0;
        }

        if (arguments is ["in-session", ..])
        {
            // The second time in one process: the runtime has started and the code is compiled, as in a session of PowerShell.
            arguments = arguments[1..];
            if (Do(arguments) is not 0 and var failed) return failed;
            if (arguments[0] != "test") File.Delete(arguments[^1]);
        }

        var clock = Stopwatch.StartNew();
        if (Do(arguments) is not 0 and var code) return code;
        double seconds = clock.Elapsed.TotalSeconds;
        using Process self = Process.GetCurrentProcess();
        if (arguments[0] != "layer")
            Console.WriteLine(
                string.Create(CultureInfo.InvariantCulture, $"{self.PeakWorkingSet64} {self.TotalProcessorTime.TotalSeconds} {seconds}"));
        return 0;
    }

    private static int Do(string[] arguments)
    {
        switch (arguments)
        {
            case ["layer", var keyBits]:
                EncryptedLayer.Measure(int.Parse(keyBits, CultureInfo.InvariantCulture));
                return 0;
            case ["passphrase", var image, var from, var to]:
                using (Passphrase old = Secret(from), fresh = Secret(to))
                    ImagePassphrase.Change(image, old, fresh, SilentObserver.Instance, CancellationToken.None);
                break;
            case ["encrypted", var format, var source, var destination]:
                using (Passphrase passphrase = Secret("benchmark"))
                using (var creation = ImageCreation.Prepare(
                    new ImageRecipe
                    {
                        SourcePath = source, Path = destination, Format = Enum.Parse<BackupImageFormat>(format), Overwrite = true,
                        Encryption = BackupImageEncryption.Aes256, Passphrase = passphrase,
                    },
                    SilentObserver.Instance,
                    CancellationToken.None))
                {
                    creation.Run(CancellationToken.None);
                }

                break;
            case ["new", var format, var level, var source, var destination]:
                using (var creation = ImageCreation.Prepare(
                    new ImageRecipe
                    {
                        SourcePath = source, Path = destination, Format = Enum.Parse<BackupImageFormat>(format), Overwrite = true,
                            CompressionLevel = ParseLevel(level),
                    },
                    SilentObserver.Instance,
                    s_stop.Token))
                {
                    creation.Run(s_stop.Token);
                }

                break;
            case ["convert", var format, var level, var source, var destination]:
                ImageConversion.Run(
                    new ImageConversionRequest
                    {
                        Path = source, DestinationPath = destination, Format = Enum.Parse<BackupImageFormat>(format), Overwrite = true,
                            CompressionLevel = ParseLevel(level),
                    },
                    SilentObserver.Instance,
                    CancellationToken.None);
                break;
            case ["restore-disk", var source, var destination]: // the disk of a read-only image, bit for bit
                ImageConversion.Run(
                    new ImageConversionRequest
                    {
                        Path = source, DestinationPath = destination, Format = BackupImageFormat.ReadOnly, Overwrite = true,
                            KeepFreeSpace = true,
                    },
                    SilentObserver.Instance,
                    CancellationToken.None);
                break;
            case ["raw", var source, var destination]: // the same without a trailer and checksums: what the peers write
                WriteRaw(source, destination);
                break;
            case ["test", var image]:
                if (!ImageVerification.Run(new ImageVerificationRequest(image), SilentObserver.Instance, CancellationToken.None).IsSound)
                    return 1;
                break;
            case ["restore", var image, var destination]:
                ImageRestore.Run(
                    new ImageRestoreRequest { Path = image, DestinationPath = destination }, SilentObserver.Instance, s_stop.Token);
                break;
            case ["inspect", var image]:
                DiskImage.Inspect(image);
                break;
            case ["wide-bundle", var source, var destination]:
                WideBundle.Make(source, destination);
                break;
            case ["new-of", var size, var source, var destination]:
                using (var creation = ImageCreation.Prepare(
                    new ImageRecipe
                    {
                        SourcePath = source, Path = destination, Format = BackupImageFormat.SparseBundle, Overwrite = true,
                            SizeBytes = long.Parse(size, CultureInfo.InvariantCulture),
                    },
                    SilentObserver.Instance,
                    CancellationToken.None))
                {
                    creation.Run(CancellationToken.None);
                }

                break;
            case ["half-free-bundle", var source, var destination]:
                WideBundle.MakeHalfFree(source, destination);
                break;
            case ["compact", var image]:
                ImageCompaction.Run(new ImageCompactionRequest(image), SilentObserver.Instance, CancellationToken.None);
                break;
            case ["resize", var image, var size]:
                ImageResize.Run(
                    new ImageResizeRequest(image) { SizeBytes = long.Parse(size, CultureInfo.InvariantCulture) }, SilentObserver.Instance,
                    CancellationToken.None);
                break;
            default:
                Console.Error.WriteLine("Unknown job.");
                return 2;
        }

        return 0;
    }

    private static void WriteRaw(string source, string destination)
    {
        using DiskImage image = DiskImage.Open(source);
        using FileStorage file = FileStorage.CreateNew(destination);
        file.SetLength(image.Disk.Length);
        using var writer = new StorageImageWriter(file);
        ConversionPump.Run(image.Disk, writer, "Decoding", SilentObserver.Instance, CancellationToken.None);
    }

    private static Passphrase Secret(string text)
    {
        using var secret = new SecureString();
        foreach (char c in text) secret.AppendChar(c);
        return Passphrase.From(secret);
    }

    private static int? ParseLevel(string level) => level == "-" ? null : int.Parse(level, CultureInfo.InvariantCulture);
}
