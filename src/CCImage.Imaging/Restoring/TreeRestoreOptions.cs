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

    /// <summary>Whether files that exist are replaced; folders that exist are merged in any case.</summary>
    public bool Overwrite { get; init; }
}

/// <summary>What was restored.</summary>
/// <param name="Entries">Entries made.</param>
/// <param name="Bytes">Bytes of content written, holes not counted.</param>
/// <param name="Warnings">What is missing or not as it was.</param>
internal sealed record TreeRestoreReport(long Entries, long Bytes, IReadOnlyList<ImagingWarning> Warnings);
