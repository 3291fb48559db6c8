namespace CCImage.Storage;

/// <summary>A storage in memory: for tests, and for small structures that are made before they are written.</summary>
public sealed class MemoryStorage : BlockStorage
{
    private readonly Lock _growing = new();
    private readonly bool _writable;
    private byte[] _bytes;
    private long _length;

    /// <summary>Makes a growable storage of zeros.</summary>
    /// <param name="length">Bytes to begin with.</param>
    public MemoryStorage(int length = 0)
    {
        _bytes = new byte[length];
        _length = length;
        _writable = true;
    }

    /// <summary>Shows existing bytes, read-only, without copying.</summary>
    /// <param name="bytes">The bytes.</param>
    public MemoryStorage(byte[] bytes)
    {
        _bytes = bytes;
        _length = bytes.Length;
    }

    /// <inheritdoc/>
    public override long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override bool CanWrite => _writable;

    /// <inheritdoc/>
    public override bool CanGrow => _writable;

    /// <summary>A copy of the content.</summary>
    public byte[] ToArray() => _bytes.AsSpan(0, (int)Length).ToArray();

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer) => _bytes.AsSpan((int)offset, buffer.Length).CopyTo(buffer);

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        lock (_growing)
        {
            long end = offset + buffer.Length;
            if (end > Array.MaxLength) throw new ArgumentOutOfRangeException(nameof(offset), "A memory storage holds at most 2 GiB.");
            if (end > _bytes.Length) Array.Resize(ref _bytes, (int)Math.Min(Array.MaxLength, Math.Max(end, _bytes.Length * 2L)));
            buffer.CopyTo(_bytes.AsSpan((int)offset));
            if (end > _length) Volatile.Write(ref _length, end);
        }
    }
}
