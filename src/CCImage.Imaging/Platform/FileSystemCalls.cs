using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>How the flush of a file to its medium ended.</summary>
/// <param name="Method">The call, as its documentation names it.</param>
/// <param name="IsTried">Whether it could be tried: a file could be made there.</param>
/// <param name="Error">What the host said when it failed; null when it succeeded.</param>
internal sealed record FullFlush(string Method, bool IsTried, string? Error);

/// <summary>How far a flush came.</summary>
internal enum FlushReach
{
    /// <summary>Past the caches of the drive: macOS' F_FULLFSYNC.</summary>
    Full,

    /// <summary>As far as the file system's own flush goes.</summary>
    Ordinary,

    /// <summary>Not at all: the file system there knows no flush.</summary>
    None,
}

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
    private const int ErrorInvalid = 22;
    private const int ErrorNotTerminal = 25;
    private const int DarwinNotSupported = 45;
    private const int DarwinNotSupportedOnSocket = 102;
    private const int LinuxNotSupported = 95;
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

    /// <summary>As <see cref="RenameNoReplace(string, string)"/>, from an open folder to an open folder.</summary>
    /// <param name="fromFolder">Where it is.</param>
    /// <param name="from">Its name.</param>
    /// <param name="toFolder">Where it goes.</param>
    /// <param name="to">The name it gets.</param>
    public static RenameOutcome RenameNoReplace(SafeFileHandle fromFolder, string from, SafeFileHandle toFolder, string to) =>
        Rename(fromFolder, from, toFolder, to, LinuxRenameNoReplace, DarwinRenameExclusive);

    /// <summary>As <see cref="Exchange(string, string)"/>, between open folders.</summary>
    /// <param name="firstFolder">Where one is.</param>
    /// <param name="first">Its name.</param>
    /// <param name="secondFolder">Where the other is.</param>
    /// <param name="second">Its name.</param>
    public static RenameOutcome Exchange(SafeFileHandle firstFolder, string first, SafeFileHandle secondFolder, string second) =>
        Rename(firstFolder, first, secondFolder, second, LinuxRenameExchange, DarwinRenameSwap);

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
        using var folder = new SafeFileHandle(descriptor, ownsHandle: true);
        FlushFolder(folder);
    }

    /// <summary>The same of an open folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="IOException">The medium failed.</exception>
    public static void FlushFolder(SafeFileHandle folder)
    {
        if (OperatingSystem.IsMacOS() && Control(folder, DarwinFullFlush) == 0) return;
        if (Flush(folder) != 0 && Marshal.GetLastPInvokeError() == ErrorIo)
            throw new IOException("The folder could not be flushed to its medium.", ErrorIo);
    }

    /// <summary>
    /// Brings what was written to a file to the medium, as far as the host can: on macOS by F_FULLFSYNC where the file system takes it,
    /// else by an ordinary flush. The runtime's own flush is F_FULLFSYNC and nothing else there: it fails on drivers that do not know it,
    /// and takes a share's refusal for success.
    /// </summary>
    /// <param name="file">The file, open to be written.</param>
    /// <returns>How far it came.</returns>
    /// <exception cref="IOException">The medium failed.</exception>
    public static FlushReach FlushFile(SafeFileHandle file)
    {
        if (OperatingSystem.IsWindows())
        {
            RandomAccess.FlushToDisk(file);
            return FlushReach.Ordinary;
        }

        return FlushFile(OperatingSystem.IsMacOS() ? () => ErrorOf(Control(file, DarwinFullFlush)) : null, () => ErrorOf(Flush(file)));

        static int ErrorOf(int result) => result == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <summary>The rule of <see cref="FlushFile(SafeFileHandle)"/>, apart from the calls, so that the answers of systems that are not here
    /// can be tried.</summary>
    /// <param name="full">The full flush, which gives an error number or 0; null where there is none.</param>
    /// <param name="ordinary">The ordinary flush, likewise.</param>
    internal static FlushReach FlushFile(Func<int>? full, Func<int> ordinary)
    {
        // A full flush that fails, for whatever reason, is followed by the ordinary one: an error of the medium shows there as well.
        if (full is not null && Again(full) == 0) return FlushReach.Full;
        int error = Again(ordinary);
        if (error == 0) return FlushReach.Ordinary;
        if (error is ErrorInvalid or ErrorNotTerminal or ErrorReadOnly or DarwinNotSupported or DarwinNotSupportedOnSocket
            or LinuxNotSupported) return FlushReach.None;
        throw new IOException(Marshal.GetPInvokeErrorMessage(error), error);

        static int Again(Func<int> call)
        {
            int error;
            do error = call();
            while (error == ErrorInterrupted);
            return error;
        }
    }

    /// <summary>
    /// Makes a file in a folder, writes to it and flushes it as far as this system can: on macOS by F_FULLFSYNC and nothing less, so that
    /// the answer is the folder's own. The file is removed.
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
                int result = Control(file.SafeFileHandle, DarwinFullFlush);
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

    private static RenameOutcome Rename(
        SafeFileHandle fromFolder, string from, SafeFileHandle toFolder, string to, uint linuxFlag, uint darwinFlag)
    {
        try
        {
            int result;
            if (OperatingSystem.IsLinux()) result = RenameAt2(fromFolder, from, toFolder, to, linuxFlag);
            else if (OperatingSystem.IsMacOS()) result = RenameAtX(fromFolder, from, toFolder, to, darwinFlag);
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

    [LibraryImport("libc", EntryPoint = "renameat2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameAt2(SafeFileHandle fromFolder, string from, SafeFileHandle toFolder, string to, uint flags);

    // sys/stdio.h, macOS 10.12
    [LibraryImport("libc", EntryPoint = "renameatx_np", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameAtX(SafeFileHandle fromFolder, string from, SafeFileHandle toFolder, string to, uint flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Flush(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Control(SafeFileHandle file, int command);

}
