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
    /// Whether chunks are written in ascending order: for a target that gives out room as it is asked, so that the same disk makes the same file.
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
    /// The zeros that are in use and were left out, but for those that lie before data of the same band: its file covers them, and memory is bounded by the
    /// number of bands. Ascending. To be asked when the disk is complete.
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

    private void NoteZeros(DiskChunk chunk)
    {
        if (chunk.Kind == ExtentKind.Zero)
        {
            if (_zeros is [.., var last] && last.End == chunk.Offset) _zeros[^1] = last with { Length = last.Length + chunk.Length };
            else _zeros.Add(new(chunk.Offset, chunk.Length, ExtentKind.Zero));
        }
        else if (chunk.Kind == ExtentKind.Data)
        {
            long band = (chunk.Offset + chunk.Length - 1) / BandSize * BandSize;
            while (_zeros is [.., var last] && last.End > band)
            {
                if (last.Offset < band)
                {
                    _zeros[^1] = last with { Length = band - last.Offset };
                    break;
                }

                _zeros.RemoveAt(_zeros.Count - 1);
            }
        }
    }

    private void Write(DiskChunk chunk)
    {
        if (chunk.Kind == ExtentKind.Data) _target.Write(chunk.Offset, chunk.Plain.AsSpan(0, (int)chunk.Length));
    }
}
