using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage;

/// <summary>Whether a place brings what is flushed to the medium, past the caches of drives and servers.</summary>
public enum FullFsyncSupport
{
    /// <summary>macOS: the place took <c>F_FULLFSYNC</c>.</summary>
    Yes,

    /// <summary>macOS: the place refused <c>F_FULLFSYNC</c>, or its ordinary flush failed.</summary>
    No,

    /// <summary>The call does not exist on this system, but the local file system's own flush reaches the medium.</summary>
    Equivalent,

    /// <summary>Nobody here can tell: a network, FUSE, a file system that is not known, a place that cannot be written.</summary>
    NotDeterminable,
}

/// <summary>What was found out about full flushes at a place.</summary>
/// <param name="Path">The place, as a full path.</param>
/// <param name="MountPoint">Where its volume is mounted.</param>
/// <param name="FileSystemType">The file system as the host calls it.</param>
/// <param name="IsNetwork">Whether the files lie on another machine.</param>
/// <param name="Protocol">The network protocol, or null.</param>
/// <param name="Support">The answer.</param>
/// <param name="Method">The call that was tried.</param>
/// <param name="Error">What the host said when it failed, or null.</param>
/// <param name="Advice">What to do, or null when there is nothing to do.</param>
public sealed record FullFsyncReport(
    string Path, string MountPoint, string FileSystemType, bool IsNetwork, string? Protocol, FullFsyncSupport Support, string Method,
    string? Error, string? Advice);

/// <summary>
/// Asks a place whether it honours a full flush, which sparse bundles rely on: a bundle is many files, and one whose band reached the
/// server but not its disk is a damaged image after a loss of power.
/// </summary>
public static class FullFsync
{
    // Those whose fsync, or FlushFileBuffers, waits for the device's own cache (their drivers issue a flush or a forced unit access).
    private static readonly HashSet<string> s_reachMedium =
        new(["ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "NTFS", "ReFS"], StringComparer.Ordinal);

    /// <summary>
    /// Really asks: makes a temporary file at the place, writes to it, flushes it and removes it.
    /// </summary>
    /// <param name="path">A folder, or a file or bundle whose folder is asked; as a full path.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.DestinationNotFound"/>: there is no such place.</exception>
    public static FullFsyncReport Ask(string path)
    {
        string? folder = Directory.Exists(path) && !Containers.SparseBundle.SparseBundleStorage.IsMatch(path) ? path
            : System.IO.Path.GetDirectoryName(path);
        if (folder is null || !Directory.Exists(folder))
            throw new ImageException(
                ImageErrorId.DestinationNotFound, "There is no such folder.", folder ?? path, remedy: "Check the path.");
        HostVolume volume = HostPlatform.Current.GetVolume(folder);
        FullFlush outcome = FileSystemCalls.FullFlushIn(folder);
        return Judge(path, volume, outcome, OperatingSystem.IsMacOS());
    }

    /// <summary>Asks for a bundle that is about to be made: a place without full flushes is warned of, and refused where macOS itself
    /// refuses it.</summary>
    /// <param name="path">The bundle, as a full path.</param>
    /// <param name="observer">Hears of the warning.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnsupportedFormat"/>: macOS before 10.12 does not take such a
    /// bundle.</exception>
    internal static void CheckForBundle(string path, IImagingObserver observer) =>
        CheckForBundle(Ask(path), OperatingSystem.IsMacOS() && !OperatingSystem.IsMacOSVersionAtLeast(10, 12), observer);

    /// <summary>The rule of <see cref="CheckForBundle(string, IImagingObserver)"/>, apart from the asking.</summary>
    /// <param name="report">What was found.</param>
    /// <param name="isRequired">Whether this system insists.</param>
    /// <param name="observer">Hears of the warning.</param>
    internal static void CheckForBundle(FullFsyncReport report, bool isRequired, IImagingObserver observer)
    {
        if (report.Support == FullFsyncSupport.NotDeterminable && report.IsNetwork) observer.OnVerbose($"{report.Path}: {report.Advice}");
        if (report.Support != FullFsyncSupport.No) return;
        string problem =
            $"{report.MountPoint} ({report.Protocol ?? report.FileSystemType}) does not support {report.Method}: {report.Error}.";
        if (isRequired) throw new ImageException(ImageErrorId.UnsupportedFormat, problem, report.Path, remedy: report.Advice);
        observer.OnWarning(new(ImagingWarningKind.Advice, report.Path, $"{problem} {report.Advice}"));
    }

    /// <summary>Turns the host's answers into a verdict; apart from the asking, so that the answers of systems that are not here can be
    /// tried.</summary>
    /// <param name="path">The place.</param>
    /// <param name="volume">Its volume.</param>
    /// <param name="outcome">How the flush of a temporary file there ended.</param>
    /// <param name="hasFullFsync">Whether the system has <c>F_FULLFSYNC</c>.</param>
    internal static FullFsyncReport Judge(string path, HostVolume volume, FullFlush outcome, bool hasFullFsync)
    {
        FullFsyncSupport support = !outcome.IsTried ? FullFsyncSupport.NotDeterminable
            : outcome.Error is not null ? FullFsyncSupport.No
            : hasFullFsync ? FullFsyncSupport.Yes
            : !volume.IsNetwork && s_reachMedium.Contains(volume.FileSystemType) ? FullFsyncSupport.Equivalent
            : FullFsyncSupport.NotDeterminable;
        return new(
            path, volume.MountPoint, volume.FileSystemType, volume.IsNetwork, volume.Protocol, support, outcome.Method, outcome.Error,
            AdviceFor(support, volume, outcome));
    }

    private static string? AdviceFor(FullFsyncSupport support, HostVolume volume, FullFlush outcome) => support switch
    {
        FullFsyncSupport.Yes => null,
        FullFsyncSupport.Equivalent => $"Nothing to do: {outcome.Method} on {volume.FileSystemType} waits for the medium.",
        FullFsyncSupport.No when volume.Protocol == "SMB" =>
            "Sparse bundles need it before macOS 10.12, and are safer with it always. Connect to the share by AFP, or enable full sync on "
                + "the server "
            + "(Samba: 'fruit:time machine = yes'), choose another share, or use a sparse image instead of a sparse bundle.",
        FullFsyncSupport.No =>
            "Sparse bundles need it before macOS 10.12, and are safer with it always. Choose another volume or share, or use a sparse "
                + "image instead of a sparse bundle.",
        _ when !outcome.IsTried => "Choose a folder that can be written.",
        _ when volume.IsNetwork =>
            "Only a Mac can ask a server: run Test-FullFsyncSupport on the Mac that will use the image. Where the server lacks it, a "
                + "sparse image is safer than a sparse bundle.",
        _ => $"Nothing is known of {(volume.FileSystemType.Length > 0 ? volume.FileSystemType : "this file system")} here: for a sparse "
            + $"bundle choose a local disk with a "
            + "journaling file system, or use a sparse image.",
    };
}
