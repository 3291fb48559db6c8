namespace CCImage.Storage;

/// <summary>What ends whoever reads an image at the moment: one job at a time.</summary>
internal sealed class ReadingStop
{
    private CancellationToken _token;

    /// <summary>Lets a token end reading until the result is disposed.</summary>
    /// <param name="cancellation">The token. One that cannot be cancelled leaves an outer one as it is.</param>
    public Scope By(CancellationToken cancellation)
    {
        var scope = new Scope(this, _token);
        if (cancellation.CanBeCanceled) _token = cancellation;
        return scope;
    }

    /// <summary>The token that counts now.</summary>
    public CancellationToken Token => _token;

    /// <summary>Ends a read that is about to begin.</summary>
    public void Check() => _token.ThrowIfCancellationRequested();

    /// <summary>The time in which a token counts.</summary>
    /// <param name="stop">Whose.</param>
    /// <param name="before">The token before.</param>
    public readonly struct Scope(ReadingStop stop, CancellationToken before) : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => stop._token = before;
    }
}

/// <summary>
/// Another storage, with a way to stop whoever reads it: loops over structures of a disk read, however long they are, so that a stop
/// reaches those, too, that have no token of their own.
/// </summary>
/// <param name="inner">The storage behind it; disposed with this.</param>
/// <param name="stop">What ends a read.</param>
internal sealed class StoppableStorage(BlockStorage inner, ReadingStop stop) : BlockStorage
{
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
        stop.Check();
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
