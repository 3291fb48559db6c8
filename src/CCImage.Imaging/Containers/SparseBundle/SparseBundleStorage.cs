using System.Numerics;
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

    private const int MaximumTokenLength = 1 << 20;

    /// <summary>Most bytes of a property list that are read.</summary>
    internal const int MaximumInfoLength = 1 << 20;

    private readonly SparseBundleFiles _files;
    private readonly SparseBundleBandCache _bands;
    private readonly bool _writable;
    private readonly Func<BlockStorage, BlockStorage>? _bandLayer;
    private FileStorage? _guard;

    private SparseBundleStorage(SparseBundleFiles files, bool writable, Func<BlockStorage, BlockStorage>? bandLayer, FileStorage? guard)
    {
        (_files, _writable, _bandLayer, _guard) = (files, writable, bandLayer, guard);
        _bands = new(files, writable, bandLayer);
    }

    /// <summary>The bundle's folder.</summary>
    public string Path => _files.Bundle;

    /// <inheritdoc/>
    public override long Length => _files.Info.DiskLength;

    /// <inheritdoc/>
    public override bool CanWrite => _writable;

    /// <summary>Bytes in a band.</summary>
    public long BandSizeBytes => _files.Info.BandSize;

    /// <summary>Bands of the disk, stored or not.</summary>
    public long BandCount => _files.Info.BandCount;

    /// <summary>Bytes of all band files. Lists the folder each time it is asked.</summary>
    public long StoredBytes => _files.List().Sum(b => b.StoredBytes);

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
        if (!Directory.Exists(System.IO.Path.Combine(path, SparseBundleFiles.BandsName)))
            throw ImageException.Damaged("The folder with the bands is missing.", SparseBundleFiles.BandsName).WithPath(path);
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

        var files = new SparseBundleFiles(path, info, Directory.Exists(System.IO.Path.Combine(path, SparseBundleFiles.MappedName)));
        return new SparseBundleStorage(files, writable, bandLayer, guard);
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
            Directory.CreateDirectory(System.IO.Path.Combine(folder, SparseBundleFiles.BandsName));
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

    /// <inheritdoc/>
    public override void Flush()
    {
        if (!_writable) return;

        // The record first: what it names is zeros already, and nothing that is flushed with it may be in use before it is there.
        ExtendRecord();
        _bands.Flush();
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            (long number, long within) = Math.DivRem(offset, BandSizeBytes);
            Span<byte> part = buffer[..(int)Math.Min(buffer.Length, BandSizeBytes - within)];
            SparseBundleBand band = _bands.Acquire(number, create: false);
            try
            {
                band.Read(within, part);
            }
            finally
            {
                _bands.Release(band);
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
            SparseBundleBand band = _bands.Acquire(number, create: !zeros);
            try
            {
                // Zeros behind the end of a band are there already; that they are in use is recorded, where there is a record.
                long end = band.Storage?.Length ?? 0;
                if (zeros && within + part.Length > end) NoteZeros(offset + Math.Max(0, end - within), offset + part.Length);
                if (band.Storage is not null && !(zeros && within >= end)) band.Write(within, part);
            }
            finally
            {
                _bands.Release(band);
            }

            buffer = buffer[part.Length..];
            offset += part.Length;
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        long at = offset, end = offset + length;
        foreach (long number in _bands.StoredBands(offset / BandSizeBytes, (end - 1) / BandSizeBytes))
        {
            long bandStart = number * BandSizeBytes;
            long from = Math.Max(offset, bandStart), to = end - bandStart <= BandSizeBytes ? end : bandStart + BandSizeBytes;
            if (from > at) yield return new(at, from - at, ExtentKind.Zero);
            at = to;
            List<StorageExtent> extents;
            SparseBundleBand band = _bands.Acquire(number, create: false);
            try
            {
                extents = ExtentsOfBand(band, from - bandStart, to - bandStart);
            }
            finally
            {
                _bands.Release(band);
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
            try
            {
                _bands.Close();
            }
            finally
            {
                _guard?.Dispose();
            }
        }

        base.Dispose(disposing);
    }

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
            return Directory.Exists(System.IO.Path.Combine(System.IO.Path.GetDirectoryName(path)!, SparseBundleFiles.BandsName));
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
}
