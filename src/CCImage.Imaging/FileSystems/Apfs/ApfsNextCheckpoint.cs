using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The checkpoint that follows the newest one, laid out in memory: the ephemeral objects behind the ones of the checkpoint there is, in the
/// data area's ring; the maps and the superblock behind its own, in the descriptor area's; the changed first sector of block 0. Or all of
/// it at the start of new, larger areas. Source: Apple File System Reference, "Container"; the order in the areas, Apple's containers.
/// </summary>
internal sealed class ApfsNextCheckpoint
{
    private const int SectorSize = 512;

    private readonly ApfsContainer _container;
    private readonly List<(ApfsCheckpointMapping Mapping, byte[] Bytes)> _objects;
    private readonly byte[] _superblock;
    private readonly byte[] _firstBlock;

    private ApfsNextCheckpoint(
        ApfsContainer container, List<(ApfsCheckpointMapping Mapping, byte[] Bytes)> objects, byte[] superblock, byte[] firstBlock) =>
        (_container, _objects, _superblock, _firstBlock) = (container, objects, superblock, firstBlock);

    /// <summary>The transaction.</summary>
    public ulong Transaction => _container.Transaction + 1;

    private ApfsContainerSuperblock Before => _container.Superblock;

    private int BlockSize => _container.Blocks.Size;

    private uint MapBlocks => Before.DescriptorLength - 1;

    private uint DataBlocks => (uint)_objects.Sum(o => o.Bytes.Length / BlockSize);

    /// <summary>Starts from the newest checkpoint, which is whole and the only one that counts, and which block 0 repeats.</summary>
    /// <returns>Null when it is not so, or when the areas have no room for a second checkpoint.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static ApfsNextCheckpoint? TryFollow(ApfsContainer container)
    {
        ApfsContainerSuperblock s = container.Superblock;
        if (container.Transaction >= long.MaxValue || s.NextTransactionId != container.Transaction + 1) return null;
        if (container.NewestTransaction != container.Transaction || container.FirstCopyTransaction != container.Transaction) return null;
        if (s.DescriptorLength < 2 || s.DescriptorIndex >= s.DescriptorBlocks || s.DescriptorLength > s.DescriptorBlocks / 2
            || (s.DescriptorIndex + (ulong)s.DescriptorLength) % s.DescriptorBlocks != s.DescriptorNext)
            return null;
        if (!container.Blocks.Contains(s.DataBase, s.DataBlocks) || s.DataIndex >= s.DataBlocks || s.DataLength > s.DataBlocks / 2
            || (s.DataIndex + (ulong)s.DataLength) % s.DataBlocks != s.DataNext)
            return null;
        byte[] superblock = container.ReadNewestSuperblock();
        byte[] first = container.Blocks.ReadObject(0, "container superblock", 1, ApfsObjectType.ContainerSuperblock);
        if (!IsCopy(superblock, first)) return null;
        ulong index = s.DataIndex;
        var objects = new List<(ApfsCheckpointMapping, byte[])>();
        foreach (ApfsCheckpointMapping mapping in container.ReadCheckpointMaps())
        {
            if (mapping.Address != s.DataBase + (index % s.DataBlocks)) return null;
            objects.Add((mapping, container.ReadEphemeral(mapping, "ephemeral object")));
            index += mapping.Size / (uint)container.Blocks.Size;
        }

        return index == s.DataIndex + (ulong)s.DataLength ? new(container, objects, superblock, first) : null;
    }

    /// <summary>An ephemeral object, to be changed in place or read; null when there is none with the id.</summary>
    public byte[]? Find(ulong id) => _objects.FirstOrDefault(o => o.Mapping.ObjectId == id).Bytes;

    /// <summary>Takes another content for an ephemeral object, which may have another number of blocks.</summary>
    public void Replace(ulong id, byte[] bytes)
    {
        int i = _objects.FindIndex(o => o.Mapping.ObjectId == id);
        _objects[i] = (_objects[i].Mapping, bytes);
    }

    /// <summary>Whether the objects, as they are now, fit behind those of the checkpoint there is without one of them going around the end
    /// of the data area.</summary>
    public bool Fits()
    {
        ulong at = Before.DataNext;
        foreach ((_, byte[] bytes) in _objects)
        {
            uint count = (uint)(bytes.Length / BlockSize);
            if (count > Before.DataBlocks - at) return false;
            at = (at + count) % Before.DataBlocks;
        }

        return Before.DataLength + (ulong)DataBlocks <= Before.DataBlocks;
    }

    /// <summary>Whether two such checkpoints fit into areas of other sizes.</summary>
    public bool FitsInto(long dataBlocks, long descriptorBlocks) =>
        DataBlocks <= dataBlocks / 2 && Before.DescriptorLength <= (ulong)descriptorBlocks / 2;

    /// <summary>What is to be written, in steps with a flush behind each: the objects; the maps; the superblock; block 0.</summary>
    /// <param name="blocks">The container's new number of blocks.</param>
    /// <param name="moved">Where the areas are to be; null for where they are, in which the objects fit.</param>
    public List<List<(ulong Block, byte[] Bytes)>> LayOut(long blocks, ApfsCheckpointAreas? moved)
    {
        ApfsContainerSuperblock next = Before;
        (next.Object.TransactionId, next.NextTransactionId, next.BlockCount) = (Transaction, Transaction + 1, (ulong)blocks);
        (next.MostVolumes, next.EphemeralInfo) = ((uint)ApfsSizing.MostVolumes(blocks), ApfsSizing.EphemeralInfo(blocks));
        (next.DescriptorIndex, next.DataIndex) = (Before.DescriptorNext, Before.DataNext);
        if (moved is { } areas)
        {
            (next.DescriptorBase, next.DescriptorBlocks, next.DescriptorIndex) = (areas.Descriptors, areas.DescriptorBlocks, 0);
            (next.DataBase, next.DataBlocks, next.DataIndex) = (areas.Data, areas.DataBlocks, 0);
        }

        next.DescriptorNext = (next.DescriptorIndex + next.DescriptorLength) % next.DescriptorBlocks;
        (next.DataLength, next.DataNext) = (DataBlocks, (next.DataIndex + DataBlocks) % next.DataBlocks);
        List<(ulong Block, byte[] Bytes)> objects = LayOutObjects(next);
        List<(ulong, byte[])> maps = LayOutMaps(next, [.. objects.Select(o => o.Block)]);
        // What lies in new areas is not known: it could be an older superblock.
        for (uint i = next.DescriptorLength; moved is not null && i < next.DescriptorBlocks; i++)
            objects.Add((next.DescriptorBase + i, new byte[BlockSize]));
        ulong superblock = next.DescriptorBase + ((next.DescriptorIndex + MapBlocks) % next.DescriptorBlocks);
        List<(ulong, byte[])> last = [(superblock, Change(_superblock, next))];

        // A sector is written whole by any disk, and has all that changes but one field, which only containers of less than 128 MiB change:
        // there block 0 leads to the new areas first, as the copy of an older transaction that it always is while a container is mounted.
        if (next.EphemeralInfo == Before.EphemeralInfo) return [objects, maps, last, [(0, Change(_firstBlock, next)[..SectorSize])]];
        ApfsContainerSuperblock older = next;
        (older.Object.TransactionId, older.NextTransactionId, older.EphemeralInfo) =
            (Before.Object.TransactionId, Before.NextTransactionId, Before.EphemeralInfo);
        return [objects, maps, last, [(0, Change(_firstBlock, older)[..SectorSize])], [(0, Change(_firstBlock, next))]];
    }

    private List<(ulong Block, byte[] Bytes)> LayOutObjects(in ApfsContainerSuperblock next)
    {
        var written = new List<(ulong Block, byte[] Bytes)>();
        uint at = next.DataIndex;
        foreach ((_, byte[] bytes) in _objects)
        {
            byte[] copy = [.. bytes];
            Layout.At<ApfsObjectHeader>(copy).TransactionId = Transaction;
            ApfsBlocks.Seal(copy);
            written.Add((next.DataBase + at, copy));
            at = (at + (uint)(bytes.Length / BlockSize)) % next.DataBlocks;
        }

        return written;
    }

    private List<(ulong, byte[])> LayOutMaps(in ApfsContainerSuperblock next, List<ulong> addresses)
    {
        int headerSize = Unsafe.SizeOf<ApfsCheckpointMap>(), entrySize = Unsafe.SizeOf<ApfsCheckpointMapping>(), done = 0;
        var maps = new List<(ulong, byte[])>();
        for (uint i = 0; i < MapBlocks; i++)
        {
            ulong to = next.DescriptorBase + ((next.DescriptorIndex + (ulong)i) % next.DescriptorBlocks);
            byte[] map =
                _container.Blocks.Read(
                    Before.DescriptorBase + ((Before.DescriptorIndex + (ulong)i) % Before.DescriptorBlocks), 1, "checkpoint map");
            ref ApfsCheckpointMap header = ref Layout.At<ApfsCheckpointMap>(map);
            (header.Object.ObjectId, header.Object.TransactionId) = (to, Transaction);
            for (int entry = 0; entry < header.Count; entry++, done++)
            {
                ref ApfsCheckpointMapping mapping = ref Layout.At<ApfsCheckpointMapping>(map.AsSpan(headerSize + (entry * entrySize)));
                (mapping.Address, mapping.Size) = (addresses[done], (uint)_objects[done].Bytes.Length);
            }

            ApfsBlocks.Seal(map);
            maps.Add((to, map));
        }

        return maps;
    }

    // The fields that the transaction changes; the rest of a block is its own.
    private static byte[] Change(byte[] before, in ApfsContainerSuperblock next)
    {
        byte[] block = [.. before];
        ref ApfsContainerSuperblock s = ref Layout.At<ApfsContainerSuperblock>(block);
        (s.Object.TransactionId, s.NextTransactionId, s.BlockCount) = (next.Object.TransactionId, next.NextTransactionId, next.BlockCount);
        (s.DescriptorBase, s.DescriptorBlocks, s.DescriptorIndex, s.DescriptorNext) =
            (next.DescriptorBase, next.DescriptorBlocks, next.DescriptorIndex, next.DescriptorNext);
        (s.DataBase, s.DataBlocks, s.DataIndex, s.DataLength, s.DataNext) =
            (next.DataBase, next.DataBlocks, next.DataIndex, next.DataLength, next.DataNext);
        (s.MostVolumes, s.EphemeralInfo) = (next.MostVolumes, next.EphemeralInfo);
        ApfsBlocks.Seal(block);
        return block;
    }

    // But for its checksum, counters and flags: those differ in Apple's containers. What the next transaction changes lies before them, in
    // the first sector.
    private static bool IsCopy(ReadOnlySpan<byte> superblock, ReadOnlySpan<byte> first) =>
        superblock[8..0x3D8].SequenceEqual(first[8..0x3D8]) && superblock[0x4D8..0x4F0].SequenceEqual(first[0x4D8..0x4F0])
            && superblock[0x4F8..].SequenceEqual(first[0x4F8..]);
}

/// <summary>Where the checkpoint areas of a container are, in blocks.</summary>
/// <param name="Descriptors">The first block of the descriptor area.</param>
/// <param name="DescriptorBlocks">Its blocks.</param>
/// <param name="Data">The first block of the data area.</param>
/// <param name="DataBlocks">Its blocks.</param>
internal readonly record struct ApfsCheckpointAreas(ulong Descriptors, uint DescriptorBlocks, ulong Data, uint DataBlocks);
