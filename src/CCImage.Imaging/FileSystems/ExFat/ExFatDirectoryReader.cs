using System.Buffers.Binary;
using CCImage.Binary;

namespace CCImage.FileSystems.ExFat;

/// <summary>A set of entries of a directory, which describes a file or something that may be passed over.</summary>
/// <param name="Index">Number of its first entry in the directory.</param>
/// <param name="Place">Where that lies, in bytes of the volume.</param>
/// <param name="Fault">What is wrong with it, or null.</param>
/// <param name="File">The file; null with a fault, and for what may be passed over.</param>
internal readonly record struct ExFatEntrySet(long Index, long Place, string? Fault, ExFatFile? File);

/// <summary>A file or directory, as its set of entries describes it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Entry">The first entry.</param>
/// <param name="Stream">The second; its lengths are such as the volume can have.</param>
internal sealed record ExFatFile(string Name, ExFatFileEntry Entry, ExFatFileStreamEntry Stream)
{
    /// <summary>Whether it is a directory.</summary>
    public bool IsDirectory => (Entry.Attributes & DosMetadata.Directory) != 0;

    /// <summary>Bytes that it has.</summary>
    public long Length => (long)(ulong)Stream.Length;

    /// <summary>Bytes that were written; the others read as zeros.</summary>
    public long ValidLength => (long)(ulong)Stream.ValidLength;

    /// <summary>Whether its clusters follow each other, without a chain.</summary>
    public bool IsContiguous => (Stream.Flags & ExFatFileStreamEntry.NoChain) != 0;
}

/// <summary>Puts the entries of directories together to sets. Source: docs/formats/exfat.md.</summary>
/// <param name="clusters">The volume's clusters.</param>
internal sealed class ExFatDirectoryReader(ExFatClusters clusters)
{
    /// <summary>Bytes that a directory can have.</summary>
    public const long LongestDirectory = 256 << 20;

    private const int EntrySize = ExFatStreamEntry.Size;
    private const int Piece = 4096;
    private const int MostEntries = 19; // the first and at most 18 more

    /// <summary>How much of all directories was read.</summary>
    public long BytesRead { get; private set; }

    /// <summary>Reads a directory up to its end.</summary>
    /// <param name="directory">Its clusters, each of which exists.</param>
    /// <exception cref="ImageException">They cannot be read.</exception>
    public IEnumerable<ExFatEntrySet> Read(IEnumerable<uint> directory)
    {
        byte[] set = new byte[MostEntries * EntrySize], buffer = new byte[(int)Math.Min(clusters.Size, Piece)];
        int filled = 0, wanted = 0; // bytes of the set that is being collected
        long index = 0, first = 0, place = 0;
        foreach (uint cluster in directory)
        {
            for (long at = 0; at < clusters.Size; at += buffer.Length)
            {
                clusters.Read(cluster, at, buffer);
                BytesRead += buffer.Length;
                for (int i = 0; i < buffer.Length; i += EntrySize, index++)
                {
                    byte type = buffer[i];
                    bool isInUse = (type & ExFatFileEntry.InUse) != 0, isSecondary = isInUse && (type & ExFatFileEntry.Secondary) != 0;
                    if (filled > 0 && isSecondary)
                    {
                        buffer.AsSpan(i, EntrySize).CopyTo(set.AsSpan(filled));
                        filled += EntrySize;
                    }
                    else
                    {
                        long here = clusters.OffsetOf(cluster) + at + i;
                        if (filled > 0 || isSecondary) yield return filled > 0 ? Incomplete(first, place) : Incomplete(index, here);
                        filled = 0;
                        if (type == ExFatStreamEntry.End) yield break;
                        if (!isInUse || isSecondary || !IsSet(type)) continue;
                        (first, place, wanted) = (index, here, (1 + buffer[i + 1]) * EntrySize);
                        if (wanted > set.Length)
                        {
                            yield return new(first, place, $"A set claims {buffer[i + 1]} more entries where 18 are the most.", null);
                            continue;
                        }

                        buffer.AsSpan(i, EntrySize).CopyTo(set);
                        filled = EntrySize;
                    }

                    if (filled < wanted) continue;
                    (string? fault, ExFatFile? file) = Judge(set.AsSpan(0, filled));
                    yield return new(first, place, fault, file);
                    filled = 0;
                }
            }
        }

        if (filled > 0) yield return Incomplete(first, place);
    }

    private static ExFatEntrySet Incomplete(long index, long place) =>
        new(index, place, "A set of entries is not complete: the file that it describes is lost.", null);

    // All primary entries but those with fields of their own where others have the number of entries and the checksum.
    private static bool IsSet(byte type) =>
        type is not (ExFatStreamEntry.Bitmap or ExFatStreamEntry.UpCase or ExFatStreamEntry.Label or ExFatFileEntry.Padding);

    private (string? Fault, ExFatFile? File) Judge(ReadOnlySpan<byte> set)
    {
        ExFatFileEntry entry = Layout.Read<ExFatFileEntry>(set);
        if (entry.Checksum != ChecksumOf(set))
            return ("A set of entries fails its checksum: name, place or length of a file may be wrong.", null);
        if (entry.Type != ExFatFileEntry.File)
            return (entry.Type & ExFatFileEntry.Benign) != 0 ? (null, null)
                : ($"An entry is of the unknown type {entry.Type:X2}, which must not be passed over.", null);
        if (set.Length < 3 * EntrySize || set[EntrySize] != ExFatFileEntry.Stream)
            return ("A file has no entry that says where it lies, or none with its name.", null);
        ExFatFileStreamEntry stream = Layout.Read<ExFatFileStreamEntry>(set[EntrySize..]);
        string name = NameOf(set[(2 * EntrySize)..], stream.NameLength);
        if (name.Length != stream.NameLength || name.Length == 0) return ($"A name of {stream.NameLength} units has {name.Length}.", null);
        if (!DosMetadata.IsName(name)) return ("A name cannot be one.", null);
        if (stream.Length > (ulong)clusters.Count * (ulong)clusters.Size)
            return ($"'{name}' claims {stream.Length} bytes, more than the volume has.", null);
        if (stream.ValidLength > stream.Length)
            return ($"'{name}' of {stream.Length} bytes claims {stream.ValidLength} written ones.", null);
        var file = new ExFatFile(name, entry, stream);
        return file.IsDirectory && file.Length is 0 or > LongestDirectory ? ($"The directory '{name}' claims {file.Length} bytes.", null)
            : (null, file);
    }

    private static string NameOf(ReadOnlySpan<byte> entries, int length)
    {
        Span<char> name = stackalloc char[255];
        int count = 0;
        for (; entries.Length >= EntrySize && entries[0] == ExFatFileEntry.Name; entries = entries[EntrySize..])
            for (int i = 2; i < EntrySize && count < length; i += 2)
                name[count++] = (char)BinaryPrimitives.ReadUInt16LittleEndian(entries[i..]);
        return new string(name[..count]);
    }

    // 16 bits: rotate right by one, add the byte; the field itself is left out.
    private static ushort ChecksumOf(ReadOnlySpan<byte> set)
    {
        ushort checksum = 0;
        for (int i = 0; i < set.Length; i++)
            if (i is not (2 or 3)) checksum = unchecked((ushort)((ushort)((checksum >> 1) | (checksum << 15)) + set[i]));
        return checksum;
    }
}
