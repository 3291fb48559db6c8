using System.Buffers.Binary;
using System.Text;
using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>
/// File systems that are told by name and not read. Sources of the signatures: ECMA-119 (ISO 9660), ECMA-167 (UDF), the documentation of
/// Linux for ext2 to ext4 and of util-linux for swap space, the documentation of libfvde (CoreStorage) and libbde (BitLocker).
/// </summary>
internal static class ForeignVolumes
{
    private const int SectorSize = 512;
    private const int DiscSector = 2048;
    private const int FirstDescriptor = 16; // sector of a disc

    /// <summary>What is in a window, or null for none of them.</summary>
    /// <param name="window">Partition or disk; no file system that is read was found in it.</param>
    public static RecognisedVolume? TryOpen(BlockStorage window) =>
        TryOpenBitLocker(window) ?? TryOpenCoreStorage(window) ?? TryOpenDisc(window) ?? TryOpenExt(window) ?? TryOpenSwap(window);

    private static RecognisedVolume? TryOpenBitLocker(BlockStorage window) =>
        Read(window, 0, SectorSize) is { } boot && boot[510] == 0x55 && boot[511] == 0xAA && boot.AsSpan(3).StartsWith("-FVE-FS-"u8)
            ? new(VolumeKind.BitLocker, "", window.Length)
            : null;

    // Version 1, a block of the type "volume header", the signature, and CRC-32C as the only kind of checksum there is.
    private static RecognisedVolume? TryOpenCoreStorage(BlockStorage window)
    {
        if (Read(window, 0, SectorSize) is not { } header) return null;
        bool isHeader = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(8)) == 1
            && BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(10)) == 0x10
            && header.AsSpan(88).StartsWith("CS"u8) && BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(90)) == 1;
        return isHeader ? new(VolumeKind.CoreStorage, "", window.Length) : null;
    }

    // A primary volume descriptor has the type 1. A disc with both file systems is one of ISO 9660 to whoever reads it first.
    private static RecognisedVolume? TryOpenDisc(BlockStorage window)
    {
        const int MostDescriptors = 32;
        bool isUdf = false;
        for (int i = 0; i < MostDescriptors && Read(window, (FirstDescriptor + i) * (long)DiscSector, DiscSector) is { } sector; i++)
        {
            ReadOnlySpan<byte> identifier = sector.AsSpan(1, 5);
            if (identifier.SequenceEqual("CD001"u8))
            {
                if (sector[0] != 1) continue;
                ulong blocks = BinaryPrimitives.ReadUInt32LittleEndian(sector.AsSpan(80)),
                    size = BinaryPrimitives.ReadUInt16LittleEndian(sector.AsSpan(128));
                return new(VolumeKind.Iso9660, Encoding.Latin1.GetString(sector, 40, 32).TrimEnd(' ', '\0'), Clamp(blocks * size, window));
            }

            isUdf |= identifier.SequenceEqual("NSR02"u8) || identifier.SequenceEqual("NSR03"u8);
            if (!isUdf && !identifier.SequenceEqual("BEA01"u8)) return null;
        }

        return isUdf ? new(VolumeKind.Udf, "", window.Length) : null;
    }

    private static RecognisedVolume? TryOpenExt(BlockStorage window)
    {
        if (Read(window, 1024, 1024) is not { } superblock) return null;
        uint inodes = BinaryPrimitives.ReadUInt32LittleEndian(superblock),
            blocks = BinaryPrimitives.ReadUInt32LittleEndian(superblock.AsSpan(4));
        uint shift = BinaryPrimitives.ReadUInt32LittleEndian(superblock.AsSpan(24)),
            perGroup = BinaryPrimitives.ReadUInt32LittleEndian(superblock.AsSpan(40));
        if (BinaryPrimitives.ReadUInt16LittleEndian(superblock.AsSpan(56)) != 0xEF53 || inodes == 0 || perGroup == 0 || shift > 6)
            return null;
        ReadOnlySpan<byte> name = superblock.AsSpan(120, 16);
        int end = name.IndexOf((byte)0);
        return new(VolumeKind.Ext, Encoding.UTF8.GetString(end < 0 ? name : name[..end]),
            Clamp((UInt128)blocks << (int)(10 + shift), window));
    }

    // The signature is at the end of the first page, whose size is the machine's.
    private static RecognisedVolume? TryOpenSwap(BlockStorage window)
    {
        foreach (int page in (ReadOnlySpan<int>)[4096, 16384, 65536])
        {
            if (Read(window, page - 10, 10) is { } signature && signature.AsSpan().SequenceEqual("SWAPSPACE2"u8))
                return new(VolumeKind.LinuxSwap, "", window.Length);
        }

        return null;
    }

    private static long Clamp(UInt128 bytes, BlockStorage window) => (long)UInt128.Min(bytes, (UInt128)(ulong)window.Length);

    private static byte[]? Read(BlockStorage window, long offset, int length)
    {
        if (offset > window.Length - length) return null;
        byte[] bytes = new byte[length];
        window.Read(offset, bytes);
        return bytes;
    }
}
