using System.Runtime.InteropServices;
using CCImage.Sources;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>Windows, by what the runtime offers: no owners, modes or attributes, but names, times, links and contents.</summary>
internal sealed class WindowsPlatform : IHostPlatform
{
    // https://learn.microsoft.com/windows/win32/fileio/naming-a-file
    private static readonly HashSet<string> s_reserved = new(
        ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", .. from n in "0123456789¹²³" from d in new[] { "COM", "LPT" } select d + n],
            StringComparer.OrdinalIgnoreCase);

    /// <inheritdoc/>
    public bool IsPrivileged => false;

    /// <inheritdoc/>
    public HostVolume GetVolume(string path)
    {
        string root = Path.GetPathRoot(Path.GetFullPath(path)) ?? path;
        try
        {
            bool isShare = root.StartsWith(@"\\", StringComparison.Ordinal);
            var drive = new DriveInfo(root);
            bool isNetwork = isShare || drive.DriveType == DriveType.Network;
            return new()
            {
                MountPoint = root,
                FileSystemType = drive.DriveFormat,
                Device = drive.Name,
                CapacityBytes = drive.TotalSize,
                FreeBytes = drive.AvailableFreeSpace,
                IsNetwork = isNetwork,
                Protocol = isNetwork ? "SMB" : null,
                MaximumFileSize = HostVolume.MaximumFileSizeOf(drive.DriveFormat),
                IsStartupDisk = string.Equals(root, Path.GetPathRoot(Environment.SystemDirectory), StringComparison.OrdinalIgnoreCase),
                IsCaseSensitive = false,
            };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            // A share without a drive letter has no DriveInfo: what is not known stays 0.
            return new() { MountPoint = root, FileSystemType = "", IsNetwork = root.StartsWith(@"\\", StringComparison.Ordinal),
                IsCaseSensitive = false };
        }
    }

    /// <inheritdoc/>
    public HostStat GetStat(string path) => PortableDirectory.StatOf(path);

    /// <inheritdoc/>
    public SafeFileHandle OpenFile(string path, bool writable, bool exclusive, out HostStat stat) =>
        PortableDirectory.OpenLocked(path, followLink: true, writable, exclusive, out stat);

    /// <inheritdoc/>
    public HostDirectory OpenDirectory(string path) => PortableDirectory.Open(Path.GetFullPath(path), followLink: true);

    /// <inheritdoc/>
    public string? ObjectionToName(string name) => ObjectionToWindowsName(name);

    /// <summary>The rules of Windows for a name.</summary>
    /// <param name="name">A single name.</param>
    internal static string? ObjectionToWindowsName(string name)
    {
        if (HostPlatform.ObjectionToAnyName(name) is string objection) return objection;
        foreach (char c in name)
        {
            if (c < ' ' || "\\:*?\"<>|".Contains(c)) return $"Windows does not allow the character U+{(int)c:X4} in names.";
        }

        if (name[^1] is '.' or ' ') return "Windows drops a dot or a space at the end of a name.";
        string stem = name.Split('.')[0].TrimEnd(' ');
        return s_reserved.Contains(stem) ? "The name is that of a device of Windows." : null;
    }
}

/// <summary>A folder as the runtime shows it, by path. Links inside are found by looking at each name before it is used.</summary>
internal sealed class PortableDirectory : HostDirectory
{
    // HFS+ calls the owner of files that nobody owned "unknown"; a Mac then shows them as the user's own.
    private const uint UnknownOwner = 99;

    private readonly string _path;
    private readonly HostStat _stat;

    private PortableDirectory(string path, in HostStat stat) => (_path, _stat) = (path, stat);

    /// <inheritdoc/>
    public override HostStat Stat => _stat;

    /// <summary>Opens a folder.</summary>
    /// <param name="path">A full path.</param>
    /// <param name="followLink">Whether it may be a link.</param>
    public static PortableDirectory Open(string path, bool followLink)
    {
        HostStat stat = StatOf(path);
        if (stat.Kind == EntryKind.SymbolicLink && followLink)
        {
            path = Guard(() => Directory.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path);
            stat = StatOf(path);
        }

        return stat.Kind switch
        {
            EntryKind.Directory => new(path, stat),
            EntryKind.SymbolicLink => throw new HostException(HostFailure.SymbolicLink, "A link is not followed here."),
            _ => throw new HostException(HostFailure.NotADirectory, "This is not a folder."),
        };
    }

    /// <summary>What a path is, links not followed.</summary>
    /// <param name="path">A full path.</param>
    public static HostStat StatOf(string path) => Guard(() =>
    {
        FileAttributes attributes = File.GetAttributes(path);
        bool isFolder = (attributes & FileAttributes.Directory) != 0;
        FileSystemInfo info = isFolder ? new DirectoryInfo(path) : new FileInfo(path);

        // Junctions and symbolic links have a target; the other reparse points (cloud files, deduplication) are files like others.
        bool isLink = (attributes & FileAttributes.ReparsePoint) != 0 && info.LinkTarget is not null;
        const FileAttributes offline = FileAttributes.Offline | (FileAttributes)0x400000; // FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS
        return new HostStat
        {
            Kind = isLink ? EntryKind.SymbolicLink : isFolder ? EntryKind.Directory : EntryKind.File,

            // The runtime shows no file number. The name stands for it, folded as Windows compares names: enough to know a twin again.
            Identity = IdentityOf(path),
            LinkCount = 1,
            Mode = isLink ? 0x1FFu : (attributes & FileAttributes.ReadOnly) != 0 && !isFolder ? 0x124u : isFolder ? 0x1EDu : 0x1A4u,
            UserId = UnknownOwner,
            GroupId = UnknownOwner,
            Size = info is FileInfo file && !isLink ? file.Length : 0,
            AllocatedBytes = isFolder || isLink ? null : WindowsCalls.AllocatedBytes(path),
            IsDataless = !isFolder && (attributes & offline) != 0,
            BirthTime = UnixTime.From(info.CreationTimeUtc),
            ModifyTime = UnixTime.From(info.LastWriteTimeUtc),
            ChangeTime = UnixTime.From(info.LastWriteTimeUtc),
            AccessTime = UnixTime.From(info.LastAccessTimeUtc),
        };
    });

    /// <summary>The same for all spellings of a path: letters of either case, and both separators.</summary>
    /// <param name="path">A full path.</param>
    internal static HostIdentity IdentityOf(string path) =>
        new(0, unchecked((ulong)StringComparer.OrdinalIgnoreCase.GetHashCode(path.Replace('/', '\\')) + 1));

    /// <inheritdoc/>
    public override void ReadNames(ICollection<string> names, ICollection<string> undecodable) => Guard(() =>
    {
        var options = new EnumerationOptions { AttributesToSkip = 0, IgnoreInaccessible = false, ReturnSpecialDirectories = false };
        foreach (string path in Directory.EnumerateFileSystemEntries(_path, "*", options))
        {
            string name = Path.GetFileName(path);
            if (HostPlatform.ObjectionToAnyName(name) is null) names.Add(name);
            else undecodable.Add(name);
        }

        return 0;
    });

    /// <inheritdoc/>
    public override HostStat GetStat(string name) => StatOf(PathOf(name));

    /// <inheritdoc/>
    public override HostDirectory OpenDirectory(string name) => Open(PathOf(name), followLink: false);

    /// <inheritdoc/>
    public override HostDirectory OpenParent(HostIdentity expected)
    {
        PortableDirectory parent = Open(Path.GetDirectoryName(_path) ?? _path, followLink: false);
        return parent.Stat.Identity == expected ? parent : throw new HostException(HostFailure.Replaced, "The folder was moved meanwhile.");
    }

    /// <inheritdoc/>
    public override SafeFileHandle OpenFile(string name, out HostStat stat)
    {
        // The path stands for the file's number: it has to be written as it was when the file was found.
        string path = Path.Combine(_path, name.Replace('/', Path.DirectorySeparatorChar));
        stat = StatOf(path);
        if (stat.Kind == EntryKind.SymbolicLink) throw new HostException(HostFailure.SymbolicLink, "A link is not followed here.");
        return Guard(() => File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
    }

    /// <inheritdoc/>
    public override SafeFileHandle? OpenForMetadata(string name, EntryKind kind) => null;

    /// <inheritdoc/>
    public override HostFork OpenResourceFork(string name) => throw NotHere("resource forks");

    /// <inheritdoc/>
    public override string ReadLink(string name) =>
        Guard(() => new FileInfo(PathOf(name)).LinkTarget ?? throw new FileNotFoundException("The link is gone."))
            .Replace(Path.DirectorySeparatorChar, '/');

    /// <inheritdoc/>
    public override bool CanRead(string name, in HostStat stat) => true;

    /// <inheritdoc/>
    public override HostAttributes ReadAttributes(HostNode node, in HostStat stat) => HostAttributes.None;

    /// <inheritdoc/>
    public override byte[] ReadAttribute(HostNode node, string attribute) => throw NotHere("extended attributes");

    /// <inheritdoc/>
    public override void CreateDirectory(string name)
    {
        string path = PathOf(name);
        Guard(() => Path.Exists(path) ? throw new HostException(HostFailure.AlreadyExists, "It exists.") : Directory.CreateDirectory(path));
    }

    /// <inheritdoc/>
    public override SafeFileHandle CreateFile(string name)
    {
        string path = PathOf(name);
        try
        {
            return Guard(() => File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read));
        }
        catch (HostException e) when (e.Failure == HostFailure.Other && Path.Exists(path))
        {
            throw new HostException(HostFailure.AlreadyExists, "It exists.", e);
        }
    }

    /// <inheritdoc/>
    public override void CreateSymbolicLink(string name, string target)
    {
        string path = PathOf(name), to = target.Replace('/', Path.DirectorySeparatorChar);

        // That system has links of two kinds, and opens a folder only through one that was made for folders. Links are made last: their
        // targets are there.
        bool isToFolder = Directory.Exists(Path.Combine(_path, to));
        Guard(() => Path.Exists(path) ? throw new HostException(HostFailure.AlreadyExists, "It exists.")
            : isToFolder ? Directory.CreateSymbolicLink(path, to) : File.CreateSymbolicLink(path, to));
    }

    /// <inheritdoc/>
    public override void CreateNode(string name, in HostStat stat) => throw NotHere("devices, sockets and FIFOs");

    /// <inheritdoc/>
    public override void CreateLink(string name, HostDirectory folder, string existing)
    {
        if (!OperatingSystem.IsWindows()) throw NotHere("hard links");
        if (!WindowsCalls.CreateHardLink(
            WindowsCalls.LongPath(PathOf(name)), WindowsCalls.LongPath(((PortableDirectory)folder).PathOf(existing)), 0))
            throw new HostException(HostFailure.NotSupported, Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError()));
    }

    /// <inheritdoc/>
    public override void Remove(string name)
    {
        string path = PathOf(name);
        Guard(() =>
        {
            HostStat stat = StatOf(path);
            if (stat.Kind == EntryKind.Directory) throw new HostException(HostFailure.AccessDenied, "It is a folder.");

            // A junction is removed as the folder it looks like.
            if ((File.GetAttributes(path) & FileAttributes.Directory) != 0) Directory.Delete(path);
            else File.Delete(path);
            return 0;
        });
    }

    /// <inheritdoc/>
    public override bool KeepsOpenFilesOnRename => false;

    /// <inheritdoc/>
    public override void Rename(string name, string newName)
    {
        string from = PathOf(name), to = PathOf(newName);
        Guard(() =>
        {
            if ((File.GetAttributes(from) & FileAttributes.Directory) == 0)
            {
                File.Move(from, to, overwrite: true);
                return 0;
            }

            // A link to a folder counts as a folder to that system, and never replaces anything in one step; it has no content to lose.
            if (Path.Exists(to)) Remove(newName);
            Directory.Move(from, to);
            return 0;
        });
    }

    /// <inheritdoc/>
    public override SafeFileHandle OpenLocked(string name, bool writable, bool exclusive, out HostStat stat) =>
        OpenLocked(PathOf(name), followLink: false, writable, exclusive, out stat);

    /// <summary>Opens a regular file with a lock.</summary>
    /// <param name="path">A path.</param>
    /// <param name="followLink">Whether it may be a link.</param>
    /// <param name="writable">Whether it is to be written.</param>
    /// <param name="exclusive">Whether nobody else may have it open.</param>
    /// <param name="stat">Receives what was opened.</param>
    internal static SafeFileHandle OpenLocked(string path, bool followLink, bool writable, bool exclusive, out HostStat stat)
    {
        stat = StatOf(path);
        if (stat.Kind == EntryKind.SymbolicLink && followLink)
        {
            path = Guard(() => File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path);
            stat = StatOf(path);
        }

        UnixFiles.RequireFile(stat);
        return Guard(
            () => File.OpenHandle(
            path, FileMode.Open, writable ? FileAccess.ReadWrite : FileAccess.Read, exclusive ? FileShare.None : FileShare.Read));
    }

    /// <inheritdoc/>
    public override SafeFileHandle CreateLocked(string name, uint mode, long preallocate)
    {
        string path = PathOf(name);
        try
        {
            return Guard(
                () => File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, FileOptions.None, preallocate));
        }
        catch (HostException e) when (e.Failure == HostFailure.Other && Path.Exists(path))
        {
            throw new HostException(HostFailure.AlreadyExists, "It exists.", e);
        }
    }

    /// <inheritdoc/>
    public override HostStat GetStatOf(SafeFileHandle file) => Guard(() => new HostStat
    {
        Kind = EntryKind.File, Identity = Stat.Identity, LinkCount = 1, Mode = 0x1A4u, Size = RandomAccess.GetLength(file),
            ModifyTime = UnixTime.From(File.GetLastWriteTimeUtc(file)),
    });

    /// <inheritdoc/>
    public override void RemoveDirectory(string name)
    {
        string path = PathOf(name);
        Guard(() =>
        {
            Directory.Delete(path);
            return 0;
        });
    }

    /// <inheritdoc/>
    public override void MoveTo(string name, HostDirectory folder, string newName) => Move(name, folder, newName, overwrite: true);

    /// <inheritdoc/>
    public override FileSystemCalls.RenameOutcome MoveToFree(string name, HostDirectory folder, string newName)
    {
        string to = ((PortableDirectory)folder).PathOf(newName);
        if (Path.Exists(to)) return FileSystemCalls.RenameOutcome.Exists;
        try
        {
            Move(name, folder, newName, overwrite: false);
            return FileSystemCalls.RenameOutcome.Done;
        }
        catch (HostException) when (Path.Exists(to))
        {
            return FileSystemCalls.RenameOutcome.Exists;
        }
    }

    /// <inheritdoc/>
    public override FileSystemCalls.RenameOutcome Exchange(string name, HostDirectory folder, string other) =>
        FileSystemCalls.RenameOutcome.NotSupported;

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    private void Move(string name, HostDirectory folder, string newName, bool overwrite)
    {
        string from = PathOf(name), to = ((PortableDirectory)folder).PathOf(newName);
        Guard(() =>
        {
            if (Directory.Exists(from)) Directory.Move(from, to);
            else File.Move(from, to, overwrite);
            return 0;
        });
    }

    /// <inheritdoc/>
    public override void SetOwner(HostNode node, uint user, uint group)
    {
        if (user != UnknownOwner || group != UnknownOwner) throw NotHere("owners by number");
    }

    /// <inheritdoc/>
    public override void SetMode(HostNode node, uint mode) => Guard(() =>
    {
        string path = PathOf(node.Name);
        FileAttributes attributes = File.GetAttributes(path);
        if ((attributes & FileAttributes.Directory) == 0 && (mode & 0x92) == 0)
            File.SetAttributes(path, attributes | FileAttributes.ReadOnly);
        return 0;
    });

    /// <inheritdoc/>
    public override void SetTimes(HostNode node, in HostStat stat)
    {
        (UnixTime birth, UnixTime modify) = (stat.BirthTime, stat.ModifyTime);
        string path = PathOf(node.Name);
        Guard(() =>
        {
            // Windows counts from 1601; 1677 is the earliest the model knows.
            if (node.File is not null)
            {
                if (birth.IsKnown) File.SetCreationTimeUtc(node.File, birth.ToDateTimeOffset().UtcDateTime);
                if (modify.IsKnown) File.SetLastWriteTimeUtc(node.File, modify.ToDateTimeOffset().UtcDateTime);
                return 0;
            }

            FileSystemInfo info = (File.GetAttributes(path) & FileAttributes.Directory) != 0 ? new DirectoryInfo(path) : new FileInfo(path);
            if (birth.IsKnown) info.CreationTimeUtc = birth.ToDateTimeOffset().UtcDateTime;
            if (modify.IsKnown) info.LastWriteTimeUtc = modify.ToDateTimeOffset().UtcDateTime;
            return 0;
        });
    }

    /// <inheritdoc/>
    public override void SetAttribute(HostNode node, string attribute, ReadOnlySpan<byte> value) => throw NotHere("extended attributes");

    /// <inheritdoc/>
    public override void WriteResourceFork(HostNode node, long offset, ReadOnlySpan<byte> bytes, long total) =>
        throw NotHere("resource forks");

    /// <inheritdoc/>
    public override void SetFlags(HostNode node, uint flags) => throw NotHere("BSD flags");

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
    }

    private static HostException NotHere(string what) => new(HostFailure.NotSupported, $"This system has no {what}.");

    private static T Guard<T>(Func<T> action)
    {
        try
        {
            return action();
        }
        catch (HostException)
        {
            throw;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            // The low half of HResult is the Win32 error: 112 and 39 disk full, 80 and 183 exists, 206 name too long, 123 name invalid, 19
            // write-protected, 223 file too large.
            throw new HostException(
                e switch
                {
                    FileNotFoundException or DirectoryNotFoundException => HostFailure.NotFound,
                    UnauthorizedAccessException => HostFailure.AccessDenied,
                    PathTooLongException or ArgumentException => HostFailure.BadName,
                    NotSupportedException => HostFailure.NotSupported,
                    _ => (e.HResult & 0xFFFF) switch
                    {
                        112 or 39 => HostFailure.NoSpace,
                        80 or 183 => HostFailure.AlreadyExists,
                        206 or 123 => HostFailure.BadName,
                        19 => HostFailure.ReadOnly,
                        32 or 33 when OperatingSystem.IsWindows() => HostFailure.InUse,
                        223 => HostFailure.FileTooLarge,
                        _ => HostFailure.Other,
                    },
                },
                e.Message, e);
        }
    }

    private string PathOf(string name)
    {
        if (name == ".") return _path;
        string? objection = OperatingSystem.IsWindows() ? WindowsPlatform.ObjectionToWindowsName(name)
            : HostPlatform.ObjectionToAnyName(name);
        return objection is null ? Path.Combine(_path, name) : throw new HostException(HostFailure.BadName, objection);
    }
}

/// <summary>Windows' own calls.</summary>
internal static partial class WindowsCalls
{
    /// <summary>Bytes a file takes on its medium; null where the host does not say.</summary>
    /// <param name="path">A full path.</param>
    public static long? AllocatedBytes(string path)
    {
        if (!OperatingSystem.IsWindows()) return null;
        uint low = GetCompressedFileSize(LongPath(path), out uint high);
        return low == uint.MaxValue && Marshal.GetLastPInvokeError() != 0 ? null : (long)(((ulong)high << 32) | low);
    }

    /// <summary>
    /// A path in the form that may be longer than 260 characters, which the system's own calls otherwise refuse
    /// (https://learn.microsoft.com/windows/win32/fileio/naming-a-file, "Win32 file namespaces"). The runtime does this in its own calls.
    /// </summary>
    /// <param name="path">A full path.</param>
    public static string LongPath(string path)
    {
        path = path.Replace('/', '\\');
        if (path.StartsWith(@"\\?\", StringComparison.Ordinal) || path.StartsWith(@"\\.\", StringComparison.Ordinal)) return path;
        return path.StartsWith(@"\\", StringComparison.Ordinal) ? @"\\?\UNC\" + path[2..] : @"\\?\" + path;
    }

    [LibraryImport("kernel32", EntryPoint = "CreateHardLinkW", SetLastError = true, StringMarshalling = StringMarshalling.Utf16)]
    [return: MarshalAs(UnmanagedType.Bool)]
    public static partial bool CreateHardLink(string newPath, string existingPath, nint reserved);

    [LibraryImport("kernel32", EntryPoint = "GetCompressedFileSizeW", SetLastError = true, StringMarshalling = StringMarshalling.Utf16)]
    private static partial uint GetCompressedFileSize(string path, out uint high);
}
