using System.Runtime.InteropServices;
using System.Text;
using CCImage.Sources;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>
/// macOS, by the calls of its C library. Structures and numbers are those of the SDK's headers, each named where it is declared. ACLs
/// (<c>com.apple.system.Security</c>), setting the birth time and cloud files have their places here.
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
    public IKeychain Keychain { get; } = new MacKeychain();

    /// <inheritdoc/>
    public HostVolume GetVolume(string path)
    {
        path = Path.GetFullPath(path);
        MacVolumeStat volume;
        while (MacCalls.VolumeStat(path, out volume) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (Path.GetDirectoryName(path) is not string parent || UnixDirectory.CommonFailure(error) is not (HostFailure.NotFound or HostFailure.NotADirectory))
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
        MacCalls.Stat(path, followLink: false, out MacStat stat) == 0 ? stat.ToHostStat() : throw MacDirectory.FailureOf(Marshal.GetLastPInvokeError());

    /// <inheritdoc/>
    public HostDirectory OpenDirectory(string path)
    {
        int descriptor = UnixCalls.Open(path, MacDirectory.OpenFolderFlags);
        return descriptor >= 0 ? MacDirectory.Take(descriptor) : throw MacDirectory.FailureOf(Marshal.GetLastPInvokeError());
    }

    /// <inheritdoc/>
    public string? ObjectionToName(string name) => HostPlatform.ObjectionToAnyName(name);

    private static long Product(ulong blocks, uint size) => (long)UInt128.Min((UInt128)blocks * size, long.MaxValue);
}

/// <summary>A folder of macOS. Attributes are read and written through an open file, because no call takes a folder and a name.</summary>
internal sealed class MacDirectory : UnixDirectory
{
    // sys/fcntl.h
    private const int NonBlocking = 0x4;
    private const int NoFollow = 0x100;
    private const int Create = 0x200;
    private const int Exclusive = 0x800;
    private const int Directory = 0x100000;
    private const int OpenLinkItself = 0x200000;
    private const int CloseOnExec = 0x1000000;

    // sys/errno.h
    private const int NotSupported = 45;
    private const int NotSupportedOnSocket = 102;
    private const int NoAttribute = 93;

    private static readonly UnixNumbers s_numbers = new(
        Create: Create | Exclusive | 2 | NoFollow | CloseOnExec, OpenFolder: Directory | CloseOnExec, OpenFile: NonBlocking | NoFollow | CloseOnExec,
        NoFollow: NoFollow, AtNoFollow: 0x20, AtEffectiveAccess: 0x10, OmitTime: -2);

    private MacDirectory(SafeFileHandle folder, in HostStat stat)
        : base(folder, stat)
    {
    }

    /// <summary>O_RDONLY | O_DIRECTORY | O_CLOEXEC.</summary>
    internal static int OpenFolderFlags => s_numbers.OpenFolder;

    /// <inheritdoc/>
    protected override UnixNumbers Numbers => s_numbers;

    /// <inheritdoc/>
    public override unsafe void ReadNames(ICollection<string> names, ICollection<string> undecodable)
    {
        int descriptor = Check(UnixCalls.OpenAt(Handle, ".", OpenFolderFlags));
        nint stream = MacCalls.OpenFolderStream(descriptor);
        if (stream == 0)
        {
            HostException failure = Failure(Marshal.GetLastPInvokeError());
            _ = UnixCalls.Close(descriptor);
            throw failure;
        }

        try
        {
            // struct dirent with 64-bit inode numbers (sys/dirent.h): inode 8, seek offset 8, record length 2, name length 2, type 1, name.
            const int nameLengthOffset = 18, nameOffset = 21;
            nint entry;
            while ((entry = MacCalls.ReadFolderStream(stream)) != 0)
                AddName(new ReadOnlySpan<byte>((byte*)entry + nameOffset, *(ushort*)((byte*)entry + nameLengthOffset)), names, undecodable);
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
        Check(MacCalls.StatAt(Handle, name, s_numbers.AtNoFollow, out MacStat stat));
        return stat.ToHostStat();
    }

    /// <inheritdoc/>
    public override HostFork OpenResourceFork(string name)
    {
        SafeFileHandle file = OpenFile(name, out _);
        try
        {
            return new MacFork(file, CheckLength(MacCalls.GetAttribute(file, HostAttributes.ResourceForkName, [], 0, 0, 0)));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override HostAttributes ReadAttributes(HostNode node, in HostStat stat)
    {
        // Opening a device may have effects, opening a FIFO waits for its other end, and a socket cannot be opened at all.
        if (stat.Kind is not (EntryKind.File or EntryKind.Directory or EntryKind.SymbolicLink)) return HostAttributes.None;
        using SafeFileHandle file = OpenItself(node.Name);
        nint length = MacCalls.ListAttributes(file, [], 0, 0);
        if (length < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            return error is NotSupported or NotSupportedOnSocket ? HostAttributes.None : throw Failure(error);
        }

        if (length == 0) return HostAttributes.None;
        byte[] buffer = new byte[length];
        length = CheckLength(MacCalls.ListAttributes(file, buffer, (nuint)buffer.Length, 0));
        string[] names = Encoding.UTF8.GetString(buffer, 0, (int)length).Split('\0', StringSplitOptions.RemoveEmptyEntries);
        Array.Sort(names, StringComparer.Ordinal);
        byte[]? finderInfo = null;
        long resourceFork = 0;
        var attributes = new List<ExtendedAttribute>();
        foreach (string name in names)
        {
            nint size = MacCalls.GetAttribute(file, name, [], 0, 0, 0);
            if (size < 0 && Marshal.GetLastPInvokeError() == NoAttribute) continue;
            CheckLength(size);
            if (name == HostAttributes.ResourceForkName)
            {
                resourceFork = size;
                continue;
            }

            byte[]? value = size <= HostAttributes.MaximumKeptValue ? ReadAttribute(file, name, size) : null;
            if (name == HostAttributes.FinderInfoName && value?.Length == 32) finderInfo = value.AsSpan().ContainsAnyExcept((byte)0) ? value : null;
            else attributes.Add(new(name, value?.Length ?? size, value));
        }

        return new(finderInfo, resourceFork, attributes.Count == 0 ? [] : attributes.ToArray());
    }

    /// <inheritdoc/>
    public override byte[] ReadAttribute(HostNode node, string attribute)
    {
        using SafeFileHandle file = OpenItself(node.Name);
        return ReadAttribute(file, attribute, CheckLength(MacCalls.GetAttribute(file, attribute, [], 0, 0, 0)));
    }

    /// <inheritdoc/>
    public override void CreateNode(string name, in HostStat stat)
    {
        if (HostPlatform.ObjectionToAnyName(name) is string objection) throw new HostException(HostFailure.BadName, objection);
        if (stat.Kind == EntryKind.Fifo)
        {
            Check(MacCalls.MakeFifoAt(Handle, name, 0x180));
            return;
        }

        if (stat.Kind == EntryKind.Socket) throw new HostException(HostFailure.NotSupported, "macOS makes a socket only by binding it.");
        Check(MacCalls.MakeNodeAt(
            Handle, name, (ushort)(HostStat.TypeBitsOf(stat.Kind!.Value) | 0x180), unchecked((int)((stat.DeviceMajor << 24) | (stat.DeviceMinor & 0xFFFFFF)))));
    }

    /// <inheritdoc/>
    public override void SetAttribute(HostNode node, string attribute, ReadOnlySpan<byte> value)
    {
        using SafeFileHandle? own = node.File is null ? OpenItself(node.Name) : null;
        Check(MacCalls.SetAttribute(node.File ?? own!, attribute, value, (nuint)value.Length, 0, 0));
    }

    /// <inheritdoc/>
    public override void WriteResourceFork(HostNode node, long offset, ReadOnlySpan<byte> bytes, long total)
    {
        if (total > uint.MaxValue) throw new HostException(HostFailure.FileTooLarge, "A resource fork ends at 4 GiB.");
        using SafeFileHandle? own = node.File is null ? OpenItself(node.Name) : null;
        Check(MacCalls.SetAttribute(node.File ?? own!, HostAttributes.ResourceForkName, bytes, (nuint)bytes.Length, (uint)offset, 0));
    }

    /// <inheritdoc/>
    public override void SetFlags(HostNode node, uint flags)
    {
        using SafeFileHandle? own = node.File is null ? OpenItself(node.Name) : null;
        Check(MacCalls.SetFlags(node.File ?? own!, flags));
    }

    /// <summary>Takes over a descriptor.</summary>
    /// <param name="descriptor">An open folder; closed when this fails.</param>
    internal static MacDirectory Take(int descriptor)
    {
        var folder = new SafeFileHandle(descriptor, ownsHandle: true);
        if (MacCalls.Stat(folder, out MacStat stat) == 0) return new(folder, stat.ToHostStat());
        HostException failure = FailureOf(Marshal.GetLastPInvokeError());
        folder.Dispose();
        throw failure;
    }

    /// <summary>The exception for one of Darwin's error numbers (sys/errno.h).</summary>
    /// <param name="error">errno.</param>
    internal static HostException FailureOf(int error) =>
        new(error switch
        {
            62 => HostFailure.SymbolicLink, 63 => HostFailure.BadName, 69 => HostFailure.NoSpace,
            NotSupported or 78 or NotSupportedOnSocket => HostFailure.NotSupported, 84 => HostFailure.Other, _ => CommonFailure(error),
        }, Marshal.GetPInvokeErrorMessage(error) + ".");

    /// <inheritdoc/>
    protected override HostDirectory Adopt(int descriptor) => Take(descriptor);

    /// <inheritdoc/>
    protected override HostStat GetStat(SafeFileHandle file)
    {
        Check(MacCalls.Stat(file, out MacStat stat));
        return stat.ToHostStat();
    }

    /// <inheritdoc/>
    protected override HostException Failure(int error) => FailureOf(error);

    /// <inheritdoc/>
    protected override int CreateAt(string name, int flags, uint mode) => MacCalls.CreateAt(Handle, name, flags, mode);

    private SafeFileHandle OpenItself(string name) =>
        new(Check(UnixCalls.OpenAt(Handle, name, NonBlocking | OpenLinkItself | CloseOnExec)), ownsHandle: true);

    private byte[] ReadAttribute(SafeFileHandle file, string name, nint size)
    {
        byte[] value = new byte[size];
        nint length = CheckLength(MacCalls.GetAttribute(file, name, value, (nuint)value.Length, 0, 0));
        return length == size ? value : value[..(int)length];
    }
}

/// <summary>A resource fork, read through the one attribute that can be read in pieces.</summary>
internal sealed class MacFork(SafeFileHandle file, long length) : HostFork
{
    /// <inheritdoc/>
    public override long Length => length;

    /// <inheritdoc/>
    public override int Read(long offset, Span<byte> buffer)
    {
        nint count = MacCalls.GetAttribute(file, HostAttributes.ResourceForkName, buffer, (nuint)buffer.Length, checked((uint)offset), 0);
        return count >= 0 ? (int)count : throw MacDirectory.FailureOf(Marshal.GetLastPInvokeError());
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        file.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>A <c>struct stat</c> with 64-bit inode numbers (sys/stat.h, __DARWIN_STRUCT_STAT64): 144 bytes on x86-64 and arm64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MacStat
{
    // sys/stat.h: UF_COMPRESSED. What is read of such a file is its content, so the copy is not compressed.
    private const uint CompressedFlag = 0x20;

    // sys/stat.h: SF_DATALESS
    private const uint DatalessFlag = 0x40000000;

    public int Device;
    public ushort Mode;
    public ushort LinkCount;
    public ulong Inode;
    public uint UserId;
    public uint GroupId;
    public int NodeDevice;
    public int Padding;
    public UnixTimeSpec AccessTime;
    public UnixTimeSpec ModifyTime;
    public UnixTimeSpec ChangeTime;
    public UnixTimeSpec BirthTime;
    public long Size;
    public long Blocks;
    public int BlockSize;
    public uint Flags;
    public uint Generation;
    public int Spare;
    public long Spare1;
    public long Spare2;

    public readonly HostStat ToHostStat() => new()
    {
        Kind = HostStat.KindOf(Mode),
        Identity = new(unchecked((uint)Device), Inode),
        LinkCount = LinkCount,
        Mode = Mode & SourceEntry.PermissionMask,
        UserId = UserId,
        GroupId = GroupId,

        // sys/types.h: major() is the top byte, minor() the other three.
        DeviceMajor = unchecked((uint)NodeDevice >> 24),
        DeviceMinor = unchecked((uint)NodeDevice & 0xFFFFFF),
        Size = Size,
        Flags = Flags & ~CompressedFlag,
        IsDataless = (Flags & DatalessFlag) != 0,
        BirthTime = BirthTime.ToUnixTime(),
        ModifyTime = ModifyTime.ToUnixTime(),
        ChangeTime = ChangeTime.ToUnixTime(),
        AccessTime = AccessTime.ToUnixTime(),
    };
}

/// <summary>A <c>struct statfs</c> with 64-bit inode numbers (sys/mount.h, __DARWIN_STRUCT_STATFS64): 2,168 bytes on x86-64 and arm64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MacVolumeStat
{
    public uint BlockSize;
    public int TransferSize;
    public ulong BlockCount;
    public ulong BlocksFree;
    public ulong BlocksAvailable;
    public ulong FileCount;
    public ulong FilesFree;
    public int FileSystemId0;
    public int FileSystemId1;
    public uint Owner;
    public uint Type;
    public uint Flags;
    public uint Subtype;
    public MacTypeName TypeName;
    public MacPathName MountedOnName;
    public MacPathName MountedFromName;
    public uint ExtendedFlags;
    public MacReserved Reserved;

    public readonly string FileSystemType => Text(TypeName);

    public readonly string MountPoint => Text(MountedOnName);

    public readonly string MountedFrom => Text(MountedFromName);

    private static string Text(ReadOnlySpan<byte> field)
    {
        int end = field.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? field : field[..end]);
    }

    /// <summary>MFSTYPENAMELEN.</summary>
    [System.Runtime.CompilerServices.InlineArray(16)]
    internal struct MacTypeName
    {
        private byte _first;
    }

    /// <summary>MAXPATHLEN.</summary>
    [System.Runtime.CompilerServices.InlineArray(1024)]
    internal struct MacPathName
    {
        private byte _first;
    }

    /// <summary>f_reserved.</summary>
    [System.Runtime.CompilerServices.InlineArray(7)]
    internal struct MacReserved
    {
        private uint _first;
    }
}

/// <summary>
/// macOS' own calls. On x86-64 the functions whose structures hold inode numbers have a variant whose name ends in <c>$INODE64</c>
/// (sys/cdefs.h, __DARWIN_INODE64); on arm64 the plain name is that variant.
/// </summary>
internal static partial class MacCalls
{
    // sys/fcntl.h: AT_FDCWD, AT_SYMLINK_NOFOLLOW
    private const int CurrentFolder = -2;
    private const int AtNoFollow = 0x20;

    private static readonly bool s_isArm = RuntimeInformation.ProcessArchitecture == Architecture.Arm64;

    public static int VolumeStat(string path, out MacVolumeStat volume) => s_isArm ? VolumeStatArm(path, out volume) : VolumeStatIntel(path, out volume);

    public static int Stat(string path, bool followLink, out MacStat stat) =>
        s_isArm ? StatPathArm(CurrentFolder, path, out stat, followLink ? 0 : AtNoFollow) : StatPathIntel(CurrentFolder, path, out stat, followLink ? 0 : AtNoFollow);

    public static int StatAt(SafeFileHandle folder, string name, int flags, out MacStat stat) =>
        s_isArm ? StatAtArm(folder, name, out stat, flags) : StatAtIntel(folder, name, out stat, flags);

    public static int Stat(SafeFileHandle file, out MacStat stat) => s_isArm ? StatFileArm(file, out stat) : StatFileIntel(file, out stat);

    public static nint OpenFolderStream(int descriptor) => s_isArm ? OpenFolderStreamArm(descriptor) : OpenFolderStreamIntel(descriptor);

    public static nint ReadFolderStream(nint stream) => s_isArm ? ReadFolderStreamArm(stream) : ReadFolderStreamIntel(stream);

    /// <summary>
    /// openat with its mode. Apple's arm64 passes what stands for "..." on the stack, behind eight registers: five arguments that nobody
    /// reads fill the registers, so that the mode arrives where the callee looks for it
    /// (https://developer.apple.com/documentation/xcode/writing-arm64-code-for-apple-platforms).
    /// </summary>
    public static int CreateAt(SafeFileHandle folder, string name, int flags, uint mode) =>
        s_isArm ? CreateAtArm(folder, name, flags, 0, 0, 0, 0, 0, mode) : UnixCalls.CreateAt(folder, name, flags, mode);

    [LibraryImport("libc", EntryPoint = "pathconf", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint PathConfiguration(string path, int name);

    [LibraryImport("libc", EntryPoint = "mkfifoat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeFifoAt(SafeFileHandle folder, string name, ushort mode);

    [LibraryImport("libc", EntryPoint = "mknodat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeNodeAt(SafeFileHandle folder, string name, ushort mode, int device);

    [LibraryImport("libc", EntryPoint = "flistxattr", SetLastError = true)]
    public static partial nint ListAttributes(SafeFileHandle file, Span<byte> names, nuint size, int options);

    [LibraryImport("libc", EntryPoint = "fgetxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint GetAttribute(SafeFileHandle file, string name, Span<byte> value, nuint size, uint position, int options);

    [LibraryImport("libc", EntryPoint = "fsetxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetAttribute(SafeFileHandle file, string name, ReadOnlySpan<byte> value, nuint size, uint position, int options);

    [LibraryImport("libc", EntryPoint = "fchflags", SetLastError = true)]
    public static partial int SetFlags(SafeFileHandle file, uint flags);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int CreateAtArm(SafeFileHandle folder, string name, int flags, nint x3, nint x4, nint x5, nint x6, nint x7, uint mode);

    [LibraryImport("libc", EntryPoint = "statfs", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int VolumeStatArm(string path, out MacVolumeStat volume);

    [LibraryImport("libc", EntryPoint = "statfs$INODE64", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int VolumeStatIntel(string path, out MacVolumeStat volume);

    [LibraryImport("libc", EntryPoint = "fstatat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatPathArm(int folder, string path, out MacStat stat, int flags);

    [LibraryImport("libc", EntryPoint = "fstatat$INODE64", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatPathIntel(int folder, string path, out MacStat stat, int flags);

    [LibraryImport("libc", EntryPoint = "fstatat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatAtArm(SafeFileHandle folder, string name, out MacStat stat, int flags);

    [LibraryImport("libc", EntryPoint = "fstatat$INODE64", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatAtIntel(SafeFileHandle folder, string name, out MacStat stat, int flags);

    [LibraryImport("libc", EntryPoint = "fstat", SetLastError = true)]
    private static partial int StatFileArm(SafeFileHandle file, out MacStat stat);

    [LibraryImport("libc", EntryPoint = "fstat$INODE64", SetLastError = true)]
    private static partial int StatFileIntel(SafeFileHandle file, out MacStat stat);

    [LibraryImport("libc", EntryPoint = "fdopendir", SetLastError = true)]
    private static partial nint OpenFolderStreamArm(int descriptor);

    [LibraryImport("libc", EntryPoint = "fdopendir$INODE64", SetLastError = true)]
    private static partial nint OpenFolderStreamIntel(int descriptor);

    [LibraryImport("libc", EntryPoint = "readdir", SetLastError = true)]
    private static partial nint ReadFolderStreamArm(nint stream);

    [LibraryImport("libc", EntryPoint = "readdir$INODE64", SetLastError = true)]
    private static partial nint ReadFolderStreamIntel(nint stream);
}
