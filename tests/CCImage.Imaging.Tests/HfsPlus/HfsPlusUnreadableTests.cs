using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>Parts of a volume that the host does not let be read: nothing may be concluded from that.</summary>
public sealed class HfsPlusUnreadableTests
{
    [Fact]
    public void A_volume_whose_catalog_cannot_be_read_is_no_volume_without_a_name()
    {
        byte[] bytes = HfsPlusDamage.BaseOf(DamageBase.Ordinary);
        HfsPlusVolume sound = HfsPlusVolume.Open(new MemoryStorage(bytes));
        Assert.NotEmpty(sound.Name);
        HfsPlusVolume unreadable = OpenWithout(bytes, sound.Header.CatalogFile, sound);
        Assert.Equal(ImageErrorId.ImageUnreadable, Assert.Throws<ImageException>(() => unreadable.Name).Id);
        Assert.Equal(ImageErrorId.ImageUnreadable, Assert.Throws<ImageException>(() => unreadable.Describe(1)).Id);
    }

    [Fact]
    public void A_bitmap_that_cannot_be_read_is_no_volume_without_free_space()
    {
        byte[] bytes = HfsPlusDamage.BaseOf(DamageBase.Ordinary);
        HfsPlusVolume sound = HfsPlusVolume.Open(new MemoryStorage(bytes));
        HfsPlusVolume unreadable = OpenWithout(bytes, sound.Header.AllocationFile, sound);
        Assert.Equal(ImageErrorId.ImageUnreadable, Assert.Throws<ImageException>(() => unreadable.GetFreeExtents().ToArray()).Id);
        Assert.Equal(ImageErrorId.ImageUnreadable, Assert.Throws<ImageException>(() => HfsPlusMinimumSize.Of(unreadable)).Id);
    }

    private static HfsPlusVolume OpenWithout(byte[] bytes, in ForkData fork, HfsPlusVolume sound)
    {
        long blockSize = sound.Header.BlockSize;
        return HfsPlusVolume.Open(
            new UnreadableStorage(bytes, fork.Extents[0].StartBlock * blockSize, fork.Extents[0].BlockCount * blockSize));
    }

    private sealed class UnreadableStorage(byte[] bytes, long start, long count) : BlockStorage
    {
        public override long Length => bytes.Length;

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            if (offset < start + count && offset + buffer.Length > start)
                throw new ImageException(ImageErrorId.ImageUnreadable, "It cannot be read.");
            bytes.AsSpan((int)offset, buffer.Length).CopyTo(buffer);
        }
    }
}
