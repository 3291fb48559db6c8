namespace CCImage.Storage;

/// <summary>
/// Another storage, with its most recently read blocks kept in memory: for metadata, which is read in small pieces again and again.
/// Writes go through. Reads of more than a quarter of the cache go past it, and so does the reading of a block that cannot be read whole:
/// the part that is asked for may be sound.
/// </summary>
internal sealed class CachedStorage : BlockStorage
{
    private readonly BlockStorage _inner;
    private readonly int _blockSize;
    private readonly int _maximumBlocks;
    private readonly bool _ownsInner;
    private readonly Lock _lock = new();
    private readonly Dictionary<long, LinkedListNode<(long Block, byte[] Bytes)>> _blocks = [];
    private readonly LinkedList<(long Block, byte[] Bytes)> _recent = [];

    /// <summary>Puts the cache on.</summary>
    /// <param name="inner">The storage behind it; nobody else may write it meanwhile.</param>
    /// <param name="blockSize">Bytes of a block.</param>
    /// <param name="maximumBytes">Most bytes kept.</param>
    /// <param name="ownsInner">Whether disposing the cache disposes the storage behind it.</param>
    public CachedStorage(BlockStorage inner, int blockSize = 4096, int maximumBytes = 4 << 20, bool ownsInner = false)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(blockSize);
        (_inner, _blockSize, _ownsInner) = (inner, blockSize, ownsInner);
        _maximumBlocks = Math.Max(1, maximumBytes / blockSize);
    }

    /// <inheritdoc/>
    public override long Length => _inner.Length;

    /// <inheritdoc/>
    public override bool CanWrite => _inner.CanWrite;

    /// <inheritdoc/>
    public override bool CanGrow => _inner.CanGrow;

    /// <inheritdoc/>
    public override void Flush() => _inner.Flush();

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        if (buffer.Length > (long)_maximumBlocks * _blockSize / 4 && buffer.Length > _blockSize)
        {
            _inner.Read(offset, buffer);
            return;
        }

        // Held while reading, so that no write comes between reading a block and keeping it.
        lock (_lock)
        {
            while (!buffer.IsEmpty)
            {
                (long block, long within) = Math.DivRem(offset, _blockSize);
                Span<byte> part = buffer[..(int)Math.Min(buffer.Length, _blockSize - within)];
                if (GetBlock(block) is byte[] bytes) bytes.AsSpan((int)within, part.Length).CopyTo(part);
                else _inner.Read(offset, part);
                buffer = buffer[part.Length..];
                offset += part.Length;
            }
        }
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        lock (_lock)
        {
            // The last block is short; when the storage grows it is another one.
            if (offset + buffer.Length > _inner.Length) Forget(_inner.Length / _blockSize);
            try
            {
                _inner.Write(offset, buffer);
            }
            catch
            {
                for (long block = offset / _blockSize; block <= (offset + buffer.Length - 1) / _blockSize; block++) Forget(block);
                throw;
            }

            while (!buffer.IsEmpty)
            {
                (long block, long within) = Math.DivRem(offset, _blockSize);
                ReadOnlySpan<byte> part = buffer[..(int)Math.Min(buffer.Length, _blockSize - within)];
                if (_blocks.TryGetValue(block, out LinkedListNode<(long Block, byte[] Bytes)>? node))
                    part.CopyTo(node.Value.Bytes.AsSpan((int)within));
                buffer = buffer[part.Length..];
                offset += part.Length;
            }
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) => _inner.GetExtents(offset, length);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && _ownsInner) _inner.Dispose();
        base.Dispose(disposing);
    }

    // Null: it cannot be read.
    private byte[]? GetBlock(long block)
    {
        if (_blocks.TryGetValue(block, out LinkedListNode<(long Block, byte[] Bytes)>? node))
        {
            _recent.Remove(node);
            _recent.AddFirst(node);
            return node.Value.Bytes;
        }

        byte[]? bytes = null;
        int length = (int)Math.Min(_blockSize, _inner.Length - (block * _blockSize));
        if (_blocks.Count == _maximumBlocks)
        {
            (long oldest, bytes) = _recent.Last!.Value;
            Forget(oldest);
        }

        if (bytes?.Length != length) bytes = new byte[length];
        try
        {
            _inner.Read(block * _blockSize, bytes);
        }
        catch (Exception e) when (e is ImageException or IOException)
        {
            return null;
        }

        _blocks[block] = _recent.AddFirst((block, bytes));
        return bytes;
    }

    private void Forget(long block)
    {
        if (_blocks.Remove(block, out LinkedListNode<(long Block, byte[] Bytes)>? node)) _recent.Remove(node);
    }
}
