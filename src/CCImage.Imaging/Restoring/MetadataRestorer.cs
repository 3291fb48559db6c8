using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Restoring;

/// <summary>Gives what was made the metadata of its entry, as far as the host takes it and the user wants it; what the host refuses is told
/// in sums.</summary>
/// <param name="tree">Where the entries and large attributes come from.</param>
/// <param name="options">Whose the files become, and whether the tree is trusted.</param>
/// <param name="isPrivileged">Whether this process may give files to other owners.</param>
/// <param name="warnings">Hears what the host refuses.</param>
internal sealed class MetadataRestorer(SourceTree tree, TreeRestoreOptions options, bool isPrivileged, RestoreWarnings warnings)
{
    private const int MaximumAttribute = 16 << 20;
    private const uint SetUserAndGroup = 0xC00;

    // sys/stat.h: UF_NODUMP and UF_HIDDEN hinder nobody.
    private const uint HarmlessFlags = 0x8001;

    // What gives rights, or is how the system itself judges a file (xattr(7)); the list of a Mac's file among them.
    private static readonly string[] s_powers = ["security.", "trusted.", "system.", "btrfs.", "com.apple.system."];

    private readonly bool _givesAway = !options.IsUntrusted && options.Ownership != RestoreOwnership.Current;

    // As tar does: an ordinary user gets these bits only when the owner is asked to be kept.
    private readonly bool _keepsSetId = !options.IsUntrusted
        && (options.Ownership ?? (isPrivileged ? RestoreOwnership.Keep : RestoreOwnership.Current)) == RestoreOwnership.Keep;

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
        if (!isOwned && _givesAway) isOwned = Try("owner or group", entry, () => folder.SetOwner(node, entry.UserId, entry.GroupId));
        if (entry.FinderInfo is not null)
            Try("Finder info", entry, () => folder.SetAttribute(node, HostAttributes.FinderInfoName, entry.FinderInfo));
        foreach (ExtendedAttribute attribute in entry.Attributes)
        {
            if (!folder.IsAccessList(attribute.Name) && IsWanted(attribute)) SetAttribute(folder, entry, node, attribute);
        }

        if (entry.Kind != EntryKind.SymbolicLink) SetMode(folder, entry, node, isOwned);
        SetTimes(folder, entry, node);
        foreach (ExtendedAttribute attribute in entry.Attributes)
        {
            if (folder.IsAccessList(attribute.Name) && IsWanted(attribute)) SetAttribute(folder, entry, node, attribute);
        }
    }

    /// <summary>Sets the times.</summary>
    /// <param name="folder">The folder it lies in.</param>
    /// <param name="entry">What it is to be.</param>
    /// <param name="node">What was made.</param>
    public void SetTimes(HostDirectory folder, SourceEntry entry, HostNode node)
    {
        var times = new HostStat { AccessTime = entry.AccessTime, ModifyTime = entry.ModifyTime, BirthTime = entry.BirthTime,
            BackupTime = entry.BackupTime };
        Try("times", entry, () => folder.SetTimes(node, times));
    }

    /// <summary>Sets BSD flags: the last thing done to an entry.</summary>
    /// <param name="folder">The folder it lies in.</param>
    /// <param name="entry">What it is to be.</param>
    /// <param name="node">What was made.</param>
    public void SetFlags(HostDirectory folder, SourceEntry entry, HostNode node)
    {
        uint flags = entry.Flags & (options.IsUntrusted ? HarmlessFlags : ~0u);
        if (flags != 0) Try("BSD flags", entry, () => folder.SetFlags(node, flags));
    }

    /// <summary>Counts metadata that could not be set.</summary>
    /// <param name="what">Which, as for <see cref="RestoreWarnings.Lose"/>.</param>
    /// <param name="entry">Whose.</param>
    /// <param name="reason">A sentence.</param>
    public void Lose(string what, SourceEntry entry, string reason) => warnings.Lose(what, () => tree.DisplayPath(entry), reason);

    private void SetMode(HostDirectory folder, SourceEntry entry, HostNode node, bool isOwned)
    {
        // A set-user bit means what it meant only together with its owner.
        uint mode = entry.Mode & SourceEntry.PermissionMask;
        if ((mode & SetUserAndGroup) != 0 && !(isOwned && _keepsSetId))
        {
            mode &= ~SetUserAndGroup;
            if (isOwned && _givesAway) Lose("set-user and set-group bits", entry, "An ordinary user keeps them only with -Ownership Keep.");
        }

        Try("permissions", entry, () => folder.SetMode(node, mode));
    }

    // Capabilities are what a set-user bit is: rights that go with a program, whoever made it.
    private bool IsWanted(ExtendedAttribute attribute) =>
        options.IsUntrusted ? !s_powers.Any(p => attribute.Name.StartsWith(p, StringComparison.OrdinalIgnoreCase))
        : options.Ownership != RestoreOwnership.Current || attribute.Name != "security.capability";

    private void SetAttribute(HostDirectory folder, SourceEntry entry, HostNode node, ExtendedAttribute attribute)
    {
        try
        {
            if (attribute.Name.Contains('\0') || attribute.Name.Length == 0)
                throw new HostException(HostFailure.BadName, "The attribute's name is not valid.");
            byte[]? value = attribute.Value;
            if (value is null)
            {
                if (attribute.Size > MaximumAttribute)
                    throw new HostException(HostFailure.NotSupported, "The attribute is larger than any host takes.");
                using BlockStorage storage = tree.OpenAttribute(entry, attribute);
                if (storage.Length > MaximumAttribute)
                    throw new HostException(HostFailure.NotSupported, "The attribute is larger than any host takes.");
                value = new byte[storage.Length];
                storage.Read(0, value);
            }

            folder.SetAttribute(node, attribute.Name, value);
        }
        catch (Exception e) when (e is HostException or ImageException)
        {
            warnings.Lose("extended attributes", () => $"{tree.DisplayPath(entry)}, {attribute.Name}", e.Message);
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
            Lose(what, entry, e.Message);
            return false;
        }
    }
}
