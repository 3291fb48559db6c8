using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// Judges what the newest checkpoint of a container reaches: checksums of objects, the counts of the space manager, and that nothing in use
/// is marked free. Nothing in APFS is mended but block 0. File data has no checksums.
/// </summary>
internal sealed class ApfsChecker(ApfsContainer container, ImageFindings findings, CancellationToken cancellation)
{
    private const string Checkpoint = "APFS checkpoint";
    private const string Features = "APFS features";
    private const string Space = "APFS space manager";
    private const string Objects = "APFS objects";
    private const string Files = "APFS files";
    private const int MostObjectBytes = 1 << 20;
    private const long MostEphemeralBytes = 512L << 20; // of all together
    private const int MostFaults = 1000; // then nothing can be learned from the rest, and hostile trees must end

    private readonly HashSet<ulong> _nodes = []; // of all trees: those of snapshots may share some
    private readonly Dictionary<ulong, ApfsCheckpointMapping> _ephemeral = [];
    private ApfsFreeSpace? _space;
    private IReadOnlyList<(ulong First, ulong Count)> _ownAreas = [];
    private long _checked;
    private long _sealed;
    private long _faults;
    private ulong _mappedBlocks;
    private ulong _extentBlocks; // of one tree: snapshots share extents

    private ApfsBlocks Blocks => container.Blocks;

    /// <summary>Checks all of it.</summary>
    public void Run()
    {
        Guard(Checkpoint, CheckSuperblocks);
        Guard(Features, CheckFeatures);
        Guard(Checkpoint, CheckEphemerals);
        Guard(Space, CheckSpace);
        Guard(Objects, CheckVolumes);
        if (_sealed != 0)
            findings.Note(Objects, $"{_sealed} encrypted or headerless objects have no checksum that can be proved without the key.");
        if (_faults >= MostFaults) findings.Damaged(Objects, "There are so many faults that the rest was not looked at.");
        if (_faults == 0)
            findings.Ok(
                Objects, $"The checksums of {_checked} objects are right{(_space is null ? "" : ", and none of them is marked free")}.");
    }

    private void CheckSuperblocks()
    {
        if (!Blocks.Contains(container.Superblock.DataBase, container.Superblock.DataBlocks))
            Damaged(Checkpoint, "The checkpoint data area lies outside of the container.", "container superblock");
        if (container.IsFirstCopyRepairable)
            findings.Repairable(Checkpoint, "The checksum of the copy of the container superblock in block 0 is wrong.", "block 0");
        else if (container.FirstCopyTransaction == 0)
            Damaged(Checkpoint, "The checksum of the container superblock in block 0 is wrong.", "block 0");
        else if (container.FirstCopyTransaction > container.Transaction)
            Damaged(Checkpoint, $"The newest checkpoint is lost: block 0 tells of transaction {container.FirstCopyTransaction}, the newest "
                + $"valid one is {container.Transaction}.", "checkpoint descriptor area");
        else if (container.NewestTransaction > container.Transaction)
            findings.Note(Checkpoint, $"Transaction {container.NewestTransaction} was not finished; transaction {container.Transaction} is "
                + $"used, and no block counts as free.");
        else findings.Ok(Checkpoint, $"The checkpoint of transaction {container.Transaction} is the newest.");
    }

    private void CheckFeatures()
    {
        const string OnAMac = "Check it on a Mac, with 'diskutil verifyVolume'.";
        if (container.UnknownFeatures is { } unknown)
            findings.Note(Features, $"There are features that this version does not know ({unknown}): what belongs to them was not "
                + $"checked, the container is not written to, and no block of it counts as free.", remedy: OnAMac);
        for (int i = 0; i < container.VolumeCount; i++)
        {
            if (container.ObstacleToReading(i) is { Id: ImageErrorId.UnsupportedFormat } obstacle)
                findings.Note(Features, $"{obstacle.Problem} Its tree of files was not checked.", obstacle.Place, OnAMac);
        }
    }

    private void CheckEphemerals()
    {
        ulong budget = Math.Min(Math.Min(container.Superblock.DataBlocks, Blocks.Count), (ulong)(MostEphemeralBytes / Blocks.Size));
        foreach (ApfsCheckpointMapping mapping in container.ReadCheckpointMaps())
        {
            cancellation.ThrowIfCancellationRequested();
            ulong blocks = mapping.Size / (uint)Blocks.Size;
            if (blocks > budget || !_ephemeral.TryAdd(mapping.ObjectId, mapping))
            {
                Damaged(Checkpoint, "The checkpoint maps name more than the checkpoint data area holds, or an object twice.",
                    $"object {(ulong)mapping.ObjectId}");
                return;
            }

            budget -= blocks;
            Guard(Checkpoint, () => container.ReadEphemeral(mapping, "ephemeral object"));
            _checked++;
        }
    }

    private void CheckSpace()
    {
        ApfsFreeSpace space;
        try
        {
            space = container.OpenFreeSpace();
        }
        catch (ImageException e) when (e.Id is ImageErrorId.UnsupportedFormat)
        {
            findings.Note(Space, e.Problem + " What is free was not checked.", e.Place);
            return;
        }

        space.Verify(cancellation);
        _space = space;
        _ownAreas = container.OwnAreas(space.Manager);
        findings.Ok(Space, $"{(ulong)space.Manager.Main.FreeCount} of {(ulong)space.Manager.Main.BlockCount} blocks are free, in the "
            + $"bitmaps and by every count.");
        foreach (ulong block in space.OwnBlocks) MustBeUsed(block, 1, "block of the space manager");
        foreach ((ulong first, ulong count) in container.Reserved(space.Manager)) MustBeUsed(first, count, "reserved area");
        CheckQueue(space.Manager.PoolQueue, "internal pool");
        CheckQueue(space.Manager.MainQueue, "main device");
    }

    private void CheckQueue(ApfsFreeQueue queue, string what)
    {
        if (queue.TreeId == 0)
        {
            if (queue.Count != 0) Damaged(Space, $"The free queue of the {what} has blocks, but no tree.");
            return;
        }

        ulong total = 0;
        cancellation.ThrowIfCancellationRequested();
        var seen = new HashSet<ulong>();
        var pending = new Stack<(ulong Id, int Level)>([(queue.TreeId, -1)]);
        while (pending.TryPop(out (ulong Id, int Level) next))
        {
            if (!seen.Add(next.Id) || !_ephemeral.TryGetValue(next.Id, out ApfsCheckpointMapping mapping))
                throw ImageException.Damaged($"A node of the free queue of the {what} is missing, or there twice.", $"object {next.Id}");
            var node = new ApfsNode(container.ReadEphemeral(mapping, "free queue"), "free queue");
            MustBeOnLevel(node, next.Level);
            for (int i = 0; i < node.Count; i++)
            {
                if (total > Blocks.Count)
                    throw ImageException.Damaged(
                        $"The free queue of the {what} names more blocks than the container has.", $"object {next.Id}");
                if (node.IsLeaf) total += CheckQueued(node, i, what);
                else pending.Push((node.Child(i), node.Header.Level));
            }
        }

        if (total != queue.Count)
            Damaged(Space, $"The free queue of the {what} holds {total} blocks, the space manager claims {(ulong)queue.Count}.");
    }

    private ulong CheckQueued(ApfsNode node, int index, string what)
    {
        ulong first = BinaryPrimitives.ReadUInt64LittleEndian(node.Key(index, 16)[8..]);
        ReadOnlySpan<byte> value = node.Value(index, sizeof(ulong));
        ulong count = value.IsEmpty ? 1 : BinaryPrimitives.ReadUInt64LittleEndian(value);
        if (!Blocks.Contains(first, count))
            throw ImageException.Damaged($"The free queue of the {what} leaves the container.", $"block {first}");
        MustBeUsed(first, count, "range in a free queue");
        return count;
    }

    private void CheckVolumes()
    {
        ulong address = container.Superblock.ObjectMapAddress;
        CheckObjectMap(address, "container object map", null);
        var map = new ApfsObjectMap(Blocks, address, "container object map");
        foreach (ulong id in container.VolumeIds()) Guard(Objects, () => CheckVolume(container.ReadVolume(map, id)));
    }

    private void CheckVolume(ApfsVolumeSuperblock volume)
    {
        string name = ApfsContainer.NameOf(volume);
        long faults = _faults;
        var snapshots = new ApfsSnapshotRecords();
        ulong address = volume.ObjectMapAddress;
        Guard(Objects, () => CheckObjectMap(address, $"object map of volume '{name}'", snapshots));
        var map = new ApfsObjectMap(Blocks, address, "volume object map");
        CheckFileTree(volume, map, container.Transaction, $"volume '{name}'");
        if (container.OpenFileTree(volume) is { } files)
            Guard(Files, () => CheckFiles(new(files), name));
        if (IsPhysical(volume.ExtentTreeType)) WalkTree(volume.ExtentTreeId, "extent tree", CheckExtents);
        if (!IsPhysical(volume.SnapshotTreeType)) return;
        WalkTree(volume.SnapshotTreeId, "snapshot tree", (leaf, index) =>
        {
            if (snapshots.Take(leaf, index) is { } snapshot) CheckSnapshot(volume, map, snapshot.Transaction, snapshot.Metadata);
        });
        if (_faults == faults) snapshots.MustAgree(volume.SnapshotCount, map.Header.SnapshotCount);
    }

    private void CheckFiles(ApfsTreeReader reader, string name)
    {
        long before = _faults;
        long count = reader.Check((message, place) => Damaged(Files, message, place), cancellation);
        if (_faults == before) findings.Ok(Files, $"The {count} files and folders of volume '{name}' are in order.");
    }

    private void CheckFileTree(in ApfsVolumeSuperblock volume, ApfsObjectMap map, ulong transaction, string of)
    {
        if (IsPhysical(volume.RootTreeType)) WalkTree(volume.RootTreeId, "file tree", null);
        else if (map.Find(volume.RootTreeId, transaction) is null) Damaged(Objects, $"The tree of files of {of} is missing.");
    }

    private static bool IsPhysical(uint type) => (type & ApfsConstants.ObjectStorageMask) == ApfsConstants.ObjectPhysical;

    private void CheckObjectMap(ulong address, string what, ApfsSnapshotRecords? snapshots)
    {
        var map = new ApfsObjectMap(Blocks, address, what);
        Used(address, what);
        WalkTree(map.Header.TreeAddress, what, CheckMapped);
        if (map.Header.SnapshotTreeAddress != 0)
            WalkTree(map.Header.SnapshotTreeAddress, what, snapshots is null ? null : snapshots.TakeMapped);
    }

    // Every virtual object of a volume is in its object map, those of snapshots too.
    private void CheckMapped(ApfsNode leaf, int index)
    {
        ApfsObjectMapKey key = Layout.Read<ApfsObjectMapKey>(leaf.Key(index, ApfsObjectMap.KeySize));
        ReadOnlySpan<byte> bytes = leaf.Value(index, ApfsObjectMap.ValueSize);
        if (bytes.IsEmpty) return;
        ApfsObjectMapValue value = Layout.Read<ApfsObjectMapValue>(bytes);
        if ((value.Flags & ApfsConstants.MapDeleted) != 0) return;
        if (value.Size == 0 || value.Size > MostObjectBytes || value.Size % (uint)Blocks.Size != 0)
            throw ImageException.Damaged($"An object map tells of an object of {(uint)value.Size} bytes.", $"object {(ulong)key.ObjectId}");
        int blocks = (int)(uint)value.Size / Blocks.Size;
        _mappedBlocks += (ulong)blocks;
        if (_mappedBlocks > Blocks.Count) throw GaveUp("The object maps name more blocks than the container has.");
        byte[] content = IsWorthReading(value) ? Blocks.Read(value.Address, blocks, "object") : new byte[Blocks.Size];
        MustBeUsed(value.Address, (ulong)blocks, "object");
        MustBeApart(value.Address, (ulong)blocks, "object");
        bool isProved = (value.Flags & ApfsConstants.MapNoHeader) == 0 && ApfsBlocks.IsIntact(content);
        if (!isProved && (value.Flags & (ApfsConstants.MapNoHeader | ApfsConstants.MapEncrypted)) != 0)
        {
            _sealed++;
            return;
        }

        ApfsObjectHeader header = Layout.Read<ApfsObjectHeader>(content);
        if (!isProved) throw ImageException.Damaged("The checksum of an object is wrong.", $"block {(ulong)value.Address}");
        if (header.ObjectId != key.ObjectId || header.TransactionId != key.TransactionId)
            throw ImageException.Damaged("An object is not the one its map names.", $"block {(ulong)value.Address}");
        _checked++;
    }

    // What has no checksum in front cannot be proved: it is not read for as long as its map claims.
    private bool IsWorthReading(in ApfsObjectMapValue value) =>
        (value.Flags & ApfsConstants.MapNoHeader) == 0
            && ((value.Flags & ApfsConstants.MapEncrypted) == 0 || Blocks.ReadHeader(value.Address, "object").Checksum != 0);

    private void CheckExtents(ApfsNode leaf, int index)
    {
        ulong first = BinaryPrimitives.ReadUInt64LittleEndian(leaf.Key(index, sizeof(ulong))) & ApfsConstants.AddressMask;
        ReadOnlySpan<byte> value = leaf.Value(index, sizeof(ulong));
        if (value.IsEmpty) return;
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(value);
        if (length >> ApfsConstants.TypeShift != ApfsConstants.KindNew) return;
        length &= ApfsConstants.AddressMask;
        if (Blocks.Contains(first, length))
        {
            _extentBlocks += length;
            if (_extentBlocks > Blocks.Count) throw GaveUp("An extent tree names more blocks than the container has.");
            MustBeUsed(first, length, "extent of a file");
            MustBeApart(first, length, "extent of a file");
        }
        else if ((container.Superblock.IncompatibleFeatures & ApfsConstants.IncompatibleFusion) == 0)
            throw ImageException.Damaged("An extent of a file leaves the container.", $"block {first}");
    }

    // The objects of a snapshot are those of the volume's object map at its transaction; what of the files' extents it has to itself is in
    // a tree of its own.
    private void CheckSnapshot(in ApfsVolumeSuperblock volume, ApfsObjectMap map, ulong transaction, in ApfsSnapshotMetadata metadata)
    {
        ulong address = metadata.SuperblockAddress;
        if (address != 0)
        {
            ApfsVolumeSuperblock then =
                Layout.Read<ApfsVolumeSuperblock>(Blocks.ReadObject(address, "superblock of a snapshot", 1, ApfsObjectType.Volume));
            Used(address, "superblock of a snapshot");
            if (then.Magic != ApfsConstants.VolumeMagic || !((ReadOnlySpan<byte>)then.Identifier).SequenceEqual(volume.Identifier))
                throw ImageException.Damaged("The superblock of a snapshot is not one of its volume.", $"block {address}");
            CheckFileTree(then, map, transaction, $"the snapshot of transaction {transaction}");
        }

        if (metadata.ExtentTreeId != 0 && IsPhysical(metadata.ExtentTreeType))
            WalkTree(metadata.ExtentTreeId, "extent tree of a snapshot", CheckExtents);
    }

    // A tree whose nodes name their children by address. A bad node or record is a finding; the others are checked all the same.
    private void WalkTree(ulong root, string what, Action<ApfsNode, int>? check)
    {
        var seen = new HashSet<ulong>();
        var pending = new Stack<(ulong Address, int Level)>([(root, -1)]);
        _extentBlocks = 0;
        while (_faults < MostFaults && pending.TryPop(out (ulong Address, int Level) next))
        {
            cancellation.ThrowIfCancellationRequested();
            Guard(Objects, () =>
            {
                if (!seen.Add(next.Address)) throw ImageException.Damaged($"A node of the {what} is there twice.", $"block {next.Address}");
                if (!_nodes.Add(next.Address)) return;
                var node = new ApfsNode(Blocks.ReadObject(next.Address, what, 1, ApfsObjectType.BTreeRoot, ApfsObjectType.BTreeNode), what);
                if (node.Header.Object.ObjectId != next.Address)
                    throw ImageException.Damaged($"A node of the {what} is another block's.", $"block {next.Address}");
                MustBeOnLevel(node, next.Level);
                Used(next.Address, what);
                for (int i = 0; i < node.Count && _faults < MostFaults; i++)
                {
                    int entry = i;
                    if (!node.IsLeaf) pending.Push((node.Child(i), node.Header.Level));
                    else if (check is not null) Guard(Objects, () => check(node, entry));
                }
            });
        }
    }

    private static void MustBeOnLevel(ApfsNode node, int parent)
    {
        if (parent >= 0 && node.Header.Level != parent - 1)
            throw ImageException.Damaged("A node of a tree is on the wrong level.", $"object {(ulong)node.Header.Object.ObjectId}");
    }

    private void Used(ulong block, string what)
    {
        MustBeUsed(block, 1, what);
        _checked++;
    }

    private void MustBeUsed(ulong first, ulong count, string what)
    {
        if (_space?.FirstFree(first, count) is ulong free)
            Damaged(Objects, $"A block that is marked free is in use ({what}).", $"block {free}");
    }

    // What a volume owns in an area of the container's own would be lost when that is written, or moved.
    private void MustBeApart(ulong first, ulong count, string what)
    {
        foreach ((ulong start, ulong length) in _ownAreas)
        {
            if (first < start + length && start < first + count)
                Damaged(Objects, $"An {what} lies in an area that the container keeps for itself.", $"block {Math.Max(first, start)}");
        }
    }

    // Blocks have one owner each: sums that exceed the container end the check, which would otherwise read what is named again and again.
    private ImageException GaveUp(string problem)
    {
        _faults = MostFaults;
        return ImageException.Damaged(problem, "APFS container");
    }

    private void Guard(string check, Action action)
    {
        try
        {
            action();
        }
        catch (ImageException e) when (e.Id is ImageErrorId.ImageDamaged or ImageErrorId.UnsupportedFormat or ImageErrorId.ChecksumMismatch)
        {
            _faults++;
            findings.Damaged(check, e);
        }
    }

    private void Damaged(string check, string message, string? place = null)
    {
        _faults++;
        findings.Damaged(check, message, place);
    }
}
