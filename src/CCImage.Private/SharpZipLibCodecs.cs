using CCImage.Compression;
using ICSharpCode.SharpZipLib.BZip2;

namespace CCImage.Private;

/// <summary>bzip2 by SharpZipLib.</summary>
internal sealed class SharpZipLibCodecs : IExternalCodecs
{
    private const int PieceSize = 256 << 10;

    /// <inheritdoc/>
    public int CompressBzip2(ReadOnlySpan<byte> source, Span<byte> destination, int level)
    {
        using var sink = new MemoryStream(source.Length);
        using (var compressor = new BZip2OutputStream(sink, level) { IsStreamOwner = false })
            compressor.Write(source.ToArray(), 0, source.Length);
        if (sink.Length > destination.Length) return 0;
        sink.GetBuffer().AsSpan(0, (int)sink.Length).CopyTo(destination);
        return (int)sink.Length;
    }

    /// <inheritdoc/>
    public void DecompressBzip2(ReadOnlySpan<byte> source, Span<byte> destination, CancellationToken cancellation)
    {
        // The package reads into arrays only: a small one, since a run may be large.
        byte[] piece = new byte[Math.Min(destination.Length, PieceSize)];
        try
        {
            using var decompressor = new BZip2InputStream(new MemoryStream(source.ToArray()));
            for (Span<byte> rest = destination; !rest.IsEmpty; rest = rest[Math.Min(piece.Length, rest.Length)..])
            {
                cancellation.ThrowIfCancellationRequested();
                Span<byte> part = piece.AsSpan(0, Math.Min(piece.Length, rest.Length));
                decompressor.ReadExactly(piece, 0, part.Length);
                part.CopyTo(rest);
            }

            if (decompressor.ReadByte() >= 0) throw new InvalidDataException("The bzip2 stream holds more bytes than it should.");
        }
        catch (Exception e) when (
            e is BZip2Exception or EndOfStreamException or IndexOutOfRangeException or OverflowException or NullReferenceException)
        {
            // A damaged stream leads the package out of its own tables' bounds as well, or to a block it never read.
            throw new InvalidDataException("The bzip2 stream is damaged.", e);
        }
    }
}
