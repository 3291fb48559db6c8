using System.Management.Automation;
using CCImage.Diagnostics;
using System.Security;
using CCImage.Platform;
using EngineHostException = System.Management.Automation.Host.HostException;

namespace CCImage.Errors;

/// <summary>The one table from what the engine throws to what PowerShell shows. The ids are API: scripts compare them.</summary>
internal static class ErrorMapping
{
    // ERROR_DISK_FULL and ERROR_HANDLE_DISK_FULL as HResults; ENOSPC and EDQUOT (Linux, macOS) as the runtime passes them on.
    private static readonly int[] DiskFull = [unchecked((int)0x80070070), unchecked((int)0x80070027), 28, 122, 69];

    /// <summary>Whether an exception belongs to the engine's control of the pipeline and must never be turned into an error
    /// record.</summary>
    /// <param name="exception">The exception.</param>
    public static bool IsFlowControl(Exception exception)
    {
        if (exception is PipelineStoppedException or ActionPreferenceStopException) return true;

        // break, exit and the stop that Select-Object -First sends upstream: the reference assembly does not name their base class.
        for (Type? type = exception.GetType(); type is not null; type = type.BaseType)
        {
            if (type.FullName == "System.Management.Automation.FlowControlException") return true;
        }

        return false;
    }

    /// <summary>An error record: its id begins with the name of an <see cref="ImageErrorId"/>, its target is the path.</summary>
    /// <param name="exception">What was thrown.</param>
    /// <param name="target">The path that was being worked on.</param>
    public static ErrorRecord ToRecord(Exception exception, string? target)
    {
        ImageException error = ToImageException(exception, target);
        string? path = error.Path ?? target;

        // The remedy apart from the text: hosts show it on a line of its own.
        string text = (path is null ? "" : $"{path}: ") + error.Problem + (error.Place is null ? "" : $" (at {error.Place})");
        return new ErrorRecord(error, error.Id.ToString(), Category(error.Id), path)
        {
            ErrorDetails = new ErrorDetails(DisplayText.Escape(text)) { RecommendedAction = DisplayText.Escape(error.Remedy ?? "") },
        };
    }

    /// <summary>The category of each id.</summary>
    /// <param name="id">The id.</param>
    public static ErrorCategory Category(ImageErrorId id) => id switch
    {
        ImageErrorId.ImageNotFound or ImageErrorId.SourceNotFound or ImageErrorId.DestinationNotFound or ImageErrorId.VolumeNotFound
            or ImageErrorId.KeychainItemNotFound
            => ErrorCategory.ObjectNotFound,
        ImageErrorId.UnknownFormat or ImageErrorId.ImageDamaged or ImageErrorId.ChecksumMismatch or ImageErrorId.SourceNotRepresentable
            => ErrorCategory.InvalidData,
        ImageErrorId.UnsupportedFormat or ImageErrorId.PlatformNotSupported or ImageErrorId.KeychainNotAvailable =>
            ErrorCategory.NotImplemented,
        ImageErrorId.ImageInUse => ErrorCategory.ResourceBusy,
        ImageErrorId.PassphraseRequired or ImageErrorId.WrongPassphrase => ErrorCategory.AuthenticationError,
        ImageErrorId.SourceUnreadable or ImageErrorId.BackedUpInPart or ImageErrorId.ConvertedInPart => ErrorCategory.ReadError,
        ImageErrorId.DestinationExists => ErrorCategory.ResourceExists,
        ImageErrorId.DestinationFull or ImageErrorId.DestinationFileSizeLimit or ImageErrorId.CapacityTooSmall =>
            ErrorCategory.LimitsExceeded,
        ImageErrorId.DestinationUnwritable or ImageErrorId.RestoredInPart => ErrorCategory.WriteError,
        ImageErrorId.InvalidArgument => ErrorCategory.InvalidArgument,
        ImageErrorId.ConfirmationRequired => ErrorCategory.ResourceUnavailable,
        ImageErrorId.ComponentMissing => ErrorCategory.NotInstalled,
        ImageErrorId.AccessDenied or ImageErrorId.KeychainRefused => ErrorCategory.PermissionDenied,
        ImageErrorId.InputOutputFailed => ErrorCategory.DeviceError,
        ImageErrorId.Cancelled => ErrorCategory.OperationStopped,
        ImageErrorId.MountFailed => ErrorCategory.OpenError,
        ImageErrorId.ImageNotMounted => ErrorCategory.ObjectNotFound,
        ImageErrorId.InternalError or _ => ErrorCategory.InvalidOperation,
    };

    /// <summary>The error of a question that nobody can answer.</summary>
    /// <param name="cause">What the host threw.</param>
    public static ImageException NobodyToConfirm(Exception? cause) => new(
        ImageErrorId.ConfirmationRequired, "A confirmation is needed, and there is nobody to ask.",
        remedy: "Give -Confirm:$false to do it without a question, or -WhatIf to see what would be done.", innerException: cause);

    private static ImageException ToImageException(Exception exception, string? target)
    {
        ImageException Wrap(ImageErrorId id, string? remedy, string? message = null) =>
            new(id, message ?? exception.Message, target, remedy: remedy, innerException: exception);

        return exception switch
        {
            ImageException known => target is null ? known : known.WithPath(target),
            AggregateException { InnerExceptions: [var only] } => ToImageException(only, target),
            OperationCanceledException => Wrap(ImageErrorId.Cancelled, null),
            SecurityException => Wrap(ImageErrorId.AccessDenied, "Run as a user who has access, or choose another place."),
            SessionStateException or FileNotFoundException or DirectoryNotFoundException or IOException or UnauthorizedAccessException =>
                OfHost(exception, Wrap),
            EngineHostException => NobodyToConfirm(exception),
            PSNotSupportedException or PlatformNotSupportedException => Wrap(ImageErrorId.PlatformNotSupported, null),

            // An argument that the runtime or the engine refuses is one that the module passed on: its words name nothing that the user
            // gave.
            _ => Wrap(
                ImageErrorId.InternalError, "This is a fault of the module: please report it with $Error[0].Exception.InnerException.",
                $"The module failed: {exception.Message}"),
        };
    }

    // What the host's files and PowerShell's drives refuse.
    private static ImageException OfHost(Exception exception, Func<ImageErrorId, string?, string?, ImageException> wrap) => exception switch
    {
        ProviderNotFoundException => wrap(ImageErrorId.InvalidArgument, "Give a path of a folder or file.", null),
        SessionStateException or FileNotFoundException or DirectoryNotFoundException or HostException { Failure: HostFailure.NotFound } =>
            wrap(ImageErrorId.ImageNotFound, "Check the path; -LiteralPath takes names with wildcard characters in them.",
                "There is no such file or folder."),
        UnauthorizedAccessException or HostException { Failure: HostFailure.AccessDenied } =>
            wrap(ImageErrorId.AccessDenied, "Run as a user who has access, or choose another place.", null),
        PathTooLongException or HostException { Failure: HostFailure.BadName } =>
            wrap(ImageErrorId.InvalidArgument, "Give a shorter path, with characters that the file system there takes.", null),
        HostException { Failure: HostFailure.NoSpace } => wrap(ImageErrorId.DestinationFull, "Make room, or choose another place.", null),
        HostException { Failure: HostFailure.FileTooLarge } =>
            wrap(ImageErrorId.DestinationFileSizeLimit, "Use a sparse bundle, which stores its data in many smaller files.", null),
        HostException { Failure: HostFailure.ReadOnly } =>
            wrap(ImageErrorId.DestinationUnwritable, "Choose another place, or mount it for writing.", null),
        IOException io when DiskFull.Contains(io.HResult) =>
            wrap(ImageErrorId.DestinationFull, "Make room, or choose another place.", null),
        _ => wrap(ImageErrorId.InputOutputFailed, "Check that the disk or share is still there, and try again.", null),
    };
}
