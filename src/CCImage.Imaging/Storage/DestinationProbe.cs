using CCImage.Platform;
using CCImage.Sources;

namespace CCImage.Storage;

/// <summary>
/// Whether a folder can be written, found out by making a file in it and removing it: no other question has an answer that holds on every
/// file system.
/// </summary>
internal static class DestinationProbe
{
    /// <summary>Tries it. The folder's times stay what they were, because it may be part of what is backed up.</summary>
    /// <param name="path">What is to be made in the folder, as a full path.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.DestinationUnwritable"/>, <see cref="ImageErrorId.DestinationFull"/> or
    /// <see cref="ImageErrorId.DestinationNotFound"/>.</exception>
    public static void Check(string path)
    {
        string name = "." + Guid.NewGuid().ToString("N") + AtomicFile.PartialSuffix;
        try
        {
            using HostDirectory folder = HostPlatform.Current.OpenDirectory(Path.GetDirectoryName(path)!);
            UnixTime changed = folder.Stat.ModifyTime;
            folder.CreateFile(name).Dispose();
            folder.Remove(name);
            try
            {
                folder.SetTimes(
                    HostNode.Self,
                    new HostStat { ModifyTime = changed, AccessTime = UnixTime.None, BirthTime = UnixTime.None,
                    ChangeTime = UnixTime.None });
            }
            catch (HostException)
            {
                // It belongs to somebody else, who lets us write.
            }
        }
        catch (HostException e)
        {
            throw new ImageException(
                e.Failure switch
                {
                    HostFailure.NoSpace => ImageErrorId.DestinationFull,
                    HostFailure.NotFound or HostFailure.NotADirectory => ImageErrorId.DestinationNotFound,
                    _ => ImageErrorId.DestinationUnwritable,
                },
                $"Nothing can be written to the folder: {e.Message}",
                path,
                remedy: e.Failure switch
                {
                    HostFailure.NoSpace => "Free some space, or choose another place.",
                    HostFailure.ReadOnly => "Choose a place on a volume that is not mounted read-only.",
                    _ => "Check the permissions of the folder, or choose another place.",
                },
                innerException: e);
        }
    }
}
