using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>A volume of a file system that is told apart, but not read by this version: nothing of it is known to be free.</summary>
/// <param name="kind">The file system.</param>
/// <param name="name">The name, where it is cheap to know.</param>
/// <param name="capacityBytes">Size of the file system in bytes.</param>
internal sealed class RecognisedVolume(VolumeKind kind, string name, long capacityBytes) : FileSystemVolume
{
    /// <inheritdoc/>
    public override VolumeKind Kind => kind;

    /// <inheritdoc/>
    public override string Name => name;

    /// <inheritdoc/>
    public override long CapacityBytes => capacityBytes;

    /// <inheritdoc/>
    public override long? FreeBytes => null;

    /// <inheritdoc/>
    public override IEnumerable<StorageExtent> GetFreeExtents(FreeSpaceQuery? query = null) => [];
}
