namespace CCImage.Sources;

/// <summary>How a folder is scanned.</summary>
public sealed record FolderScanOptions
{
    /// <summary>What to leave out; see <see cref="PathPatterns"/>.</summary>
    public IReadOnlyList<string> Exclude { get; init; } = [];

    /// <summary>
    /// Full paths to leave out: the image that is being made, when it lies in its own source. The file that it is written to first,
    /// <c>.partial</c>, is left out with each.
    /// </summary>
    public IReadOnlyList<string> ExcludePaths { get; init; } = [];

    /// <summary>
    /// Whether to stay on the root's own file system: a folder where another one is mounted is kept, empty. (A subvolume of btrfs counts as
    /// another one, as it does for every tool that asks the same question; the two volumes of a Mac's startup disk, joined by firmlinks,
    /// count as one.)
    /// </summary>
    public bool OneFileSystem { get; init; }

    /// <summary>
    /// Whether files whose content is in the cloud only are taken, which downloads them; otherwise they are left out with a warning,
    /// folders of that kind with all that is in them.
    /// </summary>
    public bool IncludeDataless { get; init; }

    /// <summary>Whether what cannot be read is left out with a warning; otherwise the first such thing ends the scan.</summary>
    public bool SkipUnreadable { get; init; }

    /// <summary>
    /// Decides about a thing that cannot be read: true leaves it out, false ends the scan with that exception. Null:
    /// <see cref="SkipUnreadable"/> decides.
    /// </summary>
    public Func<ImageException, bool>? OnUnreadable { get; init; }
}
