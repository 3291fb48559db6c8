using System.Buffers.Binary;
using System.Text;
using CCImage.Binary;
using CCImage.FileSystems.Apfs;
using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>
/// Tells by signatures which file system is in a window of a disk. Sources of the signatures: TN1150 (HFS, HFS+), Apple File System
/// Reference (APFS), Microsoft's specifications of FAT and exFAT, and the NTFS boot sector as documented by the Linux driver.
/// </summary>
internal static class VolumeDetection
{
    private const int BootSize = 512;

    /// <summary>Opens what is there.</summary>
    /// <param name="window">Partition or disk; not owned.</param>
    /// <param name="fault">Receives why a file system that was recognised cannot be read; null when it can.</param>
    /// <returns>The volume; one of <see cref="VolumeKind.Unknown"/> when no file system is recognised.</returns>
    public static FileSystemVolume Open(BlockStorage window, out ImageException? fault)
    {
        fault = null;
        VolumeKind kind = VolumeKind.HfsPlus;
        try
        {
            if (HfsPlusVolume.IsMatch(window)) return HfsPlusVolume.Open(window);
            kind = VolumeKind.Apfs;
            if (ApfsContainer.IsMatch(window)) return ApfsContainer.Open(window);
        }
        catch (ImageException e) when (e.Id is ImageErrorId.ImageDamaged or ImageErrorId.UnsupportedFormat)
        {
            // Recognised, but broken: it is listed, nothing of it is free, and whoever wants its files hears why.
            fault = e;
            return new RecognisedVolume(kind, "", window.Length);
        }

        return TryOpenHfs(window) ?? TryOpenByBootSector(window) ?? new RecognisedVolume(VolumeKind.Unknown, "", window.Length);
    }

    private static RecognisedVolume? TryOpenHfs(BlockStorage window)
    {
        byte[] block = new byte[BootSize];
        if (window.Length < HfsPlusConstants.VolumeHeaderOffset + block.Length) return null;
        window.Read(HfsPlusConstants.VolumeHeaderOffset, block);
        MasterDirectoryBlock header = Layout.Read<MasterDirectoryBlock>(block);
        if (header.Signature != HfsPlusConstants.SignatureHfs || header.BlockSize == 0 || header.BlockSize % BootSize != 0) return null;
        ReadOnlySpan<byte> name = header.Name;
        int length = Math.Min(name[0], (byte)27);
        return new(VolumeKind.Hfs, Encoding.Latin1.GetString(name.Slice(1, length)), Clamp((ulong)(ushort)header.BlockCount * header.BlockSize, 1, window));
    }

    private static RecognisedVolume? TryOpenByBootSector(BlockStorage window)
    {
        byte[] boot = new byte[BootSize];
        if (window.Length < boot.Length) return null;
        window.Read(0, boot);
        if (boot[510] != 0x55 || boot[511] != 0xAA) return null;
        if (boot.AsSpan(3).StartsWith("EXFAT   "u8))
            return new(VolumeKind.ExFat, "", Clamp(BinaryPrimitives.ReadUInt64LittleEndian(boot.AsSpan(72)), 1UL << Math.Min((int)boot[108], 12), window));
        if (boot.AsSpan(3).StartsWith("NTFS    "u8))
            return new(VolumeKind.Ntfs, "", Clamp(BinaryPrimitives.ReadUInt64LittleEndian(boot.AsSpan(40)), BinaryPrimitives.ReadUInt16LittleEndian(boot.AsSpan(11)), window));
        return TryOpenFat(boot, window);
    }

    // The kind of FAT follows from the number of clusters alone (Microsoft's FAT specification): below 4,085 FAT12, below 65,525 FAT16.
    private static RecognisedVolume? TryOpenFat(ReadOnlySpan<byte> boot, BlockStorage window)
    {
        long sectorSize = BinaryPrimitives.ReadUInt16LittleEndian(boot[11..]);
        int perCluster = boot[13], reserved = BinaryPrimitives.ReadUInt16LittleEndian(boot[14..]), fats = boot[16];
        if (boot[0] is not (0xEB or 0xE9) || sectorSize is not (512 or 1024 or 2048 or 4096)) return null;
        if (perCluster == 0 || (perCluster & (perCluster - 1)) != 0 || reserved == 0 || fats is not (1 or 2)) return null;
        long rootSectors = Layout.DivideUp(BinaryPrimitives.ReadUInt16LittleEndian(boot[17..]) * 32L, sectorSize);
        long sectors = BinaryPrimitives.ReadUInt16LittleEndian(boot[19..]);
        if (sectors == 0) sectors = BinaryPrimitives.ReadUInt32LittleEndian(boot[32..]);
        long fatSectors = BinaryPrimitives.ReadUInt16LittleEndian(boot[22..]);
        bool isExtended = fatSectors == 0; // the layout of FAT32's parameters
        if (isExtended) fatSectors = BinaryPrimitives.ReadUInt32LittleEndian(boot[36..]);
        long dataSectors = sectors - reserved - (fats * fatSectors) - rootSectors;
        if (dataSectors < 0) return null;
        long clusters = dataSectors / perCluster;
        VolumeKind kind = isExtended ? VolumeKind.Fat32 : clusters < 4085 ? VolumeKind.Fat12 : VolumeKind.Fat16;
        bool hasLabel = boot[isExtended ? 66 : 38] == 0x29;
        string label = hasLabel ? Encoding.Latin1.GetString(boot.Slice(isExtended ? 71 : 43, 11)).TrimEnd(' ', '\0') : "";
        return new(kind, label == "NO NAME" ? "" : label, Clamp((ulong)sectors, (ulong)sectorSize, window));
    }

    private static long Clamp(ulong count, ulong unit, BlockStorage window) => (long)UInt128.Min((UInt128)count * unit, (UInt128)(ulong)window.Length);
}
