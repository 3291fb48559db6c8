namespace CCImage.Tests;

/// <summary>What a test finds out only while it runs that it needs: without it the test is skipped, with the reason, and never counts as
/// passed.</summary>
internal static class Require
{
    /// <summary>The reason of a test about modes, links and renames of Unix. (The compiler has to see the condition where it is
    /// used.)</summary>
    public const string UnixOnly = "Unix only.";

    /// <summary>Skips the test unless a condition holds.</summary>
    /// <param name="condition">The condition.</param>
    /// <param name="reason">Why the test cannot run without it.</param>
    public static void That([System.Diagnostics.CodeAnalysis.DoesNotReturnIf(false)] bool condition, string reason) =>
        Assert.SkipUnless(condition, reason);

    /// <summary>Needs Linux.</summary>
    public static void Linux() => That(OperatingSystem.IsLinux(), "Linux only.");

    /// <summary>Needs the rights of root on Linux.</summary>
    public static void LinuxRoot() => That(OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess, "Needs root on Linux.");

    /// <summary>Needs the folder of real images.</summary>
    public static void Corpus() => That(CorpusLocation.Folder is not null, CorpusLocation.Absent);

    /// <summary>Needs a program.</summary>
    /// <param name="name">Its name.</param>
    public static void Tool(string name) => That(Oracle.Find(name) is not null, Oracle.Absent(name));
}
