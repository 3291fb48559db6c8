using CCImage.Storage;

namespace CCImage.Tests.Storage;

/// <summary>What every storage must do that can be written.</summary>
public abstract class WritableStorageContract : BlockStorageContract
{
    [Fact]
    public void Keeps_what_is_written()
    {
        BlockStorage storage = Make(7, out byte[] content);
        Assert.True(storage.CanWrite);
        var random = new Random(8);
        for (int i = 0; i < 400; i++)
        {
            (int offset, int length) = RandomRange(random, content.Length);
            byte[] bytes = new byte[length];
            if (random.Next(4) != 0) random.NextBytes(bytes);
            storage.Write(offset, bytes);
            bytes.CopyTo(content, offset);
            if (i % 40 == 0) storage.Flush();
            (offset, length) = RandomRange(random, content.Length);
            byte[] read = new byte[length];
            storage.Read(offset, read);
            Assert.True(read.AsSpan().SequenceEqual(content.AsSpan(offset, length)),
                $"After {i + 1} writes the {length} bytes at {offset} differ.");
            if (i % 20 == 0) CheckExtents(storage, content, 0, content.Length);
        }

        if (storage.CanGrow)
        {
            Array.Resize(ref content, content.Length + 100_000);
            content[^1] = 77;
            content[^2] = 78;
            storage.Write(content.Length - 2, [78, 77]);
            Assert.Equal(content.Length, storage.Length);
            Assert.Equal(content, ReadAll(storage));
        }

        storage.Flush();
        CheckExtents(storage, content, 0, content.Length);
        Assert.Equal(content, ReadAll(storage));
        using BlockStorage? reopened = Reopen(storage);
        if (reopened is not null)
        {
            Assert.Equal(content, ReadAll(reopened));
            CheckExtents(reopened, content, 0, content.Length);
        }
    }

    [Fact]
    public void Writes_beside_each_other_on_many_threads()
    {
        BlockStorage storage = Make(9, out byte[] content);
        Assert.True(storage.CanWrite);
        // Stripes of an odd size, dealt out to the threads, so that neighbours share every larger unit there is.
        const int stripe = 1537;
        byte[] target = new byte[content.Length];
        new Random(10).NextBytes(target);
        Parallel.For(0, 6, thread =>
        {
            for (int offset = thread * stripe; offset < target.Length; offset += 6 * stripe)
                storage.Write(offset, target.AsSpan(offset, Math.Min(stripe, target.Length - offset)));
        });
        storage.Flush();
        Assert.Equal(target, ReadAll(storage));
        using BlockStorage? reopened = Reopen(storage);
        if (reopened is not null) Assert.Equal(target, ReadAll(reopened));
    }

    /// <summary>Closes a storage that was made and written, and opens what it left; null where nothing is left. Disposes it either
    /// way.</summary>
    /// <param name="storage">The storage.</param>
    protected virtual BlockStorage? Reopen(BlockStorage storage)
    {
        storage.Dispose();
        return null;
    }
}
