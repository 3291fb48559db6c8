using System.Buffers.Binary;
using CCImage.Diagnostics;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>What Repair mends, what it refuses, and what a volume is like when it is cut off.</summary>
public sealed class HfsPlusRepairTests
{
    private static readonly Dictionary<string, (int Steps, Action<EditableVolume> Damage)> Cases = new()
    {
        ["leaked blocks"] = (2, Leak),
        ["free count"] = (1, v => v.Set32(EditableVolume.HeaderAt + 48, 5)),
        ["alternate header"] = (1, v => v.Bytes.AsSpan(v.Alternate, 512).Fill(0x5A)),
        ["stale alternate header"] = (1, v => v.Set32(v.Alternate + EditableVolume.CatalogTree + 16, 3)),
        ["volume header"] = (1, v => v.Bytes.AsSpan(EditableVolume.HeaderAt, 512).Clear()),
        ["volume header, its copy old"] = (1, v =>
        {
            v.Bytes.AsSpan(EditableVolume.HeaderAt, 512).Clear();
            foreach (int field in new[] { 32, 36, 48, 64 }) v.Set32(v.Alternate + field, v.U32(v.Alternate + field) - 3);
            v.Set32(v.Alternate + 4, v.U32(v.Alternate + 4) & ~0x100u); // not unmounted
        }),
        ["all but the volume header"] = (3, v =>
        {
            Leak(v);
            v.Set32(EditableVolume.HeaderAt + 48, 5);
            v.Bytes.AsSpan(v.Alternate, 512).Clear();
        }),
        ["leaked blocks and the volume header"] = (2, v =>
        {
            Leak(v);
            v.Bytes.AsSpan(EditableVolume.HeaderAt, 512).Clear();
        }),
    };

    public static TheoryData<string> CaseNames => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(CaseNames))]
    public void What_is_mended_is_sound(string name)
    {
        byte[] damaged = Make(name);
        Assert.Contains(HfsPlusDamageTests.Check(damaged), f => f.Grade == ImageFindingGrade.Repairable);
        var storage = new WriteLog(damaged);
        IReadOnlyList<string> done = HfsPlusVolume.Open(storage).Repair(default);
        Assert.Equal(Cases[name].Steps, done.Count);
        byte[] mended = storage.After(storage.Writes.Count);
        Assert.All(HfsPlusDamageTests.Check(mended), f => Assert.True(f.Grade <= ImageFindingGrade.Note, f.Message));
        Assert.Empty(HfsPlusVolume.Open(new WriteLog(mended)).Repair(default));

        byte[] expected = [.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)], actual = [.. mended];
        // its counts may be old
        foreach (byte[] bytes in new[] { expected, actual }) bytes.AsSpan(new EditableVolume(bytes).Alternate, 512).Clear();
        Assert.Equal(expected, actual);
    }

    [OracleTheory("fsck_hfs")]
    [MemberData(nameof(CaseNames))]
    public void Apples_checker_agrees(string name)
    {
        var storage = new WriteLog(Make(name));
        HfsPlusVolume.Open(storage).Repair(default);
        Assert.False(HfsPlusDamageTests.IsFoundByFsck(storage.After(storage.Writes.Count), out string text), text);
    }

    // Whole sectors reach the medium or not; a write of several may be cut between two of them.
    [Theory]
    [MemberData(nameof(CaseNames))]
    public void Cut_anywhere_the_volume_is_as_sound_as_before(string name)
    {
        byte[] damaged = Make(name);
        var storage = new WriteLog(damaged);
        HfsPlusVolume.Open(storage).Repair(default);
        string[] files = FilesOf(damaged);
        for (int writes = 0; writes <= storage.Writes.Count; writes++)
        {
            int sectors = writes < storage.Writes.Count ? storage.Writes[writes].Bytes.Length / 512 : 0;
            for (int torn = 0; torn <= sectors; torn += Math.Max(1, sectors / 4))
            {
                byte[] cut = storage.After(writes, torn * 512);
                Assert.DoesNotContain(HfsPlusDamageTests.Check(cut), f => f.Grade == ImageFindingGrade.Damaged);
                Assert.Equal(files, FilesOf(cut));
                Assert.True(CountedFree(cut) <= new EditableVolume(cut).CountFree(), "the header counts blocks that are not free");
                var again = new WriteLog(cut);
                HfsPlusVolume.Open(again).Repair(default);
                Assert.All(HfsPlusDamageTests.Check(again.After(again.Writes.Count)), f =>
                    Assert.True(f.Grade <= ImageFindingGrade.Note, f.Message));
            }
        }
    }

    [Theory]
    [MemberData(nameof(CaseNames))]
    public void Between_two_steps_there_is_a_flush(string name)
    {
        var storage = new WriteLog(Make(name));
        HfsPlusVolume.Open(storage).Repair(default);
        Assert.Equal(Cases[name].Steps, storage.Writes.Select(w => w.FlushesBefore).Distinct().Count());
        Assert.Equal(Cases[name].Steps, storage.Flushes);
    }

    [Fact]
    public void Nothing_is_written_to_a_damaged_volume()
    {
        foreach (HfsPlusDamage damage in HfsPlusDamage.All.Where(d => d.Grade == ImageFindingGrade.Damaged && d.Base == DamageBase.Ordinary)
            .Where((_, i) => i % 4 == 0))
        {
            byte[] bytes = [.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)];
            Leak(new EditableVolume(bytes));
            damage.Do(new EditableVolume(bytes));
            var storage = new WriteLog(bytes);
            ImageException error = Assert.Throws<ImageException>(() => HfsPlusVolume.Open(storage).Repair(default));
            Assert.Equal((damage.Name, ImageErrorId.ImageDamaged), (damage.Name, error.Id));
            Assert.Empty(storage.Writes);
        }
    }

    [Fact]
    public void While_the_journal_holds_changes_the_bitmap_is_not_blamed_nor_mended()
    {
        byte[] bytes = [.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)];
        var volume = new EditableVolume(bytes);
        Span<byte> journal = bytes.AsSpan(volume.Journal);
        BinaryPrimitives.WriteInt64LittleEndian(journal[16..], 4096);
        journal.Slice(36, 4).Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(journal[36..], JournalHeader.ComputeChecksum(journal[..44]));
        Leak(volume);
        volume.FlipBit(volume.U32(volume.File("large") + 88 + 16));
        volume.Set32(EditableVolume.HeaderAt + 32, 1);
        IReadOnlyList<ImageFinding> findings = HfsPlusDamageTests.Check(bytes);
        Assert.All(findings, f => Assert.True(f.Grade <= ImageFindingGrade.Note, f.Message));
        Assert.Contains(findings, f => f.Check == HfsPlusCheckNames.Journal);
        Assert.Equal(
            3 + 1, findings.Count(f => f.Check is HfsPlusCheckNames.Bitmap or HfsPlusCheckNames.FreeCount or HfsPlusCheckNames.Counts));
        var storage = new WriteLog(bytes);
        Assert.Throws<ImageException>(() => HfsPlusVolume.Open(storage).Repair(default));
        Assert.Empty(storage.Writes);
    }

    private static byte[] Make(string name)
    {
        byte[] bytes = [.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)];
        Cases[name].Damage(new EditableVolume(bytes));
        return bytes;
    }

    private static void Leak(EditableVolume volume)
    {
        for (int i = 0; i < 3; i++) volume.FlipBit(volume.FreeBlock());
        volume.Set32(EditableVolume.HeaderAt + 48, volume.U32(EditableVolume.HeaderAt + 48) - 3);
    }

    // Nothing while there is no first header.
    private static uint CountedFree(byte[] bytes)
    {
        var volume = new EditableVolume(bytes);
        return volume.U16(EditableVolume.HeaderAt) == 0 ? 0 : volume.U32(EditableVolume.HeaderAt + 48);
    }

    private static string[] FilesOf(byte[] volume)
    {
        using SourceTree tree = HfsPlusVolume.Open(new MemoryStorage(volume)).ReadTree();
        return [.. tree.Enumerate().Select(e => $"{e.RelativePath} {e.Size}").Order(StringComparer.Ordinal)];
    }
}
