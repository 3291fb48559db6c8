using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.FileSystems.Apfs;
using CCImage.FileSystems.ExFat;
using CCImage.FileSystems.Fat;
using CCImage.FileSystems.HfsPlus;
using CCImage.Partitions;
using CCImage.Partitions.Gpt;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// How long a disk says it is: where its partition map puts its last partition and its second copy, or without a map what its file system
/// claims. A raw image that is shorter was cut.
/// </summary>
internal static class ClaimedCapacity
{
    /// <summary>More than a petabyte is not believed of a raw file: whoever works on what is missing would never end.</summary>
    public const long Maximum = 1L << 50;

    private const int BootSize = 512;

    /// <summary>The claim, in bytes; the disk's own length where nothing claims more, or where the claim is absurd.</summary>
    /// <param name="disk">What is there of the disk.</param>
    /// <param name="table">Its partition map.</param>
    public static long Of(BlockStorage disk, PartitionTable table)
    {
        Int128 claim = disk.Length;
        foreach (BackupImagePartition partition in table.Partitions)
            claim = Int128.Max(claim, (Int128)partition.OffsetBytes + partition.SizeBytes);
        if (table.Scheme == PartitionScheme.Gpt) claim = Int128.Max(claim, ClaimOfGpt(disk));
        if (table.Scheme == PartitionScheme.None) claim = Int128.Max(claim, ClaimOfVolume(disk));
        return claim <= Maximum ? (long)claim : disk.Length;
    }

    // The second copy of the map is in the last sector.
    private static Int128 ClaimOfGpt(BlockStorage disk)
    {
        GptHeader header = Read<GptHeader>(disk, PartitionTable.SectorSize);
        return header.Signature == GptHeader.ValidSignature && header.OwnSector == 1
            ? ((Int128)(ulong)header.OtherSector + 1) * PartitionTable.SectorSize : 0;
    }

    private static Int128 ClaimOfVolume(BlockStorage disk)
    {
        VolumeHeader hfs = Read<VolumeHeader>(disk, HfsPlusConstants.VolumeHeaderOffset);
        if (hfs.Signature == HfsPlusConstants.SignatureHfsPlus || hfs.Signature == HfsPlusConstants.SignatureHfsx)
            return BitOperations.IsPow2((uint)hfs.BlockSize) ? (Int128)(uint)hfs.TotalBlocks * (uint)hfs.BlockSize : 0;
        if (ApfsContainer.IsMatch(disk))
        {
            ApfsContainerSuperblock apfs = Read<ApfsContainerSuperblock>(disk, 0);
            bool isPossible = (uint)apfs.BlockSize is >= ApfsConstants.MinimumBlockSize and <= ApfsConstants.MaximumBlockSize
                && BitOperations.IsPow2((uint)apfs.BlockSize);
            return isPossible ? (Int128)(ulong)apfs.BlockCount * (uint)apfs.BlockSize : 0;
        }

        if (disk.Length < BootSize) return 0;
        byte[] boot = new byte[BootSize];
        disk.Read(0, boot);
        if (boot[510] != 0x55 || boot[511] != 0xAA) return 0;
        if (ExFatVolume.IsMatch(boot))
            return boot[108] is >= 9 and <= 12 ? (Int128)BinaryPrimitives.ReadUInt64LittleEndian(boot.AsSpan(72)) << boot[108] : 0;
        return FatGeometry.TryRead(boot)?.CapacityBytes ?? 0;
    }

    private static T Read<T>(BlockStorage disk, long offset)
        where T : unmanaged
    {
        byte[] bytes = new byte[Unsafe.SizeOf<T>()];
        if (offset <= disk.Length - bytes.Length) disk.Read(offset, bytes);
        return Layout.Read<T>(bytes);
    }
}
