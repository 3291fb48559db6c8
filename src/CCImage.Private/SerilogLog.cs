using CCImage.Diagnostics;
using Serilog;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting.Compact;

namespace CCImage.Private;

/// <summary>The log by Serilog: compact JSON in a file of the day.</summary>
internal sealed class SerilogLog : IExternalLog
{
    private Logger _logger = new LoggerConfiguration().CreateLogger();

    /// <inheritdoc/>
    public void Open(string path, LogLevel level, int days)
    {
        _logger.Dispose();
        _logger = new LoggerConfiguration()
            .MinimumLevel.Is(LevelOf(level))
            .WriteTo.File(
                new CompactJsonFormatter(), path, rollingInterval: RollingInterval.Day, retainedFileCountLimit: days, shared: true)
            .CreateLogger();
    }

    /// <inheritdoc/>
    public void Write(LogLevel level, string name, IReadOnlyDictionary<string, object?> properties)
    {
        ILogger logger = _logger;
        foreach ((string key, object? value) in properties) logger = logger.ForContext(key, value);
        logger.Write(LevelOf(level), "{Event:l}", name);
    }

    /// <inheritdoc/>
    public void Dispose() => _logger.Dispose();

    private static LogEventLevel LevelOf(LogLevel level) => level switch
    {
        LogLevel.Debug => LogEventLevel.Debug,
        LogLevel.Information => LogEventLevel.Information,
        LogLevel.Warning => LogEventLevel.Warning,
        LogLevel.Error => LogEventLevel.Error,
        _ => throw new ArgumentOutOfRangeException(nameof(level), level, null),
    };
}
