using CCImage.Components;

namespace CCImage.Diagnostics;

/// <summary>How much an event matters; in the order of the package's own levels.</summary>
internal enum LogLevel
{
    /// <summary>Decisions of a job.</summary>
    Debug,

    /// <summary>What a job did.</summary>
    Information,

    /// <summary>What was left out, or is not as it was.</summary>
    Warning,

    /// <summary>What failed.</summary>
    Error,
}

/// <summary>A log in files, one event of JSON a line. Written from any thread; a log that fails never fails a job.</summary>
internal interface IExternalLog : IDisposable
{
    /// <summary>Opens the log. Files roll by the day, and old ones are removed.</summary>
    /// <param name="path">The file, to which the day is added, as a full path.</param>
    /// <param name="level">Events below are not written.</param>
    /// <param name="days">Days that are kept.</param>
    void Open(string path, LogLevel level, int days);

    /// <summary>Writes an event.</summary>
    /// <param name="level">How much it matters.</param>
    /// <param name="name">What happened, the same for the same event every time.</param>
    /// <param name="properties">Its properties; never a secret.</param>
    void Write(LogLevel level, string name, IReadOnlyDictionary<string, object?> properties);
}

/// <summary>The way to the log.</summary>
internal static class ExternalLog
{
    /// <summary>Makes a log; it has to be opened.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/> when the assembly is not there.</exception>
    public static IExternalLog Create() => ExternalComponent.Load<IExternalLog>("CCImage.Private.SerilogLog", "the log");
}
