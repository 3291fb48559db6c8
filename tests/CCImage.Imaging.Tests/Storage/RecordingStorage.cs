using CCImage.Storage;

namespace CCImage.Tests.Storage;

/// <summary>A disk in memory that keeps every write, by the flush that makes it durable: to cut a change in place anywhere.</summary>
/// <param name="before">What the disk holds; not changed.</param>
internal sealed class RecordingStorage(byte[] before) : BlockStorage
{
    private readonly byte[] _now = [.. before];
    private List<(long Offset, byte[] Bytes)> _epoch = [];
    private int _writes;

    /// <summary>The writes between two flushes each; what no flush followed is not among them.</summary>
    public List<List<(long Offset, byte[] Bytes)>> Epochs { get; } = [];

    /// <summary>Cancelled at the write <see cref="CancelAtWrite"/>.</summary>
    public CancellationTokenSource Cancellation { get; } = new();

    /// <summary>Counted from 1; 0 for never.</summary>
    public int CancelAtWrite { get; set; }

    public override long Length => _now.Length;

    public override bool CanWrite => true;

    public byte[] ToArray() => [.. _now];

    public override void Flush()
    {
        if (_epoch.Count > 0) Epochs.Add(_epoch);
        _epoch = [];
    }

    /// <summary>
    /// Every state the disk may be found in: each prefix of the writes; for each of them, what a loss of some of the writes since the last flush, or another
    /// order of them, leaves; and each write torn behind its first sector.
    /// </summary>
    /// <param name="seed">Of what is lost.</param>
    /// <param name="most">Writes between two flushes of which every one is taken; of more, samples.</param>
    /// <returns>The states; whether one is durable: nothing of it can be lost.</returns>
    public IEnumerable<(byte[] State, bool IsDurable)> StatesOf(int seed, int most = int.MaxValue)
    {
        var random = new Random(seed);
        byte[] durable = [.. before];
        foreach (List<(long Offset, byte[] Bytes)> epoch in Epochs)
        {
            int step = Math.Max(1, epoch.Count / most);
            byte[] prefix = [.. durable];
            for (int i = 0; i < epoch.Count; i++)
            {
                Apply(prefix, epoch[i].Offset, epoch[i].Bytes);
                if (i % step != 0) continue;
                yield return ([.. prefix], false);
                byte[] state = [.. durable];
                foreach ((long offset, byte[] bytes) in epoch.Take(i + 1).Where(_ => random.Next(2) == 0).OrderBy(_ => random.Next())) Apply(state, offset, bytes);
                yield return (state, false);
                if (epoch[i].Bytes.Length <= 512) continue;
                state = [.. durable];
                Apply(state, epoch[i].Offset, epoch[i].Bytes.AsSpan(0, 512));
                yield return (state, false);
            }

            durable = prefix;
            yield return ([.. durable], true);
        }
    }

    protected override void ReadCore(long offset, Span<byte> buffer) => _now.AsSpan((int)offset, buffer.Length).CopyTo(buffer);

    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        if (++_writes == CancelAtWrite) Cancellation.Cancel();
        _epoch.Add((offset, buffer.ToArray()));
        buffer.CopyTo(_now.AsSpan((int)offset));
    }

    private static void Apply(byte[] disk, long offset, ReadOnlySpan<byte> bytes) => bytes.CopyTo(disk.AsSpan((int)offset));
}
