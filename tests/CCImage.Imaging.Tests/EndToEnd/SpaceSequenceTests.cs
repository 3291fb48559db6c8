using System.Security.Cryptography;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Tests.Encryption;

namespace CCImage.Tests.EndToEnd;

/// <summary>
/// Seeded sequences on one image: the Linux kernel fills and deletes, we compact and resize, and after each step the kernel and Apple's
/// checker read what is there.
/// </summary>
public sealed class SpaceSequenceTests : IDisposable
{
    private const int Rounds = 3;
    private const int Band = 1 << 20;

    private readonly TemporaryFolder _folder = new();
    private readonly Dictionary<string, string> _files = [];

    public void Dispose() => _folder.Dispose();

    [OracleTheory("newfs_hfs", "fsck_hfs", "uml-hfsplus")]
    [InlineData(false, false, 1)]
    [InlineData(true, false, 2)]
    [InlineData(true, true, 3)]
    [InlineData(false, true, 4)]
    public void Filled_deleted_compacted_and_resized(bool isBundle, bool isEncrypted, int seed)
    {
        var random = new Random(seed);
        string raw = _folder["volume"], image = _folder["image"];
        using (FileStream file = File.Create(raw)) file.SetLength(24 << 20);
        Assert.Equal(0, Oracle.Run("newfs_hfs", "-v", "Volume", raw).ExitCode);
        using Passphrase? secret = isEncrypted ? Secrets.Of("correct horse") : null;
        Make(image, isBundle, secret);
        for (int round = 0; round < Rounds; round++)
        {
            FillAndDelete(raw, random);
            Put(raw, image, secret);
            Compact(image, secret, isBundle);
            Check(raw, image, secret);

            long before = DiskImage.Inspect(image, secret).CapacityBytes!.Value;
            var request = new ImageResizeRequest(image) { Passphrase = secret };
            ImageResizeResult shrunk =
                ImageResize.Run(request with { ToMinimumSize = true }, SilentObserver.Instance, CancellationToken.None);
            Assert.InRange(shrunk.CapacityBytesAfter, 1, before);
            Check(raw, image, secret);
            long size = Math.Max(shrunk.CapacityBytesAfter, random.Next(20 << 20, 40 << 20) / 512 * 512);
            Assert.Equal(size,
                ImageResize.Run(request with { SizeBytes = size }, SilentObserver.Instance, CancellationToken.None).CapacityBytesAfter);
            Compact(image, secret, isBundle);
            Check(raw, image, secret);
        }

        Assert.Equal(Expected(), Kernel(raw, ""));
    }

    internal static void Compact(string image, Passphrase? secret, bool isBundle)
    {
        var request = new ImageCompactionRequest(image) { Passphrase = secret };
        ImageCompaction.Run(request, SilentObserver.Instance, CancellationToken.None);
        BackupImage now = DiskImage.Inspect(image, secret);
        if (isBundle && OperatingSystem.IsLinux())
            Assert.True(now.StoredBytes <= now.UsedBytes + (2 * Band), $"{now.StoredBytes} of {now.UsedBytes}");
        Assert.Equal(0, ImageCompaction.Run(request, SilentObserver.Instance, CancellationToken.None).ReclaimedBytes);
    }

    private static void Check(string raw, string image, Passphrase? secret)
    {
        using (DiskImage disk = DiskImage.Open(image, secret))
        using (FileStream file = File.Create(raw))
        {
            byte[] bytes = new byte[disk.Disk.Length];
            disk.Disk.Read(0, bytes);
            file.Write(bytes);
        }

        (int exitCode, string output, string error) = Oracle.Run("fsck_hfs", "-fn", raw);
        Assert.True(exitCode == 0, output + error);
        ImageVerificationResult result =
            ImageVerification.Run(new(image) { Passphrase = secret }, SilentObserver.Instance, CancellationToken.None);
        Assert.True(result.IsSound, string.Join('\n', result.Findings));
    }

    private static void Make(string image, bool isBundle, Passphrase? secret)
    {
        // What the volume is to be written to: an image of the same capacity, its own volume replaced.
        using (ImageCreation creation = ImageCreation.Prepare(
            new ImageRecipe
            {
                Path = image, Format = isBundle ? BackupImageFormat.SparseBundle : BackupImageFormat.Sparse, SizeBytes = 24 << 20,
                BandSizeBytes = isBundle ? Band : null, Encryption = secret is null ? BackupImageEncryption.None
                : BackupImageEncryption.Aes128, Passphrase = secret,
            },
            SilentObserver.Instance,
            CancellationToken.None))
        {
            creation.Run(CancellationToken.None);
        }
    }

    /// <summary>Writes what differs.</summary>
    internal static void Put(string raw, string image, Passphrase? secret)
    {
        byte[] bytes = File.ReadAllBytes(raw), old = new byte[4096];
        using ImageContainer container = ImageContainer.Open(image, secret, writable: true);
        Assert.Equal(bytes.Length, container.Disk.Length);
        for (int at = 0; at < bytes.Length; at += old.Length)
        {
            Span<byte> now = bytes.AsSpan(at, Math.Min(old.Length, bytes.Length - at)), there = old.AsSpan(0, now.Length);
            container.Disk.Read(at, there);
            if (!now.SequenceEqual(there)) container.Disk.Write(at, now);
        }

        container.Disk.Flush();
    }

    private void FillAndDelete(string raw, Random random)
    {
        string host = Directory.CreateDirectory(_folder["host"]).FullName;
        var script = new List<string>();
        string before = Expected();
        foreach (string gone in _files.Keys.Where(_ => random.Next(3) == 0).ToArray())
        {
            script.Add($"rm '/mnt/{gone}'");
            _files.Remove(gone);
        }

        for (int i = 0; i < 12; i++)
        {
            string name = $"file {random.Next()}";
            byte[] bytes = TestTree.Noise(random.Next(random.Next(3) == 0 ? 1_500_000 : 60_000), random.Next());
            File.WriteAllBytes(Path.Combine(host, name), bytes);
            script.Add($"cp '/host/{name}' '/mnt/{name}'");
            _files[name] = Convert.ToHexStringLower(SHA256.HashData(bytes));
        }

        Assert.Equal(before, Kernel(raw, string.Join('\n', script) + '\n', host));
        Directory.Delete(host, recursive: true);
    }

    private string Expected() => string.Join('\n', _files.OrderBy(f => f.Key, StringComparer.Ordinal).Select(f => $"{f.Value}  {f.Key}"));

    /// <summary>What the kernel reads before it does something.</summary>
    private string Kernel(string raw, string work, string? host = null)
    {
        string script = _folder["script.sh"];
        File.WriteAllText(script, $"set -e\nmount -t hfsplus /dev/ubda /mnt\ncd /mnt\nfor f in file*; do if [ -e \"$f\" ]; then sha256sum "
            + $"\"$f\"; fi; done\ncd /\n{work}sync\numount /mnt\n");
        (int exitCode, string output, string error) = host is null ? Oracle.Run("uml-hfsplus", raw, script)
            : Oracle.Run("uml-hfsplus", raw, script, host);
        Assert.True(exitCode == 0, output + error);
        return string.Join('\n', output.Split('\n', StringSplitOptions.RemoveEmptyEntries).OrderBy(l => l[66..], StringComparer.Ordinal));
    }
}
