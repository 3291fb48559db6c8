using System.Buffers.Binary;
using System.Text;
using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.FileSystems.ExFat;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.FileSystems;

/// <summary>Directories of exFAT: made here on a volume of mkfs.exfat, judged by fsck.exfat and by us, and then damaged.</summary>
public sealed class ExFatDirectoryTests
{
    private const int Cluster = 4096;

    private readonly byte[] _disk;
    private readonly int _fat;
    private readonly int _heap;
    private readonly int _bitmap;
    private readonly uint _root;

    public ExFatDirectoryTests()
    {
        Require.Tool("mkfs.exfat");
        using var folder = new TemporaryFolder();
        using (FileStream file = File.Create(folder["image"])) file.SetLength(8 << 20);
        Assert.Equal(0, Oracle.Run("mkfs.exfat", "-c", "4K", "-L", "LABEL", folder["image"]).ExitCode);
        _disk = File.ReadAllBytes(folder["image"]);
        (_fat, _heap, _root) =
            (BitConverter.ToInt32(_disk, 80) * 512, BitConverter.ToInt32(_disk, 88) * 512, BitConverter.ToUInt32(_disk, 96));
        int at = EntriesOf(_root).First(e => _disk[e] == ExFatStreamEntry.Bitmap);
        _bitmap = At(BitConverter.ToUInt32(_disk, at + 20));

        // A folder in one piece, a chained one in it, files in one piece, chained and empty.
        Put(_root, "Folder", 100, Cluster, contiguous: true, isDirectory: true);
        Put(_root, "empty", 0, 0, contiguous: false);
        Put(100, "file with a long name, in three entries.txt", 110, (2 * Cluster) + 1, contiguous: true);
        Put(100, "chained", 120, (3 * Cluster) - 5, contiguous: false, chain: [120, 131, 122]);
        Put(100, "Deeper", 140, 2 * Cluster, contiguous: false, isDirectory: true, chain: [140, 142]);
        for (int i = 0; i < 45; i++) Put(140, $"f{i}", 200 + (uint)i, 10, contiguous: true);
    }

    [OracleFact("mkfs.exfat", "fsck.exfat")]
    public void What_others_call_sound_is_sound()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["image"], _disk);
        (int exitCode, string output, string error) = Oracle.Run("fsck.exfat", "-n", folder["image"]);
        Assert.True(exitCode == 0, output + error);
        Assert.True(output.Contains("directories 3, files 48", StringComparison.Ordinal), output);
        ImageFinding[] findings = [.. Findings()];
        Assert.All(findings, f => Assert.Equal(ImageFindingGrade.Ok, f.Grade));
        Assert.Contains(findings, f => f.Message == "50 entries in 3 directories fit their checksums.");
    }

    [OracleFact("mkfs.exfat", "fls", "icat")]
    public void Files_are_read_as_others_read_them()
    {
        uint[] clusters = [110, 111, 112, 120, 131, 122, .. Enumerable.Range(200, 45).Select(i => (uint)i)];
        foreach (uint cluster in clusters) TestTree.Noise(Cluster, (int)cluster).CopyTo(_disk, At(cluster));
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["image"], _disk);
        var expected = new Dictionary<string, string>();
        foreach (string line in Encoding.UTF8.GetString(Oracle.RunForBytes("fls", "-r", "-p", folder["image"])).Split('\n'))
        {
            // "r/r 1234:	Folder/f1"
            if (line.Split(":\t") is not [var node, var name] || !node.StartsWith("r/r", StringComparison.Ordinal) || name.StartsWith('$')
                || name.EndsWith("(Volume Label Entry)", StringComparison.Ordinal)) continue;
            expected[name] = Convert.ToHexString(Oracle.RunForBytes("icat", folder["image"], node[4..]));
        }

        Assert.Equal(48, expected.Count);
        using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(_disk), out _);
        using SourceTree tree = volume.ReadTree()!;
        SourceEntry[] files = [.. tree.Enumerate().Where(e => e.Kind == EntryKind.File)];
        Assert.Equal(expected.OrderBy(f => f.Key, StringComparer.Ordinal),
            files.ToDictionary(f => f.RelativePath, f => Convert.ToHexString(Read(tree, f))).OrderBy(f => f.Key, StringComparer.Ordinal));
        Assert.Equal((48, 2), (volume.FileCount, volume.FolderCount));
    }

    [OracleFact("mkfs.exfat")]
    public void What_was_never_written_reads_as_zeros()
    {
        foreach (uint cluster in (uint[])[110, 111, 112, 120, 131, 122]) _disk.AsSpan(At(cluster), Cluster).Fill(7);
        foreach ((string name, int length,
            int[] written) in new[] { ("file with a long name, in three entries.txt", (2 * Cluster) + 1,
            new[] { 0, 1, Cluster, Cluster + 5 }), ("chained", (3 * Cluster) - 5, [0, 10, Cluster, (2 * Cluster) + 7]) })
        {
            foreach (int valid in written)
            {
                int set = SetOf(100, name);
                BinaryPrimitives.WriteInt64LittleEndian(_disk.AsSpan(set + 40), valid);
                PutChecksum(_disk.AsSpan(set));
                using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(_disk), out _);
                using SourceTree tree = volume.ReadTree()!;
                byte[] content = Read(tree, tree.Enumerate().Single(e => e.Name == name)), expected = new byte[length];
                expected.AsSpan(0, valid).Fill(7);
                Assert.Equal(expected, content);
            }
        }
    }

    [OracleFact("mkfs.exfat")]
    public void Attributes_and_times_are_kept()
    {
        int set = SetOf(_root, "empty");
        _disk[set + 4] = 0x03; // read-only, hidden
        // 2021-03-15 13:45:58
        BinaryPrimitives.WriteUInt32LittleEndian(_disk.AsSpan(set + 8), (41u << 25) | (3 << 21) | (15 << 16) | (13 << 11) | (45 << 5) | 29);
        (_disk[set + 20], _disk[set + 22]) = (151, 0x80 | (256 - 18 & 0x7F)); // + 1.51 s; 4:30 behind UTC
        BinaryPrimitives.WriteUInt32LittleEndian(_disk.AsSpan(set + 12), (41u << 25) | (3 << 21) | (15 << 16));
        _disk[set + 23] = 0x80 | 4; // an hour ahead
        PutChecksum(_disk.AsSpan(set));
        using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(_disk), out _);
        using SourceTree tree = volume.ReadTree()!;
        SourceEntry file = tree.Enumerate().Single(e => e.Name == "empty");
        Assert.Equal((0x124u, 0x8000u, 0L), (file.Mode, file.Flags, file.Size));
        Assert.Equal(new DateTimeOffset(2021, 3, 15, 18, 15, 59, 510, TimeSpan.Zero), file.BirthTime.ToDateTimeOffset());
        Assert.Equal(new DateTimeOffset(2021, 3, 14, 23, 0, 0, TimeSpan.Zero), file.ModifyTime.ToDateTimeOffset());
        // of no known offset
        Assert.Equal(new DateTimeOffset(new DateTime(2025, 10, 23, 0, 0, 0, DateTimeKind.Local)), file.AccessTime.ToDateTimeOffset());
        Assert.Equal(EntryKind.Directory, tree.Enumerate().Single(e => e.Name == "Deeper").Kind);
    }

    // What the check calls damaged cannot be read either, but for single files.
    [OracleFact("mkfs.exfat")]
    public void What_is_damaged_is_not_read()
    {
        int set = SetOf(_root, "empty");
        AssertUnreadable(set + 64 + 2, 1, null); // a name: the checksum tells
        AssertUnreadable(set, 0x80, null, $"byte {set + 32} of the volume"); // no first entry of the set
        // the second cluster of a folder; what was found there is zeros, so its end comes too early
        AssertUnreadable(_fat + (140 * 4), 142 ^ 141, null);
        AssertUnreadable(_fat + (120 * 4), 1, "chained"); // leads nowhere
        AssertUnreadable(_fat + (131 * 4), 122 ^ 120, "chained"); // in a circle

        void AssertUnreadable(int at, int change, string? file, string? place = null)
        {
            _disk[at] ^= (byte)change;
            using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(_disk), out _);
            Assert.Contains(Findings(), f => f.Grade == ImageFindingGrade.Damaged);
            Assert.Equal(file is null, volume.FileCount is null);
            using SourceTree tree = volume.ReadTree()!;
            Assert.NotEmpty(tree.Root.Children); // what is without fault is listed
            Assert.Equal(file is null, tree.OmittedCount > 0);
            if (file is null)
            {
                Assert.Contains(tree.Omissions, o => o.Message.Contains(place ?? "", StringComparison.Ordinal));
            }
            else
            {
                ImageException error = Assert.Throws<ImageException>(() => Read(tree, tree.Enumerate().Single(e => e.Name == file)));
                Assert.Equal(ImageErrorId.ImageDamaged, error.Id);
                Assert.Contains(file, error.Place, StringComparison.Ordinal);
            }

            _disk[at] ^= (byte)change;
        }
    }

    [OracleFact("mkfs.exfat")]
    public void Files_are_counted_as_long_as_that_is_little_work()
    {
        using var folder = new TemporaryFolder();
        using (FileStream file = File.Create(folder["image"])) file.SetLength(64 << 20);
        Assert.Equal(0, Oracle.Run("mkfs.exfat", "-c", "4K", folder["image"]).ExitCode);
        byte[] disk = File.ReadAllBytes(folder["image"]);
        int heap = BitConverter.ToInt32(disk, 88) * 512, fat = BitConverter.ToInt32(disk, 80) * 512;
        uint root = BitConverter.ToUInt32(disk, 96);

        // A root directory of deleted entries, the first cluster as it is.
        int rootAt = heap + (((int)root - 2) * Cluster);
        for (int at = rootAt; at < rootAt + Cluster; at += 32)
            if (disk[at] == 0) disk[at] = 0x05;
        uint last = root;
        for (uint next = 5000; next < 7500; last = next++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(disk.AsSpan(fat + ((int)last * 4)), next);
            BinaryPrimitives.WriteUInt32LittleEndian(disk.AsSpan(fat + ((int)next * 4)), uint.MaxValue);
            for (int i = 0; i < Cluster; i += 32) disk[heap + (((int)next - 2) * Cluster) + i] = 0x05;
            if (next is not (6000 or 7499)) continue;
            using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(disk), out _);
            Assert.Equal(next == 6000 ? (0, 0) : (null, null), (volume.FileCount, volume.FolderCount));
            using SourceTree tree = volume.ReadTree()!;
            Assert.Empty(tree.Root.Children);
        }
    }

    [OracleFact("mkfs.exfat")]
    public void Every_flipped_bit_of_a_set_is_found()
    {
        var random = new Random(1);
        foreach (uint directory in (uint[])[_root, 100])
        {
            foreach (int entry in EntriesOf(directory)
                .Where(e => _disk[e] is ExFatFileEntry.File or ExFatFileEntry.Stream or ExFatFileEntry.Name))
            {
                AssertFound(entry, 1 << 7, "exFAT directories");
                for (int i = 0; i < 32; i++) AssertFound(entry + i, 1 << random.Next(7), "exFAT directories");
            }
        }

        // The set that lies in two clusters.
        foreach (int entry in EntriesIn(140).TakeLast(2).Concat(EntriesIn(142).Take(1)))
            for (int i = 0; i < 32; i++) AssertFound(entry + i, 1 << random.Next(8), "exFAT directories");
    }

    [OracleFact("mkfs.exfat")]
    public void Clusters_that_lie_wrong_are_found()
    {
        AssertFound(_fat + (120 * 4), 1, "exFAT directories"); // into a cluster that leads nowhere
        AssertFound(_fat + (131 * 4), 122 ^ 120, "exFAT directories"); // in a circle
        AssertFound(_bitmap + ((111 - 2) / 8), 1 << ((111 - 2) % 8), "exFAT clusters"); // free, says the bitmap
        AssertFound(_bitmap + ((142 - 2) / 8), 1 << ((142 - 2) % 8), "exFAT clusters");
        AssertFound(_fat + (131 * 4), 122 ^ 142, "exFAT clusters"); // another's
    }

    [OracleFact("mkfs.exfat")]
    public void What_is_written_back_with_a_right_checksum_is_judged_too()
    {
        int deeper = SetOf(100, "Deeper"), stream = deeper + 32;
        AssertFoundWith(stream + 20, 140 ^ (int)_root, deeper, "exFAT directories"); // a directory in itself
        AssertFoundWith(stream + 20, 140 ^ 100, deeper, "exFAT directories");
        AssertFoundWith(stream + 1, 2, deeper, "exFAT clusters"); // in one piece: the second cluster is not the folder's
        AssertFoundWith(stream + 30, 0x7F, deeper, "exFAT directories"); // as long as nothing is
        AssertFoundWith(stream + 24, 0x10, deeper, "exFAT directories"); // shorter than its chain
        AssertFoundWith(stream + 3, 0x10, deeper, "exFAT directories"); // a name longer than it is
        int file = SetOf(100, "file with a long name, in three entries.txt");
        AssertFoundWith(file + 32 + 20, 110 ^ 100, file, "exFAT clusters"); // over the folder it lies in
        AssertFoundWith(file + 32 + 22, 1, file, "exFAT directories"); // behind the end
        AssertFoundWith(file + 32 + 15, 1, file, "exFAT directories"); // more written than there is
        AssertFoundWith(file, ExFatFileEntry.File ^ 0x8A, file, "exFAT directories"); // of a kind that nobody knows
    }

    // Every directory is its own first file: the walk has to end without visiting one twice.
    [OracleFact("mkfs.exfat")]
    public void Directories_that_name_each_other_end()
    {
        for (uint i = 300; i < 1200; i++)
        {
            Put(i, "a", i + 1, Cluster, contiguous: true, isDirectory: true);
            Put(i, "b", 300 + ((i * 7) % 900), Cluster, contiguous: true, isDirectory: true);
        }

        Put(_root, "hall of mirrors", 300, Cluster, contiguous: true, isDirectory: true);
        MalformedInput.Try(() => Assert.Contains(Findings(), f => f.Grade == ImageFindingGrade.Damaged));
    }

    private void AssertFound(int at, int change, string check)
    {
        _disk[at] ^= (byte)change;
        Assert.True(Findings().Any(f => f.Check == check && f.Grade == ImageFindingGrade.Damaged),
            $"byte {at}, change {change:X}: {string.Join("; ", Findings().Select(f => f.Message))}");
        _disk[at] ^= (byte)change;
    }

    private void AssertFoundWith(int at, int change, int set, string check)
    {
        byte[] before = _disk[set..(set + (19 * 32))];
        _disk[at] ^= (byte)change;
        PutChecksum(_disk.AsSpan(set));
        ImageFinding[] findings = [.. Findings()];
        Assert.True(
            findings.Any(f => f.Check == check && f.Grade == ImageFindingGrade.Damaged),
            $"byte {at - set}, change {change:X}: {string.Join("; ", findings.Select(f => $"{f.Grade} {f.Message}"))}");
        before.CopyTo(_disk, set);
    }

    private IReadOnlyList<ImageFinding> Findings()
    {
        using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(_disk), out ImageException? fault);
        Assert.Null(fault);
        var findings = new ImageFindings("image");
        volume.Check(findings, CancellationToken.None);
        return findings.ToList();
    }

    private static byte[] Read(SourceTree tree, SourceEntry file)
    {
        using BlockStorage content = tree.OpenFork(file, ForkKind.Data);
        byte[] bytes = new byte[content.Length];
        content.Read(0, bytes);
        return bytes;
    }

    private int At(uint cluster) => _heap + (((int)cluster - 2) * Cluster);

    // Of the chained folder those of both clusters: one of its sets lies in both.
    private IEnumerable<int> EntriesOf(uint cluster) => cluster == 140 ? EntriesIn(140).Concat(EntriesIn(142)) : EntriesIn(cluster);

    private IEnumerable<int> EntriesIn(uint cluster) => Enumerable.Range(0, Cluster / 32).Select(i => At(cluster) + (i * 32));

    private int SetOf(uint directory, string name) => EntriesOf(directory)
        .First(e => _disk[e] == ExFatFileEntry.File && _disk[e + 32 + 3] == name.Length
            && Encoding.Unicode.GetString(_disk, e + 64 + 2, 2) == name[..1]);

    private void Put(uint directory, string name, uint first, long length, bool contiguous, bool isDirectory = false, uint[]? chain = null)
    {
        int names = (name.Length + 14) / 15;
        byte[] set = new byte[(2 + names) * 32];
        set[0] = 0x85;
        set[1] = (byte)(1 + names);
        set[4] = (byte)(isDirectory ? 0x10 : 0x20);
        foreach (int at in (int[])[8, 12, 16]) BinaryPrimitives.WriteUInt32LittleEndian(set.AsSpan(at), 0x5B57_0000); // 2025
        set[32] = 0xC0;
        set[33] = (byte)(contiguous ? 3 : 1);
        set[35] = (byte)name.Length;
        ushort hash = 0;
        foreach (byte b in Encoding.Unicode.GetBytes(name.ToUpperInvariant()))
            hash = unchecked((ushort)((ushort)((hash << 15) | (hash >> 1)) + b));
        BinaryPrimitives.WriteUInt16LittleEndian(set.AsSpan(36), hash);
        BinaryPrimitives.WriteInt64LittleEndian(set.AsSpan(40), length);
        BinaryPrimitives.WriteUInt32LittleEndian(set.AsSpan(52), first);
        BinaryPrimitives.WriteInt64LittleEndian(set.AsSpan(56), length);
        for (int i = 0; i < names; i++)
        {
            set[64 + (i * 32)] = 0xC1;
            Encoding.Unicode.GetBytes(name.AsSpan(i * 15, Math.Min(15, name.Length - (i * 15))), set.AsSpan(66 + (i * 32)));
        }

        PutChecksum(set);
        int[] free = [.. EntriesOf(directory).Where(e => _disk[e] == 0).Take(set.Length / 32)];
        for (int i = 0; i < free.Length; i++) set.AsSpan(i * 32, 32).CopyTo(_disk.AsSpan(free[i]));
        uint[] clusters = chain ?? [.. Enumerable.Range(0, (int)((length + Cluster - 1) / Cluster)).Select(i => first + (uint)i)];
        for (int i = 0; i < clusters.Length; i++)
        {
            _disk[_bitmap + ((clusters[i] - 2) / 8)] |= (byte)(1 << (int)((clusters[i] - 2) % 8));
            if (!contiguous)
                BinaryPrimitives.WriteUInt32LittleEndian(
                    _disk.AsSpan(_fat + ((int)clusters[i] * 4)), i + 1 < clusters.Length ? clusters[i + 1] : uint.MaxValue);
        }
    }

    private static void PutChecksum(Span<byte> set)
    {
        ushort sum = 0;
        for (int i = 0; i < (1 + set[1]) * 32; i++)
            if (i is not 2 and not 3) sum = unchecked((ushort)(((sum & 1) != 0 ? 0x8000 : 0) + (sum >> 1) + set[i]));
        BinaryPrimitives.WriteUInt16LittleEndian(set[2..], sum);
    }
}
