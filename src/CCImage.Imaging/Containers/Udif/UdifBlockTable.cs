using System.Globalization;
using CCImage.Binary;
using CCImage.PropertyLists;

namespace CCImage.Containers.Udif;

/// <summary>A run with absolute positions, within the limits of disk and file.</summary>
/// <param name="Type">How it is stored.</param>
/// <param name="FirstSector">From the start of the disk.</param>
/// <param name="SectorCount">Positive.</param>
/// <param name="StoredOffset">In bytes from the start of the file; raw and compressed runs only.</param>
/// <param name="StoredLength">In bytes.</param>
internal readonly record struct UdifRun(UdifRunType Type, long FirstSector, long SectorCount, long StoredOffset, long StoredLength)
{
    /// <summary>The sector behind the run.</summary>
    public long EndSector => FirstSector + SectorCount;

    /// <summary>Bytes of the disk.</summary>
    public long Length => SectorCount * UdifConstants.SectorSize;

    /// <summary>Whether its bytes are read from the file.</summary>
    public bool IsStored => Type is not (UdifRunType.Zero or UdifRunType.Ignore);
}

/// <summary>A block table: a part of the disk, usually a partition, as runs.</summary>
internal sealed class UdifBlockTable
{
    // zlib adds 5 bytes in 16 KiB to what does not compress, bzip2 a hundredth.
    private const long MaximumStoredRun = UdifConstants.MaximumRunBytes + (UdifConstants.MaximumRunBytes / 8);

    private UdifBlockTable(string name, int id, UdifBlockTableHeader header, UdifRun[] runs) =>
        (Name, Id, Header, Runs) = (name, id, header, runs);

    /// <summary>The name, for example <c>"disk image (Apple_HFS : 4)"</c>.</summary>
    public string Name { get; }

    /// <summary>The resource id: -1 for the first table of a disk with a map.</summary>
    public int Id { get; }

    /// <summary>The head as it is stored.</summary>
    public UdifBlockTableHeader Header { get; }

    /// <summary>The runs with sectors, without comments and terminator, in the order of the table.</summary>
    public UdifRun[] Runs { get; }

    /// <summary>Reads a table.</summary>
    /// <param name="entry">Its entry in the property list's <c>blkx</c>.</param>
    /// <param name="index">Its place there, for messages.</param>
    /// <param name="dataForkOffset">Where the data fork begins, in bytes.</param>
    /// <param name="fileLength">Length of the file in bytes.</param>
    /// <exception cref="ImageException">Damaged, or with runs of unknown type.</exception>
    public static UdifBlockTable Parse(PropertyListNode entry, int index, ulong dataForkOffset, long fileLength)
    {
        string place = $"block table {index}";
        if (entry is not PropertyListDictionary dictionary || dictionary.GetData("Data") is not byte[] data)
            throw ImageException.Damaged("A block table has no data.", place);
        if (data.Length < UdifBlockTableHeader.Size)
            throw ImageException.Damaged("A block table is cut short.", $"{place}, byte {data.Length}");
        var header = Layout.Read<UdifBlockTableHeader>(data);
        if (header.Signature != UdifConstants.BlockTableSignature)
            throw ImageException.Damaged("A block table lacks its signature 'mish'.", $"{place}, byte 0");
        if (header.Version != UdifConstants.BlockTableVersion)
            throw ImageException.Unsupported($"The image has block tables of version {header.Version}.", place: $"{place}, byte 4");
        if (header.FirstSector > UdifConstants.MaximumSectors || header.SectorCount > UdifConstants.MaximumSectors - header.FirstSector)
            throw ImageException.Damaged("A block table reaches beyond the largest disk there can be.", $"{place}, byte 8");
        if (header.RunCount > (uint)(data.Length - UdifBlockTableHeader.Size) / UdifRunRecord.Size)
            throw ImageException.Damaged("A block table has fewer runs than it says.", $"{place}, byte 200");

        var runs = new UdifRun[header.RunCount];
        int count = 0;
        for (int i = 0; i < header.RunCount; i++)
        {
            int at = UdifBlockTableHeader.Size + (i * UdifRunRecord.Size);
            var record = Layout.Read<UdifRunRecord>(data.AsSpan(at));
            if (record.Type == (uint)UdifRunType.Terminator) break;
            if (record.Type == (uint)UdifRunType.Comment || record.SectorCount == 0) continue;
            runs[count++] = ParseRun(record, header, dataForkOffset, fileLength, $"{place}, run {i} at byte {at}");
        }

        Array.Resize(ref runs, count);
        string name = dictionary.GetString("Name") ?? dictionary.GetString("CFName") ?? "";
        _ = int.TryParse(dictionary.GetString("ID"), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int id);
        return new UdifBlockTable(name, id, header, runs);
    }

    private static UdifRun ParseRun(
        in UdifRunRecord record, in UdifBlockTableHeader header, ulong dataForkOffset, long fileLength, string place)
    {
        ulong first = record.FirstSector, count = record.SectorCount, length = record.StoredLength;
        if (first > header.SectorCount || count > header.SectorCount - first)
            throw ImageException.Damaged("A run leaves its block table's part of the disk.", place);
        var type = (UdifRunType)(uint)record.Type;
        var run = new UdifRun(type, (long)((ulong)header.FirstSector + first), (long)count, 0, 0);
        if (!run.IsStored) return run;

        UInt128 offset = (UInt128)(ulong)record.StoredOffset + (ulong)header.DataOffset + dataForkOffset;
        if (offset + length > (ulong)fileLength) throw ImageException.Damaged("A run lies behind the end of the file.", place);
        run = run with { StoredOffset = (long)(ulong)offset, StoredLength = (long)length };
        if (type == UdifRunType.Raw)
            return run.StoredLength >= run.Length ? run : throw ImageException.Damaged("A raw run has fewer bytes than sectors.", place);
        if (UdifCodecs.Find(type) is null)
            throw ImageException.Unsupported(
                $"The image has runs of the unknown type 0x{(uint)type:X8}.", "Convert it on a Mac: hdiutil convert -format UDZO.", place);
        if (run.Length > UdifConstants.MaximumRunBytes || run.StoredLength > MaximumStoredRun || length == 0)
            throw ImageException.Damaged("A compressed run has an absurd size.", place);
        return run;
    }
}
