using System.Buffers.Binary;
using System.Text;
using CCImage.Binary;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.Fat;

/// <summary>
/// Reads a FAT volume into a tree, folder by folder, not recursive. Source: Microsoft, "FAT: General Overview of On-Disk Format", version
/// 1.03, with the long names; bits of lower case as Windows NT keeps them (byte 12: 8 the name, 16 the extension). Times are local ones and
/// taken as this machine's.
/// </summary>
/// <param name="volume">The volume.</param>
/// <param name="geometry">Where its parts lie.</param>
/// <param name="table">The FAT.</param>
internal sealed class FatTreeReader(BlockStorage volume, FatGeometry geometry, FatTable table)
{
    private const int Piece = 4096;
    private const int LargestFolder = 65536 * FatDirectoryEntry.Size;
    private const int NamePiece = 13; // UTF-16 units in an entry of a long name
    private const int MostPieces = 20;

    // The upper half of code page 437, which is what short names are in unless somebody chose another: the volume does not tell.
    private const string UpperCharacters =
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐"
        + "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00A0";

    private readonly Dictionary<long, uint> _firstClusters = [];
    private readonly HashSet<uint> _folderClusters = [];
    private readonly FatTableWindow _window = new(table);
    private readonly char[] _longName = new char[MostPieces * NamePiece];
    private int _piecesLeft = -1; // of a long name; -1 for none
    private int _pieces;
    private byte _checksum;
    private readonly TreeOmissions _omissions = new();

    /// <summary>Reads the tree.</summary>
    /// <param name="mostBytes">How much of directories is read.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>The tree; null when there is more of it.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public FatTree? TryRead(long mostBytes, CancellationToken cancellation)
    {
        var root = new SourceEntry { Name = "", Kind = EntryKind.Directory, Mode = DosMetadata.ModeOf(DosMetadata.Directory) };
        var pending = new Stack<(SourceEntry Folder, uint Cluster)>([(root, geometry.Fat32?.RootCluster ?? 0u)]);
        while (pending.TryPop(out (SourceEntry Folder, uint Cluster) next))
        {
            cancellation.ThrowIfCancellationRequested();
            _piecesLeft = -1;
            try
            {
                foreach ((long offset, byte[] bytes) in ReadFolder(next.Folder, next.Cluster))
                {
                    cancellation.ThrowIfCancellationRequested();
                    if ((mostBytes -= bytes.Length) < 0) return null;
                    if (ReadEntries(offset, bytes, next.Folder, pending)) break;
                }
            }
            catch (ImageException e) when (e.IsFaultOfContent)
            {
                LeaveOut(next.Folder, $"A part of the folder cannot be read, and what it has from there on is lost: {e.Problem}", e.Place
                    ?? "FAT directory");
            }
        }

        return new FatTree(volume, geometry, table, root, _firstClusters, _omissions);
    }

    // What a folder has in front of a fault is listed; what is behind it is not known.
    private void LeaveOut(SourceEntry folder, string problem, string place) =>
        _omissions.LeaveOut(() => TreeOmissions.PathOf(folder), ImageException.Damaged(problem, place));

    private IEnumerable<(long Offset, byte[] Bytes)> ReadFolder(SourceEntry folder, uint cluster)
    {
        if (folder.Parent is null && geometry.Fat32 is null)
        {
            foreach ((long Offset, byte[] Bytes) piece in ReadPieces(geometry.RootOffset, geometry.RootLength)) yield return piece;
            yield break;
        }

        for (long length = 0; cluster < table.EndOfChain; length += geometry.ClusterSize)
        {
            if (!geometry.IsCluster(cluster) || length >= LargestFolder || !_folderClusters.Add(cluster))
            {
                LeaveOut(folder, $"The folder leads to cluster {cluster}, which cannot be: what it has from there on is lost.",
                    "FAT directory");
                yield break;
            }

            foreach ((long Offset, byte[] Bytes) piece in ReadPieces(geometry.OffsetOf(cluster), geometry.ClusterSize)) yield return piece;
            cluster = _window[cluster];
        }
    }

    // Most folders end in the first piece, however large a cluster is.
    private IEnumerable<(long Offset, byte[] Bytes)> ReadPieces(long offset, int length)
    {
        for (int at = 0; at < length; at += Piece)
        {
            byte[] bytes = new byte[Math.Min(Piece, length - at)];
            volume.Read(offset + at, bytes);
            yield return (offset + at, bytes);
        }
    }

    // Whether the folder ends here.
    private bool ReadEntries(long offset, byte[] bytes, SourceEntry folder, Stack<(SourceEntry Folder, uint Cluster)> pending)
    {
        for (int at = 0; at + FatDirectoryEntry.Size <= bytes.Length; at += FatDirectoryEntry.Size)
        {
            ReadOnlySpan<byte> raw = bytes.AsSpan(at, FatDirectoryEntry.Size);
            FatDirectoryEntry entry = Layout.Read<FatDirectoryEntry>(raw);
            if (raw[0] == 0) return true;
            if (raw[0] == FatDirectoryEntry.Deleted) _piecesLeft = -1;
            else if ((entry.Attributes & 0x3F) == FatDirectoryEntry.LongName) TakePiece(raw);
            else
            {
                string? longName = _piecesLeft == 0 && ChecksumOf(raw) == _checksum ? LongName() : null;
                _piecesLeft = -1;
                if ((entry.Attributes & FatDirectoryEntry.VolumeLabel) != 0 || raw.StartsWith(".          "u8)
                    || raw.StartsWith("..         "u8)) continue;
                Add(offset + at, entry, longName ?? ShortName(raw), folder, pending);
            }
        }

        return false;
    }

    private void Add(
        long place, in FatDirectoryEntry entry, string name, SourceEntry folder, Stack<(SourceEntry Folder, uint Cluster)> pending)
    {
        if (!DosMetadata.IsName(name))
        {
            LeaveOut(folder, "The folder has an entry whose name cannot be one.", $"FAT directory, byte {place}");
            return;
        }

        bool isFolder = (entry.Attributes & DosMetadata.Directory) != 0;
        uint cluster = entry.ClusterLow | (geometry.Fat32 is null ? 0u : (uint)entry.ClusterHigh << 16);
        var made = new SourceEntry
        {
            Name = name,
            Kind = isFolder ? EntryKind.Directory : EntryKind.File,
            Size = isFolder ? 0 : (uint)entry.Length,
            Mode = DosMetadata.ModeOf(entry.Attributes),
            Flags = DosMetadata.FlagsOf(entry.Attributes),
            BirthTime = DosMetadata.TimeOf(entry.CreateDate, entry.CreateTime, entry.CreateTenths),
            ModifyTime = DosMetadata.TimeOf(entry.WriteDate, entry.WriteTime),
            AccessTime = DosMetadata.TimeOf(entry.AccessDate, 0),
            NodeId = place,
        };
        folder.Add(made);
        if (isFolder) pending.Push((made, cluster));
        else _firstClusters[place] = cluster;
    }

    // The pieces of a long name come last first, before the short name they belong to.
    private void TakePiece(ReadOnlySpan<byte> raw)
    {
        const int last = 0x40;
        int number = raw[0] & 0x3F;
        if ((raw[0] & last) != 0 && number is > 0 and <= MostPieces) (_piecesLeft, _pieces, _checksum) = (number, number, raw[13]);
        if (number == 0 || number != _piecesLeft || raw[13] != _checksum)
        {
            _piecesLeft = -1;
            return;
        }

        _piecesLeft--;
        Span<char> piece = _longName.AsSpan(_piecesLeft * NamePiece, NamePiece);
        for (int i = 0; i < NamePiece; i++)
            piece[i] = (char)BinaryPrimitives.ReadUInt16LittleEndian(
                raw[(i < 5 ? 1 + (2 * i) : i < 11 ? 14 + (2 * (i - 5)) : 28 + (2 * (i - 11)))..]);
    }

    private string LongName()
    {
        ReadOnlySpan<char> name = _longName.AsSpan(0, _pieces * NamePiece);
        int end = name.IndexOf('\0');
        return new string(end < 0 ? name : name[..end]);
    }

    private static byte ChecksumOf(ReadOnlySpan<byte> raw)
    {
        byte sum = 0;
        for (int i = 0; i < 11; i++) sum = unchecked((byte)(((sum & 1) << 7) + (sum >> 1) + raw[i]));
        return sum;
    }

    private static string ShortName(ReadOnlySpan<byte> raw)
    {
        const int nameLength = 8, extensionLength = 3;
        var name = new StringBuilder(Text(raw[..nameLength], (raw[12] & 0x08) != 0));
        string extension = Text(raw.Slice(nameLength, extensionLength), (raw[12] & 0x10) != 0);
        return extension.Length == 0 ? name.ToString() : name.Append('.').Append(extension).ToString();
    }

    private static string Text(ReadOnlySpan<byte> bytes, bool isLower)
    {
        Span<char> text = stackalloc char[bytes.Length];
        for (int i = 0; i < bytes.Length; i++) text[i] = bytes[i] < 0x80 ? (char)bytes[i] : UpperCharacters[bytes[i] - 0x80];
        // stands for a character that would mean "deleted"
        if (bytes.Length == 8 && bytes[0] == 0x05) text[0] = UpperCharacters[FatDirectoryEntry.Deleted - 0x80];
        string trimmed = new string(text).TrimEnd(' ');
        return isLower ? trimmed.ToLowerInvariant() : trimmed;
    }
}
