using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>How the flush of a file to its medium ended.</summary>
/// <param name="Method">The call, as its documentation names it.</param>
/// <param name="IsTried">Whether it could be tried: a file could be made there.</param>
/// <param name="Error">What the host said when it failed; null when it succeeded.</param>
internal sealed record FullFlush(string Method, bool IsTried, string? Error);

/// <summary>
/// What the runtime does not offer of the host's file system: holes, renames that exchange or never replace, flushing a directory. Where a
/// host cannot do a thing, the answer says so and the caller has another way. Nothing variadic is declared with its variable part: on
/// Apple's 64-bit ARM that part is passed differently.
/// </summary>
internal static partial class FileSystemCalls
{
    private const int AtCurrentFolder = -100;
    private const uint LinuxRenameNoReplace = 1;
    private const uint LinuxRenameExchange = 2;
    private const uint DarwinRenameSwap = 2;
    private const uint DarwinRenameExclusive = 4;
    private const int DarwinFullFlush = 51;

    private const int ErrorIo = 5;
    private const int ErrorNoSuchAddress = 6;
    private const int ErrorExists = 17;

    /// <summary>How a rename ended.</summary>
    public enum RenameOutcome
    {
        /// <summary>It is done.</summary>
        Done,

        /// <summary>Something is at the destination already.</summary>
        Exists,

        /// <summary>This host, this file system or this combination cannot do it; nothing has changed.</summary>
        NotSupported,
    }

    /// <summary>
    /// Where the next hole of a file begins, at <paramref name="offset"/> or behind it (the end of the file counts as one).
    /// Null where the host does not know.
    /// </summary>
    /// <param name="file">The open file.</param>
    /// <param name="offset">Where to begin, inside the file.</param>
    public static long? NextHole(SafeFileHandle file, long offset) => Seek(file, offset, OperatingSystem.IsMacOS() ? 3 : 4, long.MaxValue);

    /// <summary>
    /// Where the next data of a file begin. To be asked for an offset inside a hole only: elsewhere Darwin's answer is the data behind the
    /// next hole. <see cref="long.MaxValue"/> when there are none; null where the host does not know.
    /// </summary>
    /// <param name="file">The open file.</param>
    /// <param name="offset">Where to begin, inside a hole.</param>
    public static long? NextData(SafeFileHandle file, long offset) => Seek(file, offset, OperatingSystem.IsMacOS() ? 4 : 3, long.MaxValue);

    /// <summary>Renames atomically, but never over anything that exists.</summary>
    /// <param name="from">What to rename.</param>
    /// <param name="to">Its new path, on the same file system.</param>
    public static RenameOutcome RenameNoReplace(string from, string to) => Rename(from, to, LinuxRenameNoReplace, DarwinRenameExclusive);

    /// <summary>Exchanges two paths atomically, files or folders; both must exist.</summary>
    /// <param name="first">One.</param>
    /// <param name="second">The other, on the same file system.</param>
    public static RenameOutcome Exchange(string first, string second) => Rename(first, second, LinuxRenameExchange, DarwinRenameSwap);

    /// <summary>
    /// Makes the names in a folder durable: what was created or renamed there survives a loss of power. Where the host has no such call
    /// (Windows) or the file system refuses it (some network mounts), the renames there are as durable as the host makes them.
    /// </summary>
    /// <param name="path">The folder.</param>
    /// <exception cref="IOException">The medium failed.</exception>
    public static void FlushFolder(string path)
    {
        if (!OperatingSystem.IsLinux() && !OperatingSystem.IsMacOS()) return;
        int closeOnExec = OperatingSystem.IsMacOS() ? 0x1000000 : 0x80000;
        int descriptor = Open(path, closeOnExec);
        if (descriptor < 0) return;
        try
        {
            if (OperatingSystem.IsMacOS() && Control(descriptor, DarwinFullFlush) == 0) return;
            if (Flush(descriptor) != 0 && Marshal.GetLastPInvokeError() == ErrorIo)
                throw new IOException($"The folder '{path}' could not be flushed to its medium.", ErrorIo);
        }
        finally
        {
            _ = Close(descriptor);
        }
    }

    /// <summary>
    /// Makes a file in a folder, writes to it and flushes it as far as this system can: on macOS by F_FULLFSYNC and nothing less, so that the
    /// answer is the folder's own. The file is removed.
    /// </summary>
    /// <param name="folder">The folder.</param>
    public static FullFlush FullFlushIn(string folder)
    {
        string method = OperatingSystem.IsMacOS() ? "fcntl(F_FULLFSYNC)" : OperatingSystem.IsWindows() ? "FlushFileBuffers" : "fsync";
        string path = Path.Combine(folder, $".{Guid.NewGuid():N}.flush");
        try
        {
            using var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1, FileOptions.DeleteOnClose);
            file.WriteByte(1);
            try
            {
                if (!OperatingSystem.IsMacOS())
                {
                    RandomAccess.FlushToDisk(file.SafeFileHandle);
                    return new(method, true, null);
                }

                file.Flush();
                int result = Control((int)file.SafeFileHandle.DangerousGetHandle(), DarwinFullFlush);
                return new(method, true, result == -1 ? Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError()) : null);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return new(method, true, e.Message);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new(method, false, e.Message);
        }
    }

    private static RenameOutcome Rename(string from, string to, uint linuxFlag, uint darwinFlag)
    {
        try
        {
            int result;
            if (OperatingSystem.IsLinux()) result = RenameAt2(AtCurrentFolder, from, AtCurrentFolder, to, linuxFlag);
            else if (OperatingSystem.IsMacOS()) result = RenameX(from, to, darwinFlag);
            else return RenameOutcome.NotSupported;
            if (result == 0) return RenameOutcome.Done;
            return Marshal.GetLastPInvokeError() == ErrorExists ? RenameOutcome.Exists : RenameOutcome.NotSupported;
        }
        catch (EntryPointNotFoundException)
        {
            // Old C libraries.
            return RenameOutcome.NotSupported;
        }
    }

    private static long? Seek(SafeFileHandle file, long offset, int whence, long none)
    {
        // off_t is as wide as a pointer only where pointers have 64 bits.
        if (IntPtr.Size != 8 || (!OperatingSystem.IsLinux() && !OperatingSystem.IsMacOS())) return null;
        long result = Seek(file, offset, whence);
        if (result >= 0) return result;
        return Marshal.GetLastPInvokeError() == ErrorNoSuchAddress ? none : null;
    }

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long Seek(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "renameat2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameAt2(int fromFolder, string from, int toFolder, string to, uint flags);

    [LibraryImport("libc", EntryPoint = "renamex_np", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameX(string from, string to, uint flags);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Flush(int descriptor);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Control(int descriptor, int command);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int descriptor);
}
