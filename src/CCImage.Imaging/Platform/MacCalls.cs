using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>
/// macOS' own calls. On x86-64 the functions whose structures hold inode numbers have a variant whose name ends in <c>$INODE64</c>
/// (sys/cdefs.h, __DARWIN_INODE64); on arm64 the plain name is that variant.
/// </summary>
internal static partial class MacCalls
{
    // sys/fcntl.h: AT_FDCWD, AT_SYMLINK_NOFOLLOW
    internal const int CurrentFolder = -2;
    internal const int AtNoFollow = 0x20;

    // AT_REALDEV, AT_FDONLY. The volumes of a startup disk form a group, of which plain stat gives one number of a device for both, as
    // getattrlist(2) says under FSOPT_RETURN_REALDEV; only with the real one a volume can be told from the other. fstat(2) takes no flags.
    internal const int AtRealDevice = 0x200;
    internal const int AtFileOnly = 0x400;

    // sys/resource.h: IOPOL_TYPE_VFS_MATERIALIZE_DATALESS_FILES, IOPOL_SCOPE_PROCESS, IOPOL_SCOPE_THREAD,
    // IOPOL_MATERIALIZE_DATALESS_FILES_OFF and _ON
    internal const int MaterializeDatalessFiles = 3;
    internal const int PolicyOfProcess = 0;
    internal const int PolicyOfThread = 1;
    internal const int MaterializeOff = 1;
    internal const int MaterializeOn = 2;

    private static readonly bool s_isArm = RuntimeInformation.ProcessArchitecture == Architecture.Arm64;

    public static int VolumeStat(string path, out MacVolumeStat volume) =>
        s_isArm ? VolumeStatArm(path, out volume) : VolumeStatIntel(path, out volume);

    public static int Stat(string path, bool followLink, out MacStat stat) =>
        s_isArm ? StatPathArm(CurrentFolder, path, out stat, StatFlags(followLink))
            : StatPathIntel(CurrentFolder, path, out stat, StatFlags(followLink));

    public static int StatAt(SafeFileHandle folder, string name, out MacStat stat) =>
        StatAt(folder, name, out stat, StatFlags(followLink: false));

    public static int Stat(SafeFileHandle file, out MacStat stat) => StatAt(file, "", out stat, AtFileOnly | AtRealDevice);

    public static nint OpenFolderStream(int descriptor) => s_isArm ? OpenFolderStreamArm(descriptor) : OpenFolderStreamIntel(descriptor);

    public static nint ReadFolderStream(nint stream) => s_isArm ? ReadFolderStreamArm(stream) : ReadFolderStreamIntel(stream);

    /// <summary>
    /// openat with its mode. Apple's arm64 passes what stands for "..." on the stack, behind eight registers: five arguments that nobody
    /// reads fill the registers, so that the mode arrives where the callee looks for it
    /// (https://developer.apple.com/documentation/xcode/writing-arm64-code-for-apple-platforms).
    /// </summary>
    public static int CreateAt(SafeFileHandle folder, string name, int flags, uint mode) =>
        s_isArm ? CreateAtArm(folder, name, flags, 0, 0, 0, 0, 0, mode) : UnixCalls.CreateAt(folder, name, flags, mode);

    private static int StatFlags(bool followLink) => AtRealDevice | (followLink ? 0 : AtNoFollow);

    private static int StatAt(SafeFileHandle folder, string name, out MacStat stat, int flags) =>
        s_isArm ? StatAtArm(folder, name, out stat, flags) : StatAtIntel(folder, name, out stat, flags);

    [LibraryImport("libc", EntryPoint = "pathconf", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint PathConfiguration(string path, int name);

    [LibraryImport("libc", EntryPoint = "getiopolicy_np", SetLastError = true)]
    public static partial int GetIoPolicy(int type, int scope);

    [LibraryImport("libc", EntryPoint = "setiopolicy_np", SetLastError = true)]
    public static partial int SetIoPolicy(int type, int scope, int policy);

    [LibraryImport("libc", EntryPoint = "fgetattrlist", SetLastError = true)]
    public static partial int GetVolumeCapabilities(
        SafeFileHandle file, in MacAttributeList wanted, out MacVolumeCapabilities answer, nuint size, uint options);

    [LibraryImport("libc", EntryPoint = "mkfifoat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeFifoAt(SafeFileHandle folder, string name, ushort mode);

    [LibraryImport("libc", EntryPoint = "mknodat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeNodeAt(SafeFileHandle folder, string name, ushort mode, int device);

    [LibraryImport("libc", EntryPoint = "flistxattr", SetLastError = true)]
    public static partial nint ListAttributes(SafeFileHandle file, Span<byte> names, nuint size, int options);

    [LibraryImport("libc", EntryPoint = "fgetxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint GetAttribute(SafeFileHandle file, string name, Span<byte> value, nuint size, uint position, int options);

    [LibraryImport("libc", EntryPoint = "fsetxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetAttribute(
        SafeFileHandle file, string name, ReadOnlySpan<byte> value, nuint size, uint position, int options);

    [LibraryImport("libc", EntryPoint = "fchflags", SetLastError = true)]
    public static partial int SetFlags(SafeFileHandle file, uint flags);

    // unistd.h, of 64-bit systems: the options are an unsigned int. setattrlistat: macOS 10.13.
    [LibraryImport("libc", EntryPoint = "fgetattrlist", SetLastError = true)]
    public static partial int GetAttributes(
        SafeFileHandle file, in MacAttributeList wanted, out MacTimeAnswer answer, nuint size, uint options);

    [LibraryImport("libc", EntryPoint = "fsetattrlist", SetLastError = true)]
    public static partial int SetAttributes(
        SafeFileHandle file, in MacAttributeList wanted, ReadOnlySpan<UnixTimeSpec> values, nuint size, uint options);

    [LibraryImport("libc", EntryPoint = "setattrlistat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetAttributesAt(
        SafeFileHandle folder, string name, in MacAttributeList wanted, ReadOnlySpan<UnixTimeSpec> values, nuint size, uint options);

    [LibraryImport("libc", EntryPoint = "setattrlistat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetAttributesAt(
        SafeFileHandle folder, string name, in MacAttributeList wanted, ReadOnlySpan<uint> values, nuint size, uint options);

    // sys/acl.h
    [LibraryImport("libc", EntryPoint = "acl_get_fd_np", SetLastError = true)]
    public static partial nint GetAccessList(SafeFileHandle file, int type);

    [LibraryImport("libc", EntryPoint = "acl_set_fd_np", SetLastError = true)]
    public static partial int SetAccessList(SafeFileHandle file, nint list, int type);

    [LibraryImport("libc", EntryPoint = "acl_size", SetLastError = true)]
    public static partial nint AccessListSize(nint list);

    [LibraryImport("libc", EntryPoint = "acl_copy_ext", SetLastError = true)]
    public static partial nint CopyAccessListOut(Span<byte> bytes, nint list, nint size);

    [LibraryImport("libc", EntryPoint = "acl_copy_int", SetLastError = true)]
    public static partial nint CopyAccessListIn(ReadOnlySpan<byte> bytes);

    [LibraryImport("libc", EntryPoint = "acl_free", SetLastError = true)]
    public static partial int Free(nint list);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int CreateAtArm(
        SafeFileHandle folder, string name, int flags, nint x3, nint x4, nint x5, nint x6, nint x7, uint mode);

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

    [LibraryImport("libc", EntryPoint = "fdopendir", SetLastError = true)]
    private static partial nint OpenFolderStreamArm(int descriptor);

    [LibraryImport("libc", EntryPoint = "fdopendir$INODE64", SetLastError = true)]
    private static partial nint OpenFolderStreamIntel(int descriptor);

    [LibraryImport("libc", EntryPoint = "readdir", SetLastError = true)]
    private static partial nint ReadFolderStreamArm(nint stream);

    [LibraryImport("libc", EntryPoint = "readdir$INODE64", SetLastError = true)]
    private static partial nint ReadFolderStreamIntel(nint stream);
}
