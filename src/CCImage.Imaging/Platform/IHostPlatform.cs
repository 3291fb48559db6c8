using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>
/// The machine: volumes, and folders with all the metadata the system keeps. One class per operating system, chosen in
/// <see cref="HostPlatform.Current"/>; a test puts its own in front. Refusals are <see cref="HostException"/>.
/// </summary>
internal interface IHostPlatform
{
    /// <summary>Whether this process may give files to other owners and make device nodes.</summary>
    bool IsPrivileged { get; }

    /// <summary>The volume a path lies on. Links are followed; of a path that does not exist yet, the nearest folder above it
    /// counts.</summary>
    /// <param name="path">A full path.</param>
    HostVolume GetVolume(string path);

    /// <summary>What a path is, without following it when it is a link.</summary>
    /// <param name="path">A full path.</param>
    HostStat GetStat(string path);

    /// <summary>
    /// Opens a folder to begin with. Links in this path are followed: it is the user's own choice. Everything below is reached from the
    /// open folder by single names, and no link is followed there.
    /// </summary>
    /// <param name="path">A full path.</param>
    HostDirectory OpenDirectory(string path);

    /// <summary>
    /// Opens a regular file, as <see cref="HostDirectory.OpenLocked"/> does; links in this path are followed: it is the user's own choice.
    /// </summary>
    /// <param name="path">A path.</param>
    /// <param name="writable">Whether it is to be written.</param>
    /// <param name="exclusive">Whether nobody else may have it open.</param>
    /// <param name="stat">What was opened.</param>
    SafeFileHandle OpenFile(string path, bool writable, bool exclusive, out HostStat stat) => throw new NotSupportedException();

    /// <summary>
    /// Whether a folder that lies on another volume than the folder above it is no place where that volume is mounted, but a way from the
    /// one volume to the other: on macOS a firmlink, by which the system's volume shows what is on the user's.
    /// </summary>
    /// <param name="path">The folder's full path.</param>
    /// <param name="stat">What it is.</param>
    bool IsFirmlink(string path, in HostStat stat) => false;

    /// <summary>
    /// Whether what this system says of a file's holes can be believed. Where it cannot, files are read from end to end and zeros are found
    /// in what was read.
    /// </summary>
    bool TrustsHoles => true;

    /// <summary>
    /// From now until the result is disposed of, reading a file whose content is in the cloud only downloads it, on whatever thread of this
    /// process. Null on systems where nothing has to be done for that.
    /// </summary>
    IDisposable? DownloadCloudFiles() => null;

    /// <summary>Reading such a file on this thread fails instead of downloading it, for as long as the thread lives. Cheap when it is said
    /// again.</summary>
    void KeepThreadFromDownloading()
    {
    }

    /// <summary>Why a name cannot be made in a folder of this system, as a sentence; null when it can, as far as the system's rules
    /// tell.</summary>
    /// <param name="name">A single name.</param>
    string? ObjectionToName(string name);

    /// <summary>Takes for equal what a volume of this system may take for one name.</summary>
    IEqualityComparer<string> NameComparer => StringComparer.OrdinalIgnoreCase;

    /// <summary>Where the system keeps passphrases of disk images; null where it knows of none.</summary>
    IKeychain? Keychain => null;
}

/// <summary>Chooses the platform.</summary>
internal static class HostPlatform
{
    /// <summary>The machine this runs on.</summary>
    public static IHostPlatform Current { get; } =
        OperatingSystem.IsLinux() ? new LinuxPlatform() : OperatingSystem.IsMacOS() ? new MacPlatform() : new WindowsPlatform();

    /// <summary>
    /// Marks a folder as one that is shown as a file: on macOS by the bundle bit of the Finder's flags (CarbonCore's Finder.h, kHasBundle),
    /// whatever its name. Elsewhere, and where the file system keeps no attributes, nothing happens: Finder knows the extension of bundles
    /// too.
    /// </summary>
    /// <param name="folder">A folder without Finder info.</param>
    internal static void MarkAsPackage(HostDirectory folder)
    {
        if (!OperatingSystem.IsMacOS()) return;
        const int flagsOffset = 8;
        const byte hasBundle = 0x20;
        Span<byte> finderInfo = stackalloc byte[32];
        finderInfo[flagsOffset] = hasBundle;
        try
        {
            folder.SetAttribute(HostNode.Self, HostAttributes.FinderInfoName, finderInfo);
        }
        catch (HostException)
        {
            // A file system without attributes.
        }
    }

    /// <summary>What makes a path the same file as another; links are followed. Null when nothing is there, or may not be asked.</summary>
    /// <param name="path">A full path.</param>
    internal static HostIdentity? IdentityOf(string path)
    {
        try
        {
            FileSystemInfo? target = File.ResolveLinkTarget(path, returnFinalTarget: true);
            return Current.GetStat(target?.FullName ?? path).Identity;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The rule of every system: one name, that of an entry, in characters that can be encoded.</summary>
    /// <param name="name">A single name.</param>
    internal static string? ObjectionToAnyName(string name)
    {
        if (name.Length == 0) return "The name is empty.";
        if (name is "." or "..") return "The name stands for a folder itself.";
        if (name.AsSpan().IndexOfAny('/', '\0') >= 0) return "The name contains a separator.";
        for (int i = 0; i < name.Length; i++)
        {
            if (char.IsHighSurrogate(name[i]) && i + 1 < name.Length && char.IsLowSurrogate(name[i + 1])) i++;
            else if (char.IsSurrogate(name[i])) return "The name is not valid Unicode.";
        }

        return null;
    }
}
