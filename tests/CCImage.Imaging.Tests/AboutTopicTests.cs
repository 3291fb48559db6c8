using System.Text.RegularExpressions;

namespace CCImage.Tests;

/// <summary>What the about_ topic promises, held against the program.</summary>
public sealed partial class AboutTopicTests
{
    [Fact]
    public void The_topic_lists_exactly_the_ids_of_errors_that_there_are()
    {
        string text = File.ReadAllText(Path.Combine(Root(), "docs", "en-US", "about_CCImage.md"));
        string errors = Section().Match(text).Groups[1].Value;
        string[] listed = [.. ListOfIds().Matches(errors).SelectMany(m => m.Groups[1].Value.Split(", "))];
        Assert.Equal(Enum.GetNames<ImageErrorId>().Order(StringComparer.Ordinal), listed.Order(StringComparer.Ordinal));
    }

    private static string Root()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "CCImage.psd1"))) folder = folder.Parent;
        return folder?.FullName ?? throw new InvalidOperationException("The tests run outside of their checkout.");
    }

    [GeneratedRegex("^## Errors\n(.+?)^#", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Section();

    // A line that begins with ids, up to the colon.
    [GeneratedRegex("^([A-Z][A-Za-z]+(?:, [A-Z][A-Za-z]+)*): ", RegexOptions.Multiline)]
    private static partial Regex ListOfIds();
}
