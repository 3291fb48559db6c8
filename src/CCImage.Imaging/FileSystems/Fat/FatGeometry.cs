using System.Text;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.Fat;

/// <summary>Where the parts of a FAT volume lie, from its boot sector.</summary>
internal sealed record FatGeometry
{
    /// <summary>Bytes of the boot sector that are read.</summary>
    public const int BootSize = 512;

    private const uint MostClusters = 0x0FFFFFF4;

    private FatGeometry()
    {
    }

    /// <summary>Which of the three.</summary>
    public required VolumeKind Kind { get; init; }

    /// <summary>Bytes in a sector.</summary>
    public required int SectorSize { get; init; }

    /// <summary>Size of the volume as the boot sector has it, in bytes.</summary>
    public required long CapacityBytes { get; init; }

    /// <summary>Where the first FAT begins.</summary>
    public required long TableOffset { get; init; }

    /// <summary>Bytes of one FAT.</summary>
    public required long TableLength { get; init; }

    /// <summary>Number of FATs, 1 or 2.</summary>
    public required int TableCount { get; init; }

    /// <summary>Where the root directory of FAT12 and FAT16 begins: directly behind the FATs.</summary>
    public required long RootOffset { get; init; }

    /// <summary>Bytes of that root directory; 0 in FAT32.</summary>
    public required int RootLength { get; init; }

    /// <summary>Where cluster 2 begins.</summary>
    public required long HeapOffset { get; init; }

    /// <summary>Bytes in a cluster.</summary>
    public required int ClusterSize { get; init; }

    /// <summary>Number of clusters; the last has the number of clusters + 1.</summary>
    public required long ClusterCount { get; init; }

    /// <summary>Media descriptor, which the first FAT entry repeats.</summary>
    public required byte Media { get; init; }

    /// <summary>The extension, or null where its signature is missing.</summary>
    public required FatExtension? Extension { get; init; }

    /// <summary>What only FAT32 has.</summary>
    public required Fat32Parameters? Fat32 { get; init; }

    /// <summary>The FAT that counts.</summary>
    public int ActiveTable => IsMirrored ? 0 : Fat32!.Value.Flags & 0x0F;

    /// <summary>Whether all FATs are to be equal.</summary>
    public bool IsMirrored => Fat32 is not { } fat32 || (fat32.Flags & 0x80) == 0;

    /// <summary>The label of the boot sector; empty for none.</summary>
    public string BootLabel => Extension is { } extension ? TextOf(extension.Label) : "";

    /// <summary>Whether <see cref="FatExtension.TypeName"/> names another kind than the number of clusters does.</summary>
    public bool IsTypeDoubtful
    {
        get
        {
            if (Extension is not { } extension) return false;
            ReadOnlySpan<byte> name = Layout.AsBytes(ref extension)[^8..];
            return name.StartsWith("FAT"u8) && name[3] != ' '
                && !name.StartsWith(Kind switch { VolumeKind.Fat12 => "FAT12"u8, VolumeKind.Fat16 => "FAT16"u8, _ => "FAT32"u8 });
        }
    }

    /// <summary>Reads a boot sector; null when it is not FAT's. Whether the parts fit together is <see cref="Fault"/>'s to say.</summary>
    /// <param name="boot">512 bytes that end in 55 AA.</param>
    public static FatGeometry? TryRead(ReadOnlySpan<byte> boot)
    {
        FatParameters common = Layout.Read<FatParameters>(boot);
        int sectorSize = common.BytesPerSector, perCluster = common.SectorsPerCluster;
        if (common.Jump is not (0xEB or 0xE9) || sectorSize is not (512 or 1024 or 2048 or 4096)) return null;
        if (perCluster == 0 || (perCluster & (perCluster - 1)) != 0 || common.ReservedSectors == 0 || common.TableCount is not (1 or 2))
            return null;
        // so do Linux and macOS tell; by Microsoft the number of clusters does, which is the same for whole volumes
        bool isFat32 = common.TableSectors16 == 0;
        Fat32Parameters fat32 = Layout.Read<Fat32Parameters>(boot[Fat32Parameters.Offset..]);
        FatExtension extension = Layout.Read<FatExtension>(boot[(FatParameters.Size + (isFat32 ? Fat32Parameters.Size : 0))..]);
        long sectors = common.Sectors16 != 0 ? common.Sectors16 : common.Sectors32;
        long tableSectors = isFat32 ? fat32.TableSectors : common.TableSectors16;
        int rootLength = common.RootEntries * FatDirectoryEntry.Size;
        long rootSector = common.ReservedSectors + (common.TableCount * tableSectors);
        long heapSector = rootSector + Layout.DivideUp(rootLength, sectorSize);
        if (heapSector > sectors) return null;
        long clusters = (sectors - heapSector) / perCluster;
        return new FatGeometry
        {
            // By the number of clusters alone: below 4,085 FAT12.
            Kind = isFat32 ? VolumeKind.Fat32 : clusters < 4085 ? VolumeKind.Fat12 : VolumeKind.Fat16,
            SectorSize = sectorSize,
            CapacityBytes = sectors * sectorSize,
            TableOffset = (long)common.ReservedSectors * sectorSize,
            TableLength = tableSectors * sectorSize,
            TableCount = common.TableCount,
            RootOffset = rootSector * sectorSize,
            RootLength = rootLength,
            HeapOffset = heapSector * sectorSize,
            ClusterSize = perCluster * sectorSize,
            ClusterCount = clusters,
            Media = common.Media,
            Extension = extension.Signature == FatExtension.ValidSignature ? extension : null,
            Fat32 = isFat32 ? fat32 : null,
        };
    }

    /// <summary>A label without its padding; empty for none.</summary>
    /// <param name="label">As on disk. Its code page is not stored: bytes above 127 are taken as Latin-1.</param>
    public static string TextOf(FatLabel label)
    {
        if (label[0] == 0x05) label[0] = FatDirectoryEntry.Deleted; // stands for a character that would mean "deleted"
        string text = Encoding.Latin1.GetString(label).TrimEnd(' ', '\0');
        return text == "NO NAME" ? "" : text;
    }

    /// <summary>Bytes of table that a number of entries takes.</summary>
    /// <param name="entries">Number of entries from the first.</param>
    public long BytesOf(long entries) => Kind switch
    {
        VolumeKind.Fat12 => Layout.DivideUp(entries * 3, 2),
        VolumeKind.Fat16 => entries * 2,
        _ => entries * 4,
    };

    /// <summary>Why the volume cannot be believed; null when its parts fit together and into the window.</summary>
    /// <param name="window">Where it lies.</param>
    public string? Fault(BlockStorage window)
    {
        if (CapacityBytes > window.Length) return $"it claims {CapacityBytes} bytes where there are {window.Length}";
        if (ClusterCount == 0) return "it has no clusters";
        if (ClusterCount > MostClusters || (Kind == VolumeKind.Fat16 && ClusterCount > 65524))
            return $"it claims {ClusterCount} clusters, more than its kind can number";
        if (BytesOf(ClusterCount + ClusterRuns.First) > TableLength)
            return $"its FAT of {TableLength} bytes is too short for {ClusterCount} clusters";
        if (ActiveTable >= TableCount) return $"it names FAT {ActiveTable} of {TableCount} as the one in use";
        if (Fat32 is not { } fat32) return RootLength == 0 ? "it has no root directory" : null;
        if (fat32.Version != 0) return $"it is of version {fat32.Version}";
        if (RootLength != 0) return "it has two root directories";
        return IsCluster(fat32.RootCluster) ? null : $"its root directory is said to begin in cluster {fat32.RootCluster}";
    }

    /// <summary>Where a cluster begins, in bytes from the start of the volume.</summary>
    /// <param name="cluster">A cluster that exists.</param>
    public long OffsetOf(uint cluster) => HeapOffset + ((cluster - ClusterRuns.First) * (long)ClusterSize);

    /// <summary>Whether a cluster exists.</summary>
    /// <param name="cluster">Its number.</param>
    public bool IsCluster(uint cluster) => cluster >= ClusterRuns.First && cluster - ClusterRuns.First < ClusterCount;
}
