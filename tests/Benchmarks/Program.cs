using CCImage.Benchmarks;

// Side by side with peers: the same work, in the same run, on the same disk; medians of five, printed as ratios.
// Usage: CCImage.Benchmarks [FOLDER] [--only NAME]; FOLDER holds about 12 GB of samples and results and is kept for the next run.
// Every measurement of ours is a process of its own, so that its peak memory and start-up are in it as they are in the peers'.
if (args is ["--job", ..]) return Jobs.Run(args[1..]);

int only = Array.IndexOf(args, "--only");
string folder = Path.GetFullPath(
    args.Where((a, i) => !a.StartsWith('-') && (only < 0 || i != only + 1)).FirstOrDefault()
        ?? Path.Combine(Path.GetTempPath(), "ccimage-bench"));
var bench = new Bench(folder, only >= 0 ? args[only + 1] : null);
return bench.Run();
