using CCImage.Storage;

namespace CCImage.Tests.Storage;

public sealed class MemoryStorageTests : WritableStorageContract
{
    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 300_001);
        var storage = new MemoryStorage();
        storage.Write(0, content);
        return storage;
    }
}

public sealed class ReadOnlyMemoryStorageTests : BlockStorageContract
{
    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 300_001);
        return new MemoryStorage(content);
    }
}

public sealed class ZeroStorageTests : BlockStorageContract
{
    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = new byte[300_001];
        return new ZeroStorage(content.Length, seed % 2 == 0 ? ExtentKind.Zero : ExtentKind.Unused);
    }
}

public sealed class WindowStorageTests : WritableStorageContract
{
    protected override BlockStorage Make(int seed, out byte[] content)
    {
        byte[] whole = Content(seed, 300_001);
        content = whole[777..200_777];
        var sparse = new SparseMemoryStorage(whole.Length, 4096);
        sparse.Write(0, whole);
        return new WindowStorage(sparse, 777, 200_000, ownsInner: true);
    }
}

public sealed class SparseMemoryStorageTests : WritableStorageContract
{
    [Fact]
    public void Takes_room_only_for_what_is_written()
    {
        using var disk = new SparseMemoryStorage(long.MaxValue, 4096);
        disk.Write(long.MaxValue - 10, [1]);
        disk.Write(1L << 50, [2, 3]);
        disk.Write(0, new byte[1 << 20]);
        Assert.Equal(8192, disk.StoredBytes);
        Assert.Equal(
            [
                new(0, 1L << 50, ExtentKind.Zero), new(1L << 50, 4096, ExtentKind.Data),
                new((1L << 50) + 4096, long.MaxValue - 4095 - (1L << 50) - 4096, ExtentKind.Zero),
                new(long.MaxValue - 4095, 4095, ExtentKind.Data),
            ],
            disk.GetExtents(0, long.MaxValue));
    }

    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 300_001);
        var storage = new SparseMemoryStorage(content.Length, 4096);
        storage.Write(0, content);
        return storage;
    }
}

public sealed class CompositeStorageTests : BlockStorageContract
{
    [Fact]
    public void Gaps_are_of_their_kind_and_pieces_are_written_through()
    {
        var first = new SparseMemoryStorage(1000);
        var second = new SparseMemoryStorage(500);
        using var gapped = new CompositeStorage(2000, [new(100, first), new(1100, second)], ExtentKind.Unused);
        Assert.False(gapped.CanWrite);
        Assert.Equal(
            [
                new(0, 100, ExtentKind.Unused), new(100, 1000, ExtentKind.Zero), new(1100, 500, ExtentKind.Zero),
                new(1600, 400, ExtentKind.Unused),
            ],
            gapped.GetExtents(0, 2000));
        using var whole = new CompositeStorage(1500, [new(0, first), new(1000, second)]);
        whole.Write(999, [1, 2]);
        byte[] read = new byte[1];
        first.Read(999, read);
        Assert.Equal([1], read);
        second.Read(0, read);
        Assert.Equal([2], read);
        Assert.Throws<ArgumentException>(() => new CompositeStorage(1500, [new(0, first), new(999, second)]));
        Assert.Throws<ArgumentException>(() => new CompositeStorage(1499, [new(0, first), new(1000, second)]));
        Assert.Throws<ArgumentException>(() => new CompositeStorage(1500, [new(-1, first)]));
    }

    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 300_001);
        var pieces = new List<CompositeStorage.Piece>();
        int[] cuts = seed % 2 == 0 ? [0, 512, 70_000, 70_001, 300_001] : [5, 512, 70_000, 70_001, 300_000];
        for (int i = 0; i + 1 < cuts.Length; i++)
        {
            if (seed % 2 == 1 && i == 1)
            {
                content.AsSpan(cuts[i], cuts[i + 1] - cuts[i]).Clear();
                continue;
            }

            var piece = new MemoryStorage();
            piece.Write(0, content.AsSpan(cuts[i], cuts[i + 1] - cuts[i]));
            pieces.Add(new(cuts[i], new WindowStorage(piece, 0, piece.Length), Owned: true));
        }

        content.AsSpan(0, cuts[0]).Clear();
        content.AsSpan(cuts[^1]).Clear();
        return new CompositeStorage(content.Length, pieces, ExtentKind.Unused);
    }
}

public sealed class WritableCompositeStorageTests : WritableStorageContract
{
    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 200_000);
        var storage = new CompositeStorage(
            content.Length,
            [new(0, new SparseMemoryStorage(3)), new(3, new SparseMemoryStorage(150_000)), new(150_003, new SparseMemoryStorage(49_997))]);
        storage.Write(0, content);
        return storage;
    }
}

public sealed class MaskedStorageTests : BlockStorageContract
{
    [Fact]
    public void Refuses_ranges_that_are_not_in_order()
    {
        using var inner = new ZeroStorage(100);
        Assert.Throws<ArgumentException>(() => new MaskedStorage(inner, [(0, 10), (9, 1)]));
        Assert.Throws<ArgumentException>(() => new MaskedStorage(inner, [(0, 101)]));
        Assert.Throws<ArgumentException>(() => new MaskedStorage(inner, [(-1, 2)]));
        using var masked = new MaskedStorage(inner, [(10, 10), (20, 10), (30, 0), (99, 1)]);
        Assert.Equal(21, masked.UnusedBytes);
        Assert.Equal(
            [new(0, 10, ExtentKind.Zero), new(10, 20, ExtentKind.Unused), new(30, 69, ExtentKind.Zero), new(99, 1, ExtentKind.Unused)],
            masked.GetExtents(0, 100));
    }

    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 300_001);
        byte[] inner = (byte[])content.Clone();
        (long, long)[] unused = [(0, 512), (1000, 1), (4096, 8192), (12_288, 4096), (200_000, 100_001)];
        foreach ((long offset, long length) in unused) content.AsSpan((int)offset, (int)length).Clear();
        return new MaskedStorage(new MemoryStorage(inner), unused, ownsInner: true);
    }
}

public sealed class CachedStorageTests : BlockStorageContract
{
    [Fact]
    public void Reads_a_block_once_and_forgets_the_oldest()
    {
        var inner = new CountingStorage(new MemoryStorage(Content(1, 100_000)));
        using var cached = new CachedStorage(inner, 1024, 4096);
        byte[] buffer = new byte[100];
        for (int i = 0; i < 10; i++) cached.Read(5000, buffer);
        Assert.Equal(1, inner.Reads);
        for (int block = 10; block < 14; block++) cached.Read(block * 1024, buffer);
        cached.Read(5000, buffer);
        Assert.Equal(6, inner.Reads);
        cached.Read(13 * 1024, buffer);
        Assert.Equal(6, inner.Reads);
    }

    [Fact]
    public void Gives_what_is_sound_of_a_block_that_cannot_be_read_whole()
    {
        byte[] content = Content(1, 10_000), buffer = new byte[100];
        using var cached = new CachedStorage(new CountingStorage(new MemoryStorage(content), bad: 5000), 1024, 4096);
        cached.Read(4700, buffer);
        Assert.Equal(content[4700..4800], buffer);
        Assert.Throws<IOException>(() => cached.Read(4950, buffer));
    }

    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 300_001);
        var inner = new MemoryStorage();
        inner.Write(0, content);
        return new CachedStorage(inner, 4096, 64 << 10, ownsInner: true);
    }
}
