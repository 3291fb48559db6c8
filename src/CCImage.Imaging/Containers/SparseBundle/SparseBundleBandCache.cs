using CCImage.Platform;
using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <summary>The open bands of a bundle: only so many files are kept open, and what was written through one that was closed is flushed by
/// the next flush.</summary>
/// <param name="files">The bundle's files.</param>
/// <param name="writable">Whether bands may be written.</param>
/// <param name="layer">As for <see cref="SparseBundleStorage.Open(string, bool, Func{BlockStorage, BlockStorage})"/>.</param>
internal sealed class SparseBundleBandCache(SparseBundleFiles files, bool writable, Func<BlockStorage, BlockStorage>? layer)
{
    private const int MaximumOpenBands = 60;

    /// <summary>Guards the fields below it, and every band's reference count.</summary>
    private readonly Lock _lock = new();
    private readonly Dictionary<long, LinkedListNode<SparseBundleBand>> _open = [];
    private readonly LinkedList<SparseBundleBand> _recent = [];

    /// <summary>Bands that were written and closed, but not flushed, and how long their files were then.</summary>
    private readonly Dictionary<long, long> _unflushed = [];
    private HashSet<long>? _stored;
    private bool _newNames;

    /// <summary>A band, held open until <see cref="Release"/>. Its storage is null when it has no file.</summary>
    /// <param name="number">The band.</param>
    /// <param name="create">Whether a missing file is made.</param>
    public SparseBundleBand Acquire(long number, bool create)
    {
        SparseBundleBand band;
        lock (_lock)
        {
            if (_open.TryGetValue(number, out LinkedListNode<SparseBundleBand>? node)) _recent.Remove(node);
            else _open[number] = node = new(new SparseBundleBand(number));
            _recent.AddFirst(node);
            band = node.Value;
            band.Users++;
            Evict();
        }

        try
        {
            lock (band.Gate)
            {
                if (!band.Opened)
                {
                    if (files.HasBand(number)) Attach(band, writableNew: false);
                    band.Opened = true;
                }

                if (create && band.Storage is null) Attach(band, writableNew: true);
            }

            return band;
        }
        catch
        {
            Release(band);
            throw;
        }
    }

    /// <summary>Ends what <see cref="Acquire"/> began.</summary>
    /// <param name="band">The band.</param>
    public void Release(SparseBundleBand band)
    {
        lock (_lock) band.Users--;
    }

    /// <summary>Flushes what was written, and the names of new files.</summary>
    /// <exception cref="ImageException">What the host says; what was not flushed is for the next flush.</exception>
    public void Flush()
    {
        List<SparseBundleBand> open;
        KeyValuePair<long, long>[] closed;
        bool names;
        lock (_lock)
        {
            open = [.. _recent.Where(b => b.Written)];
            foreach (SparseBundleBand band in open)
            {
                band.Users++;
                band.Written = false;
            }

            closed = [.. _unflushed];
            _unflushed.Clear();
            (names, _newNames) = (_newNames, false);
        }

        int done = 0, doneClosed = 0;
        try
        {
            foreach (SparseBundleBand band in open)
            {
                FlushBand(band);
                done++;
            }

            foreach ((long number, long length) in closed)
            {
                SparseBundleBand band = Acquire(number, create: false);
                try
                {
                    if (band.File is null || band.File.Length < length) throw Lost(number, band.File?.Length ?? 0, length);
                    FlushBand(band);
                    doneClosed++;
                }
                finally
                {
                    Release(band);
                }
            }

            if (names) files.FlushNewNames();
        }
        catch (Exception e)
        {
            // What was not flushed is for the next flush.
            lock (_lock)
            {
                for (int i = done; i < open.Count; i++) open[i].Written = true;
                foreach ((long number, long length) in closed[doneClosed..]) _unflushed[number] = length;
                _newNames |= names;
            }

            if (FileErrors.IsFileError(e)) throw FileErrors.Map(e, files.Bundle, writing: true);
            throw;
        }
        finally
        {
            foreach (SparseBundleBand band in open) Release(band);
        }
    }

    /// <summary>Closes every band. Nobody may use one meanwhile.</summary>
    /// <exception cref="ImageException">What the host says.</exception>
    public void Close()
    {
        lock (_lock)
        {
            try
            {
                foreach (SparseBundleBand band in _recent) Close(band);
            }
            finally
            {
                _recent.Clear();
                _open.Clear();
                _stored = null;
            }
        }
    }

    /// <summary>Hears that a band was removed while all were closed.</summary>
    /// <param name="number">The band.</param>
    public void Forget(long number)
    {
        lock (_lock) _unflushed.Remove(number);
    }

    /// <summary>The bands of a range that have a file, ascending: asked one by one when they are few, else from one listing that is
    /// kept.</summary>
    /// <param name="first">The first band.</param>
    /// <param name="last">The last.</param>
    public long[] StoredBands(long first, long last)
    {
        if (last - first < 16)
        {
            var few = new List<long>();
            for (long number = first; number <= last; number++)
            {
                if (files.HasBand(number)) few.Add(number);
            }

            return [.. few];
        }

        lock (_lock)
        {
            _stored ??= [.. files.ListNumbers().Where(b => b < files.Info.BandCount)];
            return [.. _stored.Where(b => b >= first && b <= last).Order()];
        }
    }

    /// <summary>Closes what was used longest ago. Under the lock, so that nobody opens a file again before it is closed.</summary>
    private void Evict()
    {
        LinkedListNode<SparseBundleBand>? node = _recent.Last;
        while (_open.Count > MaximumOpenBands && node is not null)
        {
            LinkedListNode<SparseBundleBand>? newer = node.Previous;
            if (node.Value.Users == 0)
            {
                Close(node.Value);
                _recent.Remove(node);
                _open.Remove(node.Value.Number);
            }

            node = newer;
        }
    }

    private void Close(SparseBundleBand band)
    {
        if (band.Storage is null) return;
        if (band.MapChanged)
        {
            FlushBand(band);
        }
        else if (band.Written)
        {
            _unflushed[band.Number] = band.File!.Length;
        }

        band.Storage.Dispose();
        (band.Storage, band.File) = (null, null);
        band.Opened = false;
    }

    /// <summary>Closes the bands that nobody uses just now, for files that are needed more.</summary>
    /// <returns>Whether there were any.</returns>
    public bool ReleaseIdle()
    {
        // A band that is being closed may open its map, and come back here.
        if (_lock.IsHeldByCurrentThread) return false;
        lock (_lock)
        {
            SparseBundleBand[] idle = [.. _recent.Where(b => b.Users == 0 && b is { Storage: not null, MapChanged: false })];
            foreach (SparseBundleBand band in idle)
            {
                Close(band);
                _recent.Remove(_open[band.Number]);
                _open.Remove(band.Number);
            }

            return idle.Length > 0;
        }
    }

    private ImageException Lost(long number, long length, long expected) => new ImageException(
        ImageErrorId.ChecksumMismatch, $"A band that was written has {length} bytes instead of {expected}.",
        place: SparseBundleFiles.PlaceOf(number),
        remedy: "Check the medium or the share, and write the image again.").WithPath(files.Bundle);

    /// <summary>Opens or makes a band's file, with its layer and map.</summary>
    private void Attach(SparseBundleBand band, bool writableNew)
    {
        FileStorage file = writableNew ? files.CreateBand(band.Number) : files.OpenBand(band.Number, writable);
        BlockStorage storage = file;
        try
        {
            if (layer is not null) storage = layer(file);
            if (storage.Length > files.Info.BandSize)
            {
                throw ImageException.Damaged($"The band's file has {storage.Length} bytes; a band has {files.Info.BandSize}.",
                    SparseBundleFiles.PlaceOf(band.Number))
                    .WithPath(files.Bundle);
            }

            if (files.HasMaps && writable) band.Map = writableNew ? new byte[files.MapLength] : files.ReadMap(band.Number);
        }
        catch
        {
            storage.Dispose();
            throw;
        }

        (band.Storage, band.File) = (storage, file);
        if (!writableNew) return;
        lock (_lock)
        {
            _stored?.Add(band.Number);
            _newNames = true;
        }
    }

    /// <summary>Flushes a band, then its bits as they were before: none comes to the medium before what it stands for.</summary>
    private void FlushBand(SparseBundleBand band)
    {
        byte[]? map = null;
        lock (band.Gate)
        {
            if (band.MapChanged) map = (byte[])band.Map!.Clone();
            band.MapChanged = false;
        }

        try
        {
            FillToEnd(band);
            band.Storage!.Flush();
            files.CheckAsWritten(band.Number, band.File!);
            if (map is not null) files.WriteMap(band.Number, map);
        }
        catch
        {
            lock (band.Gate) band.MapChanged |= map is not null;
            throw;
        }
    }

    /// <summary>
    /// Of an encrypted bundle without maps each band's file is whole: no reader has to know whether what lies behind its end is zeros, or
    /// zeros that are to be deciphered.
    /// </summary>
    private void FillToEnd(SparseBundleBand band)
    {
        if (layer is null || band.Map is not null) return;
        long end = Math.Min(files.Info.BandSize, files.Info.DiskLength - (band.Number * files.Info.BandSize));
        if (band.Storage!.Length < end) band.Storage.Write(end - 1, [0]);
    }
}
