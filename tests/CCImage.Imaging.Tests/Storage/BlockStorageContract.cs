using CCImage.Storage;

namespace CCImage.Tests.Storage;

/// <summary>What every storage must do, whatever it is made of. An implementation's suite inherits this and says how to make one.</summary>
public abstract class BlockStorageContract : IDisposable
{
    private string? _folder;

    /// <summary>A folder of this test's own.</summary>
    protected string Folder => _folder ??= Directory.CreateTempSubdirectory("ccimage-").FullName;

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        if (_folder is not null) Directory.Delete(_folder, recursive: true);
        GC.SuppressFinalize(this);
    }

    [Fact]
    public void Reads_its_content_in_any_pieces()
    {
        using BlockStorage storage = Make(1, out byte[] content);
        Assert.Equal(content.Length, storage.Length);
        Assert.Equal(content, ReadAll(storage));
        var random = new Random(2);
        for (int i = 0; i < 500; i++)
        {
            (int offset, int length) = RandomRange(random, content.Length);
            byte[] read = new byte[length];
            random.NextBytes(read);
            storage.Read(offset, read);
            Assert.True(read.AsSpan().SequenceEqual(content.AsSpan(offset, length)), $"The {length} bytes at {offset} differ.");
        }
    }

    [Fact]
    public void Refuses_ranges_outside_and_takes_empty_ones()
    {
        using BlockStorage storage = Make(3, out byte[] content);
        storage.Read(0, []);
        storage.Read(content.Length, []);
        Assert.Empty(storage.GetExtents(content.Length, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => storage.Read(-1, new byte[1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => storage.Read(content.Length, new byte[1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => storage.Read(content.Length - 1, new byte[2]));
        Assert.Throws<ArgumentOutOfRangeException>(() => storage.Read(long.MaxValue, new byte[2]));
        Assert.Throws<ArgumentOutOfRangeException>(() => storage.GetExtents(0, content.Length + 1L).ToList());
        Assert.Throws<ArgumentOutOfRangeException>(() => storage.GetExtents(-1, 1).ToList());
        if (!storage.CanWrite)
        {
            Assert.Throws<NotSupportedException>(() => storage.Write(0, new byte[1]));
            return;
        }

        storage.Write(0, []);
        Assert.Throws<ArgumentOutOfRangeException>(() => storage.Write(-1, new byte[1]));
        if (!storage.CanGrow)
        {
            Assert.Throws<ArgumentOutOfRangeException>(() => storage.Write(content.Length, new byte[1]));
            Assert.Throws<ArgumentOutOfRangeException>(() => storage.Write(content.Length - 1, new byte[2]));
        }
    }

    [Fact]
    public void Extents_cover_the_range_and_only_zeros_are_called_so()
    {
        using BlockStorage storage = Make(4, out byte[] content);
        CheckExtents(storage, content, 0, content.Length);
        var random = new Random(5);
        for (int i = 0; i < 100; i++)
        {
            (int offset, int length) = RandomRange(random, content.Length);
            CheckExtents(storage, content, offset, length);
        }
    }

    [Fact]
    public void Reads_on_many_threads()
    {
        using BlockStorage storage = Make(6, out byte[] content);
        Parallel.For(0, 8, thread =>
        {
            var random = new Random(thread);
            for (int i = 0; i < 150; i++)
            {
                (int offset, int length) = RandomRange(random, content.Length);
                byte[] read = new byte[length];
                storage.Read(offset, read);
                Assert.True(read.AsSpan().SequenceEqual(content.AsSpan(offset, length)), $"The {length} bytes at {offset} differ.");
            }
        });
    }

    /// <summary>Makes the storage, new.</summary>
    /// <param name="seed">For its content.</param>
    /// <param name="content">Receives what it holds.</param>
    protected abstract BlockStorage Make(int seed, out byte[] content);

    /// <summary>Bytes of which some ranges are zeros.</summary>
    protected static byte[] Content(int seed, int length)
    {
        var random = new Random(seed);
        byte[] content = new byte[length];
        random.NextBytes(content);
        for (int i = 0; i < 6; i++)
        {
            (int offset, int count) = RandomRange(random, length);
            content.AsSpan(offset, count).Clear();
        }

        return content;
    }

    /// <summary>The whole content.</summary>
    protected static byte[] ReadAll(BlockStorage storage)
    {
        byte[] all = new byte[storage.Length];
        storage.Read(0, all);
        return all;
    }

    private protected static void CheckExtents(BlockStorage storage, byte[] content, long offset, long length)
    {
        long at = offset;
        foreach (StorageExtent extent in storage.GetExtents(offset, length))
        {
            Assert.Equal(at, extent.Offset);
            Assert.True(extent.Length > 0, $"An empty extent at {at}.");
            at = extent.End;
            Assert.True(at <= offset + length, $"An extent ends at {at}, behind {offset + length}.");
            if (extent.Kind != ExtentKind.Data)
                Assert.False(content.AsSpan((int)extent.Offset, (int)extent.Length).ContainsAnyExcept((byte)0),
                    $"Data in the {extent.Kind} extent at {extent.Offset}.");
        }

        Assert.Equal(offset + length, at);
    }

    private protected static (int Offset, int Length) RandomRange(Random random, int total)
    {
        int length = random.Next(4) switch
        {
            0 => random.Next(0, 20),
            1 => 512 * random.Next(1, 20),
            2 => random.Next(0, Math.Min(total, 200_000)),
            _ => random.Next(0, 5000),
        };
        length = Math.Min(length, total);
        int offset = random.Next(total - length + 1);
        return (random.Next(2) == 0 ? offset / 512 * 512 : offset, length);
    }
}
