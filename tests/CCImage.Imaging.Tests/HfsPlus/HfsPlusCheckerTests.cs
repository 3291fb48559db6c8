using System.Security;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

/// <summary>Volumes that are in order: everything macOS, Apple's newfs_hfs, the Linux kernel and we have written.</summary>
public sealed class HfsPlusCheckerTests
{
    [CorpusFact]
    public void Every_volume_that_Mac_OS_wrote_is_sound()
    {
        string folder = System.IO.Directory.CreateTempSubdirectory("ccimage-").FullName;
        int volumes = 0;
        var faults = new List<string>();
        try
        {
            foreach (CorpusImage sample in CorpusImage.All.Where(IsReadableHfsPlus))
            {
                using DiskImage image = OpenSample(sample, folder);
                foreach (DiskImage.FoundVolume found in image.Volumes.Where(v => v.Volume is HfsPlusVolume))
                {
                    volumes++;
                    IReadOnlyList<ImageFinding> findings = Check(found.Volume, out bool isSound);
                    if (!isSound) faults.Add(sample.File + ":\n" + TextOf(findings));
                    if (IsFoundByFsck((HfsPlusVolume)found.Volume, out string text)) faults.Add(sample.File + ", fsck_hfs: " + text);
                }
            }
        }
        finally
        {
            System.IO.Directory.Delete(folder, recursive: true);
        }

        Assert.True(faults.Count == 0, string.Join('\n', faults));
        Assert.True(volumes > 25, $"{volumes} volumes");
    }

    [Theory]
    [InlineData(false, true, null, 0)]
    [InlineData(true, true, null, 0)]
    [InlineData(false, false, null, 0)]
    [InlineData(true, false, 64L << 20, 0)]
    [InlineData(false, true, 3L << 30, 0)]
    [InlineData(false, true, null, 1)]
    [InlineData(true, true, 200L << 20, 3)]
    public void Volumes_of_ours_are_sound(bool caseSensitive, bool journaled, long? size, int extentBlocks) => AssertSound(
        HfsPlusOracleTests.Oddities(),
        VolumeFile.Options with { CaseSensitive = caseSensitive, Journaled = journaled, VolumeSizeBytes = size,
        MaximumExtentBlocks = (uint)extentBlocks });

    [Theory]
    [InlineData(0)]
    [InlineData(12)]
    [InlineData(700)]
    [InlineData(20_000)]
    public void Catalogs_of_several_levels_are_sound(int files)
    {
        TestTree tree = [];
        for (int i = 0; i < files; i++) tree.Add(TestTree.File($"file number {i}", ""));
        AssertSound(tree, VolumeFile.Options);
    }

    [Theory]
    [InlineData(1, true)]
    [InlineData(2, false)]
    public void A_trees_file_may_end_in_part_of_a_node(uint nodesLess, bool isFine)
    {
        var edit = new EditableVolume([.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)]);
        const int fork = EditableVolume.HeaderAt + EditableVolume.CatalogTree;
        int header = edit.ForkAt(fork) + 14, nodeSize = edit.U16(header + 18);
        Assert.True(edit.U32(header + 0x1A) >= 2);
        foreach (int at in new[] { fork, edit.Alternate + EditableVolume.CatalogTree })
            edit.Set64(at, edit.U64(at) - (ulong)(nodeSize / 2));
        edit.Set32(header + 0x16, edit.U32(header + 0x16) - nodesLess);
        edit.Set32(header + 0x1A, edit.U32(header + 0x1A) - nodesLess);
        var findings = Check(HfsPlusVolume.Open(new MemoryStorage(edit.Bytes)), out bool isSound);
        Assert.True(isFine == isSound, TextOf(findings));
        Assert.Equal(isFine, TextOf(findings).Contains("make no node", StringComparison.Ordinal));
    }

    [Fact]
    public void Attributes_trees_of_several_levels_are_sound()
    {
        TestTree tree = [];
        for (int i = 0; i < 200; i++)
            tree.Add(TestTree.File(
                $"f{i}", "",
                new Meta { Attributes =
                [("first", Noise(3802, i)), (new string('n', 127), Noise(i % 3803, i)), ("x", Noise(40_000, i))] }));
        AssertSound(tree, VolumeFile.Options with { MaximumExtentBlocks = 1 });
    }

    [Theory]
    [InlineData(1L << 20)]
    [InlineData((1L << 20) + 512)]
    [InlineData((1L << 20) + 3584)]
    [InlineData(1L << 30)]
    [InlineData(2L << 40)]
    [InlineData(16L << 40)]
    public void Volumes_of_every_size_are_sound(long size) =>
        AssertSound([TestTree.File("a", "content")], VolumeFile.Options with { VolumeSizeBytes = size });

    // Of those that are not too large to be laid out.
    private static bool IsFoundByFsck(HfsPlusVolume volume, out string text)
    {
        text = "";
        if (volume.Storage.Length > 100 << 20 || Oracle.Find("fsck_hfs") is null) return false;
        byte[] bytes = new byte[volume.Storage.Length];
        volume.Storage.Read(0, bytes);
        return HfsPlusDamageTests.IsFoundByFsck(bytes, out text);
    }

    // One sample is the bands of a bundle without their gaps, and therefore no volume.
    private static bool IsReadableHfsPlus(CorpusImage sample) =>
        sample.Contents.Contains("HFS+", StringComparison.Ordinal) && sample.Contents.Contains("blocks=", StringComparison.Ordinal)
        && (!sample.IsEncrypted || sample.Passphrase.Length > 0) && !sample.File.Contains("aj_bundle_joined", StringComparison.Ordinal);

    internal static DiskImage OpenSample(CorpusImage sample, string folder)
    {
        using var text = new SecureString();
        foreach (char c in sample.Passphrase) text.AppendChar(c);
        using var passphrase = Passphrase.From(text);
        return DiskImage.Open(sample.Materialise(folder), sample.IsEncrypted ? passphrase : null);
    }

    /// <summary>Plans a volume and computes it into memory.</summary>
    internal static SparseMemoryStorage Render(TestTree tree, HfsPlusPlanOptions options)
    {
        HfsPlusPlan plan = HfsPlusPlanner.Plan(tree, options, SilentObserver.Instance, default);
        using var renderer = new HfsPlusRenderer(plan, tree, SilentObserver.Instance);
        var storage = new SparseMemoryStorage(renderer.Length, 4096);
        byte[] buffer = new byte[1 << 16];
        foreach (StorageExtent extent in renderer.GetExtents(0, renderer.Length).Where(e => e.Kind == ExtentKind.Data))
        {
            for (long done = 0; done < extent.Length; done += buffer.Length)
            {
                Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, extent.Length - done));
                renderer.Read(extent.Offset + done, part);
                storage.Write(extent.Offset + done, part);
            }
        }

        return storage;
    }

    internal static IReadOnlyList<ImageFinding> Check(CCImage.FileSystems.FileSystemVolume volume, out bool isSound)
    {
        var findings = new ImageFindings("volume");
        volume.Check(findings, default);
        isSound = findings.IsSound;
        return findings.ToList();
    }

    internal static string TextOf(IEnumerable<ImageFinding> findings) =>
        string.Join('\n', findings.Select(f => $"  {f.Grade} {f.Check}: {f.Message} [{f.Place}]"));

    /// <summary>A volume of ours in a file must give nothing but praise.</summary>
    internal static void AssertSound(string path)
    {
        using var storage = FileStorage.OpenRead(path);
        AssertSound(storage);
    }

    private static void AssertSound(TestTree tree, HfsPlusPlanOptions options)
    {
        using BlockStorage storage = Render(tree, options);
        AssertSound(storage);
    }

    private static void AssertSound(BlockStorage storage)
    {
        IReadOnlyList<ImageFinding> findings = Check(HfsPlusVolume.Open(storage), out _);
        Assert.True(findings.All(f => f.Grade == ImageFindingGrade.Ok) && findings.Count == 4, TextOf(findings));
    }
}
