using System.Collections.Concurrent;

namespace CCImage.Compression;

/// <summary>LZFSE with its LZVN and stored blocks: UDIF run type 0x80000007, images ULFO, readable since macOS 10.11.</summary>
internal sealed class LzfseCodec : BlockCodec
{
    private readonly ConcurrentBag<LzfseEncoder> _encoders = [];
    private readonly ConcurrentBag<LzfseDecoder> _decoders = [];

    /// <inheritdoc/>
    public override string Name => "LZFSE";

    /// <inheritdoc/>
    public override int Encode(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        if (!_encoders.TryTake(out LzfseEncoder? encoder)) encoder = new LzfseEncoder();
        try
        {
            return encoder.Encode(source, destination);
        }
        finally
        {
            _encoders.Add(encoder);
        }
    }

    /// <inheritdoc/>
    public override void Decode(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        if (!_decoders.TryTake(out LzfseDecoder? decoder)) decoder = new LzfseDecoder();
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
