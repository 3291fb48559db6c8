namespace CCImage.Storage;

/// <summary>
/// Another storage, with a way to stop whoever reads it: loops over structures of a disk read, however long they are, so that a stop reaches those,
/// too, that have no token of their own.
/// </summary>
/// <param name="inner">The storage behind it; disposed with this.</param>
internal sealed class StoppableStorage(BlockStorage inner) : BlockStorage
{
    /// <summary>Ends every read from now on.</summary>
    public CancellationToken Cancellation { get; set; }

    /// <inheritdoc/>
    public override long Length => inner.Length;

    /// <inheritdoc/>
    public override bool CanWrite => inner.CanWrite;

    /// <inheritdoc/>
    public override bool CanGrow => inner.CanGrow;

    /// <inheritdoc/>
    public override void Flush() => inner.Flush();

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        Cancellation.ThrowIfCancellationRequested();
        inner.Read(offset, buffer);
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer) => inner.Write(offset, buffer);

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) => inner.GetExtents(offset, length);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        inner.Dispose();
        base.Dispose(disposing);
    }
}
