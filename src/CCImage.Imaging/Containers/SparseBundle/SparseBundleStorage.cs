using System.Globalization;
using System.Numerics;
using CCImage.Binary;
using CCImage.Platform;
using CCImage.PropertyLists;
using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <summary>
/// The disk in a sparse bundle (<c>.sparsebundle</c>, UDSB, or the like by any other extension): a folder in which every band of the disk
/// that was ever written is a file of its own, named by its number in hexadecimal.
/// <para>
/// A band without a file, and what lies behind the end of a band's file, reads as zeros. Opening touches no band and lists no folder.
/// Only so many bands are kept open. Where the bundle has a folder <c>mapped</c>, its bits (one per 4 KiB, least significant first) are
/// kept up to date.
/// </para>
/// </summary>
internal sealed partial class SparseBundleStorage : BlockStorage
{
    /// <summary>The name of the file that holds the encryption header, empty in plain bundles.</summary>
    public const string TokenName = "token";

    /// <summary>The folder with the bands.</summary>
    internal const string BandsName = "bands";

    /// <summary>The folder with the bits of the bands, where there is one.</summary>
    internal const string MappedName = "mapped";

    /// <summary>Bytes of a band that one bit of its map stands for.</summary>
    internal const int MapUnit = 4096;

    private const int MaximumOpenBands = 64;
    private const int MaximumTokenLength = 1 << 20;

    /// <summary>Most bytes of a property list that are read.</summary>
    internal const int MaximumInfoLength = 1 << 20;

    private volatile SparseBundleInfo _info;
    private readonly string _bandsFolder;
    private readonly string? _mappedFolder;
    private readonly bool _writable;
    private readonly Func<BlockStorage, BlockStorage>? _bandLayer;
    private FileStorage? _guard;

    /// <summary>Guards the fields below it, and every band's reference count.</summary>
    private readonly Lock _lock = new();
    private readonly Dictionary<long, LinkedListNode<SparseBundleBand>> _open = [];
    private readonly LinkedList<SparseBundleBand> _recent = [];

    /// <summary>Bands that were written and closed, but not flushed.</summary>
    private readonly HashSet<long> _unflushed = [];
    private HashSet<long>? _stored;
    private bool _newNames;

    private SparseBundleStorage(
        string path, SparseBundleInfo info, bool writable, Func<BlockStorage, BlockStorage>? bandLayer, FileStorage? guard, bool mapped)
    {
        (Path, _info, _writable, _bandLayer, _guard) = (path, info, writable, bandLayer, guard);
        _bandsFolder = System.IO.Path.Combine(path, BandsName);
        _mappedFolder = mapped ? System.IO.Path.Combine(path, MappedName) : null;
    }

    /// <summary>The bundle's folder.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public override long Length => _info.DiskLength;

    /// <inheritdoc/>
    public override bool CanWrite => _writable;

    /// <summary>Bytes in a band.</summary>
    public long BandSizeBytes => _info.BandSize;

    /// <summary>Bands of the disk, stored or not.</summary>
    public long BandCount => _info.BandCount;

    /// <summary>Bytes of all band files. Lists the folder each time it is asked.</summary>
    public long StoredBytes => BandFiles().Sum(b => b.StoredBytes);

    /// <summary>Whether a folder holds the property list of a sparse bundle, of whatever version, whatever its name.</summary>
    /// <param name="path">The folder.</param>
    public static bool IsMatch(string path) =>
        IsList(System.IO.Path.Combine(path, SparseBundleInfo.FileName)) || IsList(System.IO.Path.Combine(path, SparseBundleInfo.CopyName));

    /// <summary>The file of a bundle that whoever opens it locks: the token, or the property list of a bundle without one.</summary>
    /// <param name="path">The bundle.</param>
    public static string LockFileOf(string path)
    {
        string token = System.IO.Path.Combine(path, TokenName);
        return File.Exists(token) ? token : System.IO.Path.Combine(path, SparseBundleInfo.FileName);
    }

    /// <summary>The content of the bundle's <c>token</c>: empty, or the encryption header. Empty too when the file is absent.</summary>
    /// <param name="path">The bundle.</param>
    /// <exception cref="ImageException">Damaged or unreadable.</exception>
    public static byte[] ReadToken(string path)
    {
        string token = System.IO.Path.Combine(path, TokenName);
        return File.Exists(token) ? ReadSmallFile(token, MaximumTokenLength) : [];
    }

    /// <summary>Reads and judges the bundle's property list, or its copy.</summary>
    /// <param name="path">The bundle.</param>
    /// <param name="fromCopy">Receives whether the copy had to do.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.ImageNotFound"/>, <see cref="ImageErrorId.UnknownFormat"/>, <see cref="ImageErrorId.ImageDamaged"/>,
    /// <see cref="ImageErrorId.UnsupportedFormat"/>.
    /// </exception>
    public static SparseBundleInfo ReadInfo(string path, out bool fromCopy)
    {
        fromCopy = false;
        if (!Directory.Exists(path)) throw new ImageException(ImageErrorId.ImageNotFound, "There is no such bundle.", path, remedy: "Check the path.");
        ImageException? first = null;
        foreach (string name in new[] { SparseBundleInfo.FileName, SparseBundleInfo.CopyName })
        {
            try
            {
                string file = System.IO.Path.Combine(path, name);
                if (!File.Exists(file)) continue;
                if (SparseBundleInfo.Read(ReadSmallFile(file, MaximumInfoLength)) is not { } info) continue;
                fromCopy = name == SparseBundleInfo.CopyName;
                if (info.Version == 1) return info;
                throw ImageException.Unsupported(
                    $"This sparse bundle has backing store version {info.Version}; only version 1 can be read and written.",
                    "Mount it on a Mac and copy its content into a new image.", name + ", key 'bundle-backingstore-version'").WithPath(path);
            }
            catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
            {
                first ??= e.WithPath(path);
            }
        }

        throw first ?? new ImageException(
            ImageErrorId.UnknownFormat, "This folder is not a sparse bundle: no Info.plist names it so.", path,
            remedy: "Check that the bundle was copied whole.");
    }

    /// <summary>Refuses a bundle that can be read only because of the copy of its property list.</summary>
    /// <param name="path">The bundle's folder.</param>
    /// <exception cref="ImageException">As <see cref="ReadInfo"/>; <see cref="ImageErrorId.ImageDamaged"/>: it is such a one.</exception>
    public static void CheckWritable(string path)
    {
        ReadInfo(path, out bool fromCopy);
        if (fromCopy) throw ImageException.Damaged("Info.plist is missing or damaged.", SparseBundleInfo.FileName).WithPath(path);
    }

    /// <summary>Opens a bundle.</summary>
    /// <param name="path">The bundle's folder.</param>
    /// <param name="writable">Whether the disk is to be written; then nobody else can open it by this class.</param>
    /// <param name="bandLayer">
    /// What lies over each band's file, for an encrypted bundle: takes the file and gives the decrypted band; disposing it disposes the file.
    /// </param>
    /// <exception cref="ImageException">As <see cref="ReadInfo"/>, and <see cref="ImageErrorId.ImageInUse"/>.</exception>
    public static SparseBundleStorage Open(string path, bool writable, Func<BlockStorage, BlockStorage>? bandLayer = null)
    {
        if (writable) CheckWritable(path);
        SparseBundleInfo info = ReadInfo(path, out bool fromCopy);
        if (!Directory.Exists(System.IO.Path.Combine(path, BandsName)))
            throw ImageException.Damaged("The folder with the bands is missing.", BandsName).WithPath(path);
        string guarded = fromCopy && !File.Exists(System.IO.Path.Combine(path, TokenName)) ? System.IO.Path.Combine(path, SparseBundleInfo.CopyName) : LockFileOf(path);
        FileStorage? guard = null;
        try
        {
            guard = writable ? FileStorage.OpenWrite(guarded) : FileStorage.OpenRead(guarded);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageInUse)
        {
            throw new ImageException(e.Id, e.Problem, path, remedy: e.Remedy, innerException: e);
        }

        return new SparseBundleStorage(path, info, writable, bandLayer, guard, Directory.Exists(System.IO.Path.Combine(path, MappedName)));
    }

    /// <summary>Makes an empty bundle in a folder and opens it to be written.</summary>
    /// <param name="folder">An existing folder; <see cref="AtomicFolder"/> makes it appear whole.</param>
    /// <param name="diskLength">Bytes of the disk, a multiple of 512.</param>
    /// <param name="bandSize">Bytes of a band: a power of two from 1 MiB to 8 GiB; 0 scales with the disk.</param>
    /// <param name="token">The encryption header; null for a plain bundle.</param>
    /// <param name="bandLayer">As for <see cref="Open"/>.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>, or what the host says.</exception>
    public static SparseBundleStorage Create(
        string folder, long diskLength, long bandSize = 0, byte[]? token = null, Func<BlockStorage, BlockStorage>? bandLayer = null)
    {
        if (bandSize == 0) bandSize = SparseBundleInfo.BandSizeFor(diskLength);
        if (bandSize is < SparseBundleInfo.MinimumBandSize or > SparseBundleInfo.MaximumBandSize || !BitOperations.IsPow2(bandSize))
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"A band of {bandSize} bytes is impossible.", remedy: "Use a power of two from 1 MiB to 8 GiB.");
        }

        if (diskLength <= 0 || diskLength % 512 != 0)
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"A sparse bundle cannot have a capacity of {diskLength} bytes.", remedy: "Use a multiple of 512 bytes.");
        }

        var info = new SparseBundleInfo(diskLength, bandSize, 1);
        try
        {
            Directory.CreateDirectory(System.IO.Path.Combine(folder, BandsName));
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, folder, writing: true);
        }

        // The property list comes last: without it the folder is no bundle.
        byte[] list = info.ToPropertyList();
        HostPlatform.MarkAsPackage(folder);
        WriteSmallFile(folder, TokenName, token ?? [], isPrivate: token is not null);
        WriteSmallFile(folder, SparseBundleInfo.CopyName, list);
        WriteSmallFile(folder, SparseBundleInfo.FileName, list);
        return Open(folder, writable: true, bandLayer);
    }

    /// <summary>The files in the folder of bands, in the folder's order, those behind the end of the disk included.</summary>
    /// <exception cref="ImageException">The folder cannot be listed.</exception>
    public IEnumerable<SparseBundleBandFile> BandFiles()
    {
        IEnumerator<string> files;
        try
        {
            files = Directory.EnumerateFiles(_bandsFolder).GetEnumerator();
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, _bandsFolder, writing: false);
        }

        using (files)
        {
            while (true)
            {
                SparseBundleBandFile? band = null;
                try
                {
                    if (!files.MoveNext()) yield break;
                    if (TryParseName(System.IO.Path.GetFileName(files.Current), out long number)) band = FileOf(number, files.Current);
                }
                catch (FileNotFoundException)
                {
                    // Gone between listing and asking.
                }
                catch (Exception e) when (FileErrors.IsFileError(e))
                {
                    throw FileErrors.Map(e, _bandsFolder, writing: false);
                }

                if (band is { } found) yield return found;
            }
        }
    }

    // Of what the runtime finds behind a link the host was not asked.
    private static SparseBundleBandFile FileOf(long number, string path)
    {
        HostStat stat;
        try
        {
            stat = HostPlatform.Current.GetStat(path);
        }
        catch (HostException e)
        {
            throw e.Failure == HostFailure.NotFound ? new FileNotFoundException(e.Message, path) : new IOException(e.Message, e);
        }

        long length = stat.IsFile ? stat.Size : new FileInfo(path).Length;
        return new(number, length, stat.IsFile ? Math.Min(length, stat.AllocatedBytes ?? length) : length);
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        if (!_writable) return;
        List<SparseBundleBand> open;
        long[] closed;
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

            foreach (long number in closed)
            {
                SparseBundleBand band = Acquire(number, create: false);
                try
                {
                    if (band.Storage is not null) FlushBand(band);
                    doneClosed++;
                }
                finally
                {
                    Release(band);
                }
            }

            if (names)
            {
                FileSystemCalls.FlushFolder(_bandsFolder);
                if (_mappedFolder is not null) FileSystemCalls.FlushFolder(_mappedFolder);
            }
        }
        catch (Exception e)
        {
            // What was not flushed is for the next flush.
            lock (_lock)
            {
                for (int i = done; i < open.Count; i++) open[i].Written = true;
                _unflushed.UnionWith(closed[doneClosed..]);
                _newNames |= names;
            }

            if (FileErrors.IsFileError(e)) throw FileErrors.Map(e, Path, writing: true);
            throw;
        }
        finally
        {
            foreach (SparseBundleBand band in open) Release(band);
        }
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (long number, long within) = Math.DivRem(offset, BandSizeBytes);
            Span<byte> part = buffer[..(int)Math.Min(buffer.Length, BandSizeBytes - within)];
            SparseBundleBand band = Acquire(number, create: false);
            try
            {
                band.Read(within, part);
            }
            finally
            {
                Release(band);
            }

            buffer = buffer[part.Length..];
            offset += part.Length;
        }
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (long number, long within) = Math.DivRem(offset, BandSizeBytes);
            ReadOnlySpan<byte> part = buffer[..(int)Math.Min(buffer.Length, BandSizeBytes - within)];
            bool zeros = !part.ContainsAnyExcept((byte)0);
            SparseBundleBand band = Acquire(number, create: !zeros);
            try
            {
                // Zeros behind the end of a band are there already.
                if (band.Storage is not null && !(zeros && within >= band.Storage.Length)) band.Write(within, part);
            }
            finally
            {
                Release(band);
            }

            buffer = buffer[part.Length..];
            offset += part.Length;
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        long at = offset, end = offset + length;
        foreach (long number in StoredBands(offset / BandSizeBytes, (end - 1) / BandSizeBytes))
        {
            long bandStart = number * BandSizeBytes;
            long from = Math.Max(offset, bandStart), to = end - bandStart <= BandSizeBytes ? end : bandStart + BandSizeBytes;
            if (from > at) yield return new(at, from - at, ExtentKind.Zero);
            at = to;
            List<StorageExtent> extents;
            SparseBundleBand band = Acquire(number, create: false);
            try
            {
                extents = ExtentsOfBand(band, from - bandStart, to - bandStart);
            }
            finally
            {
                Release(band);
            }

            foreach (StorageExtent extent in extents) yield return extent with { Offset = extent.Offset + bandStart };
        }

        if (at < end) yield return new(at, end - at, ExtentKind.Zero);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
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
                    _guard?.Dispose();
                }
            }
        }

        base.Dispose(disposing);
    }

    /// <summary>The name of a band's file.</summary>
    /// <param name="number">The band.</param>
    internal static string NameOf(long number) => number.ToString("x", CultureInfo.InvariantCulture);

    /// <summary>Whether a file's name is a band's.</summary>
    /// <param name="name">The name.</param>
    /// <param name="number">Receives the band.</param>
    internal static bool TryParseName(string name, out long number) =>
        long.TryParse(name, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number) && number >= 0 && name == NameOf(number);

    private static bool IsList(string path)
    {
        if (!File.Exists(path)) return false;
        try
        {
            return PropertyListReader.Parse(ReadSmallFile(path, MaximumInfoLength)) is PropertyListDictionary keys
                && keys.GetString("diskimage-bundle-type") == SparseBundleInfo.BundleType;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            // What has bands and a list that cannot be read is a damaged bundle: opening says so.
            return Directory.Exists(System.IO.Path.Combine(System.IO.Path.GetDirectoryName(path)!, BandsName));
        }
    }

    /// <summary>Reads a whole file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="maximum">Most bytes that make sense.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it is longer; unreadable.</exception>
    internal static byte[] ReadSmallFile(string path, int maximum)
    {
        using FileStorage file = FileStorage.OpenRead(path);
        if (file.Length > maximum)
            throw ImageException.Damaged($"The file has {file.Length} bytes; at most {maximum} make sense.", System.IO.Path.GetFileName(path));
        byte[] bytes = new byte[file.Length];
        file.Read(0, bytes);
        return bytes;
    }

    private static void WriteSmallFile(string folder, string name, byte[] bytes, bool isPrivate = false)
    {
        using FileStorage file = FileStorage.CreateNew(System.IO.Path.Combine(folder, name));

        // While it is empty still.
        if (isPrivate) file.MakePrivate();
        file.Write(0, bytes);
        file.Flush();
    }

    private string BandPath(long number) => System.IO.Path.Combine(_bandsFolder, NameOf(number));

    /// <summary>Whether a band has a file. Only a folder that is there can say no: where a disk or a share went away nothing is known, and nothing is zeros.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageUnreadable"/>: the host does not say.</exception>
    private bool HasFile(long number)
    {
        string path = BandPath(number);
        if (File.Exists(path)) return true; // false of every error, too
        try
        {
            HostPlatform.Current.GetStat(path);
            return true; // a folder: opening it says what is wrong
        }
        catch (HostException e) when (e.Failure == HostFailure.NotFound)
        {
            if (Directory.Exists(_bandsFolder)) return false;
            throw new ImageException(
                ImageErrorId.ImageUnreadable, "The folder with the bands is gone.", _bandsFolder,
                remedy: "Check that the disk or the share with the image is connected.", innerException: e);
        }
        catch (HostException e)
        {
            throw FileErrors.Map(e, path, writing: false);
        }
    }

    private string MapPath(long number) => System.IO.Path.Combine(_mappedFolder!, NameOf(number));

    /// <summary>A band, held open until <see cref="Release"/>. Its storage is null when it has no file.</summary>
    /// <param name="number">The band.</param>
    /// <param name="create">Whether a missing file is made.</param>
    private SparseBundleBand Acquire(long number, bool create)
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
                    if (HasFile(number)) Attach(band, writableNew: false);
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

    private void Release(SparseBundleBand band)
    {
        lock (_lock) band.Users--;
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
            _unflushed.Add(band.Number);
        }

        band.Storage.Dispose();
        band.Storage = null;
        band.Opened = false;
    }

    /// <summary>Opens or makes a band's file, with its layer and map.</summary>
    private void Attach(SparseBundleBand band, bool writableNew)
    {
        string path = BandPath(band.Number);
        FileStorage file = writableNew ? FileStorage.CreateNew(path) : _writable ? FileStorage.OpenWrite(path) : FileStorage.OpenRead(path);
        BlockStorage storage = file;
        try
        {
            if (_bandLayer is not null) storage = _bandLayer(file);
            if (storage.Length > BandSizeBytes)
            {
                throw ImageException.Damaged($"The band's file has {storage.Length} bytes; a band has {BandSizeBytes}.", $"{BandsName}/{NameOf(band.Number)}")
                    .WithPath(Path);
            }

            if (_mappedFolder is not null && _writable) band.Map = ReadMap(band.Number, writableNew);
        }
        catch
        {
            storage.Dispose();
            throw;
        }

        band.Storage = storage;
        if (!writableNew) return;
        lock (_lock)
        {
            _stored?.Add(band.Number);
            _newNames = true;
        }
    }

    /// <summary>The bits of a band: none for a new one, all where there is no file of them.</summary>
    private byte[] ReadMap(long number, bool isNew)
    {
        int length = (int)Layout.DivideUp(BandSizeBytes, MapUnit * 8);
        byte[] map = new byte[length];
        if (isNew) return map;
        if (!File.Exists(MapPath(number)))
        {
            map.AsSpan().Fill(0xFF);
            return map;
        }

        using FileStorage file = FileStorage.OpenRead(MapPath(number));
        if (file.Length != length)
        {
            throw ImageException.Damaged($"The map of a band has {file.Length} bytes instead of {length}.", $"{MappedName}/{NameOf(number)}").WithPath(Path);
        }

        file.Read(0, map);
        return map;
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
            if (map is null) return;
            using FileStorage file = FileStorage.CreateNew(MapPath(band.Number), FileMode.OpenOrCreate);
            file.Write(0, map);
            file.Flush();
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
        if (_bandLayer is null || band.Map is not null) return;
        long end = Math.Min(BandSizeBytes, Length - (band.Number * BandSizeBytes));
        if (band.Storage!.Length < end) band.Storage.Write(end - 1, [0]);
    }

    private List<StorageExtent> ExtentsOfBand(SparseBundleBand band, long from, long to)
    {
        long stored = band.Storage is null ? from : Math.Clamp(band.Storage.Length, from, to);
        var extents = new List<StorageExtent>();
        if (stored > from)
        {
            // Holes of an encrypted band decipher to something.
            if (_bandLayer is null) extents.AddRange(band.Storage!.GetExtents(from, stored - from));
            else extents.Add(new(from, stored - from, ExtentKind.Data));
        }

        if (to > stored) extents.Add(new(stored, to - stored, ExtentKind.Zero));
        return extents;
    }

    /// <summary>The bands of a range that have a file, ascending: asked one by one when they are few, else from one listing that is kept.</summary>
    private long[] StoredBands(long first, long last)
    {
        if (last - first < 16)
        {
            var few = new List<long>();
            for (long number = first; number <= last; number++)
            {
                if (HasFile(number)) few.Add(number);
            }

            return [.. few];
        }

        lock (_lock)
        {
            _stored ??= [.. BandFiles().Select(b => b.Band).Where(b => b < BandCount)];
            return [.. _stored.Where(b => b >= first && b <= last).Order()];
        }
    }
}

/// <summary>The file of a band.</summary>
/// <param name="Band">The band's number.</param>
/// <param name="FileLength">Bytes of the file.</param>
/// <param name="StoredBytes">Bytes that the file takes on its medium, at most its length.</param>
internal readonly record struct SparseBundleBandFile(long Band, long FileLength, long StoredBytes);
