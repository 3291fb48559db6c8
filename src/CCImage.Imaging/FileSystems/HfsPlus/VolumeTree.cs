using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Where a catalog record lies, so that its forks need not be kept in memory.</summary>
/// <param name="Node">Leaf of the catalog.</param>
/// <param name="Index">Record in it.</param>
internal readonly record struct RecordLocation(uint Node, int Index);

/// <summary>The files of an HFS+ volume. Valid as long as the storage the volume was opened on.</summary>
internal sealed class VolumeTree : SourceTree
{
    private readonly HfsPlusVolume _volume;
    private readonly Dictionary<long, RecordLocation> _locations;
    private readonly Dictionary<long, CompressedFile> _compressed;
    private readonly Dictionary<(uint FileId, string Name), AttributeFork> _attributes;
    private readonly HashSet<long> _lostContents;
    private readonly TreeOmissions _omissions;
    private readonly Lazy<BTreeFile> _attributesFile;

    /// <summary>Takes what was read.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="root">Its root folder.</param>
    /// <param name="locations">Catalog records of files, by node id.</param>
    /// <param name="compressed">Files that the file system keeps compressed, by node id.</param>
    /// <param name="attributes">Attributes whose values are not kept.</param>
    /// <param name="lostContents">Files whose content was compressed in an attribute that is lost, by node id.</param>
    /// <param name="omissions">What the tree lacks.</param>
    public VolumeTree(
        HfsPlusVolume volume, SourceEntry root, Dictionary<long, RecordLocation> locations, Dictionary<long, CompressedFile> compressed,
        Dictionary<(uint FileId, string Name), AttributeFork> attributes, HashSet<long> lostContents, TreeOmissions omissions)
    {
        (_volume, Root, _locations, _compressed, _attributes, _lostContents, _omissions) =
            (volume, root, locations, compressed, attributes, lostContents, omissions);
        _attributesFile =
            new(() => volume.OpenAttributes() ?? throw ImageException.Damaged("The volume has no attributes file.", "volume header"));
    }

    /// <inheritdoc/>
    public override SourceEntry Root { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<ImagingWarning> Omissions => _omissions.ToList();

    /// <inheritdoc/>
    public override long OmittedCount => _omissions.Count;

    /// <inheritdoc/>
    /// <exception cref="ImageException">Also <see cref="ImageErrorId.ImageDamaged"/>, and <see cref="ImageErrorId.UnsupportedFormat"/> for
    /// a file that the file system keeps compressed by a method that is not read.</exception>
    public override BlockStorage OpenFork(SourceEntry entry, ForkKind fork)
    {
        if (entry.Kind != EntryKind.File || !_locations.TryGetValue(entry.NodeId, out RecordLocation location))
            throw new ImageException(ImageErrorId.SourceUnreadable, "The entry is no file of this volume.", DisplayPath(entry));
        if (fork == ForkKind.Data && _lostContents.Contains(entry.NodeId))
            throw CompressedFile.HeaderLost($"content of {DisplayPath(entry)}");
        CatalogFile record = ReadRecord(entry, location);
        if (!_compressed.TryGetValue(entry.NodeId, out CompressedFile? compressed)) return Open(entry, record, fork);
        if (fork == ForkKind.Resource && compressed.IsInResourceFork) return new MemoryStorage([]);
        return fork == ForkKind.Resource
            ? Open(entry, record, fork)
            : compressed.Open(
                compressed.IsInResourceFork ? Open(entry, record, ForkKind.Resource) : null, () =>
                    OpenValue(entry, CompressedFile.AttributeName),
                () => $"compressed content of {DisplayPath(entry)}");
    }

    /// <inheritdoc/>
    public override BlockStorage OpenAttribute(SourceEntry entry, ExtendedAttribute attribute)
    {
        return attribute.Value is not null ? new MemoryStorage(attribute.Value) : OpenValue(entry, attribute.Name);
    }

    private BlockStorage OpenValue(SourceEntry entry, string name)
    {
        if (!_attributes.TryGetValue(((uint)entry.NodeId, name), out AttributeFork? fork))
            throw new ImageException(ImageErrorId.SourceUnreadable, $"The entry has no attribute {name}.", DisplayPath(entry));
        return fork.Record is RecordLocation place
            ? new MemoryStorage(AttributesReader.ReadValue(_attributesFile.Value.LoadCached(place.Node), place.Index))
            : Named(entry, $"attribute {name}", what => _volume.OpenAttribute(fork.Fork, fork.More, what));
    }

    private ForkStorage Open(SourceEntry entry, CatalogFile record, ForkKind fork) => fork == ForkKind.Data
        ? Named(entry, "data fork", what => _volume.OpenFork(record.DataFork, record.FileId, ExtentsOverflow.DataFork, what))
        : Named(entry, "resource fork", what => _volume.OpenFork(record.ResourceFork, record.FileId, ExtentsOverflow.ResourceFork, what));

    // The path is put together for an error only: at the end of a chain of many folders it costs more than the file.
    private ForkStorage Named(SourceEntry entry, string what, Func<string, ForkStorage> open)
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

    private CatalogFile ReadRecord(SourceEntry entry, RecordLocation location)
    {
        BTreeNode node = _volume.Catalog.LoadCached(location.Node);
        if (location.Index < node.RecordCount && node.Data(location.Index) is { } data && data.Length >= Unsafe.SizeOf<CatalogFile>())
        {
            CatalogFile record = Layout.Read<CatalogFile>(data);
            if (record.FileId == entry.NodeId) return record;
        }

        throw new ImageException(ImageErrorId.SourceUnreadable, "The catalog changed while it was read.", DisplayPath(entry));
    }
}
