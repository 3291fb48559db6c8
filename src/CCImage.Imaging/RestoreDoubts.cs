using CCImage.Diagnostics;
using CCImage.Restoring;
using CCImage.Sources;

namespace CCImage;

/// <summary>
/// What speaks against content that a restore reads, although it can be read: parts of the disk that are not stored, and checksums that do
/// not fit. A checksum covers a whole partition, so its verdict comes when everything was read.
/// </summary>
internal sealed class RestoreDoubts
{
    /// <summary>With a selection, so much more than that was read is read to compare checksums; they cover far more than one
    /// file.</summary>
    private const long MostExtraBytes = 1L << 30;

    private readonly DiskImage _image;
    private readonly ImageRestoreRequest _request;
    private readonly IImagingObserver _observer;
    private readonly SourceDamage _damage;

    private RestoreDoubts(DiskImage image, ImageRestoreRequest request, IImagingObserver observer, SourceDamage damage) =>
        (_image, _request, _observer, _damage) = (image, request, observer, damage);

    /// <summary>Begins before the volume is read, and warns of each file that is not stored in whole.</summary>
    /// <param name="image">The image.</param>
    /// <param name="request">What is restored.</param>
    /// <param name="observer">Hears of it.</param>
    /// <param name="cancellation">Ends it.</param>
    public static RestoreDoubts Begin(
        DiskImage image, ImageRestoreRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        SourceDamage damage = SourceDamage.Begin(image, request.Choice, observer, cancellation);
        damage.Warn(readsFiles: true);
        return new(image, request, observer, damage);
    }

    /// <summary>Compares the checksums when everything was restored.</summary>
    /// <param name="tree">The volume that was restored.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>The error that the restore ends with, or null when nothing speaks against what was restored.</returns>
    public ImageException? Complete(SourceTree tree, CancellationToken cancellation)
    {
        ImageException? mismatch = CompareChecksums(tree, cancellation);
        if (mismatch is not null || _damage.Sentences.Count == 0) return mismatch;
        return new ImageException(
            ImageErrorId.RestoredInPart, _damage.Sentences[0], _image.Path,
            remedy: _damage.NamesFiles ? "The warnings name the files. Compare them with another copy."
            : "Compare what was restored with another copy.");
    }

    private ImageException? CompareChecksums(SourceTree tree, CancellationToken cancellation)
    {
        if (_image.Container.Udif is null) return null;
        if (!_request.Choice.IsEverything && _image.Checksums.RemainingBytes > MostExtraBytes)
        {
            _observer.OnWarning(new(
                ImagingWarningKind.Advice, _image.Path, "The image's checksums were not compared: they cover whole partitions, and only a "
                    + "part was read. Test-BackupImage compares them."));
            return null;
        }

        StoredChecksumFault? worst = null;
        foreach (StoredChecksumFault fault in _image.VerifyStoredChecksums(_observer, cancellation))
        {
            if (Concerns(fault)) worst = worst is null || fault.LengthBytes > worst.LengthBytes ? fault : worst;
            else _observer.OnWarning(
                new(ImagingWarningKind.Advice, _image.Path,
                $"{fault.Place}: {fault.Message} It does not concern the files that were restored."));
        }

        if (worst is null) return null;
        string files = NameFiles(tree, cancellation);
        return new ImageException(
            ImageErrorId.ChecksumMismatch, $"{worst.Message} Any of the files that were restored may be wrong: {files}.", _image.Path,
            worst.Place,
            "Compare the files with another copy; Test-BackupImage -Detailed tells what else is damaged.");
    }

    // Whether the range in doubt lies in the volume that was restored, or in one that may be it.
    private bool Concerns(StoredChecksumFault fault) => fault.LengthBytes > 0 && _image.Volumes.Any(v =>
        (_request.Volume is not int number || (v.Number <= number && number < v.Number + v.Volume.VolumeCount))
        && fault.OffsetBytes < v.OffsetBytes + v.LengthBytes && v.OffsetBytes < fault.OffsetBytes + fault.LengthBytes);

    private string NameFiles(SourceTree tree, CancellationToken cancellation)
    {
        var selection = new RestoreSelection(tree, _request.Choice, cancellation);
        SourceEntry[] first =
            [.. tree.Enumerate().Where(e => e.Kind == EntryKind.File && e.Size > 0 && selection.IsTaken(e))
                .Take(ImageCondition.MostNamed + 1)];
        string names = string.Join(", ", first.Take(ImageCondition.MostNamed).Select(tree.DisplayPath));
        return first.Length > ImageCondition.MostNamed ? names + ", …" : names;
    }
}
