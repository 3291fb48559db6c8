namespace CCImage.Storage;

/// <summary>
/// A stretch of a disk as a UDIF image divides it: partition map, free space and partitions, one block table each. The segments of a disk
/// are adjacent, in ascending order, and cover it exactly. Names and numbers were taken from the property lists of images made by Apple's
/// tools; see docs/formats/gpt.md.
/// </summary>
/// <param name="Name">The name of the block table, for example <c>"disk image (Apple_HFS : 4)"</c>.</param>
/// <param name="Id">The resource id of the block table: -1 for the first one of a disk with a map, 0 for a disk without.</param>
/// <param name="StartSector">First sector, of 512 bytes.</param>
/// <param name="SectorCount">Sectors of 512 bytes; positive.</param>
/// <param name="Descriptor">
/// The descriptor number inside the block table: with GPT and MBR the segment's number from 0, with an Apple partition map the same as
/// <paramref name="Id"/>, -2 for a whole disk.
/// </param>
internal sealed record DiskSegment(string Name, int Id, long StartSector, long SectorCount, int Descriptor)
{
    /// <summary>Descriptor of a disk without a map.</summary>
    public const int WholeDiskDescriptor = -2;

    /// <summary>The one segment of a disk without a map.</summary>
    /// <param name="type">What is on it: <c>"Apple_HFS"</c>, <c>"unknown partition"</c>.</param>
    /// <param name="sectorCount">Its sectors.</param>
    public static DiskSegment Whole(string type, long sectorCount) =>
        new($"whole disk ({type} : 0)", 0, 0, sectorCount, WholeDiskDescriptor);
}
