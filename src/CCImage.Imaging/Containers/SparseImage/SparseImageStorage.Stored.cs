using CCImage.Storage;

namespace CCImage.Containers.SparseImage;

/// <content>What of the disk the file does not hold.</content>
internal sealed partial class SparseImageStorage
{
    /// <summary>The ranges of the disk that no band of the file holds.</summary>
    /// <returns>Ascending; adjacent ones are one.</returns>
    public IReadOnlyList<StorageExtent> GetUnstoredExtents()
    {
        var unstored = new List<StorageExtent>();
        long at = 0;
        foreach (int band in StoredBands())
        {
            long start = band * BandSizeBytes;
            if (start > at) unstored.Add(new(at, start - at, ExtentKind.Unused));
            at = Math.Min(Length, start + BandSizeBytes);
        }

        if (at < Length) unstored.Add(new(at, Length - at, ExtentKind.Unused));
        return unstored;
    }

    /// <summary>The ranges of the disk whose bands should be in the file and lie behind its end: reading them is an error.</summary>
    /// <returns>Ascending, not overlapping.</returns>
    public IReadOnlyList<StorageExtent> GetMissingExtents()
    {
        var missing = new List<StorageExtent>();
        foreach ((int band, long offset, long length) in StoredExtents())
        {
            long there = Math.Clamp(_file.Length - offset, 0, length);
            if (there < length) missing.Add(new((band * BandSizeBytes) + there, length - there, ExtentKind.Unused));
        }

        return missing;
    }

    /// <summary>
    /// Slots before the last stored band that no entry of the table names and that hold something: bands whose entry was lost, or what an
    /// interrupted compaction left.
    /// </summary>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The file cannot be read.</exception>
    public int CountOrphans(CancellationToken cancellation)
    {
        var used = new HashSet<int>(_duplicates.Keys);
        foreach (int band in StoredBands()) used.Add(SlotOf(band));
        int last = used.Count == 0 ? -1 : used.Max(), orphans = 0;
        byte[] piece = new byte[ZeroChunk];
        for (int slot = 0; slot < last; slot++)
        {
            cancellation.ThrowIfCancellationRequested();
            if (!used.Contains(slot) && HoldsSomething(slot, piece)) orphans++;
        }

        return orphans;
    }

    private bool HoldsSomething(int slot, byte[] piece)
    {
        long at = OffsetOf(slot), end = Math.Min(_file.Length, at + BandSizeBytes);
        for (; at < end; at += piece.Length)
        {
            Span<byte> part = piece.AsSpan(0, (int)Math.Min(piece.Length, end - at));
            _file.Read(at, part);
            if (part.ContainsAnyExcept((byte)0)) return true;
        }

        return false;
    }
}
