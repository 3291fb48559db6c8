using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Restoring;

/// <summary>Gives what was made the metadata of its entry, as far as the host takes it; the rest is told in sums.</summary>
/// <param name="tree">Where the entries and large attributes come from.</param>
/// <param name="warnings">Hears what the host refuses.</param>
internal sealed class MetadataRestorer(SourceTree tree, RestoreWarnings warnings)
{
    private const int MaximumAttribute = 16 << 20;
    private const uint SetUserAndGroup = 0xC00;

    /// <summary>
    /// Sets owner, attributes, mode and times, in that order: changing the owner drops set-user bits and capabilities; attributes can
    /// only be written while the mode still lets; everything changes times; and an access control list may forbid all that.
    /// <see cref="SetFlags"/> comes after all: what has a flag may not be changed any more.
    /// What the host refuses is counted for one warning each.
    /// </summary>
    /// <param name="folder">The folder it lies in.</param>
    /// <param name="entry">What it is to be.</param>
    /// <param name="node">What was made.</param>
    /// <param name="present">What was made, as the host sees it.</param>
    public void SetMetadata(HostDirectory folder, SourceEntry entry, HostNode node, in HostStat present)
    {
        bool isOwned = present.UserId == entry.UserId && present.GroupId == entry.GroupId;
        if (!isOwned) isOwned = Try("owner or group", entry, () => folder.SetOwner(node, entry.UserId, entry.GroupId));
        if (entry.FinderInfo is not null) Try("Finder info", entry, () => folder.SetAttribute(node, HostAttributes.FinderInfoName, entry.FinderInfo));
        foreach (ExtendedAttribute attribute in entry.Attributes)
        {
            if (!folder.IsAccessList(attribute.Name)) SetAttribute(folder, entry, node, attribute);
        }

        if (entry.Kind != EntryKind.SymbolicLink)
        {
            // A set-user bit means what it meant only together with its owner.
            uint mode = entry.Mode & SourceEntry.PermissionMask & (isOwned ? ~0u : ~SetUserAndGroup);
            Try("permissions", entry, () => folder.SetMode(node, mode));
        }

        var times = new HostStat { AccessTime = entry.AccessTime, ModifyTime = entry.ModifyTime, BirthTime = entry.BirthTime, BackupTime = entry.BackupTime };
        Try("times", entry, () => folder.SetTimes(node, times));
        foreach (ExtendedAttribute attribute in entry.Attributes)
        {
            if (folder.IsAccessList(attribute.Name)) SetAttribute(folder, entry, node, attribute);
        }
    }

    /// <summary>Sets BSD flags: the last thing done to an entry.</summary>
    /// <param name="folder">The folder it lies in.</param>
    /// <param name="entry">What it is to be.</param>
    /// <param name="node">What was made.</param>
    public void SetFlags(HostDirectory folder, SourceEntry entry, HostNode node)
    {
        if (entry.Flags != 0) Try("BSD flags", entry, () => folder.SetFlags(node, entry.Flags));
    }

    private void SetAttribute(HostDirectory folder, SourceEntry entry, HostNode node, ExtendedAttribute attribute)
    {
        try
        {
            if (attribute.Name.Contains('\0') || attribute.Name.Length == 0)
                throw new HostException(HostFailure.BadName, "The attribute's name is not valid.");
            byte[]? value = attribute.Value;
            if (value is null)
            {
                if (attribute.Size > MaximumAttribute) throw new HostException(HostFailure.NotSupported, "The attribute is larger than any host takes.");
                using BlockStorage storage = tree.OpenAttribute(entry, attribute);
                if (storage.Length > MaximumAttribute) throw new HostException(HostFailure.NotSupported, "The attribute is larger than any host takes.");
                value = new byte[storage.Length];
                storage.Read(0, value);
            }

            folder.SetAttribute(node, attribute.Name, value);
        }
        catch (Exception e) when (e is HostException || (e is ImageException image && !FileErrors.EndsJob(image)))
        {
            warnings.Lose("extended attributes", $"{tree.DisplayPath(entry)}, {attribute.Name}", e.Message);
        }
    }

    private bool Try(string what, SourceEntry entry, Action action)
    {
        try
        {
            action();
            return true;
        }
        catch (HostException e)
        {
            warnings.Lose(what, tree.DisplayPath(entry), e.Message);
            return false;
        }
    }
}
