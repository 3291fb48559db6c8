namespace CCImage.Storage;

/// <summary>
/// Another storage of which some ranges belong to no file: they read as zeros and are called <see cref="ExtentKind.Unused"/>. So a
/// conversion skips free space. Read-only.
/// </summary>
internal sealed class MaskedStorage : BlockStorage
{
    private readonly BlockStorage _inner;
    private readonly StorageExtent[] _unused;
    private readonly bool _ownsInner;

    /// <summary>Puts the mask on.</summary>
    /// <param name="inner">The storage behind it.</param>
    /// <param name="unused">Offset and length of each unused range: ascending, inside the storage, not overlapping. Adjacent ones are
    /// joined.</param>
    /// <param name="ownsInner">Whether disposing the mask disposes the storage behind it.</param>
    /// <exception cref="ArgumentException">The ranges overlap, are out of order or leave the storage.</exception>
    public MaskedStorage(BlockStorage inner, IEnumerable<(long Offset, long Length)> unused, bool ownsInner = false)
    {
        (_inner, _ownsInner, Length) = (inner, ownsInner, inner.Length);
        var ranges = new List<StorageExtent>();
        long end = 0;
        foreach ((long offset, long length) in unused)
        {
            if (length < 0 || offset < end || offset > Length || length > Length - offset)
                throw new ArgumentException(
                    $"The unused range {offset}+{length} is out of order or leaves the {Length} bytes.", nameof(unused));
            if (length == 0) continue;
            if (ranges.Count > 0 && offset == end) ranges[^1] = ranges[^1] with { Length = ranges[^1].Length + length };
            else ranges.Add(new(offset, length, ExtentKind.Unused));
            end = offset + length;
        }

        _unused = [.. ranges];
    }

    /// <inheritdoc/>
    public override long Length { get; }

    /// <summary>Bytes in the unused ranges.</summary>
    public long UnusedBytes => _unused.Sum(e => e.Length);

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (bool unused, long stop) = Find(offset, buffer.Length);
            Span<byte> part = buffer[..(int)(stop - offset)];
            if (unused) part.Clear();
            else _inner.Read(offset, part);
            buffer = buffer[part.Length..];
            offset = stop;
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        for (long end = offset + length; offset < end;)
        {
            (bool unused, long stop) = Find(offset, end - offset);
            if (unused)
            {
                yield return new(offset, stop - offset, ExtentKind.Unused);
            }
            else
            {
                foreach (StorageExtent e in _inner.GetExtents(offset, stop - offset)) yield return e;
            }

            offset = stop;
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && _ownsInner) _inner.Dispose();
        base.Dispose(disposing);
    }

    private (bool Unused, long Stop) Find(long offset, long length)
    {
        int low = 0, high = _unused.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_unused[middle].End <= offset) low = middle + 1;
            else high = middle;
        }

        long end = offset + length;
        if (low == _unused.Length) return (false, end);
        StorageExtent next = _unused[low];
        return next.Offset > offset ? (false, Math.Min(end, next.Offset)) : (true, Math.Min(end, next.End));
    }
}
