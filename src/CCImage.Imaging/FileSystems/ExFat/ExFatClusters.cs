using System.Buffers.Binary;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.ExFat;

/// <summary>The clusters of a volume and the FAT that chains them. Source: docs/formats/exfat.md.</summary>
/// <param name="volume">The volume.</param>
/// <param name="fat">The volume, as the FAT is best read: in many small pieces, mostly near each other.</param>
/// <param name="boot">Its boot sector, which was found to fit the volume.</param>
internal sealed class ExFatClusters(BlockStorage volume, BlockStorage fat, ExFatBootSector boot)
{
    private const uint EndOfChain = 0xFFFFFFFF;

    /// <summary>How many there are; the first is <see cref="ClusterRuns.First"/>.</summary>
    public uint Count => boot.ClusterCount;

    /// <summary>Bytes of one.</summary>
    public long Size { get; } = 1L << (boot.SectorShift + boot.ClusterShift);

    /// <summary>Where the first begins, in bytes of the volume.</summary>
    public long HeapOffset => (long)(uint)boot.HeapOffset << boot.SectorShift;

    /// <summary>Whether there is such a cluster.</summary>
    /// <param name="cluster">Its number.</param>
    public bool Contains(uint cluster) => cluster >= ClusterRuns.First && cluster - ClusterRuns.First < Count;

    /// <summary>Where a cluster begins, in bytes of the volume.</summary>
    /// <param name="cluster">One that exists.</param>
    public long OffsetOf(uint cluster) => HeapOffset + ((cluster - ClusterRuns.First) * Size);

    /// <summary>Where the entry of a cluster lies in the FAT that is in use, in bytes of the volume.</summary>
    /// <param name="cluster">Its number; also 0 and 1, which are no clusters.</param>
    public long EntryOffset(uint cluster)
    {
        bool isSecond = ((ExFatFlags)(ushort)boot.Flags & ExFatFlags.SecondFat) != 0 && boot.FatCount > 1;
        return (((long)(uint)boot.FatOffset + (isSecond ? (long)(uint)boot.FatLength : 0)) << boot.SectorShift) + (cluster * 4L);
    }

    /// <summary>Clusters that hold so many bytes.</summary>
    /// <param name="length">Bytes.</param>
    public long CountFor(long length) => Layout.DivideUp(length, Size);

    /// <summary>Makes sure that clusters which follow each other exist.</summary>
    /// <param name="first">The first.</param>
    /// <param name="count">How many.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: they reach behind the volume's end.</exception>
    public void MustExist(uint first, long count)
    {
        if (first < ClusterRuns.First || first - ClusterRuns.First + count > Count)
            throw ImageException.Damaged($"{count} clusters from {first} on reach behind the volume's end.", "exFAT directory");
    }

    /// <summary>The clusters of a chain. One that runs in a circle comes back to a cluster that is kept at every power of two (R. P.
    /// Brent).</summary>
    /// <param name="first">The first.</param>
    /// <param name="most">How many there can be.</param>
    /// <param name="what">Of what, for errors.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it leads nowhere, is longer, or has no end.</exception>
    public IEnumerable<uint> Chain(uint first, long most, string what)
    {
        uint cluster = first, kept = first;
        long keepAt = 1;
        for (long count = 0; cluster != EndOfChain; count++)
        {
            if (!Contains(cluster)) throw ImageException.Damaged($"The chain of the {what} leads to cluster {cluster}.", "FAT");
            if (count == most || (count > 0 && cluster == kept))
                throw ImageException.Damaged($"The chain of the {what} is longer than it can be, or runs in a circle.", "FAT");
            if (count == keepAt) (kept, keepAt) = (cluster, keepAt * 2);
            yield return cluster;
            cluster = Next(cluster);
        }
    }

    /// <summary>The clusters of the root directory.</summary>
    public IEnumerable<uint> OfRoot() =>
        Chain(boot.RootCluster, Math.Max(ExFatDirectoryReader.LongestDirectory / Size, 1), "root directory");

    /// <summary>The clusters of a file or directory, one by one.</summary>
    /// <param name="file">It.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: there are not as many as its length asks for.</exception>
    public IEnumerable<uint> Of(ExFatFile file)
    {
        long wanted = CountFor(file.Length), count = 0;
        if (file.IsContiguous)
        {
            MustExist(file.Stream.FirstCluster, wanted);
            for (; count < wanted; count++) yield return file.Stream.FirstCluster + (uint)count;
            yield break;
        }

        foreach (uint cluster in Chain(file.Stream.FirstCluster, wanted, "file"))
        {
            yield return cluster;
            count++;
        }

        if (count < wanted) throw ImageException.Damaged($"A chain has {count} clusters where the length asks for {wanted}.", "FAT");
    }

    /// <summary>Reads a part of a cluster.</summary>
    /// <param name="cluster">One that exists.</param>
    /// <param name="offset">The first byte in it.</param>
    /// <param name="buffer">To be filled.</param>
    public void Read(uint cluster, long offset, Span<byte> buffer) => volume.Read(OffsetOf(cluster) + offset, buffer);

    private uint Next(uint cluster)
    {
        Span<byte> entry = stackalloc byte[4];
        fat.Read(EntryOffset(cluster), entry);
        return BinaryPrimitives.ReadUInt32LittleEndian(entry);
    }
}
