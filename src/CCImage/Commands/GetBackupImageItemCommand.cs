using System.Diagnostics.CodeAnalysis;
using System.Management.Automation;
using CCImage.Encryption;
using CCImage.Parameters;
using CCImage.Sources;

namespace CCImage.Commands;

/// <summary>Lists the files, folders and links of a volume in an image, without mounting it.</summary>
[Cmdlet(VerbsCommon.Get, "BackupImageItem", DefaultParameterSetName = PathSet)]
[OutputType(typeof(BackupImageItem))]
public sealed class GetBackupImageItemCommand : ImagePathCommand
{
    /// <summary>Number of the volume, from 1.</summary>
    [Parameter]
    [ValidateRange(1, int.MaxValue)]
    public int? Volume { get; set; }

    /// <summary>Patterns of what to list; see <c>about_CCImage</c>.</summary>
    [Parameter(Position = 1)]
    [SupportsWildcards]
    [SuppressMessage("Performance", "CA1819", Justification = "Parameters are arrays.")]
    public string[] Include { get; set; } = [];

    private protected override void ProcessPath(string path)
    {
        var filter = new ItemFilter(Include);
        Passphrase? secret = SecretOf(path);
        using DiskImage image = RunWorker((_, cancellation) => DiskImage.Open(path, secret, cancellation));
        int volume = Volume ?? RunWorker((_, _) => image.FindReadableVolume());
        using SourceTree tree = RunWorker((_, cancellation) => image.ReadTree(volume, cancellation));

        // The root is the volume itself, not an item of it.
        foreach (SourceEntry entry in tree.Enumerate().Skip(1))
        {
            if (Stopping) throw new PipelineStoppedException(); // writing throws it, but where nothing matches nothing is written
            if (filter.Matches(entry)) WriteObject(BackupImageItem.From(path, entry, volume));
        }

        if (RunWorker((_, cancellation) => image.GetCutShort(cancellation)) is { } cut) WriteError(Errors.ErrorMapping.ToRecord(cut, path));
    }
}
