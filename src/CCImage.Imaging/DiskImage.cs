using CCImage.Sources;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// An image held open: container detected by content, disk readable, partitions and volumes found. <see cref="Describe"/> turns it into the
/// description that cmdlets emit.
/// </summary>
public sealed class DiskImage : IDisposable
{
    private DiskImage(string path, BlockStorage disk) => (Path, Disk) = (path, disk);

    /// <summary>Full path.</summary>
    public string Path { get; }

    /// <summary>The disk inside.</summary>
    public BlockStorage Disk { get; }

    /// <summary>Opens an image for reading.</summary>
    /// <param name="path">File or bundle, as a full path.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageNotFound"/>, <see cref="ImageErrorId.UnknownFormat"/>,
    /// <see cref="ImageErrorId.UnsupportedFormat"/>, <see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static DiskImage Open(string path) => throw new NotImplementedException();

    /// <summary>The facts about the image, from metadata alone.</summary>
    public BackupImage Describe() => throw new NotImplementedException();

    /// <summary>Reads the tree of files of a volume.</summary>
    /// <param name="volume">Number among <see cref="BackupImage.Volumes"/>, from 1; null for the only one that can be read.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.VolumeNotFound"/>.</exception>
    public SourceTree ReadTree(int? volume, CancellationToken cancellation) => throw new NotImplementedException();

    /// <inheritdoc/>
    public void Dispose() => Disk.Dispose();
}
