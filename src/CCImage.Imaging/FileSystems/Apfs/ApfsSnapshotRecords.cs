using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The snapshots of a volume by each of the four places that tell of them: the records of its snapshot tree and their names, the snapshot
/// tree of its object map, and the counts. Snapshots go by their transactions. Source: Apple File System Reference, "Snapshot Metadata",
/// "Object Maps".
/// </summary>
internal sealed class ApfsSnapshotRecords
{
    private readonly HashSet<ulong> _described = [];
    private readonly HashSet<ulong> _named = [];
    private readonly HashSet<ulong> _mapped = [];

    /// <summary>Takes a record of the volume's snapshot tree.</summary>
    /// <returns>Its transaction and content; null for a name, which is noted only.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public (ulong Transaction, ApfsSnapshotMetadata Metadata)? Take(ApfsNode leaf, int index)
    {
        ulong key = BinaryPrimitives.ReadUInt64LittleEndian(leaf.Key(index, sizeof(ulong)));
        ulong kind = key >> ApfsConstants.TypeShift, transaction = key & ApfsConstants.AddressMask;
        if (kind == ApfsConstants.SnapshotName)
        {
            ReadOnlySpan<byte> name = leaf.Value(index, sizeof(ulong));
            if (name.IsEmpty || !_named.Add(BinaryPrimitives.ReadUInt64LittleEndian(name)))
                throw Damaged("A name of a snapshot names none, or one that has another name.");
            return null;
        }

        if (kind != ApfsConstants.SnapshotMetadata) return null;
        ReadOnlySpan<byte> value = leaf.Value(index, Unsafe.SizeOf<ApfsSnapshotMetadata>());
        if (value.IsEmpty || !_described.Add(transaction)) throw Damaged("A snapshot has no description, or two.");
        return (transaction, Layout.Read<ApfsSnapshotMetadata>(value));
    }

    /// <summary>Takes an entry of the snapshot tree of the object map.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public void TakeMapped(ApfsNode leaf, int index) =>
        _mapped.Add(BinaryPrimitives.ReadUInt64LittleEndian(leaf.Key(index, sizeof(ulong))));

    /// <summary>Compares them.</summary>
    /// <param name="inVolume">The count in the volume's superblock.</param>
    /// <param name="inMap">The count in its object map.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: they contradict each other.</exception>
    public void MustAgree(ulong inVolume, uint inMap)
    {
        if (inVolume != (ulong)_described.Count || !_described.SetEquals(_named))
            throw Damaged($"The volume claims {inVolume} snapshots, its snapshot tree has {_described.Count} with {_named.Count} names.");
        if (inMap != (uint)_mapped.Count || !_described.IsSubsetOf(_mapped))
            throw Damaged($"The object map claims {inMap} snapshots and has {_mapped.Count}, not all of the volume's {_described.Count}.");
    }

    private static ImageException Damaged(string problem) => ImageException.Damaged(problem, "snapshot tree");
}
