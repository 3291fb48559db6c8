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
    private readonly Func<bool> _releaseIdle;
    private FileStorage? _guard;
    private byte[]? _listToSeal;

    private SparseBundleStorage(SparseBundleFiles files, bool writable, Func<BlockStorage, BlockStorage>? bandLayer, FileStorage? guard)
    {
        (_files, _writable, _bandLayer, _guard) = (files, writable, bandLayer, guard);
        _bands = new(files, writable, bandLayer);
        _releaseIdle = _bands.ReleaseIdle;
        FileDescriptors.Register(_releaseIdle);
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
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: there are links in it; unreadable.</exception>
    public static bool IsMatch(string path)
    {
        using SparseBundleFolder folder = SparseBundleFolder.Open(path);
        return IsMatch(folder);
    }

    /// <summary>Whether a folder that is open holds the property list of a sparse bundle.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="ImageException">As <see cref="IsMatch(string)"/>.</exception>
    public static bool IsMatch(SparseBundleFolder folder) =>
        IsList(folder, SparseBundleInfo.FileName) || IsList(folder, SparseBundleInfo.CopyName);

    /// <summary>The file of a bundle that whoever opens it locks: the token, or the property list of a bundle without one.</summary>
    /// <param name="path">The bundle.</param>
    public static string LockFileOf(string path)
    {
        using SparseBundleFolder folder = SparseBundleFolder.Open(path);
        return System.IO.Path.Combine(path, folder.GuardName());
    }

    /// <summary>The content of the bundle's <c>token</c>: empty, or the encryption header. Empty too when the file is absent.</summary>
    /// <param name="path">The bundle.</param>
    /// <exception cref="ImageException">Damaged or unreadable.</exception>
    public static byte[] ReadToken(string path)
    {
        using SparseBundleFolder folder = SparseBundleFolder.Open(path);
        return ReadToken(folder);
    }

    /// <summary>The same of a folder that is open.</summary>
    /// <param name="folder">The bundle.</param>
    /// <exception cref="ImageException">Damaged or unreadable.</exception>
    public static byte[] ReadToken(SparseBundleFolder folder) => folder.ReadSmallFile(TokenName, MaximumTokenLength) ?? [];

    /// <summary>Reads and judges the bundle's property list, or its copy.</summary>
    /// <param name="path">The bundle.</param>
    /// <param name="fromCopy">Receives whether the copy had to do.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.ImageNotFound"/>, <see cref="ImageErrorId.UnknownFormat"/>, <see cref="ImageErrorId.ImageDamaged"/>,
    /// <see cref="ImageErrorId.UnsupportedFormat"/>.
    /// </exception>
    public static SparseBundleInfo ReadInfo(string path, out bool fromCopy)
    {
        using SparseBundleFolder folder = SparseBundleFolder.Open(path);
        return ReadInfo(folder, out fromCopy);
    }

    /// <summary>The same of a folder that is open.</summary>
    /// <param name="folder">The bundle.</param>
    /// <param name="fromCopy">Receives whether the copy had to do.</param>
    /// <exception cref="ImageException">As <see cref="ReadInfo(string, out bool)"/>.</exception>
    public static SparseBundleInfo ReadInfo(SparseBundleFolder folder, out bool fromCopy)
    {
        fromCopy = false;
        ImageException? first = null;
        foreach (string name in new[] { SparseBundleInfo.FileName, SparseBundleInfo.CopyName })
        {
            try
            {
                if (folder.ReadSmallFile(name, MaximumInfoLength) is not { } bytes || SparseBundleInfo.Read(bytes) is not { } info)
                    continue;
                fromCopy = name == SparseBundleInfo.CopyName;
                if (info.Version == 1) return info;
                throw ImageException.Unsupported(
                    $"This sparse bundle has backing store version {info.Version}; only version 1 can be read and written.",
                    "Mount it on a Mac and copy its content into a new image.", name + ", key 'bundle-backingstore-version'")
                    .WithPath(folder.Path);
            }
            catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
            {
                first ??= e.WithPath(folder.Path);

                // A link is nobody's damage but somebody's work: nothing else in there is believed either.
                if (e.InnerException is HostException) throw first;
            }
        }

        throw first ?? new ImageException(
            ImageErrorId.UnknownFormat, "This folder is not a sparse bundle: no Info.plist names it so.", folder.Path,
            remedy: "Check that the bundle was copied whole.");
    }

    /// <summary>Refuses a bundle that can be read only because of the copy of its property list.</summary>
    /// <param name="folder">The bundle's folder.</param>
    /// <exception cref="ImageException">As <see cref="ReadInfo(string, out bool)"/>; <see cref="ImageErrorId.ImageDamaged"/>: it is such a
    /// one.</exception>
    public static void CheckWritable(SparseBundleFolder folder)
    {
        ReadInfo(folder, out bool fromCopy);
        if (fromCopy) throw ImageException.Damaged("Info.plist is missing or damaged.", SparseBundleInfo.FileName).WithPath(folder.Path);
    }

    /// <summary>Opens a bundle.</summary>
    /// <param name="path">The bundle's folder.</param>
    /// <param name="writable">Whether the disk is to be written; then nobody else can open it by this class.</param>
    /// <param name="bandLayer">
    /// What lies over each band's file, for an encrypted bundle: takes the file and gives the decrypted band; disposing it disposes the
    /// file.
    /// </param>
    /// <exception cref="ImageException">As <see cref="ReadInfo(string, out bool)"/>, and <see cref="ImageErrorId.ImageInUse"/>.</exception>
    public static SparseBundleStorage Open(string path, bool writable, Func<BlockStorage, BlockStorage>? bandLayer = null) =>
        Open(SparseBundleFolder.Open(path), writable, bandLayer);

    /// <summary>Opens a bundle whose folder is open.</summary>
    /// <param name="folder">The folder; owned from now on, and closed when this fails.</param>
    /// <param name="writable">As for <see cref="Open(string, bool, Func{BlockStorage, BlockStorage})"/>.</param>
    /// <param name="bandLayer">Likewise.</param>
    /// <exception cref="ImageException">As there.</exception>
    public static SparseBundleStorage Open(SparseBundleFolder folder, bool writable, Func<BlockStorage, BlockStorage>? bandLayer = null)
    {
        FileStorage? guard = null;
        try
        {
            if (writable) CheckWritable(folder);
            ReadInfo(folder, out _);
            if (folder.Bands is null)
                throw ImageException.Damaged("The folder with the bands is missing.", SparseBundleFiles.BandsName).WithPath(folder.Path);
            guard = folder.OpenGuard(writable);

            // What the list says is believed only under the lock: a moment ago somebody may have been resizing.
            return new SparseBundleStorage(new(folder, ReadInfoUnder(folder, guard)), writable, bandLayer, guard);
        }
        catch
        {
            guard?.Dispose();
            folder.Dispose();
            throw;
        }
    }

    /// <summary>Makes an empty bundle in a folder and opens it to be written.</summary>
    /// <param name="folder">An existing folder; <see cref="AtomicFolder"/> makes it appear whole.</param>
    /// <param name="diskLength">Bytes of the disk, a multiple of 512.</param>
    /// <param name="bandSize">Bytes of a band: a power of two from 1 MiB to 8 GiB; 0 scales with the disk.</param>
    /// <param name="token">The encryption header; null for a plain bundle.</param>
    /// <param name="bandLayer">As for <see cref="Open(string, bool, Func{BlockStorage, BlockStorage})"/>.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>, or what the host says.</exception>
    public static SparseBundleStorage Create(
        string folder, long diskLength, long bandSize = 0, byte[]? token = null, Func<BlockStorage, BlockStorage>? bandLayer = null)
    {
        CheckSizes(diskLength, ref bandSize);
        SparseBundleStorage bundle = CreateUnfinished(SparseBundleFolder.Open(folder), diskLength, bandSize, token, bandLayer);
        try
        {
            bundle.Seal();
            uint files = bundle._files.Folder.ModeOfNewFiles();
            bundle.SetModeOfBands(files | 0x40 | ((files & 0x24) >> 2));
            return bundle;
        }
        catch
        {
            bundle.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Makes an empty bundle without its property list, to be written: as long as <see cref="Seal"/> has not written that, the folder is no
    /// bundle to anybody, whatever is in it.
    /// </summary>
    /// <param name="folder">An empty folder; owned from now on, and closed when this fails.</param>
    /// <param name="diskLength">As for <see cref="Create"/>.</param>
    /// <param name="bandSize">Likewise.</param>
    /// <param name="token">Likewise.</param>
    /// <param name="bandLayer">Likewise.</param>
    /// <exception cref="ImageException">As there.</exception>
    public static SparseBundleStorage CreateUnfinished(
        SparseBundleFolder folder, long diskLength, long bandSize = 0, byte[]? token = null, Func<BlockStorage,
        BlockStorage>? bandLayer = null)
    {
        const uint privateMode = 0x180, sharedMode = 0x1B6;
        FileStorage? guard = null;
        try
        {
            CheckSizes(diskLength, ref bandSize);
            folder.CreateBands();
            HostPlatform.MarkAsPackage(folder.Root);

            // It holds keys, or nothing.
            guard = folder.CreateFile(folder.Root, TokenName, TokenName, token is null ? sharedMode : privateMode);
            guard.Write(0, token ?? []);
            guard.Flush();
            var info = new SparseBundleInfo(diskLength, bandSize, 1);
            return new SparseBundleStorage(new(folder, info), writable: true, bandLayer, guard) { _listToSeal = info.ToPropertyList() };
        }
        catch (Exception e)
        {
            guard?.Dispose();
            folder.Dispose();
            if (FileErrors.IsFileError(e)) throw FileErrors.Map(e, folder.Path, writing: true);
            throw;
        }
    }

    /// <summary>
    /// Makes a bundle of what <see cref="CreateUnfinished"/> began: flushes the bands, and then writes the property list, last.
    /// </summary>
    /// <exception cref="ImageException">What the host says.</exception>
    public void Seal()
    {
        const uint sharedMode = 0x1B6;
        if (_listToSeal is not { } list) return;
        Flush();
        SparseBundleFolder folder = _files.Folder;
        folder.WriteSmallFile(SparseBundleInfo.CopyName, list, sharedMode);
        folder.WriteSmallFile(SparseBundleInfo.FileName, list, sharedMode);
        _listToSeal = null;
    }

    /// <summary>Gives the folder of bands of a new bundle its permission bits: it was made for this user alone.</summary>
    /// <param name="mode">The bits.</param>
    public void SetModeOfBands(uint mode)
    {
        if (!OperatingSystem.IsWindows()) SetMode(_files.Folder.Root, SparseBundleFiles.BandsName, mode);
    }

    /// <summary>Gives the files of a new bundle the permission bits that those of an old one have.</summary>
    /// <param name="root">The old bundle's folder; stays the caller's.</param>
    /// <param name="path">Its path, for errors.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public void TakeModesOf(HostDirectory root, string path)
    {
        if (OperatingSystem.IsWindows()) return;
        using SparseBundleFolder old = SparseBundleFolder.Open(path);
        if (old.Root.Stat.Identity != root.Stat.Identity) throw AtomicFile.Exists(path, null);
        _bands.Close();
        SparseBundleFolder folder = _files.Folder;
        foreach (string name in new[] { TokenName, SparseBundleInfo.CopyName, SparseBundleInfo.FileName })
        {
            if (old.StatOf(old.Root, name, name) is { } stat) SetMode(folder.Root, name, stat.Mode);
        }

        if (old.Bands is not { } oldBands) return;
        SetMode(folder.Root, SparseBundleFiles.BandsName, oldBands.Stat.Mode);
        uint? common = null;
        var files = new SparseBundleFiles(old, _files.Info);
        foreach (long number in files.ListNumbers())
        {
            if (old.StatOf(oldBands, SparseBundleFiles.NameOf(number), SparseBundleFiles.PlaceOf(number)) is { } stat)
                common = (common ?? stat.Mode) & stat.Mode;
        }

        if (common is not uint mode) return;
        foreach (long number in _files.ListNumbers()) SetMode(folder.Bands!, SparseBundleFiles.NameOf(number), mode);
    }

    private static void SetMode(HostDirectory folder, string name, uint mode)
    {
        try
        {
            if ((folder.GetStat(name).Mode & 0x1FF) != (mode & 0x1FF)) folder.SetMode(new HostNode(name), mode & 0x1FF);
        }
        catch (HostException)
        {
            // FAT and shares give every file the modes of their mount, and refuse others.
        }
    }

    /// <summary>
    /// Locks a bundle that is to be replaced.
    /// </summary>
    /// <param name="root">Its folder; stays the caller's.</param>
    /// <param name="path">Its path, for errors.</param>
    /// <returns>The lock.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.DestinationExists"/>: it is no bundle;
    /// <see cref="ImageErrorId.ImageInUse"/>.</exception>
    public static IDisposable Claim(HostDirectory root, string path)
    {
        // Disposing would close the caller's folder: only what was opened here is closed, by the lock's owner.
        SparseBundleFolder folder = SparseBundleFolder.Take(HostPlatform.Current.OpenDirectory(path), path);
        try
        {
            bool isSame = folder.Root.Stat.Identity == root.Stat.Identity;
            if (isSame && IsReplaceable(folder)) return new Claimed(folder, folder.OpenGuardToReplace());
            throw new ImageException(
                ImageErrorId.DestinationExists,
                "A folder of this name exists that is not recognised as a disk image. Only images are replaced.", path,
                remedy: "Choose another name, or remove it first.");
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    /// <summary>Reads what every bundle has, to find out whether the host still gives it.</summary>
    /// <exception cref="ImageException">It does not.</exception>
    public void CheckReadable()
    {
        SparseBundleFolder folder = _files.Folder;
        if (folder.ReadSmallFile(
            folder.Has(SparseBundleInfo.FileName) ? SparseBundleInfo.FileName : SparseBundleInfo.CopyName, MaximumInfoLength) is null)
            throw new ImageException(ImageErrorId.ImageNotFound, "The bundle's property list is gone.", Path);
    }

    /// <summary>Whether what was read is still what was opened.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>: the bundle was changed, replaced or removed
    /// meanwhile.</exception>
    public void CheckUnchanged()
    {
        if (!_writable) _files.Folder.CheckUnchanged();
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
            FileDescriptors.Unregister(_releaseIdle);
            try
            {
                _bands.Close();
            }
            finally
            {
                _guard?.Dispose();
                _files.Folder.Dispose();
            }
        }

        base.Dispose(disposing);
    }

    // A bundle that was damaged is one still; a folder with a list that cannot be read is taken for one only when there are bands.
    private static bool IsReplaceable(SparseBundleFolder folder)
    {
        try
        {
            return IsMatch(folder);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            return false;
        }
    }

    private static bool IsList(SparseBundleFolder folder, string name)
    {
        try
        {
            return folder.ReadSmallFile(name, MaximumInfoLength) is { } bytes
                && PropertyListReader.Parse(bytes) is PropertyListDictionary keys
                    && keys.GetString("diskimage-bundle-type") == SparseBundleInfo.BundleType;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged && e.InnerException is not HostException)
        {
            // What has bands and a list that cannot be read is a damaged bundle: opening says so.
            return folder.Bands is not null;
        }
    }

    // The guard may be the list itself, which nobody else can open then.
    private static SparseBundleInfo ReadInfoUnder(SparseBundleFolder folder, FileStorage guard)
    {
        if (System.IO.Path.GetFileName(guard.Path) == SparseBundleInfo.FileName
            && SparseBundleInfo.Read(
                SparseBundleFolder.ReadWhole(guard, SparseBundleInfo.FileName, MaximumInfoLength)) is { Version: 1 } info) return info;
        return ReadInfo(folder, out _);
    }

    private static void CheckSizes(long diskLength, ref long bandSize)
    {
        if (bandSize == 0) bandSize = SparseBundleInfo.BandSizeFor(diskLength);
        if (bandSize is < SparseBundleInfo.MinimumBandSize or > SparseBundleInfo.MaximumBandSize || !BitOperations.IsPow2(bandSize))
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"A band of {bandSize} bytes is impossible.",
                remedy: "Use a power of two from 1 MiB to 8 GiB.");
        }

        if (diskLength <= 0 || diskLength % 512 != 0)
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"A sparse bundle cannot have a capacity of {diskLength} bytes.",
                remedy: "Use a multiple of 512 bytes.");
        }
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

    /// <summary>A bundle that is locked to be replaced.</summary>
    private sealed class Claimed(SparseBundleFolder folder, FileStorage guard) : IDisposable
    {
        public void Dispose()
        {
            guard.Dispose();
            folder.Dispose();
        }
    }
}
