namespace CCImage.Storage;

/// <summary>A range of another storage as a storage of its own: a partition of a disk, a fork of a file in one extent.</summary>
public sealed class WindowStorage : BlockStorage
{
    private readonly BlockStorage _inner;
    private readonly long _offset;
    private readonly bool _ownsInner;

    /// <summary>Opens the window.</summary>
    /// <param name="inner">The storage behind it.</param>
    /// <param name="offset">Where it begins there, in bytes.</param>
    /// <param name="length">Its length in bytes.</param>
    /// <param name="ownsInner">Whether disposing the window disposes the storage behind it.</param>
    /// <exception cref="ArgumentOutOfRangeException">The window is not inside the storage.</exception>
    public WindowStorage(BlockStorage inner, long offset, long length, bool ownsInner = false)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (offset > inner.Length || length > inner.Length - offset)
            throw new ArgumentOutOfRangeException(nameof(offset), $"A window {offset}+{length} does not fit into {inner.Length} bytes.");
        (_inner, _offset, Length, _ownsInner) = (inner, offset, length, ownsInner);
    }

    /// <inheritdoc/>
    public override long Length { get; }

    /// <inheritdoc/>
    public override bool CanWrite => _inner.CanWrite;

    /// <inheritdoc/>
    public override void Flush() => _inner.Flush();

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer) => _inner.Read(_offset + offset, buffer);

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer) => _inner.Write(_offset + offset, buffer);

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) =>
        _inner.GetExtents(_offset + offset, length).Select(e => e with { Offset = e.Offset - _offset });

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && _ownsInner) _inner.Dispose();
        base.Dispose(disposing);
    }
}
