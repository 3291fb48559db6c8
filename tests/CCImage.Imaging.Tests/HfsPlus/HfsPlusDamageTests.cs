using System.Diagnostics;
using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>Damage of every kind to volumes that were sound.</summary>
public sealed class HfsPlusDamageTests
{
    public static TheoryData<string> Kinds => [.. HfsPlusDamage.All.Select(d => d.Name)];

    public static TheoryData<string> KindsThatFsckSees => [.. HfsPlusDamage.All.Where(d => d.IsSeenByFsck).Select(d => d.Name)];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Each_kind_is_found_by_its_check(string name)
    {
        HfsPlusDamage damage = HfsPlusDamage.All.Single(d => d.Name == name);
        IReadOnlyList<ImageFinding> findings = Check(damage.Make());
        Assert.True(findings.Any(f => f.Check == damage.Check && f.Grade == damage.Grade), HfsPlusCheckerTests.TextOf(findings));
        if (damage.Grade == ImageFindingGrade.Repairable) Assert.DoesNotContain(findings, f => f.Grade == ImageFindingGrade.Damaged);
    }

    [Fact]
    public void What_is_damaged_was_sound_before()
    {
        foreach (DamageBase which in Enum.GetValues<DamageBase>())
            Assert.All(Check(HfsPlusDamage.BaseOf(which)), f => Assert.True(f.Grade == ImageFindingGrade.Ok, f.Message));
    }

    [OracleTheory("fsck_hfs")]
    [MemberData(nameof(KindsThatFsckSees))]
    public void Apples_checker_agrees(string name) =>
        Assert.True(IsFoundByFsck(HfsPlusDamage.All.Single(d => d.Name == name).Make(), out string text), text);

    internal static bool IsFoundByFsck(byte[] volume, out string text)
    {
        string path = Path.Combine(Path.GetTempPath(), "ccimage-" + Guid.NewGuid());
        try
        {
            File.WriteAllBytes(path, volume);
            (int code, string output, string error) = Oracle.Run("fsck_hfs", "-fn", path);
            text = $"{code}: {output}{error}";
            return code != 0 || text.Contains("needs to be repaired", StringComparison.Ordinal)
                || text.Contains("found corrupt", StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    internal static IReadOnlyList<ImageFinding> Check(byte[] volume)
    {
        using FileSystemVolume opened = VolumeDetection.Open(new MemoryStorage(volume), out ImageException? fault);
        if (fault is null) return HfsPlusCheckerTests.Check(opened, out _);
        var findings = new ImageFindings("volume");
        findings.Damaged(HfsPlusCheckNames.Header, fault);
        return findings.ToList();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Bits_that_flip_neither_throw_nor_take_long(int seed)
    {
        byte[] volume = [.. HfsPlusDamage.BaseOf(seed == 1 ? DamageBase.Ordinary : DamageBase.Fragmented)];
        var random = new Random(seed);
        int[] metadata = [.. Metadata(new EditableVolume(volume))];
        int found = 0;
        for (int i = 0; i < 500; i++)
        {
            int at = metadata[random.Next(metadata.Length)];
            byte old = volume[at];
            volume[at] ^= (byte)(1 << random.Next(8));
            long start = Stopwatch.GetTimestamp(), allocated = GC.GetAllocatedBytesForCurrentThread();
            if (Check(volume).Any(f => f.Grade > ImageFindingGrade.Note)) found++;
            Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(2), "too slow");
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - allocated < 100 << 20, "too much memory");
            volume[at] = old;
        }

        Assert.True(found > 150, $"only {found} of 500 flips were found");
    }

    // Bytes of headers, used nodes, bitmap and journal's headers that are not zero.
    private static IEnumerable<int> Metadata(EditableVolume v)
    {
        var ranges =
            new List<(int Start, int Length)> { (1024, 512), (v.Alternate, 512), (v.Bitmap, (int)(v.TotalBlocks / 8)), (v.JournalInfo, 180),
                (v.Journal, 48) };
        foreach (int tree in new[] { EditableVolume.ExtentsTree, EditableVolume.CatalogTree, EditableVolume.AttributesTree })
            ranges.Add((v.ForkAt(1024 + tree), (int)v.U64(1024 + tree)));
        return ranges.SelectMany(r => Enumerable.Range(r.Start, r.Length)).Where(at => v.Bytes[at] != 0);
    }
}
