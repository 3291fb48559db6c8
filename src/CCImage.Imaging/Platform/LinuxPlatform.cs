using System.Runtime.InteropServices;
using CCImage.Sources;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>Linux: <c>statx</c>, <c>/proc/self/mountinfo</c>, extended attributes by their namespaces.</summary>
internal sealed class LinuxPlatform : IHostPlatform
{
    /// <inheritdoc/>
    public bool IsPrivileged => Environment.IsPrivilegedProcess;

    /// <inheritdoc/>
    public IEqualityComparer<string> NameComparer => StringComparer.Ordinal;

    /// <inheritdoc/>
    public HostVolume GetVolume(string path)
    {
        path = Path.GetFullPath(path);
        LinuxStat stat;
        while (LinuxCalls.Stat(LinuxCalls.CurrentFolder, path, LinuxCalls.AtNoAutomount, LinuxCalls.BasicStatsAndMount, out stat) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (Path.GetDirectoryName(path) is not string parent
                || UnixDirectory.CommonFailure(error) is not (HostFailure.NotFound or HostFailure.NotADirectory))
                throw LinuxDirectory.FailureOf(error);
            path = parent;
        }

        ulong? mountId = (stat.Mask & LinuxCalls.MountIdMask) != 0 ? stat.MountId : null;
        MountEntry? mount =
            MountTable.Find(MountTable.Parse(File.ReadAllText("/proc/self/mountinfo")), mountId, stat.DeviceMajor, stat.DeviceMinor, path);
        var space = new DriveInfo(path);
        string type = mount?.FileSystemType ?? "";
        string? protocol = HostVolume.NetworkProtocol(type);
        return new()
        {
            MountPoint = mount?.MountPoint ?? "/",
            FileSystemType = type,
            Device = mount?.Source ?? "",
            DeviceId = stat.ToHostStat().Identity.Device,
            CapacityBytes = space.TotalSize,
            FreeBytes = space.AvailableFreeSpace,
            IsNetwork = protocol is not null,
            Protocol = protocol,
            MaximumFileSize = HostVolume.MaximumFileSizeOf(type),
            IsStartupDisk = mount?.MountPoint == "/",
            IsCaseSensitive = type switch
            {
                // A single folder of ext4 and f2fs may be case-insensitive all the same (chattr +F).
                "ext2" or "ext3" or "ext4" or "xfs" or "btrfs" or "tmpfs" or "f2fs" or "overlay" => true,
                "vfat" or "msdos" or "exfat" => false,
                _ => null,
            },
            IsReadOnly = mount?.IsReadOnly ?? false,
        };
    }

    /// <inheritdoc/>
    public HostStat GetStat(string path)
    {
        if (LinuxCalls.Stat(
            LinuxCalls.CurrentFolder, path, LinuxCalls.AtNoFollow | LinuxCalls.AtNoAutomount, LinuxCalls.AllStats, out LinuxStat stat) != 0)
            throw LinuxDirectory.FailureOf(Marshal.GetLastPInvokeError());
        return stat.ToHostStat();
    }

    /// <inheritdoc/>
    public SafeFileHandle OpenFile(string path, bool writable, bool exclusive, out HostStat stat)
    {
        // Looked at before it is opened: opening a device may have effects.
        if (LinuxCalls.Stat(LinuxCalls.CurrentFolder, path, LinuxCalls.AtNoAutomount, LinuxCalls.AllStats, out LinuxStat found) != 0)
            throw LinuxDirectory.FailureOf(Marshal.GetLastPInvokeError());
        return UnixFiles.Open(path, LinuxDirectory.OpenFileFlags, writable, exclusive, found.ToHostStat(), LinuxDirectory.StatOf,
            LinuxDirectory.FailureOf, out stat);
    }

    /// <inheritdoc/>
    public HostDirectory OpenDirectory(string path)
    {
        int descriptor = FileDescriptors.Open(() => UnixCalls.Open(path, LinuxDirectory.OpenFolderFlags));
        return descriptor >= 0 ? LinuxDirectory.Take(descriptor) : throw LinuxDirectory.FailureOf(Marshal.GetLastPInvokeError());
    }

    /// <inheritdoc/>
    public string? ObjectionToName(string name) => HostPlatform.ObjectionToAnyName(name);
}

/// <summary>A folder of Linux.</summary>
internal sealed class LinuxDirectory : UnixDirectory
{
    // sys/stat.h of the BSDs: UF_ and SF_.
    private const uint NoDump = 0x1;
    private const uint UserImmutable = 0x2;
    private const uint UserAppend = 0x4;
    private const uint SystemImmutable = 0x20000;
    private const uint SystemAppend = 0x40000;

    // asm-generic/fcntl.h: O_PATH and O_NONBLOCK
    private const int PathOnly = 0x200000;
    private const int NonBlocking = 0x800;

    private const int NoData = 61;
    private const int NotSupported = 95;

    // The namespaces of xattr(7). Of "user" only the rest of the name is kept, as the Mac has it; "osx" is how the kernel's hfsplus driver
    // shows a Mac's own names. A rest that looks like one of the namespaces keeps its prefix, so that the way back is unambiguous.
    private static readonly string[] s_namespaces = ["user.", "osx.", "security.", "system.", "trusted.", "btrfs."];

    private static readonly bool s_isArm = RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm;

    // asm/fcntl.h: x86-64 takes the generic numbers, arm64 has its own.
    private static readonly int s_directory = s_isArm ? 0x4000 : 0x10000;
    private static readonly int s_noFollow = s_isArm ? 0x8000 : 0x20000;
    private const int CloseOnExec = 0x80000;

    private static readonly UnixNumbers s_numbers = new(
        Create: 0x40 | 0x80 | 2 | CloseOnExec | s_noFollow, OpenFolder: s_directory | CloseOnExec,
        OpenFile: 0x800 | CloseOnExec | s_noFollow,
        NoFollow: s_noFollow, AtNoFollow: 0x100, AtEffectiveAccess: 0x200, OmitTime: 0x3FFFFFFE, AtRemoveFolder: 0x200,
        NoAccessTime: 0x40000);

    private static bool s_canListAt = true;

    [ThreadStatic]
    private static byte[]? s_buffer;

    private LinuxDirectory(SafeFileHandle folder, in HostStat stat)
        : base(folder, stat)
    {
    }

    /// <summary>O_RDONLY | O_DIRECTORY | O_CLOEXEC.</summary>
    internal static int OpenFolderFlags => s_numbers.OpenFolder;

    /// <summary>O_RDONLY | O_NONBLOCK | O_CLOEXEC.</summary>
    internal static int OpenFileFlags => s_numbers.OpenFile & ~s_numbers.NoFollow;

    /// <inheritdoc/>
    protected override UnixNumbers Numbers => s_numbers;

    // A value is at most 64 KiB on Linux (XATTR_SIZE_MAX), and so is the list of names (XATTR_LIST_MAX).
    private static byte[] Buffer => s_buffer ??= new byte[65536];

    /// <inheritdoc/>
    public override unsafe void ReadNames(ICollection<string> names, ICollection<string> undecodable)
    {
        // The stream owns its descriptor and its position: a second one of the same folder.
        int descriptor = OpenToRead(".", OpenFolderFlags);
        nint stream = LinuxCalls.OpenFolderStream(descriptor);
        if (stream == 0)
        {
            HostException failure = Failure(Marshal.GetLastPInvokeError());
            _ = UnixCalls.Close(descriptor);
            throw failure;
        }

        try
        {
            // struct dirent of 64-bit systems (bits/dirent.h): inode 8, offset 8, record length 2, type 1, then the name.
            const int nameOffset = 19;
            nint entry;
            while ((entry = LinuxCalls.ReadFolderStream(stream)) != 0)
                AddName(MemoryMarshal.CreateReadOnlySpanFromNullTerminated((byte*)entry + nameOffset), names, undecodable);
            if (Marshal.GetLastPInvokeError() is int error and not 0) throw Failure(error);
        }
        finally
        {
            _ = UnixCalls.CloseFolder(stream);
        }
    }

    /// <inheritdoc/>
    public override HostStat GetStat(string name)
    {
        Check(LinuxCalls.StatAt(Handle, name, LinuxCalls.AtNoFollow | LinuxCalls.AtNoAutomount, LinuxCalls.AllStats, out LinuxStat stat));
        return stat.ToHostStat();
    }

    /// <inheritdoc/>
    public override HostFork OpenResourceFork(string name) => new LinuxFork(ReadAttribute(new(name), HostAttributes.ResourceForkName));

    /// <inheritdoc/>
    public override HostAttributes ReadAttributes(HostNode node, in HostStat stat)
    {
        byte[] buffer = Buffer;
        nint length = ListAttributes(node, buffer);
        if (length < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            return error == NotSupported ? HostAttributes.None : throw Failure(error);
        }

        if (length == 0) return HostAttributes.None;
        string path = PathOf(node);
        string[] names = System.Text.Encoding.UTF8.GetString(buffer, 0, (int)length).Split('\0', StringSplitOptions.RemoveEmptyEntries);
        Array.Sort(names, StringComparer.Ordinal);
        byte[]? finderInfo = null;
        long resourceFork = 0;
        var attributes = new List<ExtendedAttribute>();
        foreach (string hostName in names)
        {
            // The system's own views of other things (a share's access lists); what is stored is only the POSIX access lists.
            if (hostName.StartsWith("system.", StringComparison.Ordinal)
                && !hostName.StartsWith("system.posix_acl_", StringComparison.Ordinal)) continue;
            string name = ToModelName(hostName);
            bool isFork = name == HostAttributes.ResourceForkName;
            nint size = LinuxCalls.GetAttribute(path, hostName, buffer, (nuint)buffer.Length);
            if (size < 0)
            {
                int error = Marshal.GetLastPInvokeError();
                if (error is NoData or NotSupported) continue;
                throw Failure(error);
            }

            ReadOnlySpan<byte> value = buffer.AsSpan(0, (int)size);
            if (isFork) resourceFork = size;
            else if (name == HostAttributes.FinderInfoName && size == 32)
                finderInfo = value.ContainsAnyExcept((byte)0) ? value.ToArray() : null;
            else attributes.Add(new(name, size, size <= HostAttributes.MaximumKeptValue ? value.ToArray() : null));
        }

        attributes.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        return new(finderInfo, resourceFork, attributes.Count == 0 ? [] : attributes.ToArray());
    }

    /// <inheritdoc/>
    public override byte[] ReadAttribute(HostNode node, string attribute)
    {
        byte[] buffer = Buffer;
        nint size = LinuxCalls.GetAttribute(PathOf(node), ToHostName(attribute), buffer, (nuint)buffer.Length);

        // Only the kernel's hfsplus driver knows the names of the namespace "osx".
        if (size < 0 && Marshal.GetLastPInvokeError() is NoData or NotSupported)
            size = LinuxCalls.GetAttribute(PathOf(node), "osx." + attribute, buffer, (nuint)buffer.Length);
        return buffer.AsSpan(0, (int)CheckLength(size)).ToArray();
    }

    /// <inheritdoc/>
    public override void CreateNode(string name, in HostStat stat)
    {
        if (HostPlatform.ObjectionToAnyName(name) is string objection) throw new HostException(HostFailure.BadName, objection);
        Check(LinuxCalls.MakeNodeAt(
            Handle, name, HostStat.TypeBitsOf(stat.Kind!.Value) | 0x180, LinuxCalls.MakeDevice(stat.DeviceMajor, stat.DeviceMinor)));
    }

    /// <inheritdoc/>
    /// <remarks>With O_PATH: needs no permission, and touches neither a device nor a FIFO.</remarks>
    public override SafeFileHandle? OpenForMetadata(string name, EntryKind kind) =>
        HostPlatform.ObjectionToAnyName(name) is string objection
            ? throw new HostException(HostFailure.BadName, objection)
            : new SafeFileHandle(Check(UnixCalls.OpenAt(Handle, name, PathOnly | CloseOnExec | s_noFollow)), ownsHandle: true);

    /// <inheritdoc/>
    public override void SetOwner(HostNode node, uint user, uint group)
    {
        if (node.File is null) base.SetOwner(node, user, group);
        else if (UnixCalls.ChangeOwner(node.File, user, group) != 0)
            Check(IsPathOnly() ? UnixCalls.ChangeOwnerAt(Handle, PathOf(node.File), user, group, 0) : -1);
    }

    /// <inheritdoc/>
    public override void SetMode(HostNode node, uint mode)
    {
        if (node.File is null) base.SetMode(node, mode);
        else if (UnixCalls.ChangeMode(node.File, mode) != 0)
            Check(IsPathOnly() ? UnixCalls.ChangeModeAt(Handle, PathOf(node.File), mode, 0) : -1);
    }

    /// <inheritdoc/>
    public override void SetTimes(HostNode node, in HostStat stat)
    {
        ReadOnlySpan<UnixTimeSpec> times = [ToTimeSpec(stat.AccessTime), ToTimeSpec(stat.ModifyTime)];
        if (node.File is null) base.SetTimes(node, stat);
        else if (UnixCalls.ChangeTimes(node.File, times) != 0)
            Check(IsPathOnly() ? UnixCalls.ChangeTimesAt(Handle, PathOf(node.File), times, 0) : -1);
    }

    /// <inheritdoc/>
    public override void SetAttribute(HostNode node, string attribute, ReadOnlySpan<byte> value)
    {
        string name = ToHostName(attribute);
        if (OpenOf(node) is not { } file) Check(LinuxCalls.SetAttribute(PathOf(node), name, value, (nuint)value.Length, 0));
        else if (LinuxCalls.SetFileAttribute(file, name, value, (nuint)value.Length, 0) != 0)
            Check(IsPathOnly() ? LinuxCalls.SetFollowedAttribute(PathOf(file), name, value, (nuint)value.Length, 0) : -1);
    }

    /// <inheritdoc/>
    public override void WriteResourceFork(HostNode node, long offset, ReadOnlySpan<byte> bytes, long total)
    {
        if (offset != 0 || total != bytes.Length || total > 65536)
            throw new HostException(
                HostFailure.NotSupported, "A resource fork is kept as an attribute on Linux, and attributes end at 64 KiB.");
        SetAttribute(node, HostAttributes.ResourceForkName, bytes);
    }

    /// <inheritdoc/>
    /// <remarks>Three of them are what chattr(1) sets: immutable, append-only, and not to be dumped.</remarks>
    public override void SetFlags(HostNode node, uint flags)
    {
        int wanted = ToInodeFlags(flags, out uint others);
        if (wanted != 0) SetInodeFlags(node, wanted);
        if (others != 0) throw new HostException(HostFailure.NotSupported, "Linux has no BSD flags but immutable, append-only and nodump.");
    }

    /// <summary>The flags of chattr(1) that correspond to BSD flags (linux/fs.h, FS_IMMUTABLE_FL and the like).</summary>
    /// <param name="flags">The BSD flags.</param>
    /// <param name="others">Those that have no counterpart.</param>
    internal static int ToInodeFlags(uint flags, out uint others)
    {
        int wanted = 0;
        others = flags;
        foreach ((uint bsd, int inode) in (
            (uint, int)[])[(UserImmutable | SystemImmutable, 0x10), (UserAppend | SystemAppend, 0x20), (NoDump, 0x40)])
        {
            if ((flags & bsd) != 0) wanted |= inode;
            others &= ~bsd;
        }

        return wanted;
    }

    /// <summary>The model's name of an attribute.</summary>
    /// <param name="hostName">Linux' name, with its namespace.</param>
    internal static string ToModelName(string hostName)
    {
        foreach (string prefix in (ReadOnlySpan<string>)["user.", "osx."])
        {
            if (hostName.Length > prefix.Length && hostName.StartsWith(prefix, StringComparison.Ordinal)
                && !HasNamespace(hostName[prefix.Length..]))
                return hostName[prefix.Length..];
        }

        return hostName;
    }

    /// <summary>Linux' name of an attribute.</summary>
    /// <param name="name">The model's name.</param>
    internal static string ToHostName(string name) => HasNamespace(name) ? name : "user." + name;

    /// <summary>Takes over a descriptor.</summary>
    /// <param name="descriptor">An open folder; closed when this fails.</param>
    internal static LinuxDirectory Take(int descriptor)
    {
        var folder = new SafeFileHandle(descriptor, ownsHandle: true);
        if (LinuxCalls.StatAt(folder, "", LinuxCalls.AtEmptyPath, LinuxCalls.AllStats, out LinuxStat stat) == 0)
            return new(folder, stat.ToHostStat());
        HostException failure = FailureOf(Marshal.GetLastPInvokeError());
        folder.Dispose();
        throw failure;
    }

    /// <summary>The exception for one of Linux' error numbers (asm-generic/errno.h).</summary>
    /// <param name="error">errno.</param>
    internal static HostException FailureOf(int error) =>
        new(error switch { 36 => HostFailure.BadName, 38 or NotSupported =>
            HostFailure.NotSupported, 40 => HostFailure.SymbolicLink, 122 => HostFailure.NoSpace, _ => CommonFailure(error) },
            Marshal.GetPInvokeErrorMessage(error) + ".");

    /// <inheritdoc/>
    protected override HostDirectory Adopt(int descriptor) => Take(descriptor);

    /// <inheritdoc/>
    protected override HostStat GetStat(SafeFileHandle file) => StatOf(file);

    /// <summary>What an open file is.</summary>
    /// <param name="file">The file.</param>
    internal static HostStat StatOf(SafeFileHandle file) =>
        LinuxCalls.StatAt(file, "", LinuxCalls.AtEmptyPath, LinuxCalls.AllStats, out LinuxStat stat) == 0
            ? stat.ToHostStat() : throw FailureOf(Marshal.GetLastPInvokeError());

    /// <inheritdoc/>
    protected override HostException Failure(int error) => FailureOf(error);

    private static bool HasNamespace(string name) => s_namespaces.Any(n => name.StartsWith(n, StringComparison.Ordinal));

    // Nearly every entry is asked and has none: where the kernel has the call that takes a folder, it is three times as fast.
    private nint ListAttributes(HostNode node, byte[] buffer)
    {
        const int operationNotPermitted = 1, noSuchCall = 38;
        if (s_canListAt)
        {
            nint length =
                LinuxCalls.ListAttributesAt(
                    LinuxCalls.ListAttributesAtNumber, Handle, node.Name, LinuxCalls.AtNoFollow, buffer, (nuint)buffer.Length);
            if (length >= 0 || Marshal.GetLastPInvokeError() is not (noSuchCall or operationNotPermitted)) return length;

            // An older kernel, or a container's filter that does not know the call.
            s_canListAt = false;
        }

        return LinuxCalls.ListAttributes(PathOf(node), buffer, (nuint)buffer.Length);
    }

    // What was opened with O_PATH takes no change by its descriptor (EBADF); by its name under /proc, which leads to what is open and
    // nowhere else, it does.
    private static bool IsPathOnly() => Marshal.GetLastPInvokeError() == 9;

    private static string PathOf(SafeFileHandle file) => $"/proc/self/fd/{file.DangerousGetHandle()}";

    private void SetInodeFlags(HostNode node, int wanted)
    {
        // Only of files and folders: to open a device may have effects.
        if (GetStat(node).Kind is not (EntryKind.File or EntryKind.Directory))
            throw new HostException(HostFailure.NotSupported, "Linux keeps flags of files and folders only.");
        using SafeFileHandle? found = OpenOf(node) is null ? OpenForMetadata(node.Name, EntryKind.File) : null;
        using var file =
            new SafeFileHandle(Check(UnixCalls.Open(PathOf(OpenOf(node) ?? found!), NonBlocking | CloseOnExec)), ownsHandle: true);
        int flags = 0;
        Check(LinuxCalls.Control(file, LinuxCalls.GetInodeFlags, ref flags));
        flags |= wanted;
        Check(LinuxCalls.Control(file, LinuxCalls.SetInodeFlags, ref flags));
    }

    // There is no getxattrat before Linux 6.13; a path through the descriptor comes to the same: no component of it is a link but the
    // kernel's own, and the last one is not followed.
    private string PathOf(HostNode node) => $"/proc/self/fd/{Handle.DangerousGetHandle()}/{node.Name}";
}

/// <summary>A resource fork that is an attribute, and so small.</summary>
internal sealed class LinuxFork(byte[] bytes) : HostFork
{
    /// <inheritdoc/>
    public override long Length => bytes.Length;

    /// <inheritdoc/>
    public override int Read(long offset, Span<byte> buffer)
    {
        ReadOnlySpan<byte> rest = bytes.AsSpan((int)Math.Min(offset, bytes.Length));
        rest = rest[..Math.Min(rest.Length, buffer.Length)];
        rest.CopyTo(buffer);
        return rest.Length;
    }
}

/// <summary>A <c>struct statx_timestamp</c>: 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct LinuxTime
{
    public long Seconds;
    public uint Nanoseconds;
    public int Reserved;

    public readonly UnixTime ToUnixTime() => UnixTime.FromSeconds(Seconds, Nanoseconds);
}

/// <summary>A <c>struct statx</c> (linux/stat.h): 256 bytes, the same on every architecture.</summary>
[StructLayout(LayoutKind.Sequential, Size = 0x100)]
internal struct LinuxStat
{
    public uint Mask;
    public uint BlockSize;
    public ulong Attributes;
    public uint LinkCount;
    public uint UserId;
    public uint GroupId;
    public ushort Mode;
    public ushort Padding;
    public ulong Inode;
    public ulong Size;
    public ulong Blocks;
    public ulong AttributesMask;
    public LinuxTime AccessTime;
    public LinuxTime BirthTime;
    public LinuxTime ChangeTime;
    public LinuxTime ModifyTime;
    public uint NodeMajor;
    public uint NodeMinor;
    public uint DeviceMajor;
    public uint DeviceMinor;
    public ulong MountId;

    // linux/stat.h: STATX_ATTR_IMMUTABLE, _APPEND, _NODUMP, and those that chattr(1) sets and a Mac does not have: _COMPRESSED, _VERITY,
    // _DAX.
    private const ulong Immutable = 0x10;
    private const ulong Append = 0x20;
    private const ulong NoDump = 0x40;
    private const ulong WithoutFlag = 0x4 | 0x100000 | 0x200000;

    // sys/stat.h of a Mac: UF_NODUMP, UF_IMMUTABLE, UF_APPEND. The owner's flags and not the system's: those only root could take off
    // again, and a file restored for somebody else would be one that nobody there can delete.
    private static uint FlagsOf(ulong attributes) =>
        ((attributes & NoDump) != 0 ? 0x1u : 0) | ((attributes & Immutable) != 0 ? 0x2u : 0) | ((attributes & Append) != 0 ? 0x4u : 0);

    public readonly HostStat ToHostStat() => new()
    {
        Kind = HostStat.KindOf(Mode),
        Identity = new(((ulong)DeviceMajor << 32) | DeviceMinor, Inode),
        LinkCount = LinkCount,
        Mode = Mode & SourceEntry.PermissionMask,
        UserId = UserId,
        GroupId = GroupId,
        DeviceMajor = NodeMajor,
        DeviceMinor = NodeMinor,
        Size = Size <= long.MaxValue ? (long)Size : long.MaxValue,
        AllocatedBytes = Blocks <= long.MaxValue / 512 ? (long)Blocks * 512 : long.MaxValue,
        Flags = FlagsOf(Attributes & AttributesMask),
        HasUnkeptAttributes = (Attributes & AttributesMask & WithoutFlag) != 0,
        BirthTime = (Mask & LinuxCalls.BirthTimeMask) != 0 ? BirthTime.ToUnixTime() : UnixTime.None,
        ModifyTime = ModifyTime.ToUnixTime(),
        ChangeTime = ChangeTime.ToUnixTime(),
        AccessTime = AccessTime.ToUnixTime(),
    };
}

/// <summary>Linux' own calls.</summary>
internal static partial class LinuxCalls
{
    public const int CurrentFolder = -100;
    public const int AtNoFollow = 0x100;
    public const int AtNoAutomount = 0x800;
    public const int AtEmptyPath = 0x1000;
    public const uint BirthTimeMask = 0x800;
    public const uint MountIdMask = 0x1000;
    public const uint AllStats = 0x7FF | BirthTimeMask;
    public const uint BasicStatsAndMount = 0x7FF | MountIdMask;

    /// <summary>A <c>dev_t</c> as the C library packs it (gnu_dev_makedev; musl does the same).</summary>
    public static ulong MakeDevice(uint major, uint minor) =>
        ((major & 0xFFFFF000ul) << 32) | ((major & 0xFFFul) << 8) | ((minor & 0xFFFFFF00ul) << 12) | (minor & 0xFFul);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Stat(int folder, string path, int flags, uint mask, out LinuxStat stat);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int StatAt(SafeFileHandle folder, string name, int flags, uint mask, out LinuxStat stat);

    [LibraryImport("libc", EntryPoint = "fdopendir", SetLastError = true)]
    public static partial nint OpenFolderStream(int descriptor);

    [LibraryImport("libc", EntryPoint = "readdir", SetLastError = true)]
    public static partial nint ReadFolderStream(nint stream);

    [LibraryImport("libc", EntryPoint = "mknodat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeNodeAt(SafeFileHandle folder, string name, uint mode, ulong device);

    /// <summary>listxattrat, which the C libraries do not name yet: asm-generic/unistd.h, Linux 6.13.</summary>
    public const nint ListAttributesAtNumber = 465;

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint ListAttributesAt(nint number, SafeFileHandle folder, string name, nint flags, Span<byte> names, nuint size);

    [LibraryImport("libc", EntryPoint = "llistxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint ListAttributes(string path, Span<byte> names, nuint size);

    [LibraryImport("libc", EntryPoint = "lgetxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint GetAttribute(string path, string name, Span<byte> value, nuint size);

    [LibraryImport("libc", EntryPoint = "lsetxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetAttribute(string path, string name, ReadOnlySpan<byte> value, nuint size, int flags);

    [LibraryImport("libc", EntryPoint = "setxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetFollowedAttribute(string path, string name, ReadOnlySpan<byte> value, nuint size, int flags);

    /// <summary>FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of 64-bit systems (linux/fs.h). The kernel reads and writes an int, whatever the number
    /// says of a long.</summary>
    public const nuint GetInodeFlags = 0x80086601, SetInodeFlags = 0x40086602;

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int Control(SafeFileHandle file, nuint request, ref int flags);

    [LibraryImport("libc", EntryPoint = "fsetxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetFileAttribute(SafeFileHandle file, string name, ReadOnlySpan<byte> value, nuint size, int flags);
}
