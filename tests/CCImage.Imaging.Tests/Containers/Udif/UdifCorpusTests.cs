using System.Security.Cryptography;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.Tests.Containers.Udif;

public sealed class UdifCorpusTests
{
    /// <summary>The unencrypted UDIF images of the manifest: path, code, capacity, SHA-256 of the disk.</summary>
    internal static IEnumerable<(string Path, string Code, long Capacity, string Sha256)> Samples() =>
        File.ReadLines(Path.Combine(CorpusLocation.Folder!, "manifest.tsv")).Skip(1).Select(l => l.Split('\t'))
            .Where(c => c[1].StartsWith("UDIF ", StringComparison.Ordinal))
            .Select(c =>
                (Path.Combine(CorpusLocation.Folder!, c[0]), c[1][5..], long.Parse(c[4], System.Globalization.CultureInfo.InvariantCulture),
                    c[5]));

    [CorpusFact]
    public void Every_sample_decodes_to_its_hash_and_its_checksums_fit()
    {
        var codes = new Dictionary<string, int>();
        foreach ((string path, string code, long capacity, string sha256) in Samples())
        {
            using UdifStorage disk = UdifStorage.Open(new MemoryStorage(File.ReadAllBytes(path)), ownsFile: true);
            Assert.Equal(code, disk.FormatCode);
            Assert.Equal(capacity, disk.Length);
            Assert.Equal(sha256, Hash(disk, 1 << 20), ignoreCase: true);
            Assert.Equal(sha256, Hash(disk, 77_777), ignoreCase: true);
            Assert.Empty(disk.Verify(SilentObserver.Instance, CancellationToken.None));
            codes[code] = codes.GetValueOrDefault(code) + 1;
        }

        Assert.Superset(new HashSet<string> { "UDRO", "UDCO", "UDZO", "UDBZ", "ULFO", "ULMO" }, codes.Keys.ToHashSet());
        Assert.InRange(codes.Values.Sum(), 27, 100);
    }

    [CorpusFact]
    public void Extents_cover_the_disk_and_holes_are_zeros()
    {
        foreach ((string path, _, _, _) in Samples())
        {
            using UdifStorage disk = UdifStorage.Open(new MemoryStorage(File.ReadAllBytes(path)), ownsFile: true);
            byte[] buffer = new byte[1 << 20];
            long at = 0;
            foreach (StorageExtent extent in disk.GetExtents(0, disk.Length))
            {
                Assert.Equal(at, extent.Offset);
                at = extent.End;
                if (extent.Kind == ExtentKind.Data) continue;
                Span<byte> part = buffer.AsSpan(0, (int)Math.Min(extent.Length, buffer.Length));
                disk.Read(extent.Offset, part);
                Assert.False(part.ContainsAnyExcept((byte)0));
            }

            Assert.Equal(disk.Length, at);
            Assert.Equal(3, disk.GetExtents(at / 3 / 512 * 512, 1536).Sum(e => e.Length) / 512);
        }
    }

    [CorpusFact]
    public void Changed_data_is_found_by_every_checksum_that_covers_it()
    {
        string path = Samples().First(s => s.Path.EndsWith("input_ro.dmg", StringComparison.Ordinal)).Path;
        byte[] bytes = File.ReadAllBytes(path);
        bytes[0x8000] ^= 1;
        using UdifStorage disk = UdifStorage.Open(new MemoryStorage(bytes));
        Assert.Equal(["data fork", "disk image (Apple_APFS : 4)"],
            disk.Verify(SilentObserver.Instance, CancellationToken.None).Select(m => m.Place));
        bytes[^152] ^= 1; // in the master checksum's value
        using UdifStorage again = UdifStorage.Open(new MemoryStorage(bytes));
        Assert.Contains(again.Verify(SilentObserver.Instance, CancellationToken.None), m => m.Place == "master checksum");
    }

    private static string Hash(BlockStorage disk, int step)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = new byte[step];
        for (long at = 0; at < disk.Length; at += step)
        {
            Span<byte> part = buffer.AsSpan(0, (int)Math.Min(step, disk.Length - at));
            disk.Read(at, part);
            hash.AppendData(part);
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }
}
