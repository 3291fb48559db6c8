using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Judges forks: extents inside the volume, as many blocks as the record counts and as the size needs, overflow records without gap and
/// with an owner. Collects which blocks are used. Source: TN1150; what fsck_hfs judges; what macOS leaves behind (see
/// docs/formats/hfsplus.md).
/// </summary>
/// <param name="header">The volume header.</param>
/// <param name="usage">Receives the runs.</param>
/// <param name="findings">Receives what is found.</param>
internal sealed class ForkChecker(VolumeHeader header, BlockUsage usage, ImageFindings findings)
{
    private readonly Dictionary<(uint Id, byte Fork), OverflowChain> _chains = [];

    /// <summary>Whether every overflow record was read; without them a fork may look too short.</summary>
    public bool IsOverflowComplete { get; set; } = true;

    /// <summary>Whether there is a list of bad blocks.</summary>
    public bool HasBadBlocks => _chains.ContainsKey((CatalogNodeId.BadBlockFile, ExtentsOverflow.DataFork));

    /// <summary>Takes a record of the extents-overflow file. They come in the order of file, fork, and block.</summary>
    /// <param name="node">The leaf.</param>
    /// <param name="index">Record, from 0.</param>
    public void AddOverflow(BTreeNode node, int index)
    {
        ExtentKey key = Layout.Read<ExtentKey>(node.Key(index));
        ReadOnlySpan<byte> data = node.Data(index);
        var place = new RecordPlace("extents overflow", node.Number, index, key.FileId);
        if (data.Length != Unsafe.SizeOf<ExtentRecord>())
        {
            findings.Damaged(HfsPlusCheckNames.OverflowExtents, $"An overflow record has {data.Length} bytes.", place.ToString());
            IsOverflowComplete = false;
            return;
        }

        BlockUse use = (uint)key.FileId switch
        {
            CatalogNodeId.BadBlockFile => BlockUse.BadBlocks,
            < CatalogNodeId.FirstUser => BlockUse.SpecialFile,
            _ => key.ForkType == ExtentsOverflow.DataFork ? BlockUse.Data : BlockUse.Resource,
        };
        long blocks = Claim(Layout.Read<ExtentRecord>(data), key.FileId, use, place);
        ref OverflowChain chain = ref CollectionsMarshal.GetValueRefOrAddDefault(_chains, (key.FileId, key.ForkType), out bool isKnown);
        if (!isKnown) chain = new OverflowChain { First = key.StartBlock, End = key.StartBlock };
        if (blocks == 0 || key.StartBlock != chain.End)
            findings.Damaged(HfsPlusCheckNames.OverflowExtents,
                $"An overflow record begins at block {key.StartBlock} of its fork instead of {chain.End}, or is empty.", place.ToString());
        chain.End = key.StartBlock + blocks;
    }

    /// <summary>Judges a fork of a file, its overflow records included.</summary>
    /// <param name="fork">Size and first extents.</param>
    /// <param name="id">Whose it is.</param>
    /// <param name="forkType">Data or resource.</param>
    /// <param name="use">What its blocks are noted as.</param>
    /// <param name="mayBeLonger">Whether more blocks than the size needs are lawful.</param>
    /// <param name="place">Where the record lies.</param>
    public void CheckFork(in ForkData fork, uint id, byte forkType, BlockUse use, bool mayBeLonger, RecordPlace place)
    {
        long blocks = Claim(fork.Extents, id, use, place);
        ref OverflowChain chain = ref CollectionsMarshal.GetValueRefOrNullRef(_chains, (id, forkType));
        if (!Unsafe.IsNullRef(ref chain))
        {
            chain.IsOwned = true;
            if (chain.First == blocks) blocks = chain.End;
            else findings.Damaged(HfsPlusCheckNames.OverflowExtents,
                $"The overflow records of a fork begin at its block {chain.First} instead of {blocks}.", place.ToString());
        }
        else if (!IsOverflowComplete && blocks < fork.TotalBlocks)
        {
            return;
        }

        CheckSize(fork, blocks, mayBeLonger, place);
    }

    /// <summary>Compares the blocks a fork has with what its record says.</summary>
    /// <param name="fork">Size and count.</param>
    /// <param name="blocks">Blocks of its extents.</param>
    /// <param name="mayBeLonger">Whether more blocks than the size needs are lawful.</param>
    /// <param name="place">Where the record lies.</param>
    public void CheckSize(in ForkData fork, long blocks, bool mayBeLonger, RecordPlace place)
    {
        if (blocks != fork.TotalBlocks)
        {
            findings.Damaged(
                HfsPlusCheckNames.ForkSizes, $"A fork counts {fork.TotalBlocks} blocks; its extents have {blocks}.", place.ToString());
            return;
        }

        ulong size = fork.LogicalSize, room = (ulong)blocks * header.BlockSize;
        if (size > room)
            findings.Damaged(
                HfsPlusCheckNames.ForkSizes, $"A fork of {size} bytes has blocks for only {room}: its end is lost.", place.ToString());
        else if (!mayBeLonger && room - size >= header.BlockSize)
            ReportExcess(size, room, place);
    }

    // Linux keeps what is left of the clump by which it grew a file; more than that nobody leaves.
    private void ReportExcess(ulong size, ulong room, RecordPlace place)
    {
        if (room - size < Math.Max(header.BlockSize, (uint)header.DataClumpSize))
            findings.Note(HfsPlusCheckNames.ForkSizes,
                $"A fork of {size} bytes has blocks for {room}, as Linux leaves them when it writes.", place.ToString());
        else
            findings.Damaged(
                HfsPlusCheckNames.ForkSizes, $"A fork of {size} bytes has blocks for {room}: it seems cut short.", place.ToString());
    }

    /// <summary>Notes the runs of a record.</summary>
    /// <param name="extents">Eight extents; the first empty one ends them.</param>
    /// <param name="id">Whose they are.</param>
    /// <param name="use">What for.</param>
    /// <param name="place">Where the record lies.</param>
    /// <returns>Blocks of the extents.</returns>
    public long Claim(in ExtentRecord extents, uint id, BlockUse use, RecordPlace place)
    {
        long blocks = 0;
        bool ended = false;
        for (int i = 0; i < HfsPlusConstants.ExtentsPerRecord; i++)
        {
            uint start = extents[i].StartBlock, count = extents[i].BlockCount;
            if (count == 0)
            {
                ended = true;
                continue;
            }

            if (ended)
            {
                findings.Damaged(HfsPlusCheckNames.Extents, $"Extent {i} of a fork follows an empty one.", place.ToString());
                break;
            }

            if (start >= header.TotalBlocks || count > header.TotalBlocks - start)
            {
                findings.Damaged(HfsPlusCheckNames.Extents,
                    $"An extent of {count} blocks at block {start} leaves the volume of {header.TotalBlocks} blocks.", place.ToString());
                break;
            }

            usage.Add(new UsedRun(start, count, id, use));
            blocks += count;
        }

        return blocks;
    }

    /// <summary>Reports overflow records whose fork was not met.</summary>
    public void ReportOrphans()
    {
        foreach (((uint id, byte fork), OverflowChain chain) in _chains)
        {
            if (chain.IsOwned || (id == CatalogNodeId.BadBlockFile && fork == ExtentsOverflow.DataFork)) continue;
            findings.Damaged(HfsPlusCheckNames.OverflowExtents,
                $"There are overflow extents of a fork of file {id}, but no such fork.", $"extents overflow B-tree, file {id}");
        }
    }

    private struct OverflowChain
    {
        public long First, End; // in blocks of the fork
        public bool IsOwned;
    }
}
