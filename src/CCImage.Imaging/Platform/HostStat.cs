using CCImage.Sources;

namespace CCImage.Platform;

/// <summary>What makes two looks at the host's tree the same file: the volume's number and the file's number on it.</summary>
/// <param name="Device">Number of the volume.</param>
/// <param name="Inode">Number of the file.</param>
internal readonly record struct HostIdentity(ulong Device, ulong Inode);

/// <summary>What the host says of a name, without following it when it is a link.</summary>
internal readonly record struct HostStat
{
    /// <summary>Nothing known.</summary>
    public HostStat()
    {
    }

    /// <summary>The kind; null for one that no tree can carry (a whiteout, a door).</summary>
    public EntryKind? Kind { get; init; }

    /// <summary>Whether it is a regular file.</summary>
    public bool IsFile => Kind == EntryKind.File;

    /// <summary>The file's identity.</summary>
    public HostIdentity Identity { get; init; }

    /// <summary>How many names the file has.</summary>
    public uint LinkCount { get; init; }

    /// <summary>Permission bits, without the type.</summary>
    public uint Mode { get; init; }

    /// <summary>Owner's number.</summary>
    public uint UserId { get; init; }

    /// <summary>Group's number.</summary>
    public uint GroupId { get; init; }

    /// <summary>Major number of a device node.</summary>
    public uint DeviceMajor { get; init; }

    /// <summary>Minor number of a device node.</summary>
    public uint DeviceMinor { get; init; }

    /// <summary>Length in bytes.</summary>
    public long Size { get; init; }

    /// <summary>Bytes the file takes on its medium, holes left out; null where the host does not say.</summary>
    public long? AllocatedBytes { get; init; }

    /// <summary>BSD flags; 0 where the host has none. Attributes of Linux that correspond are among them.</summary>
    public uint Flags { get; init; }

    /// <summary>Whether the host has attributes of its own on it that no BSD flag stands for.</summary>
    public bool HasUnkeptAttributes { get; init; }

    /// <summary>Whether the content is kept elsewhere and would have to be fetched (a cloud file).</summary>
    public bool IsDataless { get; init; }

    /// <summary>Creation.</summary>
    public UnixTime BirthTime { get; init; }

    /// <summary>Last change of the content.</summary>
    public UnixTime ModifyTime { get; init; }

    /// <summary>Last change of content or metadata.</summary>
    public UnixTime ChangeTime { get; init; }

    /// <summary>Last access.</summary>
    public UnixTime AccessTime { get; init; }

    /// <summary>Last backup: only to be set. What a host has is among <see cref="HostAttributes"/>.</summary>
    public UnixTime BackupTime { get; init; } = UnixTime.None;

    /// <summary>The kind in the type bits of a POSIX mode (S_IFMT, octal 170000: the same numbers on Linux and macOS).</summary>
    /// <param name="mode">The mode.</param>
    public static EntryKind? KindOf(uint mode) => (mode & 0xF000) switch
    {
        0x8000 => EntryKind.File,
        0x4000 => EntryKind.Directory,
        0xA000 => EntryKind.SymbolicLink,
        0x1000 => EntryKind.Fifo,
        0xC000 => EntryKind.Socket,
        0x2000 => EntryKind.CharacterDevice,
        0x6000 => EntryKind.BlockDevice,
        _ => null,
    };

    /// <summary>The type bits of a POSIX mode for a kind.</summary>
    /// <param name="kind">The kind.</param>
    public static uint TypeBitsOf(EntryKind kind) => kind switch
    {
        EntryKind.File => 0x8000,
        EntryKind.Directory => 0x4000,
        EntryKind.SymbolicLink => 0xA000,
        EntryKind.Fifo => 0x1000,
        EntryKind.Socket => 0xC000,
        EntryKind.CharacterDevice => 0x2000,
        _ => 0x6000,
    };
}

/// <summary>The attributes of a file, sorted into where the model keeps them.</summary>
/// <param name="FinderInfo">32 bytes, or null when all zero.</param>
/// <param name="ResourceForkSize">Bytes in the resource fork.</param>
/// <param name="Attributes">The rest, in ascending order of name.</param>
internal readonly record struct HostAttributes(byte[]? FinderInfo, long ResourceForkSize, IReadOnlyList<ExtendedAttribute> Attributes)
{
    /// <summary>The attribute that is the Finder info.</summary>
    public const string FinderInfoName = "com.apple.FinderInfo";

    /// <summary>The attribute that is the resource fork.</summary>
    public const string ResourceForkName = "com.apple.ResourceFork";

    /// <summary>Values longer than this are not kept in the tree but read again when they are needed.</summary>
    public const int MaximumKeptValue = 4096;

    /// <summary>The attribute that is the access control list of a Mac's file.</summary>
    public const string AccessListName = "com.apple.system.Security";

    /// <summary>Last backup, which is kept among the attributes; none where there was none, or the host keeps no such time.</summary>
    public UnixTime BackupTime { get; init; } = UnixTime.None;

    /// <summary>No attributes.</summary>
    public static HostAttributes None => new(null, 0, []);
}
