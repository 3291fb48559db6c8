using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>A <c>struct timespec</c> of a 64-bit system: the same on Linux and macOS, x86-64 and arm64.</summary>
/// <param name="Seconds">Seconds since 1970.</param>
/// <param name="Nanoseconds">0 to 999,999,999, or one of the markers "now" and "leave as it is".</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct UnixTimeSpec(long Seconds, long Nanoseconds)
{
    /// <summary>The time.</summary>
    public Sources.UnixTime ToUnixTime() => Sources.UnixTime.FromSeconds(Seconds, Nanoseconds);
}

/// <summary>
/// The calls of the C library that Linux and macOS share. Strings go as UTF-8; names are checked before, so nothing is replaced on the way.
/// <c>openat</c> is variadic: its mode, which is only read with O_CREAT, is passed as arm64 macOS expects it by <see cref="MacCalls"/>.
/// </summary>
internal static partial class UnixCalls
{
    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int OpenAt(SafeFileHandle folder, string name, int flags);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int CreateAt(SafeFileHandle folder, string name, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    public static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "closedir", SetLastError = true)]
    public static partial int CloseFolder(nint stream);

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint ReadLinkAt(SafeFileHandle folder, string name, Span<byte> buffer, nuint size);

    [LibraryImport("libc", EntryPoint = "faccessat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int AccessAt(SafeFileHandle folder, string name, int mode, int flags);

    [LibraryImport("libc", EntryPoint = "mkdirat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeFolderAt(SafeFileHandle folder, string name, uint mode);

    [LibraryImport("libc", EntryPoint = "symlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SymbolicLinkAt(string target, SafeFileHandle folder, string name);

    [LibraryImport("libc", EntryPoint = "linkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int LinkAt(SafeFileHandle oldFolder, string oldName, SafeFileHandle newFolder, string newName, int flags);

    [LibraryImport("libc", EntryPoint = "unlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int UnlinkAt(SafeFileHandle folder, string name, int flags);

    [LibraryImport("libc", EntryPoint = "renameat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int RenameAt(SafeFileHandle oldFolder, string oldName, SafeFileHandle newFolder, string newName);

    [LibraryImport("libc", EntryPoint = "fchownat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ChangeOwnerAt(SafeFileHandle folder, string name, uint user, uint group, int flags);

    [LibraryImport("libc", EntryPoint = "fchown", SetLastError = true)]
    public static partial int ChangeOwner(SafeFileHandle file, uint user, uint group);

    [LibraryImport("libc", EntryPoint = "fchmodat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ChangeModeAt(SafeFileHandle folder, string name, uint mode, int flags);

    [LibraryImport("libc", EntryPoint = "fchmod", SetLastError = true)]
    public static partial int ChangeMode(SafeFileHandle file, uint mode);

    [LibraryImport("libc", EntryPoint = "utimensat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ChangeTimesAt(SafeFileHandle folder, string name, ReadOnlySpan<UnixTimeSpec> accessAndModify, int flags);

    [LibraryImport("libc", EntryPoint = "futimens", SetLastError = true)]
    public static partial int ChangeTimes(SafeFileHandle file, ReadOnlySpan<UnixTimeSpec> accessAndModify);
}
