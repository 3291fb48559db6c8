using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <content>
/// What of the disk no file holds, and what of that is known to be zeros. A band that was lost reads like one that was never written; so
/// whoever makes a bundle here records, once all bands are written, which parts that are in use were left out because they are zeros.
/// docs/formats/sparsebundle.md.
/// </content>
internal sealed partial class SparseBundleStorage
{
    private readonly Lock _recording = new();
    private List<StorageExtent> _newZeros = [];

    /// <summary>
    /// The zeros that the bundle's maker left out although they are in use, or null where no record was made: then nobody knows whether
    /// what is not stored was zeros.
    /// </summary>
    public IReadOnlyList<StorageExtent>? RecordedZeros => SparseBundleZeros.Parse(_files.Info.Zeros);

    /// <summary>The ranges of the disk that no band's file covers. Lists the folder.</summary>
    /// <returns>Ascending; adjacent ones are one.</returns>
    /// <exception cref="ImageException">The folder cannot be listed.</exception>
    public IReadOnlyList<StorageExtent> GetUnstoredExtents()
    {
        var unstored = new List<StorageExtent>();
        long at = 0;
        foreach (SparseBundleBandFile band in _files.List().Where(b => b.Band < BandCount).OrderBy(b => b.Band))
        {
            long start = band.Band * BandSizeBytes, end = Math.Min(Length, start + Math.Min(band.FileLength, BandSizeBytes));
            if (end <= start) continue;
            if (start > at) unstored.Add(new(at, start - at, ExtentKind.Unused));
            at = end;
        }

        if (at < Length) unstored.Add(new(at, Length - at, ExtentKind.Unused));
        return unstored;
    }

    /// <summary>Whether any band has content.</summary>
    /// <exception cref="ImageException">The folder cannot be listed.</exception>
    public bool HasStoredBands() => _files.List().Any(b => b.Band < BandCount && b.FileLength > 0);

    /// <summary>What is not stored of bands whose file ends where no writer ends one: inside of a sector.</summary>
    /// <returns>Ascending.</returns>
    /// <exception cref="ImageException">The folder cannot be listed.</exception>
    public IReadOnlyList<StorageExtent> GetTornEnds() =>
    [
        .. _files.List().Where(b => b.Band < BandCount && b.FileLength % 512 != 0 && b.FileLength < BandSizeBytes).OrderBy(b => b.Band)
            .Select(b => new StorageExtent((b.Band * BandSizeBytes) + b.FileLength, BandSizeBytes - b.FileLength, ExtentKind.Unused)),
    ];

    /// <summary>Records which of what is not stored is zeros in use. Called once, when the whole disk is written.</summary>
    /// <param name="zeros">The zeros of the disk: ascending, not overlapping.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public void RecordZeros(IReadOnlyList<StorageExtent> zeros)
    {
        string? record = SparseBundleZeros.Format(ExtentSets.Intersect(GetUnstoredExtents(), zeros));
        if (record is null) return; // too many to be kept: what is not stored stays in doubt
        if (_listToSeal is null) ReplaceLists(Length, record);
        else _listToSeal = Changed(_listToSeal, Length, record, removesRecord: false);
        _files.Info = _files.Info with { Zeros = record };
    }

    private void NoteZeros(long from, long to)
    {
        if (_files.Info.Zeros is null) return;
        lock (_recording)
        {
            if (_newZeros is [.., var last] && last.End == from) _newZeros[^1] = last with { Length = to - last.Offset };
            else _newZeros.Add(new(from, to - from, ExtentKind.Zero));
        }
    }

    // Zeros that were written and not stored join the record; where it becomes too long there is none any more.
    private void ExtendRecord()
    {
        lock (_recording)
        {
            if (_newZeros.Count == 0 || RecordedZeros is not { } recorded) return;
            IReadOnlyList<StorageExtent> zeros = ExtentSets.Intersect(GetUnstoredExtents(), ExtentSets.Union([.. recorded, .. _newZeros]));
            string? record = SparseBundleZeros.Format(zeros);
            if (record != _files.Info.Zeros)
            {
                ReplaceLists(Length, record ?? "", removesRecord: record is null);
                _files.Info = _files.Info with { Zeros = record };
            }

            _newZeros = [];
        }
    }
}
