using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// Grows an APFS container in place. Judged and laid out before anything is written; what is not certain is refused.
/// <para>
/// Written is the transaction that follows the newest one, by copy on write, with a flush behind each step: the structures of the space
/// manager, all made anew in free blocks, and the ephemeral objects behind those of the checkpoint there is; the checkpoint maps; the
/// container superblock; the first sector of block 0. Where the checkpoint areas are too small for the larger container, new ones are made,
/// too, and only block 0 leads to them. Nothing that the checkpoint before names is overwritten, so that every prefix, and every loss
/// within a step, is the old container or the new one.
/// </para>
/// </summary>
internal sealed class ApfsGrower : VolumeResizer
{
    private const long MostChunks = 1 << 20; // 128 TiB

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

    private void Write(BlockStorage window, Plan plan, CancellationToken cancellation)
    {
        byte[] bitmap = new byte[ApfsSizing.BlockSize];
        foreach ((ulong from, ulong to) in plan.Moved)
        {
            cancellation.ThrowIfCancellationRequested();
            window.Read((long)from * bitmap.Length, bitmap);
            window.Write((long)to * bitmap.Length, bitmap);
        }

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

        if (ApfsSizing.Chunks(blocks) > MostChunks)
            return $"An APFS container is made no larger than {MostChunks * ApfsSizing.BlocksPerChunk * ApfsSizing.BlockSize} bytes.";
        if (_container.IsFirstCopyRepairable) return "Block 0 of the APFS container is damaged, which Test-BackupImage -Repair mends.";
        if (JudgeSuperblock() is { } unknown) return unknown;
        var findings = new ImageFindings("");
        new ApfsChecker(_container, findings, _cancellation).Run();
        if (findings.Worst == ImageFindingGrade.Damaged) return "The APFS container is damaged.";
        if (ApfsNextCheckpoint.TryFollow(_container) is not { } next)
            return "The APFS container was not ejected properly, or its checkpoint is not understood.";
        if (next.Find(_container.Superblock.SpaceManagerId) is not { } manager)
            return "The space manager of the APFS container is missing.";
        ApfsFreeSpace space = _container.OpenFreeSpace();
        space.Verify(_cancellation);
        if (JudgeSpace(space.Manager, manager) is { } unusual) return unusual;
        return LayOut(next, space, manager, blocks, out plan);
    }

    private string? JudgeSuperblock()
    {
        ApfsContainerSuperblock s = _container.Superblock;
        if (_container.Blocks.Size != ApfsSizing.BlockSize) return $"The APFS container has blocks of {_container.Blocks.Size} bytes.";
        bool isKnown = (s.Features & ~ApfsConstants.OptionalFeatures) == 0 && s.ReadOnlyFeatures == 0
            && s.IncompatibleFeatures == ApfsConstants.IncompatibleVersion2
            && (s.Flags & ~ApfsConstants.ContainerFlags) == 0 && s.TestType == 0 && s.TestId == 0;
        if (!isKnown) return "The APFS container has features that are not known here, or lies on several devices.";
        if (s.BlockedOut.Count != 0 || s.EvictionTreeId != 0) return "A Mac has begun to resize the APFS container.";
        return s.MostVolumes == ApfsSizing.MostVolumes(Before) && s.EphemeralInfo == ApfsSizing.EphemeralInfo(Before) ? null : Unusual;
    }

    private string? JudgeSpace(in ApfsSpaceManager space, byte[] manager)
    {
        long chunks = ApfsSizing.Chunks(Before), pool = ApfsSizing.PoolBlocks(chunks), bitmap = ApfsSizing.PoolBitmapBlocks(pool);
        bool isKnown = space.Main.BlockCount == (ulong)Before && space.Second.BlockCount == 0 && space.Second.ChunkCount == 0
            && (space.Flags & ~ApfsConstants.SpaceManagerVersioned) == 0 && space.PoolBlocks == (ulong)pool
            && space.PoolBitmapSize == (ulong)bitmap && space.PoolBitmapBlocks == (ulong)(bitmap * ApfsSizing.PoolBitmapSlots)
            && space.PoolBitmapTransactionsOffset == ApfsNextSpace.ArraysOffset(manager)
            && space.PoolQueue.MostNodes == ApfsSizing.PoolQueueNodes(chunks)
                && space.MainQueue.MostNodes == ApfsSizing.MainQueueNodes(Before);
        return isKnown ? null : Unusual;
    }

    private string? LayOut(ApfsNextCheckpoint next, ApfsFreeSpace space, byte[] manager, long blocks, out Plan? plan)
    {
        plan = null;
        ApfsSpaceManager before = space.Manager;
        var larger = new ApfsNextSpace(_container, space, blocks);
        if (!IsWithinPool(space) || !TryEmptyQueue(next, space) || space.Chunks.Any(c => c.HasFlags) || !larger.IsClearBehind())
            return Unusual;

        long chunks = ApfsSizing.Chunks(blocks), pool = ApfsSizing.PoolBlocks(chunks),
            ring = ApfsSizing.PoolBitmapBlocks(pool) * ApfsSizing.PoolBitmapSlots;
        long managerBlocks = ApfsSizing.ManagerBlocks(chunks, ApfsNextSpace.ArraysOffset(manager));
        next.Replace(_container.Superblock.SpaceManagerId, new byte[managerBlocks * ApfsSizing.BlockSize]);
        bool areMoved = !AreasCarry(blocks, managerBlocks) || !next.Fits();
        long data = areMoved ? ApfsSizing.CheckpointDataBlocks(blocks, ApfsSizing.MostVolumes(blocks), managerBlocks) : 0;
        long descriptors = areMoved ? ApfsSizing.CheckpointDescriptorBlocks(data) : 0;
        if (areMoved && !next.FitsInto(data, descriptors)) return Unusual;
        if (larger.FindRoom(descriptors + data + ring + pool) is not ulong place)
            return $"The APFS container has no {descriptors + data + ring + pool} free blocks in a row, which a larger one needs for its "
                + $"structures.";

        // What the checkpoint before names is free from the next one on, which does not come back to it.
        ApfsContainerSuperblock s = _container.Superblock;
        bool isMarked = larger.TryMark(place, (ulong)(descriptors + data + ring + pool), isUsed: true)
            && larger.TryMark(before.PoolBitmapBase, before.PoolBitmapBlocks, isUsed: false)
                && larger.TryMark(before.PoolBase, before.PoolBlocks, isUsed: false)
            && (!areMoved
                || (larger.TryMark(s.DescriptorBase, s.DescriptorBlocks, isUsed: false)
                && larger.TryMark(s.DataBase, s.DataBlocks, isUsed: false)));
        if (!isMarked) return Unusual;
        next.Replace(s.SpaceManagerId, larger.LayOut(manager, place + (ulong)(descriptors + data), next.Transaction));
        List<List<(ulong Block, byte[] Bytes)>> steps =
            next.LayOut(blocks, areMoved ? new(place, (uint)descriptors, place + (ulong)descriptors, (uint)data) : null);
        steps[0].InsertRange(0, larger.Written);
        plan = new(this, blocks, steps) { Moved = larger.Moved };
        return null;
    }

    // Four checkpoints of the largest kind, with the volumes there are.
    private bool AreasCarry(long blocks, long managerBlocks)
    {
        long data = ApfsSizing.CheckpointDataBlocks(blocks, Math.Max(1, _container.VolumeIds().Count()), managerBlocks);
        return data <= _container.Superblock.DataBlocks
            && ApfsSizing.CheckpointDescriptorBlocks(data) <= _container.Superblock.DescriptorBlocks;
    }

    // So that the pool is free as a whole when its structures have left it.
    private static bool IsWithinPool(ApfsFreeSpace space) => space.OwnBlocks.All(block => IsWithinPool(space.Manager, block, 1));

    private static bool IsWithinPool(in ApfsSpaceManager space, ulong first, ulong count) =>
        first >= space.PoolBase && first - space.PoolBase < space.PoolBlocks && count <= space.PoolBlocks - (first - space.PoolBase);

    // What waits in the queue is in the pool, and is freed with it. After a Mac has moved the pool there is no queue until it is needed.
    private static bool TryEmptyQueue(ApfsNextCheckpoint next, ApfsFreeSpace space)
    {
        ApfsFreeQueue queue = space.Manager.PoolQueue;
        if (queue.TreeId == 0) return queue.Count == 0;
        if (next.Find(queue.TreeId) is not { } root || ApfsFreeQueueLeaf.TryRead(root) is not { } leaf || leaf.Count != queue.Count)
            return false;
        if (!leaf.Ranges.All(range => IsWithinPool(space.Manager, range.Key.First, range.Value))) return false;
        next.Replace(queue.TreeId, leaf.Emptied());
        return true;
    }

    /// <summary>What a container becomes.</summary>
    /// <param name="grower">Made it.</param>
    /// <param name="blocks">Its blocks.</param>
    /// <param name="steps">What is written, by block number, with a flush behind each step; none when it has that size.</param>
    internal sealed class Plan(ApfsGrower grower, long blocks, IReadOnlyList<IReadOnlyList<(ulong Block, byte[] Bytes)>> steps)
        : VolumeResizePlan
    {
        /// <summary>Its blocks.</summary>
        public long Blocks => blocks;

        /// <summary>What is written, by block number, with a flush behind each step; none when it has that size.</summary>
        public IReadOnlyList<IReadOnlyList<(ulong Block, byte[] Bytes)>> Steps => steps;

        /// <summary>Bitmaps that are copied before the first step, by block number.</summary>
        public IReadOnlyList<(ulong From, ulong To)> Moved { get; init; } = [];

        /// <inheritdoc/>
        /// <remarks>Nothing of it lies elsewhere afterwards but structures, which APFS never writes in place.</remarks>
        public override long BytesMoved => 0;

        /// <inheritdoc/>
        public override bool IsEmpty => steps.Count == 0;

        /// <inheritdoc/>
        public override void Write(BlockStorage window, Action<long> onMoved, CancellationToken cancellation) =>
            grower.Write(window, this, cancellation);
    }
}
