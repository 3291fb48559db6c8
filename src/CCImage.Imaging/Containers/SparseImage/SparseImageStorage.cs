using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Containers.SparseImage;

/// <summary>
/// The disk in a sparse image (<c>.sparseimage</c>, UDSP): the file holds a table and those bands of the disk that were ever written,
/// in the order in which they came.
/// <para>
/// A new band is appended to the file at once; the table learns of it at the next <see cref="Flush"/> (or when the storage is disposed),
/// after the band itself was flushed. So at every moment the file is a valid image, with or without the newest bands. The memory taken
/// grows with the bands stored, 4 bytes each.
/// </para>
/// </summary>
internal sealed partial class SparseImageStorage : BlockStorage
{
    /// <summary>Bytes of a band in new images.</summary>
    public const int DefaultBandSize = 1 << 20;

    private const int SectorSize = 512;
    private const int PageShift = 10;
    private const int PageSize = 1 << PageShift;
    private const int MostPages = 16_384; // that are kept whatever the size of the file: 64 MiB
    private const int ZeroChunk = 64 << 10;

    private static readonly byte[] Zeros = new byte[ZeroChunk];

    private readonly BlockStorage _file;
    private readonly bool _writable;
    private readonly bool _ownsFile;
    private long _length;

    /// <summary>Of each band 1 + its slot, 0 for none; pages exist where bands do.</summary>
    private int[]?[] _slots;

    /// <summary>A new band waits for whoever is making the same one.</summary>
    private readonly Lock[] _making = [.. Enumerable.Range(0, 64).Select(_ => new Lock())];

    /// <summary>Guards the fields below it.</summary>
    private readonly Lock _allocation = new();
    private readonly List<(int Slot, uint Entry)> _unsaved = [];
    private int _nextIndex;
    private int _storedBands;
    private int _pages;

    /// <summary>Offsets of the nodes; replaced as a whole.</summary>
    private volatile long[] _nodes = [0];

    private readonly Lock _saving = new();

    /// <summary>Nodes that are in the file, linked: the others are written by the next flush. Guarded by <see cref="_saving"/>.</summary>
    private int _savedNodes = 1;

    /// <summary>Up to here the file may hold bytes that no table knows, left by a job that was killed.</summary>
    private readonly long _staleEnd;

    private SparseImageStorage(BlockStorage file, long length, long bandSize, bool writable, bool ownsFile)
    {
        (_file, _length, BandSizeBytes, _writable, _ownsFile) = (file, length, bandSize, writable, ownsFile);
        BandCount = (int)Layout.DivideUp(length, bandSize);
        _slots = new int[]?[(int)Layout.DivideUp(BandCount, PageSize)];
        _staleEnd = file.Length;
    }

    /// <inheritdoc/>
    public override long Length => _length;

    /// <inheritdoc/>
    public override bool CanWrite => _writable;

    /// <summary>Bytes in a band.</summary>
    public long BandSizeBytes { get; }

    /// <summary>Bands of the disk, stored or not; the last one may be shorter on the disk.</summary>
    public int BandCount { get; private set; }

    /// <summary>Bands that are stored.</summary>
    public int StoredBandCount => Volatile.Read(ref _storedBands);

    /// <summary>Bytes of the file.</summary>
    public long StoredBytes => _file.Length;

    /// <summary>Whether a file begins as a sparse image does.</summary>
    /// <param name="file">The file, decrypted.</param>
    public static bool IsMatch(BlockStorage file)
    {
        if (file.Length < 4) return false;
        Span<byte> signature = stackalloc byte[4];
        file.Read(0, signature);
        return signature.SequenceEqual("sprs"u8);
    }

    /// <summary>Makes an empty image.</summary>
    /// <param name="file">An empty file that can grow.</param>
    /// <param name="diskLength">Bytes of the disk, a multiple of 512.</param>
    /// <param name="bandSize">Bytes of a band, a multiple of 512.</param>
    /// <param name="ownsFile">Whether disposing the disk disposes the file.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>.</exception>
    public static SparseImageStorage Create(BlockStorage file, long diskLength, int bandSize = DefaultBandSize, bool ownsFile = false)
    {
        if (!file.CanWrite || !file.CanGrow || file.Length != 0)
            throw new ArgumentException("The file must be empty and able to grow.", nameof(file));
        if (bandSize <= 0 || bandSize % SectorSize != 0)
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"A band of {bandSize} bytes is impossible.", remedy: "Use a multiple of 512 bytes.");
        if (diskLength <= 0 || diskLength % SectorSize != 0 || Layout.DivideUp(diskLength, bandSize) >= int.MaxValue)
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"A sparse image cannot have a capacity of {diskLength} bytes.",
                remedy: "Use a multiple of 512 bytes, at most 2 PB.");
        }

        var header = new SparseImageHeader
        {
            Signature = SparseImageHeader.ExpectedSignature,
            Version = SparseImageHeader.ExpectedVersion,
            SectorsPerBand = (uint)(bandSize / SectorSize),
            Flags = 1,
            TotalSectorsLow = (uint)((diskLength / SectorSize) & uint.MaxValue),
            TotalSectors = (ulong)(diskLength / SectorSize),
        };
        file.Write(0, Layout.ToBytes(in header));
        return new SparseImageStorage(file, diskLength, bandSize, writable: true, ownsFile);
    }

    /// <summary>Opens an image.</summary>
    /// <param name="file">The file, decrypted.</param>
    /// <param name="writable">Whether the disk is to be written; the file must be writable and able to grow.</param>
    /// <param name="ownsFile">Whether disposing the disk disposes the file.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.UnknownFormat"/>, <see cref="ImageErrorId.UnsupportedFormat"/>, <see cref="ImageErrorId.ImageDamaged"/>.
    /// </exception>
    public static SparseImageStorage Open(BlockStorage file, bool writable, bool ownsFile = false)
    {
        if (writable && (!file.CanWrite || !file.CanGrow))
            throw new ArgumentException("The file must be writable and able to grow.", nameof(file));
        if (!IsMatch(file))
            throw new ImageException(
                ImageErrorId.UnknownFormat, "This is no sparse image: it does not begin with 'sprs'.", place: "header at byte 0");
        if (file.Length < SparseImageHeader.NodeSize)
            throw ImageException.Damaged($"The sparse image ends after {file.Length} bytes, inside its header.", "header at byte 0");
        byte[] node = new byte[SparseImageHeader.NodeSize];
        file.Read(0, node);
        SparseImageHeader header = Layout.Read<SparseImageHeader>(node);
        if (header.Version != SparseImageHeader.ExpectedVersion)
            throw ImageException.Unsupported(
                $"Sparse images of version {header.Version} are not known, only version 3.", place: "header at byte 4");
        ulong sectors = header.TotalSectors == 0 ? header.TotalSectorsLow : header.TotalSectors;
        long bandSize = (long)(uint)header.SectorsPerBand * SectorSize;
        if (bandSize == 0) throw ImageException.Damaged("The bands have no length.", "header at byte 8");
        if (sectors == 0 || sectors > long.MaxValue / SectorSize)
            throw ImageException.Damaged($"A disk of {sectors} sectors is impossible.", "header at byte 28");
        long length = (long)sectors * SectorSize;
        if (Layout.DivideUp(length, bandSize) >= int.MaxValue)
            throw ImageException.Unsupported(
                $"A sparse image of {length} bytes has more bands than this version handles.", place: "header at byte 28");
        var disk = new SparseImageStorage(file, length, bandSize, writable, ownsFile);
        disk.ReadNodes(node, header.NextNodeOffset);
        disk.CheckDuplicates();
        if (!writable) return disk;
        disk.CheckWhole();
        disk.ClearDuplicates();
        return disk;
    }

    /// <summary>The numbers of the stored bands, ascending.</summary>
    public IEnumerable<int> StoredBands()
    {
        for (int page = 0; page < _slots.Length; page++)
        {
            if (_slots[page] is not { } slots) continue;
            for (int i = 0; i < PageSize; i++)
            {
                if (Volatile.Read(ref slots[i]) != 0) yield return (page << PageShift) + i;
            }
        }
    }

    /// <summary>Where each stored band lies in the file and how many bytes of it the disk needs, by ascending number of the band.</summary>
    internal IEnumerable<(int Band, long Offset, long Length)> StoredExtents() =>
        StoredBands().Select(band => (band, OffsetOf(SlotOf(band)), Math.Min(BandSizeBytes, Length - (band * BandSizeBytes))));

    /// <summary>The byte behind the last index node.</summary>
    internal long NodeEnd => _nodes[^1] + SparseImageHeader.NodeSize;

    /// <summary>The header as it is stored.</summary>
    internal SparseImageHeader ReadHeader()
    {
        byte[] bytes = new byte[SparseImageHeader.NodeSize];
        _file.Read(0, bytes);
        return Layout.Read<SparseImageHeader>(bytes);
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        if (!_writable) return;
        lock (_saving)
        {
            (int Slot, uint Entry)[] unsaved;
            long[] nodes;
            lock (_allocation) (unsaved, nodes) = ([.. _unsaved], _nodes);

            // First the bands; what the table says of them must never come before them.
            _file.Flush();
            if (unsaved.Length == 0) return;
            var byNode = unsaved.ToLookup(e => NodeOf(e.Slot));

            // Then nodes that nothing points to yet.
            byte[] node = new byte[SparseImageHeader.NodeSize];
            for (int number = _savedNodes; number < nodes.Length; number++)
            {
                var index = new SparseImageIndexNode
                {
                    Signature = SparseImageHeader.ExpectedSignature,
                    Number = (uint)(number - 1),
                    Flags = 1,
                    NextNodeOffset = number + 1 < nodes.Length ? (ulong)nodes[number + 1] : 0,
                };
                Layout.Write(node, in index);
                SetEntries(node, number, byNode[number]);
                _file.Write(nodes[number], node);
            }

            if (_savedNodes < nodes.Length) _file.Flush();

            // Last, what makes them known. The sectors of a node stand alone: each of them, old or new, is right.
            for (int number = 0; number < _savedNodes; number++)
            {
                bool links = number == _savedNodes - 1 && _savedNodes < nodes.Length;
                if (!links && !byNode.Contains(number)) continue;
                _file.Read(nodes[number], node);
                SetEntries(node, number, byNode[number]);
                if (links) SetNext(node, number, nodes[number + 1]);
                _file.Write(nodes[number], node);
            }

            _file.Flush();
            _savedNodes = nodes.Length;
            lock (_allocation) _unsaved.RemoveRange(0, unsaved.Length);
        }
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (long band, long within) = Math.DivRem(offset, BandSizeBytes);
            Span<byte> part = buffer[..(int)Math.Min(buffer.Length, BandSizeBytes - within)];
            int slot = SlotOf((int)band);
            if (slot < 0)
            {
                part.Clear();
            }
            else
            {
                long at = OffsetOf(slot) + within;
                if (part.Length > _file.Length - at)
                    throw ImageException.Damaged(
                        $"The file ends at byte {_file.Length}, inside or before band {band}.", $"slot {slot} at byte {OffsetOf(slot)}");
                _file.Read(at, part);
            }

            buffer = buffer[part.Length..];
            offset += part.Length;
        }
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (long band, long within) = Math.DivRem(offset, BandSizeBytes);
            ReadOnlySpan<byte> part = buffer[..(int)Math.Min(buffer.Length, BandSizeBytes - within)];
            int slot = SlotOf((int)band);
            if (slot >= 0) _file.Write(OffsetOf(slot) + within, part);
            else if (part.ContainsAnyExcept((byte)0)) WriteNewBand((int)band, within, part);
            buffer = buffer[part.Length..];
            offset += part.Length;
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        long end = offset + length, start = offset;
        ExtentKind kind = ExtentKind.Zero;
        for (long at = offset; at < end;)
        {
            int band = (int)(at / BandSizeBytes), page = band >> PageShift;
            ExtentKind next;
            long bands;
            if (_slots[page] is null) (next, bands) = (ExtentKind.Zero, (long)(page + 1) << PageShift);
            else (next, bands) = (SlotOf(band) < 0 ? ExtentKind.Zero : ExtentKind.Data, band + 1L);
            if (next != kind)
            {
                if (at > start) yield return new(start, at - start, kind);
                (start, kind) = (at, next);
            }

            at = bands >= BandCount ? end : Math.Min(end, bands * BandSizeBytes);
        }

        yield return new(start, end - start, kind);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            try
            {
                bool unsaved;
                lock (_allocation) unsaved = _unsaved.Count > 0;
                if (unsaved) Flush();
            }
            finally
            {
                if (_ownsFile) _file.Dispose();
            }
        }

        base.Dispose(disposing);
    }

    private static int NodeOf(int slot) =>
        slot < SparseImageHeader.SlotCount ? 0 : 1 + ((slot - SparseImageHeader.SlotCount) / SparseImageIndexNode.SlotCount);

    private static int FirstSlotOf(int node) => node == 0 ? 0 : SparseImageHeader.SlotCount + ((node - 1) * SparseImageIndexNode.SlotCount);

    private static int SlotCountOf(int node) => node == 0 ? SparseImageHeader.SlotCount : SparseImageIndexNode.SlotCount;

    private static void SetEntries(byte[] bytes, int number, IEnumerable<(int Slot, uint Entry)> entries)
    {
        int tableOffset = SparseImageHeader.NodeSize - (SlotCountOf(number) * sizeof(uint));
        foreach ((int slot, uint entry) in entries)
            Layout.Write<UInt32BE>(bytes.AsSpan(tableOffset + ((slot - FirstSlotOf(number)) * sizeof(uint))), entry);
    }

    private static void SetNext(byte[] bytes, int number, long offset)
    {
        if (number == 0)
        {
            SparseImageHeader header = Layout.Read<SparseImageHeader>(bytes);
            header.NextNodeOffset = (ulong)offset;
            Layout.Write(bytes, in header);
        }
        else
        {
            SparseImageIndexNode node = Layout.Read<SparseImageIndexNode>(bytes);
            node.NextNodeOffset = (ulong)offset;
            Layout.Write(bytes, in node);
        }
    }

    /// <summary>The slot of a band, or -1.</summary>
    private int SlotOf(int band)
    {
        int[]? page = Volatile.Read(ref _slots[band >> PageShift]);
        return page is null ? -1 : Volatile.Read(ref page[band & (PageSize - 1)]) - 1;
    }

    private long OffsetOf(int slot)
    {
        int node = NodeOf(slot);
        return _nodes[node] + SparseImageHeader.NodeSize + ((slot - FirstSlotOf(node)) * BandSizeBytes);
    }

    /// <summary>
    /// Reads all tables. Nodes come in ascending order and none lies inside a band of the one before, so that the chain ends; of a band in
    /// two slots the first is taken.
    /// </summary>
    /// <param name="bytes">The first node.</param>
    /// <param name="next">Where it says the next one is.</param>
    private void ReadNodes(byte[] bytes, ulong next)
    {
        var nodes = new List<long> { 0 };
        while (true)
        {
            int number = nodes.Count - 1, count = SlotCountOf(number), used = 0;
            int tableOffset = SparseImageHeader.NodeSize - (count * sizeof(uint));
            for (int index = 0; index < count; index++)
            {
                uint entry = Layout.Read<UInt32BE>(bytes.AsSpan(tableOffset + (index * sizeof(uint))));
                if (entry == 0) continue;
                used = index + 1;
                string Place() => $"entry {index} of node {number} at byte {nodes[^1] + tableOffset + (index * sizeof(uint))}";
                if (entry > BandCount) throw ImageException.Damaged($"The table names band {entry} of {BandCount}.", Place());
                int band = (int)entry - 1;
                if (SlotOf(band) < 0) SetSlot(band, FirstSlotOf(number) + index);
                else if (_duplicates.Count < MaximumDuplicates) _duplicates.Add(FirstSlotOf(number) + index, band);
                else throw ImageException.Damaged($"Band {entry} is stored twice.", Place());
            }

            // Bands of a usual size are thousands of times larger than their part of a page.
            if (_pages > MostPages && _pages * (long)PageSize * sizeof(int) > _file.Length / 4)
                throw ImageException.Damaged(
                    $"Bands of {BandSizeBytes} bytes lie scattered over a disk of {Length}: nobody makes such an image.",
                    $"node {number} at byte {nodes[^1]}");
            _nextIndex = used;
            if (next == 0) break;
            long lowest = nodes[^1] + SparseImageHeader.NodeSize;
            bool behind = next <= long.MaxValue && (long)next >= lowest && (long)next - lowest >= 0
                && ((long)next - lowest) / BandSizeBytes >= used;
            string nodePlace = $"node {number + 1} at byte {next}";
            if (!behind) throw ImageException.Damaged("An index node lies before or inside the bands of the node before it.", nodePlace);
            if (_file.Length < SparseImageHeader.NodeSize || (long)next > _file.Length - SparseImageHeader.NodeSize)
                throw ImageException.Damaged($"The file ends at byte {_file.Length}, before or inside an index node.", nodePlace);
            if (FirstSlotOf(number + 1) > int.MaxValue - SparseImageIndexNode.SlotCount)
                throw ImageException.Damaged("There are too many index nodes.", nodePlace);
            _file.Read((long)next, bytes);
            SparseImageIndexNode node = Layout.Read<SparseImageIndexNode>(bytes);
            if (node.Signature != SparseImageHeader.ExpectedSignature)
                throw ImageException.Damaged("An index node does not begin with 'sprs'.", nodePlace);
            nodes.Add((long)next);
            next = node.NextNodeOffset;
        }

        _nodes = [.. nodes];
        _savedNodes = nodes.Count;
    }

    /// <summary>An image that is cut short can be read as far as it goes; writing to it would bury what is missing.</summary>
    private void CheckWhole()
    {
        foreach ((int band, long at, long needed) in StoredExtents())
        {
            if (at > _file.Length - needed)
                throw ImageException.Damaged(
                    $"The file ends at byte {_file.Length}, inside or before band {band}.", $"slot {SlotOf(band)} at byte {at}");
        }
    }

    private void SetSlot(int band, int slot)
    {
        ref int[]? page = ref _slots[band >> PageShift];
        if (Volatile.Read(ref page) is null && Interlocked.CompareExchange(ref page, new int[PageSize], null) is null)
            Interlocked.Increment(ref _pages);
        Volatile.Write(ref page![band & (PageSize - 1)], slot + 1);
        Interlocked.Increment(ref _storedBands);
    }

    private void WriteNewBand(int band, long within, ReadOnlySpan<byte> part)
    {
        lock (_making[band % _making.Length])
        {
            int slot = SlotOf(band);
            if (slot >= 0)
            {
                _file.Write(OffsetOf(slot) + within, part);
                return;
            }

            slot = ReserveSlot();
            long start = OffsetOf(slot), behind = within + part.Length;
            if (start < _staleEnd)
            {
                WriteZeros(start, within);
                WriteZeros(start + behind, BandSizeBytes - behind);
            }

            _file.Write(start + within, part);

            // Every stored band is whole in the file; the gap reads as zeros.
            if (_file.Length < start + BandSizeBytes)
            {
                int tail = (int)Math.Min(SectorSize, BandSizeBytes - behind);
                WriteZeros(start + BandSizeBytes - tail, tail);
            }

            SetSlot(band, slot);
            lock (_allocation) _unsaved.Add((slot, (uint)band + 1));
        }
    }

    private int ReserveSlot()
    {
        lock (_allocation)
        {
            int node = _nodes.Length - 1;
            if (_nextIndex == SlotCountOf(node))
            {
                _nodes = [.. _nodes, _nodes[node] + SparseImageHeader.NodeSize + (SlotCountOf(node) * BandSizeBytes)];
                _nextIndex = 0;
                node++;
            }

            return FirstSlotOf(node) + _nextIndex++;
        }
    }

    private void WriteZeros(long offset, long length)
    {
        for (; length > 0; offset += ZeroChunk, length -= ZeroChunk) _file.Write(offset, Zeros.AsSpan(0, (int)Math.Min(ZeroChunk, length)));
    }
}
