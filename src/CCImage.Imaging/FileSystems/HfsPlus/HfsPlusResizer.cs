using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Fits an HFS+ volume to another length of its window, in place. Planned before anything is written; then
/// <see cref="Plan.Write"/>, on a window that has grown already, or is cut afterwards.
/// <para>
/// What is in the way of a smaller volume is moved first (<see cref="HfsPlusRelocator"/>). Then, with a flush between: the bits of blocks
/// that are new (clear, but for those of the new copy of the header and of the bitmap's new extent, which is found in the new space); the
/// new copy of the volume header at the new end; the volume header, one sector: from here on the volume has its new size; the bits of the
/// old copy's blocks, of blocks that the allocation file gave up, and of blocks behind the end, are cleared. Bits behind the last block
/// mean nothing to the old header, so that every prefix is the old volume or the new one, with at most a few leaked blocks, a stale count
/// of free ones or a copy of the header that is not in its place: nothing that is in use is ever marked as free.
/// </para>
/// </summary>
internal sealed class HfsPlusResizer : VolumeResizer
{
    private readonly HfsPlusVolume _volume;
    private readonly VolumeHeader _header;
    private readonly long _blockSize;
    private readonly long _reserved;
    private readonly BitmapChecker _bitmap;
    private readonly HfsPlusBlockMap _map;
    private readonly long _leastBlocks;
    private readonly bool _isInOrder; // nothing that a resize would put right on its way
    private readonly CancellationToken _cancellation;

    /// <summary>Judges the volume: only a sound one is resized.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it is damaged, mounted or its journal is not
    /// empty.</exception>
    public HfsPlusResizer(HfsPlusVolume volume, CancellationToken cancellation)
    {
        (_volume, _header, _blockSize, _cancellation) = (volume, volume.Header, volume.Header.BlockSize, cancellation);
        var findings = new ImageFindings("");
        var checker = new HfsPlusChecker(volume, findings, cancellation);
        checker.Run();
        if (findings.Worst == ImageFindingGrade.Damaged || checker.IsPrimaryLost || checker.Bitmap is not { } counted)
            throw new ImageException(ImageErrorId.ImageDamaged, "The volume is damaged, so that it cannot be resized.",
                remedy: "Test-BackupImage -Detailed tells what is wrong.");
        if (checker.MayLag || volume.Has(VolumeAttributes.Inconsistent) || !volume.Has(VolumeAttributes.Unmounted))
            throw new ImageException(ImageErrorId.ImageDamaged, "The volume was not unmounted properly, or its journal holds changes.",
                remedy: "Attach the image once on a Mac and eject it.");
        if (volume.IsEmbedded)
            throw ImageException.Unsupported("The volume lies in the wrapper of a classic HFS volume and cannot be resized.",
                "Restore its files and back them up anew.");
        (_bitmap, _map) = (counted, HfsPlusBlockMap.FromUsage(volume, checker.Usage));
        _reserved = _map.Reserved;
        _isInOrder = findings.Worst is ImageFindingGrade.Ok or ImageFindingGrade.Note && counted.Leaked == 0;
        if (_map.Allocation.Count > HfsPlusConstants.ExtentsPerRecord) throw TooManyPieces();
        _leastBlocks = HfsPlusMinimumSize.Of(_map, cancellation);
    }

    /// <inheritdoc/>
    public override long LeastLength => _leastBlocks * _blockSize;

    /// <inheritdoc/>
    public override string WhyNotLess => "the files, and room to move them, need that";

    /// <inheritdoc/>
    public override Plan PlanFor(long length)
    {
        long blocks = Math.Min(length / _blockSize, uint.MaxValue);
        if (blocks < _header.TotalBlocks) return PlanSmaller(length, blocks);
        ForkData allocation = _header.AllocationFile;
        long covered = allocation.TotalBlocks * _blockSize * 8, more = blocks > covered ? Layout.DivideUp(blocks - covered, _blockSize * 8)
            : 0;
        if (more > 0)
        {
            if (_header.TotalBlocks + more + _reserved > blocks)
                throw new ImageException(ImageErrorId.CapacityTooSmall,
                    $"The new space has no room for {more} more blocks of the allocation file.", remedy: "Ask for a larger capacity.");
            Append(ref allocation, _header.TotalBlocks, (uint)more);
        }

        long needed = Layout.DivideUp(blocks, 8);
        if (allocation.LogicalSize < (ulong)needed) allocation.LogicalSize = (ulong)Layout.RoundUp(needed, _blockSize);
        return new(this, length) { Blocks = blocks, AddedBitmapBlocks = more, AllocationFile = allocation };
    }

    private bool IsAsPlanned(Plan plan) => _isInOrder && plan.Blocks == _header.TotalBlocks && plan.Relocator is null
        && plan.AddedBitmapBlocks == 0 && plan.Surplus.Count == 0 && plan.AllocationFile.LogicalSize == _header.AllocationFile.LogicalSize;

    private void Write(BlockStorage window, Plan plan, Action<long> onMoved, CancellationToken cancellation)
    {
        if (_bitmap.Leaked > 0)
        {
            _bitmap.GiveBack();
            window.Flush();
        }

        plan.Relocator?.Write(onMoved, cancellation);
        long before = _header.TotalBlocks, blocks = plan.Blocks;
        ForkStorage bitmap = OpenBitmap(window, plan.AllocationFile);
        if (blocks > before) AllocationBits.Mark(bitmap, before, bitmap.Length * 8, used: false);
        AllocationBits.Mark(bitmap, before, before + plan.AddedBitmapBlocks, used: true);
        AllocationBits.Mark(bitmap, blocks - _reserved, blocks, used: true);
        window.Flush();
        VolumeHeader header = plan.Relocator?.Header ?? _header;
        (header.TotalBlocks, header.AllocationFile, header.FreeBlocks) = ((uint)blocks, plan.AllocationFile, (uint)FreeBlocksOf(plan));
        if (header.NextAllocation >= header.TotalBlocks) header.NextAllocation = 0;
        window.Write((plan.Length / 512 * 512) - HfsPlusConstants.VolumeHeaderOffset, Layout.AsBytes(ref header));
        window.Flush();
        window.Write(HfsPlusConstants.VolumeHeaderOffset, Layout.AsBytes(ref header));
        window.Flush();
        long kept = Math.Max(before - _reserved, 0);
        if (blocks > before) AllocationBits.Mark(bitmap, kept, Math.Min(before, blocks - _reserved), used: false);
        else AllocationBits.Mark(bitmap, blocks, bitmap.Length * 8, used: false);
        foreach (BlockRange run in plan.Surplus) AllocationBits.Mark(bitmap, run.Start, Math.Min(run.End, blocks - _reserved), used: false);
        window.Flush();
    }

    // Behind the new end lies nothing any more but blocks that the allocation file gives up.
    private long FreeBlocksOf(Plan plan)
    {
        long free = plan.Relocator?.FreeBlocks ?? _map.Free.Sum(r => r.Count), change = plan.Blocks - _header.TotalBlocks;
        return free + change - plan.AddedBitmapBlocks + plan.Surplus.Sum(r => r.Count);
    }

    private Plan PlanSmaller(long length, long blocks)
    {
        // A plan for the least size is one for any larger size, should its own be unlucky with the holes.
        HfsPlusRelocation? moves = blocks < _leastBlocks
            ? null
            : HfsPlusRelocation.TryPlan(_map, blocks, blocks - _reserved)
                ?? HfsPlusRelocation.TryPlan(_map, blocks, _leastBlocks - _reserved);
        if (moves is null)
            throw new ImageException(
                ImageErrorId.CapacityTooSmall, $"What the volume holds needs {LeastLength} bytes.", remedy: "Ask for a larger capacity.");
        HfsPlusRelocator? relocator = moves.IsEmpty ? null : new(_volume, _map, moves, _cancellation);
        ForkData allocation = relocator?.Header.AllocationFile ?? _header.AllocationFile;
        List<BlockRange> surplus = CutTo(ref allocation, HfsPlusRelocation.BitmapBlocks(blocks, _blockSize));
        return new(this, length) { Blocks = blocks, AllocationFile = allocation, Surplus = surplus, Relocator = relocator };
    }

    // Shortens a fork that lies whole in its record; returns what it gives up.
    private List<BlockRange> CutTo(ref ForkData fork, long count)
    {
        if (fork.TotalBlocks <= count) return [];
        List<BlockRange> runs = [];
        for (int i = 0; i < HfsPlusConstants.ExtentsPerRecord && fork.Extents[i].BlockCount != 0; i++)
            runs.Add(new(fork.Extents[i].StartBlock, fork.Extents[i].BlockCount));
        (List<BlockRange> kept, List<BlockRange> others) = HfsPlusRelocation.Split(runs, count);
        fork.Extents = default;
        for (int i = 0; i < kept.Count; i++)
            (fork.Extents[i].StartBlock, fork.Extents[i].BlockCount) = ((uint)kept[i].Start, (uint)kept[i].Count);
        (fork.TotalBlocks, fork.LogicalSize) = ((uint)count, (ulong)(count * _blockSize));
        return others;
    }

    /// <summary>Adds blocks to a fork that lies whole in its record.</summary>
    private static void Append(ref ForkData fork, uint start, uint count)
    {
        int used = 0;
        while (used < HfsPlusConstants.ExtentsPerRecord && fork.Extents[used].BlockCount != 0) used++;
        if (used > 0 && fork.Extents[used - 1].StartBlock + fork.Extents[used - 1].BlockCount == start)
        {
            fork.Extents[used - 1].BlockCount = fork.Extents[used - 1].BlockCount + count;
        }
        else
        {
            if (used == HfsPlusConstants.ExtentsPerRecord)
                throw TooManyPieces();
            (fork.Extents[used].StartBlock, fork.Extents[used].BlockCount) = (start, count);
        }

        fork.TotalBlocks = fork.TotalBlocks + count;
        fork.LogicalSize = 0;
    }

    private static ImageException TooManyPieces() =>
        ImageException.Unsupported("The allocation file of the volume is in too many pieces.", "Restore its files and back them up anew.");

    /// <summary>The whole allocation file on the window, also those of its extents that the volume does not know yet.</summary>
    private ForkStorage OpenBitmap(BlockStorage window, in ForkData fork)
    {
        var runs = new List<(long Offset, long Length)>();
        for (int i = 0; i < HfsPlusConstants.ExtentsPerRecord && fork.Extents[i].BlockCount != 0; i++)
            runs.Add((fork.Extents[i].StartBlock * _blockSize, fork.Extents[i].BlockCount * _blockSize));
        return new(window, runs.Sum(r => r.Length), runs);
    }

    /// <summary>What a volume becomes.</summary>
    /// <param name="resizer">Made it.</param>
    /// <param name="length">Bytes of its window.</param>
    internal sealed class Plan(HfsPlusResizer resizer, long length) : VolumeResizePlan
    {
        /// <summary>Bytes of its window.</summary>
        public long Length => length;

        /// <summary>Its allocation blocks.</summary>
        public required long Blocks { get; init; }

        /// <summary>Blocks that the allocation file gains, from the old end of the volume on.</summary>
        public long AddedBitmapBlocks { get; init; }

        /// <summary>The allocation file.</summary>
        public required ForkData AllocationFile { get; init; }

        /// <summary>Blocks that the allocation file gives up.</summary>
        public IReadOnlyList<BlockRange> Surplus { get; init; } = [];

        /// <summary>Moves what is in the way; null when nothing is.</summary>
        public HfsPlusRelocator? Relocator { get; init; }

        /// <inheritdoc/>
        public override long BytesMoved => Relocator?.Bytes ?? 0;

        /// <inheritdoc/>
        public override bool IsEmpty => resizer.IsAsPlanned(this);

        /// <inheritdoc/>
        public override void Write(BlockStorage window, Action<long> onMoved, CancellationToken cancellation) =>
            resizer.Write(window, this, onMoved, cancellation);
    }
}
