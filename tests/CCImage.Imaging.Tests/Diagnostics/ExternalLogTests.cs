using System.Text.Json;
using CCImage.Diagnostics;

namespace CCImage.Tests.Diagnostics;

public sealed class ExternalLogTests
{
    [Fact]
    public void An_event_is_a_line_of_JSON_in_the_file_of_the_day()
    {
        using var folder = new TemporaryFolder();
        using (IExternalLog log = ExternalLog.Create())
        {
            log.Write(LogLevel.Error, "before it is open", new Dictionary<string, object?>());
            log.Open(folder["log-.json"], LogLevel.Information, 14);
            log.Write(LogLevel.Debug, "too small", new Dictionary<string, object?>());
            log.Write(LogLevel.Warning, "backup {ended}", new Dictionary<string,
                object?> { ["Image"] = "/a b.dmg", ["Bytes"] = 1L << 40, ["ErrorId"] = null });
        }

        string line = Assert.Single(File.ReadAllLines(Assert.Single(Directory.GetFiles(folder.Path))));
        JsonElement written = JsonDocument.Parse(line).RootElement;
        Assert.Equal("Warning", written.GetProperty("@l").GetString());
        Assert.Equal("backup {ended}", written.GetProperty("Event").GetString());
        Assert.Equal("/a b.dmg", written.GetProperty("Image").GetString());
        Assert.Equal(1L << 40, written.GetProperty("Bytes").GetInt64());
    }
}
