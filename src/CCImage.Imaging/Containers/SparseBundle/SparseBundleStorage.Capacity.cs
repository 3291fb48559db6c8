using CCImage.Binary;
using CCImage.Encryption;
using CCImage.PropertyLists;
using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <content>How a bundle gets another capacity.</content>
internal sealed partial class SparseBundleStorage
{
    /// <summary>
    /// Gives the disk another length, durably. What is cut off is lost; what is added reads as zeros. Nobody may read or write meanwhile.
    /// <para>
    /// The order: (growing) what a resize that was killed left behind the old end is removed, or it would come back; <c>Info.plist</c> is
    /// replaced, which alone is believed as long as it can be read, so that this one rename is the change; then its copy, whose content
    /// stays valid for either length, because nothing lies behind the shorter one yet or any more; (shrinking) the bands behind the new end
    /// are removed, and the last band is cut. With the length that the disk has already, all of it is done, too: that finishes what was cut
    /// off.
    /// </para>
    /// </summary>
    /// <param name="length">The new length in bytes: a multiple of 512.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public void SetCapacity(long length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 512);
        ArgumentOutOfRangeException.ThrowIfNotEqual(length % 512, 0);
        if (!_writable) throw new NotSupportedException("This storage is read-only.");
        Flush();
        _bands.Close();
        try
        {
            long before = Length;
            if (length > before)
            {
                RemoveBehind(before);
                FillLastBand(before, length);
            }

            ReplaceLists(length);
            _files.Info = _files.Info with { DiskLength = length };
            if (length <= before) RemoveBehind(length);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Path, writing: true);
        }
    }

    /// <summary>Whether a change of the capacity that was interrupted left something to be finished: bands behind the end, a band that is
    /// too long, two lists that differ.</summary>
    /// <exception cref="ImageException">What the host says.</exception>
    public bool HasRemains
    {
        get
        {
            try
            {
                long count = Layout.DivideUp(Length, BandSizeBytes), within = Length % BandSizeBytes;
                if (_files.ListNumbers().Any(b => b >= count)) return true;
                if (_files.Folder.ReadSmallFile(SparseBundleInfo.CopyName, MaximumInfoLength) is not { } copy
                    || !ReadInfoForChange().AsSpan().SequenceEqual(copy)) return true;
                return within > 0 && _files.LengthOf(count - 1) > Layout.RoundUp(within, SparseBundleFiles.MapUnit);
            }
            catch (Exception e) when (FileErrors.IsFileError(e))
            {
                throw FileErrors.Map(e, Path, writing: false);
            }
        }
    }

    /// <summary>Writes both lists anew with another length; keys that are not known here stay.</summary>
    private void ReplaceLists(long length, string? zeros = null, bool removesRecord = false)
    {
        byte[] bytes = Changed(ReadInfoForChange(), length, zeros, removesRecord);

        // A bundle without a token is locked by the list itself, and an open file cannot be replaced everywhere.
        bool isGuard = IsGuard(SparseBundleInfo.FileName);
        if (isGuard) _guard!.Dispose();
        _files.Folder.ReplaceSmallFile(SparseBundleInfo.FileName, bytes);
        if (isGuard) _guard = _files.Folder.OpenGuard(writable: true);
        _files.Folder.ReplaceSmallFile(SparseBundleInfo.CopyName, bytes);
    }

    private static byte[] Changed(byte[] info, long length, string? zeros, bool removesRecord)
    {
        var list = (PropertyListDictionary)PropertyListReader.Parse(info);
        var changed = new PropertyListDictionary();
        foreach ((string key, PropertyListNode value) in list)
        {
            if (zeros is null || key != SparseBundleZeros.Key) changed.Add(key, key == "size" ? length : value);
        }

        if (zeros is not null && !removesRecord) changed.Add(SparseBundleZeros.Key, zeros);
        return PropertyListWriter.Write(changed);
    }

    private bool IsGuard(string name) => _guard is { } guard && System.IO.Path.GetFileName(guard.Path) == name;

    private byte[] ReadInfoForChange() => IsGuard(SparseBundleInfo.FileName)
        ? SparseBundleFolder.ReadWhole(_guard!, SparseBundleInfo.FileName, MaximumInfoLength)
        : _files.Folder.ReadSmallFile(SparseBundleInfo.FileName, MaximumInfoLength)
            ?? throw ImageException.Damaged("Info.plist is missing.", SparseBundleInfo.FileName).WithPath(Path);

    /// <summary>Removes the bands behind an end of the disk, and cuts the band that the end lies in.</summary>
    private void RemoveBehind(long end)
    {
        long count = Layout.DivideUp(end, BandSizeBytes), within = end % BandSizeBytes;
        long[] behind = [.. _files.ListNumbers().Where(b => b >= count)];
        foreach (long number in behind)
        {
            _files.Remove(number);
            _bands.Forget(number);
        }

        if (behind.Length > 0) _files.FlushRemovals();
        if (within == 0 || !_files.HasBand(count - 1)) return;
        CutBand(count - 1, within);
        ClearBits(count - 1, [], Layout.RoundUp(within, SparseBundleFiles.MapUnit));
    }

    private void CutBand(long number, long within)
    {
        FileStorage file = _files.OpenBand(number, writable: true);
        using BlockStorage band = _bandLayer?.Invoke(file) ?? file;
        if (band.Length <= within) return;

        // Of an encrypted band whole cipher blocks stay: what stands in the last one behind the end is cleared.
        long cleared = Math.Min(band.Length, Layout.RoundUp(within, SparseBundleFiles.MapUnit));
        band.Write(within, new byte[(int)(cleared - within)]);
        if (band is EncryptedStorage encrypted) encrypted.SetLength(within);
        else file.SetLength(within);
        band.Flush();
    }

    /// <summary>Of an encrypted bundle without maps the last band's file becomes as long as its part of the disk.</summary>
    private void FillLastBand(long end, long length)
    {
        long number = (end - 1) / BandSizeBytes, needed = Math.Min(BandSizeBytes, length - (number * BandSizeBytes));
        if (_bandLayer is null || _files.HasMaps || !_files.HasBand(number)) return;
        using BlockStorage band = _bandLayer(_files.OpenBand(number, writable: true));
        if (band.Length < needed) band.Write(needed - 1, [0]);
        band.Flush();
    }
}
