using System.Buffers.Binary;
using CCImage.Binary;
using CCImage.Checksums;
using CCImage.Storage;

namespace CCImage.FileSystems.Apfs;

/// <summary>The blocks of a container, and the objects in them. Addresses are block numbers.</summary>
/// <param name="storage">The container; not owned.</param>
/// <param name="size">Bytes in a block.</param>
/// <param name="count">Blocks of the container, all of them inside the storage.</param>
internal sealed class ApfsBlocks(BlockStorage storage, int size, ulong count)
{
    /// <summary>Bytes in a block.</summary>
    public int Size => size;

    /// <summary>Number of blocks.</summary>
    public ulong Count => count;

    /// <summary>Whether the blocks are inside the container.</summary>
    public bool Contains(ulong first, ulong blocks = 1) => first < count && blocks <= count - first;

    /// <summary>Reads blocks as they are.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: outside the container.</exception>
    public byte[] Read(ulong first, int blocks, string what)
    {
        if (!Contains(first, (ulong)blocks))
            throw ImageException.Damaged($"Block {first} of the {what} lies outside the container of {count} blocks.", what);
        byte[] bytes = new byte[blocks * size];
        storage.Read((long)first * size, bytes);
        return bytes;
    }

    /// <summary>Reads the header of an object, without proof of its checksum.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: outside the container.</exception>
    public ApfsObjectHeader ReadHeader(ulong first, string what)
    {
        if (!Contains(first))
            throw ImageException.Damaged($"Block {first} of the {what} lies outside the container of {count} blocks.", what);
        ApfsObjectHeader header = default;
        storage.Read((long)first * size, Layout.AsBytes(ref header));
        return header;
    }

    /// <summary>Writes blocks, durably.</summary>
    public void Write(ulong first, ReadOnlySpan<byte> bytes)
    {
        storage.Write((long)first * size, bytes);
        storage.Flush();
    }

    /// <summary>Reads an object and proves its checksum and type.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public byte[] ReadObject(ulong address, string what, int blocks, params ReadOnlySpan<ApfsObjectType> types)
    {
        byte[] bytes = Read(address, blocks, what);
        if (!IsIntact(bytes)) throw ImageException.Damaged($"The checksum of the {what} is wrong.", $"block {address}");
        uint type = Layout.Read<ApfsObjectHeader>(bytes).Type & ApfsConstants.ObjectTypeMask;
        if (!types.IsEmpty && !types.Contains((ApfsObjectType)type))
            throw ImageException.Damaged($"The {what} has the object type {type}.", $"block {address}");
        return bytes;
    }

    /// <summary>Gives an object that was changed its checksum.</summary>
    public static void Seal(Span<byte> block) =>
        BinaryPrimitives.WriteUInt64LittleEndian(block, Fletcher64.Compute(block[sizeof(ulong)..]));

    /// <summary>Whether the checksum of an object is right; never so for zeros.</summary>
    public static bool IsIntact(ReadOnlySpan<byte> block)
    {
        ulong stored = BinaryPrimitives.ReadUInt64LittleEndian(block);
        return stored != 0 && stored == Fletcher64.Compute(block[8..]);
    }
}
