namespace CCImage.Sources;

/// <summary>What a directory entry is.</summary>
public enum EntryKind : byte
{
    /// <summary>A regular file.</summary>
    File,

    /// <summary>A folder.</summary>
    Directory,

    /// <summary>A symbolic link.</summary>
    SymbolicLink,

    /// <summary>A named pipe.</summary>
    Fifo,

    /// <summary>A socket.</summary>
    Socket,

    /// <summary>A character device.</summary>
    CharacterDevice,

    /// <summary>A block device.</summary>
    BlockDevice,
}

/// <summary>Which of a file's byte streams.</summary>
public enum ForkKind : byte
{
    /// <summary>The content.</summary>
    Data,

    /// <summary>The resource fork.</summary>
    Resource,
}

/// <summary>An extended attribute: its value here, or where to read it.</summary>
/// <param name="Name">The attribute's name, as the Mac calls it (Linux' <c>user.</c> prefix removed).</param>
/// <param name="Size">Length of the value in bytes.</param>
/// <param name="Value">The value; null when it is large and read on demand through <see cref="SourceTree.OpenAttribute"/>.</param>
public sealed record ExtendedAttribute(string Name, long Size, byte[]? Value);

/// <summary>
/// One file, folder or other entry of a tree, with all the metadata that a Mac volume can carry. The same model describes what a scanner
/// found on a host, what a volume in an image holds, and what a test made up: planners consume it, restorers write it out, updates compare
/// two.
/// <para>It is kept lean because a tree may have millions.</para>
/// </summary>
public sealed class SourceEntry
{
    /// <summary>Permission bits including set-user, set-group and sticky (octal 7777), without the file type.</summary>
    public const uint PermissionMask = 0xFFF;

    /// <summary>
    /// The name, as a POSIX host shows it: never empty, no <c>/</c> and no NUL; <c>:</c> is an ordinary character
    /// (on an HFS+ disk the two are exchanged, and only there). The root's name is empty.
    /// </summary>
    public required string Name { get; init; }

    /// <summary>What it is.</summary>
    public required EntryKind Kind { get; init; }

    /// <summary>The folder it lies in; null for the root.</summary>
    public SourceEntry? Parent { get; private set; }

    /// <summary>A folder's entries, in no promised order; empty for everything else.</summary>
    public IReadOnlyList<SourceEntry> Children => _children ?? (IReadOnlyList<SourceEntry>)[];

    /// <summary>Length of the data fork in bytes (files only).</summary>
    public long Size { get; init; }

    /// <summary>Length of the resource fork in bytes; 0 for none.</summary>
    public long ResourceForkSize { get; init; }

    /// <summary>Permission bits; see <see cref="PermissionMask"/>.</summary>
    public uint Mode { get; init; }

    /// <summary>Owner's number.</summary>
    public uint UserId { get; init; }

    /// <summary>Group's number.</summary>
    public uint GroupId { get; init; }

    /// <summary>BSD flags (<c>st_flags</c>): UF_ in the low 16 bits, SF_ in the high 16.</summary>
    public uint Flags { get; init; }

    /// <summary>Major number of a device.</summary>
    public uint DeviceMajor { get; init; }

    /// <summary>Minor number of a device.</summary>
    public uint DeviceMinor { get; init; }

    /// <summary>Creation.</summary>
    public UnixTime BirthTime { get; init; } = UnixTime.None;

    /// <summary>Last change of the content.</summary>
    public UnixTime ModifyTime { get; init; } = UnixTime.None;

    /// <summary>Last change of content or metadata.</summary>
    public UnixTime ChangeTime { get; init; } = UnixTime.None;

    /// <summary>Last access.</summary>
    public UnixTime AccessTime { get; init; } = UnixTime.None;

    /// <summary>Last backup, where the host keeps one.</summary>
    public UnixTime BackupTime { get; init; } = UnixTime.None;

    /// <summary>
    /// 0 for an entry that is the only name of its file; otherwise all entries of the tree with the same number are names of one file,
    /// with the same metadata and content.
    /// </summary>
    public long HardLinkId { get; internal set; }

    /// <summary>
    /// The tree's own handle on the file: inode number on a host, catalog node id in a volume. 0 where there is none.
    /// </summary>
    public long NodeId { get; init; }

    /// <summary>Where a symbolic link points, as stored; null for everything else.</summary>
    public string? LinkTarget { get; init; }

    /// <summary>The 32 bytes of Finder info (FileInfo + ExtendedFileInfo, or FolderInfo + ExtendedFolderInfo), big-endian as on disk; null
    /// when all zero.</summary>
    public byte[]? FinderInfo { get; init; }

    /// <summary>
    /// Whether a backup marked this file as one whose content could not be read: what is there is not the file's content, or not all of it.
    /// </summary>
    public bool IsContentLost => Kind == EntryKind.File && LostContentMark.IsOn(FinderInfo);

    /// <summary>
    /// Extended attributes; never <c>com.apple.FinderInfo</c> or <c>com.apple.ResourceFork</c>, which have fields of their own.
    /// </summary>
    public IReadOnlyList<ExtendedAttribute> Attributes { get; init; } = [];

    private List<SourceEntry>? _children;

    /// <summary>The path from the root, with <c>/</c> between names and no leading one; empty for the root.</summary>
    public string RelativePath
    {
        get
        {
            if (Parent is null) return Name;
            long length = -1;
            for (SourceEntry entry = this; entry.Parent is not null; entry = entry.Parent) length += entry.Name.Length + 1;
            return string.Create((int)length, this, static (path, last) =>
            {
                for (SourceEntry entry = last; entry.Parent is not null; entry = entry.Parent)
                {
                    entry.Name.CopyTo(path[^entry.Name.Length..]);
                    path = path[..^entry.Name.Length];
                    if (path.IsEmpty) continue;
                    path[^1] = '/';
                    path = path[..^1];
                }
            });
        }
    }

    /// <summary>Another name of the same file: it shares the target, the attributes and all else that takes memory, however many names
    /// there are.</summary>
    /// <param name="name">The name.</param>
    internal SourceEntry WithName(string name) => new()
    {
        Name = name,
        Kind = Kind,
        Size = Size,
        ResourceForkSize = ResourceForkSize,
        Mode = Mode,
        UserId = UserId,
        GroupId = GroupId,
        Flags = Flags,
        DeviceMajor = DeviceMajor,
        DeviceMinor = DeviceMinor,
        BirthTime = BirthTime,
        ModifyTime = ModifyTime,
        ChangeTime = ChangeTime,
        AccessTime = AccessTime,
        BackupTime = BackupTime,
        HardLinkId = HardLinkId,
        NodeId = NodeId,
        LinkTarget = LinkTarget,
        FinderInfo = FinderInfo,
        Attributes = Attributes,
    };

    /// <summary>Puts an entry into this folder.</summary>
    /// <param name="child">An entry without a parent.</param>
    public void Add(SourceEntry child)
    {
        if (Kind != EntryKind.Directory) throw new InvalidOperationException("Only a folder has entries.");
        if (child.Parent is not null) throw new InvalidOperationException("The entry already lies in a folder.");
        child.Parent = this;
        (_children ??= []).Add(child);
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Kind} {RelativePath}";
}
