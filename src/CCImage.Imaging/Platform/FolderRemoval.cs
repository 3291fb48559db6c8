using CCImage.Sources;

namespace CCImage.Platform;

/// <summary>Removes what a folder holds, by open folders and single names: no link is followed, and no other volume is entered.</summary>
internal static class FolderRemoval
{
    // A bundle is two deep; what somebody has put into one is removed as well, within reason: each level is a folder held open.
    private const int MaximumDepth = 64;

    /// <summary>Removes everything but what is to stay.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="first">Names that go first, in this order, and only then the rest: without them nobody takes the folder for what it
    /// was.</param>
    /// <param name="stays">A name that stays, or null.</param>
    /// <exception cref="HostException">What the host says; the rest is there still.</exception>
    public static void Empty(HostDirectory folder, IReadOnlyList<string> first, string? stays = null) => Empty(folder, first, stays, 0);

    private static void Empty(HostDirectory folder, IReadOnlyList<string> first, string? stays, int depth)
    {
        var names = new List<string>();
        folder.ReadNames(names, []);
        foreach (string name in first.Where(names.Contains)) Remove(folder, name, depth);
        foreach (string name in names)
        {
            if (name != stays && !first.Contains(name)) Remove(folder, name, depth);
        }
    }

    private static void Remove(HostDirectory folder, string name, int depth)
    {
        try
        {
            if (folder.GetStat(name).Kind != EntryKind.Directory)
            {
                folder.Remove(name);
                return;
            }

            if (depth == MaximumDepth) throw new HostException(HostFailure.NotSupported, "The folder is too deep.");
            using (HostDirectory inner = folder.OpenDirectory(name))
            {
                if (inner.Stat.Identity.Device != folder.Stat.Identity.Device)
                    throw new HostException(HostFailure.NotSupported, "Another volume is mounted there.");
                Empty(inner, [], null, depth + 1);
            }

            folder.RemoveDirectory(name);
        }
        catch (HostException e) when (e.Failure == HostFailure.NotFound)
        {
            // Gone meanwhile.
        }
    }
}
