using System.Collections.Concurrent;

namespace CCImage.Compression;

/// <summary>
/// LZMA: UDIF run type 0x80000008, images ULMO, readable since macOS 10.15. Each run is a complete .xz file. Decoding is ours; encoding is
/// the system's library's (<see cref="SystemLzma"/>).
/// </summary>
internal sealed class LzmaCodec : BlockCodec
{
    /// <summary>The preset of Apple's own images, and of xz.</summary>
    public const int DefaultLevel = 6;

    private readonly int _level;
    private readonly ConcurrentBag<XzDecoder> _decoders = [];

    /// <summary>Makes the codec.</summary>
    /// <param name="level">The preset, 0 (fast) to 9 (small).</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such level.</exception>
    public LzmaCodec(int level = DefaultLevel)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(level);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(level, 9);
        _level = level;
    }

    /// <inheritdoc/>
    public override string Name => "LZMA";

    /// <inheritdoc/>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/>: this machine has no library for it.</exception>
    public override int Encode(ReadOnlySpan<byte> source, Span<byte> destination) => SystemLzma.Current.Encode(source, destination, _level);

    /// <inheritdoc/>
    public override void Decode(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        if (!_decoders.TryTake(out XzDecoder? decoder)) decoder = new XzDecoder();
        try
        {
            decoder.Decode(source, destination);
        }
        finally
        {
            _decoders.Add(decoder);
        }
    }
}
