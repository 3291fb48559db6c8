using System.Text;
using System.Text.RegularExpressions;
using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.PropertyLists;

namespace CCImage.Mounting;

/// <summary>What an image is to be attached with.</summary>
/// <param name="Path">File or bundle, as a full path.</param>
/// <param name="ReadOnly">Whether nothing may be written to it.</param>
/// <param name="NoBrowse">Whether Finder and the like are not to show its volumes.</param>
internal sealed record AttachOptions(string Path, bool ReadOnly, bool NoBrowse);

/// <summary>
/// The two programs of macOS that attach images. <c>hdiutil</c> (its manual page: hdiutil(1)) is there on all systems up to now, proved by
/// years, and deprecated from macOS 27 on. <c>diskutil image attach</c> is the one of newer systems, and comes first from macOS 27 on;
/// which of its options a system has is read from its own help, because they came one by one. Where it fails, <c>hdiutil</c> is tried once.
/// Passphrases go to <c>hdiutil</c> as long as there is one: how <c>diskutil</c> reads them has been seen in its help only.
/// </summary>
/// <param name="system">Runs them.</param>
/// <param name="observer">Hears what is run; never what goes to a standard input.</param>
internal sealed partial class DiskImageTools(ISystemTools system, IImagingObserver observer)
{
    /// <summary>Attaches images on every macOS.</summary>
    public const string Hdiutil = "/usr/bin/hdiutil";

    /// <summary>Attaches images on newer systems.</summary>
    public const string Diskutil = "/usr/sbin/diskutil";

    // EBUSY (sys/errno.h): the exit code of both programs when something keeps a volume busy, whatever the language of their words.
    private const int Busy = 16;

    // The first macOS whose hdiutil says that it is deprecated.
    private const int FirstWithDiskutil = 27;

    private const int Attempts = 4;

    private IReadOnlySet<string>? _diskutilOptions;

    /// <summary>Attaches an image and mounts its volumes.</summary>
    /// <param name="options">Which, and how.</param>
    /// <param name="passphrase">The bytes of the passphrase; empty for none.</param>
    /// <param name="cancellation">Ends it; what came of it is for the caller to find out.</param>
    /// <exception cref="ImageException">What macOS says, under the id that fits.</exception>
    public AttachedImage Attach(AttachOptions options, ReadOnlySpan<byte> passphrase, CancellationToken cancellation)
    {
        bool isSecret = !passphrase.IsEmpty;
        ImageException? refusal = null;
        if (!isSecret && PrefersDiskutil(cancellation)
            && AttachCommand(options, isSecret, DiskutilOptions(cancellation)) is { Program: Diskutil } first)
        {
            try
            {
                if (AttachBy(first, options.Path, passphrase, cancellation) is { } image) return image;
            }
            catch (ImageException e) when (!IsFinal(e))
            {
                observer.OnVerbose(e.Message);
                refusal = e;
            }
        }

        if (AttachBy(AttachCommand(options, isSecret, null), options.Path, passphrase, cancellation) is { } attached) return attached;
        if (refusal is not null) throw refusal;

        // A system that has no hdiutil any more.
        return DiskutilReads(passphrase) && AttachCommand(options, isSecret, DiskutilOptions(cancellation)) is { Program: Diskutil } last
            ? AttachBy(last, options.Path, passphrase, cancellation) ?? throw Missing(Diskutil, options.Path)
            : throw Missing(Hdiutil, options.Path);
    }

    /// <summary>Unmounts the volumes of an attached image and frees its device.</summary>
    /// <param name="image">The image.</param>
    /// <param name="force">Whether files that are open are no obstacle.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>: a file on it is open; or what else macOS says.</exception>
    public void Detach(AttachedImage image, bool force, CancellationToken cancellation)
    {
        foreach ((string program, string[] arguments) in DetachCommands(image.Device, force, PrefersDiskutil(cancellation)))
        {
            for (int left = Attempts - 1; Run(program, arguments, [], image.Path, cancellation) is { ExitCode: not 0 } result; left--)
            {
                // Indexers and scanners look at a new volume for a moment and let it go by themselves.
                ImageException failure = Failure(result, image.Path, attaching: false);
                if (failure.Id != ImageErrorId.ImageInUse || left == 0) throw failure;
                system.Wait(TimeSpan.FromSeconds(1), cancellation);
            }
        }
    }

    /// <summary>The images that are attached now; null when macOS does not tell.</summary>
    /// <param name="cancellation">Ends it.</param>
    public IReadOnlyList<AttachedImage>? List(CancellationToken cancellation)
    {
        ToolResult? result = system.Run(Hdiutil, ["info", "-plist"], [], cancellation);
        return result is { ExitCode: 0 } && ReadPropertyList(result.Output) is { } list ? AttachedImage.FromInfo(list) : null;
    }

    /// <summary>The arguments to attach with: of <c>diskutil</c>, or of <c>hdiutil</c> where that lacks an option.</summary>
    /// <param name="options">What is asked.</param>
    /// <param name="isSecret">Whether a passphrase comes by the standard input.</param>
    /// <param name="diskutilOptions">The options that <c>diskutil image attach</c> names in its help; null or empty when it is not to be
    /// used.</param>
    internal static (
        string Program, string[] Arguments) AttachCommand(AttachOptions options, bool isSecret, IReadOnlySet<string>? diskutilOptions)
    {
        var arguments = new List<string> { "image", "attach", "--plist" };
        if (options.ReadOnly) arguments.Add("--readOnly");
        if (isSecret) arguments.Add("--stdinpassphrase");
        if (options.NoBrowse) arguments.Add(diskutilOptions?.Contains("--nobrowse") == true ? "--nobrowse" : "--mountOptions");
        if (diskutilOptions is not null && arguments.Skip(2).All(diskutilOptions.Contains))
        {
            if (arguments[^1] == "--mountOptions") arguments.Add("nobrowse");
            return (Diskutil, [.. arguments, options.Path]);
        }

        arguments = ["attach", "-plist", "-noautoopen"];
        if (options.ReadOnly) arguments.Add("-readonly");
        if (options.NoBrowse) arguments.Add("-nobrowse");
        if (isSecret) arguments.Add("-stdinpass");
        return (Hdiutil, [.. arguments, options.Path]);
    }

    /// <summary>The programs that detach, one after the other, and their arguments.</summary>
    /// <param name="device">The image's device.</param>
    /// <param name="force">Whether files that are open are no obstacle.</param>
    /// <param name="byDiskutil">Whether <c>diskutil</c> is the one to ask here.</param>
    internal static IReadOnlyList<(string Program, string[] Arguments)> DetachCommands(string device, bool force, bool byDiskutil)
    {
        if (!byDiskutil) return [(Hdiutil, force ? ["detach", device, "-force"] : ["detach", device])];

        // diskutil(8): eject knows no force; unmountDisk does.
        return force ? [(Diskutil, ["unmountDisk", "force", device]), (Diskutil, ["eject", device])] : [(Diskutil, ["eject", device])];
    }

    /// <summary>
    /// Whether <c>diskutil --stdinpassphrase</c> gets the whole passphrase: it reads a line, while <c>hdiutil -stdinpass</c> takes all
    /// bytes up to the end of file (or a zero byte, by its manual page), a newline included. So neither is sent anything but the
    /// passphrase's own bytes.
    /// </summary>
    /// <param name="passphrase">The bytes.</param>
    internal static bool DiskutilReads(ReadOnlySpan<byte> passphrase) => passphrase.IndexOfAny((byte)'\n', (byte)'\r') < 0;

    /// <summary>The options that a help text names.</summary>
    /// <param name="help">What <c>diskutil image attach --help</c> says.</param>
    internal static IReadOnlySet<string> OptionsOf(string help) =>
        OptionPattern().Matches(help).Select(m => m.Value).ToHashSet(StringComparer.Ordinal);

    /// <summary>What one of the programs said, as an error.</summary>
    /// <param name="result">How it ended.</param>
    /// <param name="path">The image.</param>
    /// <param name="attaching">Whether it was to attach, not to detach.</param>
    internal static ImageException Failure(ToolResult result, string path, bool attaching)
    {
        string words = WordsOf(result);
        bool Says(params ReadOnlySpan<string> phrases)
        {
            foreach (string phrase in phrases)
            {
                if (words.Contains(phrase, StringComparison.OrdinalIgnoreCase)) return true;
            }

            return false;
        }

        (ImageErrorId id, string? remedy) =
            Says("Authentication error") ? (ImageErrorId.WrongPassphrase, "Check the passphrase.")
            : result.ExitCode == Busy || Says(
                "Resource busy", "Resource temporarily unavailable", "could not be unmounted", "couldn't unmount", "unmount failed",
                "failed to eject", "dissented")
                ? (ImageErrorId.ImageInUse, attaching ? "Wait until whoever has it open has ended."
                    : "Close the files that are open on it, or ask with -Force.")
            : Says("No such file or directory") ? (ImageErrorId.ImageNotFound, "Check the path.")
            : Says("image not recognized") ? (ImageErrorId.UnknownFormat, null)
            : Says("no mountable file systems") ? (ImageErrorId.VolumeNotFound, "Get-BackupImage tells what is in it.")
            : Says("corrupt", "checksum") ? (ImageErrorId.ImageDamaged, "Test-BackupImage -Detailed tells what is damaged.")
            : Says("Permission denied", "Operation not permitted") ? (ImageErrorId.AccessDenied, "Run as a user who has access.")
            : (ImageErrorId.MountFailed, (string?)null);
        return new(id, $"macOS did not {(attaching ? "attach" : "detach")} the image: {words}", path, remedy: remedy);
    }

    // The words for people: without the warning of every hdiutil of macOS 27, and without the property list.
    private static string WordsOf(ToolResult result)
    {
        string output = Encoding.UTF8.GetString(result.Output);
        IEnumerable<string> lines = $"{result.Error}\n{(output.Contains("<plist", StringComparison.Ordinal) ? "" : output)}".Split('\n')
            .Select(line => line.Trim()).Where(line => line.Length > 0 && !line.Contains("is deprecated", StringComparison.Ordinal));
        string words = string.Join(' ', lines);
        if (words.Length == 0) words = $"exit code {result.ExitCode}";
        return words.EndsWith('.') ? words : words + ".";
    }

    private static PropertyListDictionary? ReadPropertyList(byte[] output)
    {
        int start = output.AsSpan().IndexOf("<?xml"u8);
        if (start < 0) return null;
        try
        {
            return PropertyListReader.ParseDictionary(output[start..]);
        }
        catch (ImageException)
        {
            return null;
        }
    }

    // Nothing that another program would do better.
    private static bool IsFinal(ImageException failure) => failure.Id is ImageErrorId.ImageInUse or ImageErrorId.WrongPassphrase;

    private static ImageException Missing(string program, string path) =>
        new(ImageErrorId.ComponentMissing, $"macOS has no {program}.", path, remedy: "Restore-BackupImage extracts the files without it.");

    private ToolResult Run(string program, string[] arguments, ReadOnlySpan<byte> input, string path, CancellationToken cancellation)
    {
        observer.OnVerbose($"{program} {string.Join(' ', arguments)}");
        return system.Run(program, arguments, input, cancellation) ?? throw Missing(program, path);
    }

    /// <summary>Attaches by one of the programs; null when it is not there.</summary>
    private AttachedImage? AttachBy(
        (string Program, string[] Arguments) command, string path, ReadOnlySpan<byte> passphrase, CancellationToken cancellation)
    {
        for (int left = Attempts - 1; ; left--)
        {
            observer.OnVerbose($"{command.Program} {string.Join(' ', command.Arguments)}");
            if (system.Run(command.Program, command.Arguments, passphrase, cancellation) is not { } result) return null;

            // Without a device nothing is attached, whatever the exit code.
            if (result.ExitCode == 0 && AttachedImage.FromAttach(ReadPropertyList(result.Output), path) is { } image) return image;
            ImageException failure = Failure(result, path, attaching: true);
            if (failure.Id != ImageErrorId.ImageInUse || left == 0)
            {
                if (!IsFinal(failure)) ReleaseRemains(path, failure, cancellation);
                throw failure;
            }

            system.Wait(TimeSpan.FromSeconds(1), cancellation);
        }
    }

    /// <summary>Detaches an image that was attached in part: it would be in the way of the next attempt, and nobody would know of
    /// it.</summary>
    private void ReleaseRemains(string path, ImageException failure, CancellationToken cancellation)
    {
        if (List(cancellation)?.FirstOrDefault(i => i.IsAt(path)) is not { } remains) return;
        try
        {
            Detach(remains, force: false, cancellation);
        }
        catch (ImageException e)
        {
            throw new ImageException(
                ImageErrorId.MountFailed, $"{failure.Problem} It is left attached as {remains.Device}: {e.Problem}", path,
                remedy: "Dismount-BackupImage -Force detaches it.", innerException: failure);
        }
    }

    private bool PrefersDiskutil(CancellationToken cancellation) =>
        system.MacVersion >= FirstWithDiskutil && DiskutilOptions(cancellation).Count > 0;

    private IReadOnlySet<string> DiskutilOptions(CancellationToken cancellation)
    {
        if (_diskutilOptions is not null) return _diskutilOptions;
        ToolResult? help = system.Run(Diskutil, ["image", "attach", "--help"], [], cancellation);
        return _diskutilOptions = OptionsOf(help is { ExitCode: 0 } ? Encoding.UTF8.GetString(help.Output) + help.Error : "");
    }

    [GeneratedRegex("--[A-Za-z]+")]
    private static partial Regex OptionPattern();
}
