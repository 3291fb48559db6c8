using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Judges the records of the attributes file in their order: an attribute's further extents follow it. Source: Apple's public hfs_format.h;
/// the kernel's hfs_xattr.c for the size of inline records; fsck_hfs, which looks at no inline value.
/// </summary>
/// <param name="forks">Judges the forks.</param>
/// <param name="nodes">The files and folders, complete.</param>
/// <param name="findings">Receives what is found.</param>
internal sealed class AttributesChecker(ForkChecker forks, CatalogNodes nodes, ImageFindings findings)
{
    private const string AccessControlList = "com.apple.system.Security";

    private byte[] _ownerKey = []; // of the attribute whose extents may follow
    private ForkData _fork;
    private long _blocks;
    private bool _hasFork;
    private RecordPlace _place;

    /// <summary>Takes a record of a leaf.</summary>
    /// <param name="node">The leaf.</param>
    /// <param name="index">Record, from 0; its key is without fault.</param>
    public void Add(BTreeNode node, int index)
    {
        ReadOnlySpan<byte> keyBytes = node.Key(index), data = node.Data(index);
        AttributeKey key = Layout.Read<AttributeKey>(keyBytes);
        var place = new RecordPlace("attributes", node.Number, index, key.FileId);
        var type = data.Length >= sizeof(uint) ? (AttributeRecordType)(uint)Layout.Read<UInt32BE>(data) : 0;
        if (type == AttributeRecordType.Extents && data.Length == Unsafe.SizeOf<AttributeExtents>())
        {
            AddExtents(keyBytes, key, Layout.Read<AttributeExtents>(data), place);
            return;
        }

        EndFork();
        CheckOwner(keyBytes, key, place);
        if (key.StartBlock != 0) Fault($"An attribute begins at block {key.StartBlock} of itself.", place);
        if (type == AttributeRecordType.InlineData && data.Length >= Unsafe.SizeOf<AttributeInlineData>())
            CheckInline(keyBytes, data, place);
        else if (type == AttributeRecordType.ForkData && data.Length == Unsafe.SizeOf<AttributeForkData>())
            BeginFork(keyBytes, Layout.Read<AttributeForkData>(data).Fork, place);
        else Fault($"There is an attribute record of type 0x{(uint)type:X} in {data.Length} bytes.", place);
    }

    /// <summary>Judges the last attribute, and the flags of those that have any.</summary>
    public void Finish()
    {
        EndFork();
        nodes.CheckAttributeFlags();
    }

    // The attributes of id 1 belong to the volume.
    private void CheckOwner(ReadOnlySpan<byte> keyBytes, in AttributeKey key, RecordPlace place)
    {
        if (key.FileId == CatalogNodeId.RootParent) return;
        if (!nodes.Find(key.FileId).Is(SeenOf.Record))
        {
            Fault($"An attribute belongs to the file or folder {key.FileId}, which is not there.", place);
            return;
        }

        bool isSecurity = key.NameLength == AccessControlList.Length
            && CatalogRecordKey.ReadName(keyBytes[Unsafe.SizeOf<AttributeKey>()..]) == AccessControlList;
        nodes.Get(key.FileId).Seen |= SeenOf.Attribute | (isSecurity ? SeenOf.Security : 0);
    }

    private void CheckInline(ReadOnlySpan<byte> key, ReadOnlySpan<byte> data, RecordPlace place)
    {
        uint size = Layout.Read<AttributeInlineData>(data).Size;
        long room = data.Length - Unsafe.SizeOf<AttributeInlineData>();
        if (size > room) Fault($"An attribute of {size} bytes has room for {room} in its record.", place);
        else if (CatalogRecordKey.ReadName(key[Unsafe.SizeOf<AttributeKey>()..]) == CompressedFile.AttributeName
            && CompressedFile.TryParse(data.Slice(Unsafe.SizeOf<AttributeInlineData>(), (int)size).ToArray()) is null)
            Fault($"The header of a file that the file system compressed is damaged ({CompressedFile.AttributeName}): its content cannot "
                + $"be read.", place);
        else if (room - size > 1) Fault($"An attribute of {size} bytes has a record for {room}: it seems cut short.", place);
    }

    private void BeginFork(ReadOnlySpan<byte> key, in ForkData fork, RecordPlace place)
    {
        (_ownerKey, _fork, _place, _hasFork) = (key.ToArray(), fork, place, true);
        _blocks = forks.Claim(fork.Extents, place.Id, BlockUse.Attribute, place);
    }

    private void AddExtents(ReadOnlySpan<byte> keyBytes, in AttributeKey key, in AttributeExtents record, RecordPlace place)
    {
        bool isSame = _hasFork && keyBytes.Length == _ownerKey.Length && keyBytes[..8].SequenceEqual(_ownerKey.AsSpan(0, 8))
            && keyBytes[12..].SequenceEqual(_ownerKey.AsSpan(12));
        if (!isSame || key.StartBlock != _blocks)
            Fault("There are further extents of an attribute, but not the attribute, or not the extents before them.", place);
        _blocks += forks.Claim(record.Extents, place.Id, BlockUse.Attribute, place);
    }

    private void EndFork()
    {
        if (_hasFork) forks.CheckSize(_fork, _blocks, mayBeLonger: false, _place);
        _hasFork = false;
    }

    private void Fault(string message, RecordPlace place) => findings.Damaged(HfsPlusCheckNames.Attributes, message, place.ToString());
}
