using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using CCImage.Binary;
using CCImage.Checksums;
using CCImage.Compression;
using CCImage.Partitions;
using CCImage.PropertyLists;
using CCImage.Storage;

namespace CCImage.Containers.Udif;

/// <summary>How a UDIF image is to be written.</summary>
internal sealed record UdifWriterSettings
{
    /// <summary>The codec of the runs; <see cref="UdifCodecs.Raw"/> for none.</summary>
    public required UdifCodec Codec { get; init; }

    /// <summary>Compresses for it; null with <see cref="UdifCodecs.Raw"/>.</summary>
    public BlockCodec? Compressor { get; init; }

    /// <summary>Identifies the image; from the recipe.</summary>
    public required Guid SegmentId { get; init; }

    /// <summary>Further resources to keep beside the block tables, by their type: those of a licence agreement.</summary>
    public PropertyListDictionary? LicenceResources { get; init; }

    /// <summary>Most bytes of a run, a multiple of 512 up to 64 MiB. Apple's newer images have 1 MiB.</summary>
    public int ChunkSize { get; init; } = UdifWriter.DefaultChunkSize;

    /// <summary>Zero and unused ranges shorter than this become part of the data around them.</summary>
    public int ShortestGap { get; init; } = 4096;

    /// <summary>
    /// The same with run sizes that fit the disk: as usual, or, when that would make a property list of more than 16 MiB, which some
    /// readers refuse, larger.
    /// </summary>
    /// <param name="source">The disk that will be written; its extents are walked over.</param>
    /// <param name="segments">Number of segments.</param>
    /// <param name="cancellation">Ends the walk.</param>
    public UdifWriterSettings FittedTo(BlockStorage source, int segments, CancellationToken cancellation)
    {
        // A run takes 40 bytes, 60 in base64 with its indentation: this many stay below 15 MiB.
        const long MostRuns = 250_000;
        long data = 0;
        long[] gaps = new long[64]; // by the power of two that is not above their length
        foreach (StorageExtent extent in ExtentWalk.Of(source, cancellation))
        {
            if (extent.Kind == ExtentKind.Data) data += extent.Length;
            else gaps[BitOperations.Log2((ulong)extent.Length)]++;
        }

        // A gap is a run, and makes one more of data on either side; data that fills short gaps is not counted, it is less than a gap each.
        long gapRuns = gaps.Skip(BitOperations.Log2((uint)ShortestGap)).Sum() * 3;
        int shortest = ShortestGap;
        while (gapRuns > MostRuns / 2 && shortest < 1 << 30)
        {
            int power = BitOperations.Log2((uint)shortest);
            data += gaps[power] << (power + 1);
            gapRuns -= gaps[power] * 3;
            shortest = 1 << (power + 1);
        }

        int chunk = ChunkSize;
        while (chunk < UdifConstants.MaximumRunBytes && (data / chunk) + gapRuns + (segments * 6L) > MostRuns) chunk *= 2;
        return this with { ChunkSize = Math.Min(chunk, UdifConstants.MaximumRunBytes), ShortestGap = shortest };
    }
}

/// <summary>
/// Writes a UDIF image into one growing file, in one pass: the runs as they come, then the property list with the block tables, and last
/// the trailer, without which nobody takes the file for an image. Everything is as in images that <c>hdiutil convert</c> makes; what is not
/// stands in docs/formats/udif.md.
/// </summary>
internal sealed class UdifWriter : ImageWriter
{
    /// <summary>2,048 sectors.</summary>
    public const int DefaultChunkSize = 1 << 20;

    private readonly BlockStorage _output;
    private readonly UdifWriterSettings _settings;
    private readonly long _sectorCount;
    private readonly TableBuilder[] _tables;
    private readonly long[] _splitPoints;
    private int _table;
    private long _nextOffset;
    private long _position;
    private uint _dataForkCrc;

    /// <summary>Prepares the writer; nothing is written yet.</summary>
    /// <param name="output">An empty storage that grows; it is neither flushed before the end nor disposed.</param>
    /// <param name="diskLength">Bytes of the disk, a multiple of 512.</param>
    /// <param name="segments">The parts of the disk: ascending, adjacent, together the whole disk.</param>
    /// <param name="settings">How to write.</param>
    /// <exception cref="ArgumentException">The segments are not the disk, or the settings contradict each other.</exception>
    public UdifWriter(BlockStorage output, long diskLength, IReadOnlyList<DiskSegment> segments, UdifWriterSettings settings)
    {
        if (!output.CanGrow || output.Length != 0)
            throw new ArgumentException("The output must be empty and able to grow.", nameof(output));
        if (settings.ChunkSize is < UdifConstants.SectorSize or > UdifConstants.MaximumRunBytes
            || settings.ChunkSize % UdifConstants.SectorSize != 0)
            throw new ArgumentException("The chunk size must be whole sectors, at most 64 MiB.", nameof(settings));
        if ((settings.Compressor is null) != (settings.Codec == UdifCodecs.Raw))
            throw new ArgumentException("Codec and compressor do not belong together.", nameof(settings));
        if (diskLength % UdifConstants.SectorSize != 0) throw new ArgumentException("The disk is not whole sectors.", nameof(diskLength));
        (_output, _settings, _sectorCount) = (output, settings, diskLength / UdifConstants.SectorSize);
        long at = 0;
        foreach (DiskSegment segment in segments)
        {
            if (segment.StartSector != at || segment.SectorCount <= 0)
                throw new ArgumentException($"The segment '{segment.Name}' does not follow the one before.", nameof(segments));
            at += segment.SectorCount;
        }

        if (at != _sectorCount || segments.Count == 0)
            throw new ArgumentException("The segments are not the whole disk.", nameof(segments));
        _tables = [.. segments.Select(s => new TableBuilder(s))];
        _splitPoints = [.. segments.Skip(1).Select(s => s.StartSector * UdifConstants.SectorSize)];
    }

    /// <inheritdoc/>
    public override int ChunkSize => _settings.ChunkSize;

    /// <inheritdoc/>
    public override int ShortestGap => _settings.ShortestGap;

    /// <inheritdoc/>
    public override IReadOnlyList<long> SplitPoints => _splitPoints;

    /// <inheritdoc/>
    public override void Encode(DiskChunk chunk)
    {
        switch (chunk.Kind)
        {
            case ExtentKind.Unused:
                break;
            case ExtentKind.Zero:
                chunk.PlainChecksum = Crc32.OfZeros(chunk.Length);
                break;
            default:
                ReadOnlySpan<byte> plain = chunk.Plain.AsSpan(0, (int)chunk.Length);
                chunk.PlainChecksum = Crc32.Of(plain);
                chunk.EncodedLength = 0;
                if (_settings.Compressor is BlockCodec compressor && CompressibilityProbe.IsCompressible(plain))
                {
                    // What saves less than a sector, or than one part in 64, is not worth the time of everybody who reads it.
                    int room = plain.Length - Math.Clamp(plain.Length / 64, 1, UdifConstants.SectorSize);
                    if (chunk.Encoded.Length < room) chunk.Encoded = GC.AllocateUninitializedArray<byte>(_settings.ChunkSize);
                    chunk.EncodedLength = compressor.Encode(plain, chunk.Encoded.AsSpan(0, room));
                }

                chunk.StoredChecksum = chunk.EncodedLength == 0 ? chunk.PlainChecksum
                    : Crc32.Of(chunk.Encoded.AsSpan(0, chunk.EncodedLength));
                break;
        }
    }

    /// <inheritdoc/>
    public override void Append(DiskChunk chunk)
    {
        if (chunk.Offset != _nextOffset || chunk.Length % UdifConstants.SectorSize != 0)
            throw new InvalidOperationException($"A chunk at {chunk.Offset} comes where {_nextOffset} is due.");
        long firstSector = chunk.Offset / UdifConstants.SectorSize, count = chunk.Length / UdifConstants.SectorSize;
        while (_tables[_table].EndSector <= firstSector) _table++;
        TableBuilder table = _tables[_table];
        if (firstSector + count > table.EndSector) throw new InvalidOperationException($"A chunk at {chunk.Offset} crosses a split point.");
        _nextOffset += chunk.Length;
        switch (chunk.Kind)
        {
            case ExtentKind.Unused:
                table.Add(UdifRunType.Ignore, firstSector, count, _position, 0, long.MaxValue);
                return;
            case ExtentKind.Zero:
                table.Add(UdifRunType.Zero, firstSector, count, _position, 0, long.MaxValue);
                break;
            default:
                bool isRaw = chunk.EncodedLength == 0;
                ReadOnlySpan<byte> stored = isRaw ? chunk.Plain.AsSpan(0, (int)chunk.Length) : chunk.Encoded.AsSpan(0, chunk.EncodedLength);

                // Raw runs grow in images without compression; between compressed ones Apple keeps them within a chunk, so that one buffer
                // does.
                table.Add(
                    isRaw ? UdifRunType.Raw : _settings.Codec.RunType, firstSector, count, _position, stored.Length,
                    isRaw && _settings.Compressor is null ? UdifConstants.MaximumRunBytes / UdifConstants.SectorSize : 0);
                _output.Write(_position, stored);
                _position += stored.Length;
                _dataForkCrc = Crc32.Combine(_dataForkCrc, chunk.StoredChecksum, stored.Length);
                break;
        }

        table.Crc = Crc32.Combine(table.Crc, chunk.PlainChecksum, chunk.Length);
    }

    /// <inheritdoc/>
    /// <remarks>
    /// A compressed run gets new bytes behind all others, and its old ones stay as a gap that no run refers to; the checksum of the data
    /// fork covers them. A run that is not compressed is as long as before and keeps its place. In either case the checksum of the
    /// partition is corrected by what the difference of the two makes of it over the bytes that follow.
    /// </remarks>
    public override void Replace(DiskChunk chunk, uint oldChecksum)
    {
        Encode(chunk);
        TableBuilder table = Array.Find(_tables, t => t.EndSector > chunk.Offset / UdifConstants.SectorSize)!;
        long firstSector = chunk.Offset / UdifConstants.SectorSize, count = chunk.Length / UdifConstants.SectorSize;
        uint change = oldChecksum ^ chunk.PlainChecksum;
        if (_settings.Compressor is null)
        {
            long position = table.StoredOffsetOf(firstSector);
            _output.Write(position, chunk.Plain.AsSpan(0, (int)chunk.Length));
            _dataForkCrc ^= Crc32.Combine(change, 0, _position - position - chunk.Length);
        }
        else
        {
            bool isRaw = chunk.EncodedLength == 0;
            ReadOnlySpan<byte> stored = isRaw ? chunk.Plain.AsSpan(0, (int)chunk.Length) : chunk.Encoded.AsSpan(0, chunk.EncodedLength);
            table.Replace(isRaw ? UdifRunType.Raw : _settings.Codec.RunType, firstSector, count, _position, stored.Length);
            _output.Write(_position, stored);
            _position += stored.Length;
            _dataForkCrc = Crc32.Combine(_dataForkCrc, chunk.StoredChecksum, stored.Length);
        }

        table.Crc ^= Crc32.Combine(change, 0, table.ChecksummedBytesFrom(firstSector + count));
    }

    /// <inheritdoc/>
    public override void Complete()
    {
        if (_nextOffset != _sectorCount * UdifConstants.SectorSize) throw new InvalidOperationException("The disk is not complete.");
        long dataForkLength = _position;
        uint master = 0;
        Span<byte> partitionCrc = stackalloc byte[4];
        var blkx = new List<PropertyListNode>();
        foreach (TableBuilder table in _tables)
        {
            BinaryPrimitives.WriteUInt32BigEndian(partitionCrc, table.Crc);
            master = Crc32.Append(master, partitionCrc);
            string name = PropertyListWriter.Presentable(table.Segment.Name);
            blkx.Add(new PropertyListDictionary
            {
                { "Attributes", "0x0050" },
                { "CFName", name },
                { "Data", table.ToBytes(_settings) },
                { "ID", table.Segment.Id.ToString(CultureInfo.InvariantCulture) },
                { "Name", name },
            });
        }

        // Apple's tools write the types in the order of their bytes.
        var resources = new PropertyListDictionary();
        IEnumerable<KeyValuePair<string,
            PropertyListNode>> own = [new("blkx", new PropertyListArray(blkx)), new("plst", new PropertyListArray([PartitionList()]))];
        foreach ((string type, PropertyListNode value) in own.Concat(_settings.LicenceResources ?? [])
            .OrderBy(r => r.Key, StringComparer.Ordinal)) resources.Add(type, value);
        byte[] xml = PropertyListWriter.Write(new PropertyListDictionary { { "resource-fork", resources } });
        _output.Write(_position, xml);

        var trailer = new UdifTrailer
        {
            Signature = UdifConstants.TrailerSignature,
            Version = UdifConstants.TrailerVersion,
            HeaderSize = UdifTrailer.Size,
            Flags = UdifConstants.FlagFlattened,
            DataForkLength = (ulong)dataForkLength,
            SegmentNumber = 1,
            SegmentCount = 1,
            DataForkChecksum = UdifChecksum.FromCrc32(_dataForkCrc),
            XmlOffset = (ulong)dataForkLength,
            XmlLength = (ulong)xml.Length,
            MasterChecksum = UdifChecksum.FromCrc32(master),
            ImageVariant = _tables[0].Segment.Descriptor != DiskSegment.WholeDiskDescriptor ? UdifConstants.VariantDevice
            : UdifConstants.VariantPartition,
            SectorCount = (ulong)_sectorCount,
        };
        _settings.SegmentId.TryWriteBytes(trailer.SegmentId, bigEndian: true, out _);
        _output.Write(_position + xml.Length, Layout.ToBytes(trailer));
        _output.Flush();
    }

    /// <summary>The 'plst' resource: the same bytes in every image of the last twenty years, whatever is on the disk.</summary>
    private static PropertyListDictionary PartitionList()
    {
        byte[] data = new byte[1032];
        data[517] = 1;
        data[519] = 1;
        return new PropertyListDictionary { { "Attributes", "0x0050" }, { "Data", data }, { "ID", "0" }, { "Name", "" } };
    }

    /// <summary>A block table that grows.</summary>
    private sealed class TableBuilder(DiskSegment segment)
    {
        private readonly List<UdifRunRecord> _runs = [];
        private long _end;
        private long _longestStored;

        public DiskSegment Segment => segment;

        public long EndSector => segment.StartSector + segment.SectorCount;

        /// <summary>Of the decoded bytes so far, without the ignored ones.</summary>
        public uint Crc { get; set; }

        /// <summary>Adds a run, or lengthens the last one if it is of the same type and stays within a number of sectors.</summary>
        public void Add(UdifRunType type, long firstSector, long count, long storedOffset, int storedLength, long mostSectors)
        {
            _end = storedOffset + storedLength;
            _longestStored = Math.Max(_longestStored, storedLength);
            if (_runs.Count > 0 && _runs[^1] is UdifRunRecord last && last.Type == (uint)type
                && (long)(ulong)last.SectorCount + count <= mostSectors)
            {
                last.SectorCount += (ulong)count;
                last.StoredLength += (ulong)storedLength;
                _runs[^1] = last;
                return;
            }

            _runs.Add(new UdifRunRecord
            {
                Type = (uint)type,
                FirstSector = (ulong)(firstSector - segment.StartSector),
                SectorCount = (ulong)count,
                StoredOffset = (ulong)storedOffset,
                StoredLength = (ulong)storedLength,
            });
        }

        /// <summary>Gives a run, which is a chunk, other stored bytes.</summary>
        public void Replace(UdifRunType type, long firstSector, long count, long storedOffset, int storedLength)
        {
            int index = Find(firstSector);
            UdifRunRecord run = _runs[index];
            if ((long)(ulong)run.FirstSector != firstSector - segment.StartSector || (long)(ulong)run.SectorCount != count)
                throw new InvalidOperationException($"The chunk at sector {firstSector} is not a run.");
            (run.Type, run.StoredOffset, run.StoredLength) = ((uint)type, (ulong)storedOffset, (ulong)storedLength);
            _runs[index] = run;
            _end = storedOffset + storedLength;
            _longestStored = Math.Max(_longestStored, storedLength);
        }

        /// <summary>Where the bytes of a sector lie that is not compressed.</summary>
        public long StoredOffsetOf(long sector)
        {
            UdifRunRecord run = _runs[Find(sector)];
            if (run.Type != (uint)UdifRunType.Raw) throw new InvalidOperationException($"Sector {sector} was not stored as it is.");
            return (long)(ulong)run.StoredOffset
                + ((sector - segment.StartSector - (long)(ulong)run.FirstSector) * UdifConstants.SectorSize);
        }

        /// <summary>Bytes of the disk from a sector to the table's end that its checksum covers.</summary>
        public long ChecksummedBytesFrom(long sector)
        {
            long from = sector - segment.StartSector, sectors = 0;
            for (int i = _runs.Count - 1; i >= 0 && (long)(ulong)_runs[i].FirstSector + (long)(ulong)_runs[i].SectorCount > from; i--)
            {
                if (_runs[i].Type == (uint)UdifRunType.Ignore) continue;
                long first = Math.Max((long)(ulong)_runs[i].FirstSector, from);
                sectors += (long)(ulong)_runs[i].FirstSector + (long)(ulong)_runs[i].SectorCount - first;
            }

            return sectors * UdifConstants.SectorSize;
        }

        // The run that a sector lies in.
        private int Find(long sector)
        {
            ulong relative = (ulong)(sector - segment.StartSector);
            int low = 0, high = _runs.Count;
            while (low < high)
            {
                int middle = (low + high) / 2;
                if (_runs[middle].FirstSector <= relative) low = middle + 1;
                else high = middle;
            }

            return low - 1;
        }

        public byte[] ToBytes(UdifWriterSettings settings)
        {
            var header = new UdifBlockTableHeader
            {
                Signature = UdifConstants.BlockTableSignature,
                Version = UdifConstants.BlockTableVersion,
                FirstSector = (ulong)segment.StartSector,
                SectorCount = (ulong)segment.SectorCount,
                BuffersNeeded = BuffersNeeded(settings),
                BlockDescriptor = unchecked((uint)segment.Descriptor),
                Checksum = UdifChecksum.FromCrc32(Crc),
                RunCount = (uint)_runs.Count + 1,
            };
            byte[] bytes = new byte[UdifBlockTableHeader.Size + ((_runs.Count + 1) * UdifRunRecord.Size)];
            Layout.Write(bytes, header);
            Span<byte> rest = bytes.AsSpan(UdifBlockTableHeader.Size);
            foreach (UdifRunRecord run in _runs)
            {
                Layout.Write(rest, run);
                rest = rest[UdifRunRecord.Size..];
            }

            Layout.Write(rest, new UdifRunRecord
            {
                Type = (uint)UdifRunType.Terminator,
                FirstSector = (ulong)segment.SectorCount,
                StoredOffset = (ulong)_end,
            });
            return bytes;
        }

        // In Apple's images: 0 where nothing is to be decompressed; with zlib a chunk and eight sectors more; with the other codecs a chunk
        // and the longest compressed run.
        private uint BuffersNeeded(UdifWriterSettings settings)
        {
            if (settings.Compressor is null || _longestStored == 0) return 0;
            long chunk = settings.ChunkSize / UdifConstants.SectorSize;
            return (uint)(
                chunk + (settings.Codec.RunType == UdifRunType.Zlib ? 8 : Layout.DivideUp(_longestStored, UdifConstants.SectorSize)));
        }
    }
}
