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

    /// <inheritdoc/>
    public override ImageException ObstacleToReading(int index)
    {
        (string what, string remedy) = kind switch
        {
            VolumeKind.Hfs =>
                ("classic HFS (of before 1998)",
                    "Attach the image on a Mac with macOS 10.14 or older and copy the files there, or read them with hfsutils."),
            VolumeKind.Iso9660 or VolumeKind.Udf =>
                ($"{(kind == VolumeKind.Udf ? "UDF" : "ISO 9660")}, the file system of optical discs",
                    "Attach the image and copy the files there, or extract them with 7-Zip or bsdtar."),
            VolumeKind.Ntfs => ("NTFS", "Attach the image where NTFS is read and copy the files there, or extract them with 7-Zip."),
            VolumeKind.Ext => ("ext2, ext3 or ext4", "Attach the image on Linux and copy the files there, or extract them with 7-Zip."),
            VolumeKind.LinuxSwap => ("swap space of Linux", "It holds no files: choose another volume."),
            VolumeKind.CoreStorage =>
                ("CoreStorage (FileVault or a Fusion drive of before APFS)",
                    "Attach the image on a Mac, unlock the volume and copy the files there."),
            VolumeKind.BitLocker => ("encrypted by BitLocker", "Attach the image on Windows, unlock the volume and copy the files there."),
            _ => (kind.ToString(), "Attach the image where such volumes are read, and copy the files there."),
        };
        return ImageException.Unsupported(
            $"The volume{(name.Length == 0 ? "" : $" '{name}'")} is {what}, whose files this version does not read.", remedy);
    }
}
