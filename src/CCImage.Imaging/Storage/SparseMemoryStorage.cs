using System.Collections.Concurrent;

namespace CCImage.Storage;

/// <summary>A writable disk of fixed length in memory that takes room only where something other than zeros was written: for huge disks in
/// tests and plans.</summary>
/// <param name="length">Bytes.</param>
/// <param name="pageSize">Bytes that are kept together.</param>
internal sealed class SparseMemoryStorage(long length, int pageSize = 1 << 16) : BlockStorage
{
    private readonly ConcurrentDictionary<long, byte[]> _pages = new();

    /// <inheritdoc/>
    public override long Length => length;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <summary>Bytes of memory that the pages take.</summary>
    public long StoredBytes => (long)_pages.Count * pageSize;

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (long page, long within) = Math.DivRem(offset, pageSize);
            int count = (int)Math.Min(buffer.Length, pageSize - within);
            if (_pages.TryGetValue(page, out byte[]? bytes)) bytes.AsSpan((int)within, count).CopyTo(buffer);
            else buffer[..count].Clear();
            buffer = buffer[count..];
            offset += count;
        }
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (long page, long within) = Math.DivRem(offset, pageSize);
            int count = (int)Math.Min(buffer.Length, pageSize - within);
            ReadOnlySpan<byte> part = buffer[..count];
            if (part.ContainsAnyExcept((byte)0) || _pages.ContainsKey(page))
                part.CopyTo(_pages.GetOrAdd(page, static (_, size) => new byte[size], pageSize).AsSpan((int)within));
            buffer = buffer[count..];
            offset += count;
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        long at = offset, end = offset + length;
        foreach (long page in _pages.Keys.Order().ToArray())
        {
            long start = page * pageSize;
            long from = Math.Max(at, start), to = end - start <= pageSize ? end : start + pageSize;
            if (to <= from) continue;
            if (from > at) yield return new(at, from - at, ExtentKind.Zero);
            yield return new(from, to - from, ExtentKind.Data);
            at = to;
        }

        if (at < end) yield return new(at, end - at, ExtentKind.Zero);
    }
}
