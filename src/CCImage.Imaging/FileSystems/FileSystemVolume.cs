using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>
/// A file system that was found in a window of a disk, opened for reading. Its tree of files is a <see cref="SourceTree"/>, so listing,
/// restoring, converting and updating all speak of the same thing.
/// </summary>
internal abstract class FileSystemVolume : IDisposable
{
    /// <summary>What it is.</summary>
    public abstract VolumeKind Kind { get; }

    /// <summary>The volume's name; empty where there is none.</summary>
    public abstract string Name { get; }

    /// <summary>Size of the file system in bytes.</summary>
    public abstract long CapacityBytes { get; }

    /// <summary>Free bytes, from the file system's own count, or null when this version cannot read it.</summary>
    public abstract long? FreeBytes { get; }

    /// <summary>Files, or null when not known.</summary>
    public virtual long? FileCount => null;

    /// <summary>Folders, the root not counted, or null when not known.</summary>
    public virtual long? FolderCount => null;

    /// <summary>Whether the file system keeps a journal.</summary>
    public virtual bool IsJournaled => false;

    /// <summary>Whether the volume's files are encrypted by the file system itself (not by the image).</summary>
    public virtual bool IsEncrypted => false;

    /// <summary>Creation of the volume, as far as it is kept.</summary>
    public virtual UnixTime CreationTime => UnixTime.None;

    /// <summary>
    /// The ranges of the volume (bytes from its start) that hold nothing: ascending, apart from each other, read from the allocation
    /// structures alone. Whatever is not certain is not free.
    /// </summary>
    /// <param name="query">What ends it, and how short ranges may be; null for all of them. Whoever keeps them all may be given too many to
    /// keep.</param>
    public abstract IEnumerable<StorageExtent> GetFreeExtents(FreeSpaceQuery? query = null);

    /// <summary>How many volumes it holds: one, but for a file system that holds several in one partition (APFS). One also when they cannot
    /// be listed.</summary>
    public virtual int VolumeCount => 1;

    /// <summary>Whether this version can read the files of a volume.</summary>
    /// <param name="index">Which of those that <see cref="Describe"/> lists, from 0.</param>
    public virtual bool HasReadableTree(int index) => false;

    /// <summary>Why this version cannot read the files of a volume: what it is, and the way out; null where it can.</summary>
    /// <param name="index">Which of those that <see cref="Describe"/> lists, from 0.</param>
    public virtual ImageException? ObstacleToReading(int index) =>
        HasReadableTree(index) ? null
            : ImageException.Unsupported($"The files of {Kind} volumes are not read by this version.",
            "Attach the image where such volumes are read, and copy the files there.");

    /// <summary>Reads the whole tree of files of a volume, or null where <see cref="HasReadableTree"/> says no.</summary>
    /// <param name="index">Which of those that <see cref="Describe"/> lists, from 0.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public virtual SourceTree? ReadTree(int index = 0, CancellationToken cancellation = default) => null;

    /// <summary>The facts for people, of each volume.</summary>
    /// <param name="partition">Number of the partition it lies in; 0 without a map.</param>
    public virtual IReadOnlyList<BackupImageVolume> Describe(int partition) =>
        [new(Name, Kind, partition, CapacityBytes, CapacityBytes - FreeBytes, FreeBytes, FileCount, FolderCount,
            IsJournaled) { IsEncrypted = IsEncrypted }];

    /// <summary>Judges the structures of the file system, without changing anything. What is in order is said, too.</summary>
    /// <param name="findings">Receives what is found; only faults of the host are thrown.</param>
    /// <param name="cancellation">Ends it.</param>
    public virtual void Check(ImageFindings findings, CancellationToken cancellation) =>
        findings.Note("File system", $"{Kind} is recognised, but this version does not check its structures.");

    /// <summary>
    /// Mends what <see cref="Check"/> called repairable, on the window the volume was opened on, which can be written: leaked space is
    /// given back, copies of headers are restored. Nothing else is touched, and every prefix of the writes leaves a volume as sound as
    /// before. The volume is opened anew afterwards.
    /// </summary>
    /// <param name="cancellation">Ends it between two steps.</param>
    /// <returns>What was mended, a sentence each.</returns>
    public virtual IReadOnlyList<string> Repair(CancellationToken cancellation) => [];

    /// <summary>Judges whether the volume can have another size, or null when this version leaves the size of such a file system
    /// alone.</summary>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>, <see cref="ImageErrorId.UnsupportedFormat"/>: this volume
    /// cannot.</exception>
    public virtual VolumeResizer? OpenResizer(CancellationToken cancellation) => null;

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases what the volume holds; never the storage it was opened on.</summary>
    /// <param name="disposing">Always true.</param>
    protected virtual void Dispose(bool disposing)
    {
    }
}
