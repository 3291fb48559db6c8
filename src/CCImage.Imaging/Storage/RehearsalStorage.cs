namespace CCImage.Storage;

/// <summary>
/// Another storage to which writes do not go: they are kept, sector by sector, and read again. So it can be asked beforehand whether a
/// sequence of writes would change anything in the end. For small writes: all are held in memory.
/// </summary>
/// <param name="inner">The storage behind it; stays the caller's.</param>
internal sealed class RehearsalStorage(BlockStorage inner) : BlockStorage
{
    private const int SectorSize = 512;
    private readonly Dictionary<long, byte[]> _written = [];

    /// <inheritdoc/>
    public override long Length => inner.Length;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <summary>Whether what was written differs from what the storage has.</summary>
    public bool HasChanges
    {
        get
        {
            byte[] now = new byte[SectorSize];
            foreach ((long sector, byte[] bytes) in _written)
            {
                inner.Read(sector * SectorSize, now.AsSpan(0, bytes.Length));
                if (!now.AsSpan(0, bytes.Length).SequenceEqual(bytes)) return true;
            }

            return false;
        }
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        for (int done = 0; done < buffer.Length;)
        {
            (long sector, int start, int count) = Part(offset + done, buffer.Length - done);
            Span<byte> part = buffer.Slice(done, count);
            if (_written.TryGetValue(sector, out byte[]? bytes)) bytes.AsSpan(start, count).CopyTo(part);
            else inner.Read(offset + done, part);
            done += count;
        }
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        for (int done = 0; done < buffer.Length;)
        {
            (long sector, int start, int count) = Part(offset + done, buffer.Length - done);
            if (!_written.TryGetValue(sector, out byte[]? bytes))
            {
                _written[sector] = bytes = new byte[(int)Math.Min(SectorSize, Length - (sector * SectorSize))];
                inner.Read(sector * SectorSize, bytes);
            }

            buffer.Slice(done, count).CopyTo(bytes.AsSpan(start));
            done += count;
        }
    }

    private static (long Sector, int Start, int Count) Part(long offset, int length)
    {
        (long sector, long start) = Math.DivRem(offset, SectorSize);
        return (sector, (int)start, (int)Math.Min(length, SectorSize - start));
    }
}
