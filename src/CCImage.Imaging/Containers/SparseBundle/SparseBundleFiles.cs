using System.Globalization;
using CCImage.Binary;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <summary>The files of a bundle's bands and of their maps: their names, which there are, and what is in a map.</summary>
/// <param name="folder">The bundle's folder, which has a folder of bands.</param>
/// <param name="info">What its property list says.</param>
internal sealed class SparseBundleFiles(SparseBundleFolder folder, SparseBundleInfo info)
{
    /// <summary>The folder with the bands.</summary>
    public const string BandsName = "bands";

    /// <summary>The folder with the bits of the bands, where there is one.</summary>
    public const string MappedName = "mapped";

    /// <summary>Bytes of a band that one bit of its map stands for.</summary>
    public const int MapUnit = 4096;

    private readonly bool _isOnNetwork = AtomicFile.IsOnNetwork(folder.Path);
    private volatile SparseBundleInfo _info = info;
    private uint? _mode;

    /// <summary>The bundle's path.</summary>
    public string Bundle => folder.Path;

    /// <summary>The bundle's folder.</summary>
    public SparseBundleFolder Folder => folder;

    /// <summary>What the property list says; another capacity is set here.</summary>
    public SparseBundleInfo Info
    {
        get => _info;
        set => _info = value;
    }

    /// <summary>Whether there is a folder of maps: whether maps are kept up to date.</summary>
    public bool HasMaps => folder.Mapped is not null;

    /// <summary>The name of a band's file.</summary>
    /// <param name="number">The band.</param>
    public static string NameOf(long number) => number.ToString("x", CultureInfo.InvariantCulture);

    /// <summary>Whether a file's name is a band's.</summary>
    /// <param name="name">The name.</param>
    /// <param name="number">Receives the band.</param>
    public static bool TryParseName(string name, out long number) =>
        long.TryParse(name, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number) && number >= 0
            && name == NameOf(number);

    /// <summary>The name in the bundle of a band's file.</summary>
    /// <param name="number">The band.</param>
    public static string PlaceOf(long number) => $"{BandsName}/{NameOf(number)}";

    /// <summary>Whether a band has a file. Only a folder that is there can say no: where a disk or a share went away nothing is known, and
    /// nothing is zeros.</summary>
    /// <param name="number">The band.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageUnreadable"/>: the host does not say;
    /// <see cref="ImageErrorId.ImageDamaged"/>: it is no file.</exception>
    public bool HasBand(long number)
    {
        bool isThere = folder.StatOf(Bands, NameOf(number), PlaceOf(number)) is not null;
        folder.CheckBandsAreThere();
        return isThere;
    }

    /// <summary>The length of a band's file; null where there is none.</summary>
    /// <param name="number">The band.</param>
    /// <exception cref="ImageException">As <see cref="HasBand"/>.</exception>
    public long? LengthOf(long number) => folder.StatOf(Bands, NameOf(number), PlaceOf(number))?.Size;

    /// <summary>Opens a band's file.</summary>
    /// <param name="number">The band.</param>
    /// <param name="writable">Whether it is to be written.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public FileStorage OpenBand(long number, bool writable) => folder.OpenFile(Bands, NameOf(number), PlaceOf(number), writable);

    /// <summary>Makes a band's file, for the eyes of whoever may read the bundle.</summary>
    /// <param name="number">The band.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public FileStorage CreateBand(long number) =>
        folder.CreateFile(Bands, NameOf(number), PlaceOf(number), _mode ??= folder.ModeOfNewFiles());

    /// <summary>On a share, reads the end of a band that was flushed back by its name: files of another length than what was written have
    /// been seen there.</summary>
    /// <param name="number">The band.</param>
    /// <param name="file">Its file.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ChecksumMismatch"/>.</exception>
    public void CheckAsWritten(long number, FileStorage file)
    {
        if (!_isOnNetwork) return;
        using Microsoft.Win32.SafeHandles.SafeFileHandle again = Bands.OpenFile(NameOf(number), out _);
        file.CheckAsWritten(again);
    }

    /// <summary>The numbers of the bands that have a file, in the folder's order, those behind the end of the disk included.</summary>
    /// <exception cref="ImageException">The folder cannot be listed.</exception>
    public IEnumerable<long> ListNumbers()
    {
        var names = new List<string>();
        try
        {
            Bands.ReadNames(names, []);
        }
        catch (HostException e)
        {
            throw folder.ErrorOf(e, BandsName, writing: false);
        }

        folder.CheckBandsAreThere();
        foreach (string name in names)
        {
            if (TryParseName(name, out long number)) yield return number;
        }
    }

    /// <summary>The files in the folder of bands, in the folder's order, those behind the end of the disk included.</summary>
    /// <exception cref="ImageException">The folder cannot be listed; <see cref="ImageErrorId.ImageDamaged"/>: one of them is no
    /// file.</exception>
    public IEnumerable<SparseBundleBandFile> List()
    {
        foreach (long number in ListNumbers())
        {
            // Null: gone between listing and asking.
            if (folder.StatOf(Bands, NameOf(number), PlaceOf(number)) is { } stat)
                yield return new(number, stat.Size, Math.Min(stat.Size, stat.AllocatedBytes ?? stat.Size));
        }
    }

    /// <summary>Removes a band and its map. The map goes first: one without a band would be taken for that of the next band of this
    /// number.</summary>
    /// <param name="number">The band.</param>
    /// <exception cref="HostException">What the host says.</exception>
    public void Remove(long number)
    {
        if (folder.Mapped is { } mapped) Remove(mapped, NameOf(number));
        Remove(Bands, NameOf(number));
    }

    /// <summary>Makes it durable that files were removed, in the order of <see cref="Remove(long)"/>.</summary>
    /// <exception cref="IOException">The medium failed.</exception>
    public void FlushRemovals()
    {
        folder.Mapped?.Flush();
        Bands.Flush();
    }

    /// <summary>Makes the names of new files durable, bands first.</summary>
    /// <exception cref="IOException">The medium failed.</exception>
    public void FlushNewNames()
    {
        Bands.Flush();
        folder.Mapped?.Flush();
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
        if (!HasMap(number))
        {
            map.AsSpan().Fill(0xFF);
            return map;
        }

        using FileStorage file = OpenMap(number, writable: false);
        if (file.Length != length)
        {
            throw ImageException.Damaged($"The map of a band has {file.Length} bytes instead of {length}.", MapPlaceOf(number))
                .WithPath(Bundle);
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
        using FileStorage file = HasMap(number)
            ? OpenMap(number, writable: true)
                : folder.CreateFile(Mapped, NameOf(number), MapPlaceOf(number), _mode ??= folder.ModeOfNewFiles());
        file.Write(0, map);
        file.Flush();
    }

    /// <summary>Whether a band has a file of its bits.</summary>
    /// <param name="number">The band.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it is no file; unreadable.</exception>
    public bool HasMap(long number) => folder.Mapped is { } mapped && folder.StatOf(mapped, NameOf(number), MapPlaceOf(number)) is not null;

    /// <summary>Opens the file of a band's bits.</summary>
    /// <param name="number">The band.</param>
    /// <param name="writable">Whether it is to be written.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public FileStorage OpenMap(long number, bool writable) => folder.OpenFile(Mapped, NameOf(number), MapPlaceOf(number), writable);

    private HostDirectory Bands => folder.Bands!;

    private HostDirectory Mapped => folder.Mapped!;

    private static string MapPlaceOf(long number) => $"{MappedName}/{NameOf(number)}";

    private static void Remove(HostDirectory folder, string name)
    {
        try
        {
            folder.Remove(name);
        }
        catch (HostException e) when (e.Failure == HostFailure.NotFound)
        {
            // It is gone already.
        }
    }
}

/// <summary>The file of a band.</summary>
/// <param name="Band">The band's number.</param>
/// <param name="FileLength">Bytes of the file.</param>
/// <param name="StoredBytes">Bytes that the file takes on its medium, at most its length.</param>
internal readonly record struct SparseBundleBandFile(long Band, long FileLength, long StoredBytes);
