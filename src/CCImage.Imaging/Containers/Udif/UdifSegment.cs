using System.Globalization;

namespace CCImage.Containers.Udif;

/// <summary>A partition as somebody names it to a block table, without number.</summary>
/// <param name="Name">Name in the partition map; may be empty.</param>
/// <param name="Type">Type as Apple writes it: <c>Apple_HFS</c>, <c>Windows_FAT_16</c>, the UUID of what Apple has no name for.</param>
/// <param name="FirstSector">First sector.</param>
/// <param name="SectorCount">Sectors.</param>
internal readonly record struct UdifPartition(string Name, string Type, long FirstSector, long SectorCount);

/// <summary>
/// A part of the disk that gets a block table of its own. Names, ids and descriptors are those of Apple's images, one kind of map each;
/// which sample shows what stands in docs/formats/udif.md.
/// </summary>
/// <param name="Name">Name of the table.</param>
/// <param name="Id">Resource id.</param>
/// <param name="BlockDescriptor">The table's descriptor.</param>
/// <param name="FirstSector">First sector.</param>
/// <param name="SectorCount">Sectors, positive.</param>
internal sealed record UdifSegment(string Name, int Id, uint BlockDescriptor, long FirstSector, long SectorCount)
{
    /// <summary>Descriptor of the one table of a disk without a map.</summary>
    public const uint WholeDiskDescriptor = 0xFFFF_FFFE;

    /// <summary>Descriptor of the driver descriptor map before an Apple partition map.</summary>
    public const uint DriverDescriptor = 0xFFFF_FFFF;

    /// <summary>Whether the disk has a partition map.</summary>
    public bool IsPartOfMap => BlockDescriptor != WholeDiskDescriptor;

    /// <summary>The one segment of a disk without a map.</summary>
    /// <param name="type">Type of the volume (<c>Apple_HFS</c>), or <c>unknown partition</c>.</param>
    /// <param name="sectorCount">Sectors of the disk.</param>
    public static IReadOnlyList<UdifSegment> WholeDisk(string type, long sectorCount) =>
        [new($"whole disk ({type} : 0)", 0, WholeDiskDescriptor, 0, sectorCount)];

    /// <summary>The segments of a disk with a GUID partition table.</summary>
    /// <param name="partitions">The partitions, ascending and within the usable sectors.</param>
    /// <param name="sectorCount">Sectors of the disk.</param>
    /// <param name="tableSectors">Sectors of each partition array.</param>
    public static IReadOnlyList<UdifSegment> Gpt(IReadOnlyList<UdifPartition> partitions, long sectorCount, int tableSectors = 32) => Number(
        sectorCount, 0,
        [
            new("Protective Master Boot Record", "MBR", 0, 1),
            new("GPT Header", "Primary GPT Header", 1, 1),
            new("GPT Partition Data", "Primary GPT Table", 2, tableSectors),
            .. partitions,
            new("GPT Partition Data", "Backup GPT Table", sectorCount - 1 - tableSectors, tableSectors),
            new("GPT Header", "Backup GPT Header", sectorCount - 1, 1),
        ]);

    /// <summary>The segments of a disk with a master boot record.</summary>
    /// <param name="partitions">The partitions, ascending.</param>
    /// <param name="sectorCount">Sectors of the disk.</param>
    public static IReadOnlyList<UdifSegment> Mbr(IReadOnlyList<UdifPartition> partitions, long sectorCount) =>
        Number(sectorCount, 0, [new("Master Boot Record", "MBR", 0, 1), .. partitions]);

    /// <summary>The segments of a disk with an Apple partition map.</summary>
    /// <param name="partitions">The entries of the map, ascending, the one for the map itself first.</param>
    /// <param name="sectorCount">Sectors of the disk.</param>
    public static IReadOnlyList<UdifSegment> ApplePartitionMap(IReadOnlyList<UdifPartition> partitions, long sectorCount) =>
        Number(sectorCount, -1, [new("Driver Descriptor Map", "DDM", 0, 1), .. partitions]);

    // The n-th part is numbered n in its name and n - 1 as a resource; descriptors count like the names, or in an Apple partition map like the resources.
    private static List<UdifSegment> Number(long sectorCount, int firstDescriptor, IEnumerable<UdifPartition> parts)
    {
        var segments = new List<UdifSegment>();
        long at = 0;
        foreach (UdifPartition part in parts)
        {
            if (part.FirstSector < at || part.SectorCount <= 0 || part.FirstSector > sectorCount - part.SectorCount)
                throw new ArgumentException($"The partition '{part.Name}' at sector {part.FirstSector} overlaps another or leaves the disk.", nameof(parts));
            if (part.FirstSector > at) Add(new("", "Apple_Free", at, part.FirstSector - at));
            Add(part);
            at = part.FirstSector + part.SectorCount;
        }

        if (at < sectorCount) Add(new("", "Apple_Free", at, sectorCount - at));
        return segments;

        void Add(UdifPartition part)
        {
            int number = segments.Count;
            string name = string.Create(CultureInfo.InvariantCulture, $"{part.Name} ({part.Type} : {number})");
            segments.Add(new(name, number - 1, unchecked((uint)(number + firstDescriptor)), part.FirstSector, part.SectorCount));
        }
    }
}
