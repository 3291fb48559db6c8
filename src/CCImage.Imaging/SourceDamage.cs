using CCImage.Restoring;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// What is wrong with the content of an image that is being read by a job: told, refused or recorded, but never taken over in silence.
/// Begun before the disk is read, completed after it.
/// </summary>
internal sealed class SourceDamage
{
    private const string RemedyAllow =
        "Restore the image from another copy; Test-BackupImage -Detailed tells what else is damaged. "
        + "-AllowDamaged takes over what is left.";

    private readonly DiskImage _image;
    private readonly IImagingObserver _observer;
    private readonly List<string> _damage = [];
    private IReadOnlyList<ConditionFault> _conditions = [];
    private long _bytes;

    private SourceDamage(DiskImage image, IImagingObserver observer) => (_image, _observer) = (image, observer);

    /// <summary>What was found, a sentence each.</summary>
    public IReadOnlyList<string> Sentences => _damage;

    /// <summary>Bytes of the disk that are missing or in doubt, as far as they can be counted.</summary>
    public long Bytes => _bytes;

    /// <summary>Begins: the image's checksums are computed from what is read from now on.</summary>
    /// <param name="image">The image.</param>
    /// <param name="choice">The files that matter.</param>
    /// <param name="observer">Hears of what is no damage, but worth knowing.</param>
    /// <param name="cancellation">Ends it.</param>
    public static SourceDamage Begin(DiskImage image, EntryChoice choice, IImagingObserver observer, CancellationToken cancellation)
    {
        var damage = new SourceDamage(image, observer) { _conditions = new ImageCondition(image).Judge(choice, cancellation) };
        image.Checksums.Begin();
        foreach (ConditionFault fault in damage._conditions.Where(f => f.IsContentInDoubt))
        {
            damage._damage.Add(fault.Message);
            damage._bytes += fault.Bytes;
        }

        return damage;
    }

    /// <summary>Refuses an image whose content is in doubt, or that is cut short, before anything is written.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public void Refuse()
    {
        ConditionFault? fault = _conditions.FirstOrDefault(f => f.IsContentInDoubt);
        fault ??= _conditions.FirstOrDefault(f => f.IsCut);
        if (fault is null) return;
        throw new ImageException(ImageErrorId.ImageDamaged, fault.Message + NamesOf(fault), _image.Path, fault.Place, RemedyAllow);
    }

    /// <summary>Whether files are named in the warnings.</summary>
    public bool NamesFiles => _conditions.Any(f => f.IsContentInDoubt && f.FileCount > 0);

    /// <summary>Tells the files that are concerned, a warning each, as far as they are named.</summary>
    /// <param name="readsFiles">Whether the job reads files: of what is missing at the end of the disk it warns itself then.</param>
    public void Warn(bool readsFiles)
    {
        foreach (ConditionFault fault in _conditions)
        {
            if (!fault.IsContentInDoubt)
            {
                if (fault.IsCut) _observer.OnWarning(new(ImagingWarningKind.Advice, _image.Path, fault.Message));
                else if (fault.FileCount > 0) _observer.OnVerbose(fault.Message);
                continue;
            }

            if (fault.IsCut && readsFiles) continue;
            foreach (UnstoredFile file in fault.Files)
                _observer.OnWarning(
                    new(ImagingWarningKind.ContentLost, file.Path, $"{file.Bytes} bytes of it are not stored in the image."));
            if (fault.FileCount > fault.Files.Count)
                _observer.OnWarning(
                    new(ImagingWarningKind.ContentLost, null,
                    $"{fault.FileCount - fault.Files.Count} further files are not stored in whole."));
        }
    }

    /// <summary>Compares the checksums; what was not read yet is read now.</summary>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>What does not fit.</returns>
    public IReadOnlyList<StoredChecksumFault> CompareChecksums(CancellationToken cancellation)
    {
        IReadOnlyList<StoredChecksumFault> faults = _image.VerifyStoredChecksums(_observer, cancellation);
        foreach (StoredChecksumFault fault in faults)
        {
            _damage.Add($"{fault.Place}: {fault.Message}");
            _bytes = Math.Min(_image.Disk.Length, _bytes + fault.LengthBytes);
        }

        return faults;
    }

    /// <summary>Refuses data that do not fit their checksums.</summary>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ChecksumMismatch"/>.</exception>
    public void RefuseMismatch(CancellationToken cancellation)
    {
        if (CompareChecksums(cancellation) is not [StoredChecksumFault first, ..] faults) return;
        string others = faults.Count > 1 ? $" {faults.Count - 1} further parts do not fit." : "";
        throw new ImageException(ImageErrorId.ChecksumMismatch, first.Message + others, _image.Path, first.Place, RemedyAllow);
    }

    /// <summary>What a chunk that cannot be decoded is to a job that compares checksums: data that do not fit them.</summary>
    /// <param name="e">What reading threw.</param>
    /// <returns>The error to throw in its place, or null where the image stores no checksums.</returns>
    public ImageException? AsMismatch(ImageException e) =>
        _image.Container.Udif is null || e.Id is not (ImageErrorId.ImageDamaged or ImageErrorId.ChecksumMismatch)
        ? null
        : new(ImageErrorId.ChecksumMismatch, e.Problem, e.Path ?? _image.Path, e.Place, RemedyAllow, e);

    /// <summary>Takes note of what was replaced by zeros.</summary>
    /// <param name="storage">What the disk was read through.</param>
    public void Add(TolerantStorage storage)
    {
        foreach (ImageException fault in storage.Faults)
            _damage.Add($"{fault.Problem}{(fault.Place is null ? "" : $" (at {fault.Place})")} It was replaced by zeros.");
        _bytes += storage.LostBytes;
    }

    private static string NamesOf(ConditionFault fault) => fault.Files.Count == 0
        ? ""
        : $" Among them: {string.Join(", ", fault.Files.Select(f => f.Path))}{(fault.FileCount > fault.Files.Count ? ", …" : "")}.";
}
