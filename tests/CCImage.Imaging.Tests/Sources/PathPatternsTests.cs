using System.Diagnostics;
using CCImage.Sources;

namespace CCImage.Tests.Sources;

public class PathPatternsTests
{
    [Theory]
    [InlineData("*.tmp", "a.tmp", true)]
    [InlineData("*.tmp", "deep/down/a.tmp", true)]
    [InlineData("*.tmp", "a.tmpx", false)]
    [InlineData("*.tmp", "tmp", false)]
    [InlineData("Cache", "x/Cache", true)]
    [InlineData("Cache", "x/Cache2", false)]
    [InlineData("/Cache", "Cache", true)]
    [InlineData("/Cache", "x/Cache", false)]
    [InlineData("a/b", "a/b", true)]
    [InlineData("a/b", "x/a/b", false)]
    [InlineData("a/*", "a/b", true)]
    [InlineData("a/*", "a/b/c", false)]
    [InlineData("a/**", "a/b/c", true)]
    [InlineData("a/**", "a", false)]
    [InlineData("**/b", "b", true)]
    [InlineData("**/b", "x/y/b", true)]
    [InlineData("**/b/c", "x/b/c", true)]
    [InlineData("**/b", "x/yb", false)]
    [InlineData("a/**/z", "a/z", true)]
    [InlineData("a/**/z", "a/b/c/z", true)]
    [InlineData("a/**/z", "ab/z", false)]
    [InlineData("?.txt", "é.txt", true)]
    [InlineData("?.txt", "😀.txt", true)]
    [InlineData("?.txt", "ab.txt", false)]
    [InlineData("[abc].c", "b.c", true)]
    [InlineData("[a-c].c", "d.c", false)]
    [InlineData("[!a-c].c", "d.c", true)]
    [InlineData("[!a-c].c", "a.c", false)]
    [InlineData("[]x]", "]", true)]
    [InlineData("[]x]", "x", true)]
    [InlineData("[a-]", "-", true)]
    [InlineData(@"\*", "*", true)]
    [InlineData(@"\*", "a", false)]
    [InlineData("a.b(c)+|$^{}", "a.b(c)+|$^{}", true)]
    [InlineData("a.b", "axb", false)]
    [InlineData("*", "line\nbreak", true)]
    [InlineData("a", "a\n", false)]
    [InlineData("*a*", "", false)]
    [InlineData("a/[!x]b", "a//b", false)]
    public void Matches(string pattern, string path, bool expected) =>
        Assert.Equal(expected, new PathPatterns([pattern], ignoreCase: false).IsMatch(path, isFolder: false));

    [Fact]
    public void A_slash_at_the_end_means_folders_only()
    {
        var patterns = new PathPatterns(["Caches/", "/top/"]);
        Assert.True(patterns.IsMatch("x/Caches", isFolder: true));
        Assert.False(patterns.IsMatch("x/Caches", isFolder: false));
        Assert.True(patterns.IsMatch("top", isFolder: true));
        Assert.False(patterns.IsMatch("x/top", isFolder: true));
    }

    [Fact]
    public void Case_is_the_hosts_habit_or_as_asked()
    {
        Assert.True(new PathPatterns(["*.TMP"], ignoreCase: true).IsMatch("a.tmp", false));
        Assert.False(new PathPatterns(["*.TMP"], ignoreCase: false).IsMatch("a.tmp", false));
        Assert.Equal(!OperatingSystem.IsLinux(), new PathPatterns(["A"]).IsMatch("a", false));
    }

    [Theory]
    [InlineData("")]
    [InlineData("/")]
    [InlineData("a//b")]
    [InlineData("[abc")]
    [InlineData("[z-a]")]
    public void Refuses_what_is_no_pattern(string pattern) =>
        Assert.Equal(ImageErrorId.InvalidArgument, Assert.Throws<ImageException>(() => new PathPatterns([pattern])).Id);

    [Fact]
    public void No_pattern_takes_long()
    {
        var patterns = new PathPatterns([string.Concat(Enumerable.Repeat("*a", 30)) + "b"]);
        var clock = Stopwatch.StartNew();
        Assert.False(patterns.IsMatch(new string('a', 255), false));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(2), $"{clock.Elapsed}");
    }
}
