using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The bitmaps of the main device of a container. A second device (Fusion) is left alone: nothing of it is free.
/// Source: Apple File System Reference, "Space Manager".
/// </summary>
internal sealed class ApfsFreeSpace
{
    private readonly ApfsBlocks _blocks;
    private readonly byte[] _manager;
    private readonly ulong _transaction;
    private readonly List<Chunk> _chunks = [];
    private readonly HashSet<ulong> _used = [];
    private ulong _cachedBitmap;
    private byte[] _cached = [];

    /// <summary>Reads where the bitmaps are.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>, or
    /// <see cref="ImageErrorId.UnsupportedFormat"/>.</exception>
    public ApfsFreeSpace(ApfsBlocks blocks, byte[] manager, ulong transaction)
    {
        (_blocks, _manager, _transaction) = (blocks, manager, transaction);
        Manager = Layout.Read<ApfsSpaceManager>(manager);
        if (Manager.PoolBlocks >> 63 != 0 || (Manager.PoolBitmapBlocks & ApfsConstants.IsScattered) != 0)
            throw new ImageException(ImageErrorId.UnsupportedFormat,
                "The internal pool of the APFS container is in several pieces, which this version does not read.", place: "space manager");
        if ((ApfsObjectType)(Manager.Object.Type & ApfsConstants.ObjectTypeMask) != ApfsObjectType.SpaceManager
            || Manager.BlockSize != blocks.Size
            || Manager.BlocksPerChunk != (uint)blocks.Size * 8 || Manager.Main.BlockCount == 0 || Manager.Main.BlockCount > blocks.Count
            || Manager.Main.FreeCount > Manager.Main.BlockCount || !blocks.Contains(Manager.PoolBase, Manager.PoolBlocks)
            || !blocks.Contains(Manager.PoolBitmapBase, Manager.PoolBitmapBlocks))
            throw Damaged("The space manager does not fit the container.");
    }

    /// <summary>The fixed fields.</summary>
    public ApfsSpaceManager Manager { get; }

    /// <summary>The blocks that hold chunk-info address blocks, chunk-info blocks and bitmaps, as far as they were read.</summary>
    public IReadOnlyCollection<ulong> OwnBlocks => _used;

    /// <summary>The chunks. <see cref="Verify"/> went before.</summary>
    public IReadOnlyList<Chunk> Chunks => _chunks;

    /// <summary>Reads every bitmap and compares its free blocks with the three counts there are.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: a count is wrong, so nothing is certain.</exception>
    public void Verify(CancellationToken cancellation)
    {
        ReadChunks(cancellation);
        ulong free = 0;
        for (int i = 0; i < _chunks.Count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            (_, uint blocks, uint expected, _) = _chunks[i];
            uint found = CountFree(i, blocks);
            if (found != expected) throw Damaged($"Chunk {i} claims {expected} free blocks, its bitmap has {found}.");
            free += found;
        }

        if (free != Manager.Main.FreeCount)
            throw Damaged($"The bitmaps have {free} free blocks, the space manager claims {(ulong)Manager.Main.FreeCount}.");
    }

    /// <summary>Runs of free blocks, ascending. <see cref="Verify"/> went before.</summary>
    /// <param name="reserved">Ranges that are left out, ascending by their start.</param>
    /// <param name="query">How short they may be, and what ends it; null for all of them.</param>
    public IEnumerable<(
        ulong First, ulong Count)> FreeRuns(IReadOnlyList<(ulong First, ulong Count)> reserved, FreeSpaceQuery? query = null)
    {
        int passed = 0;
        foreach ((ulong first, ulong count) in Runs(query ?? new()))
        {
            ulong start = first, end = first + count;
            while (passed < reserved.Count && reserved[passed].First + reserved[passed].Count <= start) passed++;
            for (int i = passed; i < reserved.Count && reserved[i].First < end; i++)
            {
                if (reserved[i].First > start) yield return (start, reserved[i].First - start);
                start = Math.Max(start, reserved[i].First + reserved[i].Count);
            }

            if (start < end) yield return (start, end - start);
        }
    }

    /// <summary>The first block of a range that is marked free, or null. <see cref="Verify"/> went before.</summary>
    public ulong? FirstFree(ulong first, ulong count)
    {
        var scan = new BitmapScan(isHighFirst: false);
        ulong end = Math.Min(first + count, Manager.Main.BlockCount), perChunk = Manager.BlocksPerChunk;
        for (ulong block = first; block < end; block = ((block / perChunk) + 1) * perChunk)
        {
            ReadOnlySpan<byte> bitmap = Bitmap((int)(block / perChunk));
            if (bitmap.IsEmpty) return block;
            ulong start = block / perChunk * perChunk;
            if (scan.FindClear(bitmap, (long)(block - start), (long)(Math.Min(end, start + perChunk) - start)) is long clear)
                return start + (ulong)clear;
        }

        return null;
    }

    /// <summary>The bitmap of a chunk, not to be changed; empty for a chunk without one: it is entirely free.</summary>
    public byte[] Bitmap(int chunk)
    {
        ulong address = _chunks[chunk].Bitmap;
        if (address == 0) return [];
        if (address != _cachedBitmap) (_cached, _cachedBitmap) = (_blocks.Read(address, 1, "bitmap"), address);
        return _cached;
    }

    private IEnumerable<(ulong First, ulong Count)> Runs(FreeSpaceQuery query)
    {
        var scan = new BitmapScan(isHighFirst: false);
        long block = 0, end = (long)(ulong)Manager.Main.BlockCount;
        for (int chunk = 0; chunk < _chunks.Count; block += _chunks[chunk++].Blocks)
        {
            query.Cancellation.ThrowIfCancellationRequested();
            byte[] bitmap = Bitmap(chunk);
            if (bitmap.Length == 0) scan.BeginFree(block);
            foreach ((long first, long count) in scan.Next(bitmap, block, Math.Min(end, block + _chunks[chunk].Blocks),
                query.ShortestIn(_blocks.Size))) yield return ((ulong)first, (ulong)count);
        }

        if (scan.Finish(block) is (long First, long Count) last) yield return ((ulong)last.First, (ulong)last.Count);
    }

    private void ReadChunks(CancellationToken cancellation)
    {
        _chunks.Clear();
        _used.Clear();
        ApfsSpaceDevice device = Manager.Main;
        ulong perInfo = (ulong)((_blocks.Size - Unsafe.SizeOf<ApfsSpaceIndex>()) / Unsafe.SizeOf<ApfsChunkInfo>());
        ulong chunks = ((device.BlockCount - 1) / Manager.BlocksPerChunk) + 1;
        if (device.ChunkCount != chunks || device.ChunkInfoBlocks != ((chunks - 1) / perInfo) + 1 || Manager.ChunksPerInfoBlock != perInfo)
            throw Damaged("The counts of the space manager contradict each other.");
        uint index = 0;
        if (device.AddressBlocks == 0)
        {
            foreach (ulong address in Addresses(_manager, device.AddressOffset, device.ChunkInfoBlocks)) ReadChunkInfo(address, index++);
        }
        else
        {
            uint cab = 0;
            foreach (ulong address in Addresses(_manager, device.AddressOffset, device.AddressBlocks))
            {
                cancellation.ThrowIfCancellationRequested();
                (byte[] block, uint count) = ReadIndex(address, cab++, ApfsObjectType.ChunkInfoAddresses, "chunk-info address block");
                foreach (ulong info in Addresses(block, (uint)Unsafe.SizeOf<ApfsSpaceIndex>(), count)) ReadChunkInfo(info, index++);
            }
        }

        if ((ulong)_chunks.Count != chunks || index != device.ChunkInfoBlocks) throw Damaged("The chunks do not cover the container.");
    }

    private static IEnumerable<ulong> Addresses(byte[] block, uint offset, uint count)
    {
        if (offset > block.Length || count > (block.Length - offset) / sizeof(ulong)) throw Damaged("A list of addresses is cut short.");
        for (int i = 0; i < count; i++)
            yield return BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan((int)offset + (i * sizeof(ulong))));
    }

    private (byte[] Block, uint Count) ReadIndex(ulong address, uint number, ApfsObjectType type, string what)
    {
        if (!_used.Add(address)) throw ImageException.Damaged($"A {what} is used twice.", $"block {address}");
        byte[] block = _blocks.ReadObject(address, what, 1, type);
        ApfsSpaceIndex index = Layout.Read<ApfsSpaceIndex>(block);
        if (index.Index != number || index.Object.TransactionId > _transaction)
            throw ImageException.Damaged($"A {what} is not the one that belongs there.", $"block {address}");
        return (block, index.Count);
    }

    private void ReadChunkInfo(ulong address, uint number)
    {
        (byte[] block, uint count) = ReadIndex(address, number, ApfsObjectType.ChunkInfo, "chunk-info block");
        int headerSize = Unsafe.SizeOf<ApfsSpaceIndex>(), entrySize = Unsafe.SizeOf<ApfsChunkInfo>();
        if (count > (uint)((block.Length - headerSize) / entrySize))
            throw ImageException.Damaged("A chunk-info block claims too many chunks.", $"block {address}");
        for (int i = 0; i < count; i++)
        {
            ApfsChunkInfo chunk = Layout.Read<ApfsChunkInfo>(block.AsSpan(headerSize + (i * entrySize)));
            ulong start = (ulong)_chunks.Count * Manager.BlocksPerChunk;
            uint blocks = chunk.BlockCount & ApfsConstants.ChunkCountMask, free = chunk.FreeCount & ApfsConstants.ChunkCountMask;
            if (start >= Manager.Main.BlockCount || chunk.Address != start
                || blocks != Math.Min(Manager.BlocksPerChunk, Manager.Main.BlockCount - start))
                throw ImageException.Damaged($"Chunk {_chunks.Count} is not where it belongs.", $"block {address}");
            ulong bitmap = chunk.BitmapAddress;
            if (bitmap != 0 && (bitmap < Manager.PoolBase || bitmap - Manager.PoolBase >= Manager.PoolBlocks || !_used.Add(bitmap)))
                throw ImageException.Damaged(
                    $"The bitmap of chunk {_chunks.Count} does not lie in the internal pool, or is another's.", $"block {address}");
            _chunks.Add(new(bitmap, blocks, free, ((chunk.BlockCount | chunk.FreeCount) & ~ApfsConstants.ChunkCountMask) != 0));
        }
    }

    private uint CountFree(int chunk, uint blocks)
    {
        ReadOnlySpan<byte> bitmap = Bitmap(chunk);
        if (bitmap.IsEmpty) return blocks;
        return (uint)new BitmapScan(isHighFirst: false).CountClear(bitmap, blocks);
    }

    private static ImageException Damaged(string problem) => ImageException.Damaged(problem, "space manager");

    /// <summary>A chunk of the main device.</summary>
    /// <param name="Bitmap">The block of its bitmap; 0 for none.</param>
    /// <param name="Blocks">Its blocks.</param>
    /// <param name="Free">Those that are free.</param>
    /// <param name="HasFlags">Whether there are flags above its counts.</param>
    public readonly record struct Chunk(ulong Bitmap, uint Blocks, uint Free, bool HasFlags);
}
