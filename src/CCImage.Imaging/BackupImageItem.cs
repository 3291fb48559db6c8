using System.Collections;
using CCImage.Sources;

namespace CCImage;

/// <summary>One file, folder or other entry of a volume in an image: what <c>Get-BackupImageItem</c> emits.</summary>
public sealed record BackupImageItem
{
    /// <summary>Full path of the image.</summary>
    public required string ImagePath { get; init; }

    /// <summary>Path in the volume, from its root, with <c>/</c> between names and at the start.</summary>
    /// <remarks>Put together whenever it is asked for: on a chain of many folders, all paths together are far longer than all
    /// names.</remarks>
    public required string ItemPath
    {
        get => _itemPath ?? "/" + Source.Entry!.RelativePath;
        init => _itemPath = value;
    }

    /// <summary>The name; the root's is empty.</summary>
    public required string Name { get; init; }

    /// <summary>What it is.</summary>
    public required EntryKind Kind { get; init; }

    /// <summary>Length of the content in bytes; 0 for all but files.</summary>
    public long SizeBytes { get; init; }

    /// <summary>Type and permissions as <c>ls -l</c> writes them: <c>-rwxr-xr-x</c>.</summary>
    public string Mode { get; init; } = "";

    /// <summary>Owner's number.</summary>
    public long UserId { get; init; }

    /// <summary>Group's number.</summary>
    public long GroupId { get; init; }

    /// <summary>Last change of the content; null where none is kept.</summary>
    public DateTimeOffset? ModifyTime { get; init; }

    /// <summary>Creation; null where none is kept.</summary>
    public DateTimeOffset? BirthTime { get; init; }

    /// <summary>Where a symbolic link points; null for everything else.</summary>
    public string? LinkTarget { get; init; }

    /// <summary>The same number for all names of one file; 0 for a file with one name.</summary>
    public long HardLinkId { get; init; }

    /// <summary>Length of the resource fork in bytes; 0 for none.</summary>
    public long ResourceForkSizeBytes { get; init; }

    /// <summary>Whether the content could not be read when the image was made: what is there is not the file's content, or not all of
    /// it.</summary>
    public bool IsContentLost { get; init; }

    /// <summary>Number of the volume it is from, from 1.</summary>
    public int Volume { get; init; } = 1;

    /// <summary>Names of the extended attributes.</summary>
    public IReadOnlyList<string> Attributes { get; init; } = [];

    private readonly string? _itemPath;

    private EntrySource Source { get; init; }

    /// <summary>Describes an entry of a volume's tree.</summary>
    /// <param name="imagePath">Full path of the image.</param>
    /// <param name="entry">The entry.</param>
    /// <param name="volume">Number of the volume.</param>
    public static BackupImageItem From(string imagePath, SourceEntry entry, int volume = 1)
    {
        ArgumentNullException.ThrowIfNull(entry);
        return new BackupImageItem
        {
            ImagePath = imagePath,
            ItemPath = null!, // the entry's
            Source = new(entry),
            Name = entry.Name,
            Kind = entry.Kind,
            SizeBytes = entry.Kind == EntryKind.File ? entry.Size : 0,
            Mode = FormatMode(entry.Kind, entry.Mode),
            UserId = entry.UserId,
            GroupId = entry.GroupId,
            ModifyTime = entry.ModifyTime.IsKnown ? entry.ModifyTime.ToDateTimeOffset() : null,
            BirthTime = entry.BirthTime.IsKnown ? entry.BirthTime.ToDateTimeOffset() : null,
            LinkTarget = entry.LinkTarget,
            HardLinkId = entry.HardLinkId,
            ResourceForkSizeBytes = entry.ResourceForkSize,
            IsContentLost = entry.IsContentLost,
            Volume = volume,
            Attributes = entry.Attributes.Count == 0 ? [] : new AttributeNames(entry.Attributes),
        };
    }

    /// <summary>Type and permissions as POSIX has <c>ls -l</c> write them.</summary>
    /// <param name="kind">The type.</param>
    /// <param name="mode">Permission bits.</param>
    internal static string FormatMode(EntryKind kind, uint mode)
    {
        Span<char> text = stackalloc char[10];
        text[0] = kind switch
        {
            EntryKind.Directory => 'd',
            EntryKind.SymbolicLink => 'l',
            EntryKind.Fifo => 'p',
            EntryKind.Socket => 's',
            EntryKind.CharacterDevice => 'c',
            EntryKind.BlockDevice => 'b',
            _ => '-',
        };
        for (int i = 0; i < 9; i++) text[i + 1] = (mode >> (8 - i) & 1) != 0 ? "rwx"[i % 3] : '-';

        // Set-user, set-group and sticky share the place of an execute bit: small with it, capital without.
        if ((mode & 0x800) != 0) text[3] = text[3] == 'x' ? 's' : 'S';
        if ((mode & 0x400) != 0) text[6] = text[6] == 'x' ? 's' : 'S';
        if ((mode & 0x200) != 0) text[9] = text[9] == 'x' ? 't' : 'T';
        return new string(text);
    }

    // Where the path is taken from. Items are equal by what they say, not by the entry that says it.
    private readonly record struct EntrySource(SourceEntry? Entry)
    {
        public bool Equals(EntrySource other) =>
            Entry is null || other.Entry is null ? Entry == other.Entry : Entry == other.Entry
                || Entry.RelativePath == other.Entry.RelativePath;

        public override int GetHashCode() => Entry is null ? 0 : Entry.Name.GetHashCode(StringComparison.Ordinal);
    }

    // A view: all names of a file share its list.
    private sealed class AttributeNames(IReadOnlyList<ExtendedAttribute> attributes) : IReadOnlyList<string>
    {
        public int Count => attributes.Count;

        public string this[int index] => attributes[index].Name;

        public IEnumerator<string> GetEnumerator() => attributes.Select(a => a.Name).GetEnumerator();

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }
}
