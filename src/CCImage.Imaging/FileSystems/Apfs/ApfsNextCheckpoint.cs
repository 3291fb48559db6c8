using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The checkpoint that follows the newest one, laid out in memory: the ephemeral objects behind the ones of the checkpoint there is, in the data area's ring;
/// the maps and the superblock behind its own, in the descriptor area's; the changed first sector of block 0.
/// Source: Apple File System Reference, "Container"; the order in the areas, Apple's containers.
/// </summary>
internal sealed class ApfsNextCheckpoint
{
    private const int SectorSize = 512;

    private readonly ApfsContainer _container;
    private readonly List<(ApfsCheckpointMapping Mapping, byte[] Bytes)> _objects;
    private readonly byte[] _superblock;
    private readonly byte[] _firstBlock;

    private ApfsNextCheckpoint(ApfsContainer container, List<(ApfsCheckpointMapping Mapping, byte[] Bytes)> objects, byte[] superblock, byte[] firstBlock) =>
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
        byte[] superblock = container.Blocks.ReadObject(
            s.DescriptorBase + ((s.DescriptorIndex + (ulong)s.DescriptorLength - 1) % s.DescriptorBlocks), "container superblock", 1, ApfsObjectType.ContainerSuperblock);
        byte[] first = container.Blocks.ReadObject(0, "container superblock", 1, ApfsObjectType.ContainerSuperblock);
        if (!IsCopy(superblock, first) || Layout.Read<ApfsObjectHeader>(superblock).TransactionId != container.Transaction) return null;
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

    /// <summary>Takes another content for an ephemeral object, of the same length.</summary>
    public void Replace(ulong id, byte[] bytes)
    {
        int i = _objects.FindIndex(o => o.Mapping.ObjectId == id);
        _objects[i] = (_objects[i].Mapping, bytes);
    }

    /// <summary>What is to be written, in steps with a flush behind each: the objects; the maps; the superblock; block 0's first sector.</summary>
    /// <param name="blocks">The container's new number of blocks.</param>
    /// <returns>Null when an object would have to go around the end of the data area.</returns>
    public List<List<(ulong Block, byte[] Bytes)>>? TryLayOut(ulong blocks)
    {
        var written = new List<(ulong Block, byte[] Bytes)>();
        uint at = Before.DataNext;
        foreach ((_, byte[] bytes) in _objects)
        {
            uint count = (uint)(bytes.Length / BlockSize);
            if (count > Before.DataBlocks - at) return null;
            byte[] next = [.. bytes];
            Layout.At<ApfsObjectHeader>(next).TransactionId = Transaction;
            ApfsBlocks.Seal(next);
            written.Add((Before.DataBase + at, next));
            at = (at + count) % Before.DataBlocks;
        }

        List<(ulong, byte[])> maps = LayOutMaps([.. written.Select(o => o.Block)]);
        ulong superblock = Before.DescriptorBase + ((Before.DescriptorNext + MapBlocks) % Before.DescriptorBlocks);
        byte[] sector = Change(_firstBlock, blocks)[..SectorSize];
        return [written, maps, [(superblock, Change(_superblock, blocks))], [(0, sector)]];
    }

    private List<(ulong, byte[])> LayOutMaps(List<ulong> addresses)
    {
        int headerSize = Unsafe.SizeOf<ApfsCheckpointMap>(), entrySize = Unsafe.SizeOf<ApfsCheckpointMapping>(), done = 0;
        var maps = new List<(ulong, byte[])>();
        for (uint i = 0; i < MapBlocks; i++)
        {
            ulong to = Before.DescriptorBase + ((Before.DescriptorNext + i) % Before.DescriptorBlocks);
            byte[] map = _container.Blocks.Read(Before.DescriptorBase + ((Before.DescriptorIndex + i) % Before.DescriptorBlocks), 1, "checkpoint map");
            ref ApfsCheckpointMap header = ref Layout.At<ApfsCheckpointMap>(map);
            (header.Object.ObjectId, header.Object.TransactionId) = (to, Transaction);
            for (int entry = 0; entry < header.Count; entry++)
                Layout.At<ApfsCheckpointMapping>(map.AsSpan(headerSize + (entry * entrySize))).Address = addresses[done++];
            ApfsBlocks.Seal(map);
            maps.Add((to, map));
        }

        return maps;
    }

    private byte[] Change(byte[] before, ulong blocks)
    {
        byte[] block = [.. before];
        ref ApfsContainerSuperblock s = ref Layout.At<ApfsContainerSuperblock>(block);
        (s.Object.TransactionId, s.NextTransactionId, s.BlockCount) = (Transaction, Transaction + 1, blocks);
        (s.DescriptorIndex, s.DescriptorNext) = (Before.DescriptorNext, (Before.DescriptorNext + Before.DescriptorLength) % Before.DescriptorBlocks);
        (s.DataIndex, s.DataLength, s.DataNext) = (Before.DataNext, DataBlocks, (Before.DataNext + DataBlocks) % Before.DataBlocks);
        ApfsBlocks.Seal(block);
        return block;
    }

    // But for its checksum, counters and flags: those differ in Apple's containers. What the next transaction changes lies before them, in the first sector.
    private static bool IsCopy(ReadOnlySpan<byte> superblock, ReadOnlySpan<byte> first) =>
        superblock[8..0x3D8].SequenceEqual(first[8..0x3D8]) && superblock[0x4D8..0x4F0].SequenceEqual(first[0x4D8..0x4F0]) && superblock[0x4F8..].SequenceEqual(first[0x4F8..]);
}
