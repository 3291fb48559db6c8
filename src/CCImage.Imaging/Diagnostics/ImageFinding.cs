namespace CCImage;

/// <summary>How grave a finding is; higher is worse.</summary>
public enum ImageFindingGrade
{
    /// <summary>Checked, and in order.</summary>
    Ok,

    /// <summary>Worth knowing; nothing is wrong with the data.</summary>
    Note,

    /// <summary>Wrong, but <c>Test-BackupImage -Repair</c> mends it without risk: leaked space, a copy of a header.</summary>
    Repairable,

    /// <summary>Wrong: data may be lost, or a Mac may refuse the image.</summary>
    Damaged,
}

/// <summary>One thing that a verification found.</summary>
/// <param name="Path">Full path of the image.</param>
/// <param name="Grade">How grave it is.</param>
/// <param name="Check">What was checked, in a few words, the same for the same check every time ("UDIF data fork checksum").</param>
/// <param name="Place">Where in the image, or null when it is about the whole.</param>
/// <param name="Message">What was found and what it means, in a sentence with a full stop.</param>
/// <param name="Remedy">What to do, in a sentence with a full stop; null when nothing needs to be done.</param>
public sealed record ImageFinding(string Path, ImageFindingGrade Grade, string Check, string? Place, string Message, string? Remedy);
