using System.Buffers.Binary;
using System.Text;
using CCImage.Binary;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.ExFat;

/// <summary>
/// Walks all directories of a volume: checksum and make-up of every set of entries, and where what they name lies: inside the heap, marked in the
/// bitmap, and nowhere twice. Source: docs/formats/exfat.md.
/// </summary>
/// <param name="clusterCount">Clusters of the volume.</param>
/// <param name="clusterSize">Bytes of one.</param>
/// <param name="read">Reads from a cluster, from a byte in it on.</param>
/// <param name="chain">The clusters of a chain in the FAT: the first, how many there can be, and of what, for errors.</param>
/// <param name="chainBudget">Clusters that all chains together can have: more means that some are shared, and has to end.</param>
internal sealed class ExFatDirectoryChecker(
    uint clusterCount, long clusterSize, ExFatDirectoryChecker.ReadCluster read, Func<uint, long, string, IEnumerable<uint>> chain, long chainBudget)
{
    private const string What = "exFAT directories";
    private const string DoubleUse = "exFAT clusters";
    private const int EntrySize = ExFatStreamEntry.Size;
    private const int MostEntriesOfSet = 19; // the first and at most 18 more
    private const int LongestPlace = 200;
    private const long LongestDirectory = 256 << 20;

    private readonly Stack<Directory> _left = new();
    private readonly HashSet<uint> _seen = [];
    private readonly List<(uint First, uint Count)> _used = [];
    private readonly StringBuilder _name = new();
    private long _chainBudget = chainBudget;
    private long _sets;

    /// <summary>Reads a part of a cluster.</summary>
    /// <param name="cluster">Its number, which is one of the heap's.</param>
    /// <param name="offset">The first byte in it.</param>
    /// <param name="buffer">To be filled.</param>
    public delegate void ReadCluster(uint cluster, long offset, Span<byte> buffer);

    /// <summary>Checks all directories.</summary>
    /// <param name="rootCluster">Where the root directory begins.</param>
    /// <param name="own">Clusters of the allocation bitmap and the up-case table.</param>
    /// <param name="free">The runs that the bitmap calls free, ascending.</param>
    /// <param name="findings">Hears what is found.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The volume cannot be read.</exception>
    public void Check(
        uint rootCluster, IEnumerable<(uint First, uint Count)> own, IEnumerable<(long First, long Count)> free, ImageFindings findings, CancellationToken cancellation)
    {
        _used.AddRange(own);
        _left.Push(new("/", rootCluster, null, IsContiguous: false));
        long directories = 0;
        bool isWhole = true;
        for (; _left.TryPop(out Directory? directory); directories++)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                isWhole &= Walk(directory, findings);
            }
            catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
            {
                findings.Damaged(What, $"{e.Problem} What lies in it and below was not checked.", Place(directory.Path));
                isWhole = false;
            }
        }

        if (isWhole) findings.Ok(What, $"{_sets} entries in {directories} directories fit their checksums.");
        CheckUse(free, isWhole, findings);
    }

    /// <summary>The 16-bit checksum of a set of entries: rotate right by one, add the byte; the field itself is left out.</summary>
    /// <param name="set">All entries of the set.</param>
    internal static ushort ChecksumOf(ReadOnlySpan<byte> set)
    {
        ushort checksum = 0;
        for (int i = 0; i < set.Length; i++)
            if (i is not (2 or 3)) checksum = unchecked((ushort)((ushort)((checksum >> 1) | (checksum << 15)) + set[i]));
        return checksum;
    }

    // Whether all of it could be checked.
    private bool Walk(Directory directory, ImageFindings findings)
    {
        Span<byte> set = stackalloc byte[MostEntriesOfSet * EntrySize];
        int filled = 0, wanted = 0; // bytes of the set that is being collected
        long index = 0;
        bool isWhole = true, ended = false;
        byte[] buffer = new byte[(int)Math.Min(clusterSize, 64 << 10)];
        foreach (uint cluster in ClustersOf(directory))
        {
            // What is chained behind the end is the directory's all the same, and counted by going on.
            if (ended && directory.IsContiguous) break;
            if (ended) continue;
            if (!_seen.Add(cluster)) throw ImageException.Damaged("The directory lies where another one does.");
            for (long at = 0; at < clusterSize && !ended; at += buffer.Length)
            {
                read(cluster, at, buffer);
                for (ReadOnlySpan<byte> rest = buffer; !rest.IsEmpty && !ended; rest = rest[EntrySize..], index++)
                {
                    ReadOnlySpan<byte> entry = rest[..EntrySize];
                    bool isInUse = (entry[0] & ExFatFileEntry.InUse) != 0, isSecondary = isInUse && (entry[0] & ExFatFileEntry.Secondary) != 0;
                    if (filled > 0 && isSecondary)
                    {
                        entry.CopyTo(set[filled..]);
                        filled += EntrySize;
                    }
                    else
                    {
                        if (filled > 0 || isSecondary) isWhole &= Incomplete(directory, index, findings);
                        (filled, wanted) = (0, 0);
                        ended = entry[0] == ExFatStreamEntry.End;
                        if (!isInUse || isSecondary || !IsSet(entry[0])) continue;
                        entry.CopyTo(set);
                        (filled, wanted) = (EntrySize, (1 + entry[1]) * EntrySize);
                        if (wanted > set.Length)
                        {
                            findings.Damaged(What, $"A set claims {entry[1]} more entries where 18 are the most.", Place(directory.Path, index));
                            (filled, wanted, isWhole) = (0, 0, false);
                        }
                    }

                    if (filled == 0 || filled < wanted) continue;
                    isWhole &= CheckSet(directory, index + 1 - (wanted / EntrySize), set[..wanted], findings);
                    (filled, wanted) = (0, 0);
                }
            }
        }

        if (filled > 0) isWhole &= Incomplete(directory, index, findings);
        return isWhole;
    }

    private static bool Incomplete(Directory directory, long index, ImageFindings findings)
    {
        findings.Damaged(What, "A set of entries is not complete: the file that it describes is lost.", Place(directory.Path, index));
        return false;
    }

    // All primary entries but those with fields of their own where others have the number of entries and the checksum.
    private static bool IsSet(byte type) => type is not (ExFatStreamEntry.Bitmap or ExFatStreamEntry.UpCase or ExFatStreamEntry.Label or ExFatFileEntry.Padding);

    private bool CheckSet(Directory directory, long index, ReadOnlySpan<byte> set, ImageFindings findings)
    {
        string Here() => Place(directory.Path, index);
        _sets++;
        if (BinaryPrimitives.ReadUInt16LittleEndian(set[2..]) != ChecksumOf(set))
        {
            findings.Damaged(What, "A set of entries fails its checksum: name, place or length of a file may be wrong.", Here());
            return false;
        }

        if (set[0] != ExFatFileEntry.File)
        {
            if ((set[0] & ExFatFileEntry.Benign) != 0) return true;
            findings.Damaged(What, $"An entry is of the unknown type {set[0]:X2}, which must not be passed over.", Here());
            return false;
        }

        if (set.Length < 3 * EntrySize || set[EntrySize] != ExFatFileEntry.Stream)
        {
            findings.Damaged(What, "A file has no entry that says where it lies, or none with its name.", Here());
            return false;
        }

        ExFatFileStreamEntry stream = Layout.Read<ExFatFileStreamEntry>(set[EntrySize..]);
        string name = NameOf(set[(2 * EntrySize)..], stream.NameLength);
        if (name.Length != stream.NameLength || name.Length == 0)
        {
            findings.Damaged(What, $"A name of {stream.NameLength} units has {name.Length}.", Here());
            return false;
        }

        string path = directory.Path.Length + name.Length < LongestPlace ? $"{directory.Path}{name}" : $"{directory.Path[..Math.Min(directory.Path.Length, LongestPlace)]}…";
        bool isDirectory = (BinaryPrimitives.ReadUInt16LittleEndian(set[4..]) & ExFatFileEntry.DirectoryAttribute) != 0;
        try
        {
            long length = LengthOf(stream);
            if (isDirectory && (length > LongestDirectory || length == 0)) throw ImageException.Damaged($"A directory claims {length} bytes.");
            if (isDirectory) _left.Push(new($"{path}/", stream.FirstCluster, length, (stream.Flags & ExFatFileStreamEntry.NoChain) != 0));
            else if (length > 0) ClaimFile(stream, length);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(What, e.Problem, Place(path));
            return false;
        }

        return true;
    }

    private static string NameOf(ReadOnlySpan<byte> entries, int length)
    {
        Span<char> name = stackalloc char[255];
        int count = 0;
        for (; entries.Length >= EntrySize && entries[0] == ExFatFileEntry.Name; entries = entries[EntrySize..])
            for (int i = 2; i < EntrySize && count < length; i += 2) name[count++] = (char)BinaryPrimitives.ReadUInt16LittleEndian(entries[i..]);
        return new string(name[..count]);
    }

    private long LengthOf(in ExFatFileStreamEntry stream)
    {
        if (stream.Length > (ulong)clusterCount * (ulong)clusterSize) throw ImageException.Damaged($"A file claims {stream.Length} bytes, more than the volume has.");
        if (stream.ValidLength > stream.Length) throw ImageException.Damaged($"A file of {stream.Length} bytes claims {stream.ValidLength} written ones.");
        return (long)(ulong)stream.Length;
    }

    // Each cluster is noted as used.
    private IEnumerable<uint> ClustersOf(Directory directory)
    {
        if (!directory.IsContiguous) return Chained(directory.FirstCluster, ClustersFor(directory.Length ?? LongestDirectory), isExact: directory.Length is not null);
        uint count = Claim(directory.FirstCluster, ClustersFor(directory.Length!.Value));
        return Enumerable.Range(0, (int)count).Select(i => directory.FirstCluster + (uint)i);
    }

    private void ClaimFile(in ExFatFileStreamEntry stream, long length)
    {
        if ((stream.Flags & ExFatFileStreamEntry.NoChain) != 0) Claim(stream.FirstCluster, ClustersFor(length));
        else _ = Chained(stream.FirstCluster, ClustersFor(length), isExact: true).Count();
    }

    private long ClustersFor(long length) => Layout.DivideUp(length, clusterSize);

    private uint Claim(uint first, long count)
    {
        if (first < ClusterRuns.First || first - ClusterRuns.First + count > clusterCount)
            throw ImageException.Damaged($"{count} clusters from {first} on reach behind the volume's end.");
        _used.Add((first, (uint)count));
        return (uint)count;
    }

    private IEnumerable<uint> Chained(uint first, long most, bool isExact)
    {
        long count = 0;
        foreach (uint cluster in chain(first, most, "file"))
        {
            if (--_chainBudget < 0) throw ImageException.Damaged("The chains of the FAT have more clusters than there are: some are shared.");
            if (_used.Count > 0 && _used[^1] is var (start, length) && count > 0 && start + (long)length == cluster) _used[^1] = (start, length + 1);
            else _used.Add((cluster, 1));
            count++;
            yield return cluster;
        }

        if (isExact && count < most) throw ImageException.Damaged($"A chain has {count} clusters where the length asks for {most}.");
    }

    // Used twice, used but free, in use by nobody.
    private void CheckUse(IEnumerable<(long First, long Count)> free, bool isWhole, ImageFindings findings)
    {
        _used.Sort();
        long end = 0, used = 0;
        bool isSound = true;
        foreach ((uint first, uint count) in _used)
        {
            if (first < end) isSound = Report("Two files, or two parts of one, lie in the same clusters: one has the content of the other.", first);
            used += Math.Max(0, first + (long)count - Math.Max(first, end));
            end = Math.Max(end, first + (long)count);
        }

        int next = 0;
        long freeClusters = 0;
        foreach ((long first, long count) in free)
        {
            freeClusters += count;
            while (next < _used.Count && _used[next].First + (long)_used[next].Count <= first) next++;
            if (next < _used.Count && _used[next].First < first + count) isSound = Report("A cluster of a file is marked as free: what is written next may take its place.", Math.Max(first, _used[next].First));
        }

        if (!isSound) return;
        long lost = clusterCount - freeClusters - used;
        if (isWhole && lost > 0) findings.Note(DoubleUse, $"{lost} clusters are marked as in use, and belong to no file.", remedy: "Attach the image on a Mac, which gives them back.");
        else findings.Ok(DoubleUse, "Every cluster of a file is its own, and marked as in use.");

        bool Report(string message, long cluster)
        {
            findings.Damaged(DoubleUse, message, $"cluster {cluster}");
            return false;
        }
    }

    private static string Place(string path, long? index = null) => index is null ? $"'{path}'" : $"entry {index} of '{path}'";

    private sealed record Directory(string Path, uint FirstCluster, long? Length, bool IsContiguous);
}
