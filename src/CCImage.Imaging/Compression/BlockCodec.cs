namespace CCImage.Compression;

/// <summary>
/// Compresses blocks that are decompressed each by itself. Instances are immutable in their behaviour: the same bytes give the same result,
/// on any number of threads at once.
/// </summary>
internal abstract class BlockCodec
{
    /// <summary>What people call it, for messages.</summary>
    public abstract string Name { get; }

    /// <summary>Compresses a block.</summary>
    /// <param name="source">The bytes.</param>
    /// <param name="destination">Receives the compressed form; what lies behind its end is undefined afterwards.</param>
    /// <returns>Bytes used of <paramref name="destination"/>; 0 when it does not fit there.</returns>
    /// <exception cref="NotSupportedException">This codec only decompresses.</exception>
    public abstract int Encode(ReadOnlySpan<byte> source, Span<byte> destination);

    /// <summary>Decompresses a block.</summary>
    /// <param name="source">The compressed form, whole.</param>
    /// <param name="destination">As long as the block was: it is filled exactly.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: not such a block, or of another length.</exception>
    public abstract void Decode(ReadOnlySpan<byte> source, Span<byte> destination);

    /// <summary>The same, with a stop on the way where a block of the largest size would take a codec longer than a moment.</summary>
    /// <param name="source">The compressed form, whole.</param>
    /// <param name="destination">As long as the block was: it is filled exactly.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: not such a block, or of another length.</exception>
    public virtual void Decode(ReadOnlySpan<byte> source, Span<byte> destination, CancellationToken cancellation) =>
        Decode(source, destination);
}
