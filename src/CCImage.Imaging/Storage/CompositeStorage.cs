namespace CCImage.Storage;

/// <summary>
/// Several storages at their places on one disk: partition map, volume, copy of the partition map. What no piece covers reads as zeros.
/// It is writable when every piece is and there are no gaps.
/// </summary>
internal sealed class CompositeStorage : BlockStorage
{
    private readonly Piece[] _pieces;
    private readonly ExtentKind _gapKind;

    /// <summary>Puts the pieces together.</summary>
    /// <param name="length">Bytes of the whole.</param>
    /// <param name="pieces">Ascending, inside the whole, not overlapping.</param>
    /// <param name="gapKind">What gaps are: <see cref="ExtentKind.Zero"/> or <see cref="ExtentKind.Unused"/>.</param>
    /// <exception cref="ArgumentException">The pieces overlap, are out of order or leave the whole.</exception>
    public CompositeStorage(long length, IEnumerable<Piece> pieces, ExtentKind gapKind = ExtentKind.Zero)
    {
        if (gapKind == ExtentKind.Data) throw new ArgumentException("A gap is zero or unused.", nameof(gapKind));
        _pieces = [.. pieces.Where(p => p.Storage.Length > 0)];
        long end = 0;
        bool gaps = false;
        foreach (Piece piece in _pieces)
        {
            if (piece.Offset < end || piece.Offset > length || piece.Storage.Length > length - piece.Offset)
                throw new ArgumentException($"The piece at {piece.Offset} overlaps another or leaves the {length} bytes.", nameof(pieces));
            gaps |= piece.Offset > end;
            end = piece.End;
        }

        (Length, _gapKind) = (length, gapKind);
        CanWrite = !gaps && end == length && _pieces.All(p => p.Storage.CanWrite);
    }

    /// <inheritdoc/>
    public override long Length { get; }

    /// <inheritdoc/>
    public override bool CanWrite { get; }

    /// <inheritdoc/>
    public override void Flush()
    {
        foreach (BlockStorage storage in _pieces.Select(p => p.Storage).Distinct()) storage.Flush();
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (Piece? piece, long stop) = Find(offset, buffer.Length);
            Span<byte> part = buffer[..(int)(stop - offset)];
            if (piece is null) part.Clear();
            else piece.Storage.Read(offset - piece.Offset, part);
            buffer = buffer[part.Length..];
            offset = stop;
        }
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (Piece? piece, long stop) = Find(offset, buffer.Length);
            ReadOnlySpan<byte> part = buffer[..(int)(stop - offset)];
            piece!.Storage.Write(offset - piece.Offset, part);
            buffer = buffer[part.Length..];
            offset = stop;
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        for (long end = offset + length; offset < end;)
        {
            (Piece? piece, long stop) = Find(offset, end - offset);
            if (piece is null)
            {
                yield return new(offset, stop - offset, _gapKind);
            }
            else
            {
                foreach (StorageExtent e in piece.Storage.GetExtents(offset - piece.Offset, stop - offset))
                    yield return e with { Offset = e.Offset + piece.Offset };
            }

            offset = stop;
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            foreach (Piece piece in _pieces.Where(p => p.Owned)) piece.Storage.Dispose();
        }

        base.Dispose(disposing);
    }

    /// <summary>The piece at an offset, or null for a gap, and where it or the range ends.</summary>
    private (Piece? Piece, long Stop) Find(long offset, long length)
    {
        int low = 0, high = _pieces.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_pieces[middle].End <= offset) low = middle + 1;
            else high = middle;
        }

        long end = offset + length;
        if (low == _pieces.Length) return (null, end);
        Piece piece = _pieces[low];
        return piece.Offset > offset ? (null, Math.Min(end, piece.Offset)) : (piece, Math.Min(end, piece.End));
    }

    /// <summary>A part of the whole.</summary>
    /// <param name="Offset">Its first byte there.</param>
    /// <param name="Storage">Its bytes; its length must not change.</param>
    /// <param name="Owned">Whether disposing the whole disposes it.</param>
    public sealed record Piece(long Offset, BlockStorage Storage, bool Owned = false)
    {
        /// <summary>The first byte behind it.</summary>
        public long End => Offset + Storage.Length;
    }
}
