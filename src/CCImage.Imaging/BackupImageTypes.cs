namespace CCImage;

/// <summary>The formats of disk image; the comment names hdiutil's code.</summary>
public enum BackupImageFormat
{
    /// <summary>UDSP: one file that grows.</summary>
    Sparse,

    /// <summary>UDSB: a folder of band files that grows.</summary>
    SparseBundle,

    /// <summary>UDRW: the disk's bytes as they are.</summary>
    ReadWrite,

    /// <summary>UDRO: read-only, not compressed.</summary>
    ReadOnly,

    /// <summary>UDZO: read-only, zlib.</summary>
    ReadOnlyZlib,

    /// <summary>ULFO: read-only, LZFSE.</summary>
    ReadOnlyLzfse,

    /// <summary>ULMO: read-only, LZMA.</summary>
    ReadOnlyLzma,

    /// <summary>UDBZ: read-only, bzip2.</summary>
    ReadOnlyBzip2,

    /// <summary>UDCO: read-only, ADC. Read, never written.</summary>
    ReadOnlyAdc,
}

/// <summary>How an image is encrypted.</summary>
public enum BackupImageEncryption
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>AES with a key of 128 bits.</summary>
    Aes128,

    /// <summary>AES with a key of 256 bits.</summary>
    Aes256,
}

/// <summary>How a disk is divided.</summary>
public enum PartitionScheme
{
    /// <summary>No map: the volume begins at the first byte.</summary>
    None,

    /// <summary>GUID partition table.</summary>
    Gpt,

    /// <summary>Apple partition map.</summary>
    ApplePartitionMap,

    /// <summary>Master boot record.</summary>
    Mbr,
}

/// <summary>Kinds of file system that are told apart.</summary>
public enum VolumeKind
{
    /// <summary>None that is known.</summary>
    Unknown,

    /// <summary>HFS+, names compared without case.</summary>
    HfsPlus,

    /// <summary>HFSX with case-sensitive names.</summary>
    HfsPlusCaseSensitive,

    /// <summary>The classic HFS of before 1998.</summary>
    Hfs,

    /// <summary>Apple File System.</summary>
    Apfs,

    /// <summary>exFAT.</summary>
    ExFat,

    /// <summary>FAT with 12-bit entries.</summary>
    Fat12,

    /// <summary>FAT with 16-bit entries.</summary>
    Fat16,

    /// <summary>FAT with 32-bit entries.</summary>
    Fat32,

    /// <summary>NTFS.</summary>
    Ntfs,

    /// <summary>ISO 9660, as on optical discs; recognised only.</summary>
    Iso9660,

    /// <summary>UDF, as on optical discs; recognised only.</summary>
    Udf,

    /// <summary>ext2, ext3 or ext4 of Linux; recognised only.</summary>
    Ext,

    /// <summary>Swap space of Linux; it holds no files.</summary>
    LinuxSwap,

    /// <summary>Apple's CoreStorage: FileVault and Fusion drives before APFS; recognised only.</summary>
    CoreStorage,

    /// <summary>BitLocker: a volume that Windows encrypted; recognised only.</summary>
    BitLocker,
}

/// <summary>A partition of an image.</summary>
/// <param name="Number">Counted from 1, in the order of the map.</param>
/// <param name="Type">The type as people know it ("Apple_HFS", "Apple_APFS", "EFI", "Microsoft basic data", …), or the bare GUID or
/// number.</param>
/// <param name="Name">The name in the map; empty where the map has none.</param>
/// <param name="OffsetBytes">Start, in bytes from the start of the disk.</param>
/// <param name="SizeBytes">Length in bytes.</param>
public sealed record BackupImagePartition(int Number, string Type, string Name, long OffsetBytes, long SizeBytes);

/// <summary>A volume in an image.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Kind">Its file system.</param>
/// <param name="Partition">Number of the partition it lies in; 0 without a map.</param>
/// <param name="CapacityBytes">Size of the file system.</param>
/// <param name="UsedBytes">Bytes in use, or null when the file system is not known.</param>
/// <param name="FreeBytes">Bytes free, or null.</param>
/// <param name="FileCount">Files, or null.</param>
/// <param name="FolderCount">Folders, the root not counted, or null.</param>
/// <param name="IsJournaled">Whether it keeps a journal.</param>
public sealed record BackupImageVolume(
    string Name, VolumeKind Kind, int Partition, long CapacityBytes, long? UsedBytes, long? FreeBytes, long? FileCount, long? FolderCount,
    bool IsJournaled)
{
    /// <summary>Whether the file system itself encrypts the files (FileVault on APFS); an image's own encryption is another
    /// thing.</summary>
    public bool IsEncrypted { get; init; }
}

/// <summary>
/// A description of an image: what <c>Get-BackupImage</c> emits. A snapshot of facts, holding nothing open. What is not known is null.
/// </summary>
public sealed record BackupImage
{
    /// <summary>Full path of the file or bundle.</summary>
    public required string Path { get; init; }

    /// <summary>The format; null for a locked file, which tells only once it is open whether it holds a disk as it is, a sparse or a
    /// compressed one.</summary>
    public required BackupImageFormat? Format { get; init; }

    /// <summary>hdiutil's four letters for the format; null with it.</summary>
    public required string? FormatCode { get; init; }

    /// <summary>Size of the disk inside, in bytes, of one that is cut short what is there; null for an encrypted image whose header does
    /// not tell it.</summary>
    public long? CapacityBytes { get; init; }

    /// <summary>Bytes the image takes: the file's length, or the sum of the bands'.</summary>
    public long StoredBytes { get; init; }

    /// <summary>Bytes in use in the volumes inside.</summary>
    public long? UsedBytes { get; init; }

    /// <summary>Bytes free in the volumes inside.</summary>
    public long? FreeBytes { get; init; }

    /// <summary>What compaction would give back to the host.</summary>
    public long? ReclaimableBytes { get; init; }

    /// <summary>The smallest capacity the image can be resized to; null where the last volume is not HFS+, or the image is
    /// read-only.</summary>
    public long? MinimumSizeBytes { get; init; }

    /// <summary>Bytes in a band of a sparse image or bundle.</summary>
    public long? BandSizeBytes { get; init; }

    /// <summary>How it is encrypted.</summary>
    public BackupImageEncryption Encryption { get; init; }

    /// <summary>Whether somebody has it open for writing, as far as the host tells; null when the host does not.</summary>
    public bool? IsInUse { get; init; }

    /// <summary>Whether it is encrypted and was looked at without its passphrase.</summary>
    public bool IsLocked { get; init; }

    /// <summary>How the disk is divided; null while locked.</summary>
    public PartitionScheme? PartitionScheme { get; init; }

    /// <summary>The partitions.</summary>
    public IReadOnlyList<BackupImagePartition> Partitions { get; init; } = [];

    /// <summary>The volumes.</summary>
    public IReadOnlyList<BackupImageVolume> Volumes { get; init; } = [];

    /// <summary>Bytes of the disk that the image's file should hold beside them and does not, because it is cut short; 0 for a whole
    /// one.</summary>
    public long MissingBytes { get; init; }

    /// <summary>Whether a read-only image carries a code signature; it is not verified.</summary>
    public bool IsSigned { get; init; }

    /// <summary>Whether a partition map or a file system was recognised on the disk; null while locked. Of an encrypted disk only that
    /// proves that it was decrypted.</summary>
    public bool? IsContentRecognised { get; init; }

    /// <summary>What the conversion that just made this image took over although it was damaged; null for any other image, and for a whole
    /// source.</summary>
    public ConversionDamage? Damage { get; init; }

    /// <summary>What the backup that just made this image did; null when the image was merely looked at.</summary>
    public BackupReport? Report { get; init; }
}

/// <summary>What of a source was damaged when it was converted all the same.</summary>
/// <param name="Bytes">Bytes of the disk that are missing or in doubt, as far as they can be counted.</param>
/// <param name="Problems">What was found, a sentence each.</param>
public sealed record ConversionDamage(long Bytes, IReadOnlyList<string> Problems);

/// <summary>What a backup did.</summary>
/// <param name="Entries">Entries in the image: files, folders, links and others, the root not counted.</param>
/// <param name="SourceBytes">Bytes of file content in the image.</param>
/// <param name="Duration">Wall time from the scan to the rename.</param>
/// <param name="Skipped">What was left out, and why.</param>
/// <param name="Changed">Files that changed while they were read: cut or padded to the size they had when they were scanned.</param>
public sealed record BackupReport(
    long Entries, long SourceBytes, TimeSpan Duration, IReadOnlyList<Diagnostics.ImagingWarning> Skipped,
    IReadOnlyList<Diagnostics.ImagingWarning> Changed)
{
    /// <summary>Files, forks and attributes of which content could not be read: the copies end where reading ended, and are marked in the
    /// image.</summary>
    public IReadOnlyList<Diagnostics.ImagingWarning> Lost { get; init; } = [];

    /// <summary>How many entries a pattern left out; what lies in a folder that was left out is not counted.</summary>
    public long Excluded { get; init; }

    /// <summary>What the image lacks of its source; null when it is whole. What was left out on request, by a pattern, is no
    /// lack.</summary>
    /// <param name="path">The image.</param>
    internal ImageException? ShortfallOf(string path)
    {
        if (Skipped.Count == 0 && Lost.Count == 0) return null;
        var parts = new List<string>(2);
        if (Skipped.Count > 0) parts.Add(Skipped.Count == 1 ? "1 entry was left out" : $"{Skipped.Count} entries were left out");
        if (Lost.Count > 0) parts.Add($"content of {(Lost.Count == 1 ? "1 entry" : $"{Lost.Count} entries")} was lost");
        return new ImageException(
            ImageErrorId.BackedUpInPart, $"The image was written, but not all of the source is in it: {string.Join(", and ", parts)}.",
            path,
            remedy: "The warnings name them, and so do Report.Skipped and Report.Lost of the result. Exclude what is not wanted with "
                + "-Exclude, and back up again.");
    }

    /// <summary>Content per second of wall time.</summary>
    public double BytesPerSecond => Duration > TimeSpan.Zero ? SourceBytes / Duration.TotalSeconds : 0;
}
