using CCImage.Storage;

namespace CCImage.Fuzzing;

/// <summary>Bytes as a storage that remembers what was read, where changes then have an effect, and takes writes back.</summary>
/// <param name="bytes">The bytes.</param>
/// <param name="isWritable">Whether they can be written; until <see cref="Undo"/>.</param>
internal sealed class RecordingMemory(byte[] bytes, bool isWritable = false) : BlockStorage
{
    private const int MostReads = 4096;

    private readonly Lock _gate = new();
    private readonly List<(int At, int Length)> _reads = [];
    private readonly Stack<(int At, byte[] Old)> _undo = new();
    private long _length = bytes.Length;

    /// <inheritdoc/>
    public override long Length => _length;

    /// <inheritdoc/>
    public override bool CanWrite => isWritable;

    /// <inheritdoc/>
    /// <remarks>What is written behind the end is forgotten and reads as zeros.</remarks>
    public override bool CanGrow => isWritable;

    /// <summary>The ranges that were read, as far as they were counted.</summary>
    public (int At, int Length)[] Reads
    {
        get
        {
            lock (_gate) return [.. _reads];
        }
    }

    /// <summary>Takes all writes back.</summary>
    public void Undo()
    {
        while (_undo.TryPop(out (int At, byte[] Old) write)) write.Old.CopyTo(bytes, write.At);
        _length = bytes.Length;
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        int there = There(offset, buffer.Length);
        if (there > 0) bytes.AsSpan((int)offset, there).CopyTo(buffer);
        buffer[there..].Clear();
        lock (_gate)
            if (there > 0 && _reads.Count < MostReads) _reads.Add(((int)offset, there));
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        _length = Math.Max(_length, offset + buffer.Length);
        int there = There(offset, buffer.Length);
        if (there == 0) return;
        _undo.Push(((int)offset, bytes.AsSpan((int)offset, there).ToArray()));
        buffer[..there].CopyTo(bytes.AsSpan((int)offset));
    }

    private int There(long offset, int length) => (int)Math.Clamp(bytes.Length - offset, 0, length);
}
