namespace CCImage.Containers.Udif;

/// <summary>
/// The decoded runs that were read last, up to a number of bytes (and never fewer than one). Buffers of those that leave serve the next:
/// who reads a whole disk beside its runs would make garbage of the size of the disk.
/// </summary>
/// <param name="capacity">Bytes of runs to keep.</param>
internal sealed class DecodedRunCache(long capacity)
{
    private const int MostSpare = 8;

    private readonly Lock _lock = new();
    private readonly Dictionary<RunKey, LinkedListNode<Entry>> _entries = [];
    private readonly LinkedList<Entry> _byAge = new(); // the latest first
    private readonly List<byte[]> _spare = [];
    private long _size, _spareSize;

    /// <summary>The entry of a run, not decoded at first: whoever holds the entry's lock does that. Must be released.</summary>
    /// <param name="run">The run. Runs that share what is stored share the entry.</param>
    public Entry Take(in UdifRun run)
    {
        var key = new RunKey(run.Type, run.StoredOffset, run.StoredLength, run.Length);
        int length = (int)run.Length;
        lock (_lock)
        {
            if (_entries.TryGetValue(key, out LinkedListNode<Entry>? node))
            {
                _byAge.Remove(node);
                _byAge.AddFirst(node);
                node.Value.Users++;
                return node.Value;
            }

            while (_size > 0 && _size + length > capacity) Evict();
            node = _byAge.AddFirst(new Entry(key, length, BufferFor(length)) { Users = 1, IsCached = true });
            _entries.Add(key, node);
            _size += length;
            return node.Value;
        }
    }

    /// <summary>Nobody reads the entry's bytes after this on the caller's behalf.</summary>
    /// <param name="entry">What was taken.</param>
    public void Release(Entry entry)
    {
        lock (_lock)
        {
            if (--entry.Users == 0 && !entry.IsCached) Spare(entry);
        }
    }

    private void Evict()
    {
        Entry oldest = _byAge.Last!.Value;
        _byAge.RemoveLast();
        _entries.Remove(oldest.Key);
        _size -= oldest.Length;
        oldest.IsCached = false;
        if (oldest.Users == 0) Spare(oldest);
    }

    private void Spare(Entry entry)
    {
        _spare.Add(entry.Buffer);
        _spareSize += entry.Buffer.Length;
        while (_spare.Count > MostSpare || _spareSize > capacity)
        {
            _spareSize -= _spare[0].Length;
            _spare.RemoveAt(0);
        }
    }

    // Runs of an image have one length, but for the last of a partition.
    private byte[] BufferFor(int length)
    {
        int fitting = _spare.FindLastIndex(b => b.Length >= length && b.Length / 2 <= length);
        if (fitting < 0) return GC.AllocateUninitializedArray<byte>(length);
        byte[] buffer = _spare[fitting];
        _spare.RemoveAt(fitting);
        _spareSize -= buffer.Length;
        return buffer;
    }

    /// <summary>What is stored of a run, and what it is decoded to.</summary>
    public readonly record struct RunKey(UdifRunType Type, long StoredOffset, long StoredLength, long Length);

    /// <summary>A run.</summary>
    /// <param name="key">What it is.</param>
    /// <param name="length">Its bytes when decoded.</param>
    /// <param name="buffer">Room for them, or more.</param>
    public sealed class Entry(RunKey key, int length, byte[] buffer)
    {
        /// <summary>What it is.</summary>
        public RunKey Key => key;

        /// <summary>Its bytes when decoded.</summary>
        public int Length => length;

        /// <summary>What holds them.</summary>
        public byte[] Buffer => buffer;

        /// <summary>Its bytes, once <see cref="IsDecoded"/>.</summary>
        public Span<byte> Bytes => buffer.AsSpan(0, length);

        /// <summary>Whether somebody decoded it: guarded by the entry's own lock, what follows by the cache's.</summary>
        public bool IsDecoded { get; set; }

        /// <summary>Whether the cache still has it.</summary>
        public bool IsCached { get; set; }

        /// <summary>How many took and did not yet release it.</summary>
        public int Users { get; set; }
    }
}
