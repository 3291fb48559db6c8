using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>An HFS+ or HFSX volume, alone or embedded in the wrapper of a classic HFS volume. Source: TN1150.</summary>
internal sealed class HfsPlusVolume : FileSystemVolume
{
    private const int SectorSize = 512;
    private const int TreePiece = 64 << 10;
    private const int TreeCache = 1 << 20;

    private readonly BlockStorage _volume;
    private readonly long _offset;
    private readonly Lazy<BTreeFile> _catalog;
    private readonly Lazy<ExtentsOverflow> _overflow;
    private readonly Lazy<(string Name, CatalogFolder Record)?> _root;

    private HfsPlusVolume(BlockStorage volume, long offset, VolumeHeader header)
    {
        (_volume, _offset, Header) = (volume, offset, header);
        _overflow = new(() => new(OpenTree(header.ExtentsFile, CatalogNodeId.ExtentsFile, "extents overflow")));
        _catalog = new(() => OpenTree(header.CatalogFile, CatalogNodeId.CatalogFile, "catalog"));
        _root = new(FindRoot);
    }

    /// <summary>The volume header that is believed: the first, or the alternate one where the first is damaged.</summary>
    public VolumeHeader Header { get; }

    /// <inheritdoc/>
    public override VolumeKind Kind =>
        Header.Signature == HfsPlusConstants.SignatureHfsx && IsCaseSensitive() ? VolumeKind.HfsPlusCaseSensitive : VolumeKind.HfsPlus;

    /// <inheritdoc/>
    /// <remarks>Empty also when the catalog is too damaged to tell; <see cref="ReadTree"/> then says what is wrong.</remarks>
    public override string Name => _root.Value?.Name ?? "";

    /// <inheritdoc/>
    public override long CapacityBytes => (long)Header.TotalBlocks * Header.BlockSize;

    /// <inheritdoc/>
    public override long? FreeBytes => (long)Header.FreeBlocks * Header.BlockSize;

    /// <inheritdoc/>
    /// <remarks>As the header counts them: the journal's two files and the nodes of hard links are among them.</remarks>
    public override long? FileCount => Header.FileCount;

    /// <inheritdoc/>
    /// <remarks>As the header counts them: the two private folders of hard links are among them.</remarks>
    public override long? FolderCount => Header.FolderCount;

    /// <inheritdoc/>
    public override bool IsJournaled => Has(VolumeAttributes.Journaled);

    /// <inheritdoc/>
    public override UnixTime CreationTime => _root.Value is var (_, record) ? HfsPlusTime.ToUnix(record.CreateDate) : UnixTime.None;

    /// <summary>The catalog.</summary>
    internal BTreeFile Catalog => _catalog.Value;

    /// <summary>The window the volume lies in; where a wrapper is around it, without the wrapper.</summary>
    internal BlockStorage Storage => _volume;

    /// <summary>Whether the wrapper of a classic HFS volume is around it.</summary>
    internal bool IsEmbedded => _offset != 0;

    /// <summary>Whether there is such a volume: by a signature in the volume header, the wrapper's, or a valid alternate header.</summary>
    /// <param name="volume">Partition or disk.</param>
    public static bool IsMatch(BlockStorage volume) =>
        TryReadHeader(volume, HfsPlusConstants.VolumeHeaderOffset, out VolumeHeader header)
        && (IsSignature(header.Signature) || FindEmbedded(volume) is not null
            || (TryReadHeader(volume, AlternateOffset(volume), out VolumeHeader alternate) && FaultOf(alternate, volume.Length) is null));

    /// <summary>Opens the volume.</summary>
    /// <param name="volume">Partition or disk; not owned.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: neither header can be believed.</exception>
    public static HfsPlusVolume Open(BlockStorage volume)
    {
        if (FindEmbedded(volume) is (long offset, long length)) return Open(new WindowStorage(volume, offset, length), offset);
        return Open(volume, 0);
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Nothing is free while the truth may stand in a journal that was not written back, when the volume was not unmounted properly, or
    /// when the bitmap knows of more free blocks than the header. Blocks that hold the boot blocks and the two volume headers never are.
    /// </remarks>
    public override IEnumerable<StorageExtent> GetFreeExtents(FreeSpaceQuery? query = null)
    {
        query ??= new();
        if (Has(VolumeAttributes.Inconsistent) || !Has(VolumeAttributes.Unmounted) || JournalMayHoldChanges()) yield break;
        ForkStorage bitmap = OpenFork(Header.AllocationFile, CatalogNodeId.AllocationFile, ExtentsOverflow.DataFork, "allocation file");
        if (bitmap.Length < Layout.DivideUp(Header.TotalBlocks, 8))
            throw ImageException.Damaged("The allocation file is too short for the volume.", "volume header, allocation file");
        if (AllocationRuns.CountFree(bitmap, Header.TotalBlocks, query.Cancellation) > Header.FreeBlocks) yield break;
        long low = Layout.DivideUp(HfsPlusConstants.VolumeHeaderOffset + HfsPlusConstants.VolumeHeaderSize, Header.BlockSize);
        long high = Math.Min(Header.TotalBlocks, AlternateOffset(_volume) / Header.BlockSize);
        foreach ((long first, long count) in AllocationRuns.FreeOf(bitmap, Header.TotalBlocks, query, Header.BlockSize))
        {
            long from = Math.Max(first, low), to = Math.Min(first + count, high);
            if (to > from) yield return new(_offset + (from * Header.BlockSize), (to - from) * Header.BlockSize, ExtentKind.Unused);
        }
    }

    /// <inheritdoc/>
    public override void Check(ImageFindings findings, CancellationToken cancellation) =>
        new HfsPlusChecker(this, findings, cancellation).Run();

    /// <inheritdoc/>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: something is damaged, or the journal holds changes;
    /// nothing was written.</exception>
    public override IReadOnlyList<string> Repair(CancellationToken cancellation) => new HfsPlusRepair(this).Run(cancellation);

    /// <inheritdoc/>
    public override VolumeResizer OpenResizer(CancellationToken cancellation) => new HfsPlusResizer(this, cancellation);

    /// <inheritdoc/>
    public override bool HasReadableTree(int index) => true;

    /// <inheritdoc/>
    public override SourceTree ReadTree(int index = 0, CancellationToken cancellation = default) =>
        new CatalogReader(this).Read(cancellation);

    /// <summary>Opens a fork.</summary>
    /// <param name="fork">Its size and first extents.</param>
    /// <param name="fileId">Whose it is.</param>
    /// <param name="forkType">Data or resource, as in the keys of the extents-overflow file.</param>
    /// <param name="what">What errors call it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: extents outside the volume, or too few.</exception>
    internal ForkStorage OpenFork(in ForkData fork, uint fileId, byte forkType, string what)
    {
        var runs = new ForkRuns(this, fork.LogicalSize, what);
        runs.Add(fork.Extents);
        while (!runs.IsComplete)
        {
            ExtentRecord? more = fileId == CatalogNodeId.ExtentsFile ? null : _overflow.Value.Find(fileId, forkType, runs.Blocks);
            if (more is not ExtentRecord record || !runs.Add(record)) throw runs.TooShort();
        }

        return runs.Open();
    }

    /// <summary>Opens the value of an attribute that has extents of its own.</summary>
    /// <param name="fork">Its size and first extents.</param>
    /// <param name="more">Further extent records, by the block of the fork they begin at.</param>
    /// <param name="what">What errors call it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    internal ForkStorage OpenAttribute(in ForkData fork, IReadOnlyDictionary<uint, ExtentRecord> more, string what)
    {
        var runs = new ForkRuns(this, fork.LogicalSize, what);
        runs.Add(fork.Extents);
        while (!runs.IsComplete)
        {
            if (!more.TryGetValue(runs.Blocks, out ExtentRecord record) || !runs.Add(record)) throw runs.TooShort();
        }

        return runs.Open();
    }

    /// <summary>Opens the attributes file, or null when the volume has none.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    internal BTreeFile? OpenAttributes() => Header.AttributesFile.LogicalSize == 0
        ? null
        : OpenTree(Header.AttributesFile, CatalogNodeId.AttributesFile, "attributes");

    /// <summary>
    /// Opens a B-tree for reading. Its nodes are read in larger pieces than one: neighbours in the tree are neighbours in the file, and on
    /// a share or in an encrypted image each read has its price.
    /// </summary>
    /// <param name="fork">Its size and first extents.</param>
    /// <param name="fileId">Which it is.</param>
    /// <param name="name">What errors call it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    internal BTreeFile OpenTree(in ForkData fork, uint fileId, string name) =>
        new(new CachedStorage(OpenFork(fork, fileId, ExtentsOverflow.DataFork, name + " file"), TreePiece, TreeCache), name);

    /// <summary>Reads one of the two volume headers as it lies there.</summary>
    /// <param name="isAlternate">The one at the end.</param>
    /// <param name="header">Receives it.</param>
    /// <returns>Why it cannot be believed, or null.</returns>
    internal string? ReadHeader(bool isAlternate, out VolumeHeader header) =>
        TryReadHeader(_volume, HeaderOffset(isAlternate), out header) ? FaultOf(header, _volume.Length) : "it is cut short";

    /// <summary>Writes one of the two volume headers.</summary>
    /// <param name="isAlternate">The one at the end.</param>
    /// <param name="header">The header.</param>
    internal void WriteHeader(bool isAlternate, VolumeHeader header) =>
        _volume.Write(HeaderOffset(isAlternate), Layout.AsBytes(ref header));

    /// <summary>What findings call the place of a volume header.</summary>
    /// <param name="isAlternate">The one at the end.</param>
    internal string HeaderPlace(bool isAlternate) => $"volume header at byte {HeaderOffset(isAlternate)} of the volume";

    private long HeaderOffset(bool isAlternate) => isAlternate ? AlternateOffset(_volume) : HfsPlusConstants.VolumeHeaderOffset;

    internal bool Has(VolumeAttributes attribute) => ((VolumeAttributes)(uint)Header.Attributes & attribute) != 0;

    private static HfsPlusVolume Open(BlockStorage volume, long offset)
    {
        string? fault = TryReadHeader(volume, HfsPlusConstants.VolumeHeaderOffset, out VolumeHeader header) ? FaultOf(header, volume.Length)
            : "it is cut short";
        if (fault is null) return new(volume, offset, header);
        if (TryReadHeader(volume, AlternateOffset(volume), out VolumeHeader alternate) && FaultOf(alternate, volume.Length) is null)
            return new(volume, offset, alternate);
        throw ImageException.Damaged($"The HFS+ volume header cannot be used ({fault}), nor can its copy at the end.",
            $"volume header at byte {offset + HfsPlusConstants.VolumeHeaderOffset} of the partition");
    }

    private static bool IsSignature(ushort signature) => signature is HfsPlusConstants.SignatureHfsPlus or HfsPlusConstants.SignatureHfsx;

    private static long AlternateOffset(BlockStorage volume) =>
        (volume.Length / SectorSize * SectorSize) - HfsPlusConstants.VolumeHeaderOffset;

    private static bool TryReadHeader(BlockStorage volume, long offset, out VolumeHeader header)
    {
        header = default;
        if (offset < HfsPlusConstants.VolumeHeaderOffset || offset > volume.Length - HfsPlusConstants.VolumeHeaderSize) return false;
        volume.Read(offset, Layout.AsBytes(ref header));
        return true;
    }

    private static string? FaultOf(in VolumeHeader header, long length)
    {
        uint blockSize = header.BlockSize;
        if (!IsSignature(header.Signature)) return "it lacks its signature";
        if ((ushort)header.Version is not (HfsPlusConstants.VersionHfsPlus or HfsPlusConstants.VersionHfsx))
            return $"its version is {header.Version}";
        if (blockSize < SectorSize || (blockSize & (blockSize - 1)) != 0) return $"it claims allocation blocks of {blockSize} bytes";
        if (header.TotalBlocks == 0 || (long)header.TotalBlocks * blockSize > length)
            return $"it claims {header.TotalBlocks} blocks of {blockSize} bytes where there are {length} bytes";
        return header.FreeBlocks > header.TotalBlocks ? "it claims more free blocks than blocks" : null;
    }

    // The master directory block of a classic HFS volume: where its allocation blocks begin and how large they are, and which of them the
    // embedded volume takes. Source: TN1150, "HFS Wrapper". A window that is not inside is no embedded volume.
    private static (long Offset, long Length)? FindEmbedded(BlockStorage volume)
    {
        Span<byte> block = stackalloc byte[SectorSize];
        if (volume.Length < HfsPlusConstants.VolumeHeaderOffset + SectorSize) return null;
        volume.Read(HfsPlusConstants.VolumeHeaderOffset, block);
        MasterDirectoryBlock wrapper = Layout.Read<MasterDirectoryBlock>(block);
        if (wrapper.Signature != HfsPlusConstants.SignatureHfs || !IsSignature(wrapper.EmbeddedSignature)) return null;
        long offset = ((long)wrapper.FirstBlockSector * SectorSize) + ((long)wrapper.EmbeddedStart * wrapper.BlockSize);
        long length = (long)wrapper.EmbeddedCount * wrapper.BlockSize;
        return length != 0 && offset <= volume.Length - length ? (offset, length) : null;
    }

    private bool IsCaseSensitive()
    {
        try
        {
            return Catalog.Header.KeyCompareType == HfsPlusConstants.KeyCompareBinary;
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return true; // The usual reason for HFSX; reading the tree will report the damage.
        }
    }

    private (string Name, CatalogFolder Record)? FindRoot()
    {
        try
        {
            BTreeNode? first = Catalog.ReadLeaves().FirstOrDefault();
            if (first is null || first.RecordCount == 0) return null;
            CatalogRecordKey key = CatalogRecordKey.Read(first, 0);
            ReadOnlySpan<byte> data = first.Data(0);
            if (key.ParentId != CatalogNodeId.RootParent || data.Length < Unsafe.SizeOf<CatalogFolder>()) return null;
            return (HfsPlusNames.FromDisk(key.Name), Layout.Read<CatalogFolder>(data));
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return null;
        }
    }

    // The journal is empty when its header says that it starts where it ends. Anything that is not certain counts as changes. Source: the
    // journal header of TN1150; the header's byte order is the writer's, told by its endian mark.
    private bool JournalMayHoldChanges()
    {
        if (!IsJournaled) return false;
        Span<byte> block = stackalloc byte[Unsafe.SizeOf<JournalInfoBlock>()];
        long infoOffset = (long)Header.JournalInfoBlock * Header.BlockSize;
        if (infoOffset == 0 || infoOffset > _volume.Length - block.Length) return true;
        _volume.Read(infoOffset, block);
        JournalInfoBlock info = Layout.Read<JournalInfoBlock>(block);
        const uint InVolume = 1, NeedsInitialising = 4;
        if ((info.Flags & InVolume) == 0) return true;
        if ((info.Flags & NeedsInitialising) != 0) return false;
        Span<byte> journal = stackalloc byte[24];
        if (info.Offset > (ulong)(_volume.Length - journal.Length)) return true;
        _volume.Read((long)(ulong)info.Offset, journal);
        const uint Magic = 0x4A4E4C78, EndianMark = 0x12345678; // 'JNLx'
        bool little = BinaryPrimitives.ReadUInt32LittleEndian(journal) == Magic
            && BinaryPrimitives.ReadUInt32LittleEndian(journal[4..]) == EndianMark;
        bool big = BinaryPrimitives.ReadUInt32BigEndian(journal) == Magic
            && BinaryPrimitives.ReadUInt32BigEndian(journal[4..]) == EndianMark;
        return !(little || big) || !journal[8..16].SequenceEqual(journal[16..24]);
    }

    // Collects the runs of a fork until they hold its bytes.
    private sealed class ForkRuns
    {
        private readonly HfsPlusVolume _owner;
        private readonly long _length;
        private readonly long _needed;
        private readonly string _what;
        private readonly List<(long Offset, long Length)> _runs = [];

        public ForkRuns(HfsPlusVolume owner, ulong length, string what)
        {
            (_owner, _what) = (owner, what);
            if (length > (ulong)owner.CapacityBytes)
                throw ImageException.Damaged($"A fork claims {length} bytes, more than the volume has.", what);
            _length = (long)length;
            _needed = Layout.DivideUp(_length, owner.Header.BlockSize);
        }

        public uint Blocks { get; private set; }

        public bool IsComplete => Blocks >= _needed;

        /// <summary>Takes the extents of a record; false when it held none.</summary>
        public bool Add(in ExtentRecord record)
        {
            uint before = Blocks;
            for (int i = 0; i < HfsPlusConstants.ExtentsPerRecord && !IsComplete; i++)
            {
                uint start = record[i].StartBlock, count = record[i].BlockCount;
                if (count == 0) break;
                if (start >= _owner.Header.TotalBlocks || count > _owner.Header.TotalBlocks - start)
                    throw ImageException.Damaged(
                        $"An extent of {count} blocks at block {start} leaves the volume of {_owner.Header.TotalBlocks} blocks.", _what);
                long blockSize = _owner.Header.BlockSize;
                _runs.Add((start * blockSize, count * blockSize));
                Blocks = (uint)Math.Min(uint.MaxValue, Blocks + (ulong)count);
            }

            return Blocks != before;
        }

        public ForkStorage Open() => new(_owner._volume, _length, _runs);

        public ImageException TooShort() =>
            ImageException.Damaged($"A fork of {_length} bytes has extents of only {Blocks} blocks.", _what);
    }
}
