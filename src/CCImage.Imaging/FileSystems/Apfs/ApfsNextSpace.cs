using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The space manager's structures of a larger container, made anew in a range of free blocks, as in a fresh container: the ring of the
/// internal pool's bitmaps; the pool; at its start the bitmaps of the chunks, the chunk-info blocks, and the blocks of their addresses.
/// Nothing that the space manager before names is overwritten. Source: Apple File System Reference, "Space Manager"; the order, Apple's
/// containers.
/// </summary>
internal sealed class ApfsNextSpace
{
    private const int BlockSize = ApfsSizing.BlockSize;
    private const uint PerChunk = ApfsSizing.BlocksPerChunk;

    private readonly ApfsContainer _container;
    private readonly ApfsFreeSpace _space;
    private readonly ulong _blocks;
    private readonly Dictionary<int, byte[]> _changed = []; // bitmaps, by chunk
    private readonly Dictionary<int, uint> _free = []; // of those chunks
    private readonly List<(ulong From, ulong To)> _moved = [];
    private readonly List<(ulong Block, byte[] Bytes)> _written = [];

    /// <summary>Takes the space of a container.</summary>
    /// <param name="container">The container.</param>
    /// <param name="space">Its space, verified.</param>
    /// <param name="blocks">Blocks it is to have; not fewer.</param>
    public ApfsNextSpace(ApfsContainer container, ApfsFreeSpace space, long blocks) =>
        (_container, _space, _blocks) = (container, space, (ulong)blocks);

    /// <summary>Bitmaps that go to another block as they are.</summary>
    public IReadOnlyList<(ulong From, ulong To)> Moved => _moved;

    /// <summary>What else is written, by block number.</summary>
    public IReadOnlyList<(ulong Block, byte[] Bytes)> Written => _written;

    private ulong Before => _space.Manager.Main.BlockCount;

    private int ChunkCount => (int)ApfsSizing.Chunks((long)_blocks);

    /// <summary>The first range of free blocks, old and new ones, that is long enough.</summary>
    public ulong? FindRoom(long count)
    {
        ulong behind = Before;
        foreach ((ulong first, ulong length) in _space.FreeRuns(_container.Reserved(_space.Manager)))
        {
            if (length >= (ulong)count) return first;
            if (first + length == Before) behind = first;
        }

        return _blocks - behind >= (ulong)count ? behind : null;
    }

    /// <summary>Whether the bits behind the last block are clear, so that they may become those of new blocks.</summary>
    public bool IsClearBehind()
    {
        int last = _space.Chunks.Count - 1;
        ReadOnlySpan<byte> bitmap = _space.Bitmap(last);
        if (bitmap.IsEmpty) return true;
        int octet = (int)(_space.Chunks[last].Blocks / 8);
        return octet == bitmap.Length
            || (bitmap[octet] >> (int)(_space.Chunks[last].Blocks % 8) == 0 && !bitmap[(octet + 1)..].ContainsAnyExcept((byte)0));
    }

    /// <summary>Marks blocks as used, or as free.</summary>
    /// <returns>False when one of them was so already, or lies outside the container.</returns>
    public bool TryMark(ulong first, ulong count, bool isUsed)
    {
        if (first >= _blocks || count > _blocks - first) return false;
        for (ulong block = first; block < first + count; block++)
        {
            int chunk = (int)(block / PerChunk), bit = (int)(block % PerChunk), mask = 1 << (bit & 7);
            byte[] bitmap = Change(chunk);
            if ((bitmap[bit >> 3] & mask) != 0 == isUsed) return false;
            bitmap[bit >> 3] ^= (byte)mask;
            _free[chunk] = isUsed ? _free[chunk] - 1 : _free[chunk] + 1;
        }

        return true;
    }

    /// <summary>Lays out everything, and gives the space manager that names it.</summary>
    /// <param name="before">The space manager that there is: its other fields stay.</param>
    /// <param name="place">Where the ring begins; the pool follows it.</param>
    /// <param name="transaction">The next one.</param>
    public byte[] LayOut(byte[] before, ulong place, ulong transaction)
    {
        long chunks = ChunkCount, infoBlocks = ApfsSizing.InfoBlocks(chunks), poolBlocks = ApfsSizing.PoolBlocks(chunks),
            bitmapBlocks = ApfsSizing.PoolBitmapBlocks(poolBlocks);
        long slots = ApfsSizing.PoolBitmapSlots * bitmapBlocks;
        ulong pool = place + (ulong)slots, at = pool, free = 0;
        List<ulong> addresses = LayOutInfoBlocks(LayOutChunks(ref at, ref free, transaction), ref at, transaction);
        if (ApfsSizing.AddressBlocks(infoBlocks) != 0) addresses = LayOutAddressBlocks(addresses, ref at, transaction);
        LayOutRing(place, (int)slots, at - pool);

        byte[] manager = new byte[ApfsSizing.ManagerBlocks(chunks, ArraysOffset(before)) * BlockSize];
        uint offset = ArraysOffset(before);
        before.AsSpan(0, (int)offset).CopyTo(manager);
        ref ApfsSpaceManager fields = ref Layout.At<ApfsSpaceManager>(manager);
        (fields.Main.BlockCount, fields.Main.ChunkCount, fields.Main.FreeCount) = (_blocks, (ulong)chunks, free);
        (fields.Main.ChunkInfoBlocks, fields.Main.AddressBlocks) = ((uint)infoBlocks, (uint)ApfsSizing.AddressBlocks(infoBlocks));
        (fields.PoolBlocks, fields.PoolBase) = ((ulong)poolBlocks, pool);
        (fields.PoolBitmapSize, fields.PoolBitmapBlocks, fields.PoolBitmapBase) = ((uint)bitmapBlocks, (uint)slots, place);
        (fields.PoolBitmapFirstFree, fields.PoolBitmapLastFree) = ((ushort)bitmapBlocks, (ushort)(slots - 1));
        (fields.PoolQueue.Count, fields.PoolQueue.OldestTransactionId, fields.PoolQueue.MostNodes) =
            (0, 0, (ushort)ApfsSizing.PoolQueueNodes(chunks));
        fields.MainQueue.MostNodes = (ushort)ApfsSizing.MainQueueNodes((long)_blocks);
        WriteArrays(manager, offset, (int)bitmapBlocks, (int)slots, addresses, transaction);
        return manager;
    }

    /// <summary>Where the arrays of a space manager begin: behind its fixed fields, of which there are more in the versioned one.</summary>
    public static uint ArraysOffset(ReadOnlySpan<byte> manager) =>
        (Layout.Read<ApfsSpaceManager>(manager).Flags & ApfsConstants.SpaceManagerVersioned) != 0 ? ApfsConstants.VersionedManagerSize
            : (uint)Unsafe.SizeOf<ApfsSpaceManager>();

    // The bitmap in use is the first in the ring; a free slot names the next one.
    private static void WriteArrays(Span<byte> manager, uint offset, int bitmapBlocks, int slots, List<ulong> addresses, ulong transaction)
    {
        ref ApfsSpaceManager fields = ref Layout.At<ApfsSpaceManager>(manager);
        fields.PoolBitmapTransactionsOffset = offset;
        for (int i = 0; i < bitmapBlocks; i++, offset += sizeof(ulong))
            BinaryPrimitives.WriteUInt64LittleEndian(manager[(int)offset..], transaction);
        fields.PoolBitmapSlotsOffset = offset;
        for (int i = 0; i < bitmapBlocks; i++)
            BinaryPrimitives.WriteUInt16LittleEndian(manager[((int)offset + (i * sizeof(ushort)))..], (ushort)i);
        offset += (uint)ApfsSizing.SlotArrayBytes(bitmapBlocks);
        fields.PoolBitmapNextOffset = offset;
        for (int i = 0; i < slots; i++, offset += sizeof(ushort))
            BinaryPrimitives.WriteUInt16LittleEndian(
                manager[(int)offset..], i < bitmapBlocks || i == slots - 1 ? ApfsConstants.NoBitmapSlot : (ushort)(i + 1));
        fields.Main.AddressOffset = offset;
        foreach (ulong address in addresses)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(manager[(int)offset..], address);
            offset += sizeof(ulong);
        }

        fields.Second.AddressOffset = offset;
    }

    private List<ApfsChunkInfo> LayOutChunks(ref ulong at, ref ulong free, ulong transaction)
    {
        var chunks = new List<ApfsChunkInfo>();
        for (int i = 0; i < ChunkCount; i++)
        {
            ulong start = (ulong)i * PerChunk, bitmap = 0;
            uint blocks = (uint)Math.Min(PerChunk, _blocks - start);
            ApfsFreeSpace.Chunk before = i < _space.Chunks.Count ? _space.Chunks[i] : default;
            bool isChanged = _changed.TryGetValue(i, out byte[]? changed);
            if (isChanged || before.Bitmap != 0) bitmap = at++;
            if (isChanged) _written.Add((bitmap, changed!));
            else if (bitmap != 0) _moved.Add((before.Bitmap, bitmap));
            uint unused = isChanged ? _free[i] : FreeIn(before, blocks);
            free += unused;
            chunks.Add(new() { TransactionId = transaction, Address = start, BlockCount = blocks, FreeCount = unused,
                BitmapAddress = bitmap });
        }

        return chunks;
    }

    private List<ulong> LayOutInfoBlocks(List<ApfsChunkInfo> chunks, ref ulong at, ulong transaction)
    {
        var addresses = new List<ulong>();
        foreach (ApfsChunkInfo[] some in chunks.Chunk(ApfsSizing.ChunksPerInfoBlock))
        {
            byte[] block = NewIndex(at, transaction, ApfsObjectType.ChunkInfo, addresses.Count, some.Length);
            for (int i = 0; i < some.Length; i++)
                Layout.At<ApfsChunkInfo>(block.AsSpan(Unsafe.SizeOf<ApfsSpaceIndex>() + (i * Unsafe.SizeOf<ApfsChunkInfo>()))) = some[i];
            Add(block, addresses, ref at);
        }

        return addresses;
    }

    private List<ulong> LayOutAddressBlocks(List<ulong> infoBlocks, ref ulong at, ulong transaction)
    {
        var addresses = new List<ulong>();
        foreach (ulong[] some in infoBlocks.Chunk(ApfsSizing.InfoBlocksPerAddressBlock))
        {
            byte[] block = NewIndex(at, transaction, ApfsObjectType.ChunkInfoAddresses, addresses.Count, some.Length);
            for (int i = 0; i < some.Length; i++)
                BinaryPrimitives.WriteUInt64LittleEndian(block.AsSpan(Unsafe.SizeOf<ApfsSpaceIndex>() + (i * sizeof(ulong))), some[i]);
            Add(block, addresses, ref at);
        }

        return addresses;
    }

    private static byte[] NewIndex(ulong at, ulong transaction, ApfsObjectType type, int index, int count)
    {
        byte[] block = new byte[BlockSize];
        ref ApfsSpaceIndex header = ref Layout.At<ApfsSpaceIndex>(block);
        (header.Object.ObjectId, header.Object.TransactionId, header.Object.Type) =
            (at, transaction, ApfsConstants.ObjectPhysical | (uint)type);
        (header.Index, header.Count) = ((uint)index, (uint)count);
        return block;
    }

    private void Add(byte[] block, List<ulong> addresses, ref ulong at)
    {
        ApfsBlocks.Seal(block);
        _written.Add((at, block));
        addresses.Add(at++);
    }

    // All of it: what was in those blocks is not known, and a slot holds zeros behind the bits of the pool.
    private void LayOutRing(ulong place, int slots, ulong used)
    {
        byte[][] bitmaps = [.. Enumerable.Range(0, slots).Select(_ => new byte[BlockSize])];
        for (ulong bit = 0; bit < used; bit++) bitmaps[bit / PerChunk][bit % PerChunk / 8] |= (byte)(1 << (int)(bit % 8));
        for (int i = 0; i < slots; i++) _written.Add((place + (uint)i, bitmaps[i]));
    }

    private byte[] Change(int chunk)
    {
        if (_changed.TryGetValue(chunk, out byte[]? bitmap)) return bitmap;
        bool isOld = chunk < _space.Chunks.Count;
        ReadOnlySpan<byte> before = isOld ? _space.Bitmap(chunk) : [];
        _free[chunk] = FreeIn(isOld ? _space.Chunks[chunk] : default, (uint)Math.Min(PerChunk, _blocks - ((ulong)chunk * PerChunk)));
        return _changed[chunk] = before.IsEmpty ? new byte[BlockSize] : before.ToArray();
    }

    // What a chunk gets in addition is free.
    private static uint FreeIn(in ApfsFreeSpace.Chunk before, uint blocks) => before.Free + blocks - before.Blocks;
}
