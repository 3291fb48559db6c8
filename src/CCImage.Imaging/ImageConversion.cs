using CCImage.Restoring;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage;

/// <summary>The request to turn an image into a read-only one.</summary>
public sealed record ImageConversionRequest
{
    /// <summary>The image to read, as a full path.</summary>
    public required string Path { get; init; }

    /// <summary>Opens the image to read; not used where it is not encrypted. Stays the caller's.</summary>
    public Passphrase? Passphrase { get; init; }

    /// <summary>The image to make, as a full path.</summary>
    public required string DestinationPath { get; init; }

    /// <summary>A read-only format.</summary>
    public required BackupImageFormat Format { get; init; }

    /// <summary>The codec's level; null for its default.</summary>
    public int? CompressionLevel { get; init; }

    /// <summary>
    /// How the new image is encrypted: null for as the old one is, with keys of its own; <see cref="BackupImageEncryption.None"/> has to be
    /// asked for.
    /// </summary>
    public BackupImageEncryption? DestinationEncryption { get; init; }

    /// <summary>Will open the new image; null for <see cref="Passphrase"/>. Stays the caller's.</summary>
    public Passphrase? DestinationPassphrase { get; init; }

    /// <summary>Whether every byte of the disk is kept, free space included.</summary>
    public bool KeepFreeSpace { get; init; }

    /// <summary>Whether to take over what is left of a damaged source. What cannot be read becomes zeros, and the result says so.</summary>
    public bool AllowDamaged { get; init; }

    /// <summary>Whether the source is deleted: it has to be sound, and the result was read back and verified.</summary>
    public bool DeleteSource { get; init; }

    /// <summary>Whether to replace an image that exists.</summary>
    public bool Overwrite { get; init; }

    /// <summary>
    /// Identifies the new image. Null for an identifier that follows from the source's path and the format, so that converting the same
    /// image again gives the same bytes.
    /// </summary>
    public Guid? SegmentId { get; init; }
}

/// <summary>Turns any image that can be read into a read-only UDIF.</summary>
public static class ImageConversion
{
    /// <summary>
    /// Converts. The checksums that the source stores are compared in the same pass, before the result gets its name. Deleting the source
    /// comes last: it was verified as <see cref="ImageVerification"/> does, and so was the result.
    /// </summary>
    /// <param name="request">What to make of what.</param>
    /// <param name="observer">Hears of progress.</param>
    /// <param name="cancellation">Ends it; nothing stays behind.</param>
    /// <returns>The new image.</returns>
    /// <exception cref="ImageException">
    /// The image cannot be read, or the result not written; <see cref="ImageErrorId.ChecksumMismatch"/> or
    /// <see cref="ImageErrorId.ImageDamaged"/>: the source is damaged, and that was not allowed.
    /// </exception>
    public static BackupImage Run(ImageConversionRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        Check(request);
        Passphrase? passphrase = request.DestinationPassphrase ?? request.Passphrase;
        if (request.DeleteSource) RequireSound(request, observer, cancellation);
        ConversionDamage? damage;
        using (DiskImage source = DiskImage.Open(request.Path, request.Passphrase, cancellation))
            damage = Convert(source, request, passphrase, observer, cancellation);
        if (request.DeleteSource)
        {
            Verify(request.DestinationPath, passphrase, observer, cancellation);
            Delete(request.Path);
        }

        return DiskImage.Inspect(request.DestinationPath, passphrase, cancellation) with { Damage = damage };
    }

    private static ConversionDamage? Convert(
        DiskImage source, ImageConversionRequest request, Passphrase? passphrase, IImagingObserver observer, CancellationToken cancellation)
    {
        BackupImageEncryption encryption = request.DestinationEncryption ?? source.Container.Encryption;
        ImageOutput.CheckEncryption(encryption, passphrase);
        SourceDamage damage = SourceDamage.Begin(source, EntryChoice.Everything, observer, cancellation);
        if (!request.AllowDamaged) damage.Refuse();
        damage.Warn(readsFiles: false);
        if (source.Container.Udif is { IsSigned: true })
            observer.OnWarning(
                new(ImagingWarningKind.MetadataLost, request.Path,
                "The image is signed; the new one is not, for a signature covers the file that it is in."));

        // What is missing at the end is not read, but counted; of what is free nothing is read either.
        IReadOnlyList<StorageExtent> missing = source.Container.GetMissingExtents(), free = request.KeepFreeSpace ? []
            : source.GetFreeExtents(cancellation);
        List<StorageExtent> unread = [.. missing.Concat(ExtentSets.Subtract(free, missing)).OrderBy(e => e.Offset)];
        using var masked = new MaskedStorage(source.Disk, unread.Select(e => (e.Offset, e.Length)));
        using TolerantStorage? tolerant = request.AllowDamaged ? new(masked) : null;
        var output = new ImageOutput
        {
            Path = request.DestinationPath,
            Format = request.Format,
            CompressionLevel = request.CompressionLevel,
            Overwrite = request.Overwrite,
            Encryption = encryption,
            Passphrase = passphrase,
            LicenceResources = source.Container.Udif?.ReadLicenceResources(),
            SegmentId = request.SegmentId ?? ImageRecipe.DeriveUuid(Guid.Empty, $"{request.Format} of {request.Path}"),
            BeforeCommit = () =>
            {
                source.CheckUnchanged();
                Compare(damage, tolerant, cancellation);
            },
        };
        try
        {
            output.Write(
                (BlockStorage?)tolerant ?? masked, source.Segments, $"Converting {Path.GetFileName(request.Path)}", observer, cancellation);
        }
        catch (ImageException e) when (e.Path == source.Path && damage.AsMismatch(e) is { } mismatch)
        {
            throw mismatch;
        }

        return damage.Sentences.Count == 0 ? null : new(damage.Bytes, [.. damage.Sentences]);
    }

    private static void Compare(SourceDamage damage, TolerantStorage? tolerant, CancellationToken cancellation)
    {
        if (tolerant is null)
        {
            damage.RefuseMismatch(cancellation);
            return;
        }

        damage.Add(tolerant);
        damage.CompareChecksums(cancellation);
    }

    /// <summary>Refuses what cannot be, before anything is read or made.</summary>
    /// <param name="request">The request.</param>
    /// <exception cref="ImageException">What is wrong with it.</exception>
    public static void Check(ImageConversionRequest request)
    {
        if (!ImageOutput.IsReadOnly(request.Format))
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"{request.Format} is not a read-only format.",
                remedy: "Choose ReadOnly, or one of the compressed formats.");
        }

        if (request is { AllowDamaged: true, DeleteSource: true })
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, "Only a sound source is deleted.", request.Path,
                remedy: "Leave out -DeleteSource or -AllowDamaged.");
        }

        ImageOutput.CheckWritable(request.Format, request.CompressionLevel);
        if (IsOrLiesIn(request.DestinationPath, request.Path))
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, "An image cannot be converted onto itself, nor into itself.", request.Path,
                remedy: "Give another -DestinationPath; -DeleteSource removes the source afterwards.");
        }

        ImageOutput.CheckDestination(request.DestinationPath, request.Overwrite);
    }

    // Not by their names: two paths to one image, over a link or by the case of a letter, would have the result deleted as its own source.
    private static bool IsOrLiesIn(string path, string image)
    {
        if (string.Equals(path, image, StringComparison.Ordinal)) return true;
        if (IdentityOf(image) is not HostIdentity identity) return false;
        for (string? at = path; at is not null; at = Path.GetDirectoryName(at))
        {
            if (IdentityOf(at) == identity) return true;
        }

        return false;
    }

    private static HostIdentity? IdentityOf(string path)
    {
        try
        {
            if (!Directory.Exists(path)) return HostPlatform.Current.GetStat(path).Identity;
            using HostDirectory folder = HostPlatform.Current.OpenDirectory(path);
            return folder.Stat.Identity;
        }
        catch (HostException)
        {
            // Nothing is there, or it says itself what is wrong with it when it is opened.
            return null;
        }
    }

    // Of a source that is to be deleted everything is judged first; its checksums are compared in the pass that reads it.
    private static void RequireSound(ImageConversionRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        ImageVerificationResult result = ImageVerification.Run(
            new(request.Path) { Passphrase = request.Passphrase, LeavesChecksums = true }, observer, cancellation);
        if (result.IsSound) return;
        ImageFinding worst = result.Findings.MaxBy(f => f.Grade)!;
        throw new ImageException(
            ImageErrorId.ImageDamaged, $"The source is not sound, and so would not be deleted: {worst.Message}", request.Path, worst.Place,
            "Test-BackupImage -Detailed tells what is wrong. Leave out -DeleteSource, or give a sound source.");
    }

    private static void Verify(string path, Passphrase? passphrase, IImagingObserver observer, CancellationToken cancellation)
    {
        ImageVerificationResult result = ImageVerification.Run(new(path) { Passphrase = passphrase }, observer, cancellation);
        if (result.IsSound) return;
        ImageFinding worst = result.Findings.MaxBy(f => f.Grade)!;
        throw new ImageException(
            ImageErrorId.ChecksumMismatch, $"What was written does not read back the same: {worst.Message}", path, worst.Place,
            "The source was kept. Check the medium, and convert again.");
    }

    private static void Delete(string path)
    {
        if (Directory.Exists(path)) Directory.Delete(path, true);
        else File.Delete(path);
    }
}
