using System.Globalization;
using CCImage.Binary;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <summary>The files of a bundle's bands and of their maps: their names, which there are, and what is in a map.</summary>
/// <param name="bundle">The bundle's folder.</param>
/// <param name="info">What its property list says.</param>
/// <param name="hasMaps">Whether it has a folder of maps.</param>
internal sealed class SparseBundleFiles(string bundle, SparseBundleInfo info, bool hasMaps)
{
    /// <summary>The folder with the bands.</summary>
    public const string BandsName = "bands";

    /// <summary>The folder with the bits of the bands, where there is one.</summary>
    public const string MappedName = "mapped";

    /// <summary>Bytes of a band that one bit of its map stands for.</summary>
    public const int MapUnit = 4096;

    private readonly string _bandsFolder = Path.Combine(bundle, BandsName), _mappedFolder = Path.Combine(bundle, MappedName);
    private volatile SparseBundleInfo _info = info;

    /// <summary>The bundle's folder.</summary>
    public string Bundle => bundle;

    /// <summary>What the property list says; another capacity is set here.</summary>
    public SparseBundleInfo Info
    {
        get => _info;
        set => _info = value;
    }

    /// <summary>Whether there is a folder of maps: whether maps are kept up to date.</summary>
    public bool HasMaps => hasMaps;

    /// <summary>The name of a band's file.</summary>
    /// <param name="number">The band.</param>
    public static string NameOf(long number) => number.ToString("x", CultureInfo.InvariantCulture);

    /// <summary>Whether a file's name is a band's.</summary>
    /// <param name="name">The name.</param>
    /// <param name="number">Receives the band.</param>
    public static bool TryParseName(string name, out long number) =>
        long.TryParse(name, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number) && number >= 0 && name == NameOf(number);

    /// <summary>The file of a band.</summary>
    /// <param name="number">The band.</param>
    public string BandPath(long number) => Path.Combine(_bandsFolder, NameOf(number));

    /// <summary>The file of a band's map.</summary>
    /// <param name="number">The band.</param>
    public string MapPath(long number) => Path.Combine(_mappedFolder, NameOf(number));

    /// <summary>Whether a band has a file. Only a folder that is there can say no: where a disk or a share went away nothing is known, and nothing is zeros.</summary>
    /// <param name="number">The band.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageUnreadable"/>: the host does not say.</exception>
    public bool HasBand(long number)
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

    /// <summary>The files in the folder of bands, in the folder's order, those behind the end of the disk included.</summary>
    /// <exception cref="ImageException">The folder cannot be listed.</exception>
    public IEnumerable<SparseBundleBandFile> List()
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
                    if (TryParseName(Path.GetFileName(files.Current), out long number)) band = FileOf(number, files.Current);
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

    /// <summary>Removes a band and its map. The map goes first: one without a band would be taken for that of the next band of this number.</summary>
    /// <param name="number">The band.</param>
    /// <exception cref="IOException">As the runtime throws it.</exception>
    public void Remove(long number)
    {
        if (hasMaps) File.Delete(MapPath(number));
        File.Delete(BandPath(number));
    }

    /// <summary>Makes it durable that files were removed, in the order of <see cref="Remove"/>.</summary>
    /// <exception cref="IOException">The medium failed.</exception>
    public void FlushRemovals()
    {
        if (hasMaps) FileSystemCalls.FlushFolder(_mappedFolder);
        FileSystemCalls.FlushFolder(_bandsFolder);
    }

    /// <summary>Makes the names of new files durable, bands first.</summary>
    /// <exception cref="IOException">The medium failed.</exception>
    public void FlushNewNames()
    {
        FileSystemCalls.FlushFolder(_bandsFolder);
        if (hasMaps) FileSystemCalls.FlushFolder(_mappedFolder);
    }

    /// <summary>Bytes of a band's map.</summary>
    public int MapLength => (int)Layout.DivideUp(Info.BandSize, MapUnit * 8);

    /// <summary>The bits of a band that is not new: all where there is no file of them.</summary>
    /// <param name="number">The band.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: a file of another length.</exception>
    public byte[] ReadMap(long number)
    {
        int length = MapLength;
        byte[] map = new byte[length];
        if (!File.Exists(MapPath(number)))
        {
            map.AsSpan().Fill(0xFF);
            return map;
        }

        using FileStorage file = FileStorage.OpenRead(MapPath(number));
        if (file.Length != length)
        {
            throw ImageException.Damaged($"The map of a band has {file.Length} bytes instead of {length}.", $"{MappedName}/{NameOf(number)}").WithPath(bundle);
        }

        file.Read(0, map);
        return map;
    }

    /// <summary>Writes a band's map, durably but for its name.</summary>
    /// <param name="number">The band.</param>
    /// <param name="map">The bits.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public void WriteMap(long number, byte[] map)
    {
        using FileStorage file = FileStorage.CreateNew(MapPath(number), FileMode.OpenOrCreate);
        file.Write(0, map);
        file.Flush();
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
}

/// <summary>The file of a band.</summary>
/// <param name="Band">The band's number.</param>
/// <param name="FileLength">Bytes of the file.</param>
/// <param name="StoredBytes">Bytes that the file takes on its medium, at most its length.</param>
internal readonly record struct SparseBundleBandFile(long Band, long FileLength, long StoredBytes);
