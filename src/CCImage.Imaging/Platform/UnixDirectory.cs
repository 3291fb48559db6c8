using System.Runtime.InteropServices;
using System.Text;
using System.Text.Unicode;
using CCImage.Sources;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>The numbers in which Linux and macOS differ.</summary>
/// <param name="Create">O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC.</param>
/// <param name="OpenFolder">O_RDONLY | O_DIRECTORY | O_CLOEXEC.</param>
/// <param name="OpenFile">O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC.</param>
/// <param name="NoFollow">O_NOFOLLOW.</param>
/// <param name="AtNoFollow">AT_SYMLINK_NOFOLLOW.</param>
/// <param name="AtEffectiveAccess">AT_EACCESS.</param>
/// <param name="OmitTime">UTIME_OMIT.</param>
/// <param name="AtRemoveFolder">AT_REMOVEDIR.</param>
/// <param name="NoAccessTime">O_NOATIME: reading leaves no trace on the source; 0 where there is no such thing.</param>
internal sealed record UnixNumbers(
    int Create, int OpenFolder, int OpenFile, int NoFollow, int AtNoFollow, int AtEffectiveAccess, long OmitTime, int AtRemoveFolder,
    int NoAccessTime = 0);

/// <summary>What Linux and macOS have in common: a folder is a descriptor, and everything goes by the calls whose names end in
/// <c>at</c>.</summary>
internal abstract class UnixDirectory : HostDirectory
{
    private const int ReadAccess = 4;

    private readonly HostStat _stat;

    /// <summary>Takes over an open folder.</summary>
    /// <param name="folder">Its descriptor.</param>
    /// <param name="stat">What it is.</param>
    protected UnixDirectory(SafeFileHandle folder, in HostStat stat) => (Handle, _stat) = (folder, stat);

    /// <inheritdoc/>
    public override HostStat Stat => _stat;

    /// <summary>The descriptor.</summary>
    protected SafeFileHandle Handle { get; }

    /// <summary>The system's numbers.</summary>
    protected abstract UnixNumbers Numbers { get; }

    /// <inheritdoc/>
    public override HostDirectory OpenDirectory(string name)
    {
        RequireName(name);
        return Adopt(OpenToRead(name, Numbers.OpenFolder | Numbers.NoFollow));
    }

    /// <inheritdoc/>
    public override HostDirectory OpenParent(HostIdentity expected)
    {
        HostDirectory parent = Adopt(Check(FileDescriptors.Open(() => UnixCalls.OpenAt(Handle, "..", Numbers.OpenFolder))));
        if (parent.Stat.Identity == expected) return parent;
        parent.Dispose();
        throw new HostException(HostFailure.Replaced, "The folder was moved meanwhile.");
    }

    /// <inheritdoc/>
    public override SafeFileHandle OpenFile(string name, out HostStat stat)
    {
        var file = new SafeFileHandle(OpenToRead(name, Numbers.OpenFile), ownsHandle: true);
        try
        {
            stat = GetStat(file);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Opens without changing the time of access, so that a backup does not change what the next one finds. Only the owner and root may:
    /// for everybody else it is opened as usual.
    /// </summary>
    /// <param name="name">An entry, or <c>"."</c>.</param>
    /// <param name="flags">O_ flags for reading.</param>
    /// <returns>The descriptor.</returns>
    protected int OpenToRead(string name, int flags)
    {
        const int NotPermitted = 1;
        return Check(FileDescriptors.Open(() =>
        {
            int descriptor = UnixCalls.OpenAt(Handle, name, flags | Numbers.NoAccessTime);
            return descriptor < 0 && Numbers.NoAccessTime != 0 && Marshal.GetLastPInvokeError() == NotPermitted
                ? UnixCalls.OpenAt(Handle, name, flags) : descriptor;
        }));
    }

    /// <inheritdoc/>
    /// <remarks>Not by the runtime, which throws for years behind 9999; some file systems keep them.</remarks>
    public override UnixTime GetModifyTime(SafeFileHandle file) => GetStat(file).ModifyTime;

    /// <inheritdoc/>
    public override SafeFileHandle? OpenForMetadata(string name, EntryKind kind) =>
        kind is EntryKind.File or EntryKind.Directory ? OpenFile(name, out _) : null;

    /// <inheritdoc/>
    public override HostStat GetStat(HostNode node) => OpenOf(node) is { } file ? GetStat(file) : GetStat(node.Name);

    /// <inheritdoc/>
    public override string ReadLink(string name)
    {
        // Linux gives at most 4,095 bytes, macOS 1,023; other file systems behind FUSE may give more.
        Span<byte> buffer = stackalloc byte[4096];
        nint length = CheckLength(UnixCalls.ReadLinkAt(Handle, name, buffer, (nuint)buffer.Length));
        if (length == buffer.Length)
        {
            buffer = new byte[65536];
            length = CheckLength(UnixCalls.ReadLinkAt(Handle, name, buffer, (nuint)buffer.Length));
        }

        ReadOnlySpan<byte> target = buffer[..(int)length];
        return Utf8.IsValid(target) ? Encoding.UTF8.GetString(target)
            : throw new HostException(HostFailure.BadName, $"The link's target is not text: {Escape(target)}");
    }

    /// <inheritdoc/>
    public override bool CanRead(string name, in HostStat stat) =>
        Environment.IsPrivilegedProcess || (stat.Mode & 0x124) == 0x124
            || UnixCalls.AccessAt(Handle, name, ReadAccess, Numbers.AtEffectiveAccess) == 0;

    /// <inheritdoc/>
    public override void CreateDirectory(string name)
    {
        RequireName(name);
        Check(UnixCalls.MakeFolderAt(Handle, name, 0x1C0));
    }

    /// <inheritdoc/>
    public override SafeFileHandle CreateFile(string name)
    {
        RequireName(name);
        return new SafeFileHandle(Check(FileDescriptors.Open(() => CreateAt(name, Numbers.Create, 0x180))), ownsHandle: true);
    }

    /// <inheritdoc/>
    public override SafeFileHandle OpenLocked(string name, bool writable, bool exclusive, out HostStat stat)
    {
        RequireName(name);
        UnixFiles.RequireFile(GetStat(name));
        var file = new SafeFileHandle(
            Check(FileDescriptors.Open(() => UnixCalls.OpenAt(Handle, name, Numbers.OpenFile | (writable ? UnixFiles.ReadWrite : 0)))),
                ownsHandle: true);
        try
        {
            // Once more, of what is open now.
            stat = GetStat(file);
            UnixFiles.RequireFile(stat);
            UnixFiles.Lock(file, exclusive);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override SafeFileHandle CreateLocked(string name, uint mode, long preallocate)
    {
        RequireName(name);
        var file = new SafeFileHandle(Check(FileDescriptors.Open(() => CreateAt(name, Numbers.Create, mode))), ownsHandle: true);
        try
        {
            UnixFiles.Lock(file, exclusive: true);
            if (preallocate > 0 && UnixFiles.Reserve(file, preallocate) is int error and not 0) throw Failure(error);
            return file;
        }
        catch
        {
            file.Dispose();
            Remove(name);
            throw;
        }
    }

    /// <inheritdoc/>
    public override HostStat GetStatOf(SafeFileHandle file) => GetStat(file);

    /// <inheritdoc/>
    public override void RemoveDirectory(string name)
    {
        RequireName(name);
        Check(UnixCalls.UnlinkAt(Handle, name, Numbers.AtRemoveFolder));
    }

    /// <inheritdoc/>
    public override void MoveTo(string name, HostDirectory folder, string newName)
    {
        RequireName(name);
        RequireName(newName);
        Check(UnixCalls.RenameAt(Handle, name, ((UnixDirectory)folder).Handle, newName));
    }

    /// <inheritdoc/>
    public override FileSystemCalls.RenameOutcome MoveToFree(string name, HostDirectory folder, string newName)
    {
        RequireName(name);
        RequireName(newName);
        return FileSystemCalls.RenameNoReplace(Handle, name, ((UnixDirectory)folder).Handle, newName);
    }

    /// <inheritdoc/>
    public override FileSystemCalls.RenameOutcome Exchange(string name, HostDirectory folder, string other)
    {
        RequireName(name);
        RequireName(other);
        return FileSystemCalls.Exchange(Handle, name, ((UnixDirectory)folder).Handle, other);
    }

    /// <inheritdoc/>
    public override void Flush() => FileSystemCalls.FlushFolder(Handle);

    /// <inheritdoc/>
    public override void CreateSymbolicLink(string name, string target)
    {
        RequireName(name);
        Check(UnixCalls.SymbolicLinkAt(target, Handle, name));
    }

    /// <inheritdoc/>
    public override void CreateLink(string name, HostDirectory folder, string existing)
    {
        RequireName(name);
        Check(UnixCalls.LinkAt(((UnixDirectory)folder).Handle, existing, Handle, name, 0));
    }

    /// <inheritdoc/>
    public override void Remove(string name)
    {
        RequireName(name);
        Check(UnixCalls.UnlinkAt(Handle, name, 0));
    }

    /// <inheritdoc/>
    public override void Rename(string name, string newName)
    {
        RequireName(name);
        RequireName(newName);
        Check(UnixCalls.RenameAt(Handle, name, Handle, newName));
    }

    /// <inheritdoc/>
    public override void SetOwner(HostNode node, uint user, uint group) =>
        Check(OpenOf(node) is { } file ? UnixCalls.ChangeOwner(file, user, group)
            : UnixCalls.ChangeOwnerAt(Handle, node.Name, user, group, Numbers.AtNoFollow));

    /// <inheritdoc/>
    public override void SetMode(HostNode node, uint mode) =>
        Check(OpenOf(node) is { } file ? UnixCalls.ChangeMode(file, mode)
            : UnixCalls.ChangeModeAt(Handle, node.Name, mode, Numbers.AtNoFollow));

    /// <inheritdoc/>
    public override void SetTimes(HostNode node, in HostStat stat)
    {
        ReadOnlySpan<UnixTimeSpec> times = [ToTimeSpec(stat.AccessTime), ToTimeSpec(stat.ModifyTime)];
        Check(OpenOf(node) is { } file ? UnixCalls.ChangeTimes(file, times)
            : UnixCalls.ChangeTimesAt(Handle, node.Name, times, Numbers.AtNoFollow));
    }

    /// <summary>Shows the bytes of a name that is not valid UTF-8.</summary>
    /// <param name="name">The bytes.</param>
    internal static string Escape(ReadOnlySpan<byte> name)
    {
        var text = new StringBuilder(name.Length + 12);
        while (!name.IsEmpty)
        {
            if (Rune.DecodeFromUtf8(name, out Rune rune, out int used) == System.Buffers.OperationStatus.Done)
            {
                text.Append(rune.ToString());
            }
            else
            {
                foreach (byte b in name[..used])
                    text.Append("\\x").Append(b.ToString("X2", System.Globalization.CultureInfo.InvariantCulture));
            }

            name = name[used..];
        }

        return text.ToString();
    }

    /// <summary>Adds a name that was found, to the one list or the other.</summary>
    /// <param name="name">The bytes, without the NUL.</param>
    /// <param name="names">Text.</param>
    /// <param name="undecodable">No text.</param>
    protected static void AddName(ReadOnlySpan<byte> name, ICollection<string> names, ICollection<string> undecodable)
    {
        if (name.SequenceEqual("."u8) || name.SequenceEqual(".."u8)) return;
        if (Utf8.IsValid(name)) names.Add(Encoding.UTF8.GetString(name));
        else undecodable.Add(Escape(name));
    }

    /// <summary>What is open of an entry: its file, or this folder itself; null when there is only its name.</summary>
    /// <param name="node">The entry.</param>
    protected SafeFileHandle? OpenOf(HostNode node) => node.File ?? (node.Name == HostNode.Self.Name ? Handle : null);

    /// <summary>Makes the system's kind of folder of a descriptor; closes it when that fails.</summary>
    /// <param name="descriptor">The descriptor.</param>
    protected abstract HostDirectory Adopt(int descriptor);

    /// <summary>What an open file is.</summary>
    /// <param name="file">The file.</param>
    protected abstract HostStat GetStat(SafeFileHandle file);

    /// <summary>Creates and opens a file.</summary>
    /// <param name="name">A single name.</param>
    /// <param name="flags">O_ flags with O_CREAT.</param>
    /// <param name="mode">Permission bits.</param>
    protected virtual int CreateAt(string name, int flags, uint mode) => UnixCalls.CreateAt(Handle, name, flags, mode);

    /// <summary>Turns a negative result into the exception.</summary>
    /// <param name="result">What the call returned.</param>
    protected int Check(int result) => result >= 0 ? result : throw Failure(Marshal.GetLastPInvokeError());

    /// <summary>Turns a negative length into the exception.</summary>
    /// <param name="result">What the call returned.</param>
    protected nint CheckLength(nint result) => result >= 0 ? result : throw Failure(Marshal.GetLastPInvokeError());

    /// <summary>The exception for an error number.</summary>
    /// <param name="error">errno.</param>
    protected abstract HostException Failure(int error);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => Handle.Dispose();

    /// <summary>The failures whose numbers are the same on both systems.</summary>
    /// <param name="error">errno.</param>
    internal static HostFailure CommonFailure(int error) => error switch
    {
        1 or 13 => HostFailure.AccessDenied,
        2 => HostFailure.NotFound,
        17 => HostFailure.AlreadyExists,
        20 => HostFailure.NotADirectory,
        23 or 24 => HostFailure.TooManyFiles,
        7 or 34 => HostFailure.NotSupported,
        22 or 84 or 92 => HostFailure.BadName,
        27 => HostFailure.FileTooLarge,
        28 => HostFailure.NoSpace,
        30 => HostFailure.ReadOnly,
        _ => HostFailure.Other,
    };

    /// <summary>A time for a call; "leave as it is" when it is not known.</summary>
    /// <param name="time">The time.</param>
    protected UnixTimeSpec ToTimeSpec(UnixTime time) =>
        time.IsKnown ? new(time.Seconds, time.Nanoseconds - (time.Seconds * UnixTime.NanosecondsPerSecond)) : new(0, Numbers.OmitTime);

    // The last line of defence: whatever a caller forgot, a name that leaves the folder goes no further.
    private static void RequireName(string name)
    {
        if (HostPlatform.ObjectionToAnyName(name) is string objection) throw new HostException(HostFailure.BadName, objection);
    }
}
