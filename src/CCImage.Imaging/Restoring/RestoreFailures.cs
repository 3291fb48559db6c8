using CCImage.Platform;
using CCImage.Sources;

namespace CCImage.Restoring;

/// <summary>What ends a restore, said with the place where it happened.</summary>
/// <param name="destinationPath">The folder that is restored into, as a full path.</param>
internal sealed class RestoreFailures(string destinationPath)
{
    /// <summary>Runs a step; what the host refuses ends the restore with an error that names the entry.</summary>
    /// <param name="entry">The entry that is being made.</param>
    /// <param name="action">The step.</param>
    public void Guard(SourceEntry entry, Action action) => Guard(entry, () =>
    {
        action();
        return true;
    });

    /// <summary>The same for a step with a result.</summary>
    /// <param name="entry">The entry that is being made.</param>
    /// <param name="action">The step.</param>
    public T Guard<T>(SourceEntry entry, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (HostException e)
        {
            throw ErrorOf(entry, e);
        }
    }

    /// <summary>The error for what the host refused.</summary>
    /// <param name="entry">The entry that was being made.</param>
    /// <param name="e">What it said.</param>
    public ImageException ErrorOf(SourceEntry entry, HostException e) => e.Failure switch
    {
        HostFailure.NoSpace => new(
            ImageErrorId.DestinationFull, "The destination is full.", HostPathOf(entry), remedy: "Make room, or restore less with -Include.", innerException: e),
        HostFailure.AlreadyExists => new(ImageErrorId.DestinationExists, "A file of this name exists.", HostPathOf(entry), innerException: e),
        HostFailure.SymbolicLink or HostFailure.NotADirectory or HostFailure.Replaced => new(
            ImageErrorId.DestinationUnwritable, "Something else is where a folder was a moment ago; nothing was written through it.", HostPathOf(entry),
            remedy: "See who else writes there, and restore into an empty folder.", innerException: e),
        _ => new(ImageErrorId.DestinationUnwritable, $"It cannot be written: {e.Message}", HostPathOf(entry), innerException: e),
    };

    /// <summary>Where an entry goes, for people.</summary>
    /// <param name="entry">The entry.</param>
    public string HostPathOf(SourceEntry entry) => Path.Join(destinationPath, entry.RelativePath);
}
