using System.Buffers.Binary;
using System.Text;
using CCImage.Binary;
using CCImage.FileSystems.Apfs;
using CCImage.FileSystems.ExFat;
using CCImage.FileSystems.Fat;
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
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            // Recognised, but broken: it is listed, nothing of it is free, and whoever wants its files hears why.
            fault = e;
            return new RecognisedVolume(kind, "", window.Length);
        }

        return TryOpenHfs(window) ?? TryOpenByBootSector(window, ref fault) ?? ForeignVolumes.TryOpen(window)
            ?? new RecognisedVolume(VolumeKind.Unknown, "", window.Length);
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
        return new(VolumeKind.Hfs, Encoding.Latin1.GetString(name.Slice(1, length)),
            Clamp((ulong)(ushort)header.BlockCount * header.BlockSize, 1, window));
    }

    private static FileSystemVolume? TryOpenByBootSector(BlockStorage window, ref ImageException? fault)
    {
        byte[] boot = new byte[BootSize];
        if (window.Length < boot.Length) return null;
        window.Read(0, boot);
        if (boot[510] != 0x55 || boot[511] != 0xAA) return null;
        if (ExFatVolume.IsMatch(boot))
            return OpenOr(
                new(VolumeKind.ExFat, "",
                Clamp(BinaryPrimitives.ReadUInt64LittleEndian(boot.AsSpan(72)), 1UL << Math.Min((int)boot[108], 12), window)), () =>
                ExFatVolume.Open(window), ref fault);
        if (boot.AsSpan(3).StartsWith("NTFS    "u8))
            return new RecognisedVolume(
                VolumeKind.Ntfs, "",
                Clamp(BinaryPrimitives.ReadUInt64LittleEndian(boot.AsSpan(40)), BinaryPrimitives.ReadUInt16LittleEndian(boot.AsSpan(11)),
                window));
        if (FatGeometry.TryRead(boot) is not { } fat) return null;
        return OpenOr(
            new(fat.Kind, fat.BootLabel, Math.Min(fat.CapacityBytes, window.Length)), () => FatVolume.Open(window, fat), ref fault);
    }

    // Recognised, but broken: as with HFS+, it is listed, nothing of it is free, and whoever checks it hears why.
    private static FileSystemVolume OpenOr(RecognisedVolume recognised, Func<FileSystemVolume> open, ref ImageException? fault)
    {
        try
        {
            return open();
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            fault = e;
            return recognised;
        }
    }

    private static long Clamp(ulong count, ulong unit, BlockStorage window) =>
        (long)UInt128.Min((UInt128)count * unit, (UInt128)(ulong)window.Length);
}
