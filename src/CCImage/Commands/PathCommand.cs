using System.Collections.ObjectModel;
using System.Diagnostics.CodeAnalysis;
using System.Management.Automation;
using CCImage.Errors;
using CCImage.Parameters;

namespace CCImage.Commands;

/// <summary>A cmdlet over things that exist: it takes paths in every way PowerShell's users expect, and asks only what to do with each
/// one.</summary>
public abstract class PathCommand : ImagingCommand
{
    private protected const string PathSet = "Path";
    private protected const string LiteralPathSet = "LiteralPath";

    /// <summary>Paths; wildcards are allowed.</summary>
    [Parameter(Mandatory = true, Position = 0, ParameterSetName = PathSet, ValueFromPipeline = true,
        ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    [SupportsWildcards]
    [Alias("FullName")]
    [SuppressMessage("Performance", "CA1819", Justification = "Parameters are arrays.")]
    public string[] Path { get; set; } = [];

    /// <summary>Paths, taken as they are.</summary>
    [Parameter(Mandatory = true, ParameterSetName = LiteralPathSet, ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    [Alias("PSPath")]
    [SuppressMessage("Performance", "CA1819", Justification = "Parameters are arrays.")]
    public string[] LiteralPath { get; set; } = [];

    /// <inheritdoc/>
    private protected sealed override void ProcessInput()
    {
        if (CollectInput()) return;
        bool literal = ParameterSetName == LiteralPathSet;
        foreach (string path in literal ? LiteralPath : Path)
        {
            RunItem(path, () =>
            {
                foreach (string item in Resolve(path, literal)) RunItem(item, () => ProcessPath(item));
            });
        }
    }

    /// <summary>What the paths name, for errors: "image", "folder".</summary>
    private protected abstract string Noun { get; }

    /// <summary>Whether the input is no path of its own, and is kept for the end.</summary>
    private protected virtual bool CollectInput() => false;

    /// <summary>Does the work for one path. What it throws becomes an error record.</summary>
    /// <param name="path">The full path; something is there.</param>
    private protected abstract void ProcessPath(string path);

    // Resolved to a list before the work begins: what the work creates must not be met by the wildcard.
    private Collection<string> Resolve(string path, bool literal)
    {
        string exact = literal || !WildcardPattern.ContainsWildcardCharacters(path) || ExistsAsWritten(path) ? ResolveTarget(path) : "";
        if (exact.Length > 0)
        {
            RequireExisting(exact);
            return [exact];
        }

        // As everywhere in PowerShell, a pattern that matches nothing is no error; one that can match nothing here is.
        RequireOwnPath(path);
        try
        {
            Collection<string> found = SessionState.Path.GetResolvedProviderPathFromPSPath(path, out ProviderInfo provider);
            RequireFileSystem(provider, path);
            return found;
        }
        catch (System.Management.Automation.DriveNotFoundException e)
        {
            throw ForeignPaths.UnknownDrive(path, e.ItemName);
        }
    }

    // Where the host does not let it be seen whether there is something, "there is nothing" would be a guess.
    private void RequireExisting(string path)
    {
        try
        {
            _ = File.GetAttributes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw NotFound(path);
        }
    }

    // A name like "a[1].dmg" arrives here from the FullName of a file object: if it is there as it is written, it is meant.
    private bool ExistsAsWritten(string path)
    {
        try
        {
            return System.IO.Path.Exists(ResolveTarget(path));
        }
        catch (Exception e) when (!ErrorMapping.IsFlowControl(e))
        {
            return false;
        }
    }

    private ImageException NotFound(string path) => new(
        ImageErrorId.ImageNotFound, $"There is no such {Noun}.", path,
        remedy: "Check the path; -LiteralPath takes names with wildcard characters in them.");
}
