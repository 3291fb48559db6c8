namespace CCImage.Platform;

/// <summary>The facts about the volume a path lies on.</summary>
internal sealed record HostVolume
{
    /// <summary>FAT's limit: the file size is a 32-bit number.</summary>
    public const long FatMaximumFileSize = uint.MaxValue;

    /// <summary>Where it is mounted; on Windows the drive's root.</summary>
    public required string MountPoint { get; init; }

    /// <summary>The file system as the host calls it: <c>ext4</c>, <c>apfs</c>, <c>NTFS</c>, <c>fuse.sshfs</c>; empty when not
    /// known.</summary>
    public required string FileSystemType { get; init; }

    /// <summary>What is mounted there: a device, a share.</summary>
    public string Device { get; init; } = "";

    /// <summary>The host's number for the volume, as <see cref="HostIdentity.Device"/>; 0 where there is none.</summary>
    public ulong DeviceId { get; init; }

    /// <summary>Size in bytes.</summary>
    public long CapacityBytes { get; init; }

    /// <summary>Bytes free for this user: reserved blocks and quotas are taken off as far as the host does so.</summary>
    public long FreeBytes { get; init; }

    /// <summary>Whether the files lie on another machine, as far as the type tells.</summary>
    public bool IsNetwork { get; init; }

    /// <summary>The network protocol (SMB, NFS, AFP, WebDAV, SSH, …); null for a local volume and where the type does not tell.</summary>
    public string? Protocol { get; init; }

    /// <summary>The largest file in bytes, where the file system's limit is below what an image may need; null otherwise.</summary>
    public long? MaximumFileSize { get; init; }

    /// <summary>
    /// Whether files there are expected to have holes that can be made afterwards: an expectation by the type, for estimates; what is so
    /// shows when it is tried.
    /// </summary>
    public bool MayHaveHoles => FileSystemType.ToLowerInvariant() is not
        ("vfat" or "msdos" or "fat" or "fat32" or "fat16" or "umsdos" or "exfat" or "ramfs" or "hfs" or "hfsplus" or "nfs" or "9p"
            or "smbfs" or "afpfs" or "webdav" or "davfs");

    /// <summary>Whether the running system lies on it.</summary>
    public bool IsStartupDisk { get; init; }

    /// <summary>Whether names that differ in case only are two names; null when not known.</summary>
    public bool? IsCaseSensitive { get; init; }

    /// <summary>Whether it cannot be written.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>
    /// The protocol behind a type of file system, or null for the types that are not of a network. The names are those that Linux'
    /// mountinfo and macOS' statfs show.
    /// </summary>
    /// <param name="type">For example <c>cifs</c>, <c>nfs4</c>, <c>fuse.sshfs</c>, <c>smbfs</c>.</param>
    public static string? NetworkProtocol(string type) => type switch
    {
        "cifs" or "smb3" or "smbfs" or "fuse.smbnetfs" => "SMB",
        "nfs" or "nfs4" or "nfsd" => "NFS",
        "afpfs" or "fuse.afpfs" => "AFP",
        "webdav" or "davfs" or "fuse.davfs2" => "WebDAV",
        "fuse.sshfs" or "fuse.sftpfs" => "SSH",
        "ftp" or "fuse.curlftpfs" => "FTP",
        "9p" => "9P",
        "afs" => "AFS",
        "ceph" or "fuse.ceph" or "fuse.ceph-fuse" => "Ceph",
        "fuse.glusterfs" => "Gluster",
        "lustre" => "Lustre",
        "beegfs" => "BeeGFS",
        "fuse.rclone" or "fuse.s3fs" or "fuse.gcsfuse" or "fuse.goofys" => "cloud storage",
        _ => null,
    };

    /// <summary>The limit of a type of file system on the size of a file, or null. Types as in <see cref="FileSystemType"/>.</summary>
    /// <param name="type">The type.</param>
    public static long? MaximumFileSizeOf(string type) => type.ToLowerInvariant() switch
    {
        "vfat" or "msdos" or "fat" or "fat32" or "fat16" or "umsdos" => FatMaximumFileSize,
        _ => null,
    };
}
