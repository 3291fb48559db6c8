using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The bitmap of the internal pool, to be changed: one block, kept in a ring of slots. Each transaction takes the first free slot and puts the one it
/// leaves at the end of the list of free ones. Source: Apple File System Reference, "Internal-Pool Bitmap"; the order, Apple's containers.
/// </summary>
internal sealed class ApfsPoolBitmap
{
    private const uint VersionedSize = 0x9D8; // sm_struct_size

    private readonly ApfsSpaceManager _fields;
    private readonly int _slot;
    private readonly int _next; // the slot that the next transaction takes
    private readonly int _afterNext;
    private readonly byte[] _bits;

    private ApfsPoolBitmap(in ApfsSpaceManager fields, int slot, int next, int afterNext, byte[] bits) =>
        (_fields, _slot, _next, _afterNext, _bits) = (fields, slot, next, afterNext, bits);

    /// <summary>Where the changed bitmap is to be written.</summary>
    public ulong Address => _fields.PoolBitmapBase + (uint)_next;

    /// <summary>The changed bitmap: a block.</summary>
    public byte[] Bits => _bits;

    /// <summary>Takes the bitmap of a space manager.</summary>
    /// <param name="blocks">The container's.</param>
    /// <param name="manager">The space manager.</param>
    /// <returns>Null for a bitmap of several blocks, or a ring that is not as it should be.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static ApfsPoolBitmap? TryRead(ApfsBlocks blocks, byte[] manager)
    {
        ApfsSpaceManager fields = Layout.Read<ApfsSpaceManager>(manager);
        const int Slots = 16;
        uint arrays = (fields.Flags & ApfsConstants.SpaceManagerVersioned) != 0 ? VersionedSize : (uint)Unsafe.SizeOf<ApfsSpaceManager>();
        if (fields.PoolBitmapSize != 1 || fields.PoolBitmapBlocks != Slots || fields.PoolBlocks > (ulong)blocks.Size * 8 || !blocks.Contains(fields.PoolBitmapBase, Slots)
            || fields.PoolBitmapTransactionsOffset != arrays || fields.PoolBitmapSlotsOffset != arrays + 8 || fields.PoolBitmapNextOffset != arrays + 16
            || fields.Main.AddressOffset != arrays + 16 + (Slots * sizeof(ushort)))
            return null;
        int slot = Read16(manager, fields.PoolBitmapSlotsOffset), first = fields.PoolBitmapFirstFree;
        if (slot >= Slots || first >= Slots || Next(slot) != ApfsConstants.NoBitmapSlot) return null;
        var free = new HashSet<int>();
        int at = first;
        while (free.Add(at) && Next(at) < Slots) at = Next(at);
        return free.Count == Slots - 1 && !free.Contains(slot) && at == fields.PoolBitmapLastFree && Next(at) == ApfsConstants.NoBitmapSlot
            ? new(fields, slot, first, Next(first), blocks.Read(fields.PoolBitmapBase + (uint)slot, 1, "bitmap of the internal pool"))
            : null;

        int Next(int of) => Read16(manager, fields.PoolBitmapNextOffset + ((uint)of * sizeof(ushort)));
    }

    /// <summary>Whether exactly these blocks of the container are marked, and no bit behind the pool is.</summary>
    public bool Matches(IReadOnlySet<ulong> used)
    {
        for (int bit = 0; bit < _bits.Length * 8; bit++)
        {
            if (IsUsed(bit) != ((ulong)bit < _fields.PoolBlocks && used.Contains(_fields.PoolBase + (uint)bit))) return false;
        }

        return true;
    }

    /// <summary>Marks blocks of the pool as free.</summary>
    public void Release(ulong first, ulong count)
    {
        for (ulong bit = first - _fields.PoolBase; count > 0; bit++, count--) _bits[bit / 8] = (byte)(_bits[bit / 8] & ~(1 << (int)(bit % 8)));
    }

    /// <summary>Marks a free block as used.</summary>
    /// <returns>The block; null when there is none.</returns>
    public ulong? Allocate()
    {
        for (int bit = 0; (ulong)bit < _fields.PoolBlocks; bit++)
        {
            if (IsUsed(bit)) continue;
            _bits[bit / 8] |= (byte)(1 << (bit % 8));
            return _fields.PoolBase + (uint)bit;
        }

        return null;
    }

    /// <summary>Lets a space manager know of the changed bitmap.</summary>
    /// <param name="manager">The next space manager, so far as the one given to <see cref="TryRead"/>.</param>
    /// <param name="transaction">The one that changes the bitmap.</param>
    public void Rotate(Span<byte> manager, ulong transaction)
    {
        Span<byte> next = manager[(int)(uint)_fields.PoolBitmapNextOffset..];
        BinaryPrimitives.WriteUInt16LittleEndian(next[(_next * 2)..], ApfsConstants.NoBitmapSlot);
        BinaryPrimitives.WriteUInt16LittleEndian(next[(_fields.PoolBitmapLastFree * 2)..], (ushort)_slot);
        BinaryPrimitives.WriteUInt16LittleEndian(manager[(int)(uint)_fields.PoolBitmapSlotsOffset..], (ushort)_next);
        BinaryPrimitives.WriteUInt64LittleEndian(manager[(int)(uint)_fields.PoolBitmapTransactionsOffset..], transaction);
        ref ApfsSpaceManager fields = ref Layout.At<ApfsSpaceManager>(manager);
        (fields.PoolBitmapFirstFree, fields.PoolBitmapLastFree) = ((ushort)_afterNext, (ushort)_slot);
    }

    private bool IsUsed(int bit) => (_bits[bit / 8] & (1 << (bit % 8))) != 0;

    private static ushort Read16(byte[] bytes, uint offset) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan((int)offset));
}
