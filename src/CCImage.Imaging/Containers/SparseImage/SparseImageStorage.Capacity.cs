using CCImage.Binary;

namespace CCImage.Containers.SparseImage;

/// <content>How a sparse image gets another capacity.</content>
internal sealed partial class SparseImageStorage
{
    /// <summary>
    /// Gives the disk another length, durably. What is cut off is lost; what is added reads as zeros. Nobody may read or write meanwhile.
    /// The file keeps its length: bands that are cut off leave free slots, which compacting gives back.
    /// <para>
    /// The order: (shrinking) the entries of bands behind the new end are cleared first, because a table that names a band behind the end
    /// is damaged; what the last band holds behind the shorter end is cleared, or it would come back; last, the counts of sectors, both in
    /// the header's first sector. Every prefix is a valid image of the old or the new length.
    /// </para>
    /// </summary>
    /// <param name="length">The new length in bytes: a multiple of 512.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>: too many bands; what the host says.</exception>
    public void SetCapacity(long length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, SectorSize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(length % SectorSize, 0);
        if (!_writable) throw new NotSupportedException("This storage is read-only.");
        CheckCapacity(length);
        Flush();
        lock (_saving)
        {
            int count = (int)Layout.DivideUp(length, BandSizeBytes);
            Remove([.. StoredBands().Where(b => b >= count)]);
            ClearTail(Math.Min(length, _length));
            _file.Flush();
            byte[] node = new byte[SparseImageHeader.NodeSize];
            _file.Read(0, node);
            SparseImageHeader header = Layout.Read<SparseImageHeader>(node);
            header.TotalSectors = (ulong)(length / SectorSize);
            header.TotalSectorsLow = (uint)((length / SectorSize) & uint.MaxValue);
            Layout.Write(node, in header);
            _file.Write(0, node.AsSpan(0, SectorSize));
            _file.Flush();
            Array.Resize(ref _slots, (int)Layout.DivideUp(count, PageSize));
            (BandCount, _length) = (count, length);
        }
    }

    /// <summary>Judges whether the tables can count the bands of a disk.</summary>
    /// <param name="length">Bytes of the disk.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>: too many.</exception>
    public void CheckCapacity(long length)
    {
        if (Layout.DivideUp(length, BandSizeBytes) >= int.MaxValue)
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"A sparse image cannot have a capacity of {length} bytes.", remedy: "Ask for at most 2 PB.");
    }

    /// <summary>Takes bands that are stored out of the tables.</summary>
    private void Remove(IReadOnlyCollection<int> bands)
    {
        WriteEntries(bands.Select(b => (SlotOf(b), 0u)));
        foreach (int band in bands)
        {
            Volatile.Write(ref _slots[band >> PageShift]![band & (PageSize - 1)], 0);
            Interlocked.Decrement(ref _storedBands);
        }
    }

    /// <summary>Writes entries of the tables in place, node by node. The sectors of a node stand alone: each of them, old or new, is
    /// right.</summary>
    private void WriteEntries(IEnumerable<(int Slot, uint Entry)> entries)
    {
        byte[] node = new byte[SparseImageHeader.NodeSize];
        foreach (IGrouping<int, (int Slot, uint Entry)> group in entries.GroupBy(e => NodeOf(e.Slot)))
        {
            _file.Read(_nodes[group.Key], node);
            SetEntries(node, group.Key, group);
            _file.Write(_nodes[group.Key], node);
        }
    }

    /// <summary>Clears what the band of an end of the disk holds behind it; the band becomes whole in the file.</summary>
    private void ClearTail(long end)
    {
        (long band, long within) = Math.DivRem(end, BandSizeBytes);
        if (within == 0 || SlotOf((int)band) is not (>= 0 and int slot)) return;
        WriteZeros(OffsetOf(slot) + within, BandSizeBytes - within);
    }
}
