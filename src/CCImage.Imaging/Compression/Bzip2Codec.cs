namespace CCImage.Compression;

/// <summary>
/// bzip2: UDIF run type 0x80000006, images UDBZ (deprecated by Apple). Each run is a complete bzip2 stream. The work is done by a package
/// behind
/// <see cref="ExternalCodecs"/>.
/// </summary>
internal sealed class Bzip2Codec : BlockCodec
{
    /// <summary>The level of the program bzip2, and of Apple's images where runs are large enough.</summary>
    public const int DefaultLevel = 9;

    private readonly int _level;

    /// <summary>Makes the codec.</summary>
    /// <param name="level">Largest block in units of 100,000 bytes, 1 to 9; for a shorter run the smallest that holds it is used, as
    /// Apple's images have it.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such level.</exception>
    public Bzip2Codec(int level = DefaultLevel)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(level, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(level, 9);
        _level = level;
    }

    /// <inheritdoc/>
    public override string Name => "bzip2";

    /// <inheritdoc/>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/>: the private assembly is not there.</exception>
    public override int Encode(ReadOnlySpan<byte> source, Span<byte> destination) =>
        source.IsEmpty ? 0
            : ExternalCodecs.Current.CompressBzip2(source, destination, Math.Min(_level, 1 + ((source.Length - 1) / 100_000)));

    /// <inheritdoc/>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/>: the private assembly is not there.</exception>
    public override void Decode(ReadOnlySpan<byte> source, Span<byte> destination) => Decode(source, destination, CancellationToken.None);

    /// <inheritdoc/>
    public override void Decode(ReadOnlySpan<byte> source, Span<byte> destination, CancellationToken cancellation)
    {
        IExternalCodecs codecs = ExternalCodecs.Current;
        try
        {
            codecs.DecompressBzip2(source, destination, cancellation);
        }
        catch (InvalidDataException e)
        {
            throw ImageException.Damaged("A bzip2 block is damaged or of another length.", innerException: e);
        }
    }
}
