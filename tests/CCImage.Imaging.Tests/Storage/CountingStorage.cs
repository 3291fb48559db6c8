using CCImage.Storage;

namespace CCImage.Tests.Storage;

/// <summary>Counts the reads of another storage, and fails those that touch its bad byte.</summary>
internal sealed class CountingStorage(BlockStorage inner, long bad = -1) : BlockStorage
{
    public int Reads { get; private set; }

    public override long Length => inner.Length;

    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        Reads++;
        if (bad >= offset && bad < offset + buffer.Length) throw new IOException("Bad sector.");
        inner.Read(offset, buffer);
    }
}
