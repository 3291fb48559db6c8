using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.Partitions;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Fuzzing;

/// <summary>Reads disks and volumes in every way the program does, and looks for contradictions.</summary>
internal static class DiskReading
{
    private const int MostEntries = 200, MostBytes = 64 << 10;

    /// <summary>Reads pieces of a disk, and lists its extents.</summary>
    /// <param name="disk">The disk.</param>
    public static void Samples(BlockStorage disk)
    {
        byte[] piece = new byte[MostBytes];
        for (long at = 0, step = Math.Max(piece.Length, disk.Length / 24); at < disk.Length; at += step)
        {
            try
            {
                disk.Read(at, piece.AsSpan(0, (int)Math.Min(piece.Length, disk.Length - at)));
            }
            catch (ImageException e) when (FuzzTarget.Verdicts.Contains(e.Id))
            {
            }
        }

        long end = 0;
        foreach (StorageExtent extent in ExtentWalk.Of(disk, CancellationToken.None).Take(100_000)) end = extent.End;
        if (end > disk.Length) throw new ContradictionException("extents behind the end");
    }

    /// <summary>Reads a partition map and the volumes in it.</summary>
    /// <param name="disk">The disk.</param>
    /// <param name="writable">The same, where the map may be mended.</param>
    public static void Disk(BlockStorage disk, BlockStorage? writable)
    {
        PartitionTable table = PartitionTable.Read(disk);
        var findings = new ImageFindings("disk");
        new PartitionChecker(disk, table).Check(findings);
        long covered = 0;
        foreach (DiskSegment segment in table.Segments)
        {
            if (segment.StartSector != covered || segment.SectorCount <= 0) throw new ContradictionException("segments are not adjacent");
            covered += segment.SectorCount;
        }

        if (covered != disk.Length / PartitionTable.SectorSize) throw new ContradictionException("segments do not cover the disk");
        if (table.Scheme == PartitionScheme.None) Volume(disk, null);
        foreach (BackupImagePartition partition in table.Partitions.Where(
            p => p.SizeBytes > 0 && p.OffsetBytes <= disk.Length - p.SizeBytes).Take(8))
        {
            using var window = new WindowStorage(disk, partition.OffsetBytes, partition.SizeBytes);
            Volume(window, null);
        }

        if (writable is null || findings.Worst != ImageFindingGrade.Repairable) return;
        new PartitionChecker(writable, table).Repair();
        PartitionTable again = PartitionTable.Read(writable);
        var after = new ImageFindings("disk");
        new PartitionChecker(writable, again).Check(after);
        if (!after.IsSound || again.Partitions.Count != table.Partitions.Count)
            throw new ContradictionException("the repair of the map did not hold");
    }

    /// <summary>Reads a volume.</summary>
    /// <param name="window">Where it lies.</param>
    /// <param name="writable">The same, where the volume may be mended; then nothing damages what is read but what was changed, and a sound
    /// volume must be readable.</param>
    public static void Volume(BlockStorage window, BlockStorage? writable)
    {
        using FileSystemVolume volume = VolumeDetection.Open(window, out ImageException? fault);
        if (fault is not null || volume.Kind == VolumeKind.Unknown) return;
        volume.Describe(1);
        ImageFindings? findings = Check(volume);
        bool mustBeReadable = writable is not null && findings is { IsSound: true };
        try
        {
            ReadFree(volume, window.Length);
            if (volume.ReadTree() is { } tree) ReadTree(tree, mustBeReadable);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            if (mustBeReadable) throw new ContradictionException("sound, but " + e.Problem);
        }

        if (writable is null || findings is not { Worst: ImageFindingGrade.Repairable }) return;
        IReadOnlyList<string> mended = volume.Repair(CancellationToken.None);
        using FileSystemVolume again = VolumeDetection.Open(window, out fault);
        if (mended.Count == 0 || fault is not null || Check(again) is not { IsSound: true })
            throw new ContradictionException("the repair did not hold");
    }

    private static ImageFindings? Check(FileSystemVolume volume)
    {
        var findings = new ImageFindings("volume");
        try
        {
            volume.Check(findings, CancellationToken.None);
            return findings;
        }
        catch (ImageException e) when (FuzzTarget.Verdicts.Contains(e.Id))
        {
            return null;
        }
    }

    private static void ReadFree(FileSystemVolume volume, long length)
    {
        long end = 0, total = 0;
        foreach (StorageExtent extent in volume.GetFreeExtents())
        {
            if (extent.Offset < end || extent.Length <= 0 || extent.Length > length - extent.Offset)
                throw new ContradictionException("free space out of order or outside the volume");
            (end, total) = (extent.End, total + extent.Length);
        }

        if (total > volume.FreeBytes) throw new ContradictionException("more is free than the volume counts");
    }

    private static void ReadTree(SourceTree tree, bool mustBeReadable)
    {
        using (tree)
        {
            if (mustBeReadable && tree.OmittedCount > 0) throw new ContradictionException("sound, but " + tree.Omissions[0]);
            foreach (SourceEntry entry in tree.Enumerate().Take(MostEntries))
            {
                try
                {
                    if (entry.Kind == EntryKind.File && entry.Size > 0) ReadSome(tree.OpenFork(entry, ForkKind.Data));
                    if (entry.ResourceForkSize > 0) ReadSome(tree.OpenFork(entry, ForkKind.Resource));
                    foreach (ExtendedAttribute attribute in entry.Attributes) ReadSome(tree.OpenAttribute(entry, attribute));
                }
                catch (ImageException e) when (
                    e.Id == ImageErrorId.UnsupportedFormat || (e.Id == ImageErrorId.ImageDamaged && (!mustBeReadable || IsContent(e))))
                {
                }
            }
        }
    }

    // What a file holds is nobody's to judge but who reads it.
    private static bool IsContent(ImageException e) => e.Place?.StartsWith("compressed content", StringComparison.Ordinal) == true;

    private static void ReadSome(BlockStorage content)
    {
        using (content)
        {
            byte[] piece = new byte[(int)Math.Min(content.Length, MostBytes)];
            content.Read(0, piece);
            content.Read(content.Length - Math.Min(content.Length, 512), piece.AsSpan(0, (int)Math.Min(content.Length, 512)));
        }
    }
}
