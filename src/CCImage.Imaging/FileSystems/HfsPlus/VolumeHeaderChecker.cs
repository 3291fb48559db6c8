using CCImage.Binary;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Judges the volume header by itself and against its copy at the end.</summary>
/// <param name="volume">The volume.</param>
/// <param name="findings">Receives what is found.</param>
internal sealed class VolumeHeaderChecker(HfsPlusVolume volume, ImageFindings findings)
{
    // Creation is kept in local time, so two dates of one moment may be most of a day apart.
    private const uint Day = 24 * 60 * 60;

    /// <summary>Whether the first header cannot be used and its copy stands in.</summary>
    public bool IsPrimaryLost { get; private set; }

    /// <summary>Whether the copy must be written anew.</summary>
    public bool IsAlternateWrong { get; private set; }

    /// <summary>Judges both.</summary>
    public void Run()
    {
        string? primaryFault = volume.ReadHeader(isAlternate: false, out VolumeHeader primary);
        string? alternateFault = volume.ReadHeader(isAlternate: true, out VolumeHeader alternate);
        IsPrimaryLost = primaryFault is not null;
        if (IsPrimaryLost)
        {
            findings.Repairable(HfsPlusCheckNames.Header,
                $"The volume header cannot be used ({primaryFault}): a Mac refuses the volume. Its copy at the end stands in.",
                volume.HeaderPlace(isAlternate: false));
        }
        else if (alternateFault is not null)
        {
            IsAlternateWrong = true;
            findings.Repairable(HfsPlusCheckNames.AlternateHeader,
                $"The copy of the volume header cannot be used ({alternateFault}).", volume.HeaderPlace(isAlternate: true));
        }
        else
        {
            Compare(primary, alternate);
        }

        CheckFields(volume.Header);
    }

    // What a repair tool would take from the copy must be right. Counts, dates and flags may be old: macOS writes the copy only when a
    // special file grows, when the journal is switched, and at unmounting; fsck_hfs itself compares nothing but the creation date.
    private void Compare(in VolumeHeader primary, in VolumeHeader alternate)
    {
        VolumeHeader expected = alternate;
        (expected.Attributes, expected.LastMountedVersion) = (primary.Attributes, primary.LastMountedVersion);
        (expected.ModifyDate, expected.BackupDate, expected.CheckedDate) = (primary.ModifyDate, primary.BackupDate, primary.CheckedDate);
        (expected.FileCount, expected.FolderCount, expected.FreeBlocks) = (primary.FileCount, primary.FolderCount, primary.FreeBlocks);
        (expected.NextAllocation, expected.NextCatalogId, expected.WriteCount) =
            (primary.NextAllocation, primary.NextCatalogId, primary.WriteCount);
        (expected.ResourceClumpSize, expected.DataClumpSize) = (primary.ResourceClumpSize, primary.DataClumpSize);
        (expected.EncodingsBitmap, expected.FinderInfo) = (primary.EncodingsBitmap, primary.FinderInfo);
        if (!volume.IsJournaled) expected.JournalInfoBlock = primary.JournalInfoBlock;
        VolumeHeader actual = primary;
        if (!Layout.AsBytes(ref expected).SequenceEqual(Layout.AsBytes(ref actual)))
        {
            IsAlternateWrong = true;
            findings.Repairable(HfsPlusCheckNames.AlternateHeader,
                "The copy of the volume header names other special files, another journal, size or creation date than the header: it could "
                    + "not stand in for it.", volume.HeaderPlace(isAlternate: true));
        }
        else if (alternate.FreeBlocks != primary.FreeBlocks || alternate.FileCount != primary.FileCount
            || alternate.FolderCount != primary.FolderCount)
        {
            findings.Note(HfsPlusCheckNames.AlternateHeader,
                "The counts in the copy of the volume header are old, as macOS often leaves them.", volume.HeaderPlace(isAlternate: true));
        }
    }

    private void CheckFields(in VolumeHeader header)
    {
        string place = volume.HeaderPlace(IsPrimaryLost);
        void Fault(string message) => findings.Damaged(HfsPlusCheckNames.Header, message, place);
        ushort version = header.Signature == HfsPlusConstants.SignatureHfsx ? HfsPlusConstants.VersionHfsx
            : HfsPlusConstants.VersionHfsPlus;
        if (header.Version != version) Fault($"The volume header has version {header.Version} instead of {version}.");
        if (header.NextAllocation >= header.TotalBlocks)
            Fault($"The next allocation is to begin at block {header.NextAllocation} of {header.TotalBlocks}.");
        if (header.AllocationFile.LogicalSize < (ulong)Layout.DivideUp(header.TotalBlocks, 8))
            Fault($"The allocation file of {header.AllocationFile.LogicalSize} bytes is too short for {header.TotalBlocks} blocks.");
        if (header.NextCatalogId < CatalogNodeId.FirstUser) Fault($"The next catalog id is {header.NextCatalogId}.");
        foreach (uint clump in (ReadOnlySpan<uint>)[header.ResourceClumpSize, header.DataClumpSize, header.CatalogFile.ClumpSize,
            header.ExtentsFile.ClumpSize, header.AllocationFile.ClumpSize])
        {
            if (clump % header.BlockSize != 0)
                Fault($"A clump of {clump} bytes is no multiple of the allocation block of {header.BlockSize} bytes.");
        }

        if (header.CreateDate == 0 || (header.ModifyDate != 0 && (long)header.ModifyDate + Day < header.CreateDate))
            findings.Note(
                HfsPlusCheckNames.Header, "The volume seems to have been changed before it was created, or has no creation date.", place);
        if (volume.Has(VolumeAttributes.Inconsistent))
            findings.Note(HfsPlusCheckNames.Header,
                "Whoever used the volume last marked it as inconsistent; a Mac checks it when it is attached.", place);
        if (!volume.Has(VolumeAttributes.Unmounted))
            findings.Note(
                HfsPlusCheckNames.Header, "The volume was not unmounted properly.", place, "Attach it once on a Mac and eject it.");
    }
}
