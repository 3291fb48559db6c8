using CCImage.Encryption;
using CCImage.Sources;

namespace CCImage;

/// <summary>File systems that new images can carry.</summary>
public enum ImageFileSystem
{
    /// <summary>HFS+, names compared without case, journaled.</summary>
    HfsPlus,

    /// <summary>HFSX: names compared with case, journaled.</summary>
    HfsPlusCaseSensitive,
}

/// <summary>
/// The immutable request for a new image. Everything that is not in the source enters here and nowhere else: dates, UUIDs. The same recipe
/// over the same source therefore gives the same bytes; encrypted, the same bytes once they are decrypted, because keys, salts and IVs are
/// new each time.
/// </summary>
public sealed record ImageRecipe
{
    /// <summary>Folder or volume to back up, as a full path; null for an empty image.</summary>
    public string? SourcePath { get; init; }

    /// <summary>The image to make, as a full path.</summary>
    public required string Path { get; init; }

    /// <summary>The format.</summary>
    public required BackupImageFormat Format { get; init; }

    /// <summary>
    /// Size of the disk in bytes, rounded up to whole allocation blocks; null for the default: the free space of the underlying disk for
    /// images that grow, what is needed for the others.
    /// </summary>
    public long? SizeBytes { get; init; }

    /// <summary>Name of the volume; null for the name of the source folder or of the image.</summary>
    public string? VolumeName { get; init; }

    /// <summary>
    /// File system of the volume; null for <see cref="ImageFileSystem.HfsPlus"/>, or, where names of the source differ in case only,
    /// <see cref="ImageFileSystem.HfsPlusCaseSensitive"/> with a warning.
    /// </summary>
    public ImageFileSystem? FileSystem { get; init; }

    /// <summary>Bytes in a band of a sparse bundle: a power of two from 1 MiB to 8 GiB; null scales with the capacity.</summary>
    public long? BandSizeBytes { get; init; }

    /// <summary>The codec's level; null for its default.</summary>
    public int? CompressionLevel { get; init; }

    /// <summary>Patterns of what to leave out; see <c>about_CCImage</c>.</summary>
    public IReadOnlyList<string> Exclude { get; init; } = [];

    /// <summary>Whether to stay on the source's own file system.</summary>
    public bool OneFileSystem { get; init; }

    /// <summary>
    /// Whether files that cannot be read, or cannot be kept by the names they have, are left out with a warning instead of ending the job
    /// before anything is written.
    /// </summary>
    public bool SkipUnreadable { get; init; }

    /// <summary>Whether files whose content is in the cloud only are downloaded and taken; otherwise they are left out with a
    /// warning.</summary>
    public bool IncludeDataless { get; init; }

    /// <summary>How the image is encrypted.</summary>
    public BackupImageEncryption Encryption { get; init; }

    /// <summary>Will open the image; with <see cref="Encryption"/> needed to write it, not to prepare it. Stays the caller's, who keeps it
    /// until the job has ended.</summary>
    public Passphrase? Passphrase { get; init; }

    /// <summary>Whether to replace an image that exists.</summary>
    public bool Overwrite { get; init; }

    /// <summary>For <see cref="BackupImageFormat.ReadWrite"/>: whether the file's blocks are reserved on the host at once, so that it
    /// cannot run out later.</summary>
    public bool Preallocate { get; init; }

    /// <summary>The moment that is written as creation of disk and volume.</summary>
    public UnixTime CreationTime { get; init; } = DefaultCreationTime();

    /// <summary>Source of every UUID in the image, in the order they are needed.</summary>
    public Guid Seed { get; init; } = DefaultSeed();

    /// <summary>A UUID that follows from the seed and the purpose it is for.</summary>
    /// <param name="purpose">For example <c>"gpt disk"</c>.</param>
    public Guid DeriveUuid(string purpose) => DeriveUuid(Seed, purpose);

    /// <summary>A random-looking (version 4) UUID that follows from a seed and a purpose.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="purpose">What it is for.</param>
    internal static Guid DeriveUuid(Guid seed, string purpose)
    {
        Span<byte> bytes = System.Security.Cryptography.SHA256.HashData(
            [.. seed.ToByteArray(bigEndian: true), .. System.Text.Encoding.UTF8.GetBytes(purpose)]).AsSpan(0, 16);
        bytes[6] = (byte)((bytes[6] & 0x0F) | 0x40);
        bytes[8] = (byte)((bytes[8] & 0x3F) | 0x80);
        return new Guid(bytes, bigEndian: true);
    }

    // https://reproducible-builds.org/specs/source-date-epoch/: whole seconds, decimal; what is malformed must not pass for not being
    // there.
    private static long? SourceDateEpoch()
    {
        string? text = Environment.GetEnvironmentVariable("SOURCE_DATE_EPOCH");
        if (string.IsNullOrEmpty(text)) return null;
        if (long.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture,
            out long seconds)) return seconds;
        throw new ImageException(
            ImageErrorId.InvalidArgument, $"The environment variable SOURCE_DATE_EPOCH is '{text}'.",
            remedy: "Set it to whole seconds since 1970, or remove it.");
    }

    private static UnixTime DefaultCreationTime() =>
        SourceDateEpoch() is long seconds ? UnixTime.FromSeconds(seconds) : UnixTime.From(DateTimeOffset.UtcNow);

    private static Guid DefaultSeed() =>
        SourceDateEpoch() is long seconds ? new Guid(0, 0, 0, BitConverter.GetBytes(seconds)) : Guid.NewGuid();
}
