using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <content>Holes that are made.</content>
internal static partial class FileSystemCalls
{
    // fallocate(2): FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
    private const int LinuxPunchHole = 3;

    // sys/fcntl.h
    private const int DarwinPunchHole = 99;

    // sys/fcntl.h: F_PREALLOCATE, F_ALLOCATEALL, F_PEOFPOSMODE
    private const int DarwinPreallocate = 42;
    private const uint DarwinAllocateAll = 4;
    private const int DarwinFromEnd = 3;

    // winioctl.h
    private const uint WindowsSetSparse = 0x900C4;
    private const uint WindowsSetZeroData = 0x980C8;

    private const int ErrorInterrupted = 4;
    private const int ErrorNoSpace = 28;
    private const int ErrorReadOnly = 30;

    /// <summary>
    /// Gives the medium's room under a range of a file back; the range reads as zeros, and the file keeps its length. False where this host
    /// or this file system cannot do it; nothing has changed then.
    /// </summary>
    /// <param name="file">The file, open to be written.</param>
    /// <param name="offset">Where the range begins: a multiple of the file system's block size (Darwin asks for that).</param>
    /// <param name="length">Bytes of the range, likewise.</param>
    /// <exception cref="IOException">The medium failed.</exception>
    public static bool PunchHole(SafeFileHandle file, long offset, long length)
    {
        if (OperatingSystem.IsWindows()) return PunchOnWindows(file, offset, length);
        if (IntPtr.Size != 8 || (!OperatingSystem.IsLinux() && !OperatingSystem.IsMacOS())) return false;
        while (true)
        {
            int result = OperatingSystem.IsLinux() ? Allocate(file, LinuxPunchHole, offset, length)
                : PunchOnMac(file, new() { Offset = offset, Length = length });
            if (result >= 0) return true;
            int error = Marshal.GetLastPInvokeError();
            if (error == ErrorInterrupted) continue;
            if (error is ErrorIo or ErrorNoSpace or ErrorReadOnly) throw new IOException(Marshal.GetPInvokeErrorMessage(error), error);
            return false;
        }
    }

    /// <summary>Reserves room on the medium for a file, whose length stays. Where the file system cannot reserve, nothing
    /// happens.</summary>
    /// <param name="file">The file, open to be written.</param>
    /// <param name="length">Bytes from its beginning.</param>
    /// <returns>0, or the error number.</returns>
    public static int Reserve(SafeFileHandle file, long length)
    {
        const int linuxKeepSize = 1, fileTooBig = 27;
        if (IntPtr.Size != 8 || (!OperatingSystem.IsLinux() && !OperatingSystem.IsMacOS())) return 0;
        while (true)
        {
            int result = OperatingSystem.IsLinux() ? Allocate(file, linuxKeepSize, 0, length) : ReserveOnMac(file, length);
            if (result >= 0) return 0;
            int error = Marshal.GetLastPInvokeError();
            if (error == ErrorInterrupted) continue;
            return error is ErrorIo or ErrorNoSpace or ErrorReadOnly or fileTooBig ? error : 0;
        }
    }

    private static int ReserveOnMac(SafeFileHandle file, long length)
    {
        var room = new DarwinRoom { Flags = DarwinAllocateAll, PositionMode = DarwinFromEnd, Length = length };
        return RuntimeInformation.ProcessArchitecture == Architecture.Arm64
            ? ReserveArm(file, DarwinPreallocate, 0, 0, 0, 0, 0, 0, ref room)
            : ReserveIntel(file, DarwinPreallocate, ref room);
    }

    // Apple's arm64 passes what stands for "..." on the stack, behind eight registers: see MacCalls.CreateAt.
    private static int PunchOnMac(SafeFileHandle file, DarwinHole hole) =>
        RuntimeInformation.ProcessArchitecture == Architecture.Arm64
            ? ControlArm(file, DarwinPunchHole, 0, 0, 0, 0, 0, 0, in hole)
            : ControlIntel(file, DarwinPunchHole, in hole);

    private static bool PunchOnWindows(SafeFileHandle file, long offset, long length)
    {
        var zeros = new WindowsZeroData { Offset = offset, Beyond = offset + length };
        return DeviceControl(file, WindowsSetSparse, 0, 0, 0, 0, out _, 0)
            && DeviceControl(file, WindowsSetZeroData, in zeros, Marshal.SizeOf<WindowsZeroData>(), 0, 0, out _, 0);
    }

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int ControlIntel(SafeFileHandle file, int command, in DarwinHole hole);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int ControlArm(
        SafeFileHandle file, int command, nint x2, nint x3, nint x4, nint x5, nint x6, nint x7, in DarwinHole hole);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int ReserveIntel(SafeFileHandle file, int command, ref DarwinRoom room);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int ReserveArm(
        SafeFileHandle file, int command, nint x2, nint x3, nint x4, nint x5, nint x6, nint x7, ref DarwinRoom room);

    [LibraryImport("kernel32", EntryPoint = "DeviceIoControl", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool DeviceControl(
        SafeFileHandle file, uint code, nint input, int inputLength, nint output, int outputLength, out int returned, nint overlapped);

    [LibraryImport("kernel32", EntryPoint = "DeviceIoControl", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool DeviceControl(
        SafeFileHandle file, uint code, in WindowsZeroData input, int inputLength, nint output, int outputLength, out int returned,
        nint overlapped);

    /// <summary>A <c>fpunchhole_t</c> (sys/fcntl.h).</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct DarwinHole
    {
        public uint Flags;
        public uint Reserved;
        public long Offset;
        public long Length;
    }

    /// <summary>A <c>fstore_t</c> (sys/fcntl.h).</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct DarwinRoom
    {
        public uint Flags;
        public int PositionMode;
        public long Offset;
        public long Length;
        public long Allocated;
    }

    /// <summary>A <c>FILE_ZERO_DATA_INFORMATION</c> (winioctl.h).</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct WindowsZeroData
    {
        public long Offset;
        public long Beyond;
    }
}
