using CCImage.Diagnostics;

namespace CCImage.Tests;

/// <summary>Every real image that can be opened is sound, but for those known not to be.</summary>
public sealed class ImageVerificationCorpusTests(ITestOutputHelper output)
{
    // Cut off by whoever published them: two are partition maps without the disk behind them, one is the stored bands of a bundle set one
    // after the other without the rest of the disk.
    private static readonly string[] s_cutShort =
    [
        "alienjax__UDIF/aj_bundle_joined.dmg.gz", "jhermsmeier__node-apple-partition-map/mac-os-disk-utility.bin",
        "SecurityRonin__apm-partition-forensic/apm_map_32k.bin",
    ];

    [CorpusFact]
    public void Real_images_are_sound()
    {
        var unexpected = new List<string>();
        int verified = 0;
        foreach (CorpusImage image in CorpusImage.All)
        {
            using var folder = new TemporaryFolder();
            if (image.CapacityBytes is null or > 200 << 20) continue;
            using CCImage.Encryption.Passphrase? passphrase = image.OpenPassphrase();
            try
            {
                ImageVerificationResult result = ImageVerification.Run(
                    new(image.Materialise(folder.Path)) { Passphrase = passphrase }, SilentObserver.Instance, CancellationToken.None);
                verified++;
                foreach (ImageFinding finding in result.Findings.Where(f => f.Grade >= ImageFindingGrade.Note))
                    output.WriteLine($"{image.File}: {finding.Grade} {finding.Check} [{finding.Place}] {finding.Message}");
                if (!result.IsSound) unexpected.Add(image.File);
            }
            catch (ImageException e)
            {
                output.WriteLine($"{image.File}: {e.Id} {e.Problem}");
            }
        }

        Assert.Equal(s_cutShort, unexpected);
        Assert.True(verified > 60, $"{verified}");
    }
}
