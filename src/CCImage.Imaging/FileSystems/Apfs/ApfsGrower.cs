using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// Grows an APFS container in place, as far as the structures of its space manager carry it: to the end of its last chunk, for a further chunk needs
/// a larger internal pool, and to what the free queue of the main device may hold in the checkpoint data area there is. Judged and laid out before anything is
/// written; what is not certain is refused.
/// <para>
/// Written is the transaction that follows the newest one, by copy on write, with a flush behind each step: the chunk-info block, which takes another
/// block of the internal pool, the bitmap of the pool in the next slot of its ring, and the ephemeral objects behind those of the checkpoint there is;
/// the checkpoint maps; the container superblock: from here on the container has its new size; the first sector of block 0. Nothing
/// that the checkpoint before names is overwritten, so that every prefix, and every loss within a step, is the old container or the new one.
/// </para>
/// </summary>
internal sealed class ApfsGrower : VolumeResizer
{
    private const string Unusual = "The space manager of the APFS container is not as other containers of its size have it.";

    private readonly ApfsContainer _container;
    private readonly CancellationToken _cancellation;

    /// <summary>Takes a container.</summary>
    /// <param name="container">The container.</param>
    /// <param name="cancellation">Ends the judging.</param>
    public ApfsGrower(ApfsContainer container, CancellationToken cancellation) => (_container, _cancellation) = (container, cancellation);

    private long Before => (long)_container.Blocks.Count;

    /// <inheritdoc/>
    public override long LeastLength => Before * _container.Blocks.Size;

    /// <inheritdoc/>
    public override string WhyNotLess => "an APFS container is not made smaller";

    /// <inheritdoc/>
    public override Plan PlanFor(long length) => TryPlan(length, out string? obstacle) ?? new(this, Before, []) { Obstacle = obstacle };

    /// <summary>What the container will be in a window of another length.</summary>
    /// <param name="length">Bytes of the window.</param>
    /// <param name="obstacle">Why it keeps its size, as a sentence; null when there is a plan.</param>
    /// <returns>Null when it keeps its size.</returns>
    public Plan? TryPlan(long length, out string? obstacle)
    {
        try
        {
            obstacle = Judge(length / _container.Blocks.Size, out Plan? plan);
            return plan;
        }
        catch (ImageException e) when (e.Id is ImageErrorId.ImageDamaged or ImageErrorId.UnsupportedFormat or ImageErrorId.ChecksumMismatch)
        {
            obstacle = e.Problem;
            return null;
        }
    }

    private void Write(BlockStorage window, Plan plan)
    {
        foreach (IReadOnlyList<(ulong Block, byte[] Bytes)> step in plan.Steps)
        {
            foreach ((ulong block, byte[] bytes) in step) window.Write((long)block * _container.Blocks.Size, bytes);
            window.Flush();
        }
    }

    private string? Judge(long blocks, out Plan? plan)
    {
        plan = null;
        if (blocks < Before) return "An APFS container is not made smaller.";
        if (blocks == Before)
        {
            plan = new(this, blocks, []);
            return null;
        }

        if (JudgeSuperblock() is { } unknown) return unknown;
        var findings = new ImageFindings("");
        new ApfsChecker(_container, findings, _cancellation).Run();
        if (findings.Worst == ImageFindingGrade.Damaged) return "The APFS container is damaged.";
        if (ApfsNextCheckpoint.TryFollow(_container) is not { } next) return "The APFS container was not ejected properly, or its checkpoint is not understood.";
        if (next.Find(_container.Superblock.SpaceManagerId) is not { } manager) return "The space manager of the APFS container is missing.";
        ApfsFreeSpace space = _container.OpenFreeSpace();
        space.Verify(_cancellation);
        if (JudgeSpace(space.Manager, manager) is { } unusual) return unusual;
        return JudgeSize(blocks, manager.Length / _container.Blocks.Size) ?? LayOut(next, space, manager, blocks, out plan);
    }

    private string? JudgeSuperblock()
    {
        ApfsContainerSuperblock s = _container.Superblock;
        if (_container.Blocks.Size != ApfsSizing.BlockSize) return $"The APFS container has blocks of {_container.Blocks.Size} bytes.";
        bool isKnown = (s.Features & ~ApfsConstants.OptionalFeatures) == 0 && s.ReadOnlyFeatures == 0 && s.IncompatibleFeatures == ApfsConstants.IncompatibleVersion2
            && (s.Flags & ~ApfsConstants.ContainerFlags) == 0 && s.TestType == 0 && s.TestId == 0;
        if (!isKnown) return "The APFS container has features that are not known here, or lies on several devices.";
        if (s.BlockedOut.Count != 0 || s.EvictionTreeId != 0) return "A Mac has begun to resize the APFS container.";
        return s.MostVolumes == ApfsSizing.MostVolumes(Before) && s.EphemeralInfo == ApfsSizing.EphemeralInfo(Before) ? null : Unusual;
    }

    private string? JudgeSpace(in ApfsSpaceManager space, byte[] manager)
    {
        long chunks = ApfsSizing.Chunks(Before);
        bool isKnown = space.Main.BlockCount == (ulong)Before && space.Main.AddressBlocks == 0 && space.Second.BlockCount == 0 && space.Second.ChunkCount == 0
            && (space.Flags & ~ApfsConstants.SpaceManagerVersioned) == 0 && space.PoolBlocks == (ulong)ApfsSizing.PoolBlocks(chunks, space.Main.ChunkInfoBlocks)
            && space.PoolQueue.MostNodes == ApfsSizing.PoolQueueNodes(chunks) && space.MainQueue.MostNodes == ApfsSizing.MainQueueNodes(Before);
        if (!isKnown) return Unusual;
        return (space.Flags & ApfsConstants.SpaceManagerVersioned) != 0 && ApfsAllocationZones.Reach(manager, (chunks - 1) * ApfsSizing.BlocksPerChunk)
            ? "The end of the APFS container is set aside for allocations."
            : null;
    }

    private string? JudgeSize(long blocks, int managerBlocks)
    {
        if (ApfsSizing.Chunks(blocks) != ApfsSizing.Chunks(Before))
            return $"The space manager of the APFS container carries {ApfsSizing.Chunks(Before) * ApfsSizing.BlocksPerChunk * ApfsSizing.BlockSize} bytes at most.";
        long needed = ApfsSizing.CheckpointDataBlocks(blocks, Math.Max(1, _container.VolumeIds().Count()), managerBlocks);
        return needed > _container.Superblock.DataBlocks || ApfsSizing.EphemeralInfo(blocks) != ApfsSizing.EphemeralInfo(Before)
            ? "The checkpoint area of the APFS container is too small for a larger container."
            : null;
    }

    private string? LayOut(ApfsNextCheckpoint next, ApfsFreeSpace space, byte[] manager, long blocks, out Plan? plan)
    {
        plan = null;
        ApfsSpaceManager before = space.Manager;
        ApfsPoolBitmap? bitmap = ApfsPoolBitmap.TryRead(_container.Blocks, manager);
        ApfsFreeQueueLeaf? queue = next.Find(before.PoolQueue.TreeId) is { } root ? ApfsFreeQueueLeaf.TryRead(root) : null;
        if (bitmap is null || queue is null || queue.Count != before.PoolQueue.Count || UsedOfPool(space, queue) is not { } used || !bitmap.Matches(used)) return Unusual;

        // As Apple does: what the transaction before the newest one freed is free now; older checkpoints are not kept.
        foreach (((ulong transaction, ulong first), ulong count) in queue.Ranges.Where(r => r.Key.Transaction + 1 < next.Transaction).ToList())
        {
            bitmap.Release(first, count);
            queue.Ranges.Remove((transaction, first));
        }

        if (bitmap.Allocate() is not ulong address) return "The internal pool of the APFS container is full.";
        queue.Ranges.Add((next.Transaction, space.LastInfoBlock), 1);
        if (queue.TryWrite() is not { } changedQueue) return Unusual;
        if (ExtendLastChunk(space.LastInfoBlock, address, next.Transaction, blocks) is not { } info) return Unusual;
        next.Replace(before.PoolQueue.TreeId, changedQueue);
        ChangeManager(manager, address, blocks, queue);
        bitmap.Rotate(manager, next.Transaction);
        if (next.TryLayOut((ulong)blocks) is not { } steps) return "The checkpoint area of the APFS container is not at a good place for now.";
        steps[0].InsertRange(0, [(address, info), (bitmap.Address, bitmap.Bits)]);
        plan = new(this, blocks, steps);
        return null;
    }

    // Null when a block lies elsewhere, or has two uses.
    private static HashSet<ulong>? UsedOfPool(ApfsFreeSpace space, ApfsFreeQueueLeaf queue)
    {
        ulong start = space.Manager.PoolBase, end = start + space.Manager.PoolBlocks;
        var used = new HashSet<ulong>(space.OwnBlocks);
        if (used.Any(block => block < start || block >= end)) return null;
        foreach (((_, ulong first), ulong count) in queue.Ranges)
        {
            if (first < start || first >= end || count > end - first) return null;
            for (ulong i = 0; i < count; i++)
            {
                if (!used.Add(first + i)) return null;
            }
        }

        return used;
    }

    private void ChangeManager(byte[] manager, ulong infoBlock, long blocks, ApfsFreeQueueLeaf queue)
    {
        ref ApfsSpaceManager fields = ref Layout.At<ApfsSpaceManager>(manager);
        fields.Main.FreeCount = fields.Main.FreeCount + (ulong)(blocks - Before);
        fields.Main.BlockCount = (ulong)blocks;
        (fields.PoolQueue.Count, fields.PoolQueue.OldestTransactionId) = (queue.Count, queue.OldestTransaction);
        fields.MainQueue.MostNodes = (ushort)ApfsSizing.MainQueueNodes(blocks);
        int last = (int)(fields.Main.AddressOffset + ((fields.Main.ChunkInfoBlocks - 1) * sizeof(ulong)));
        BinaryPrimitives.WriteUInt64LittleEndian(manager.AsSpan(last), infoBlock);
    }

    // The bits of the new blocks are there already, and clear; null when they are not, or when the chunk has a mark of its own.
    private byte[]? ExtendLastChunk(ulong from, ulong to, ulong transaction, long blocks)
    {
        byte[] block = _container.Blocks.ReadObject(from, "chunk-info block", 1, ApfsObjectType.ChunkInfo);
        ref ApfsSpaceIndex index = ref Layout.At<ApfsSpaceIndex>(block);
        int last = Unsafe.SizeOf<ApfsSpaceIndex>() + (((int)(uint)index.Count - 1) * Unsafe.SizeOf<ApfsChunkInfo>());
        ref ApfsChunkInfo chunk = ref Layout.At<ApfsChunkInfo>(block.AsSpan(last));
        if (((chunk.BlockCount | chunk.FreeCount) & ~ApfsConstants.ChunkCountMask) != 0 || !IsClearBehind(chunk)) return null;
        uint added = (uint)(blocks - Before);
        (chunk.TransactionId, chunk.BlockCount, chunk.FreeCount) = (transaction, chunk.BlockCount + added, chunk.FreeCount + added);
        (index.Object.ObjectId, index.Object.TransactionId) = (to, transaction);
        ApfsBlocks.Seal(block);
        return block;
    }

    private bool IsClearBehind(in ApfsChunkInfo chunk)
    {
        if (chunk.BitmapAddress == 0) return true;
        byte[] bitmap = _container.Blocks.Read(chunk.BitmapAddress, 1, "bitmap");
        int octet = (int)(chunk.BlockCount / 8);
        return octet == bitmap.Length || (bitmap[octet] >> (int)(chunk.BlockCount % 8) == 0 && !bitmap.AsSpan(octet + 1).ContainsAnyExcept((byte)0));
    }

    /// <summary>What a container becomes.</summary>
    /// <param name="grower">Made it.</param>
    /// <param name="blocks">Its blocks.</param>
    /// <param name="steps">What is written, by block number, with a flush behind each step; none when it has that size.</param>
    internal sealed class Plan(ApfsGrower grower, long blocks, IReadOnlyList<IReadOnlyList<(ulong Block, byte[] Bytes)>> steps) : VolumeResizePlan
    {
        /// <summary>Its blocks.</summary>
        public long Blocks => blocks;

        /// <summary>What is written, by block number, with a flush behind each step; none when it has that size.</summary>
        public IReadOnlyList<IReadOnlyList<(ulong Block, byte[] Bytes)>> Steps => steps;

        /// <inheritdoc/>
        /// <remarks>Nothing of it lies elsewhere afterwards but structures, which APFS never writes in place.</remarks>
        public override long BytesMoved => 0;

        /// <inheritdoc/>
        public override void Write(BlockStorage window, Action<long> onMoved, CancellationToken cancellation) => grower.Write(window, this);
    }
}
