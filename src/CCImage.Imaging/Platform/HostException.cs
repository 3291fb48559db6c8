namespace CCImage.Platform;

/// <summary>Why the host refused, in the same words on every system.</summary>
internal enum HostFailure
{
    /// <summary>Anything that has no name below.</summary>
    Other,

    /// <summary>It does not exist (any more).</summary>
    NotFound,

    /// <summary>No permission.</summary>
    AccessDenied,

    /// <summary>Something of that name exists.</summary>
    AlreadyExists,

    /// <summary>A folder was expected, and something else is there.</summary>
    NotADirectory,

    /// <summary>A symbolic link was met where none may be followed.</summary>
    SymbolicLink,

    /// <summary>The medium or the user's quota is full.</summary>
    NoSpace,

    /// <summary>The file would be larger than the file system allows.</summary>
    FileTooLarge,

    /// <summary>The name is longer than the file system allows, or has characters it does not take.</summary>
    BadName,

    /// <summary>The file system is mounted read-only.</summary>
    ReadOnly,

    /// <summary>The file system or the system cannot do it.</summary>
    NotSupported,

    /// <summary>The name changed its meaning between two looks at it: somebody replaced what was there.</summary>
    Replaced,

    /// <summary>Somebody else holds a lock on it.</summary>
    InUse,

    /// <summary>A regular file was expected, and something else is there.</summary>
    NotAFile,

    /// <summary>This process, or the system, has as many files open as it may.</summary>
    TooManyFiles,
}

/// <summary>
/// A refusal of the host. It never reaches the user as it is: the scanner and the restorer know what it means there and make an
/// <see cref="ImageException"/> or a warning of it.
/// </summary>
/// <param name="failure">Why.</param>
/// <param name="message">The host's own words.</param>
/// <param name="inner">The cause, if it was an exception.</param>
internal sealed class HostException(HostFailure failure, string message, Exception? inner = null) : IOException(message, inner)
{
    /// <summary>Why.</summary>
    public HostFailure Failure { get; } = failure;

    /// <summary>
    /// What to do about it when it was met in reading, where that is not what the failure makes one think of: no rights of a user help
    /// against the protection of privacy of macOS.
    /// </summary>
    public string? RemedyForReading { get; init; }
}
