using CCImage.Diagnostics;
using CCImage.Partitions.ApplePartitionMap;
using CCImage.Partitions.Gpt;
using CCImage.Partitions.Mbr;
using CCImage.Storage;

namespace CCImage.Partitions;

/// <summary>Fits a partition map to another length of its disk: the last partition ends at the new end, or as far in front of it as the map
/// needs.</summary>
internal abstract class PartitionMapResizer
{
    /// <summary>Bytes behind the last partition that a disk needs.</summary>
    public abstract long TailBytes { get; }

    /// <summary>Opens the map of a disk.</summary>
    /// <param name="disk">The disk.</param>
    /// <param name="table">Its partitions.</param>
    /// <returns>Null for a disk without a map.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: the map cannot be used;
    /// <see cref="ImageErrorId.UnsupportedFormat"/>: its last partition cannot be resized.</exception>
    public static PartitionMapResizer? Open(BlockStorage disk, PartitionTable table) => table.Scheme switch
    {
        PartitionScheme.None => null,
        PartitionScheme.Gpt when table.MapSectorSize != PartitionTable.SectorSize => throw ImageException.Unsupported(
            $"The GUID partition table counts sectors of {table.MapSectorSize} bytes: an image with such a map is not resized.",
            "Back its files up into a new image."),
        PartitionScheme.Gpt => new GptResizer(disk),
        PartitionScheme.Mbr => new MbrResizer(disk, table),
        PartitionScheme.ApplePartitionMap => new ApplePartitionMapResizer(disk, table),
        _ => throw ImageException.Unsupported(
            $"An image with a partition map of the kind {table.Scheme} cannot be resized.", "Back its files up into a new image."),
    };

    /// <summary>The byte behind the last partition on a disk of a given length: the last whole 4 KiB in front of what the map
    /// needs.</summary>
    /// <param name="diskLength">Bytes of the disk.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnsupportedFormat"/>: a disk of that length cannot have such a
    /// map.</exception>
    public virtual long LastEndFor(long diskLength) =>
        (diskLength / PartitionTable.SectorSize * PartitionTable.SectorSize - TailBytes) / 4096 * 4096;

    /// <summary>Writes the map for another length of the disk, durably.</summary>
    /// <param name="disk">The disk: has grown already, or is cut afterwards.</param>
    /// <param name="newLength">Bytes of the disk as it is to be.</param>
    /// <param name="lastEnd">The byte behind the last partition.</param>
    public abstract void Write(BlockStorage disk, long newLength, long lastEnd);

    /// <summary>The limit of maps that count 32 bits of sectors.</summary>
    /// <param name="diskLength">Bytes of the disk.</param>
    /// <param name="what">The map.</param>
    protected static void CheckTwoTebibytes(long diskLength, string what)
    {
        if (diskLength / PartitionTable.SectorSize > uint.MaxValue)
            throw ImageException.Unsupported($"{what} ends at 2 TiB; a disk of {diskLength} bytes is too large for it.",
                "Ask for less, or back the files up into a new image.");
    }
}
