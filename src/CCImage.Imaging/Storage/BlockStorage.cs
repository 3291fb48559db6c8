namespace CCImage.Storage;

/// <summary>
/// A disk, or anything that can be read like one: bytes addressed by offset, a length, and knowledge of which extents are stored.
/// A raw file, a sparse image, a bundle, a UDIF, a decrypted layer, a partition's window and a volume that is computed from a plan are
/// one class each, and they stack.
/// <para>
/// Contract (the suite <c>BlockStorageContract</c> in the tests holds every implementation to it):
/// reads, and writes of ranges that do not overlap, may run on any number of threads at once; a read at the same time as a write of the
/// same bytes gives either's bytes, never anything else; a range outside <c>0..Length</c> is an <see cref="ArgumentOutOfRangeException"/>;
/// bytes never written read as zeros; what <see cref="GetExtents"/> calls <see cref="ExtentKind.Zero"/> or <see cref="ExtentKind.Unused"/>
/// reads as zeros.
/// </para>
/// </summary>
public abstract class BlockStorage : IDisposable
{
    /// <summary>The number of bytes that can be read.</summary>
    public abstract long Length { get; }

    /// <summary>Whether <see cref="Write"/> works.</summary>
    public virtual bool CanWrite => false;

    /// <summary>Whether a write behind <see cref="Length"/> extends the storage (a gap reads as zeros). Disks do not grow; files
    /// do.</summary>
    public virtual bool CanGrow => false;

    /// <summary>Fills the whole buffer from <paramref name="offset"/>.</summary>
    /// <param name="offset">First byte to read.</param>
    /// <param name="buffer">Receives exactly its length in bytes; an empty one reads nothing.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves <c>0..Length</c>.</exception>
    /// <exception cref="ImageException">The bytes cannot be had: damaged, unreadable.</exception>
    public void Read(long offset, Span<byte> buffer)
    {
        CheckRange(offset, buffer.Length);
        if (!buffer.IsEmpty) ReadCore(offset, buffer);
    }

    /// <summary>Writes the whole buffer at <paramref name="offset"/>.</summary>
    /// <param name="offset">First byte to write.</param>
    /// <param name="buffer">The bytes.</param>
    /// <exception cref="NotSupportedException"><see cref="CanWrite"/> is false.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves <c>0..Length</c> and <see cref="CanGrow"/> is false.</exception>
    public void Write(long offset, ReadOnlySpan<byte> buffer)
    {
        if (!CanWrite) throw new NotSupportedException("This storage is read-only.");
        if (CanGrow) ArgumentOutOfRangeException.ThrowIfNegative(offset);
        else CheckRange(offset, buffer.Length);
        if (!buffer.IsEmpty) WriteCore(offset, buffer);
    }

    /// <summary>
    /// Returns when everything written so far is on the medium, as far as the host can tell (a full flush on macOS).
    /// Write orders in this program are built on it.
    /// </summary>
    public virtual void Flush()
    {
    }

    /// <summary>
    /// What is known of a range before it is read: adjacent extents in ascending order that cover exactly
    /// <c>offset..offset + length</c>. Cheap: from metadata, never by reading the data. The default is one extent of data.
    /// </summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Number of bytes; 0 gives no extent.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves <c>0..Length</c>.</exception>
    public IEnumerable<StorageExtent> GetExtents(long offset, long length)
    {
        CheckRange(offset, length);
        return length == 0 ? [] : GetExtentsCore(offset, length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Reads a range that was checked and is not empty.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="buffer">To be filled whole.</param>
    protected abstract void ReadCore(long offset, Span<byte> buffer);

    /// <summary>Writes a range that was checked and is not empty.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="buffer">The bytes.</param>
    protected virtual void WriteCore(long offset, ReadOnlySpan<byte> buffer) => throw new NotSupportedException();

    /// <summary>Lists the extents of a range that was checked and is not empty.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Number of bytes.</param>
    protected virtual IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) => [new(offset, length, ExtentKind.Data)];

    /// <summary>Releases what the storage owns.</summary>
    /// <param name="disposing">Always true: there are no finalizers.</param>
    protected virtual void Dispose(bool disposing)
    {
    }

    private void CheckRange(long offset, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (offset > Length || length > Length - offset)
            throw new ArgumentOutOfRangeException(
                nameof(offset), $"Bytes {offset}..{offset}+{length} are outside a storage of {Length} bytes.");
    }
}
