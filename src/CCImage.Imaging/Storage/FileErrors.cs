using CCImage.Platform;

namespace CCImage.Storage;

/// <summary>Turns what the runtime throws about files into the errors users know.</summary>
internal static class FileErrors
{
    private const int InputOutput = 5;
    private const int NoSpace = 28;
    private const int FileTooBig = 27;
    private const int QuotaExceededLinux = 122;
    private const int QuotaExceededDarwin = 69;
    private const int TryAgainLinux = 11;
    private const int TryAgainDarwin = 35;

    /// <summary>Whether <see cref="Map(Exception, string, bool)"/> knows the exception.</summary>
    /// <param name="e">The exception.</param>
    public static bool IsFileError(Exception e) => e is IOException or UnauthorizedAccessException;

    /// <summary>The error for a failed operation on an image or destination.</summary>
    /// <param name="e">What the runtime threw.</param>
    /// <param name="path">The file or folder.</param>
    /// <param name="writing">Whether it was opened to be written.</param>
    public static ImageException Map(Exception e, string path, bool writing)
    {
        if (e is HostException host) return Map(host, path, writing);
        int code = e.HResult;
        bool windows = OperatingSystem.IsWindows();
        int systemCode = windows ? code & 0xFFFF : code;
        bool full = windows ? systemCode is 0x70 or 0x27
            : systemCode == NoSpace || systemCode == (OperatingSystem.IsMacOS() ? QuotaExceededDarwin : QuotaExceededLinux);
        bool tooBig = windows ? systemCode == 0xDF : systemCode == FileTooBig;
        bool inUse = windows ? systemCode is 0x20 or 0x21 : systemCode == (OperatingSystem.IsMacOS() ? TryAgainDarwin : TryAgainLinux);
        return e switch
        {
            PathTooLongException =>
                new(ImageErrorId.InvalidArgument, "The path, or a name in it, is too long for this system.", path,
                    remedy: "Give a shorter one.", innerException: e),
            FileNotFoundException or DirectoryNotFoundException when !writing =>
                new(ImageErrorId.ImageNotFound, "There is no such file.", path, remedy: "Check the path.", innerException: e),
            DirectoryNotFoundException =>
                new(ImageErrorId.DestinationNotFound, "The folder does not exist.", path, remedy: "Create the folder first.",
                    innerException: e),
            FileNotFoundException =>
                new(ImageErrorId.ImageNotFound, "There is no such file.", path, remedy: "Check the path.", innerException: e),
            IOException when full =>
                new(ImageErrorId.DestinationFull, "There is no room left.", path, remedy: "Free some space, or choose another place.",
                    innerException: e),
            IOException when tooBig => TooBig(path, e),
            IOException when inUse =>
                new(ImageErrorId.ImageInUse, "Another process has it open.", path,
                    remedy: "Eject the image or wait until the other job has ended.",
                    innerException: e),
            _ when writing =>
                new(ImageErrorId.DestinationUnwritable, "It cannot be written: " + e.Message, path, remedy: "Check the permissions.",
                    innerException: e),
            _ => new(ImageErrorId.ImageUnreadable, "It cannot be read: " + e.Message, path, remedy: "Check the permissions and the disk.",
                innerException: e),
        };
    }

    /// <summary>The error for bytes of an open image that cannot be read.</summary>
    /// <param name="e">What the runtime threw.</param>
    /// <param name="path">The file.</param>
    /// <param name="offset">Where.</param>
    public static ImageException MapRead(Exception e, string path, long offset)
    {
        // A bad sector of a local disk takes one place of the image; a share that fails takes everything.
        if (OperatingSystem.IsWindows() || e is HostException || e.HResult != InputOutput || !IsLocal(path))
            return Map(e, path, writing: false);
        return new(
            ImageErrorId.InputOutputFailed, "The medium cannot be read there: " + e.Message, path, $"byte {offset}",
            "Check the disk, and copy what can be read to another one.", e);
    }

    private static bool IsLocal(string path)
    {
        try
        {
            HostVolume volume = HostPlatform.Current.GetVolume(path);
            return !volume.IsNetwork && !volume.FileSystemType.StartsWith("fuse", StringComparison.Ordinal) && Path.Exists(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return false;
        }
    }

    private static ImageException Map(HostException e, string path, bool writing) => e.Failure switch
    {
        HostFailure.NotFound or HostFailure.NotADirectory when !writing =>
            new(ImageErrorId.ImageNotFound, "There is no such file.", path, remedy: "Check the path.", innerException: e),
        HostFailure.NotFound or HostFailure.NotADirectory =>
            new(ImageErrorId.DestinationNotFound, "The folder does not exist.", path, remedy: "Create the folder first.",
                innerException: e),
        HostFailure.InUse => new(
            ImageErrorId.ImageInUse, "Another process has it open.", path, remedy: "Eject the image or wait until the other job has ended.",
            innerException: e),
        HostFailure.NoSpace =>
            new(ImageErrorId.DestinationFull, "There is no room left.", path, remedy: "Free some space, or choose another place.",
                innerException: e),
        HostFailure.FileTooLarge => TooBig(path, e),
        HostFailure.BadName => new(
            ImageErrorId.InvalidArgument, "The path, or a name in it, is too long or not possible on this system.", path,
            remedy: "Give another one.", innerException: e),
        HostFailure.AlreadyExists => new(
            ImageErrorId.DestinationExists, "A file of this name exists.", path, remedy: "Choose another name, or ask to overwrite.",
            innerException: e),
        HostFailure.NotAFile => new(
            writing ? ImageErrorId.DestinationUnwritable
            : ImageErrorId.UnknownFormat, e.Message, path, remedy: "Name the image itself.", innerException: e),
        HostFailure.TooManyFiles => new(
            writing ? ImageErrorId.DestinationUnwritable
            : ImageErrorId.ImageUnreadable, "This process has as many files open as the system allows.", path,
            remedy: "Raise the limit (ulimit -n), and try again.", innerException: e),
        _ when writing =>
            new(ImageErrorId.DestinationUnwritable, "It cannot be written: " + e.Message, path, remedy: "Check the permissions.",
                innerException: e),
        _ => new(ImageErrorId.ImageUnreadable, "It cannot be read: " + e.Message, path, remedy: "Check the permissions and the disk.",
            innerException: e),
    };

    /// <summary>The error for a file larger than its file system allows.</summary>
    /// <param name="path">The file.</param>
    /// <param name="e">The cause.</param>
    public static ImageException TooBig(string path, Exception? e) =>
        new(ImageErrorId.DestinationFileSizeLimit, "The file system there does not allow a file of this size.", path,
            remedy: "Use a sparse bundle, which stores its data in many smaller files.", innerException: e);
}
