using System.Buffers.Binary;
using System.Security;
using System.Text.RegularExpressions;
using CCImage.Encryption;
using CCImage.FileSystems.HfsPlus;
using CCImage.Partitions;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.FileSystems;
using CCImage.Tests.HfsPlus;

namespace CCImage.Tests;

public sealed partial class DiskImageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [CorpusFact]
    public void Every_image_is_described_as_the_inventory_says()
    {
        int checkedVolumes = 0;
        foreach (CorpusImage sample in CorpusImage.All.Where(IsReadable))
        {
            using DiskImage image = Open(sample);
            BackupImage facts = image.Describe();
            Assert.Equal((sample.File, FormatOf(sample)), (sample.File, facts.Format));
            Assert.Equal((sample.File, sample.CapacityBytes), (sample.File, facts.CapacityBytes));
            Assert.Equal((sample.File, sample.IsEncrypted), (sample.File, facts.Encryption != BackupImageEncryption.None));
            Assert.False(facts.IsLocked);
            Assert.True(facts.StoredBytes > 0, sample.File);
            PartitionScheme scheme = sample.Contents switch
            {
                ['G', 'P', 'T', ..] => PartitionScheme.Gpt,
                ['A', 'P', 'M', ..] => PartitionScheme.ApplePartitionMap,
                ['M', 'B', 'R', ..] => PartitionScheme.Mbr,
                _ => PartitionScheme.None,
            };
            Assert.Equal((sample.File, scheme), (sample.File, facts.PartitionScheme));
            AssertCovers(image);
            AssertInsideTheDisk(image);

            // "bs=4096 blocks=468 free=400 files=5 dirs=3", once a volume of HFS+
            BackupImageVolume[] volumes = [.. facts.Volumes.Where(v => v.Kind is VolumeKind.HfsPlus or VolumeKind.HfsPlusCaseSensitive)];
            MatchCollection expected = HfsCounts().Matches(sample.Contents);
            Assert.Equal((sample.File, expected.Count), (sample.File, volumes.Length));
            for (int i = 0; i < expected.Count; i++, checkedVolumes++)
            {
                long[] n = [.. expected[i].Groups.Values.Skip(1)
                    .Select(g => long.Parse(g.Value, System.Globalization.CultureInfo.InvariantCulture))];
                Assert.Equal(
                    (sample.File, n[0] * n[1], n[0] * n[2], n[3], n[4], sample.Contents.Contains("journaled", StringComparison.Ordinal)),
                    (sample.File, volumes[i].CapacityBytes, volumes[i].FreeBytes, volumes[i].FileCount, volumes[i].FolderCount,
                    volumes[i].IsJournaled));
            }

            foreach ((string word, VolumeKind kind) in new[]
            {
                ("APFS container", VolumeKind.Apfs), ("FAT12", VolumeKind.Fat12), ("FAT16", VolumeKind.Fat16), ("FAT32", VolumeKind.Fat32),
                    ("exFAT", VolumeKind.ExFat), ("HFS (classic)", VolumeKind.Hfs),
            })
            {
                if (sample.Contents.Contains(word, StringComparison.Ordinal)) Assert.Contains(facts.Volumes, v => v.Kind == kind);
            }
        }

        Assert.True(checkedVolumes > 10, $"{checkedVolumes} volumes");
    }

    [CorpusFact]
    public void Every_volume_holds_what_seven_zip_read()
    {
        var trees = new Dictionary<string, int>();
        foreach (CorpusImage sample in CorpusImage.All.Where(IsReadable))
        {
            string name = sample.File.Replace(".gz", "", StringComparison.Ordinal);
            using DiskImage image = Open(sample);
            foreach (DiskImage.FoundVolume found in image.Volumes)
            {
                if (found.Volume is HfsPlusVolume volume) HfsPlusReaderTests.AssertFreeSpace(volume, sample.File);
                if (!found.Volume.HasReadableTree(0)) continue;
                using SourceTree tree = image.ReadTree(found.Number, default);
                CorpusManifest? expected = File.Exists(CorpusManifest.PathOf(name))
                    ? CorpusManifest.Read(name).FirstOrDefault(m => m.Offset == found.OffsetBytes && m.Type.Length > 0) : null;
                if (expected is null) continue;
                HfsPlusReaderTests.AssertHoldsTheManifest(tree, name, expected);
                trees[expected.Type] = trees.GetValueOrDefault(expected.Type) + 1;
            }
        }

        Assert.Equal("APFS 14, FAT 18, HFS 29",
            $"APFS {trees.GetValueOrDefault("APFS")}, FAT {trees.GetValueOrDefault("FAT")}, HFS {trees.GetValueOrDefault("HFS")}");
    }

    // 7-Zip reads no exFAT: names are The Sleuth Kit's.
    [CorpusFact]
    public void The_exFAT_volume_holds_what_is_listed()
    {
        const string name = "chocol4te__sparsebundle-utils/gpt-exfat.sparsebundle";
        using DiskImage image = Open(CorpusImage.All.Single(s => s.File == name));
        using SourceTree tree = image.ReadTree(null, default);
        string[] listed =
        [
            .. from line in File.ReadLines(CorpusManifest.PathOf(name))
               let path = line.Split(":\t")
               where path.Length == 2 && line.StartsWith("   tsk ", StringComparison.Ordinal) && !path[1].StartsWith('$')
                   && !path[1].EndsWith("(Volume Label Entry)", StringComparison.Ordinal)
               select path[1],
        ];
        Assert.Equal(
            listed.Order(StringComparer.Ordinal), tree.Enumerate().Skip(1).Select(e => e.RelativePath).Order(StringComparer.Ordinal));
        Assert.Equal((3, 1), (image.Describe().Volumes[0].FileCount, image.Describe().Volumes[0].FolderCount));
    }

    [CorpusFact]
    public void Encrypted_images_are_described_without_their_passphrase()
    {
        foreach (CorpusImage sample in CorpusImage.All.Where(s => s.IsEncrypted && !s.File.StartsWith("tmc", StringComparison.Ordinal)))
        {
            BackupImage facts = DiskImage.Inspect(sample.FullPath);
            Assert.Equal((sample.File, true, null, 0), (sample.File, facts.IsLocked, facts.PartitionScheme, facts.Volumes.Count));
            Assert.Equal((sample.File, IsAes256(sample.File)), (sample.File, facts.Encryption == BackupImageEncryption.Aes256));
            Assert.Equal(
                (sample.File, Directory.Exists(sample.FullPath) ? BackupImageFormat.SparseBundle : null), (sample.File, facts.Format));
            if (Directory.Exists(sample.FullPath)) Assert.Equal((sample.File, sample.CapacityBytes), (sample.File, facts.CapacityBytes));
            ImageException error = Assert.Throws<ImageException>(() => DiskImage.Open(sample.FullPath));
            Assert.Equal((sample.File, ImageErrorId.PassphraseRequired, sample.FullPath), (sample.File, error.Id, error.Path));
            using Passphrase wrong = PassphraseOf("certainly not it");
            if (sample.Passphrase.Length > 0)
                Assert.Equal(ImageErrorId.WrongPassphrase, Assert.Throws<ImageException>(() => DiskImage.Open(sample.FullPath, wrong)).Id);
        }
    }

    [CorpusFact]
    public void What_is_not_supported_is_refused_with_its_path()
    {
        foreach (CorpusImage sample in CorpusImage.All.Where(
            s => s.File.StartsWith("tmc", StringComparison.Ordinal) || s.File.Contains("asif", StringComparison.Ordinal)))
        {
            string path = sample.Materialise(_folder);
            foreach (Action open in new Action[] { () => DiskImage.Open(path), () => DiskImage.Inspect(path) })
            {
                ImageException error = Assert.Throws<ImageException>(open);
                Assert.Equal((sample.File, ImageErrorId.UnsupportedFormat, path), (sample.File, error.Id, error.Path));
            }
        }
    }

    [Fact]
    public void What_is_no_image_is_refused()
    {
        string path = Path.Combine(_folder, "zeros");
        Assert.Equal(ImageErrorId.ImageNotFound, Assert.Throws<ImageException>(() => DiskImage.Open(path)).Id);
        foreach (int length in new[] { 0, 100, 512, 1 << 20 })
        {
            File.WriteAllBytes(path, new byte[length]);
            Assert.Equal((length, ImageErrorId.UnknownFormat), (length, Assert.Throws<ImageException>(() => DiskImage.Open(path)).Id));
        }
    }

    [CorpusFact]
    public void A_volume_is_chosen_by_its_number()
    {
        using DiskImage image = Open(CorpusImage.All.Single(s => s.File.EndsWith("etcher-test.img.gz", StringComparison.Ordinal)));
        Assert.Equal(2, image.Describe().Volumes.Count);
        Assert.Equal(55296, image.Describe().UsedBytes);
        Assert.Equal(image.Describe().FreeBytes, image.GetFreeExtents().Sum(e => e.Length));
        Assert.Equal(ImageErrorId.VolumeNotFound, Assert.Throws<ImageException>(() => image.ReadTree(null, default)).Id);
        Assert.Equal(ImageErrorId.VolumeNotFound, Assert.Throws<ImageException>(() => image.ReadTree(3, default)).Id);
        using SourceTree tree = image.ReadTree(1, default);
        Assert.Contains(tree.Root.Children, e => e.Name == "README.txt");
        using DiskImage classic = DiskImage.Open(Path.Combine(CorpusLocation.Folder!, "rizinorg__rizin-testbins/hfs.img"));
        ImageException error = Assert.Throws<ImageException>(() => classic.ReadTree(1, default));
        Assert.Equal((ImageErrorId.UnsupportedFormat, classic.Path), (error.Id, error.Path));
    }

    [CorpusFact]
    public void Free_extents_are_counted_from_the_start_of_the_disk()
    {
        using DiskImage image = Open(CorpusImage.All.Single(s => s.File == "autopkg__autopkg/Test.dmg"));
        StorageExtent[] inVolume = [.. HfsPlusReaderTests.OpenOnly(image.Disk).GetFreeExtents()];
        Assert.NotEmpty(inVolume);
        Assert.Equal(inVolume.Select(e => e with { Offset = e.Offset + (40 * 512) }), image.GetFreeExtents());
    }

    [CorpusFact]
    public void A_damaged_volume_is_listed_and_its_tree_refused()
    {
        string path = Path.Combine(_folder, "damaged.dmg");
        File.Copy(Path.Combine(CorpusLocation.Folder!, "balena-io__etcher/raw.img"), path);
        File.SetAttributes(path, FileAttributes.Normal);
        using (FileStream file = File.OpenWrite(path))
        {
            foreach (long offset in new[] { 1024 + 40, file.Length - 1024 + 40 }) // the block size of both headers
            {
                file.Position = offset;
                file.Write([1, 2, 3, 4]);
            }
        }

        using DiskImage image = DiskImage.Open(path);
        Assert.Equal(VolumeKind.HfsPlus, Assert.Single(image.Describe().Volumes).Kind);
        Assert.Null(image.Describe().FreeBytes);
        Assert.Empty(image.GetFreeExtents());
        ImageException error = Assert.Throws<ImageException>(() => image.ReadTree(null, default));
        Assert.Equal((ImageErrorId.ImageDamaged, path), (error.Id, error.Path));
    }

    // A partition of the firmware beside a Mac's volume: its files must never pass for those of the Mac's.
    [OracleFact("mkfs.fat")]
    public void A_Macs_volume_is_meant_even_when_it_is_damaged()
    {
        const int sector = 512, fatSectors = 4096;
        using VolumeFile hfs = VolumeFile.Write([TestTree.File("of the Mac")]);
        string path = Path.Combine(_folder, "two.dmg"), fat = Path.Combine(_folder, "fat");
        using (FileStream file = File.Create(fat)) file.SetLength(fatSectors * sector);
        Oracle.RunForBytes("mkfs.fat", fat);
        byte[] volume = File.ReadAllBytes(hfs.Path);
        byte[] disk = new byte[((1 + fatSectors) * sector) + volume.Length];
        Entry(0, 0xEF, 1, fatSectors);
        Entry(1, 0xAF, 1 + fatSectors, volume.Length / sector);
        (disk[510], disk[511]) = (0x55, 0xAA);
        File.ReadAllBytes(fat).CopyTo(disk, sector);
        volume.CopyTo(disk, (1 + fatSectors) * sector);
        File.WriteAllBytes(path, disk);
        using (DiskImage image = DiskImage.Open(path))
        using (SourceTree tree = image.ReadTree(null, default)) Assert.Equal("of the Mac", Assert.Single(tree.Root.Children).Name);
        // the block size of both headers
        foreach (int header in new[] { ((1 + fatSectors) * sector) + 1024, disk.Length - 1024 }) disk.AsSpan(header + 40, 4).Fill(3);
        File.WriteAllBytes(path, disk);
        using (DiskImage image = DiskImage.Open(path))
        {
            Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => image.ReadTree(null, default)).Id);
            using SourceTree tree = image.ReadTree(1, default);
            Assert.Empty(tree.Root.Children);
        }

        void Entry(int number, byte type, int first, int count)
        {
            Span<byte> entry = disk.AsSpan(446 + (number * 16), 16);
            entry[4] = type;
            BinaryPrimitives.WriteInt32LittleEndian(entry[8..], first);
            BinaryPrimitives.WriteInt32LittleEndian(entry[12..], count);
        }
    }

    [GeneratedRegex(@"HFS\+[^;]*bs=(\d+) blocks=(\d+) free=(\d+) files=(\d+) dirs=(\d+)")]
    private static partial Regex HfsCounts();

    // Left out: what is refused, what has no passphrase, and a disk that was cut short.
    private static bool IsReadable(CorpusImage sample) =>
        (!sample.IsEncrypted || sample.Passphrase.Length > 0)
        && !sample.File.Contains("asif", StringComparison.Ordinal) && !sample.File.Contains("aj_bundle_joined", StringComparison.Ordinal);

    // Word 6 of the headers, read with other tools.
    private static bool IsAes256(string file) =>
        file.Contains("aes256", StringComparison.Ordinal) || file is "openwall__john-samples/RO-openwall.dmg"
            or "openwall__john-samples/openwall.dmg";

    private static BackupImageFormat FormatOf(CorpusImage sample) => sample.Container.Split(" > ")[^1] switch
    {
        "sparseimage" => BackupImageFormat.Sparse,
        "sparsebundle" => BackupImageFormat.SparseBundle,
        "UDIF UDRO" => BackupImageFormat.ReadOnly,
        "UDIF UDZO" => BackupImageFormat.ReadOnlyZlib,
        "UDIF UDBZ" => BackupImageFormat.ReadOnlyBzip2,
        "UDIF ULFO" => BackupImageFormat.ReadOnlyLzfse,
        "UDIF ULMO" => BackupImageFormat.ReadOnlyLzma,
        "UDIF UDCO" => BackupImageFormat.ReadOnlyAdc,
        _ => BackupImageFormat.ReadWrite,
    };

    private static void AssertCovers(DiskImage image)
    {
        long next = 0;
        foreach (DiskSegment segment in image.Segments)
        {
            Assert.Equal((image.Path, next), (image.Path, segment.StartSector));
            next += segment.SectorCount;
        }

        Assert.Equal(image.Disk.Length / 512, next);
    }

    private static void AssertInsideTheDisk(DiskImage image)
    {
        long end = 0;
        foreach (StorageExtent extent in image.GetFreeExtents())
        {
            Assert.True(extent.Length > 0 && extent.Offset >= end);
            end = extent.End;
        }

        Assert.True(end <= image.Disk.Length);
    }

    private static Passphrase PassphraseOf(string text)
    {
        using var secret = new SecureString();
        foreach (char c in text) secret.AppendChar(c);
        return Passphrase.From(secret);
    }

    private DiskImage Open(CorpusImage sample)
    {
        using Passphrase passphrase = PassphraseOf(sample.Passphrase);
        return DiskImage.Open(sample.Materialise(_folder), sample.IsEncrypted ? passphrase : null);
    }
}
