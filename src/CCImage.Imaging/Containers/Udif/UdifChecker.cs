using CCImage.Diagnostics;

namespace CCImage.Containers.Udif;

/// <summary>Judges a UDIF image: trailer, coverage of the disk by runs, where the runs lie in the file, and all checksums.</summary>
/// <param name="image">The image.</param>
internal sealed class UdifChecker(UdifStorage image)
{
    /// <summary>Judges it.</summary>
    /// <param name="findings">Receives what is found.</param>
    /// <param name="observer">Hears of progress, in bytes.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <param name="leavesChecksums">Whether somebody else compares the checksums.</param>
    public void Check(ImageFindings findings, IImagingObserver observer, CancellationToken cancellation, bool leavesChecksums = false)
    {
        bool isForkInFile = CheckTrailer(findings);
        CheckCoverage(findings);
        if (!isForkInFile) return;
        CheckPlaces(findings);
        if (!leavesChecksums) CheckChecksums(findings, observer, cancellation);
    }

    private bool CheckTrailer(ImageFindings findings)
    {
        const string What = "UDIF trailer";
        UdifTrailer trailer = image.Trailer;
        long trailerOffset = image.File.Length - UdifTrailer.Size;
        string place = $"UDIF trailer at byte {trailerOffset}";
        if (trailer.DataForkOffset > (ulong)trailerOffset || trailer.DataForkLength > (ulong)trailerOffset - trailer.DataForkOffset)
        {
            findings.Damaged(What, "The data fork reaches behind the end of the file.", place);
            return false;
        }

        ulong forkEnd = trailer.DataForkOffset + trailer.DataForkLength, listEnd = trailer.XmlOffset + trailer.XmlLength;
        bool isSane = true;
        if (trailer.XmlOffset < forkEnd && listEnd > trailer.DataForkOffset && trailer.DataForkLength != 0)
            Wrong($"The property list at byte {trailer.XmlOffset} lies inside the data fork.");
        if ((trailer.Flags & UdifConstants.FlagFlattened) == 0) Wrong("The trailer does not have the flag 'flattened'.");
        if (trailer.ImageVariant is var variant && variant != UdifConstants.VariantDevice && variant != UdifConstants.VariantPartition)
            findings.Note(What, $"The image variant is {trailer.ImageVariant}; 1 and 2 are known.", place);
        long covered = image.Tables.Count == 0 ? 0 : image.Tables.Max(t => (long)((ulong)t.Header.FirstSector + t.Header.SectorCount));
        if (trailer.SectorCount == 0)
            findings.Note(What, $"It does not tell the size of the disk; the block tables have {covered} sectors.", place);
        else if (trailer.SectorCount < (ulong)covered) Wrong($"It has {trailer.SectorCount} sectors, the block tables have {covered}.");
        if (isSane) findings.Ok(What, "Its fields make sense.", place);
        return true;

        void Wrong(string message)
        {
            isSane = false;
            findings.Damaged(What, message, place);
        }
    }

    // That no two runs cover the same sector was seen when the image was opened.
    private void CheckCoverage(ImageFindings findings)
    {
        const string What = "UDIF coverage";
        long next = 0, missing = 0;
        foreach (UdifBlockTable table in image.Tables.OrderBy(t => (ulong)t.Header.FirstSector))
        {
            long first = (long)(ulong)table.Header.FirstSector, end = first + (long)(ulong)table.Header.SectorCount;
            if (first < next) findings.Damaged(What, $"The block table '{table.Name}' overlaps the one before it.", $"sector {first}");
            if (first > next) Missing(next, first);
            long at = first;
            foreach (UdifRun run in table.Runs.OrderBy(r => r.FirstSector))
            {
                if (run.FirstSector > at) Missing(at, run.FirstSector);
                at = Math.Max(at, run.EndSector);
            }

            if (at < end) Missing(at, end);
            next = Math.Max(next, end);
        }

        if (next * UdifConstants.SectorSize < image.Length) Missing(next, image.Length / UdifConstants.SectorSize);
        if (missing == 0) findings.Ok(What, $"Every one of {image.Length / UdifConstants.SectorSize} sectors is covered.");

        void Missing(long from, long to)
        {
            missing += to - from;
            findings.Damaged(What, $"No run covers the sectors {from} to {to - 1}: what was there is lost.", $"sector {from}");
        }
    }

    private void CheckPlaces(ImageFindings findings)
    {
        const string What = "UDIF runs";
        UdifTrailer trailer = image.Trailer;
        long low = (long)(ulong)trailer.DataForkOffset, high = (long)Math.Min((ulong)trailer.XmlOffset, long.MaxValue), end = 0,
            outside = 0, overlaps = 0;
        bool isBehindList = trailer.XmlOffset < trailer.DataForkOffset;
        UdifRun last = default;
        foreach (UdifRun run in image.Tables.SelectMany(t => t.Runs).Where(r => r.IsStored).OrderBy(r => r.StoredOffset))
        {
            if (run.StoredOffset < low || (!isBehindList && run.StoredOffset + run.StoredLength > high))
            {
                outside++;
                findings.Damaged(
                    What, "A run lies outside the data fork.", $"run at sector {run.FirstSector}, stored at byte {run.StoredOffset}");
            }

            if (run.StoredOffset < end && (run.StoredOffset, run.StoredLength) != (last.StoredOffset, last.StoredLength))
            {
                overlaps++;
                findings.Damaged(What, "Two runs overlap in the file.",
                    $"runs at sectors {last.FirstSector} and {run.FirstSector}, byte {run.StoredOffset}");
            }

            if (run.StoredOffset + run.StoredLength > end) (end, last) = (run.StoredOffset + run.StoredLength, run);
        }

        if (outside == 0 && overlaps == 0) findings.Ok(What, "All runs lie inside the data fork and apart from each other.");
    }

    private void CheckChecksums(ImageFindings findings, IImagingObserver observer, CancellationToken cancellation)
    {
        const string What = "UDIF checksums";
        UdifVerification result = UdifVerification.Run(image, observer, cancellation);
        foreach (ImageException fault in result.Faults) findings.Damaged("UDIF runs", fault);
        foreach (UdifChecksumMismatch mismatch in result.Mismatches)
            findings.Damaged(
                What, $"The checksum is {mismatch.Actual:X8}, and {mismatch.Expected:X8} is stored: the data were changed or damaged.",
                mismatch.Place);
        UdifTrailer trailer = image.Trailer;
        Missing(trailer.DataForkChecksum, "data fork");
        foreach (UdifBlockTable table in image.Tables) Missing(table.Header.Checksum, table.Name);
        Missing(trailer.MasterChecksum, "master checksum");
        if (result is { Faults.Count: 0, Mismatches.Count: 0, Compared: > 0 })
            findings.Ok(What, $"{result.Compared} checksums fit the data.");

        void Missing(in UdifChecksum checksum, string place)
        {
            if (checksum.Crc32 is not null) return;
            findings.Note(
                What, checksum.Type == (uint)UdifChecksumType.None ? "There is no checksum: damage would not show here."
                : $"The checksum is of kind {checksum.Type}, which this version cannot compute.", place);
        }
    }
}
