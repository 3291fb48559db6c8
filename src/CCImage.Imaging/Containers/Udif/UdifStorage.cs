using System.Buffers;
using System.Buffers.Binary;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.PropertyLists;
using CCImage.Storage;

namespace CCImage.Containers.Udif;

/// <summary>A stored checksum that does not fit the data.</summary>
/// <param name="Place">What it covers: "data fork", "master checksum", or the name of a partition.</param>
/// <param name="Expected">As stored.</param>
/// <param name="Actual">As computed.</param>
/// <param name="Table">The table it covers; null for what covers the whole image.</param>
internal sealed record UdifChecksumMismatch(string Place, uint Expected, uint Actual, UdifBlockTable? Table = null);

/// <summary>
/// The disk in a UDIF image (<c>.dmg</c> with a 'koly' trailer), read-only. Zero runs and sectors that no run covers are
/// <see cref="ExtentKind.Zero"/>, ignored runs <see cref="ExtentKind.Unused"/>. Layout: docs/formats/udif.md.
/// </summary>
internal sealed class UdifStorage : BlockStorage
{
    private readonly bool _ownsFile;
    private readonly UdifRun[] _runs; // ascending, without overlaps
    private readonly DecodedRunCache _cache = new(80 << 20); // the largest run, and what else is read beside it

    private UdifStorage(BlockStorage file, bool ownsFile, UdifTrailer trailer, UdifBlockTable[] tables)
    {
        (File, _ownsFile, Trailer, Tables) = (file, ownsFile, trailer, tables);
        _runs = [.. tables.SelectMany(t => t.Runs)];
        if (!IsAscending(_runs)) Array.Sort(_runs, (a, b) => a.FirstSector.CompareTo(b.FirstSector));
        long end = 0;
        foreach (UdifRun run in _runs)
        {
            if (run.FirstSector < end) throw ImageException.Damaged("Two runs cover the same sector.", $"sector {run.FirstSector}");
            end = run.EndSector;
        }

        // Some writers leave the trailer's count at 0: the tables say it as well.
        foreach (UdifBlockTable table in tables) end = Math.Max(end, (long)((ulong)table.Header.FirstSector + table.Header.SectorCount));
        Length = Math.Max(end, (long)(ulong)trailer.SectorCount) * UdifConstants.SectorSize;
        Codec = UdifCodecs.Compressed.FirstOrDefault(c => _runs.Any(r => r.Type == c.RunType)) ?? UdifCodecs.Raw;
    }

    /// <inheritdoc/>
    public override long Length { get; }

    /// <summary>The file, decrypted.</summary>
    internal BlockStorage File { get; }

    /// <summary>The trailer as it is stored.</summary>
    public UdifTrailer Trailer { get; }

    /// <summary>The block tables in the order of the property list.</summary>
    public IReadOnlyList<UdifBlockTable> Tables { get; }

    /// <summary>What most likely made the image what it is: the codec of its runs.</summary>
    public UdifCodec Codec { get; }

    /// <summary>What ends decoding of a large run; null for nothing.</summary>
    internal ReadingStop? Stop { get; set; }

    /// <summary>Hears of every byte that is read of the image, so that its checksums can be compared without reading it again; null for
    /// nobody.</summary>
    internal UdifVerification? Watcher { get; set; }

    /// <summary>Whether the image is signed: the trailer's reserved bytes 64 to 79 are the place and the length of a code
    /// signature.</summary>
    public bool IsSigned
    {
        get
        {
            UdifTrailer trailer = Trailer;
            ReadOnlySpan<byte> reserved = trailer.Reserved1;
            return BinaryPrimitives.ReadUInt64BigEndian(reserved[72..]) != 0;
        }
    }

    /// <summary>hdiutil's code, by the types of the runs: UDRO, UDZO, UDBZ, ULFO, ULMO, UDCO.</summary>
    public string FormatCode => Codec.FormatCode;

    /// <summary>Whether a file is a UDIF image: by its trailer, never by name or first bytes.</summary>
    /// <param name="file">The file.</param>
    public static bool IsMatch(BlockStorage file)
    {
        if (file.Length < UdifTrailer.Size) return false;
        Span<byte> head = stackalloc byte[4];
        file.Read(file.Length - UdifTrailer.Size, head);
        return BinaryPrimitives.ReadUInt32BigEndian(head) == UdifConstants.TrailerSignature;
    }

    /// <summary>Opens an image.</summary>
    /// <param name="file">The file for which <see cref="IsMatch"/> holds.</param>
    /// <param name="ownsFile">Whether disposing the disk disposes the file.</param>
    /// <exception cref="ImageException">Damaged, or of a kind that is not supported.</exception>
    public static UdifStorage Open(BlockStorage file, bool ownsFile = false)
    {
        if (!IsMatch(file))
            throw ImageException.Damaged("The file does not end in a UDIF trailer.", $"byte {Math.Max(0, file.Length - UdifTrailer.Size)}");
        Span<byte> bytes = stackalloc byte[UdifTrailer.Size];
        long trailerOffset = file.Length - UdifTrailer.Size;
        file.Read(trailerOffset, bytes);
        var trailer = Layout.Read<UdifTrailer>(bytes);
        string place = $"UDIF trailer at byte {trailerOffset}";
        if (trailer.Version != UdifConstants.TrailerVersion || trailer.HeaderSize != UdifTrailer.Size)
            throw ImageException.Unsupported(
                $"The image has a UDIF trailer of version {trailer.Version} and {trailer.HeaderSize} bytes.", place: place);
        if (trailer.SegmentCount > 1)
            throw ImageException.Unsupported(
                $"The image is split into {trailer.SegmentCount} files.", "Join it on a Mac: hdiutil convert -format UDZO.", place);
        if (trailer.SectorCount > UdifConstants.MaximumSectors) throw ImageException.Damaged("The disk has an absurd size.", place);
        if (trailer.XmlLength == 0)
        {
            throw trailer.ResourceForkLength != 0
                ? ImageException.Unsupported(
                    "The image's block tables are in a resource fork only.", "Convert it on a Mac: hdiutil convert -format UDZO.", place)
                : ImageException.Damaged("The image has no property list.", place);
        }

        if (trailer.XmlOffset > (ulong)trailerOffset || trailer.XmlLength > (ulong)trailerOffset - trailer.XmlOffset)
            throw ImageException.Damaged("The property list lies behind the end of the file.", place);
        if (trailer.XmlLength > PropertyListReader.MaximumBytes)
            throw ImageException.Damaged("The property list has an absurd size.", place);
        return new UdifStorage(file, ownsFile, trailer, ReadTables(file, trailer));
    }

    /// <summary>
    /// The resources of a licence agreement, which a Mac shows before it attaches the image; null when there are none. The types are those
    /// of Apple's <c>udifrez</c>: which text for which language (LPic), buttons (STR and STR#), and the texts.
    /// </summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public PropertyListDictionary? ReadLicenceResources()
    {
        PropertyListDictionary all = ReadResources(File, Trailer);
        var licence = new PropertyListDictionary();
        foreach ((string type, PropertyListNode value) in all)
        {
            if (type is "LPic" or "STR " or "STR#" or "TEXT" or "RTF " or "RTFd" or "styl" or "TMPL") licence.Add(type, value);
        }

        return licence.Count > 0 ? licence : null;
    }

    /// <summary>Compares every stored CRC-32 with the data: data fork, partitions, and the checksum of the partitions' checksums.</summary>
    /// <param name="observer">Hears of progress, in bytes.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>What does not fit; empty when all is well. Checksums of other kinds are passed over.</returns>
    /// <exception cref="ImageException">A run cannot be decoded at all.</exception>
    public IReadOnlyList<UdifChecksumMismatch> Verify(IImagingObserver observer, CancellationToken cancellation)
    {
        UdifVerification result = UdifVerification.Run(this, observer, cancellation);
        return result.Faults is [ImageException first, ..] ? throw first : result.Mismatches;
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        for (int i = FindRun(offset / UdifConstants.SectorSize); !buffer.IsEmpty; i++)
        {
            // Sectors that no run covers are zeros.
            long start = i < _runs.Length ? _runs[i].FirstSector * UdifConstants.SectorSize : Length;
            if (start > offset)
            {
                int zeros = (int)Math.Min(start - offset, buffer.Length);
                buffer[..zeros].Clear();
                buffer = buffer[zeros..];
                offset += zeros;
                if (buffer.IsEmpty) return;
            }

            UdifRun run = _runs[i];
            int count = (int)Math.Min(start + run.Length - offset, buffer.Length);
            if (run.IsStored) ReadRun(run, offset - start, buffer[..count]);
            else buffer[..count].Clear();
            buffer = buffer[count..];
            offset += count;
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        long at = offset, end = offset + length;
        StorageExtent open = default;
        for (int i = FindRun(offset / UdifConstants.SectorSize); at < end;)
        {
            long next;
            ExtentKind kind = ExtentKind.Zero;
            long start = i < _runs.Length ? _runs[i].FirstSector * UdifConstants.SectorSize : Length;
            if (start > at)
            {
                next = start;
            }
            else
            {
                UdifRun run = _runs[i++];
                next = start + run.Length;
                kind = run.Type switch { UdifRunType.Zero =>
                    ExtentKind.Zero, UdifRunType.Ignore => ExtentKind.Unused, _ => ExtentKind.Data };
            }

            next = Math.Min(next, end);
            if (open.Length > 0 && open.Kind == kind)
            {
                open = open with { Length = next - open.Offset };
            }
            else
            {
                if (open.Length > 0) yield return open;
                open = new StorageExtent(at, next - at, kind);
            }

            at = next;
        }

        yield return open;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && _ownsFile) File.Dispose();
        base.Dispose(disposing);
    }

    private static UdifBlockTable[] ReadTables(BlockStorage file, in UdifTrailer trailer)
    {
        IReadOnlyList<PropertyListNode> entries = ReadResources(file, trailer).GetArray("blkx") ?? throw NoTables(trailer);
        ulong dataForkOffset = trailer.DataForkOffset;
        return [.. entries.Select((entry, i) => UdifBlockTable.Parse(entry, i, dataForkOffset, file.Length))];
    }

    private static PropertyListDictionary ReadResources(BlockStorage file, in UdifTrailer trailer)
    {
        byte[] xml = new byte[(int)(ulong)trailer.XmlLength];
        file.Read((long)(ulong)trailer.XmlOffset, xml);
        return PropertyListReader.ParseDictionary(xml).GetDictionary("resource-fork") ?? throw NoTables(trailer);
    }

    private static ImageException NoTables(in UdifTrailer trailer) =>
        ImageException.Damaged("The property list holds no block tables.", $"property list at byte {trailer.XmlOffset}");

    private static bool IsAscending(UdifRun[] runs)
    {
        for (int i = 1; i < runs.Length; i++)
            if (runs[i].FirstSector < runs[i - 1].FirstSector) return false;
        return true;
    }

    /// <summary>The first run that ends behind a sector.</summary>
    private int FindRun(long sector)
    {
        int low = 0, high = _runs.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_runs[middle].EndSector <= sector) low = middle + 1;
            else high = middle;
        }

        return low;
    }

    /// <summary>Reads a part of a stored run.</summary>
    private void ReadRun(in UdifRun run, long offset, Span<byte> destination)
    {
        if (run.Type == UdifRunType.Raw)
        {
            File.Read(run.StoredOffset + offset, destination);
            Watcher?.OnRead(run, offset, destination);
            return;
        }

        if (destination.Length == run.Length)
        {
            Decode(run, destination);
            return;
        }

        DecodedRunCache.Entry entry = _cache.Take(run);
        try
        {
            lock (entry)
            {
                if (!entry.IsDecoded)
                {
                    Decode(run, entry.Bytes);
                    entry.IsDecoded = true;
                }
            }

            entry.Bytes.Slice((int)offset, destination.Length).CopyTo(destination);
        }
        finally
        {
            _cache.Release(entry);
        }
    }

    /// <summary>Decodes what is stored of a compressed run.</summary>
    /// <param name="run">The run.</param>
    /// <param name="stored">Its bytes in the file.</param>
    /// <param name="destination">Room for its bytes of the disk.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">They cannot be decoded.</exception>
    internal static void Decode(in UdifRun run, ReadOnlySpan<byte> stored, Span<byte> destination, CancellationToken cancellation)
    {
        string place = $"run at sector {run.FirstSector}, stored at byte {run.StoredOffset}";
        UdifCodec codec = UdifCodecs.Find(run.Type)!;
        if (codec.Reader is null)
        {
            throw ImageException.Unsupported(
                $"The image is compressed with {codec.Name} ({codec.FormatCode}), which this version cannot read.",
                "Convert it on a Mac: hdiutil convert -format UDZO.", place);
        }

        try
        {
            codec.Reader.Decode(stored, destination, cancellation);
        }
        catch (ImageException e) when (e.Id is ImageErrorId.ImageDamaged or ImageErrorId.ChecksumMismatch or ImageErrorId.UnsupportedFormat)
        {
            throw new ImageException(
                e.Id, e.Problem, place: e.Place is null ? place : $"{e.Place} in the {place}", remedy: e.Remedy, innerException: e);
        }
    }

    private void Decode(in UdifRun run, Span<byte> destination)
    {
        byte[] stored = ArrayPool<byte>.Shared.Rent((int)run.StoredLength);
        try
        {
            Span<byte> bytes = stored.AsSpan(0, (int)run.StoredLength);
            File.Read(run.StoredOffset, bytes);
            Decode(run, bytes, destination, Stop?.Token ?? default);
            Watcher?.OnDecoded(run, bytes, destination);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(stored);
        }
    }
}
