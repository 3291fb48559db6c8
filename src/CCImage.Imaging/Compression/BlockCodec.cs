namespace CCImage.Compression;

/// <summary>
/// Compresses and decompresses single blocks that stand for themselves (the runs of a UDIF image). Every codec may be used by any number of
/// threads at once.
/// </summary>
internal abstract class BlockCodec
{
    /// <summary>Compresses a block.</summary>
    /// <param name="source">The plain bytes.</param>
    /// <param name="destination">Room for the result; a caller that only wants what got smaller gives less room than the source takes.</param>
    /// <returns>Bytes used in <paramref name="destination"/>, or 0 when the result does not get smaller than that.</returns>
    public abstract int Encode(ReadOnlySpan<byte> source, Span<byte> destination);

    /// <summary>Decompresses a block.</summary>
    /// <param name="source">The compressed bytes, untrusted.</param>
    /// <param name="destination">Filled exactly.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: the block is malformed or holds fewer or more bytes.</exception>
    public abstract void Decode(ReadOnlySpan<byte> source, Span<byte> destination);
}
