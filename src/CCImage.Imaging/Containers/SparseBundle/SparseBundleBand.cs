using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <summary>A band of a bundle that is open, or known to have no file.</summary>
/// <param name="number">Its number.</param>
internal sealed class SparseBundleBand(long number)
{
    private volatile bool _written;

    /// <summary>Its number: it begins at this many times the band size.</summary>
    public long Number { get; } = number;

    /// <summary>Guards opening and the map.</summary>
    public Lock Gate { get; } = new();

    /// <summary>How many use it just now. Guarded by the bundle's lock.</summary>
    public int Users { get; set; }

    /// <summary>Whether it was looked for.</summary>
    public bool Opened { get; set; }

    /// <summary>The band's content; null when there is no file.</summary>
    public BlockStorage? Storage { get; set; }

    /// <summary>The file below <see cref="Storage"/>.</summary>
    public FileStorage? File { get; set; }

    /// <summary>Whether it was written since its last flush.</summary>
    public bool Written
    {
        get => _written;
        set => _written = value;
    }

    /// <summary>The bits of its 4 KiB units, kept up to date; null where nothing is written, or there are none.</summary>
    public byte[]? Map { get; set; }

    /// <summary>Whether the bits are to be saved.</summary>
    public bool MapChanged { get; set; }

    /// <summary>Reads; what lies behind the end of the file is zeros.</summary>
    /// <param name="within">Where in the band.</param>
    /// <param name="part">Receives the bytes.</param>
    public void Read(long within, Span<byte> part)
    {
        long stored = Storage is null ? 0 : Math.Clamp(Storage.Length - within, 0, part.Length);
        if (stored > 0) Storage!.Read(within, part[..(int)stored]);
        part[(int)stored..].Clear();
    }

    /// <summary>Writes to a band that has a file, and sets the bits of what it touches.</summary>
    /// <param name="within">Where in the band.</param>
    /// <param name="part">The bytes, at least one.</param>
    public void Write(long within, ReadOnlySpan<byte> part)
    {
        if (Map is null)
        {
            Storage!.Write(within, part);
        }
        else
        {
            lock (Gate)
            {
                Storage!.Write(within, part);
                long last = (within + part.Length - 1) / SparseBundleFiles.MapUnit;
                for (long unit = within / SparseBundleFiles.MapUnit; unit <= last; unit++) SetMapped(unit);
            }
        }

        Written = true;
    }

    private void SetMapped(long unit)
    {
        byte bit = (byte)(1 << (int)(unit % 8));
        if ((Map![unit / 8] & bit) != 0) return;
        Map[unit / 8] |= bit;
        MapChanged = true;
    }
}
