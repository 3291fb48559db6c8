using System.Runtime.InteropServices;
using System.Text;
using CCImage.Sources;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

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
    private const int NoEntry = 2;
    private const int InvalidArgument = 22;
    private const int NoSuchCall = 78;

    // The system's own notes on a file. It writes them itself, and lets nobody else.
    private static readonly string[] s_systemAttributes = ["com.apple.macl", "com.apple.provenance", "com.apple.rootless"];

    private static readonly UnixNumbers s_numbers = new(
        Create: Create | Exclusive | 2 | NoFollow | CloseOnExec, OpenFolder: Directory | CloseOnExec,
        OpenFile: NonBlocking | NoFollow | CloseOnExec,
        NoFollow: NoFollow, AtNoFollow: 0x20, AtEffectiveAccess: 0x10, OmitTime: -2, AtRemoveFolder: 0x80);

    private MacDirectory(SafeFileHandle folder, in HostStat stat)
        : base(folder, stat)
    {
    }

    /// <summary>O_RDONLY | O_DIRECTORY | O_CLOEXEC.</summary>
    internal static int OpenFolderFlags => s_numbers.OpenFolder;

    /// <summary>O_RDONLY | O_NONBLOCK | O_CLOEXEC.</summary>
    internal static int OpenFileFlags => s_numbers.OpenFile & ~s_numbers.NoFollow;

    /// <inheritdoc/>
    protected override UnixNumbers Numbers => s_numbers;

    /// <inheritdoc/>
    /// <remarks>On volumes without attributes of their own (FAT, exFAT, some SMB shares) the kernel makes them of AppleDouble
    /// files.</remarks>
    public override bool KeepsAttributesBeside
    {
        get
        {
            var wanted = new MacAttributeList { Volume = MacVolumeCapabilities.Wanted };
            return MacCalls.GetVolumeCapabilities(
                Handle, wanted, out MacVolumeCapabilities answer, (nuint)Marshal.SizeOf<MacVolumeCapabilities>(), 0) == 0
                && (answer.ValidInterfaces & MacVolumeCapabilities.ExtendedAttributes) != 0
                    && (answer.Interfaces & MacVolumeCapabilities.ExtendedAttributes) == 0;
        }
    }

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
        Check(MacCalls.StatAt(Handle, name, out MacStat stat));
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
        byte[]? finderInfo = null;
        long resourceFork = 0;
        var attributes = new List<ExtendedAttribute>();
        if (ReadAccessList(file) is byte[] accessList) attributes.Add(new(HostAttributes.AccessListName, accessList.Length, accessList));
        foreach (string name in ReadAttributeNames(file))
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
            if (name == HostAttributes.FinderInfoName && value?.Length == 32)
                finderInfo = value.AsSpan().ContainsAnyExcept((byte)0) ? value : null;
            else attributes.Add(new(name, value?.Length ?? size, value));
        }

        attributes.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        return new(finderInfo, resourceFork, attributes.Count == 0 ? [] : attributes.ToArray()) { BackupTime = ReadBackupTime(file) };
    }

    /// <inheritdoc/>
    public override byte[] ReadAttribute(HostNode node, string attribute)
    {
        using SafeFileHandle file = OpenItself(node.Name);
        if (attribute == HostAttributes.AccessListName) return ReadAccessList(file) ?? throw Failure(NoAttribute);
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
            Handle, name, (ushort)(HostStat.TypeBitsOf(stat.Kind!.Value) | 0x180),
            unchecked((int)((stat.DeviceMajor << 24) | (stat.DeviceMinor & 0xFFFFFF)))));
    }

    /// <inheritdoc/>
    public override void SetAttribute(HostNode node, string attribute, ReadOnlySpan<byte> value)
    {
        using SafeFileHandle? own = OpenOf(node) is null ? OpenItself(node.Name) : null;
        SafeFileHandle file = OpenOf(node) ?? own!;
        if (IsAccessList(attribute)) SetAccessList(file, value);
        else if (MacCalls.SetAttribute(file, attribute, value, (nuint)value.Length, 0, 0) != 0)
        {
            HostException failure = Failure(Marshal.GetLastPInvokeError());
            if (failure.Failure != HostFailure.AccessDenied || !s_systemAttributes.Contains(attribute)) throw failure;
        }
    }

    /// <inheritdoc/>
    public override bool IsAccessList(string attribute) => attribute == HostAttributes.AccessListName;

    /// <inheritdoc/>
    public override void SetTimes(HostNode node, in HostStat stat)
    {
        base.SetTimes(node, stat);

        // After the others: a time of change before that of creation takes the latter along (utimes(2)). By getattrlist(2), attributes lie
        // in the order of their bits, and that of creation is the lower one.
        var wanted = new MacAttributeList();
        Span<UnixTimeSpec> times = stackalloc UnixTimeSpec[2];
        int count = 0;
        if (stat.BirthTime.IsKnown)
        {
            wanted.Common |= MacAttributeList.CreationTime;
            times[count++] = ToTimeSpec(stat.BirthTime);
        }

        if (stat.BackupTime.IsKnown)
        {
            wanted.Common |= MacAttributeList.BackupTime;
            times[count++] = ToTimeSpec(stat.BackupTime);
        }

        if (count == 0) return;
        nuint size = (nuint)(count * Marshal.SizeOf<UnixTimeSpec>());
        Check(OpenOf(node) is { } file
            ? MacCalls.SetAttributes(file, wanted, times, size, 0)
            : MacCalls.SetAttributesAt(Handle, node.Name, wanted, times, size, MacAttributeList.NoFollow));
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
        flags &= MacStat.SettableFlags;
        if (flags == 0 || ChangeFlags(node, flags) == 0) return;

        // Only root sets the system's flags; those of the user are not to be lost with them.
        int error = Marshal.GetLastPInvokeError();
        if ((flags & MacStat.UserFlags) != 0 && (flags & ~MacStat.UserFlags) != 0) Check(ChangeFlags(node, flags & MacStat.UserFlags));
        throw Failure(error);
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
            NotSupported or NoSuchCall or NotSupportedOnSocket =>
                HostFailure.NotSupported, 84 => HostFailure.Other, _ => CommonFailure(error),
        }, error == Deadlock ? CloudMessage : Marshal.GetPInvokeErrorMessage(error) + ".")
        {
            // Modes and lists say EACCES. In reading, EPERM is the protection of privacy.
            RemedyForReading = error == NotPermitted ? PrivacyRemedy : null,
        };

    /// <summary>EDEADLK: what I/O on a file whose content is in the cloud only gives where it is not downloaded.</summary>
    internal const int Deadlock = 11;

    /// <summary>What that means.</summary>
    internal const string CloudMessage =
        "Its content is in the cloud only, and it was not downloaded (-IncludeCloudFiles downloads such files).";

    private const int NotPermitted = 1;

    private const string PrivacyRemedy =
        "macOS protects this from programs, whoever runs them, root too: in System Settings > Privacy & Security > Full Disk Access allow "
            + "it to the terminal, or to "
        + "what starts the job; or exclude it, or ask to skip what cannot be read.";

    /// <inheritdoc/>
    protected override HostDirectory Adopt(int descriptor) => Take(descriptor);

    /// <inheritdoc/>
    protected override HostStat GetStat(SafeFileHandle file) => StatOf(file);

    /// <summary>What an open file is.</summary>
    /// <param name="file">The file.</param>
    internal static HostStat StatOf(SafeFileHandle file) =>
        MacCalls.Stat(file, out MacStat stat) == 0 ? stat.ToHostStat() : throw FailureOf(Marshal.GetLastPInvokeError());

    /// <inheritdoc/>
    protected override HostException Failure(int error) => FailureOf(error);

    /// <inheritdoc/>
    protected override int CreateAt(string name, int flags, uint mode) => MacCalls.CreateAt(Handle, name, flags, mode);

    private SafeFileHandle OpenItself(string name) =>
        new(Check(UnixCalls.OpenAt(Handle, name, NonBlocking | OpenLinkItself | CloseOnExec)), ownsHandle: true);

    // By its name nothing has to be opened: by now its mode or its list may forbid that, and to open a device may have effects.
    private int ChangeFlags(HostNode node, uint flags)
    {
        if (OpenOf(node) is { } file) return MacCalls.SetFlags(file, flags);
        var wanted = new MacAttributeList { Common = MacAttributeList.Flags };
        int result = MacCalls.SetAttributesAt(Handle, node.Name, wanted, [flags], sizeof(uint), MacAttributeList.NoFollow);

        // Of a file system without flags chflags(2) tells, but not setattrlist(2).
        if (result == 0 && (GetStat(node.Name).Flags & flags) == 0) throw Failure(NotSupported);
        return result;
    }

    // In ascending order.
    private string[] ReadAttributeNames(SafeFileHandle file)
    {
        nint length = MacCalls.ListAttributes(file, [], 0, 0);
        if (length < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            return error is NotSupported or NotSupportedOnSocket ? [] : throw Failure(error);
        }

        if (length == 0) return [];
        byte[] buffer = new byte[length];
        length = CheckLength(MacCalls.ListAttributes(file, buffer, (nuint)buffer.Length, 0));
        string[] names = Encoding.UTF8.GetString(buffer, 0, (int)length).Split('\0', StringSplitOptions.RemoveEmptyEntries);
        Array.Sort(names, StringComparer.Ordinal);
        return names;
    }

    // acl_get_fd(3): no list is "no such entry", a file system without lists "not supported". acl_copy_ext(3) gives the bytes in the order
    // they have on disk, big-endian; the calls for attributes hide what holds them.
    private byte[]? ReadAccessList(SafeFileHandle file)
    {
        nint list = MacCalls.GetAccessList(file, MacAccessList.Extended);
        if (list == 0)
        {
            int error = Marshal.GetLastPInvokeError();
            return error is NoEntry or NoAttribute or NotSupported or NotSupportedOnSocket or InvalidArgument or NoSuchCall ? null
                : throw Failure(error);
        }

        try
        {
            byte[] bytes = new byte[CheckLength(MacCalls.AccessListSize(list))];
            nint length = CheckLength(MacCalls.CopyAccessListOut(bytes, list, bytes.Length));
            return length == bytes.Length ? bytes : bytes[..(int)length];
        }
        finally
        {
            _ = MacCalls.Free(list);
        }
    }

    private void SetAccessList(SafeFileHandle file, ReadOnlySpan<byte> bytes)
    {
        // The call reads as many entries as the bytes say, wherever they end.
        if (!MacAccessList.IsWhole(bytes)) throw new HostException(HostFailure.NotSupported, "The access control list is damaged.");
        nint list = MacCalls.CopyAccessListIn(bytes);
        if (list == 0) throw Failure(Marshal.GetLastPInvokeError());
        try
        {
            Check(MacCalls.SetAccessList(file, list, MacAccessList.Extended));
        }
        finally
        {
            _ = MacCalls.Free(list);
        }
    }

    // None where the file was never backed up, and where the file system keeps no such time.
    private static UnixTime ReadBackupTime(SafeFileHandle file)
    {
        var wanted = new MacAttributeList { Common = MacAttributeList.BackupTime };
        if (MacCalls.GetAttributes(file, wanted, out MacTimeAnswer answer, (nuint)Marshal.SizeOf<MacTimeAnswer>(), 0) != 0)
            return UnixTime.None;
        return answer.Length == Marshal.SizeOf<MacTimeAnswer>() && answer.Time != default ? answer.Time.ToUnixTime() : UnixTime.None;
    }

    private byte[] ReadAttribute(SafeFileHandle file, string name, nint size)
    {
        // Without room the call would answer with a size, which may have become another.
        if (size == 0) return [];
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
