using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.Restoring;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage;

/// <summary>Something that is wrong with what an image holds of its disk, whatever its structures say.</summary>
/// <param name="Grade">How grave it is for a verification.</param>
/// <param name="Check">What was looked at.</param>
/// <param name="Message">What was seen and what it means, in a sentence with a full stop.</param>
/// <param name="Place">Where, or null.</param>
/// <param name="Remedy">What to do, or null.</param>
internal sealed record ConditionFault(ImageFindingGrade Grade, string Check, string Message, string? Place = null, string? Remedy = null)
{
    /// <summary>Whether content is missing or in doubt: then a job that takes it over says so, or refuses.</summary>
    public bool IsContentInDoubt { get; init; } = true;

    /// <summary>The first files concerned.</summary>
    public IReadOnlyList<UnstoredFile> Files { get; init; } = [];

    /// <summary>How many files are concerned.</summary>
    public long FileCount { get; init; }

    /// <summary>Bytes that are concerned, where they can be counted.</summary>
    public long Bytes { get; init; }

    /// <summary>Whether reading what is missing is an error, which says so for each file.</summary>
    public bool IsCut { get; init; }
}

/// <summary>A file whose content is not stored in whole.</summary>
/// <param name="Path">Its path in the volume.</param>
/// <param name="Bytes">Bytes of it that are not stored.</param>
internal sealed record UnstoredFile(string Path, long Bytes);

/// <summary>
/// What an image lacks of its disk, compared with what its volumes use: a disk that is cut short, a decryption that nothing confirms, bands
/// that were lost. The checkers of containers and file systems judge structures; here both are known at once.
/// </summary>
/// <param name="image">The image.</param>
internal sealed class ImageCondition(DiskImage image)
{
    /// <summary>Files that are named, of those concerned.</summary>
    public const int MostNamed = 20;

    /// <summary>So many files do not begin with zeros side by side by chance.</summary>
    private const int ManyBeginnings = 2;

    private const string Cut = "Disk end", Content = "Content", Stored = "Stored blocks";
    private const int Beginning = 64 << 10;

    /// <summary>Judges everything.</summary>
    /// <param name="choice">The files that matter.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>What is wrong; empty for an image that lacks nothing.</returns>
    public IReadOnlyList<ConditionFault> Judge(EntryChoice choice, CancellationToken cancellation)
    {
        var faults = new List<ConditionFault>();
        if (JudgeContent() is { } unknown) faults.Add(unknown);
        if (JudgeEnd(choice, cancellation) is { } cut) faults.Add(cut);
        if (JudgeBands(choice, cancellation) is { } lost) faults.Add(lost);
        return faults;
    }

    /// <summary>Whether nothing that is missing at the end of the disk is in use.</summary>
    public bool IsCutHarmless(CancellationToken cancellation = default) => image.Volumes.Count > 0
        && image.Volumes.All(v => v.Fault is null) && UsedBytes(image.Container.GetMissingExtents(), cancellation) == 0;

    /// <summary>Refuses to change an image that lacks something: what is written would bury what is missing.</summary>
    /// <param name="image">The image.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static void RequireWhole(DiskImage image, CancellationToken cancellation)
    {
        if (new ImageCondition(image).Judge(EntryChoice.Everything, cancellation)
            .FirstOrDefault(f => f.Grade == ImageFindingGrade.Damaged) is not { } fault) return;
        throw new ImageException(
            ImageErrorId.ImageDamaged, fault.Message + " Nothing is written to such an image.", image.Path, fault.Place, fault.Remedy);
    }

    /// <summary>What can be said of a disk on which nothing is recognised, or null where something is.</summary>
    public ConditionFault? JudgeContent()
    {
        // First: a partition map has a copy at the end of the disk, and what is found by it is no proof that the beginning is there.
        bool isBlank = IsBlank(0);
        if (isBlank && HasStoredBands())
        {
            return new(
                ImageFindingGrade.Damaged, Content,
                "Bands are stored, but nothing at all at the beginning of the disk: its first band is missing, or empty.", "band 0",
                "Put back the missing band from another copy of the image.");
        }

        if (image.Volumes.Count > 0) return null;
        if (image.PartitionScheme != PartitionScheme.None) return JudgePartitions();

        // A container inside of the encryption proves the keys by its own signature; of a bundle and of a raw disk only the content does.
        bool isProved = image.Container.Udif is not null || image.Container.SparseImage is not null;
        if (image.Container.Encryption != BackupImageEncryption.None && !isProved && !isBlank)
        {
            return new(
                ImageFindingGrade.Damaged, Content,
                "The decrypted disk makes no sense, neither a partition map nor a file system is recognised: the keys, or the beginning of "
                    + "the disk, may be damaged.",
                image.Container.Bundle is null ? "encryption header"
                : "token", "Put back the header of the encryption (of a bundle the file 'token') from another copy.");
        }

        return new(ImageFindingGrade.Note, Content,
            "Neither a partition map nor a file system was recognised: what is on the disk was not checked.") { IsContentInDoubt = false };
    }

    // A map without any volume: its partitions may hold what is not known here, but not nothing while bands are stored inside.
    private ConditionFault? JudgePartitions()
    {
        if (image.Container.Bundle is null && image.Container.SparseImage is null) return null;
        IReadOnlyList<StorageExtent> unstored = GetUnstored();
        foreach (BackupImagePartition partition in image.PartitionTable.Partitions)
        {
            long length = Math.Min(partition.SizeBytes, image.Disk.Length - partition.OffsetBytes);
            if (length <= 0 || !IsBlank(partition.OffsetBytes)) continue;
            StorageExtent window = new(partition.OffsetBytes, length, ExtentKind.Unused),
                start = window with { Length = Math.Min(length, Beginning) };
            bool isStartStored = ExtentSets.Intersect([start], unstored).Count == 0;
            if (isStartStored || ExtentSets.Subtract([window], unstored).Count == 0) continue;
            return new(
                ImageFindingGrade.Damaged, Content,
                $"Bands of partition {partition.Number} are stored, but not its beginning: its volume cannot be found.",
                $"partition {partition.Number}",
                "Put back the missing band from another copy of the image.");
        }

        return null;
    }

    private ConditionFault? JudgeEnd(EntryChoice choice, CancellationToken cancellation)
    {
        IReadOnlyList<StorageExtent> missing = image.Container.GetMissingExtents();
        if (missing.Count == 0) return null;
        long bytes = ExtentSets.Bytes(missing), used = UsedBytes(missing, cancellation);
        string what = $"The image is cut short: {bytes} of the {image.Disk.Length} bytes of its disk are missing";
        if (used == 0)
            return new(ImageFindingGrade.Note, Cut, what + ". The volumes do not use them.",
                $"byte {missing[0].Offset} of the disk") { IsContentInDoubt = false, IsCut = true };
        (List<UnstoredFile> files, long count, _, _) = FindFiles(missing, choice, cancellation);
        return new(
            ImageFindingGrade.Damaged, Cut, $"{what}, and {used} of them are in use or not known to be free; {Files(count)}.",
            $"byte {missing[0].Offset} of the disk",
            "Restore the image from another copy; Restore-BackupImage restores what is there.")
        { Files = files, FileCount = count, Bytes = used, IsCut = true };
    }

    private ConditionFault? JudgeBands(EntryChoice choice, CancellationToken cancellation)
    {
        if (image.Container.Bundle is null && image.Container.SparseImage is null) return null;
        IReadOnlyList<StorageExtent>? recorded = image.Container.Bundle?.RecordedZeros;
        List<StorageExtent> unstored = ExtentSets.Subtract(GetUnstored(), recorded ?? []);
        List<StorageExtent> used = Used(unstored, cancellation);
        if (used.Count == 0) return null;
        (List<UnstoredFile> files, long count, long beginnings, long bytes) = FindFiles(unstored, choice, cancellation);
        if (count == 0) return null;
        string what =
            $"{bytes} bytes of {count} file{(count == 1 ? "" : "s")} lie in bands, or behind the end of bands, that are not stored";
        if (IsLost(recorded is not null, beginnings, used, cancellation))
        {
            return new(
                ImageFindingGrade.Damaged, Stored, what + ": bands were lost, and these files would be zeros there.", "bands",
                "Put back the missing bands from another copy of the image.")
            { Files = files, FileCount = count, Bytes = bytes };
        }

        bool isSparseImage = image.Container.SparseImage is not null;
        return new(
            ImageFindingGrade.Note, Stored, what
            + ". They are zeros that whoever made the image left out, or they were lost: nothing tells which.", "bands",
            "Compare these files with another copy.")
        { Files = files, FileCount = count, Bytes = bytes, IsContentInDoubt = !isSparseImage };
    }

    // A bundle with a record tells what was zeros. Without one: no writer ends a band inside of a sector, and several files that all begin
    // with zeros are none. In a sparse image a band goes missing only by its entry in the table, and then what it was lies in the file
    // still.
    private bool IsLost(bool isRecorded, long beginnings, IReadOnlyList<StorageExtent> used, CancellationToken cancellation)
    {
        if (image.Container.SparseImage is { } sparse) return sparse.CountOrphans(cancellation) > 0;
        return isRecorded || beginnings >= ManyBeginnings || ExtentSets.Intersect(image.Container.Bundle!.GetTornEnds(), used).Count > 0;
    }

    private IReadOnlyList<StorageExtent> GetUnstored() =>
        image.Container.Bundle?.GetUnstoredExtents() ?? image.Container.SparseImage?.GetUnstoredExtents() ?? [];

    private bool HasStoredBands() => image.Container.Bundle?.HasStoredBands() ?? (image.Container.SparseImage?.StoredBandCount > 0);

    private bool IsBlank(long offset)
    {
        byte[] first = new byte[(int)Math.Clamp(image.Disk.Length - offset, 0, Beginning)];
        image.Disk.Read(offset, first);
        return !first.AsSpan().ContainsAnyExcept((byte)0);
    }

    // What of some ranges lies in volumes and is not known to be free.
    private long UsedBytes(IReadOnlyList<StorageExtent> ranges, CancellationToken cancellation) =>
        ExtentSets.Bytes(Used(ranges, cancellation));

    private List<StorageExtent> Used(IReadOnlyList<StorageExtent> ranges, CancellationToken cancellation)
    {
        if (image.Volumes.Count == 0) return [.. ranges];
        List<StorageExtent> windows =
            [.. image.Volumes.OrderBy(v => v.OffsetBytes).Select(v => new StorageExtent(v.OffsetBytes, v.LengthBytes, ExtentKind.Unused))];
        return ExtentSets.Intersect(ExtentSets.Subtract(ranges, image.GetFreeExtents(cancellation)), windows);
    }

    // The volumes are opened once more on a disk that calls those ranges unused: so the forks of files tell, whatever the file system.
    private (List<UnstoredFile> Files, long Count, long Beginnings, long Bytes) FindFiles(
        IReadOnlyList<StorageExtent> ranges, EntryChoice choice, CancellationToken cancellation)
    {
        var files = new List<UnstoredFile>();
        long count = 0, beginnings = 0, bytes = 0;
        using var disk = new MaskedStorage(image.Disk, ranges.Select(r => (r.Offset, r.Length)));
        foreach (DiskImage.FoundVolume found in image.Volumes.Where(v => v.Fault is null))
        {
            using FileSystemVolume volume =
                VolumeDetection.Open(new WindowStorage(disk, found.OffsetBytes, found.LengthBytes), out ImageException? fault);
            for (int index = 0; fault is null && index < volume.VolumeCount; index++)
            {
                cancellation.ThrowIfCancellationRequested();
                FindFilesOf(volume, index);
            }
        }

        return (files, count, beginnings, bytes);

        void FindFilesOf(FileSystemVolume volume, int index)
        {
            try
            {
                if (!volume.HasReadableTree(index)) return;
                using SourceTree? tree = volume.ReadTree(index, cancellation);
                if (tree is null) return;
                var selection = new RestoreSelection(tree, choice, cancellation);
                foreach (SourceEntry entry in tree.Enumerate())
                {
                    cancellation.ThrowIfCancellationRequested();
                    if (entry.Kind != EntryKind.File || !selection.IsTaken(entry)) continue;
                    long missing = Measure(tree, entry, ForkKind.Data, out bool begins)
                        + (entry.ResourceForkSize > 0 ? Measure(tree, entry, ForkKind.Resource, out _) : 0);
                    if (missing == 0) continue;
                    count++;
                    bytes += missing;
                    if (begins) beginnings++;
                    if (files.Count < MostNamed) files.Add(new(tree.DisplayPath(entry), missing));
                }
            }
            catch (ImageException e) when (e.Id is ImageErrorId.ImageDamaged or ImageErrorId.ChecksumMismatch
                or ImageErrorId.UnsupportedFormat or ImageErrorId.InvalidArgument)
            {
                // Whoever reads the files says so; here only those count whose blocks are known.
            }
        }
    }

    private static long Measure(SourceTree tree, SourceEntry entry, ForkKind kind, out bool begins)
    {
        begins = false;
        try
        {
            using BlockStorage fork = tree.OpenFork(entry, kind);
            long missing = 0;
            foreach (StorageExtent extent in fork.GetExtents(0, fork.Length).Where(e => e.Kind == ExtentKind.Unused))
            {
                begins |= extent.Offset == 0;
                missing += extent.Length;
            }

            return missing;
        }
        catch (ImageException)
        {
            return 0; // reading it says why
        }
    }

    private static string Files(long count) => count switch
    {
        0 => "no file that could be listed lies there",
        1 => "a file lies there",
        _ => $"{count} files lie there",
    };
}
