using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Restoring;

/// <summary>
/// Whether what is to be restored fits, asked before the first byte is written. It goes by what will be written: blocks that files share
/// count for each of them, a file with several names counts once, holes do not count, nor what is replaced. It errs on the side of trying.
/// </summary>
internal sealed class RoomCheck
{
    private const int SampleSize = 512;

    private readonly SourceTree _tree;
    private readonly RestoreSelection _selection;
    private readonly TreeRestoreOptions _options;
    private readonly HostVolume _volume;
    private readonly CancellationToken _cancellation;
    private readonly byte[] _buffer = new byte[ContentRestorer.HoleSize];

    private RoomCheck(
        SourceTree tree, RestoreSelection selection, TreeRestoreOptions options, HostVolume volume, CancellationToken cancellation) =>
        (_tree, _selection, _options, _volume, _cancellation) = (tree, selection, options, volume, cancellation);

    /// <summary>Refuses what does not fit.</summary>
    /// <param name="tree">The tree.</param>
    /// <param name="selection">What of it.</param>
    /// <param name="options">Where to.</param>
    /// <param name="platform">The machine.</param>
    /// <param name="volume">What the destination lies on; null when it is not known, and then everything fits.</param>
    /// <param name="observer">Hears that it takes a while.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.DestinationFull"/>.</exception>
    public static void Require(
        SourceTree tree, RestoreSelection selection, TreeRestoreOptions options, IHostPlatform platform, HostVolume? volume,
        IImagingObserver observer,
        CancellationToken cancellation)
    {
        if (volume is not { CapacityBytes: > 0 } || selection.TotalBytes <= volume.FreeBytes) return;
        var check = new RoomCheck(tree, selection, options, volume, cancellation);
        List<SourceEntry> files = check.FilesToWrite();
        if (check.Sum(files, entry => entry.Size, volume.FreeBytes) <= volume.FreeBytes) return;

        // Now it is worth a closer look: what is there already, and where the holes are.
        long free = volume.FreeBytes + check.TakeExisting(files, platform);
        observer.OnVerbose("The files are larger than the room that is free; looking for holes in them.");
        if (check.Sum(files, entry => check.CountWritten(entry, free), free) <= free) return;
        throw new ImageException(
            ImageErrorId.DestinationFull, $"What is to be restored does not fit: {volume.FreeBytes} bytes are free there, and the files "
                + $"have {check.Sum(files, e => e.Size, long.MaxValue)}.",
            options.DestinationPath, remedy: "Make room, choose another place, or restore less with -Include.");
    }

    private List<SourceEntry> FilesToWrite()
    {
        var files = new List<SourceEntry>();
        var nodes = new HashSet<long>();
        foreach (SourceEntry entry in _tree.Enumerate())
        {
            _cancellation.ThrowIfCancellationRequested();
            if (entry.Kind != EntryKind.File || entry.Size <= 0 || entry.Size > (_volume.MaximumFileSize ?? long.MaxValue)
                || !_selection.IsTaken(entry)) continue;
            if (entry.HardLinkId == 0 || nodes.Add(entry.HardLinkId)) files.Add(entry);
        }

        return files;
    }

    private long Sum(List<SourceEntry> files, Func<SourceEntry, long> size, long limit)
    {
        Int128 sum = 0;
        foreach (SourceEntry entry in files)
        {
            _cancellation.ThrowIfCancellationRequested();
            sum += size(entry);
            if (sum > limit) break;
        }

        return (long)Int128.Min(sum, long.MaxValue);
    }

    // Files that exist are either replaced, and give their room back one by one, or left alone, and then not written.
    private long TakeExisting(List<SourceEntry> files, IHostPlatform platform)
    {
        if (!Path.Exists(_options.DestinationPath)) return 0;
        Int128 given = 0;
        files.RemoveAll(entry =>
        {
            _cancellation.ThrowIfCancellationRequested();
            if (platform.ObjectionToName(entry.Name) is not null) return true;
            try
            {
                HostStat stat = platform.GetStat(Path.Join(_options.DestinationPath, entry.RelativePath));
                given += Math.Max(0, stat.AllocatedBytes ?? stat.Size);
                return !_options.Overwrite;
            }
            catch (IOException)
            {
                return false;
            }
        });
        return _options.Overwrite ? (long)Int128.Min(given, long.MaxValue - _volume.FreeBytes) : 0;
    }

    // Bytes that writing the file will take, by the same rule by which holes are made; counting ends where the limit is passed.
    private long CountWritten(SourceEntry entry, long limit)
    {
        try
        {
            long sum = 0;
            using BlockStorage content = _tree.OpenFork(entry, ForkKind.Data);
            foreach (StorageExtent extent in ExtentWalk.Of(content, _cancellation))
            {
                if (extent.Kind != ExtentKind.Data) continue;
                for (long at = extent.Offset; at < extent.End && sum <= limit;)
                {
                    _cancellation.ThrowIfCancellationRequested();
                    int piece = (int)Math.Min(extent.End - at, ContentRestorer.HoleSize - (at % ContentRestorer.HoleSize));
                    if (!_volume.MayHaveHoles || piece < ContentRestorer.LeastHole || !IsZero(content, at, piece)) sum += piece;
                    at += piece;
                }
            }

            return sum;
        }
        catch (ImageException)
        {
            return 0; // it will not be written either, and the restore says why
        }
    }

    // Nearly always the first bytes tell that there is something.
    private bool IsZero(BlockStorage content, long offset, int length)
    {
        Span<byte> sample = _buffer.AsSpan(0, Math.Min(SampleSize, length));
        content.Read(offset, sample);
        if (sample.ContainsAnyExcept((byte)0)) return false;
        Span<byte> piece = _buffer.AsSpan(0, length);
        content.Read(offset, piece);
        return !piece.ContainsAnyExcept((byte)0);
    }
}
