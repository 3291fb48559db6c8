namespace CCImage.Pester;

/// <summary>One test of Pester.</summary>
/// <param name="Name">File, blocks and name.</param>
/// <param name="Result">Passed, Failed, Skipped, NotRun or Inconclusive.</param>
/// <param name="Message">What failed, or why it did not run.</param>
/// <param name="Milliseconds">How long it took.</param>
internal sealed record PesterTest(string Name, string Result, string? Message, double? Milliseconds)
{
    /// <summary>How long it took.</summary>
    public TimeSpan? Duration => Milliseconds is double value ? TimeSpan.FromMilliseconds(value) : null;
}

/// <summary>A failure that Pester reported.</summary>
/// <param name="message">With its place.</param>
internal sealed class PesterException(string message) : Exception(message);
