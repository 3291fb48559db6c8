namespace CCImage;

/// <summary>
/// What went wrong, as a stable identifier. The member's name is the error id that scripts see
/// (<c>FullyQualifiedErrorId</c> starts with it): members are added, never renamed or reused.
/// </summary>
public enum ImageErrorId
{
    /// <summary>No image at the path that was given.</summary>
    ImageNotFound,

    /// <summary>The file is none of the disk image formats that can be recognised.</summary>
    UnknownFormat,

    /// <summary>The format is recognised, but cannot be read or written by this version.</summary>
    UnsupportedFormat,

    /// <summary>The image contradicts its own format: cut short, out of bounds, inconsistent.</summary>
    ImageDamaged,

    /// <summary>A stored checksum does not match the data.</summary>
    ChecksumMismatch,

    /// <summary>The image is attached, locked or being written by somebody else.</summary>
    ImageInUse,

    /// <summary>The image exists, but the host does not let it be read: no permission, or the medium fails.</summary>
    ImageUnreadable,

    /// <summary>The image is encrypted and no passphrase was given.</summary>
    PassphraseRequired,

    /// <summary>The passphrase does not open the image.</summary>
    WrongPassphrase,

    /// <summary>The source folder or volume does not exist.</summary>
    SourceNotFound,

    /// <summary>A file, folder or attribute of the source cannot be read.</summary>
    SourceUnreadable,

    /// <summary>The source cannot be represented in the file system of the image.</summary>
    SourceNotRepresentable,

    /// <summary>Something already exists at the destination and overwriting was not asked for.</summary>
    DestinationExists,

    /// <summary>The folder of the destination does not exist.</summary>
    DestinationNotFound,

    /// <summary>The destination has no room for what is to be written.</summary>
    DestinationFull,

    /// <summary>The destination's file system cannot hold a file of that size.</summary>
    DestinationFileSizeLimit,

    /// <summary>The destination cannot be written.</summary>
    DestinationUnwritable,

    /// <summary>What is to be stored does not fit into the capacity that was asked for.</summary>
    CapacityTooSmall,

    /// <summary>A parameter has a value that cannot be used.</summary>
    InvalidArgument,

    /// <summary>The image holds no volume that can be read.</summary>
    VolumeNotFound,

    /// <summary>The operation exists only on another operating system.</summary>
    PlatformNotSupported,

    /// <summary>A part of the program that is shipped beside it is missing.</summary>
    ComponentMissing,

    /// <summary>The operating system denies access to a file or folder.</summary>
    AccessDenied,

    /// <summary>Reading or writing failed for a reason of the host's: a disk, a network, a driver.</summary>
    InputOutputFailed,

    /// <summary>The operation was cancelled.</summary>
    Cancelled,

    /// <summary>The operating system did not attach or detach the image.</summary>
    MountFailed,

    /// <summary>The image is not attached.</summary>
    ImageNotMounted,

    /// <summary>A fault of the program itself.</summary>
    InternalError,

    /// <summary>This operating system has no keychain.</summary>
    KeychainNotAvailable,

    /// <summary>The keychain has no passphrase of the image.</summary>
    KeychainItemNotFound,

    /// <summary>The keychain is locked, or gives no access.</summary>
    KeychainRefused,

    /// <summary>The image was made, but something of the source is not in it, or not as it was: what, say the warnings and the counts of
    /// the result.</summary>
    BackedUpInPart,

    /// <summary>Something that was to be restored was not, or not as the image has it: what, say the warnings and the counts of the
    /// result.</summary>
    RestoredInPart,

    /// <summary>The user is to be asked whether to go on, and there is nobody to ask.</summary>
    ConfirmationRequired,

    /// <summary>The image was converted, but its source was damaged: what, says the result.</summary>
    ConvertedInPart,
}

/// <summary>
/// The one exception the imaging core throws for anything a user can meet: it names the file, the place in it and the remedy.
/// Cancellation is <see cref="OperationCanceledException"/>; programming errors are the runtime's own exceptions.
/// </summary>
public sealed class ImageException : Exception
{
    /// <summary>Makes the exception.</summary>
    /// <param name="id">The stable identifier.</param>
    /// <param name="message">What happened, in a sentence with a full stop, without path and remedy.</param>
    /// <param name="path">The file concerned, or null while it is not known: <see cref="WithPath"/> adds it on the way up.</param>
    /// <param name="place">Where in the file: a structure and its offset in bytes, for example <c>"block table 2, run 17 at byte
    /// 4096"</c>.</param>
    /// <param name="remedy">What the user can do, in a sentence with a full stop.</param>
    /// <param name="innerException">The cause.</param>
    public ImageException(
        ImageErrorId id, string message, string? path = null, string? place = null, string? remedy = null, Exception? innerException = null)
        : base(Compose(message, path, place, remedy), innerException)
    {
        Id = id;
        Problem = message;
        Path = path;
        Place = place;
        Remedy = remedy;
    }

    /// <summary>The stable identifier.</summary>
    public ImageErrorId Id { get; }

    /// <summary>The bare sentence, without path, place and remedy.</summary>
    public string Problem { get; }

    /// <summary>The file concerned.</summary>
    public string? Path { get; }

    /// <summary>Where in the file.</summary>
    public string? Place { get; }

    /// <summary>What to do about it.</summary>
    public string? Remedy { get; }

    /// <summary>Whether what the image holds is the cause, and not the host, a passphrase or the caller: only then can the rest of the
    /// image be gone on with.</summary>
    internal bool IsFaultOfContent => Id is ImageErrorId.ImageDamaged or ImageErrorId.ChecksumMismatch or ImageErrorId.UnsupportedFormat;

    /// <summary>Whether the host did not let something be seen, so that nothing follows from it about what the image holds.</summary>
    internal bool IsHostFault => Id is ImageErrorId.ImageUnreadable or ImageErrorId.ImageNotFound or ImageErrorId.ImageInUse
        or ImageErrorId.AccessDenied or ImageErrorId.InputOutputFailed;

    /// <summary>The same exception with the path filled in, unless it already has one. Format code knows places; only the opener knows the
    /// path.</summary>
    /// <param name="path">The file concerned.</param>
    public ImageException WithPath(string path) => Path is null ? new(Id, Problem, path, Place, Remedy, this) : this;

    /// <summary>A structure that contradicts its format.</summary>
    /// <param name="message">What is wrong.</param>
    /// <param name="place">The structure and its offset in bytes.</param>
    /// <param name="innerException">The cause.</param>
    internal static ImageException Damaged(string message, string? place = null, Exception? innerException = null) =>
        new(ImageErrorId.ImageDamaged, message, place: place,
            remedy: "Restore the image from another copy; Test-BackupImage -Detailed tells what else is damaged.",
            innerException: innerException);

    /// <summary>A structure that is valid but beyond what this version reads.</summary>
    /// <param name="message">What it is.</param>
    /// <param name="remedy">The way out.</param>
    /// <param name="place">The structure and its offset in bytes.</param>
    internal static ImageException Unsupported(string message, string? remedy = null, string? place = null) =>
        new(ImageErrorId.UnsupportedFormat, message, place: place, remedy: remedy);

    private static string Compose(string message, string? path, string? place, string? remedy)
    {
        string text = path is null ? message : $"{path}: {message}";
        if (place is not null) text += $" (at {place})";

        // Names from an image among it: nothing that a terminal would obey. The properties have the true text.
        return Diagnostics.DisplayText.Escape(remedy is null ? text : $"{text} {remedy}");
    }
}
