using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>A fork of a file (or a B-tree, or an attribute's value), read through the runs of the volume that hold it.</summary>
internal sealed class ForkStorage : BlockStorage
{
    /// <summary>The offset of a run that is stored nowhere and reads as zeros. A fork with such runs cannot be written.</summary>
    public const long Hole = -1;

    private readonly BlockStorage _volume;
    private readonly long[] _starts; // of the runs, in bytes of the fork
    private readonly long[] _offsets; // of the runs, in bytes of the volume, or Hole

    /// <summary>Opens a fork.</summary>
    /// <param name="volume">The volume; not owned.</param>
    /// <param name="length">Bytes of the fork; the runs hold at least as many.</param>
    /// <param name="runs">Where its bytes lie in the volume (offset and length in bytes), in the order of the fork.</param>
    public ForkStorage(BlockStorage volume, long length, IReadOnlyList<(long Offset, long Length)> runs)
    {
        (_volume, Length) = (volume, length);
        (_starts, _offsets) = (new long[runs.Count], new long[runs.Count]);
        long start = 0;
        for (int i = 0; i < runs.Count; i++)
        {
            (_starts[i], _offsets[i]) = (start, runs[i].Offset);
            start += runs[i].Length;
        }
    }

    /// <inheritdoc/>
    public override long Length { get; }

    /// <inheritdoc/>
    public override bool CanWrite => _volume.CanWrite && !_offsets.Contains(Hole);

    /// <inheritdoc/>
    public override void Flush() => _volume.Flush();

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        for (int run = FindRun(offset); !buffer.IsEmpty; run++)
        {
            int count = (int)Math.Min(buffer.Length, EndOf(run) - offset);
            if (_offsets[run] == Hole) buffer[..count].Clear();
            else _volume.Read(_offsets[run] + offset - _starts[run], buffer[..count]);
            buffer = buffer[count..];
            offset += count;
        }
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        for (int run = FindRun(offset); !buffer.IsEmpty; run++)
        {
            int count = (int)Math.Min(buffer.Length, EndOf(run) - offset);
            _volume.Write(_offsets[run] + offset - _starts[run], buffer[..count]);
            buffer = buffer[count..];
            offset += count;
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        for (int run = FindRun(offset); length > 0; run++)
        {
            long count = Math.Min(length, EndOf(run) - offset);
            long shift = _starts[run] - _offsets[run];
            if (_offsets[run] == Hole) yield return new(offset, count, ExtentKind.Zero);
            else
            {
                foreach (StorageExtent extent in _volume.GetExtents(offset - shift, count))
                    yield return extent with { Offset = extent.Offset + shift };
            }

            offset += count;
            length -= count;
        }
    }

    private long EndOf(int run) => run + 1 < _starts.Length ? _starts[run + 1] : Length;

    private int FindRun(long offset)
    {
        int found = Array.BinarySearch(_starts, offset);
        return found >= 0 ? found : ~found - 1;
    }
}
