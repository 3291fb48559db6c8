using System.Numerics;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Fits an HFS+ volume to another length of its window, in place: no file moves. Planned before anything is written; then
/// <see cref="Write"/>, on a window that has grown already, or is cut afterwards.
/// <para>
/// The order, with a flush between: the bits of blocks that are new (clear, but for those of the new copy of the header and of the bitmap's new extent, which
/// is found in the new space); the new copy of the volume header at the new end; the volume header, one sector: from here on the volume has its new size; the
/// bits of the old copy's blocks, and of blocks behind the end, are cleared. Bits behind the last block mean nothing to the old header, so that
/// every prefix is the old volume or the new one, with at most a few leaked blocks, a stale count of free ones or a copy of the header that is not in
/// its place: nothing that is in use is ever marked as free.
/// </para>
/// </summary>
internal sealed class HfsPlusResizer
{
    private const int PieceSize = 256 << 10;

    private readonly VolumeHeader _header;
    private readonly long _blockSize;
    private readonly long _reserved;
    private readonly HfsPlusFork _bitmap;
    private readonly long _free;
    private readonly long _leastBlocks;

    /// <summary>Judges the volume: only a sound one is resized.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it is damaged, mounted or its journal is not empty.</exception>
    public HfsPlusResizer(HfsPlusVolume volume, CancellationToken cancellation)
    {
        (_header, _blockSize) = (volume.Header, volume.Header.BlockSize);
        var findings = new ImageFindings("");
        var checker = new HfsPlusChecker(volume, findings, cancellation);
        checker.Run();
        if (findings.Worst == ImageFindingGrade.Damaged || checker.IsPrimaryLost || checker.Bitmap is not { } counted)
            throw new ImageException(ImageErrorId.ImageDamaged, "The volume is damaged, so that it cannot be resized.", remedy: "Test-BackupImage -Detailed tells what is wrong.");
        if (checker.MayLag || volume.Has(VolumeAttributes.Inconsistent) || !volume.Has(VolumeAttributes.Unmounted))
            throw new ImageException(ImageErrorId.ImageDamaged, "The volume was not unmounted properly, or its journal holds changes.", remedy: "Attach the image once on a Mac and eject it.");
        if (volume.IsEmbedded) throw ImageException.Unsupported("The volume lies in the wrapper of a classic HFS volume and cannot be resized.", "Restore its files and back them up anew.");
        _reserved = Layout.DivideUp(HfsPlusConstants.VolumeHeaderOffset, _blockSize);
        _bitmap = volume.OpenFork(_header.AllocationFile, CatalogNodeId.AllocationFile, ExtentsOverflow.DataFork, "allocation file");
        if (OpenBitmap(volume.Storage, _header.AllocationFile).Length < _bitmap.Length) throw TooManyPieces();
        _free = counted.Free;
        _leastBlocks = Math.Max(LastUsed(_header.TotalBlocks - _reserved, cancellation) + 1 + _reserved, Layout.DivideUp(HfsPlusGeometry.MinimumVolumeSize, _blockSize));
    }

    /// <summary>Bytes of the shortest window the volume fits without moving anything.</summary>
    public long LeastLength => Math.Min(_leastBlocks, _header.TotalBlocks) * _blockSize;

    /// <summary>What the volume will be in a window of another length.</summary>
    /// <param name="length">Bytes of the window.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.CapacityTooSmall"/>: something lies behind the end, or there is no room for the larger bitmap.</exception>
    public Plan PlanFor(long length)
    {
        long blocks = Math.Min(length / _blockSize, uint.MaxValue);
        if (blocks < _header.TotalBlocks && blocks * _blockSize < LeastLength)
            throw new ImageException(ImageErrorId.CapacityTooSmall, $"The volume holds something up to byte {LeastLength}.", remedy: "Ask for a larger capacity.");
        ForkData allocation = _header.AllocationFile;
        long covered = allocation.TotalBlocks * _blockSize * 8, more = blocks > covered ? Layout.DivideUp(blocks - covered, _blockSize * 8) : 0;
        if (more > 0)
        {
            if (_header.TotalBlocks + more + _reserved > blocks)
                throw new ImageException(ImageErrorId.CapacityTooSmall, $"The new space has no room for {more} more blocks of the allocation file.", remedy: "Ask for a larger capacity.");
            Append(ref allocation, _header.TotalBlocks, (uint)more);
        }

        long needed = Layout.DivideUp(blocks, 8);
        if (allocation.LogicalSize < (ulong)needed) allocation.LogicalSize = (ulong)Layout.RoundUp(needed, _blockSize);
        return new(blocks, more, allocation);
    }

    /// <summary>Resizes the volume, durably.</summary>
    /// <param name="window">The window: the longer one of before and after.</param>
    /// <param name="length">Bytes of the window as it is to be.</param>
    /// <param name="plan">What <see cref="PlanFor"/> said of that length.</param>
    public void Write(BlockStorage window, long length, Plan plan)
    {
        long before = _header.TotalBlocks, blocks = plan.Blocks;
        HfsPlusFork bitmap = OpenBitmap(window, plan.AllocationFile);
        if (blocks > before) SetBits(bitmap, before, bitmap.Length * 8, used: false);
        SetBits(bitmap, before, before + plan.AddedBitmapBlocks, used: true);
        SetBits(bitmap, blocks - _reserved, blocks, used: true);
        window.Flush();
        VolumeHeader header = _header;
        long change = blocks - before;
        if (change != 0)
        {
            (header.TotalBlocks, header.AllocationFile) = ((uint)blocks, plan.AllocationFile);
            header.FreeBlocks = (uint)(_free + change - plan.AddedBitmapBlocks);
            if (header.NextAllocation >= header.TotalBlocks) header.NextAllocation = 0;
        }

        window.Write((length / 512 * 512) - HfsPlusConstants.VolumeHeaderOffset, Layout.AsBytes(ref header));
        window.Flush();
        window.Write(HfsPlusConstants.VolumeHeaderOffset, Layout.AsBytes(ref header));
        window.Flush();
        long kept = Math.Max(before - _reserved, 0);
        if (blocks > before) SetBits(bitmap, kept, Math.Min(before, blocks - _reserved), used: false);
        else SetBits(bitmap, blocks, bitmap.Length * 8, used: false);
        window.Flush();
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
    private HfsPlusFork OpenBitmap(BlockStorage window, in ForkData fork)
    {
        var runs = new List<(long Offset, long Length)>();
        for (int i = 0; i < HfsPlusConstants.ExtentsPerRecord && fork.Extents[i].BlockCount != 0; i++)
            runs.Add((fork.Extents[i].StartBlock * _blockSize, fork.Extents[i].BlockCount * _blockSize));
        return new(window, runs.Sum(r => r.Length), runs);
    }

    private long LastUsed(long end, CancellationToken cancellation)
    {
        byte[] piece = new byte[PieceSize];
        for (long stop = Layout.DivideUp(end, 8); stop > 0;)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(stop, PieceSize);
            stop -= count;
            Span<byte> bits = piece.AsSpan(0, count);
            _bitmap.Read(stop, bits);
            int beyond = (int)Math.Max(0, ((stop + count) * 8) - end);
            if (beyond is > 0 and < 8) bits[^1] &= (byte)((0xFF << beyond) & 0xFF);
            int last = bits.LastIndexOfAnyExcept((byte)0);
            if (last >= 0) return ((stop + last) * 8) + 7 - BitOperations.TrailingZeroCount(bits[last]);
        }

        return 0;
    }

    private static void SetBits(HfsPlusFork bitmap, long from, long to, bool used)
    {
        byte[] piece = new byte[PieceSize];
        while (from < to)
        {
            long first = from / 8;
            int count = (int)Math.Min(PieceSize, Layout.DivideUp(to, 8) - first);
            Span<byte> bits = piece.AsSpan(0, count);
            bitmap.Read(first, bits);
            for (; from < to && from / 8 < first + count;)
            {
                bool isWhole = from % 8 == 0 && to - from >= 8;
                byte mask = isWhole ? (byte)0xFF : (byte)(0x80 >> (int)(from % 8));
                ref byte place = ref bits[(int)((from / 8) - first)];
                place = (byte)(used ? place | mask : place & ~mask);
                from += isWhole ? 8 : 1;
            }

            bitmap.Write(first, bits);
        }
    }

    /// <summary>What a volume becomes.</summary>
    /// <param name="Blocks">Its allocation blocks.</param>
    /// <param name="AddedBitmapBlocks">Blocks that the allocation file gains, from the old end of the volume on.</param>
    /// <param name="AllocationFile">The allocation file.</param>
    internal sealed record Plan(long Blocks, long AddedBitmapBlocks, ForkData AllocationFile);
}
