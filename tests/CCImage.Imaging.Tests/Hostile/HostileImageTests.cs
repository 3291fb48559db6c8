using System.Diagnostics;
using System.Globalization;
using System.Text;
using CCImage.Encryption;
using CCImage.FileSystems;
using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;
using CCImage.Tests.Encryption;
using CCImage.Tests.EndToEnd;

namespace CCImage.Tests.Hostile;

/// <summary>
/// Images of a few bytes that claim much. Each is listed and judged by a process of its own that gets no more than 300 MB, and says what
/// processor time it took: memory and time follow what is stored.
/// </summary>
[Collection(nameof(NeedsTheMachine))]
public sealed class HostileImageTests : IDisposable
{
    private const long MostMemory = 300_000_000;
    private const double MostSeconds = 10;

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Cases => [.. Makers.Keys];

    private static Dictionary<string, Func<byte[]>> Makers => new()
    {
        ["links to one target"] = () => LinksTo(1024, 40_000),
        ["links to a target of 64 KiB"] = () => LinksTo(64 << 10, 40_000),
        ["compressed files that share an attribute"] = Compressed,
        ["names of one file with many attributes"] = Names,
        ["large attributes"] = Attributes,
        ["a chain of folders"] = Chain,
        ["every second block free"] = () => Runs(zlib: true),
        ["a bitmap in one block"] = () => Runs(zlib: false),
        ["raw runs of the same bytes"] = () => RawRuns(0),
        ["raw runs that overlap"] = () => RawRuns(1),
    };

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Cases))]
    public void What_is_claimed_costs_neither_memory_nor_time(string name)
    {
        string image = Make(name);
        foreach (string what in (string[])["describe", "list", "judge"]) AssertCheap(what, image, $"{name}, {what}");
    }

    [Theory]
    [InlineData("every second block free", "convert")]
    [InlineData("every second block free", "judge")]
    [InlineData("a chain of folders", "list")]
    public void A_stop_ends_the_job_within_a_second(string name, string what)
    {
        string image = Make(name);
        foreach (int after in (int[])[60, 400, 1500])
        {
            (string outcome, _, _, double latency) = Run(what, image, after);
            Assert.True(
                outcome == "Stopped" ? latency < 1 : outcome != "Failed", $"{name}, {what}, after {after} ms: {outcome}, {latency} s");
        }
    }

    [HostileCaseTheory]
    [InlineData("links")]
    [InlineData("decmpfs")]
    [InlineData("runs")]
    [InlineData("shared")]
    [InlineData("folders")]
    [InlineData("escape")]
    [InlineData("powers")]
    public void Images_that_others_made_to_hang_us_cost_neither_memory_nor_time(string name)
    {
        // bzip2 comes from a package; the driver finds it where the module has it.
        string codecs = Path.Combine(Path.GetDirectoryName(KillTests.Program)!, "private"), image = _folder["image"];
        Directory.CreateDirectory(codecs);
        foreach (string library in (string[])["CCImage.Private.dll", "ICSharpCode.SharpZipLib.dll"])
            File.Copy(Path.Combine(AppContext.BaseDirectory, library), Path.Combine(codecs, library), overwrite: true);
        using (var process = Process.Start("python3", [Path.Combine(HostileCaseTheoryAttribute.Folder!, "make.py"), name, image]))
            process.WaitForExit();
        foreach (string what in (string[])["describe", "list", "judge"]) AssertCheap(what, image, $"{name}, {what}");
    }

    [Fact]
    public void A_scan_finds_the_runs_that_looking_at_every_bit_finds()
    {
        var random = new Random(1);
        for (int round = 0; round < 400; round++)
        {
            byte[] bits = new byte[random.Next(1, 200)];
            foreach (ref byte b in bits.AsSpan()) b = random.Next(4) switch { 0 => 0, 1 => 0xFF, 2 => 0xAA, _ => (byte)random.Next(256) };
            long end = random.Next(1, (bits.Length * 8) + 1), shortest = round % 3 == 0 ? 0 : random.Next(1, 40);
            bool isHigh = round % 2 == 0;
            var scan = new BitmapScan(isHigh);
            List<(long, long)> found = [];
            for (int at = 0; at < bits.Length; at += 64)
                found.AddRange(scan.Next(bits.AsSpan(at..Math.Min(bits.Length, at + 64)), at * 8L, end, shortest));
            if (scan.Finish(end) is (long First, long Count) last && last.Count >= shortest) found.Add(last);
            bool[] free = [.. Enumerable.Range(0, (int)end).Select(i => (bits[i / 8] & (isHigh ? 0x80 >> (i % 8) : 1 << (i % 8))) == 0)];
            Assert.Equal(RunsOf(free).Where(r => r.Count >= shortest), found);
            Assert.Equal(free.Count(f => f), new BitmapScan(isHigh).CountClear(bits, end));
            int from = random.Next((int)end);
            int first = Array.IndexOf(free, true, from);
            Assert.Equal(first < 0 ? null : first, new BitmapScan(isHigh).FindClear(bits, from, end));
        }
    }

    [Fact]
    public void Of_too_many_free_runs_the_longest_are_kept()
    {
        var query = new FreeSpaceQuery();
        var kept = new List<StorageExtent>();
        for (int i = 0; i < 3 * FreeSpaceQuery.MostRuns; i++)
            query.Keep(kept, new(i * (1L << 30), i % 1000 == 7 ? 1 << 20 : 512, ExtentKind.Unused));
        Assert.True(kept.Count < FreeSpaceQuery.MostRuns);
        Assert.Equal(3 * FreeSpaceQuery.MostRuns / 1000, kept.Count(e => e.Length == 1 << 20), 1.0);
        Assert.True(query.ShortestIn(512) > 1);
    }

    [Fact]
    public void A_key_is_the_same_whoever_derives_it_and_a_stop_ends_it()
    {
        byte[] salt = [1, 2, 3, 4, 5], own = new byte[24], platform = new byte[24];
        KeyDerivation.Derive("secret"u8, salt, own, 1234, CancellationToken.None, mostUnstoppable: 0);
        KeyDerivation.Derive("secret"u8, salt, platform, 1234, CancellationToken.None);
        Assert.Equal(platform, own);
        using var stop = new CancellationTokenSource(100);
        var clock = Stopwatch.StartNew();
        using Passphrase passphrase = Secrets.Of("secret");
        Assert.Throws<OperationCanceledException>(() => passphrase.Derive(salt, (int)EncryptionHeader.MaximumIterations, own, stop.Token));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(2), $"{clock.Elapsed}");
    }

    private static IEnumerable<(long First, long Count)> RunsOf(bool[] free)
    {
        for (int i = 0; i < free.Length; i++)
        {
            int start = i;
            while (i < free.Length && free[i]) i++;
            if (i > start) yield return (start, i - start);
        }
    }

    private string Make(string name)
    {
        string image = _folder["image"];
        File.WriteAllBytes(image, Makers[name]());
        return image;
    }

    private static void AssertCheap(string what, string image, string message)
    {
        (string outcome, long memory, double seconds, _) = Run(what, image, 0);
        Assert.True(outcome is "Done" or "Sound" or "Unsound" or "ImageDamaged" or "UnsupportedFormat" or "VolumeNotFound"
            || outcome.StartsWith("Listed:", StringComparison.Ordinal), $"{message}: {outcome}");
        Assert.True(memory < MostMemory, $"{message}: {memory} bytes");
        Assert.True(seconds < MostSeconds, $"{message}: {seconds} s");
    }

    private static (string Outcome, long Memory, double Seconds, double Latency) Run(string what, string image, int stopAfter)
    {
        var start = new ProcessStartInfo(
            "dotnet", ["exec", KillTests.Program, "--job", "hostile", what, image, stopAfter.ToString(CultureInfo.InvariantCulture)])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["DOTNET_GCHeapHardLimit"] = MostMemory.ToString("X", CultureInfo.InvariantCulture);
        start.Environment["DOTNET_TieredPGO"] = "0";
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string[] words = process.StandardOutput.ReadToEnd().Split(' ');
        process.WaitForExit();
        return words.Length == 4
            ? (words[0], long.Parse(words[1], CultureInfo.InvariantCulture), double.Parse(words[2], CultureInfo.InvariantCulture),
                double.Parse(words[3], CultureInfo.InvariantCulture))
            : ($"Failed {process.ExitCode}: {error.Result}", 0, 0, 0);
    }

    private static byte[] LinksTo(int length, uint count)
    {
        var volume = new HostileVolume();
        byte[] target = volume.Store(Encoding.ASCII.GetBytes(new string('a', length)));
        for (uint i = 0; i < count; i++) volume.AddFile(2, $"{i:x6}", 100 + i, target, mode: 0xA1ED, type: "slnkrhap");
        return volume.ToArray();
    }

    private static byte[] Compressed()
    {
        var volume = new HostileVolume();
        byte[] value = new byte[1 << 20];
        "fpmc\x03\0\0\0\x0A"u8.CopyTo(value);
        byte[] fork = volume.Store(value);
        for (uint i = 0; i < 4000; i++)
        {
            volume.AddFile(2, $"{i:x6}", 100 + i, ownerFlags: 0x20);
            volume.AddAttributeFork(100 + i, "com.apple.decmpfs", fork);
        }

        return volume.ToArray();
    }

    private static byte[] Names()
    {
        var volume = new HostileVolume();
        for (uint i = 0; i < 30_000; i++) volume.AddFile(2, $"{i:x6}", 1000 + i, type: "hlnkhfs+", special: 7);
        volume.AddFolder(2, "\0\0\0\0HFS+ Private Data", 50);
        volume.AddFile(50, "iNode7", 7, special: 30_000);
        for (int i = 0; i < 20_000; i++) volume.AddAttribute(7, $"{i:x6}", [1]);
        return volume.ToArray();
    }

    private static byte[] Attributes()
    {
        var volume = new HostileVolume();
        volume.AddFile(2, "file", 100);
        byte[] value = new byte[3800];
        for (int i = 0; i < 12_000; i++) volume.AddAttribute(100, $"{i:x6}", value);
        return volume.ToArray();
    }

    private static byte[] Chain()
    {
        var volume = new HostileVolume();
        string name = new('n', 200);
        for (uint i = 0; i < 20_000; i++) volume.AddFolder(i == 0 ? 2 : 99 + i, name, 100 + i);
        return volume.ToArray();
    }

    // 2^32 blocks, every second one free: of a bitmap of 512 MiB one run is stored, or one block that all extents name.
    private static byte[] Runs(bool zlib)
    {
        const uint Total = 0xFFFF_0000;
        const int Sector = 512, Piece = 64 << 20;
        (byte[] catalog, byte[] extents) = HostileVolume.EmptyTrees();
        const uint CatalogAt = 4, ExtentsAt = 64, BitmapAt = 128;
        byte[] bits = new byte[Piece];
        bits.AsSpan().Fill(0xAA);
        uint bitmapSectors = (uint)((Total / 8) + Sector - 1) / Sector / (Piece / Sector) * (Piece / Sector) + (Piece / Sector);
        byte[] allocation = zlib
            ? HostileVolume.Fork(bitmapSectors * (long)Sector, bitmapSectors, [(BitmapAt, bitmapSectors)])
            : HostileVolume.Fork(8L * Piece, 8 * (Piece / Sector), [.. Enumerable.Repeat((BitmapAt, (uint)(Piece / Sector)), 8)]);
        byte[] header = HostileVolume.Header(
            Total, Sector, allocation,
            HostileVolume.Fork(extents.Length, (uint)extents.Length / Sector, [(ExtentsAt, (uint)extents.Length / Sector)]),
            HostileVolume.Fork(catalog.Length, (uint)catalog.Length / Sector, [(CatalogAt, (uint)catalog.Length / Sector)]), new byte[80]);
        byte[] start = new byte[BitmapAt * Sector], end = new byte[2 * Sector];
        header.CopyTo(start, 1024);
        catalog.CopyTo(start, (int)CatalogAt * Sector);
        extents.CopyTo(start, (int)ExtentsAt * Sector);
        header.CopyTo(end, 0);
        byte[] a = HostileUdif.Deflate(start), m = HostileUdif.Deflate(bits), z = HostileUdif.Deflate(end);
        List<(uint, long, long, long, long)> runs = [(HostileUdif.Zlib, 0, BitmapAt, 0, a.Length)];
        uint pieces = zlib ? bitmapSectors / (Piece / Sector) : 1;
        for (uint i = 0; i < pieces; i++)
            runs.Add((HostileUdif.Zlib, BitmapAt + (i * (long)(Piece / Sector)), Piece / Sector, a.Length, m.Length));
        long behind = BitmapAt + (pieces * (long)(Piece / Sector));
        runs.Add((HostileUdif.Ignored, behind, Total - 2 - behind, 0, 0));
        runs.Add((HostileUdif.Zlib, Total - 2L, 2, a.Length + m.Length, z.Length));
        return HostileUdif.Make(runs, Total, [.. a, .. m, .. z]);
    }

    private static byte[] RawRuns(int shift)
    {
        const int Sectors = 16_384, Sector = 512;
        byte[] fork = new byte[(Sectors * Sector) + (shift * Sector * 5000)];
        fork[^1] = 1;
        List<(uint, long, long, long, long)> runs = [];
        for (int i = 0; i < 5000; i++) runs.Add((HostileUdif.Raw, i * (long)Sectors, Sectors, shift * i * Sector, Sectors * Sector));
        return HostileUdif.Make(runs, 5000L * Sectors, fork);
    }
}

/// <summary>Tests that keep all processors busy: others, which have a limit of time, do not run beside them.</summary>
[CollectionDefinition(nameof(NeedsTheMachine), DisableParallelization = true)]
public sealed class NeedsTheMachine;

/// <summary>A theory that needs the folder of hostile cases and Python; skipped with a reason where one is absent.</summary>
public sealed class HostileCaseTheoryAttribute : TheoryAttribute
{
    /// <summary>Decides at discovery.</summary>
    public HostileCaseTheoryAttribute()
    {
        if (Folder is null) Skip = "The folder of hostile cases (shared/cases/hostile beside the checkout) is absent.";
        else if (Oracle.Find("python3") is null) Skip = "Not on the PATH: python3";
    }

    /// <summary>The folder, or null.</summary>
    internal static string? Folder { get; } = Find();

    private static string? Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "shared", "cases", "hostile");
            if (File.Exists(Path.Combine(candidate, "make.py"))) return candidate;
        }

        return null;
    }
}
