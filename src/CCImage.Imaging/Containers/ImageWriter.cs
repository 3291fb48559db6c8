using CCImage.Storage;

namespace CCImage.Containers;

/// <summary>A piece of the disk on its way through the pump. Pooled: valid until <see cref="ImageWriter.Append"/> returns.</summary>
internal sealed class DiskChunk
{
    /// <summary>First byte, from the start of the disk.</summary>
    public long Offset { get; set; }

    /// <summary>Bytes of the disk. For data at most the writer's chunk size; zero and unused chunks may be of any length.</summary>
    public long Length { get; set; }

    /// <summary>What it holds. Data that turned out to be all zeros arrives as <see cref="ExtentKind.Zero"/>.</summary>
    public ExtentKind Kind { get; set; }

    /// <summary>The disk's bytes; meaningful for data only, the first <see cref="Length"/> bytes.</summary>
    public byte[] Plain { get; set; } = [];

    /// <summary>Room for the writer's encoded form, kept from chunk to chunk.</summary>
    public byte[] Encoded { get; set; } = [];

    /// <summary>Bytes used of <see cref="Encoded"/>; 0 when the plain bytes are to be stored.</summary>
    public int EncodedLength { get; set; }

    /// <summary>The writer's own: checksum of the plain bytes.</summary>
    public uint PlainChecksum { get; set; }

    /// <summary>The writer's own: checksum of the bytes that will be stored.</summary>
    public uint StoredChecksum { get; set; }
}

/// <summary>
/// Turns a disk that passes by into a container. The pump reads the source and calls <see cref="Encode"/> for the chunks on several threads
/// at once, in any order, then <see cref="Append"/> for the same chunks one at a time, in ascending order, so that together they cover the
/// disk exactly, then <see cref="Complete"/> once. If anything fails or is cancelled, <see cref="Complete"/> is never called and whoever
/// owns the file throws it away.
/// </summary>
internal abstract class ImageWriter : IDisposable
{
    /// <summary>Most bytes of data in a chunk, a multiple of 512.</summary>
    public abstract int ChunkSize { get; }

    /// <summary>Offsets, ascending, that no chunk may cross; chunks are cut at multiples of <see cref="ChunkSize"/> counted from the last
    /// one.</summary>
    public virtual IReadOnlyList<long> SplitPoints => [];

    /// <summary>Zero and unused ranges shorter than this are read as data: a container that pays for every run asks for longer
    /// ones.</summary>
    public virtual int ShortestGap => 512;

    /// <summary>The parallel part: compress, compute checksums, or, where order does not matter, write.</summary>
    /// <param name="chunk">The chunk; unused and zero ones come here too.</param>
    public abstract void Encode(DiskChunk chunk);

    /// <summary>The ordered part.</summary>
    /// <param name="chunk">The chunk, encoded.</param>
    public abstract void Append(DiskChunk chunk);

    /// <summary>
    /// Replaces a piece of data that was appended, after everything was appended and before <see cref="Complete"/>: the disk knew only at
    /// its end what has to stand there. One at a time.
    /// </summary>
    /// <param name="chunk">A chunk that was appended as data, with its new bytes; not encoded.</param>
    /// <param name="oldChecksum">What <see cref="DiskChunk.PlainChecksum"/> was when it was appended.</param>
    public virtual void Replace(DiskChunk chunk, uint oldChecksum) => throw new NotSupportedException("This writer appends only.");

    /// <summary>Writes what comes last (index, trailer) and flushes. Until then nothing may take the file for an image.</summary>
    public abstract void Complete();

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases what the writer owns; never the storage it was given.</summary>
    /// <param name="disposing">Always true.</param>
    protected virtual void Dispose(bool disposing)
    {
    }
}
