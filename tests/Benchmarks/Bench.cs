using System.Diagnostics;
using System.Globalization;

namespace CCImage.Benchmarks;

/// <summary>One run.</summary>
/// <param name="Seconds">From start to end of the process.</param>
/// <param name="OutputBytes">What it made.</param>
/// <param name="PeakBytes">Most memory it had; 0 for a peer.</param>
/// <param name="ProcessorSeconds">User and system time.</param>
/// <param name="JobSeconds">Of ours: without the start of the runtime.</param>
internal sealed record Measurement(double Seconds, long OutputBytes, long PeakBytes, double ProcessorSeconds, double JobSeconds);

/// <summary>Measures and prints. A row whose peer is absent has only our side.</summary>
/// <param name="folder">Holds samples and results.</param>
/// <param name="only">The one group of rows to measure; null for all.</param>
internal sealed class Bench(string folder, string? only)
{
    private const int Rounds = 5;
    private readonly List<string> _rows = [];

    public int Run()
    {
        Directory.CreateDirectory(folder);
        string tree = Path.Combine(folder, "tree");
        string disk = Path.Combine(folder, "disk.img");
        string output = Path.Combine(folder, "out");
        SampleTree.Make(tree, 20_000, 2L << 30);
        Directory.CreateDirectory(output);
        Warm(tree);

        Compare("bundle", "New-BackupImage SparseBundle", "cp -a", "<= 1.0 (stretch 0.7)",
            Ours("new", "SparseBundle", "-", tree, Path.Combine(output, "t.sparsebundle")),
            Shell($"cp -a '{tree}' '{output}/copy'", Path.Combine(output, "copy"), "cp"));
        Compare("udzo", "New-BackupImage ReadOnlyZlib", "tar | pigz -1 -p 2", "<= 0.75, no larger",
            Ours("new", "ReadOnlyZlib", "-", tree, Path.Combine(output, "t.dmg")),
            Shell($"tar -C '{tree}' -cf - . | pigz -1 -p 2 > '{output}/t.tgz'", Path.Combine(output, "t.tgz"), "pigz"));

        Compare("encrypted", "UDZO, AES-256", "UDZO, plain", "<= 1.15",
            Ours("encrypted", "ReadOnlyZlib", tree, Path.Combine(output, "e.dmg")),
            Ours("new", "ReadOnlyZlib", "-", tree, Path.Combine(output, "p.dmg")));
        Compare("encrypted", "bundle, AES-256", "bundle, plain", "<= 1.40",
            Ours("encrypted", "SparseBundle", tree, Path.Combine(output, "e.sparsebundle")),
            Ours("new", "SparseBundle", "-", tree, Path.Combine(output, "p.sparsebundle")));
        CompareLayer();

        if (only is null or "convert-dmg" or "convert-pigz" or "decode" or "lzfse" or "test")
        {
            // A read/write image of a gigabyte: a volume whose files are half text-like, half random.
            string smaller = Path.Combine(folder, "tree1g");
            SampleTree.Make(smaller, 2_000, 1L << 30);
            if (!File.Exists(disk)) RunSelf("new", "ReadWrite", "-", smaller, disk);
        }

        // That peer takes a bare volume only, and crashes on a disk with a partition map. A fork of it writes bzip2, which is no peer for
        // zlib.
        string volume = Path.Combine(folder, "volume.img");
        if (only is null or "convert-dmg") CopyVolume(disk, volume);
        Warm(volume);
        Compare("convert-dmg", "ConvertTo raw volume -> UDZO", "libdmg-hfsplus dmg build", "<= 1/3.4, no larger",
            Ours("convert", "ReadOnlyZlib", "-", volume, Path.Combine(output, "c.dmg")),
            Shell($"dmg build '{volume}' '{output}/peer.dmg'", Path.Combine(output, "peer.dmg"), "dmg"));
        Warm(disk);
        Compare("convert-pigz", "ConvertTo raw -> UDZO", "pigz -p 2", "<= 1/1.3, no larger",
            Ours("convert", "ReadOnlyZlib", "-", disk, Path.Combine(output, "c.dmg")),
            Shell($"pigz -p 2 -c '{disk}' > '{output}/peer.gz'", Path.Combine(output, "peer.gz"), "pigz"));
        CompareReading(disk, output);
        CompareInspection(output);
        CompareSpace(output);
        Import();

        Console.WriteLine();
        Console.WriteLine(
            "| work | peer | ours s | peer s | ratio | target | ours MB | peer MB | our peak MB | our cpu s | peer cpu s | our job s |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|---|---|---|---|");
        foreach (string row in _rows) Console.WriteLine(row);
        Directory.Delete(output, true);
        return 0;
    }

    // Our images have 40 sectors of map before the volume and 40 behind it.
    private static void CopyVolume(string disk, string volume)
    {
        const int MapBytes = 40 * 512;
        using FileStream source = File.OpenRead(disk);
        using FileStream target = File.Create(volume);
        source.Position = MapBytes;
        source.CopyTo(target);
        target.SetLength(source.Length - (2 * MapBytes));
    }

    private static void Warm(string path)
    {
        byte[] buffer = new byte[1 << 20];
        IEnumerable<string> files = Directory.Exists(path) ? Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories)
            : File.Exists(path) ? [path] : [];
        foreach (string file in files)
        {
            using FileStream stream = File.OpenRead(file);
            while (stream.Read(buffer) > 0)
            {
            }
        }
    }

    private void Compare(string name, string work, string peer, string target, Func<Measurement?> ours, Func<Measurement?> theirs)
    {
        if (only is not null && only != name) return;
        var mine = new List<Measurement>();
        var other = new List<Measurement>();
        for (int i = 0; i < Rounds; i++)
        {
            // Turn about, so that a slow minute of the machine falls on both.
            if (theirs() is { } t) other.Add(t);
            if (ours() is { } o) mine.Add(o);
        }

        Measurement? m = Median(mine);
        Measurement? p = Median(other);
        _rows.Add(string.Create(
            CultureInfo.InvariantCulture,
            $"| {work} | {peer}{(p is null ? " (absent)" : "")} | {m?.Seconds:F2} | {p?.Seconds:F2} | {(m?.Seconds / p?.Seconds):F2} | "
                + $"{target} | {m?.OutputBytes / 1e6:F1} | {p?.OutputBytes / 1e6:F1} | {m?.PeakBytes / 1e6:F0} | {m?.ProcessorSeconds:F2} "
                + $"| {p?.ProcessorSeconds:F2} | {m?.JobSeconds:F2} |"));
        Console.WriteLine(_rows[^1]);
    }

    // What is decoded is written to the medium by both: ours flush what they make, so "sync" stands behind the peers.
    private void CompareReading(string disk, string output)
    {
        string zlib = Path.Combine(output, "disk-udzo.dmg"), lzfse = Path.Combine(output, "disk-ulfo.dmg"),
            raw = Path.Combine(output, "disk-udro.dmg");
        if (only is null or "decode") RunSelf("convert", "ReadOnlyZlib", "-", disk, zlib);
        Func<Measurement?> qemu =
            Shell($"qemu-img convert -f dmg -O raw '{zlib}' '{output}/q.img' 2>&1 && sync '{output}/q.img'", Path.Combine(output, "q.img"),
                "qemu-img");
        Compare("decode", "UDZO -> UDRO, free space kept", "qemu-img convert, sync", "<= 1/1.8",
            Ours("restore-disk", zlib, Path.Combine(output, "d.dmg")), qemu);
        Compare("decode", "UDZO -> UDRO, in a session", "qemu-img convert, sync", "<= 1/1.8",
            InSession("restore-disk", zlib, Path.Combine(output, "d.dmg")), qemu);
        Compare("decode", "UDZO -> raw (core)", "qemu-img convert, sync", "<= 1/1.8", Ours("raw", zlib, Path.Combine(output, "d.img")),
            qemu);
        Compare("decode", "UDZO -> raw (core)", "7zz x -tdmg, sync", "<= 1/1.8",
            Ours("raw", zlib, Path.Combine(output, "d.img")),
            Shell($"7zz x -tdmg -y '-o{output}/7' '{zlib}' && sync '{output}'/7/*", Path.Combine(output, "7"), "7zz"));
        Compare("decode", "Test-BackupImage of UDZO", "7zz t -tdmg", "", Tests(zlib), Shell($"7zz t -tdmg '{zlib}'", null, "7zz"));

        Compare("lzfse", "ConvertTo raw -> ULFO", "lzfse -encode, sync", "<= 1/1.5, within 2 %",
            Ours("convert", "ReadOnlyLzfse", "-", disk, Path.Combine(output, "l.dmg")),
            Shell($"lzfse -encode -i '{disk}' -o '{output}/l.lzfse' && sync '{output}/l.lzfse'", Path.Combine(output, "l.lzfse"), "lzfse"));
        if (only is null or "lzfse")
        {
            RunSelf("convert", "ReadOnlyLzfse", "-", disk, lzfse);
            if (OnPath("lzfse")) Capture("lzfse", "-encode", "-i", disk, "-o", lzfse + ".lzfse");
        }

        Compare("lzfse", "ULFO -> raw (core)", "lzfse -decode, sync", "<= 1/1.5",
            Ours("raw", lzfse, Path.Combine(output, "d.img")),
            Shell($"lzfse -decode -i '{lzfse}.lzfse' -o '{output}/l.img' && sync '{output}/l.img'", Path.Combine(output, "l.img"),
            "lzfse"));

        if (only is null or "test") RunSelf("convert", "ReadOnly", "-", disk, raw);
        Warm(raw);
        Compare("test", "Test-BackupImage of UDRO", "cat > /dev/null", "", Tests(raw), Shell($"cat '{raw}' > /dev/null", null, "cat"));
        Compare("test", "Test-BackupImage of UDRO, in a session", "cat > /dev/null", "<= 1/0.7", InSession("test", raw),
            Shell($"cat '{raw}' > /dev/null", null, "cat"));
        foreach (string path in new[] { zlib, lzfse, lzfse + ".lzfse", raw }) File.Delete(path);
    }

    // A limit instead of a peer; the time of the job, as a session of PowerShell has started the runtime long ago.
    private void CompareInspection(string output)
    {
        if (only is not null and not "inspect") return;
        string bundle = Path.Combine(output, "wide.sparsebundle");
        RunSelf("wide-bundle", Directory.CreateDirectory(Path.Combine(output, "empty")).FullName, bundle);
        Limit($"Get-BackupImage, 10 TB, {WideBundle.Bands} bands", "job < 0.30, < 100 MB", _ => RunSelf("inspect", bundle));
        Directory.Delete(bundle, true);
    }

    // Limits again. Bands that are removed are gone: every round has a bundle of its own.
    private void CompareSpace(string output)
    {
        if (only is not null and not "space") return;
        string bundle = Path.Combine(output, "space.sparsebundle"), source = Path.Combine(output, "holes"),
            empty = Directory.CreateDirectory(Path.Combine(output, "empty")).FullName;
        Limit("Compress-BackupImage, 1 TB, 100 GB stored, half free", "job < 10", _ =>
        {
            if (Directory.Exists(bundle)) Directory.Delete(bundle, true);
            RunSelf("half-free-bundle", Directory.CreateDirectory(source).FullName, bundle);
            return RunSelf("compact", bundle);
        });
        Directory.Delete(source, true);
        Directory.Delete(bundle, true);
        RunSelf("new-of", "10000000000000", empty, bundle);
        Limit("Resize-BackupImage, 10 TB to 5 TB", "job < 1", round =>
        {
            if (round > 0) RunSelf("resize", bundle, "10000000000000");
            return RunSelf("resize", bundle, "5000000000000");
        });
        Limit("Resize-BackupImage, 5 TB to 10 TB", "job < 1", round =>
        {
            if (round > 0) RunSelf("resize", bundle, "5000000000000");
            return RunSelf("resize", bundle, "10000000000000");
        });
        Directory.Delete(bundle, true);
    }

    private void Limit(string work, string target, Func<int, Measurement> measure)
    {
        Measurement m = Median([.. Enumerable.Range(0, Rounds).Select(measure)])!;
        _rows.Add(string.Create(
            CultureInfo.InvariantCulture,
            $"| {work} | a limit | {m.Seconds:F2} | | | {target} | | | {m.PeakBytes / 1e6:F0} | {m.ProcessorSeconds:F2} | | "
                + $"{m.JobSeconds:F2} |"));
        Console.WriteLine(_rows[^1]);
    }

    // One core each: bytes per second of the encrypted layer over memory, and of openssl.
    private void CompareLayer()
    {
        if (only is not null and not "encrypted") return;
        foreach (string bits in new[] { "128", "256" })
        {
            string ours = Capture(Environment.ProcessPath!, "--job", "layer", bits);
            string peer = OnPath("openssl")
                ? Capture("openssl", "speed", "-evp", $"aes-{bits}-cbc", "-bytes", "1048576", "-seconds", "2", "-mr") : "";
            string peerRate = peer.Split('\n').LastOrDefault(l => l.StartsWith("+F:", StringComparison.Ordinal))?.Split(':')[^1] ?? "";
            double? peerMegabytes = double.TryParse(peerRate, CultureInfo.InvariantCulture, out double rate) ? rate / 1e6 : null;
            _rows.Add(string.Create(CultureInfo.InvariantCulture, $"| encrypted layer, AES-{bits}, MB/s | openssl speed aes-{bits}-cbc | "
                + $"{ours.Trim()} | {peerMegabytes:F0} | | encrypt >= 1.0, decrypt >= 1.5 | | | | | | |"));
            Console.WriteLine(_rows[^1]);
        }
    }

    private static string Capture(string program, params string[] arguments)
    {
        using Process process =
            Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        error.Wait();
        return text;
    }

    private void Import()
    {
        if (only is not null and not "import") return;
        string? manifest = FindUpwards("CCImage.psd1");
        if (manifest is null || !OnPath("pwsh")) return;
        var bare = new List<Measurement>();
        var with = new List<Measurement>();
        for (int i = 0; i < Rounds; i++)
        {
            bare.Add(Time("pwsh", null, "-NoProfile", "-NonInteractive", "-Command", "exit"));
            with.Add(Time("pwsh", null, "-NoProfile", "-NonInteractive", "-Command", $"Import-Module '{manifest}'"));
        }

        (Measurement b, Measurement w) = (Median(bare)!, Median(with)!);
        _rows.Add(string.Create(CultureInfo.InvariantCulture, $"| Import-Module | empty pwsh | {w.Seconds:F3} | {b.Seconds:F3} | "
            + $"+{(w.Seconds - b.Seconds) * 1000:F0} ms | < 150 ms more | | | | | | |"));
    }

    private static Func<Measurement?> Ours(params string[] job) => () =>
    {
        string result = job[^1];
        Delete(result);
        return RunSelf(job) with { OutputBytes = SizeOf(result) };
    };

    private static Func<Measurement?> Tests(string image) => () => RunSelf("test", image);

    // Without the start of the runtime and the compilation of the code, which a session of PowerShell pays for once.
    private static Func<Measurement?> InSession(params string[] job) => () =>
    {
        Measurement m = RunSelf(["in-session", .. job]);
        return m with { Seconds = m.JobSeconds, OutputBytes = job[0] == "test" ? 0 : SizeOf(job[^1]) };
    };

    private static Measurement RunSelf(params string[] job) => Time(Environment.ProcessPath!, null, ["--job", .. job]);

    // Without a result it only reads.
    private static Func<Measurement?> Shell(string command, string? result, string tool) => () =>
    {
        if (!OnPath(tool)) return null;
        if (result is not null) Delete(result);
        Measurement m = Time("/bin/sh", null, "-c", $"({command}) > /dev/null || exit; times");
        if (result is null) return m;
        m = m with { OutputBytes = SizeOf(result) };
        Delete(result);
        return m;
    };

    private static Measurement Time(string program, string? workingFolder, params string[] arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, WorkingDirectory = workingFolder ?? "" };
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        var clock = Stopwatch.StartNew();
        using Process process = Process.Start(start)!;
        string text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        double seconds = clock.Elapsed.TotalSeconds;
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} exited with {process.ExitCode}.");
        string[] words = text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        if (words is [var peak, var processor, var job] && long.TryParse(peak, CultureInfo.InvariantCulture, out long bytes))
            return new(seconds, 0, bytes, double.Parse(processor, CultureInfo.InvariantCulture),
                double.Parse(job, CultureInfo.InvariantCulture));
        return new(seconds, 0, 0, words.Length == 4 ? words.Sum(MinutesAndSeconds) : 0, 0);
    }

    // As the shell's "times" prints them: 0m1.25s.
    private static double MinutesAndSeconds(string time)
    {
        string[] parts = time.TrimEnd('s').Split('m');
        return (60 * double.Parse(parts[0], CultureInfo.InvariantCulture)) + double.Parse(parts[1], CultureInfo.InvariantCulture);
    }

    private static Measurement? Median(List<Measurement> list) =>
        list.Count == 0 ? null : list.OrderBy(m => m.Seconds).ElementAt(list.Count / 2);

    private static bool OnPath(string tool) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(f => File.Exists(Path.Combine(f, tool)));

    private static string? FindUpwards(string name)
    {
        for (DirectoryInfo? d = new(AppContext.BaseDirectory); d is not null; d = d.Parent)
        {
            if (File.Exists(Path.Combine(d.FullName, name))) return Path.Combine(d.FullName, name);
        }

        return null;
    }

    private static long SizeOf(string path) =>
        File.Exists(path) ? new FileInfo(path).Length
            : new DirectoryInfo(path).EnumerateFiles("*", SearchOption.AllDirectories).Sum(f => f.Length);

    private static void Delete(string path)
    {
        if (Directory.Exists(path)) Directory.Delete(path, true);
        else File.Delete(path);
    }
}
