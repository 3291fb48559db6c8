using CCImage.Binary;
using CCImage.PropertyLists;

namespace CCImage.Containers.SparseBundle;

/// <summary>What <c>Info.plist</c> of a sparse bundle says. <c>Info.bckup</c> holds the same bytes.</summary>
/// <param name="DiskLength">Bytes of the disk (<c>size</c>).</param>
/// <param name="BandSize">Bytes of a band (<c>band-size</c>).</param>
/// <param name="Version"><c>bundle-backingstore-version</c>: 1, or 2 in bundles of the newest systems.</param>
internal sealed record SparseBundleInfo(long DiskLength, long BandSize, long Version)
{
    /// <summary>What of the disk is in use, zeros, and therefore not stored (see <see cref="SparseBundleZeros"/>); null in bundles whose
    /// maker does not tell.</summary>
    public string? Zeros { get; init; }

    /// <summary>The name of the property list.</summary>
    public const string FileName = "Info.plist";

    /// <summary>The name of its copy.</summary>
    public const string CopyName = "Info.bckup";

    /// <summary>What <c>diskimage-bundle-type</c> says of a sparse bundle.</summary>
    public const string BundleType = "com.apple.diskimage.sparsebundle";

    /// <summary>Smallest band that hdiutil takes.</summary>
    public const long MinimumBandSize = 1L << 20;

    /// <summary>Band size of hdiutil, and of new small bundles.</summary>
    public const long DefaultBandSize = 8L << 20;

    /// <summary>Largest band that hdiutil takes.</summary>
    public const long MaximumBandSize = 8L << 30;

    /// <summary>Most bands that a bundle of default band size may come to have: many more make it slow on a network.</summary>
    public const long BandCountGoal = 16_384;

    /// <summary>Bands of the disk.</summary>
    public long BandCount => Layout.DivideUp(DiskLength, BandSize);

    /// <summary>The band size for a new bundle: 8 MiB, doubled until the disk has no more than <see cref="BandCountGoal"/> bands.</summary>
    /// <param name="diskLength">Bytes of the disk.</param>
    public static long BandSizeFor(long diskLength)
    {
        long size = DefaultBandSize;
        while (size < MaximumBandSize && Layout.DivideUp(diskLength, size) > BandCountGoal) size *= 2;
        return size;
    }

    /// <summary>Reads the property list of a bundle.</summary>
    /// <param name="list">The property list.</param>
    /// <returns>Null when it is the list of another kind of bundle.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static SparseBundleInfo? Read(byte[] list)
    {
        if (PropertyListReader.Parse(list) is not PropertyListDictionary keys || keys.GetString("diskimage-bundle-type") != BundleType)
            return null;
        long version = keys.GetInteger("bundle-backingstore-version") ?? 1;
        long bandSize = keys.GetInteger("band-size")
            ?? throw ImageException.Damaged("The band size is missing.", FileName + ", key 'band-size'");
        long length = keys.GetInteger("size")
            ?? throw ImageException.Damaged("The size of the disk is missing.", FileName + ", key 'size'");
        if (bandSize is < 512 or > MaximumBandSize || bandSize % 512 != 0)
            throw ImageException.Damaged($"A band of {bandSize} bytes is impossible.", FileName + ", key 'band-size'");
        if (length < 0) throw ImageException.Damaged($"A disk of {length} bytes is impossible.", FileName + ", key 'size'");
        return new SparseBundleInfo(length, bandSize, version) { Zeros = keys.GetString(SparseBundleZeros.Key) };
    }

    /// <summary>The property list as Apple's tools write it for version 1.</summary>
    public byte[] ToPropertyList() => PropertyListWriter.Write(new()
    {
        { "CFBundleInfoDictionaryVersion", "6.0" },
        { "band-size", BandSize },
        { "bundle-backingstore-version", Version },
        { "diskimage-bundle-type", BundleType },
        { "size", DiskLength },
    });
}
