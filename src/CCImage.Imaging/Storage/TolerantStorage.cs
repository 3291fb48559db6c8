namespace CCImage.Storage;

/// <summary>
/// Another storage of which what cannot be had reads as zeros, and is counted: for taking over what is left of a damaged disk. Only damage
/// is tolerated; a medium or a share that fails is an error as ever. Read-only.
/// </summary>
/// <param name="inner">The storage behind it; not owned.</param>
internal sealed class TolerantStorage(BlockStorage inner) : BlockStorage
{
    /// <summary>The smallest piece that is given up.</summary>
    private const int Piece = 64 << 10;

    /// <summary>Ranges that are kept with their reasons; the bytes of all are counted.</summary>
    private const int MostFaults = 100;

    private readonly List<ImageException> _faults = [];
    private long _lost;

    /// <inheritdoc/>
    public override long Length => inner.Length;

    /// <summary>Bytes that were replaced by zeros.</summary>
    public long LostBytes => Volatile.Read(ref _lost);

    /// <summary>Why, the first hundred times.</summary>
    public IReadOnlyList<ImageException> Faults
    {
        get
        {
            lock (_faults) return [.. _faults];
        }
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        try
        {
            inner.Read(offset, buffer);
        }
        catch (ImageException e) when (IsDamage(e))
        {
            ReadInPieces(offset, buffer);
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) => inner.GetExtents(offset, length);

    private static bool IsDamage(ImageException e) => e.Id is ImageErrorId.ImageDamaged or ImageErrorId.ChecksumMismatch;

    private void ReadInPieces(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            Span<byte> part = buffer[..(int)Math.Min(buffer.Length, Piece - (offset % Piece))];
            try
            {
                inner.Read(offset, part);
            }
            catch (ImageException e) when (IsDamage(e))
            {
                part.Clear();
                Interlocked.Add(ref _lost, part.Length);
                lock (_faults)
                {
                    if (_faults.Count < MostFaults && !_faults.Exists(f => f.Place == e.Place)) _faults.Add(e);
                }
            }

            buffer = buffer[part.Length..];
            offset += part.Length;
        }
    }
}
