using System.Runtime.CompilerServices;
using System.Text;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.Apfs;

/// <summary>An APFS container as its newest checkpoint has it. Source: Apple File System Reference.</summary>
internal sealed class ApfsContainer : FileSystemVolume
{
    private const int MostDescriptorBlocks = 1 << 14;
    private const int MostEphemeralBytes = 16 << 20;
    private const int MostEphemerals = 100_000; // the largest containers have a few thousand

    private readonly Lazy<IReadOnlyList<ApfsVolumeSuperblock>> _volumes;
    private readonly Lazy<long?> _freeBytes;

    private readonly ulong _firstCopyClaim;
    private readonly BlockStorage _window;

    private ApfsContainer(
        BlockStorage window, ApfsBlocks blocks, ApfsContainerSuperblock superblock, ulong newestSeen, ulong firstCopy, ulong firstCopyClaim)
    {
        (_window, Blocks, Superblock, NewestTransaction, FirstCopyTransaction, _firstCopyClaim) =
            (window, blocks, superblock, newestSeen, firstCopy, firstCopyClaim);
        _volumes = new(ReadVolumes);
        _freeBytes = new(ReadFreeBytes);
    }

    /// <inheritdoc/>
    public override VolumeKind Kind => VolumeKind.Apfs;

    /// <inheritdoc/>
    /// <remarks>Of the only volume; a container has no name.</remarks>
    public override string Name => _volumes.Value.Count == 1 ? NameOf(_volumes.Value[0]) : "";

    /// <inheritdoc/>
    public override long CapacityBytes => (long)Blocks.Count * Blocks.Size;

    /// <inheritdoc/>
    public override long? FreeBytes => _freeBytes.Value;

    /// <inheritdoc/>
    public override bool IsEncrypted => _volumes.Value.Any(v => (v.Flags & ApfsConstants.VolumeUnencrypted) == 0);

    /// <summary>The blocks.</summary>
    internal ApfsBlocks Blocks { get; }

    /// <summary>The superblock of the newest valid checkpoint.</summary>
    internal ApfsContainerSuperblock Superblock { get; }

    /// <summary>The newest transaction any intact block of the descriptor area, or the intact copy in block 0, tells of.</summary>
    internal ulong NewestTransaction { get; }

    /// <summary>The transaction of the copy in block 0; 0 when its checksum is wrong.</summary>
    internal ulong FirstCopyTransaction { get; }

    /// <summary>Whether only the checksum of the copy in block 0 is wrong: it led to the newest checkpoint there is, and tells of none that
    /// is lost.</summary>
    internal bool IsFirstCopyRepairable =>
        UnknownFeatures is null && FirstCopyTransaction == 0 && NewestTransaction == Transaction && _firstCopyClaim <= Transaction;

    /// <summary>Features that this version does not know, for people; null when there are none. With any, nothing is written, and nothing
    /// is free.</summary>
    internal string? UnknownFeatures => ApfsFeatures.FindUnknown(Superblock, _volumes.Value);

    /// <summary>The transaction of the checkpoint.</summary>
    internal ulong Transaction => Superblock.Object.TransactionId;

    /// <summary>Whether there is a container.</summary>
    /// <param name="window">Partition or disk.</param>
    public static bool IsMatch(BlockStorage window)
    {
        if (window.Length < ApfsConstants.MinimumBlockSize) return false;
        Span<byte> magic = stackalloc byte[4];
        window.Read(32, magic);
        return magic.SequenceEqual("NXSB"u8);
    }

    /// <summary>Opens the newest valid checkpoint.</summary>
    /// <param name="window">Partition or disk; not owned.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>, or
    /// <see cref="ImageErrorId.UnsupportedFormat"/>.</exception>
    public static ApfsContainer Open(BlockStorage window)
    {
        byte[] start = new byte[Unsafe.SizeOf<ApfsContainerSuperblock>()];
        window.Read(0, start);
        ApfsContainerSuperblock first = Layout.Read<ApfsContainerSuperblock>(start);
        uint size = first.BlockSize;
        if (size is < ApfsConstants.MinimumBlockSize or > ApfsConstants.MaximumBlockSize || (size & (size - 1)) != 0)
            throw Damaged($"It claims blocks of {size} bytes.");
        if (first.BlockCount == 0 || first.BlockCount > (ulong)window.Length / size)
            throw Damaged($"It claims {(ulong)first.BlockCount} blocks of {size} bytes where there are {window.Length} bytes.");
        MustBeContiguous(first);
        var blocks = new ApfsBlocks(window, (int)size, first.BlockCount);
        if (first.DescriptorBlocks == 0 || first.DescriptorBlocks > MostDescriptorBlocks
            || !blocks.Contains(first.DescriptorBase, first.DescriptorBlocks))
            throw Damaged("Its checkpoint descriptor area lies outside.");
        ApfsContainer container = FindNewest(window, blocks, first);
        MustBeContiguous(container.Superblock); // it need not say what block 0 does
        return container;
    }

    /// <inheritdoc/>
    public override IEnumerable<StorageExtent> GetFreeExtents(FreeSpaceQuery? query = null)
    {
        if (NewestTransaction > Transaction) yield break; // what a later, broken checkpoint changed is not known
        if (UnknownFeatures is not null || _volumes.Value.Count != VolumeIds().Count()) yield break;
        ApfsFreeSpace space = OpenFreeSpace();
        query ??= new();
        space.Verify(query.Cancellation);
        foreach ((ulong first, ulong count) in space.FreeRuns(Reserved(space.Manager), query))
            yield return new((long)first * Blocks.Size, (long)count * Blocks.Size, ExtentKind.Unused);
    }

    /// <inheritdoc/>
    public override int VolumeCount => Math.Max(1, _volumes.Value.Count);

    /// <inheritdoc/>
    public override IReadOnlyList<BackupImageVolume> Describe(int partition)
    {
        if (_volumes.Value.Count == 0)
            return [new("", Kind, partition, CapacityBytes, CapacityBytes - FreeBytes, FreeBytes, null, null, false)];
        return [.. _volumes.Value.Select(v => new BackupImageVolume(
            NameOf(v), Kind, partition, CapacityBytes, (long)Math.Min(v.AllocatedBlocks, Blocks.Count) * Blocks.Size, FreeBytes,
            Clamp(v.FileCount), Clamp(v.FolderCount), false)
        {
            IsEncrypted = (v.Flags & ApfsConstants.VolumeUnencrypted) == 0,
        })];
    }

    /// <inheritdoc/>
    /// <remarks>Not of volumes that are encrypted or sealed. When no volume could be listed, reading says why.</remarks>
    public override bool HasReadableTree(int index) =>
        _volumes.Value.Count == 0 ? index == 0 && VolumeIds().Any() : IsReadable(_volumes.Value[index]);

    /// <inheritdoc/>
    public override SourceTree? ReadTree(int index = 0, CancellationToken cancellation = default)
    {
        if (!HasReadableTree(index)) return null;
        ApfsVolumeSuperblock volume =
            ReadVolume(new(Blocks, Superblock.ObjectMapAddress, "container object map"), VolumeIds().ElementAt(index));
        return OpenFileTree(volume) is { } tree ? new ApfsTreeReader(tree, UnknownFeatures).Read(cancellation) : null;
    }

    /// <inheritdoc/>
    public override ImageException? ObstacleToReading(int index) =>
        index < _volumes.Value.Count ? ApfsFeatures.FindObstacle(Superblock, _volumes.Value[index])
        : HasReadableTree(index) ? null
        : new(ImageErrorId.VolumeNotFound, "The APFS container has no volume.",
            remedy: "Choose another volume; Get-BackupImage lists them.");

    /// <summary>The records of a volume's files, or null when the volume is encrypted or sealed.</summary>
    /// <param name="volume">The volume.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    internal ApfsFileTree? OpenFileTree(in ApfsVolumeSuperblock volume) =>
        IsReadable(volume) ? new(Blocks, _window, volume, Transaction) : null;

    /// <inheritdoc/>
    public override VolumeResizer OpenResizer(CancellationToken cancellation) => UnknownFeatures is not { } unknown
        ? new ApfsGrower(this, cancellation)
        : throw ImageException.Unsupported(
            $"The APFS container has features that this version does not know ({unknown}): it is not written to.",
            "Resize it on a Mac, with 'diskutil apfs resizeContainer'.", "container superblock");

    /// <inheritdoc/>
    public override void Check(ImageFindings findings, CancellationToken cancellation) =>
        new ApfsChecker(this, findings, cancellation).Run();

    /// <inheritdoc/>
    /// <remarks>Block 0 becomes the copy of the newest superblock, as at every ejection.</remarks>
    public override IReadOnlyList<string> Repair(CancellationToken cancellation)
    {
        if (!IsFirstCopyRepairable) return [];
        Blocks.Write(0, ReadNewestSuperblock());
        return ["The copy of the APFS container superblock in block 0 was restored."];
    }

    /// <summary>The block of the newest superblock.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it is not where it says it is.</exception>
    internal byte[] ReadNewestSuperblock()
    {
        if (Superblock.DescriptorLength == 0) throw ImageException.Damaged("The checkpoint has no superblock.", "container superblock");
        ulong address = Superblock.DescriptorBase
            + ((Superblock.DescriptorIndex + (ulong)Superblock.DescriptorLength - 1) % Superblock.DescriptorBlocks);
        byte[] block = Blocks.ReadObject(address, "container superblock", 1, ApfsObjectType.ContainerSuperblock);
        return Layout.Read<ApfsObjectHeader>(block).TransactionId == Transaction
            ? block
            : throw ImageException.Damaged("The newest superblock is not at the end of its checkpoint.", $"block {address}");
    }

    /// <summary>A volume's name.</summary>
    internal static string NameOf(ApfsVolumeSuperblock volume)
    {
        ReadOnlySpan<byte> bytes = volume.Name;
        int end = bytes.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
    }

    /// <summary>Object ids of the volumes.</summary>
    internal IEnumerable<ulong> VolumeIds()
    {
        for (int i = 0; i < ApfsConstants.MaximumVolumes; i++)
        {
            ulong id = Superblock.VolumeIds[i];
            if (id != 0) yield return id;
        }
    }

    /// <summary>The volume with an object id.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    internal ApfsVolumeSuperblock ReadVolume(ApfsObjectMap map, ulong id)
    {
        ApfsObjectMapValue place = map.Find(id, Transaction)
            ?? throw ImageException.Damaged("The object map does not know a volume.", $"object {id}");
        ApfsVolumeSuperblock volume =
            Layout.Read<ApfsVolumeSuperblock>(Blocks.ReadObject(place.Address, "volume superblock", 1, ApfsObjectType.Volume));
        return volume.Magic == ApfsConstants.VolumeMagic ? volume
            : throw ImageException.Damaged("A volume superblock lacks its signature.", $"block {(ulong)place.Address}");
    }

    /// <summary>The ephemeral objects of the checkpoint.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    internal IEnumerable<ApfsCheckpointMapping> ReadCheckpointMaps()
    {
        uint area = Superblock.DescriptorBlocks, length = Superblock.DescriptorLength, index = Superblock.DescriptorIndex;
        if (length < 2 || length > area || index >= area)
            throw ImageException.Damaged("The checkpoint has no map.", "container superblock");
        int mappings = 0;
        for (ulong i = 0; i < length - 1; i++)
        {
            ulong address = Superblock.DescriptorBase + ((index + i) % area);
            byte[] block = Blocks.ReadObject(address, "checkpoint map", 1, ApfsObjectType.CheckpointMap);
            ApfsCheckpointMap map = Layout.Read<ApfsCheckpointMap>(block);
            int headerSize = Unsafe.SizeOf<ApfsCheckpointMap>(), entrySize = Unsafe.SizeOf<ApfsCheckpointMapping>();
            if (map.Object.TransactionId != Transaction || map.Count > (uint)((block.Length - headerSize) / entrySize))
                throw ImageException.Damaged("A checkpoint map does not belong to its checkpoint.", $"block {address}");
            if ((mappings += (int)(uint)map.Count) > MostEphemerals)
                throw ImageException.Damaged($"The checkpoint maps name more than {MostEphemerals} objects.", $"block {address}");
            for (int entry = 0; entry < map.Count; entry++)
                yield return Layout.Read<ApfsCheckpointMapping>(block.AsSpan(headerSize + (entry * entrySize)));
        }
    }

    /// <summary>Reads an ephemeral object and proves its checksum.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    internal byte[] ReadEphemeral(ApfsCheckpointMapping mapping, string what)
    {
        if (mapping.Size == 0 || mapping.Size > MostEphemeralBytes || mapping.Size % (uint)Blocks.Size != 0)
            throw ImageException.Damaged($"An ephemeral object claims {(uint)mapping.Size} bytes.", $"object {(ulong)mapping.ObjectId}");
        ApfsObjectHeader claimed = Blocks.ReadHeader(mapping.Address, what); // before as much is read as the map claims
        if (claimed.ObjectId != mapping.ObjectId || claimed.Type != mapping.Type)
            throw ImageException.Damaged($"The {what} is not the object its checkpoint map names.", $"block {(ulong)mapping.Address}");
        byte[] bytes = Blocks.ReadObject(mapping.Address, what, (int)(uint)mapping.Size / Blocks.Size);
        ApfsObjectHeader header = Layout.Read<ApfsObjectHeader>(bytes);
        return header.ObjectId == mapping.ObjectId && header.Type == mapping.Type
            ? bytes
            : throw ImageException.Damaged($"The {what} is not the object its checkpoint map names.", $"block {(ulong)mapping.Address}");
    }

    /// <summary>Opens the space manager of the main device.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>, or
    /// <see cref="ImageErrorId.UnsupportedFormat"/>.</exception>
    internal ApfsFreeSpace OpenFreeSpace()
    {
        foreach (ApfsCheckpointMapping mapping in ReadCheckpointMaps())
        {
            if (mapping.ObjectId == Superblock.SpaceManagerId) return new(Blocks, ReadEphemeral(mapping, "space manager"), Transaction);
        }

        throw ImageException.Damaged("The checkpoint has no space manager.", "checkpoint map");
    }

    /// <summary>Blocks that are never free whatever the bitmaps say.</summary>
    internal IReadOnlyList<(ulong First, ulong Count)> Reserved(ApfsSpaceManager manager)
    {
        var ranges = new List<(ulong First, ulong Count)>(OwnAreas(manager))
        {
            (Superblock.BlockedOut.Start, Superblock.BlockedOut.Count), (Superblock.KeyLocker.Start, Superblock.KeyLocker.Count),
            (Superblock.MediaKeyLocker.Start, Superblock.MediaKeyLocker.Count), (Superblock.EfiJumpstart, 1),
        };
        ranges.RemoveAll(r => !Blocks.Contains(r.First, r.Count));
        ranges.Sort();
        return ranges;
    }

    /// <summary>Where the container keeps its checkpoints and the space manager's own blocks: nothing of a volume lies there.</summary>
    internal IReadOnlyList<(ulong First, ulong Count)> OwnAreas(ApfsSpaceManager manager)
    {
        (ulong First, ulong Count)[] areas =
        [
            (0, 1), (Superblock.DescriptorBase, Superblock.DescriptorBlocks), (Superblock.DataBase, Superblock.DataBlocks),
            (manager.PoolBase, manager.PoolBlocks), (manager.PoolBitmapBase, manager.PoolBitmapBlocks),
        ];
        return Array.FindAll(areas, a => Blocks.Contains(a.First, a.Count));
    }

    private static void MustBeContiguous(in ApfsContainerSuperblock superblock)
    {
        if (((superblock.DescriptorBlocks | superblock.DataBlocks) & ApfsConstants.IsScattered) != 0)
            throw new ImageException(
                ImageErrorId.UnsupportedFormat,
                "The checkpoint areas of the APFS container are not contiguous, which this version does not read.",
                place: "container superblock");
    }

    private static ApfsContainer FindNewest(BlockStorage window, ApfsBlocks blocks, ApfsContainerSuperblock first)
    {
        ulong firstCopy = ApfsBlocks.IsIntact(blocks.Read(0, 1, "container superblock")) ? first.Object.TransactionId : (ulong)0;
        ulong newestSeen = firstCopy;
        ApfsContainerSuperblock newest = default;
        for (uint i = 0; i < first.DescriptorBlocks; i++)
        {
            byte[] block = blocks.Read(first.DescriptorBase + i, 1, "checkpoint descriptor area");
            ApfsContainerSuperblock candidate = Layout.Read<ApfsContainerSuperblock>(block);
            if ((ApfsObjectType)(candidate.Object.Type & ApfsConstants.ObjectTypeMask) is not (
                ApfsObjectType.ContainerSuperblock or ApfsObjectType.CheckpointMap) || !ApfsBlocks.IsIntact(block)) continue;
            newestSeen = Math.Max(newestSeen, candidate.Object.TransactionId);
            if (candidate.Magic == ApfsConstants.ContainerMagic && IsSameContainer(candidate, first, window.Length)
                && candidate.Object.TransactionId > newest.Object.TransactionId) newest = candidate;
        }

        if (newest.Object.TransactionId == 0) throw Damaged("It has no valid checkpoint.");
        return new(window, newest.BlockCount == blocks.Count ? blocks
            : new(window, blocks.Size, newest.BlockCount), newest, newestSeen, firstCopy, first.Object.TransactionId);
    }

    // A container that was resized has its new size in its checkpoint before block 0 tells of it.
    private static bool IsSameContainer(in ApfsContainerSuperblock a, in ApfsContainerSuperblock first, long length) =>
        (ApfsObjectType)(a.Object.Type & ApfsConstants.ObjectTypeMask) == ApfsObjectType.ContainerSuperblock
            && a.BlockSize == first.BlockSize
        && a.BlockCount != 0 && a.BlockCount <= (ulong)length / a.BlockSize
            && ((ReadOnlySpan<byte>)a.Identifier).SequenceEqual(first.Identifier)
        && a.DescriptorBase == first.DescriptorBase && a.DescriptorBlocks == first.DescriptorBlocks;

    private static ImageException Damaged(string why) =>
        ImageException.Damaged("The APFS container cannot be used. " + why, "container superblock in block 0");

    private bool IsReadable(in ApfsVolumeSuperblock volume) => ApfsFeatures.FindObstacle(Superblock, volume) is null;

    private static long Clamp(ulong count) => (long)Math.Min(count, long.MaxValue);

    private List<ApfsVolumeSuperblock> ReadVolumes()
    {
        var volumes = new List<ApfsVolumeSuperblock>();
        try
        {
            var map = new ApfsObjectMap(Blocks, Superblock.ObjectMapAddress, "container object map");
            foreach (ulong id in VolumeIds()) volumes.Add(ReadVolume(map, id));
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return []; // Check says what is wrong; half a list would pass for the whole.
        }

        return volumes;
    }

    private long? ReadFreeBytes()
    {
        try
        {
            ulong free = OpenFreeSpace().Manager.Main.FreeCount;
            return free > Blocks.Count ? null : (long)free * Blocks.Size;
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return null;
        }
    }
}
