using CCImage.Diagnostics;
using CCImage.Sources;

namespace CCImage.Restoring;

/// <summary>What to restore, and where to.</summary>
internal sealed record TreeRestoreOptions
{
    /// <summary>The folder, as a full path; made when it does not exist.</summary>
    public required string DestinationPath { get; init; }

    /// <summary>What to take (see <see cref="PathPatterns"/>); empty for everything.</summary>
    public IReadOnlyList<string> Include { get; init; } = [];

    /// <summary>Paths of single entries to take, as they are written, and nothing of what lies in them; null for no such choice.</summary>
    public IReadOnlyCollection<string>? Items { get; init; }

    /// <summary>Both as one.</summary>
    public EntryChoice Choice => new(Include, Items);

    /// <summary>Whether files that exist are replaced; folders that exist are merged in any case.</summary>
    public bool Overwrite { get; init; }

    /// <summary>Whose the files become; null for <see cref="RestoreOwnership.Keep"/> as root, and as far as the host allows
    /// otherwise.</summary>
    public RestoreOwnership? Ownership { get; init; }

    /// <summary>Whether the tree comes from a stranger: nothing is restored that would give somebody rights.</summary>
    public bool IsUntrusted { get; init; }

    /// <summary>
    /// Asked when the tree could not be read for a reason of the host's: whether all of it is gone, so that to go on would be in vain.
    /// </summary>
    public Func<bool> IsSourceGone { get; init; } = () => true;
}

/// <summary>What was restored.</summary>
/// <param name="Entries">Entries made.</param>
/// <param name="Bytes">Bytes of content written, holes not counted.</param>
/// <param name="Warnings">What is missing or not as it was.</param>
internal sealed record TreeRestoreReport(long Entries, long Bytes, IReadOnlyList<ImagingWarning> Warnings)
{
    /// <summary>Entries that were to be restored and were not, or without their content.</summary>
    public long Failed { get; init; }

    /// <summary>Entries left alone because something of their name exists.</summary>
    public long Skipped { get; init; }

    /// <summary>Entries that were not asked for.</summary>
    public long Excluded { get; init; }

    /// <summary>Pieces of metadata that the host did not take.</summary>
    public long MetadataLost { get; init; }
}
