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
    /// How the new image is encrypted: null for as the old one is, with keys of its own; <see cref="BackupImageEncryption.None"/> has to be asked for.
    /// </summary>
    public BackupImageEncryption? DestinationEncryption { get; init; }

    /// <summary>Will open the new image; null for <see cref="Passphrase"/>. Stays the caller's.</summary>
    public Passphrase? DestinationPassphrase { get; init; }

    /// <summary>Whether every byte of the disk is kept, free space included.</summary>
    public bool KeepFreeSpace { get; init; }

    /// <summary>Whether the source is deleted after the result was read back and verified.</summary>
    public bool DeleteSource { get; init; }

    /// <summary>Whether to replace an image that exists.</summary>
    public bool Overwrite { get; init; }

    /// <summary>
    /// Identifies the new image. Null for an identifier that follows from the source's path and the format, so that converting the same image
    /// again gives the same bytes.
    /// </summary>
    public Guid? SegmentId { get; init; }
}

/// <summary>Turns any image that can be read into a read-only UDIF.</summary>
public static class ImageConversion
{
    /// <summary>Converts. Deleting the source comes last, after the result was read back whole and its checksums agreed.</summary>
    /// <param name="request">What to make of what.</param>
    /// <param name="observer">Hears of progress.</param>
    /// <param name="cancellation">Ends it; nothing stays behind.</param>
    /// <returns>The new image.</returns>
    /// <exception cref="ImageException">The image cannot be read, or the result not written.</exception>
    public static BackupImage Run(ImageConversionRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        Check(request);
        Passphrase? passphrase = request.DestinationPassphrase ?? request.Passphrase;
        using (DiskImage source = DiskImage.Open(request.Path, request.Passphrase))
        {
            BackupImageEncryption encryption = request.DestinationEncryption ?? source.Container.Encryption;
            ImageOutput.CheckEncryption(encryption, passphrase);
            using var masked = request.KeepFreeSpace ? null : new MaskedStorage(source.Disk, source.GetFreeExtents().Select(e => (e.Offset, e.Length)));
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
            };
            output.Write(masked ?? source.Disk, source.Segments, $"Converting {Path.GetFileName(request.Path)}", observer, cancellation, source.CheckUnchanged);
        }

        if (request.DeleteSource)
        {
            Verify(request.DestinationPath, passphrase, observer, cancellation);
            Delete(request.Path);
        }

        return DiskImage.Inspect(request.DestinationPath, passphrase);
    }

    /// <summary>Refuses what cannot be, before anything is read or made.</summary>
    /// <param name="request">The request.</param>
    /// <exception cref="ImageException">What is wrong with it.</exception>
    public static void Check(ImageConversionRequest request)
    {
        if (!ImageOutput.IsReadOnly(request.Format))
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"{request.Format} is not a read-only format.", remedy: "Choose ReadOnly, or one of the compressed formats.");
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

    private static void Verify(string path, Passphrase? passphrase, IImagingObserver observer, CancellationToken cancellation)
    {
        using ImageContainer result = ImageContainer.Open(path, passphrase, writable: false);
        if (result.Udif!.Verify(observer, cancellation) is [UdifChecksumMismatch first, ..])
        {
            throw new ImageException(
                ImageErrorId.ChecksumMismatch, "What was written does not read back the same.", path, first.Place, "The source was kept. Check the medium, and convert again.");
        }
    }

    private static void Delete(string path)
    {
        if (Directory.Exists(path)) Directory.Delete(path, true);
        else File.Delete(path);
    }
}
