using CCImage.Storage;

namespace CCImage.Containers;

/// <summary>
/// Writes a disk into a storage with random access: a raw image, a sparse image, a bundle. Data go to their place at once, on whatever
/// thread brings them; zeros and unused ranges are left out, because the target is new and reads as zeros.
/// </summary>
internal sealed class StorageImageWriter : ImageWriter
{
    private readonly BlockStorage _target;
    private readonly bool _inOrder;
    private readonly List<StorageExtent> _zeros = [];
    private long _appended;

    /// <summary>Begins.</summary>
    /// <param name="target">The new disk: as long as the source, or able to grow. Stays the caller's.</param>
    /// <param name="chunkSize">Bytes of a chunk: a multiple of 1 MiB, best the target's band size where that is small.</param>
    /// <param name="inOrder">
    /// Whether chunks are written in ascending order: for a target that gives out room as it is asked, so that the same disk makes the same
    /// file.
    /// </param>
    public StorageImageWriter(BlockStorage target, int chunkSize = 1 << 20, bool inOrder = false)
    {
        if (!target.CanWrite) throw new ArgumentException("The target cannot be written.", nameof(target));
        if (chunkSize <= 0 || chunkSize % (1 << 20) != 0) throw new ArgumentException("A chunk is a multiple of 1 MiB.", nameof(chunkSize));
        (_target, ChunkSize, _inOrder) = (target, chunkSize, inOrder);
    }

    /// <inheritdoc/>
    public override int ChunkSize { get; }

    /// <inheritdoc/>
    public override int ShortestGap => 4096;

    /// <summary>Bytes of the disk that have passed.</summary>
    public long AppendedBytes => Volatile.Read(ref _appended);

    /// <summary>Bytes in a band of the target, whose file ends behind the last data in it; 0 for a target without such.</summary>
    public long BandSize { get; init; }

    /// <summary>
    /// The zeros that are in use and were left out, but for those that lie before data of the same band: its file covers them, and memory
    /// is bounded by the number of bands. Ascending. To be asked when the disk is complete.
    /// </summary>
    public IReadOnlyList<StorageExtent> Zeros => _zeros;

    /// <inheritdoc/>
    public override void Encode(DiskChunk chunk)
    {
        if (!_inOrder) Write(chunk);
    }

    /// <inheritdoc/>
    public override void Append(DiskChunk chunk)
    {
        if (_inOrder) Write(chunk);
        if (BandSize > 0) NoteZeros(chunk);
        Volatile.Write(ref _appended, _appended + chunk.Length);
    }

    /// <inheritdoc/>
    public override void Replace(DiskChunk chunk, uint oldChecksum) => Write(chunk);

    /// <summary>Gives a growing target its whole length, and flushes.</summary>
    public override void Complete()
    {
        if (_target.CanGrow && _target.Length < _appended)
        {
            if (_target is FileStorage file) file.SetLength(_appended);
            else _target.Write(_appended - 1, [0]);
        }

        _target.Flush();
    }

    // A chunk of data is written band by band, and a band that gets nothing but zeros of it gets nothing.
    private void NoteZeros(DiskChunk chunk)
    {
        if (chunk.Kind == ExtentKind.Unused) return;
        if (chunk.Kind == ExtentKind.Zero)
        {
            AddZeros(chunk.Offset, chunk.Length);
            return;
        }

        for (long at = chunk.Offset, end = chunk.Offset + chunk.Length; at < end;)
        {
            long band = at / BandSize * BandSize, next = Math.Min(end, band + BandSize);
            if (chunk.Plain.AsSpan((int)(at - chunk.Offset), (int)(next - at)).ContainsAnyExcept((byte)0)) CutZeros(band);
            else AddZeros(at, next - at);
            at = next;
        }
    }

    private void AddZeros(long offset, long length)
    {
        if (_zeros is [.., var last] && last.End == offset) _zeros[^1] = last with { Length = last.Length + length };
        else _zeros.Add(new(offset, length, ExtentKind.Zero));
    }

    private void CutZeros(long end)
    {
        while (_zeros is [.., var last] && last.End > end)
        {
            _zeros.RemoveAt(_zeros.Count - 1);
            if (last.Offset < end) _zeros.Add(last with { Length = end - last.Offset });
        }
    }

    private void Write(DiskChunk chunk)
    {
        if (chunk.Kind == ExtentKind.Data) _target.Write(chunk.Offset, chunk.Plain.AsSpan(0, (int)chunk.Length));
    }
}
