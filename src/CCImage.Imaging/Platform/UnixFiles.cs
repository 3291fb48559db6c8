using System.Runtime.InteropServices;
using CCImage.Sources;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>What Linux and macOS have in common where files of images are opened: regular files only, never waited for, with a
/// lock.</summary>
internal static partial class UnixFiles
{
    /// <summary>O_RDWR.</summary>
    internal const int ReadWrite = 2;

    // sys/file.h: the same numbers on both
    private const int LockShared = 1;
    private const int LockExclusive = 2;
    private const int LockNoWait = 4;
    private const int ErrorInterrupted = 4;

    private static int WouldBlock => OperatingSystem.IsMacOS() ? 35 : 11;

    /// <summary>Opens a file by its path.</summary>
    /// <param name="path">The path.</param>
    /// <param name="flags">O_ flags for reading.</param>
    /// <param name="writable">Whether it is to be written.</param>
    /// <param name="exclusive">Whether the lock is exclusive.</param>
    /// <param name="found">What is there.</param>
    /// <param name="statOf">Tells what an open file is.</param>
    /// <param name="failureOf">Turns an error number into the exception.</param>
    /// <param name="stat">Receives what was opened.</param>
    public static SafeFileHandle Open(
        string path, int flags, bool writable, bool exclusive, in HostStat found, Func<SafeFileHandle, HostStat> statOf, Func<int,
        HostException> failureOf, out HostStat stat)
    {
        RequireFile(found);
        int descriptor = FileDescriptors.Open(() => UnixCalls.Open(path, flags | (writable ? ReadWrite : 0)));
        if (descriptor < 0) throw failureOf(Marshal.GetLastPInvokeError());
        var file = new SafeFileHandle(descriptor, ownsHandle: true);
        try
        {
            // Once more, of what is open now.
            stat = statOf(file);
            RequireFile(stat);
            Lock(file, exclusive);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Refuses what is no regular file.</summary>
    /// <param name="stat">What it is.</param>
    /// <exception cref="HostException"><see cref="HostFailure.SymbolicLink"/> or <see cref="HostFailure.NotAFile"/>.</exception>
    public static void RequireFile(in HostStat stat)
    {
        if (stat.IsFile) return;
        if (stat.Kind == EntryKind.SymbolicLink) throw new HostException(HostFailure.SymbolicLink, "This is a symbolic link, not a file.");
        throw new HostException(HostFailure.NotAFile, stat.Kind switch
        {
            EntryKind.Directory => "This is a folder, not a file.",
            EntryKind.Fifo => "This is a FIFO, not a file.",
            EntryKind.Socket => "This is a socket, not a file.",
            EntryKind.BlockDevice or EntryKind.CharacterDevice => "This is a device, not a file.",
            _ => "This is not a file.",
        });
    }

    /// <summary>Locks a file, as the runtime does: where the file system has no locks, nothing happens.</summary>
    /// <param name="file">The file.</param>
    /// <param name="exclusive">Whether nobody else may have it open.</param>
    /// <exception cref="HostException"><see cref="HostFailure.InUse"/>.</exception>
    public static void Lock(SafeFileHandle file, bool exclusive)
    {
        while (Lock(file, (exclusive ? LockExclusive : LockShared) | LockNoWait) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (error == ErrorInterrupted) continue;
            if (error == WouldBlock) throw new HostException(HostFailure.InUse, "Another process has it open.");
            return;
        }
    }

    /// <summary>
    /// Gives the lock back before the file is closed: it belongs to the open file, which a child process that is just being started holds a
    /// moment longer.
    /// </summary>
    /// <param name="file">The file.</param>
    public static void Unlock(SafeFileHandle file)
    {
        const int unlock = 8;
        if (!OperatingSystem.IsWindows() && !file.IsClosed && !file.IsInvalid) _ = Lock(file, unlock);
    }

    /// <summary>Reserves room for a file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>0, or the error number.</returns>
    public static int Reserve(SafeFileHandle file, long length) => FileSystemCalls.Reserve(file, length);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Lock(SafeFileHandle file, int operation);
}
