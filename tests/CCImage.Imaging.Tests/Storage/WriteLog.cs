using CCImage.Storage;

namespace CCImage.Tests.Storage;

/// <summary>
/// A disk or a file in memory that remembers every write, flush and cut made to it, and shows the states that a loss of power at any moment
/// could leave.
/// </summary>
/// <param name="before">What it holds; not changed.</param>
/// <param name="canGrow">Whether it is a file, which a write behind the end makes longer.</param>
internal sealed class WriteLog(byte[] before, bool canGrow = false) : BlockStorage
{
    private readonly List<(long Offset, byte[] Bytes)> _steps = []; // a flush has the offset -1, a cut -2 - length
    private byte[] _now = [.. before];

    /// <summary>The writes, each with the number of flushes before it.</summary>
    public List<(long Offset, byte[] Bytes, int FlushesBefore)> Writes { get; } = [];

    public int Flushes { get; private set; }

    /// <summary>The writes between two flushes each; what no flush followed is not among them.</summary>
    public List<List<(long Offset, byte[] Bytes)>> Epochs =>
        [.. Writes.Where(w => w.FlushesBefore < Flushes).GroupBy(w => w.FlushesBefore)
            .Select(g => g.Select(w => (w.Offset, w.Bytes)).ToList())];

    /// <summary>Cancelled at the write <see cref="CancelAtWrite"/>.</summary>
    public CancellationTokenSource Cancellation { get; } = new();

    /// <summary>Counted from 1; 0 for never.</summary>
    public int CancelAtWrite { get; set; }

    public override long Length => _now.Length;

    public override bool CanWrite => true;

    public override bool CanGrow => canGrow;

    public byte[] Now => [.. _now];

    public override void Flush()
    {
        _steps.Add((-1, []));
        Flushes++;
    }

    public void Cut(long length)
    {
        _steps.Add((-2 - length, []));
        _now = _now[..(int)length];
    }

    /// <summary>What is there after so many writes, and so many bytes of the next one. Without cuts.</summary>
    public byte[] After(int writes, int bytesOfTheNext = 0)
    {
        byte[] result = [.. before];
        foreach ((long offset, byte[] bytes, _) in Writes.Take(writes)) bytes.CopyTo(result, offset);
        if (bytesOfTheNext > 0) Writes[writes].Bytes.AsSpan(0, bytesOfTheNext).CopyTo(result.AsSpan((int)Writes[writes].Offset));
        return result;
    }

    /// <summary>
    /// After every step: what was written so far; what was flushed and this step alone; what was flushed and all after it but the first
    /// step; and the step torn after each of its sectors.
    /// </summary>
    public IEnumerable<(string Name, byte[] Bytes)> States()
    {
        int flushed = 0;
        for (int i = 0; i < _steps.Count; i++)
        {
            if (_steps[i].Offset == -1)
            {
                flushed = i + 1;
                continue;
            }

            yield return ($"up to step {i}", AfterSteps(Enumerable.Range(0, i + 1)));
            if (i > flushed)
            {
                yield return ($"flushed steps and {i}", AfterSteps(Enumerable.Range(0, flushed).Append(i)));
                yield return ($"up to step {i} without {flushed}", AfterSteps(Enumerable.Range(0, i + 1).Where(s => s != flushed)));
            }

            int sectors = (_steps[i].Bytes.Length + 511) / 512;
            foreach (int sector in new[] { 1, sectors / 2, sectors - 1 }.Distinct().Where(s => s > 0 && s < sectors))
                yield return ($"step {i} torn after {sector} sectors", AfterSteps(Enumerable.Range(0, i).Append(i), sector * 512));
        }
    }

    /// <summary>
    /// A sample of a disk's states: each prefix of the writes; for each of them, what a loss of some of the writes since the last flush, or
    /// another order of them, leaves; and each write torn behind its first sector.
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
                foreach ((long offset, byte[] bytes) in epoch.Take(i + 1).Where(_ => random.Next(2) == 0).OrderBy(_ => random.Next()))
                    Apply(state, offset, bytes);
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
        byte[] bytes = buffer.ToArray();
        _steps.Add((offset, bytes));
        Writes.Add((offset, bytes, Flushes));
        if (Writes.Count == CancelAtWrite) Cancellation.Cancel();
        if (offset + buffer.Length > _now.Length) Array.Resize(ref _now, (int)offset + buffer.Length);
        Apply(_now, offset, bytes);
    }

    private static void Apply(byte[] disk, long offset, ReadOnlySpan<byte> bytes) => bytes.CopyTo(disk.AsSpan((int)offset));

    private byte[] AfterSteps(IEnumerable<int> steps, int ofTheLast = int.MaxValue)
    {
        byte[] bytes = [.. before];
        int last = steps.Max();
        foreach (int i in steps)
        {
            (long offset, byte[] written) = _steps[i];
            if (offset == -1) continue;
            if (offset < 0)
            {
                Array.Resize(ref bytes, (int)(-2 - offset));
                continue;
            }

            if (i == last) written = written[..Math.Min(ofTheLast, written.Length)];
            if (offset + written.Length > bytes.Length) Array.Resize(ref bytes, (int)offset + written.Length);
            written.CopyTo(bytes, offset);
        }

        return bytes;
    }
}
