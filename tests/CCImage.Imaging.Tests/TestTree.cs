using System.Text;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests;

/// <summary>
/// A source tree built from literals: <c>new TestTree { Directory("sub", File("a", "text"), Link("l", "a")) }</c>. Contents are held in
/// memory, or come from a function.
/// </summary>
internal sealed class TestTree : SourceTree, System.Collections.IEnumerable
{
    private readonly Dictionary<(SourceEntry, ForkKind), Func<BlockStorage>> _forks = [];
    private readonly Dictionary<ExtendedAttribute, byte[]> _attributes = new(ReferenceEqualityComparer.Instance);

    /// <summary>A moment of which tests are fond: 2024-02-29 12:34:56 UTC.</summary>
    public static UnixTime SomeTime { get; } = UnixTime.From(new DateTimeOffset(2024, 2, 29, 12, 34, 56, TimeSpan.Zero));

    /// <inheritdoc/>
    public override SourceEntry Root { get; } = new()
    {
        Name = "", Kind = EntryKind.Directory, Mode = 0x1ED, UserId = 501, GroupId = 20, BirthTime = SomeTime, ModifyTime = SomeTime,
            ChangeTime = SomeTime, AccessTime = SomeTime,
    };

    /// <summary>How often forks were opened.</summary>
    public int Opened => _opened;

    /// <summary>Something that happens when a fork is opened.</summary>
    public Action<SourceEntry, ForkKind>? OnOpenFork { get; set; }

    /// <summary>Something that happens when an attribute is opened that is read on demand.</summary>
    public Action<SourceEntry>? OnOpenAttribute { get; set; }

    private int _opened;

    /// <summary>Puts an entry into the root folder.</summary>
    public void Add(TestEntry entry) => Attach(Root, entry);

    /// <summary>Puts an entry into a folder.</summary>
    public SourceEntry Attach(SourceEntry folder, TestEntry entry)
    {
        folder.Add(entry.Entry);
        if (entry.Data is not null) _forks[(entry.Entry, ForkKind.Data)] = entry.Data;
        if (entry.Resource is not null) _forks[(entry.Entry, ForkKind.Resource)] = entry.Resource;
        foreach ((ExtendedAttribute attribute, byte[] value) in entry.LazyAttributes) _attributes.Add(attribute, value);
        foreach (TestEntry child in entry.Children) Attach(entry.Entry, child);
        return entry.Entry;
    }

    /// <inheritdoc/>
    public System.Collections.IEnumerator GetEnumerator() => Enumerate().GetEnumerator();

    /// <inheritdoc/>
    public override BlockStorage OpenFork(SourceEntry entry, ForkKind fork)
    {
        Interlocked.Increment(ref _opened);
        OnOpenFork?.Invoke(entry, fork);
        return _forks[(entry, fork)]();
    }

    /// <inheritdoc/>
    public override BlockStorage OpenAttribute(SourceEntry entry, ExtendedAttribute attribute)
    {
        if (attribute.Value is not null) return base.OpenAttribute(entry, attribute);
        OnOpenAttribute?.Invoke(entry);
        return new MemoryStorage(_attributes[attribute]);
    }

    /// <summary>A file with text.</summary>
    public static TestEntry File(string name, string text = "", Meta? meta = null) => File(name, Encoding.UTF8.GetBytes(text), meta);

    /// <summary>A file with bytes.</summary>
    public static TestEntry File(string name, byte[] bytes, Meta? meta = null) =>
        File(name, bytes.Length, () => new MemoryStorage(bytes), meta);

    /// <summary>A file whose content comes from a function.</summary>
    public static TestEntry File(string name, long size, Func<BlockStorage> open, Meta? meta = null) =>
        new((meta ?? new Meta()).Make(name, EntryKind.File, size, null)) { Data = open, Resource = meta?.ResourceStorage,
            LazyAttributes = meta?.Lazy ?? [] };

    /// <summary>A folder.</summary>
    public static TestEntry Directory(string name, params TestEntry[] children) => Directory(name, null, children);

    /// <summary>A folder with metadata.</summary>
    public static TestEntry Directory(string name, Meta? meta, params TestEntry[] children) =>
        new((meta ?? new Meta { Mode = 0x1ED }).Make(name, EntryKind.Directory, 0, null)) { Children = children, LazyAttributes = meta?.Lazy
            ?? [] };

    /// <summary>A symbolic link.</summary>
    public static TestEntry Link(string name, string target, Meta? meta = null) =>
        new((meta ?? new Meta { Mode = 0x1ED }).Make(name, EntryKind.SymbolicLink, Encoding.UTF8.GetByteCount(target), target));

    /// <summary>A FIFO, socket or device.</summary>
    public static TestEntry Special(string name, EntryKind kind, uint major = 0, uint minor = 0, Meta? meta = null) =>
        new((meta ?? new Meta()).Make(name, kind, 0, null, major, minor));

    /// <summary>Bytes that look like nothing, the same for the same seed.</summary>
    public static byte[] Noise(int length, int seed)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}

/// <summary>An entry with what it contains, before it hangs in a tree.</summary>
internal sealed class TestEntry(SourceEntry entry)
{
    public SourceEntry Entry => entry;

    public Func<BlockStorage>? Data { get; init; }

    public Func<BlockStorage>? Resource { get; init; }

    public TestEntry[] Children { get; init; } = [];

    public IReadOnlyList<(ExtendedAttribute, byte[])> LazyAttributes { get; init; } = [];
}

/// <summary>Metadata of a literal.</summary>
internal sealed record Meta
{
    public uint Mode { get; init; } = 0x1A4;

    public uint UserId { get; init; } = 501;

    public uint GroupId { get; init; } = 20;

    public uint Flags { get; init; }

    public long HardLinkId { get; init; }

    public UnixTime? Time { get; init; }

    public UnixTime? BirthTime { get; init; }

    public byte[]? FinderInfo { get; init; }

    public byte[]? Resource { get; init; }

    /// <summary>Attributes with their values in memory.</summary>
    public IReadOnlyList<(string Name, byte[] Value)> Attributes { get; init; } = [];

    /// <summary>Attributes whose values are read on demand.</summary>
    public IReadOnlyList<(string Name, byte[] Value)> AttributesOnDemand { get; init; } = [];

    public Func<BlockStorage>? ResourceStorage => Resource is null ? null : () => new MemoryStorage(Resource);

    public IReadOnlyList<(ExtendedAttribute, byte[])> Lazy =>
        _lazy ??= [.. AttributesOnDemand.Select(a => (new ExtendedAttribute(a.Name, a.Value.Length, null), a.Value))];

    private IReadOnlyList<(ExtendedAttribute, byte[])>? _lazy;

    public SourceEntry Make(string name, EntryKind kind, long size, string? target, uint major = 0, uint minor = 0) => new()
    {
        Name = name,
        Kind = kind,
        Size = size,
        ResourceForkSize = Resource?.Length ?? 0,
        Mode = Mode,
        UserId = UserId,
        GroupId = GroupId,
        Flags = Flags,
        DeviceMajor = major,
        DeviceMinor = minor,
        BirthTime = BirthTime ?? Time ?? TestTree.SomeTime,
        ModifyTime = Time ?? TestTree.SomeTime,
        ChangeTime = Time ?? TestTree.SomeTime,
        AccessTime = Time ?? TestTree.SomeTime,
        HardLinkId = HardLinkId,
        LinkTarget = target,
        FinderInfo = FinderInfo,
        Attributes = [.. Attributes.Select(a => new ExtendedAttribute(a.Name, a.Value.Length, a.Value)), .. Lazy.Select(l => l.Item1)],
    };
}
