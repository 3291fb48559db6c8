using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Gives back leaked blocks and restores volume headers; nothing else. The order, with a flush between: the bitmap, where only bits of
/// blocks that nothing uses are cleared; the first header, one sector, with the count that is now true, or made from its copy where it was
/// lost; the copy, one sector. Cut anywhere, the volume has no block in use that is marked as free, and at least one header as good as
/// before.
/// </summary>
/// <param name="volume">A volume on a storage that can be written.</param>
internal sealed class HfsPlusRepair(HfsPlusVolume volume)
{
    private readonly List<string> _done = [];

    /// <summary>Judges the volume, and mends it when nothing is damaged.</summary>
    /// <param name="cancellation">Ends it between two steps.</param>
    /// <returns>What was mended.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public IReadOnlyList<string> Run(CancellationToken cancellation)
    {
        var findings = new ImageFindings("");
        var checker = new HfsPlusChecker(volume, findings, cancellation);
        checker.Run();
        if (findings.Worst == ImageFindingGrade.Damaged || checker.Bitmap is null)
            throw new ImageException(ImageErrorId.ImageDamaged, "The volume is damaged, so that nothing of it can be mended without risk.",
                remedy: "Restore what can be read, and make a new image.");
        if (checker.MayLag)
            throw new ImageException(ImageErrorId.ImageDamaged, "The journal of the volume holds changes that are not in their places yet.",
                remedy: "Attach the image once on a Mac and eject it.");
        if (findings.IsSound) return [];

        GiveBack(checker.Bitmap, cancellation);
        VolumeHeader header = checker.CountedHeader;
        RestorePrimary(checker, ref header, cancellation);
        if (checker.IsAlternateWrong) RestoreAlternate(header, cancellation);
        return _done;
    }

    private void GiveBack(BitmapChecker bitmap, CancellationToken cancellation)
    {
        if (bitmap.Leaked == 0) return;
        cancellation.ThrowIfCancellationRequested();
        bitmap.GiveBack();
        volume.Storage.Flush();
        _done.Add($"{bitmap.Leaked} blocks that nothing used were given back.");
    }

    private void RestorePrimary(HfsPlusChecker checker, ref VolumeHeader header, CancellationToken cancellation)
    {
        if (!checker.IsPrimaryLost && header.FreeBlocks == volume.Header.FreeBlocks) return;
        cancellation.ThrowIfCancellationRequested();
        // The copy may have been written while the volume was mounted; that everything agrees was proved just now.
        if (checker.IsPrimaryLost)
            header.Attributes =
                (uint)(((VolumeAttributes)(uint)header.Attributes | VolumeAttributes.Unmounted) & ~VolumeAttributes.Inconsistent);
        volume.WriteHeader(isAlternate: false, header);
        volume.Storage.Flush();
        _done.Add(checker.IsPrimaryLost ? "The volume header was restored from its copy, with the counts that were found."
            : "The count of free blocks in the volume header was corrected.");
    }

    private void RestoreAlternate(VolumeHeader header, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        volume.WriteHeader(isAlternate: true, header);
        volume.Storage.Flush();
        _done.Add("The copy of the volume header was restored.");
    }
}
