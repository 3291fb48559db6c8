using CCImage.Restoring;
using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Partitions;
using CCImage.Storage;

namespace CCImage;

/// <summary>What to verify.</summary>
/// <param name="Path">File or bundle, as a full path.</param>
public sealed record ImageVerificationRequest(string Path)
{
    /// <summary>The passphrase; not used where the image is not encrypted. Stays the caller's.</summary>
    public Passphrase? Passphrase { get; init; }

    /// <summary>Whether to mend what can be mended without risk.</summary>
    public bool Repair { get; init; }

    /// <summary>Whether the checksums of a read-only image are left to somebody who reads all of it anyway.</summary>
    internal bool LeavesChecksums { get; init; }
}

/// <summary>What a verification found.</summary>
/// <param name="Path">Full path of the image.</param>
/// <param name="IsSound">Whether nothing is wrong, after the repair if one was made.</param>
/// <param name="Findings">All findings, in the order of checking; of the image as it is now.</param>
/// <param name="Repaired">What was mended, a sentence each.</param>
public sealed record ImageVerificationResult(
    string Path, bool IsSound, IReadOnlyList<ImageFinding> Findings, IReadOnlyList<string> Repaired);

/// <summary>
/// Verifies an image from the outside inwards: encryption header, container, partition map, file systems.
/// <para>
/// The rule of repair: only when nothing at all is damaged, only what is graded repairable, from the outside inwards, and then everything
/// is verified again. Where data are damaged, what looks like a stale copy may be what a rescue needs.
/// </para>
/// </summary>
public static class ImageVerification
{
    /// <summary>Verifies an image.</summary>
    /// <param name="request">Which, and whether to mend it.</param>
    /// <param name="observer">Hears of progress.</param>
    /// <param name="cancellation">Ends it; a repair between two steps.</param>
    /// <exception cref="ImageException">
    /// The image cannot be judged at all: not found, in use, of no or an unknown format, locked, the wrong passphrase, unreadable. An image
    /// that is too damaged to be opened is no error but a finding.
    /// </exception>
    public static ImageVerificationResult Run(ImageVerificationRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(observer);
        try
        {
            ImageFindings findings = Verify(request, observer, cancellation);
            List<string> repaired = [];
            if (request.Repair && findings.Worst == ImageFindingGrade.Repairable)
            {
                repaired = Repair(request, cancellation);
                if (repaired.Count > 0) findings = Verify(request, observer, cancellation);
                if (!findings.IsSound)
                    findings.Note("Repair", "Not everything could be mended: the image cannot be written to, or the repair did not hold.",
                        remedy: "Make a new image from its source.");
            }

            return new(request.Path, findings.IsSound, findings.ToList(), repaired);
        }
        catch (ImageException e)
        {
            throw e.WithPath(request.Path);
        }
    }

    private static ImageFindings Verify(ImageVerificationRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        var findings = new ImageFindings(request.Path);
        string stage = "Image";
        try
        {
            CheckOutside(request.Path, findings, cancellation);
            using ImageContainer container =
                ImageContainer.Open(request.Path, request.Passphrase, writable: false, cancellation: cancellation);
            using ReadingStop.Scope scope = container.Stop.By(cancellation);
            stage = "Container";
            if (container.Udif is { } udif) new UdifChecker(udif).Check(findings, observer, cancellation, request.LeavesChecksums);
            if (container.SparseImage is { } sparse) new SparseImageChecker(sparse).Check(findings);
            stage = "Partition map";
            using DiskImage image = DiskImage.Mount(request.Path, container, cancellation);
            CheckMap(image, findings);
            foreach (DiskImage.FoundVolume volume in image.Volumes) CheckVolume(volume, findings, cancellation);
            stage = "Content";
            foreach (ConditionFault fault in new ImageCondition(image).Judge(EntryChoice.Everything, cancellation)) Add(fault, findings);
            image.CheckUnchanged();
        }
        catch (ImageException e) when (IsDamage(e))
        {
            findings.Damaged(stage, e);
        }

        return findings;
    }

    // What can be judged without opening the disk, and without a passphrase.
    private static void CheckOutside(string path, ImageFindings findings, CancellationToken cancellation)
    {
        switch (ContainerDetection.Detect(path))
        {
            case ContainerKind.Encrypted:
                using (FileStorage file = FileStorage.OpenRead(path)) EncryptionHeaderChecker.Check(file, isToken: false, findings);
                break;
            case ContainerKind.SparseBundle:
                new SparseBundleChecker(path).Check(findings, cancellation);
                using (var token = new MemoryStorage(SparseBundleStorage.ReadToken(path)))
                    if (token.Length > 0) EncryptionHeaderChecker.Check(token, isToken: true, findings);
                break;
            default:
                break;
        }
    }

    private static void CheckVolume(DiskImage.FoundVolume volume, ImageFindings findings, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        string check = $"Volume {volume.Number} ({volume.Volume.Kind})";
        try
        {
            if (volume.Fault is { } fault) findings.Damaged(check, fault);
            else volume.Volume.Check(findings, cancellation);
        }
        catch (ImageException e) when (IsDamage(e))
        {
            findings.Damaged(check, e);
        }
    }

    // Of a disk that is cut short its map may be missing in part, and the volumes are judged all the same.
    private static void CheckMap(DiskImage image, ImageFindings findings)
    {
        try
        {
            new PartitionChecker(image.Disk, image.PartitionTable).Check(findings);
        }
        catch (ImageException e) when (IsDamage(e))
        {
            findings.Damaged("Partition map", e);
        }
    }

    private static void Add(ConditionFault fault, ImageFindings findings)
    {
        findings.Add(fault.Grade, fault.Check, fault.Message, fault.Place, fault.Remedy);
        foreach (UnstoredFile file in fault.Files)
            findings.Add(fault.Grade, fault.Check, $"{file.Path}: {file.Bytes} bytes are not stored.", file.Path, null);
        if (fault.FileCount > fault.Files.Count)
            findings.Add(
                fault.Grade, fault.Check, $"{fault.FileCount - fault.Files.Count} further files are not stored in whole.", null, null);
    }

    private static List<string> Repair(ImageVerificationRequest request, CancellationToken cancellation)
    {
        var repaired = new List<string>();
        ContainerKind kind = ContainerDetection.Detect(request.Path);
        if (kind == ContainerKind.SparseBundle && new SparseBundleChecker(request.Path).Repair() is { } mended) repaired.Add(mended);
        if (!CanWrite(request)) return repaired;
        RepairPartitions();
        // once more: by the map as it is now
        using DiskImage image = DiskImage.Open(request.Path, request.Passphrase, writable: true, cancellation);
        foreach (DiskImage.FoundVolume volume in image.Volumes.Where(v => v.Fault is null))
        {
            cancellation.ThrowIfCancellationRequested();
            repaired.AddRange(volume.Volume.Repair(cancellation));
        }

        image.Disk.Flush();
        return repaired;

        void RepairPartitions()
        {
            cancellation.ThrowIfCancellationRequested();
            using DiskImage disk = DiskImage.Open(request.Path, request.Passphrase, writable: true, cancellation);
            repaired.AddRange(new PartitionChecker(disk.Disk, disk.PartitionTable).Repair());
        }
    }

    // A read-only image stays as it is: its checksums cover every byte.
    private static bool CanWrite(ImageVerificationRequest request)
    {
        using ImageContainer container = ImageContainer.Open(request.Path, request.Passphrase, writable: false);
        return container.Udif is null;
    }

    private static bool IsDamage(ImageException e) => e.Id is ImageErrorId.ImageDamaged or ImageErrorId.ChecksumMismatch;
}
