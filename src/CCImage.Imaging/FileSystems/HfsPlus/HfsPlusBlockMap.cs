using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>A run of allocation blocks.</summary>
/// <param name="Start">First block.</param>
/// <param name="Count">Blocks, at least one.</param>
internal readonly record struct BlockRange(long Start, long Count)
{
    /// <summary>The block behind it.</summary>
    public long End => Start + Count;
}

/// <summary>A B-tree, as far as its size goes.</summary>
/// <param name="Runs">Where its file lies, all blocks; empty when there is none.</param>
/// <param name="NodeSize">Bytes of a node.</param>
/// <param name="TotalNodes">Nodes of the file.</param>
/// <param name="UsedNodes">Nodes in use.</param>
/// <param name="Records">Records in its leaves.</param>
internal sealed record TreeExtent(IReadOnlyList<BlockRange> Runs, int NodeSize, long TotalNodes, long UsedNodes, long Records);

/// <summary>
/// Which blocks of a volume are free, and where everything lies that moves in a way of its own: the B-trees, the allocation file, the
/// journal. All of the rest is file forks. Made of the volume header, the bitmap and the headers of the trees: the catalog is not read.
/// </summary>
internal sealed class HfsPlusBlockMap
{
    private const uint JournalInVolume = 1;

    private readonly HfsPlusVolume _volume;
    private readonly Lazy<ExtentsOverflow> _overflow;
    private readonly Lazy<bool> _hasBadBlocks;

    private HfsPlusBlockMap(HfsPlusVolume volume, IReadOnlyList<BlockRange> free)
    {
        (_volume, Free) = (volume, free);
        VolumeHeader header = volume.Header;
        (TotalBlocks, BlockSize) = (header.TotalBlocks, header.BlockSize);
        Reserved = Layout.DivideUp(HfsPlusConstants.VolumeHeaderOffset, BlockSize);
        _overflow = new(() => new(OpenTree(header.ExtentsFile, CatalogNodeId.ExtentsFile, "extents overflow")));
        _hasBadBlocks =
            new(() => volume.Has(VolumeAttributes.SparedBlocks)
                || _overflow.Value.Find(CatalogNodeId.BadBlockFile, ExtentsOverflow.DataFork, 0) is not null);
        Extents = Measure(header.ExtentsFile, CatalogNodeId.ExtentsFile, "extents overflow");
        Catalog = Measure(header.CatalogFile, CatalogNodeId.CatalogFile, "catalog");
        Attributes = Measure(header.AttributesFile, CatalogNodeId.AttributesFile, "attributes");
        Allocation = ReadRuns(header.AllocationFile, CatalogNodeId.AllocationFile, "allocation file");
        if (volume.IsJournaled) (Journal, JournalInfo) = FindJournal();
    }

    /// <summary>Blocks of the volume.</summary>
    public long TotalBlocks { get; }

    /// <summary>Bytes of a block.</summary>
    public long BlockSize { get; }

    /// <summary>Blocks at the end of a volume that belong to the copy of its header.</summary>
    public long Reserved { get; }

    /// <summary>The free runs, ascending and apart from each other; never among the last <see cref="Reserved"/> blocks.</summary>
    public IReadOnlyList<BlockRange> Free { get; }

    /// <summary>The extents-overflow file.</summary>
    public TreeExtent Extents { get; }

    /// <summary>The catalog.</summary>
    public TreeExtent Catalog { get; }

    /// <summary>The attributes file.</summary>
    public TreeExtent Attributes { get; }

    /// <summary>The allocation file.</summary>
    public IReadOnlyList<BlockRange> Allocation { get; }

    /// <summary>The journal, in one piece; null without one.</summary>
    public BlockRange? Journal { get; }

    /// <summary>The block that says where the journal is; null without one.</summary>
    public BlockRange? JournalInfo { get; }

    /// <summary>Whether blocks are listed that the medium cannot keep: nothing may be moved onto them, nor they to elsewhere.</summary>
    public bool HasBadBlocks => _hasBadBlocks.Value;

    /// <summary>Everything that moves in a way of its own.</summary>
    public IEnumerable<BlockRange> Special
    {
        get
        {
            IEnumerable<BlockRange> runs = [.. Extents.Runs, .. Catalog.Runs, .. Attributes.Runs, .. Allocation];
            if (Journal is BlockRange journal) runs = runs.Append(journal);
            return JournalInfo is BlockRange info ? runs.Append(info) : runs;
        }
    }

    /// <summary>From the bitmap, without proof that it is right; null where free space cannot be told, or there is none.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static HfsPlusBlockMap? FromBitmap(HfsPlusVolume volume, CancellationToken cancellation = default)
    {
        if (volume.IsEmbedded) return null;
        long blockSize = volume.Header.BlockSize,
            end = volume.Header.TotalBlocks - Layout.DivideUp(HfsPlusConstants.VolumeHeaderOffset, blockSize);
        var query = new FreeSpaceQuery(cancellation);
        List<StorageExtent> extents = [];
        foreach (StorageExtent extent in volume.GetFreeExtents(query)) query.Keep(extents, extent);
        List<BlockRange> free = new(extents.Count);
        foreach (StorageExtent extent in extents)
        {
            long start = extent.Offset / blockSize, count = Math.Min(extent.Length / blockSize, end - start);
            if (count > 0) free.Add(new(start, count));
        }

        return free.Count == 0 ? null : new(volume, free);
    }

    /// <summary>From what the structures of the volume were found to use.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="usage">The used blocks, sealed.</param>
    public static HfsPlusBlockMap FromUsage(HfsPlusVolume volume, BlockUsage usage) =>
        new(volume, [.. usage.Gaps(volume.Header.TotalBlocks)]);

    /// <summary>All runs of a fork, also those behind its size.</summary>
    /// <param name="fork">Count of blocks and first extents.</param>
    /// <param name="fileId">Whose it is.</param>
    /// <param name="forkType">Data or resource.</param>
    /// <param name="what">What errors call it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: extents outside the volume, or too few.</exception>
    public IReadOnlyList<BlockRange> ReadRuns(in ForkData fork, uint fileId, byte forkType, string what)
    {
        List<BlockRange> runs = [];
        long blocks = Append(runs, fork.Extents, what);
        while (blocks < fork.TotalBlocks)
        {
            ExtentRecord? more = fileId == CatalogNodeId.ExtentsFile ? null : _overflow.Value.Find(fileId, forkType, (uint)blocks);
            long added = more is ExtentRecord record ? Append(runs, record, what) : 0;
            if (added == 0) throw ImageException.Damaged($"A fork of {fork.TotalBlocks} blocks has extents of only {blocks}.", what);
            blocks += added;
        }

        return runs;
    }

    private IReadOnlyList<BlockRange> ReadRuns(in ForkData fork, uint fileId, string what) =>
        ReadRuns(fork, fileId, ExtentsOverflow.DataFork, what);

    private long Append(List<BlockRange> runs, in ExtentRecord record, string what)
    {
        long blocks = 0;
        for (int i = 0; i < HfsPlusConstants.ExtentsPerRecord && record[i].BlockCount != 0; i++)
        {
            var run = new BlockRange(record[i].StartBlock, record[i].BlockCount);
            if (run.End > TotalBlocks)
                throw ImageException.Damaged(
                    $"An extent of {run.Count} blocks at block {run.Start} leaves the volume of {TotalBlocks} blocks.", what);
            runs.Add(run);
            blocks += run.Count;
        }

        return blocks;
    }

    private BTreeFile OpenTree(in ForkData fork, uint fileId, string name) => _volume.OpenTree(fork, fileId, name);

    private TreeExtent Measure(in ForkData fork, uint fileId, string name)
    {
        if (fork.LogicalSize == 0 && fileId == CatalogNodeId.AttributesFile) return new([], 0, 0, 0, 0);
        BTreeFile tree = OpenTree(fork, fileId, name);
        BTreeHeader header = tree.Header;
        if (header.FreeNodes > header.TotalNodes) throw tree.Damaged("counts more free nodes than nodes", 0);
        return new(ReadRuns(fork, fileId, name), tree.NodeSize, header.TotalNodes, header.TotalNodes - header.FreeNodes,
            header.LeafRecords);
    }

    private (BlockRange? Journal, BlockRange? Info) FindJournal()
    {
        long info = _volume.Header.JournalInfoBlock;
        if (info == 0 || info >= TotalBlocks) return default;
        JournalInfoBlock block = default;
        _volume.Storage.Read(info * BlockSize, Layout.AsBytes(ref block));
        if ((block.Flags & JournalInVolume) == 0 || block.Offset > long.MaxValue || block.Size > long.MaxValue) return (null, new(info, 1));
        var journal = new BlockRange((long)(ulong)block.Offset / BlockSize, Layout.DivideUp((long)(ulong)block.Size, BlockSize));
        if (journal.Start > TotalBlocks || journal.Count > TotalBlocks - journal.Start)
            throw ImageException.Damaged(
                $"The journal of {journal.Count} blocks at block {journal.Start} leaves the volume.", "journal info block");
        return (journal, new(info, 1));
    }
}
