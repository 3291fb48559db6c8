namespace CCImage.Storage;

/// <summary>
/// A disk whose end is missing: what is there reads, what is missing is an error that says so, zeros only where nothing is in use.
/// Read-only: whatever was written would bury what is missing.
/// </summary>
/// <param name="inner">What is there; owned.</param>
/// <param name="length">Bytes that the disk should have.</param>
internal sealed class CutStorage(BlockStorage inner, long length) : BlockStorage
{
    /// <inheritdoc/>
    public override long Length => length;

    /// <summary>Whether what is missing reads as zeros: only where nothing of it is in use.</summary>
    public bool ReadsZeros { get; set; }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        int there = (int)Math.Clamp(inner.Length - offset, 0, buffer.Length);
        if (there < buffer.Length && !ReadsZeros)
        {
            throw new ImageException(
                ImageErrorId.ImageDamaged, $"The image is cut short: it ends at byte {inner.Length} of a disk of {length} bytes.",
                place: $"byte {Math.Max(offset, inner.Length)} of the disk",
                remedy: "Restore the image from another copy. What lies before the cut can be restored.");
        }

        if (there > 0) inner.Read(offset, buffer[..there]);
        buffer[there..].Clear();
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long count)
    {
        long there = Math.Clamp(inner.Length - offset, 0, count);
        foreach (StorageExtent extent in inner.GetExtents(Math.Min(offset, inner.Length), there)) yield return extent;
        if (there < count) yield return new(offset + there, count - there, ExtentKind.Data);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) inner.Dispose();
        base.Dispose(disposing);
    }
}
