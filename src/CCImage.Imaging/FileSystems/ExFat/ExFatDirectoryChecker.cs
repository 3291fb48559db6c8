using CCImage.Diagnostics;

namespace CCImage.FileSystems.ExFat;

/// <summary>
/// Walks all directories of a volume: checksum and make-up of every set of entries, and where what they name lies: inside the heap, marked
/// in the bitmap, and nowhere twice. Source: docs/formats/exfat.md.
/// </summary>
/// <param name="clusters">The volume's clusters.</param>
/// <param name="chainBudget">Clusters that all chains together can have: more means that some are shared, and has to end.</param>
internal sealed class ExFatDirectoryChecker(ExFatClusters clusters, long chainBudget)
{
    private const string What = "exFAT directories";
    private const string DoubleUse = "exFAT clusters";
    private const int LongestPlace = 200;

    private readonly ExFatDirectoryReader _reader = new(clusters);
    private readonly Stack<(string Path, ExFatFile? File)> _left = new();
    private readonly HashSet<uint> _seen = [];
    private readonly List<(uint First, uint Count)> _used = [];
    private long _chainBudget = chainBudget;
    private CancellationToken _cancellation;
    private long _sets;

    /// <summary>Checks all directories.</summary>
    /// <param name="own">Clusters of the allocation bitmap and the up-case table.</param>
    /// <param name="findFree">Finds clusters of ranges that the bitmap calls free; the ranges are ascending and apart from each
    /// other.</param>
    /// <param name="countFree">Counts all clusters that it calls free.</param>
    /// <param name="findings">Hears what is found.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The volume cannot be read.</exception>
    public void Check(
        IEnumerable<(uint First, uint Count)> own, Func<IReadOnlyList<(long First, long Count)>, IEnumerable<long>> findFree,
        Func<long> countFree, ImageFindings findings,
        CancellationToken cancellation)
    {
        _cancellation = cancellation;
        _used.AddRange(own);
        _left.Push(("/", null));
        long directories = 0;
        bool isWhole = true;
        for (; _left.TryPop(out (string Path, ExFatFile? File) directory); directories++)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                isWhole &= Walk(directory.Path, directory.File, findings);
            }
            catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
            {
                findings.Damaged(What, $"{e.Problem} What lies in it and below was not checked.", Place(directory.Path));
                isWhole = false;
            }
        }

        if (isWhole) findings.Ok(What, $"{_sets} entries in {directories} directories fit their checksums.");
        CheckUse(findFree, countFree, isWhole, findings);
    }

    // Whether all of it could be checked.
    private bool Walk(string path, ExFatFile? directory, ImageFindings findings)
    {
        bool isWhole = true;
        using IEnumerator<uint> chain = (directory is null ? Claim(clusters.OfRoot()) : Claim(directory)).GetEnumerator();
        foreach (ExFatEntrySet set in _reader.Read(Visit(chain)))
        {
            if (set.Fault is { } fault)
            {
                findings.Damaged(What, fault, $"entry {set.Index} of {Place(path)}");
                isWhole = false;
                continue;
            }

            _cancellation.ThrowIfCancellationRequested();
            _sets++;
            if (set.File is { } file) isWhole &= CheckFile(file, path, findings);
        }

        while (chain.MoveNext())
        {
            // What is chained behind the end is the directory's all the same.
        }

        return isWhole;
    }

    private IEnumerable<uint> Visit(IEnumerator<uint> chain)
    {
        while (chain.MoveNext())
            yield return _seen.Add(chain.Current) ? chain.Current
                : throw ImageException.Damaged("The directory lies where another one does.");
    }

    private bool CheckFile(ExFatFile file, string directory, ImageFindings findings)
    {
        string path = directory.Length + file.Name.Length < LongestPlace ? $"{directory}{file.Name}"
            : $"{directory[..Math.Min(directory.Length, LongestPlace)]}…";
        if (file.IsDirectory)
        {
            _left.Push(($"{path}/", file));
            return true;
        }

        try
        {
            if (file.Length > 0) _ = Claim(file).Count();
            return true;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(What, e.Problem, Place(path));
            return false;
        }
    }

    // Each cluster is noted as used.
    private IEnumerable<uint> Claim(ExFatFile file)
    {
        if (!file.IsContiguous) return Claim(clusters.Of(file));
        long count = clusters.CountFor(file.Length);
        clusters.MustExist(file.Stream.FirstCluster, count);
        _used.Add((file.Stream.FirstCluster, (uint)count));
        return file.IsDirectory ? clusters.Of(file) : [];
    }

    private IEnumerable<uint> Claim(IEnumerable<uint> chain)
    {
        bool isFirst = true;
        foreach (uint cluster in chain)
        {
            _cancellation.ThrowIfCancellationRequested();
            if (--_chainBudget < 0)
                throw ImageException.Damaged("The chains of the FAT have more clusters than there are: some are shared.");
            if (!isFirst && _used[^1] is var (start, length) && start + (long)length == cluster) _used[^1] = (start, length + 1);
            else _used.Add((cluster, 1));
            isFirst = false;
            yield return cluster;
        }
    }

    // Used twice, used but free, in use by nobody.
    private void CheckUse(Func<IReadOnlyList<(long First, long Count)>, IEnumerable<long>> findFree, Func<long> countFree, bool isWhole,
        ImageFindings findings)
    {
        _used.Sort();
        bool isSound = true;
        List<(long First, long Count)> ranges =
            Merge(_used, first =>
                Report("Two files, or two parts of one, lie in the same clusters: one has the content of the other.", first));
        foreach (long cluster in findFree(ranges))
            Report("A cluster of a file is marked as free: what is written next may take its place.", cluster);
        if (!isSound) return;
        long lost = clusters.Count - countFree() - ranges.Sum(r => r.Count);
        if (isWhole && lost > 0)
            findings.Note(DoubleUse, $"{lost} clusters are marked as in use, and belong to no file.",
                remedy: "Attach the image on a Mac, which gives them back.");
        else findings.Ok(DoubleUse, "Every cluster of a file is its own, and marked as in use.");

        void Report(string message, long cluster)
        {
            isSound = false;
            _cancellation.ThrowIfCancellationRequested();
            findings.Damaged(DoubleUse, message, $"cluster {cluster}");
        }
    }

    /// <summary>Joins ranges that touch or overlap.</summary>
    /// <param name="ranges">Ascending by their first cluster.</param>
    /// <param name="onShared">Hears of each first cluster that another range has, too.</param>
    public static List<(long First, long Count)> Merge(IReadOnlyList<(uint First, uint Count)> ranges, Action<long>? onShared)
    {
        var merged = new List<(long First, long Count)>();
        long end = 0;
        foreach ((uint first, uint count) in ranges)
        {
            if (first < end) onShared?.Invoke(first);
            if (merged.Count > 0 && first <= end)
                merged[^1] = merged[^1] with { Count = Math.Max(end, first + (long)count) - merged[^1].First };
            else merged.Add((first, count));
            end = Math.Max(end, first + (long)count);
        }

        return merged;
    }

    private static string Place(string path) => $"'{path}'";
}
