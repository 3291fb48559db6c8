using CCImage.Platform;
using CCImage.Sources;

namespace CCImage.Restoring;

/// <summary>
/// Judges what goes wrong: what concerns one entry is that entry's failure, and the rest goes on; what makes everything else pointless (the
/// destination full, read-only or gone, the image gone) ends the restore.
/// </summary>
/// <param name="options">What is restored where.</param>
/// <param name="platform">The machine.</param>
/// <param name="destination">The folder that is restored into, open.</param>
internal sealed class RestoreFailures(TreeRestoreOptions options, IHostPlatform platform, HostDirectory destination)
{
    /// <summary>Whether what the host refused leaves nothing to go on with.</summary>
    /// <param name="e">What it said.</param>
    public bool EndsJob(HostException e) => e.Failure switch
    {
        HostFailure.NoSpace or HostFailure.ReadOnly => true,
        HostFailure.Other or HostFailure.NotFound => IsDestinationGone(),
        _ => false,
    };

    /// <summary>Whether an error of the image's leaves nothing to go on with. Damage is that of one file; so is a place of the medium that
    /// cannot be read.</summary>
    /// <param name="e">The error.</param>
    public bool EndsJob(ImageException e) =>
        e.Id == ImageErrorId.ImageInUse || e.Id is ImageErrorId.ImageUnreadable or ImageErrorId.InputOutputFailed
            or ImageErrorId.ImageNotFound or ImageErrorId.AccessDenied && options.IsSourceGone();

    /// <summary>The error for what the host refused.</summary>
    /// <param name="entry">The entry that was being made.</param>
    /// <param name="e">What it said.</param>
    public ImageException ErrorOf(SourceEntry entry, HostException e) => e.Failure switch
    {
        HostFailure.NoSpace => new(
            ImageErrorId.DestinationFull, "The destination is full.", HostPathOf(entry),
            remedy: "Make room, or restore less with -Include.", innerException: e),
        _ => new(ImageErrorId.DestinationUnwritable, $"It cannot be written: {e.Message}", HostPathOf(entry), innerException: e),
    };

    /// <summary>Why an entry could not be made, as a sentence.</summary>
    /// <param name="e">What the host said.</param>
    public static string ReasonOf(HostException e) => e.Failure switch
    {
        HostFailure.SymbolicLink or HostFailure.NotADirectory or HostFailure.Replaced =>
            "Something else is where it was made a moment ago. Nothing was written through that, and nothing of it was changed.",

        // Some drivers say so of a character that their file system does not take.
        HostFailure.NotFound => $"It cannot be made here, or was removed meanwhile: {e.Message}",
        _ => $"It cannot be made here: {e.Message}",
    };

    /// <summary>Where an entry goes, for people.</summary>
    /// <param name="entry">The entry.</param>
    public string HostPathOf(SourceEntry entry) => Path.Join(options.DestinationPath, entry.RelativePath);

    private bool IsDestinationGone()
    {
        try
        {
            using HostDirectory now = platform.OpenDirectory(options.DestinationPath);
            return now.Stat.Identity != destination.Stat.Identity;
        }
        catch (HostException)
        {
            return true;
        }
    }
}
