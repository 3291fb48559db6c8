using CCImage.Diagnostics;

namespace CCImage.Containers.SparseImage;

/// <summary>
/// Judges a sparse image. Its tables were read whole when it was opened: that no band is stored twice with different bytes, none lies
/// beyond the disk and the chain of index nodes ends is known then. What is left is what reading does not need.
/// </summary>
/// <param name="image">The image.</param>
internal sealed class SparseImageChecker(SparseImageStorage image)
{
    /// <summary>Judges it.</summary>
    /// <param name="findings">Receives what is found.</param>
    public void Check(ImageFindings findings)
    {
        const string Index = "Sparse image index", What = "Sparse image header";
        long end = image.NodeEnd;
        bool isWhole = true;
        foreach ((int band, long offset, long length) in image.StoredExtents())
        {
            if (offset > image.StoredBytes - length)
            {
                isWhole = false;
                findings.Damaged(Index, $"The file ends at byte {image.StoredBytes}, inside or before band {band}: what was there is lost.",
                    $"byte {offset}");
            }

            end = Math.Max(end, offset + length);
        }

        if (isWhole) findings.Ok(Index, $"{image.StoredBandCount} of {image.BandCount} bands are stored, each once and inside the file.");
        if (image.DuplicateBandCount > 0)
        {
            findings.Note(
                Index, $"{image.DuplicateBandCount} bands are stored twice with the same bytes: a compaction was interrupted.",
                "the table of bands",
                "Nothing is lost. Compacting the image again finishes it.");
        }

        if (image.StoredBytes - end >= image.BandSizeBytes)
            findings.Note(Index, $"{image.StoredBytes - end} bytes at the end of the file belong to no band.", $"byte {end}",
                "Compacting the image gives them back.");
        SparseImageHeader header = image.ReadHeader();
        bool isKnown = header.Flags == 1
            && (header.TotalSectors == 0 || header.TotalSectorsLow == (uint)((ulong)header.TotalSectors & uint.MaxValue));
        if (isKnown) findings.Ok(What, "Its fields make sense.");
        else if (header.Flags != 1) findings.Note(What, $"A field that is 1 in every image seen has the value {header.Flags}.", "byte 12");
        else findings.Damaged(
            What, $"The size of the disk is stored twice and differs: {header.TotalSectors} and {header.TotalSectorsLow} sectors.",
            "bytes 16 and 28");
    }
}
