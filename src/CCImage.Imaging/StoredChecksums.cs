using CCImage.Containers.Udif;
using CCImage.Diagnostics;

namespace CCImage;

/// <summary>A part of a disk that is not what its image's stored checksums say, or that cannot be decoded.</summary>
/// <param name="Place">What the checksum covers: "data fork", "master checksum", the name of a partition; or the place of a chunk.</param>
/// <param name="OffsetBytes">Where the part begins on the disk.</param>
/// <param name="LengthBytes">
/// Bytes of the disk that are in doubt; 0 where other checksums say that the disk is what it was: damage between the chunks, or to a
/// checksum itself.
/// </param>
/// <param name="Message">What does not fit, in a sentence with a full stop.</param>
public sealed record StoredChecksumFault(string Place, long OffsetBytes, long LengthBytes, string Message);

/// <summary>
/// The checksums that an image stores, compared with its data. Begun before a job reads the disk, they are computed from what the job
/// reads; completing them reads only the rest. Images of other formats than UDIF store none.
/// </summary>
/// <param name="image">The image, if it stores any.</param>
internal sealed class StoredChecksums(UdifStorage? image)
{
    private UdifVerification? _verification;
    private ImageException? _refusal;

    /// <summary>Stored bytes that are still to be read.</summary>
    public long RemainingBytes => _verification?.RemainingBytes ?? image?.File.Length ?? 0;

    /// <summary>Begins: from now on what is read counts.</summary>
    public void Begin()
    {
        if (image is null || _verification is not null) return;
        try
        {
            _verification = UdifVerification.Begin(image);
            image.Watcher = _verification;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            _refusal = e; // its chunks may be readable all the same: said when they were read
        }
    }

    /// <summary>Reads the rest and compares. What is read afterwards no longer counts.</summary>
    /// <param name="observer">Hears of progress, in bytes.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>What does not fit; empty when all is well.</returns>
    /// <exception cref="ImageException">The file cannot be read.</exception>
    public IReadOnlyList<StoredChecksumFault> Complete(IImagingObserver observer, CancellationToken cancellation)
    {
        if (image is null) return [];
        Begin();
        image.Watcher = null;
        if (_verification is not { } verification) return [new(_refusal!.Place ?? "data fork", 0, image.Length, _refusal.Problem)];
        _verification = null;
        verification.Complete(observer, cancellation);
        var faults = new List<StoredChecksumFault>();
        for (int i = 0; i < verification.Faults.Count; i++)
        {
            (UdifRun run, ImageException fault) = (verification.FaultyRuns[i], verification.Faults[i]);
            faults.Add(new(
                fault.Place ?? $"run at sector {run.FirstSector}", run.FirstSector * UdifConstants.SectorSize, run.Length, fault.Problem));
        }

        // The checksum of a table vouches for its part of the disk, whatever lies between the chunks in the file.
        bool isDiskVouchedFor = image.Tables.All(t => t.Header.Checksum.Crc32 is not null || t.Runs.All(r => !r.IsStored));
        foreach (UdifChecksumMismatch mismatch in verification.Mismatches)
        {
            string message =
                $"The checksum is {mismatch.Actual:X8}, and {mismatch.Expected:X8} is stored: the data were changed or damaged.";
            (long offset, long length) = mismatch.Table is { } table
                ? ((long)(ulong)table.Header.FirstSector * UdifConstants.SectorSize,
                    (long)(ulong)table.Header.SectorCount * UdifConstants.SectorSize)
                : (0, isDiskVouchedFor ? 0 : image.Length);
            faults.Add(new(mismatch.Place, offset, length, message));
        }

        return faults;
    }
}
