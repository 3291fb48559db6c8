namespace CCImage.Diagnostics;

/// <summary>
/// Collects what checkers find. Damage repeats itself, so each check keeps only its first findings and counts the others: memory stays
/// bounded whatever the image holds.
/// </summary>
/// <param name="path">Full path of the image.</param>
internal sealed class ImageFindings(string path)
{
    /// <summary>Findings of one check and grade that are kept.</summary>
    public const int MostOfOneCheck = 100;

    private readonly List<ImageFinding> _findings = [];
    private readonly Dictionary<(string Check, ImageFindingGrade Grade), long> _counts = [];

    /// <summary>The gravest grade so far.</summary>
    public ImageFindingGrade Worst { get; private set; }

    /// <summary>Whether no finding says that something is wrong.</summary>
    public bool IsSound => Worst < ImageFindingGrade.Repairable;

    /// <summary>What was found, in the order of checking; what was too much of one kind is summed up at the end.</summary>
    public IReadOnlyList<ImageFinding> ToList() =>
    [
        .. _findings,
        .. _counts.Where(c => c.Value > MostOfOneCheck).Select(c => new ImageFinding(
            path, c.Key.Grade, c.Key.Check, null, $"{c.Value - MostOfOneCheck} further findings of this kind are not listed.", null)),
    ];

    /// <summary>Says that a check was made and nothing is wrong.</summary>
    /// <param name="check">What was checked.</param>
    /// <param name="message">What is in order.</param>
    /// <param name="place">Where.</param>
    public void Ok(string check, string message, string? place = null) => Add(ImageFindingGrade.Ok, check, message, place, null);

    /// <summary>Says something worth knowing.</summary>
    /// <param name="check">What was checked.</param>
    /// <param name="message">What was found.</param>
    /// <param name="place">Where.</param>
    /// <param name="remedy">What to do, if anything.</param>
    public void Note(string check, string message, string? place = null, string? remedy = null) =>
        Add(ImageFindingGrade.Note, check, message, place, remedy);

    /// <summary>Says that something is wrong that a repair mends without risk.</summary>
    /// <param name="check">What was checked.</param>
    /// <param name="message">What was found.</param>
    /// <param name="place">Where.</param>
    public void Repairable(string check, string message, string? place = null) =>
        Add(ImageFindingGrade.Repairable, check, message, place, "Mend it with Test-BackupImage -Repair.");

    /// <summary>Says that something is wrong.</summary>
    /// <param name="check">What was checked.</param>
    /// <param name="message">What was found and what it means.</param>
    /// <param name="place">Where.</param>
    /// <param name="remedy">What to do.</param>
    public void Damaged(string check, string message, string? place = null, string? remedy = null) =>
        Add(ImageFindingGrade.Damaged, check, message, place, remedy ?? "Restore what can be read, and make a new image.");

    /// <summary>Takes what a parser threw as a finding.</summary>
    /// <param name="check">What was checked.</param>
    /// <param name="fault">What was thrown.</param>
    public void Damaged(string check, ImageException fault) => Damaged(check, fault.Problem, fault.Place, fault.Remedy);

    /// <summary>Counts findings of a check of which as many are kept as ever are, without a sentence for each; false while that is not
    /// so.</summary>
    /// <param name="grade">How grave they are.</param>
    /// <param name="check">What was checked.</param>
    /// <param name="count">How many.</param>
    public bool TryCount(ImageFindingGrade grade, string check, long count)
    {
        long known = _counts.GetValueOrDefault((check, grade));
        if (known < MostOfOneCheck) return false;
        _counts[(check, grade)] = known + count;
        return true;
    }

    /// <summary>Adds a finding of any grade.</summary>
    /// <param name="grade">How grave it is.</param>
    /// <param name="check">What was checked.</param>
    /// <param name="message">What was found.</param>
    /// <param name="place">Where, or null.</param>
    /// <param name="remedy">What to do, or null.</param>
    public void Add(ImageFindingGrade grade, string check, string message, string? place, string? remedy)
    {
        if (grade > Worst) Worst = grade;
        long count = _counts.GetValueOrDefault((check, grade)) + 1;
        _counts[(check, grade)] = count;
        if (count <= MostOfOneCheck) _findings.Add(new(path, grade, check, place, message, remedy));
    }
}
