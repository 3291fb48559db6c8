using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.Apfs;

/// <summary>What the records of an object tell, but for the names it has.</summary>
internal sealed class ApfsFile
{
    /// <summary>The fixed fields.</summary>
    public ApfsInode Inode { get; init; }

    /// <summary>Bytes of its stream.</summary>
    public long Size { get; init; }

    /// <summary>The numbers of a device.</summary>
    public uint Device { get; init; }

    /// <summary>The 32 bytes, or null when they are all zero.</summary>
    public byte[]? FinderInfo { get; set; }

    /// <summary>Its target, of a link.</summary>
    public string? LinkTarget { get; set; }

    /// <summary>Its attributes; the resource fork is one of them here.</summary>
    public List<ExtendedAttribute> Attributes { get; } = [];

    /// <summary>What the extents of large attributes go by; null while there are none.</summary>
    public Dictionary<string, ulong>? Streams { get; set; }

    /// <summary>How its content is compressed; null when it is not.</summary>
    public CompressedFile? Compressed { get; set; }

    /// <summary>Whether its content is compressed, and what says how is lost.</summary>
    public bool IsContentLost { get; set; }

    /// <summary>Whether a record of it is damaged, of an attribute in most cases.</summary>
    public bool MayLackAttributes { get; set; }

    /// <summary>The entry by its first name; the others share what it has.</summary>
    public SourceEntry? First { get; set; }
}

/// <summary>The files of an APFS volume. Valid as long as the storage the container was opened on.</summary>
/// <param name="tree">Where the extents are.</param>
/// <param name="root">The root folder.</param>
/// <param name="files">The objects, by their numbers.</param>
/// <param name="omissions">What the tree lacks.</param>
internal sealed class ApfsTree(ApfsFileTree tree, SourceEntry root, IReadOnlyDictionary<ulong, ApfsFile> files, TreeOmissions omissions)
    : SourceTree
{
    /// <inheritdoc/>
    public override SourceEntry Root => root;

    /// <inheritdoc/>
    public override IReadOnlyList<ImagingWarning> Omissions => omissions.ToList();

    /// <inheritdoc/>
    public override long OmittedCount => omissions.Count;

    /// <inheritdoc/>
    /// <exception cref="ImageException">Also <see cref="ImageErrorId.ImageDamaged"/>, and <see cref="ImageErrorId.UnsupportedFormat"/> for
    /// a file that the file system keeps compressed by a method that is not read.</exception>
    public override BlockStorage OpenFork(SourceEntry entry, ForkKind fork)
    {
        if (entry.Kind != EntryKind.File || !files.TryGetValue((ulong)entry.NodeId, out ApfsFile? file))
            throw new ImageException(ImageErrorId.SourceUnreadable, "The entry is no file of this volume.", DisplayPath(entry));
        if (fork == ForkKind.Resource)
            return file.Compressed is { IsInResourceFork: true } ? new MemoryStorage([]) : OpenResourceFork(entry, file);
        if ((file.Inode.BsdFlags & ApfsFileConstants.DatalessFlag) != 0 && entry.Size > 0)
        {
            throw ImageException.Unsupported(
                "The content of the file is in the cloud: the volume has its name only.", "Download it on the Mac, and back it up again.",
                $"content of {DisplayPath(entry)}");
        }

        if (file.IsContentLost) throw CompressedFile.HeaderLost($"content of {DisplayPath(entry)}");
        if (file.Compressed is not { } compressed)
            return Named(entry, "content", what => tree.OpenStream(file.Inode.StreamId, file.Size, what));
        return compressed.Open(
            compressed.IsInResourceFork ? OpenResourceFork(entry, file) : null, () =>
                OpenAttribute(entry, file.Attributes.Find(a => a.Name == CompressedFile.AttributeName)!),
            () => $"compressed content of {DisplayPath(entry)}");
    }

    /// <inheritdoc/>
    public override BlockStorage OpenAttribute(SourceEntry entry, ExtendedAttribute attribute)
    {
        if (attribute.Value is not null) return new MemoryStorage(attribute.Value);
        if (files.TryGetValue((ulong)entry.NodeId, out ApfsFile? file) && file.Streams is not null
            && file.Streams.TryGetValue(attribute.Name, out ulong stream))
            return Named(entry, $"attribute {attribute.Name}", what => tree.OpenStream(stream, attribute.Size, what));
        return ApfsTreeReader.FindValue(tree, (ulong)entry.NodeId, attribute.Name) is { } value
            ? new MemoryStorage(value)
            : throw new ImageException(ImageErrorId.SourceUnreadable, $"The entry has no attribute {attribute.Name}.", DisplayPath(entry));
    }

    // The path is put together for an error only: at the end of a chain of many folders it costs more than the file.
    private BlockStorage Named(SourceEntry entry, string what, Func<string, BlockStorage> open)
    {
        try
        {
            return open(what);
        }
        catch (ImageException e) when (e.Place == what)
        {
            throw new ImageException(e.Id, e.Problem, e.Path, $"{what} of {DisplayPath(entry)}", e.Remedy, e);
        }
    }

    private BlockStorage OpenResourceFork(SourceEntry entry, ApfsFile file) =>
        file.Attributes.Find(a => a.Name == ApfsTreeReader.ResourceForkAttribute) is { } attribute ? OpenAttribute(entry, attribute)
            : new MemoryStorage([]);
}
