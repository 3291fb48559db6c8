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
/// The two programs of macOS that attach images. <c>diskutil image attach</c> is the one of newer systems; which of its options a system has is read
/// from its own help, because they came one by one. <c>hdiutil</c> (its manual page: hdiutil(1)) is there on all systems up to now, and
/// deprecated from macOS 27 on; it is taken where the other cannot do what is asked.
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

    private const int DetachAttempts = 4;

    private IReadOnlySet<string>? _diskutilOptions;

    /// <summary>Attaches an image and mounts its volumes.</summary>
    /// <param name="options">Which, and how.</param>
    /// <param name="passphrase">The bytes of the passphrase; empty for none.</param>
    /// <param name="cancellation">Ends it; what came of it is for the caller to find out.</param>
    /// <exception cref="ImageException">What macOS says, under the id that fits.</exception>
    public AttachedImage Attach(AttachOptions options, ReadOnlySpan<byte> passphrase, CancellationToken cancellation)
    {
        bool isSecret = !passphrase.IsEmpty;
        (string program, string[] arguments) = AttachCommand(options, isSecret, DiskutilReads(passphrase) ? DiskutilOptions(cancellation) : null);
        ToolResult result = Run(program, arguments, passphrase, options.Path, cancellation);
        if (result.ExitCode != 0) throw Failure(result, options.Path, attaching: true);

        // Without a device nothing is attached, whatever the exit code.
        return AttachedImage.FromAttach(ReadPropertyList(result.Output), options.Path) ?? throw Failure(result, options.Path, attaching: true);
    }

    /// <summary>Unmounts the volumes of an attached image and frees its device.</summary>
    /// <param name="image">The image.</param>
    /// <param name="force">Whether files that are open are no obstacle.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>: a file on it is open; or what else macOS says.</exception>
    public void Detach(AttachedImage image, bool force, CancellationToken cancellation)
    {
        foreach ((string program, string[] arguments) in DetachCommands(image.Device, force, DiskutilOptions(cancellation).Count > 0))
        {
            for (int left = DetachAttempts - 1; Run(program, arguments, [], image.Path, cancellation) is { ExitCode: not 0 } result; left--)
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

    /// <summary>The program that attaches, and its arguments.</summary>
    /// <param name="options">What is asked.</param>
    /// <param name="isSecret">Whether a passphrase comes by the standard input.</param>
    /// <param name="diskutilOptions">The options that <c>diskutil image attach</c> names in its help; null or empty when it is not to be used.</param>
    internal static (string Program, string[] Arguments) AttachCommand(AttachOptions options, bool isSecret, IReadOnlySet<string>? diskutilOptions)
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
    /// <param name="hasDiskutil">Whether <c>diskutil</c> attaches images here.</param>
    internal static IReadOnlyList<(string Program, string[] Arguments)> DetachCommands(string device, bool force, bool hasDiskutil)
    {
        if (!hasDiskutil) return [(Hdiutil, force ? ["detach", device, "-force"] : ["detach", device])];

        // diskutil(8): eject knows no force; unmountDisk does.
        return force ? [(Diskutil, ["unmountDisk", "force", device]), (Diskutil, ["eject", device])] : [(Diskutil, ["eject", device])];
    }

    /// <summary>
    /// Whether <c>diskutil --stdinpassphrase</c> gets the whole passphrase: it reads a line, while <c>hdiutil -stdinpass</c> takes all bytes up to
    /// the end of file (or a zero byte, by its manual page), a newline included. So neither is sent anything but the passphrase's own bytes.
    /// </summary>
    /// <param name="passphrase">The bytes.</param>
    internal static bool DiskutilReads(ReadOnlySpan<byte> passphrase) => passphrase.IndexOfAny((byte)'\n', (byte)'\r') < 0;

    /// <summary>The options that a help text names.</summary>
    /// <param name="help">What <c>diskutil image attach --help</c> says.</param>
    internal static IReadOnlySet<string> OptionsOf(string help) => OptionPattern().Matches(help).Select(m => m.Value).ToHashSet(StringComparer.Ordinal);

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
                "Resource busy", "Resource temporarily unavailable", "could not be unmounted", "couldn't unmount", "unmount failed", "failed to eject", "dissented")
                ? (ImageErrorId.ImageInUse, attaching ? "Wait until whoever has it open has ended." : "Close the files that are open on it, or ask with -Force.")
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

    private ToolResult Run(string program, string[] arguments, ReadOnlySpan<byte> input, string path, CancellationToken cancellation)
    {
        observer.OnVerbose($"{program} {string.Join(' ', arguments)}");
        return system.Run(program, arguments, input, cancellation) ?? throw new ImageException(
            ImageErrorId.ComponentMissing, $"macOS has no {program}.", path, remedy: "Restore-BackupImage extracts the files without it.");
    }

    private IReadOnlySet<string> DiskutilOptions(CancellationToken cancellation)
    {
        if (_diskutilOptions is not null) return _diskutilOptions;
        ToolResult? help = system.Run(Diskutil, ["image", "attach", "--help"], [], cancellation);
        return _diskutilOptions = OptionsOf(help is { ExitCode: 0 } ? Encoding.UTF8.GetString(help.Output) + help.Error : "");
    }

    [GeneratedRegex("--[A-Za-z]+")]
    private static partial Regex OptionPattern();
}
