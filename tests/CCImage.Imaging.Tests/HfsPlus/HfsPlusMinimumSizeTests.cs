using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

public sealed class HfsPlusMinimumSizeTests
{
    [Fact]
    public void A_volume_needs_its_used_blocks()
    {
        byte[] bytes = [.. HfsPlusDamage.BaseOf(DamageBase.Ordinary)];
        HfsPlusVolume volume = HfsPlusVolume.Open(new MemoryStorage(bytes));
        long least = HfsPlusMinimumSize.Of(volume);
        Assert.InRange(least, volume.CapacityBytes - volume.FreeBytes!.Value - (2 * 4096), volume.CapacityBytes);
        HfsPlusShrinkTests.AssertSound(HfsPlusShrinkTests.Shrink(bytes, least));

        bytes[1024 + 6] &= 0xFE; // not unmounted: nothing is certain
        Assert.Equal(bytes.Length, HfsPlusMinimumSize.Of(HfsPlusVolume.Open(new MemoryStorage(bytes))));
    }

    // 300 GiB: 2,400 blocks of bitmap, of which a part is enough for what is used.
    [Fact]
    public void The_bitmap_shrinks_with_the_volume()
    {
        using SparseMemoryStorage storage =
            HfsPlusCheckerTests.Render([TestTree.File("a", Noise(100_000, 1))], VolumeFile.Options with { VolumeSizeBytes = 300L << 30 });
        HfsPlusVolume volume = HfsPlusVolume.Open(storage);
        long used = (volume.CapacityBytes - volume.FreeBytes!.Value) / 4096, bitmap = volume.Header.AllocationFile.TotalBlocks;
        long blocks = HfsPlusMinimumSize.Of(volume) / 4096;
        Assert.Equal(2400, bitmap);
        Assert.InRange(blocks, 1, used - bitmap + 16);
    }

    // What a listing asks of every image, damaged or made to deceive: an answer inside the volume, or the error that names the damage.
    [Fact]
    public void Damaged_volumes_have_an_answer_or_an_error()
    {
        foreach (HfsPlusDamage damage in HfsPlusDamage.All) Ask(damage.Make());
        var random = new Random(7);
        byte[] sound = HfsPlusDamage.BaseOf(DamageBase.Ordinary);
        var volume = new EditableVolume(sound);
        int[] places =
            [EditableVolume.HeaderAt, volume.TreeHeader(EditableVolume.CatalogTree), volume.TreeHeader(EditableVolume.ExtentsTree),
                volume.TreeHeader(EditableVolume.AttributesTree), volume.JournalInfo];
        for (int i = 0; i < 2000; i++)
        {
            byte[] bytes = [.. sound];
            for (int n = random.Next(1, 4); n > 0; n--)
            {
                int at = places[random.Next(places.Length)] + random.Next(512);
                bytes[at] = random.Next(3) == 0 ? (byte)0xFF : (byte)random.Next(256);
            }

            Ask(bytes);
        }

        static void Ask(byte[] bytes)
        {
            MalformedInput.Try(() =>
            {
                HfsPlusVolume volume = HfsPlusVolume.Open(new MemoryStorage(bytes));
                Assert.InRange(HfsPlusMinimumSize.Of(volume), 0, volume.CapacityBytes);
            });
        }
    }

    [Fact]
    public void No_volume_is_smaller_than_newfs_makes_one()
    {
        using SparseMemoryStorage storage =
            HfsPlusCheckerTests.Render([], VolumeFile.Options with { VolumeSizeBytes = 1 << 20, Journaled = false });
        Assert.Equal(HfsPlusGeometry.MinimumVolumeSize, HfsPlusMinimumSize.Of(HfsPlusVolume.Open(storage)));
    }
}
