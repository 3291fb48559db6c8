using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.ExFat;

/// <summary>Reads an exFAT volume into a tree, folder by folder, not recursive. Source: docs/formats/exfat.md.</summary>
/// <param name="volume">The volume.</param>
/// <param name="clusters">Its clusters.</param>
internal sealed class ExFatTreeReader(BlockStorage volume, ExFatClusters clusters)
{
    private readonly ExFatDirectoryReader _reader = new(clusters);
    private readonly Dictionary<long, ExFatFile> _files = [];
    private readonly HashSet<uint> _seen = [];
    private readonly Stack<(SourceEntry Folder, IEnumerable<uint> Clusters)> _pending = [];
    private readonly TreeOmissions _omissions = new();

    /// <summary>Reads the tree.</summary>
    /// <param name="mostBytes">How much of directories is read.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>The tree; null when there is more of it.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public ExFatTree? TryRead(long mostBytes, CancellationToken cancellation)
    {
        var root = new SourceEntry { Name = "", Kind = EntryKind.Directory, Mode = DosMetadata.ModeOf(DosMetadata.Directory) };
        _pending.Push((root, clusters.OfRoot()));
        while (_pending.TryPop(out (SourceEntry Folder, IEnumerable<uint> Clusters) next))
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                ReadFolder(next.Folder, next.Clusters, mostBytes, cancellation);
            }
            catch (ImageException e) when (e.IsFaultOfContent)
            {
                _omissions.LeaveOut(
                    () => TreeOmissions.PathOf(next.Folder),
                    ImageException.Damaged(
                    $"A part of the folder cannot be read, and what it has from there on is lost: {e.Problem}", e.Place));
            }

            if (_reader.BytesRead > mostBytes) return null;
        }

        return new ExFatTree(volume, clusters, root, _files, _omissions);
    }

    // What the folder has in front of a fault is listed; a set that is damaged is left out.
    private void ReadFolder(SourceEntry folder, IEnumerable<uint> chain, long mostBytes, CancellationToken cancellation)
    {
        foreach (ExFatEntrySet set in _reader.Read(Visit(folder, chain, mostBytes, cancellation)))
        {
            if (_reader.BytesRead > mostBytes) return;
            if (set.Fault is { } fault)
                _omissions.LeaveOut(
                    () => TreeOmissions.PathOf(folder),
                    ImageException.Damaged(
                    $"The folder has an entry that cannot be read. {fault}", $"exFAT directory, byte {set.Place} of the volume"));
            if (set.File is { } file) Add(file, set.Place, folder);
        }
    }

    private IEnumerable<uint> Visit(SourceEntry folder, IEnumerable<uint> chain, long mostBytes, CancellationToken cancellation)
    {
        foreach (uint cluster in chain)
        {
            cancellation.ThrowIfCancellationRequested();
            if (_reader.BytesRead > mostBytes) yield break;
            if (!_seen.Add(cluster))
                throw ImageException.Damaged($"It lies in cluster {cluster}, where another one does.", "exFAT directory");
            yield return cluster;
        }
    }

    private void Add(ExFatFile file, long place, SourceEntry folder)
    {
        ExFatFileEntry entry = file.Entry;
        var made = new SourceEntry
        {
            Name = file.Name,
            Kind = file.IsDirectory ? EntryKind.Directory : EntryKind.File,
            Size = file.IsDirectory ? 0 : file.Length,
            Mode = DosMetadata.ModeOf(entry.Attributes),
            Flags = DosMetadata.FlagsOf(entry.Attributes),
            BirthTime = TimeOf(entry.Created, entry.CreatedHundredths, entry.CreatedOffset),
            ModifyTime = TimeOf(entry.Modified, entry.ModifiedHundredths, entry.ModifiedOffset),
            AccessTime = TimeOf(entry.Accessed, 0, entry.AccessedOffset),
            NodeId = place,
        };
        folder.Add(made);
        if (file.IsDirectory) _pending.Push((made, clusters.Of(file)));
        else _files[place] = file;
    }

    private static UnixTime TimeOf(uint time, byte hundredths, byte offset) => DosMetadata.TimeOf(
        (ushort)(time >> 16), (ushort)(time & 0xFFFF), hundredths, (offset & 0x80) != 0 ? TimeSpan.FromMinutes(15 * (offset << 25 >> 25))
        : null);
}
