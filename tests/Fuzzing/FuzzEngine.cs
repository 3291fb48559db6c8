using System.Diagnostics;
using System.Security.Cryptography;

namespace CCImage.Fuzzing;

/// <summary>Runs a target with inputs that are changed from those that reached something new, and writes down what goes wrong.</summary>
/// <param name="name">The target's name.</param>
/// <param name="target">The target.</param>
/// <param name="folder">Seeds in the folder of the target's name; findings go to <c>findings</c>.</param>
/// <param name="seed">Number of the random sequence.</param>
internal sealed class FuzzEngine(string name, FuzzTarget target, string folder, int seed)
{
    private const int MostOfOneKind = 2;
    private static readonly TimeSpan s_mostTime = TimeSpan.FromSeconds(2), s_hang = TimeSpan.FromSeconds(20);
    private const long MostMemory = 100 << 20;

    private readonly Random _random = new(seed);
    private readonly Mutator _mutator = new(new Random(seed), target.Words);
    private readonly List<Sample> _samples = [];
    private readonly byte[] _seen = new byte[Coverage.Size];
    private readonly Dictionary<string, int> _findings = [];
    private readonly string _findingsFolder = Path.Combine(folder, "findings", name);
    private volatile Sample? _current;
    private long _startedAt, _runs;
    private int _blocks;

    /// <summary>Fuzzes for a time.</summary>
    /// <param name="time">How long.</param>
    /// <param name="quiet">How long without a new block ends it earlier.</param>
    /// <returns>Whether nothing was found.</returns>
    public bool Run(TimeSpan time, TimeSpan quiet)
    {
        Directory.CreateDirectory(_findingsFolder);
        new Thread(Watch) { IsBackground = true }.Start();
        var clock = Stopwatch.StartNew();
        foreach (byte[] input in target.Seeds().Concat(ReadSeeds())) Execute(new Sample(input, []), input, isSeed: true);
        if (_samples.Count == 0) throw new InvalidOperationException($"There are no seeds for '{name}'.");
        var works = new Dictionary<byte[], byte[]>(); // a copy of each disk, to change: copying large ones each time would take the time
        TimeSpan latest = clock.Elapsed;
        for (int blocks = _blocks; clock.Elapsed < time && clock.Elapsed - latest < quiet;)
        {
            if (_blocks > blocks) (blocks, latest) = (_blocks, clock.Elapsed);
            Sample parent = _random.Next(3) == 0 ? _samples[^(1 + _random.Next(Math.Min(_samples.Count, 20)))]
                : _samples[_random.Next(_samples.Count)];
            if (target.ChangesLength)
            {
                byte[] input = _mutator.Change(parent.ToArray(), _samples[_random.Next(_samples.Count)].ToArray());
                Execute(new Sample(input, []), input, isSeed: false);
                continue;
            }

            if (!works.TryGetValue(parent.Base, out byte[]? work)) works[parent.Base] = work = [.. parent.Base];
            ExecuteInPlace(parent, work);
        }

        Console.WriteLine($"{name}: {clock.Elapsed.TotalSeconds:F0} s (the latest new block after {latest.TotalSeconds:F0}), {_runs} runs, "
            + $"{_blocks} blocks, {_samples.Count} samples, {_findings.Count} kinds of finding");
        foreach ((string kind, int count) in _findings) Console.WriteLine($"   {count} x {kind}");
        return _findings.Count == 0;
    }

    // A disk stays as it is but for its changes, which are taken back.
    private void ExecuteInPlace(Sample parent, byte[] work)
    {
        foreach ((int at, byte[] bytes) in parent.Changes) bytes.CopyTo(work, at);
        List<(int At, byte[] Bytes)> changes = [.. parent.Changes, .. _mutator.ChangeInPlace(work, parent.Reads)];
        if (_random.Next(10) != 0)
        {
            foreach ((int at, byte[] bytes) in target.Mend(work, changes).ToArray())
            {
                bytes.CopyTo(work, at);
                changes.Add((at, bytes));
            }
        }

        Execute(new Sample(parent.Base, changes), work, isSeed: false);
        foreach ((int at, byte[] bytes) in changes) parent.Base.AsSpan(at, bytes.Length).CopyTo(work.AsSpan(at));
    }

    private void Execute(Sample sample, byte[] input, bool isSeed)
    {
        _runs++;
        _current = sample;
        Coverage.Counters.Clear();
        string? finding = null, detail = null;
        long allocated = GC.GetTotalAllocatedBytes();
        TimeSpan start = Environment.CpuUsage.TotalTime; // of the processor: other targets may run beside this one
        Volatile.Write(ref _startedAt, start.Ticks);
        try
        {
            sample.Reads = [.. target.Run(input).Where(r => r.Length is > 0 and <= 8192).Distinct().Take(2048)];
        }
        catch (ImageException e) when (FuzzTarget.Verdicts.Contains(e.Id))
        {
        }
        catch (Exception e)
        {
            (finding, detail) = (KindOf(e), e.ToString());
        }

        Volatile.Write(ref _startedAt, 0);
        TimeSpan taken = Environment.CpuUsage.TotalTime - start;
        allocated = GC.GetTotalAllocatedBytes() - allocated;
        if (finding is null && taken > s_mostTime && !isSeed) finding = detail = $"slow ({taken.TotalSeconds:F0} s)";
        if (finding is null && allocated > MostMemory && !isSeed) finding = detail = $"memory ({allocated >> 27} x 128 MB)";
        if (finding is not null) Report(sample, finding, detail!);
        if (isSeed || (LearnsSomething() && taken < s_mostTime / 2)) _samples.Add(sample);
    }

    private bool LearnsSomething()
    {
        bool isNew = false;
        Span<byte> counters = Coverage.Counters;
        for (int at = counters.IndexOfAnyExcept((byte)0); at >= 0; at++)
        {
            int more = counters[at..].IndexOfAnyExcept((byte)0);
            if (more < 0) break;
            at += more;
            byte class_ = counters[at] switch { 1 => 1, 2 => 2, 3 => 4, < 8 => 8, < 16 => 16, < 32 => 32, < 128 => 64, _ => 128 };
            if ((class_ & ~_seen[at]) == 0) continue;
            if (_seen[at] == 0) _blocks++;
            _seen[at] |= class_;
            isNew = true;
        }

        return isNew;
    }

    private void Report(Sample sample, string kind, string detail)
    {
        int count = _findings[kind] = _findings.GetValueOrDefault(kind) + 1;
        if (count > MostOfOneKind) return;
        byte[] input = sample.ToArray();
        string path = Path.Combine(_findingsFolder, Convert.ToHexString(SHA256.HashData(input))[..12]);
        File.WriteAllBytes(path, input);
        File.WriteAllText(path + ".txt", kind + "\n" + detail);
        Console.WriteLine($"{name}: {kind}: {path}");
    }

    private static string KindOf(Exception e)
    {
        IEnumerable<string> frames = new StackTrace(e).GetFrames().Select(f => f.GetMethod())
            .Where(m => m?.DeclaringType?.Assembly == typeof(ImageException).Assembly)
            .Take(2).Select(m => $"{m!.DeclaringType!.Name}.{m.Name}");
        return $"{e.GetType().Name} {(e is ContradictionException ? e.Message : e is ImageException image ? image.Id : "")} in "
            + $"{string.Join(" < ", frames)}";
    }

    private IEnumerable<byte[]> ReadSeeds()
    {
        string seeds = Path.Combine(folder, name);
        return Directory.Exists(seeds) ? Directory.GetFiles(seeds).Order(StringComparer.Ordinal).Select(File.ReadAllBytes) : [];
    }

    private void Watch()
    {
        while (true)
        {
            Thread.Sleep(500);
            long start = Volatile.Read(ref _startedAt);
            if (start == 0 || (Environment.CpuUsage.TotalTime.Ticks - start) < s_hang.Ticks) continue;
            Report(_current!, "hang", $"more than {s_hang.TotalSeconds} s");
            Environment.Exit(3);
        }
    }

    // A seed's bytes and what was changed in them.
    private sealed class Sample(byte[] bytes, List<(int At, byte[] Bytes)> changes)
    {
        public byte[] Base => bytes;

        public List<(int At, byte[] Bytes)> Changes => changes;

        public (int At, int Length)[] Reads { get; set; } = [];

        public byte[] ToArray()
        {
            byte[] result = [.. bytes];
            foreach ((int at, byte[] change) in changes) change.CopyTo(result, at);
            return result;
        }
    }
}
