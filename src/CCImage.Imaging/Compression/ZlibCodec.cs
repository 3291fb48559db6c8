using System.IO.Compression;

namespace CCImage.Compression;

/// <summary>
/// zlib (RFC 1950) on the runtime's own library, zlib-ng. The streams work straight on the caller's memory; one costs some microseconds
/// to make, which is nothing against the milliseconds that a block takes, so none are kept.
/// </summary>
internal sealed class ZlibCodec : BlockCodec
{
    /// <summary>
    /// The level when none is asked for: measured on blocks of 1 MiB, half source text and half random, the fastest whose output is not
    /// larger than that of <c>pigz -6</c> (in half its processor time). Level 2 takes half the time again and is smaller than <c>pigz
    /// -1</c>.
    /// </summary>
    public const int DefaultLevel = 7;

    // Small enough to notice soon that a block does not fit, large enough not to matter.
    private const int FeedSize = 128 << 10;

    private const int StepSize = 1 << 20; // between two looks for a stop

    private readonly ZLibCompressionOptions _options;

    /// <summary>Makes the codec.</summary>
    /// <param name="level">1 (fast) to 9 (small).</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such level.</exception>
    public ZlibCodec(int level = DefaultLevel)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(level, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(level, 9);
        _options = new ZLibCompressionOptions { CompressionLevel = level };
    }

    /// <inheritdoc/>
    public override string Name => "zlib";

    /// <inheritdoc/>
    public override unsafe int Encode(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        fixed (byte* room = destination)
        {
            using var output = new FixedRoomStream(room, destination.Length);
            using (var zlib = new ZLibStream(output, _options, leaveOpen: true))
            {
                for (ReadOnlySpan<byte> rest = source; !rest.IsEmpty && !output.IsFull; rest = rest[Math.Min(FeedSize, rest.Length)..])
                    zlib.Write(rest[..Math.Min(FeedSize, rest.Length)]);
            }

            return output.IsFull ? 0 : output.Used;
        }
    }

    /// <inheritdoc/>
    public override void Decode(ReadOnlySpan<byte> source, Span<byte> destination) => Decode(source, destination, CancellationToken.None);

    /// <inheritdoc/>
    public override unsafe void Decode(ReadOnlySpan<byte> source, Span<byte> destination, CancellationToken cancellation)
    {
        if (source.IsEmpty) throw ImageException.Damaged("A zlib block is empty.");
        try
        {
            fixed (byte* bytes = source)
            {
                using var input = new UnmanagedMemoryStream(bytes, source.Length);
                using var zlib = new ZLibStream(input, CompressionMode.Decompress);
                int count = 0;
                while (count < destination.Length)
                {
                    cancellation.ThrowIfCancellationRequested();
                    Span<byte> piece = destination[count..Math.Min(destination.Length, count + StepSize)];
                    int read = zlib.ReadAtLeast(piece, piece.Length, throwOnEndOfStream: false);
                    count += read;
                    if (read < piece.Length) break;
                }

                if (count < destination.Length)
                    throw ImageException.Damaged($"A zlib block ends after {count} of {destination.Length} bytes.");

                // Reading on finds the end of the block, and with it its own checksum.
                Span<byte> more = stackalloc byte[1];
                if (zlib.Read(more) != 0) throw ImageException.Damaged($"A zlib block holds more than {destination.Length} bytes.");
            }
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            // The latter (a ZLibException) for a block that asks for a dictionary of its own: nothing else is read here but memory.
            throw ImageException.Damaged("A zlib block cannot be decompressed.", innerException: e);
        }
    }

    /// <summary>Takes what fits and remembers that something did not.</summary>
    private sealed unsafe class FixedRoomStream(byte* room, int size) : Stream
    {
        public int Used { get; private set; }

        public bool IsFull { get; private set; }

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            IsFull |= buffer.Length > size - Used;
            if (IsFull) return;
            buffer.CopyTo(new Span<byte>(room + Used, buffer.Length));
            Used += buffer.Length;
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
