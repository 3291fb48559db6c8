using CCImage.Storage;

namespace CCImage.Tests.Storage;

/// <summary>
/// A file in memory that remembers every write, flush and cut made to it, and shows the states that a loss of power at any moment could leave.
/// </summary>
internal sealed class WriteLog : BlockStorage
{
    private readonly byte[] _before;
    private readonly List<(long Offset, byte[] Bytes)> _steps = []; // a flush has the offset -1, a cut -2 - length
    private byte[] _now;

    public WriteLog(byte[] before) => (_before, _now) = (before, [.. before]);

    public override long Length => _now.Length;

    public override bool CanWrite => true;

    public override bool CanGrow => true;

    public int Count => _steps.Count;

    public byte[] Now => [.. _now];

    public override void Flush() => _steps.Add((-1, []));

    public void Cut(long length)
    {
        _steps.Add((-2 - length, []));
        _now = _now[..(int)length];
    }

    /// <summary>
    /// After every step: what was written so far; what was flushed and this step alone; what was flushed and all after it but the first step; and
    /// the step torn after each of its sectors.
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

            yield return ($"up to step {i}", After(Enumerable.Range(0, i + 1)));
            if (i > flushed)
            {
                yield return ($"flushed steps and {i}", After(Enumerable.Range(0, flushed).Append(i)));
                yield return ($"up to step {i} without {flushed}", After(Enumerable.Range(0, i + 1).Where(s => s != flushed)));
            }

            int sectors = (_steps[i].Bytes.Length + 511) / 512;
            foreach (int sector in new[] { 1, sectors / 2, sectors - 1 }.Distinct().Where(s => s > 0 && s < sectors))
                yield return ($"step {i} torn after {sector} sectors", After(Enumerable.Range(0, i).Append(i), sector * 512));
        }
    }

    protected override void ReadCore(long offset, Span<byte> buffer) => _now.AsSpan((int)offset, buffer.Length).CopyTo(buffer);

    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        _steps.Add((offset, buffer.ToArray()));
        if (offset + buffer.Length > _now.Length) Array.Resize(ref _now, (int)offset + buffer.Length);
        buffer.CopyTo(_now.AsSpan((int)offset));
    }

    private byte[] After(IEnumerable<int> steps, int ofTheLast = int.MaxValue)
    {
        byte[] bytes = [.. _before];
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
