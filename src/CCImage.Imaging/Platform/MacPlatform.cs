using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>
/// macOS, by the calls of its C library. Structures and numbers are those of the SDK's headers, each named where it is declared.
/// </summary>
internal sealed class MacPlatform : IHostPlatform
{
    // sys/mount.h
    private const uint ReadOnlyFlag = 0x1;
    private const uint LocalFlag = 0x1000;
    private const uint RootFlag = 0x4000;

    // sys/unistd.h: _PC_CASE_SENSITIVE
    private const int CaseSensitiveQuery = 11;

    /// <inheritdoc/>
    public bool IsPrivileged => Environment.IsPrivilegedProcess;

    /// <inheritdoc/>
    public IEqualityComparer<string> NameComparer { get; } = new MacNameComparer();

    /// <inheritdoc/>
    public IKeychain Keychain { get; } = new MacKeychain();

    /// <inheritdoc/>
    /// <remarks>SEEK_HOLE and SEEK_DATA of APFS have called holes what was written and not yet on the medium.</remarks>
    public bool TrustsHoles => false;

    [ThreadStatic]
    private static bool t_isKeptFromDownloading;

    /// <inheritdoc/>
    /// <remarks>
    /// setiopolicy_np(3). For the process, because the copy is read on many threads: what launchd starts has the opposite by default, and
    /// gets EDEADLK.
    /// </remarks>
    public IDisposable DownloadCloudFiles()
    {
        int before = MacCalls.GetIoPolicy(MacCalls.MaterializeDatalessFiles, MacCalls.PolicyOfProcess);
        _ = MacCalls.SetIoPolicy(MacCalls.MaterializeDatalessFiles, MacCalls.PolicyOfProcess, MacCalls.MaterializeOn);
        return new ProcessPolicy(Math.Max(before, 0));
    }

    /// <inheritdoc/>
    /// <remarks>For threads that read for a backup only: the rest of the process is somebody else's shell.</remarks>
    public void KeepThreadFromDownloading()
    {
        if (t_isKeptFromDownloading) return;
        t_isKeptFromDownloading =
            MacCalls.SetIoPolicy(MacCalls.MaterializeDatalessFiles, MacCalls.PolicyOfThread, MacCalls.MaterializeOff) == 0;
    }

    /// <inheritdoc/>
    public HostVolume GetVolume(string path)
    {
        path = Path.GetFullPath(path);
        MacVolumeStat volume;
        while (MacCalls.VolumeStat(path, out volume) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (Path.GetDirectoryName(path) is not string parent
                || UnixDirectory.CommonFailure(error) is not (HostFailure.NotFound or HostFailure.NotADirectory))
                throw MacDirectory.FailureOf(error);
            path = parent;
        }

        string type = volume.FileSystemType, mountPoint = volume.MountPoint;
        bool isNetwork = (volume.Flags & LocalFlag) == 0;
        nint caseSensitive = MacCalls.PathConfiguration(path, CaseSensitiveQuery);
        return new()
        {
            MountPoint = mountPoint,
            FileSystemType = type,
            Device = volume.MountedFrom,
            DeviceId = MacCalls.Stat(path, followLink: true, out MacStat stat) == 0 ? stat.ToHostStat().Identity.Device : 0,
            CapacityBytes = Product(volume.BlockCount, volume.BlockSize),
            FreeBytes = Product(volume.BlocksAvailable, volume.BlockSize),
            IsNetwork = isNetwork,
            Protocol = isNetwork ? HostVolume.NetworkProtocol(type) : null,
            MaximumFileSize = HostVolume.MaximumFileSizeOf(type),

            // Since 10.15 the user's data lie on a volume of their own in the startup disk's container.
            IsStartupDisk = (volume.Flags & RootFlag) != 0 || mountPoint == "/System/Volumes/Data",
            IsCaseSensitive = caseSensitive < 0 ? null : caseSensitive == 1,
            IsReadOnly = (volume.Flags & ReadOnlyFlag) != 0,
        };
    }

    /// <inheritdoc/>
    public HostStat GetStat(string path) =>
        MacCalls.Stat(path, followLink: false, out MacStat stat) == 0 ? stat.ToHostStat()
            : throw MacDirectory.FailureOf(Marshal.GetLastPInvokeError());

    /// <inheritdoc/>
    public SafeFileHandle OpenFile(string path, bool writable, bool exclusive, out HostStat stat)
    {
        // Looked at before it is opened: opening a device may have effects.
        if (MacCalls.Stat(path, followLink: true, out MacStat found) != 0) throw MacDirectory.FailureOf(Marshal.GetLastPInvokeError());
        return UnixFiles.Open(path, MacDirectory.OpenFileFlags, writable, exclusive, found.ToHostStat(), MacDirectory.StatOf,
            MacDirectory.FailureOf, out stat);
    }

    /// <inheritdoc/>
    public HostDirectory OpenDirectory(string path)
    {
        int descriptor = FileDescriptors.Open(() => UnixCalls.Open(path, MacDirectory.OpenFolderFlags));
        return descriptor >= 0 ? MacDirectory.Take(descriptor) : throw MacDirectory.FailureOf(Marshal.GetLastPInvokeError());
    }

    /// <inheritdoc/>
    /// <remarks>Neither stat(2) nor a file tells of firmlinks in a way to rely on; but what statfs(2) says of one is the volume it leads
    /// to.</remarks>
    public bool IsFirmlink(string path, in HostStat stat) =>
        MacCalls.VolumeStat(path, out MacVolumeStat volume) == 0
            && MacCalls.Stat(volume.MountPoint, followLink: true, out MacStat root) == 0
        && root.ToHostStat().Identity != stat.Identity;

    /// <inheritdoc/>
    public string? ObjectionToName(string name) => HostPlatform.ObjectionToAnyName(name);

    private static long Product(ulong blocks, uint size) => (long)UInt128.Min((UInt128)blocks * size, long.MaxValue);

    private sealed class ProcessPolicy(int before) : IDisposable
    {
        public void Dispose() => _ = MacCalls.SetIoPolicy(MacCalls.MaterializeDatalessFiles, MacCalls.PolicyOfProcess, before);
    }
}
