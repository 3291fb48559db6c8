using System.Diagnostics.CodeAnalysis;
using System.Management.Automation;
using CCImage.Encryption;
using CCImage.Internal;

namespace CCImage.Commands;

/// <summary>Extracts the files of a volume in an image to a folder, with their metadata.</summary>
[Cmdlet(VerbsData.Restore, "BackupImage", DefaultParameterSetName = PathSet, SupportsShouldProcess = true,
    ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(ImageRestoreResult))]
public sealed class RestoreBackupImageCommand : ImagePathCommand
{
    private const string ItemSet = "Item";

    // One job per image and volume, in the order they came.
    private readonly Dictionary<(string Image, int? Volume), HashSet<string>> _items = [];

    /// <summary>The image of an item.</summary>
    [Parameter(Mandatory = true, ParameterSetName = ItemSet, ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string ImagePath { get; set; } = "";

    /// <summary>Paths of items in the volume, taken as they are.</summary>
    [Parameter(Mandatory = true, ParameterSetName = ItemSet, ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    [SuppressMessage("Performance", "CA1819", Justification = "Parameters are arrays.")]
    public string[] ItemPath { get; set; } = [];

    /// <summary>The folder to restore into; made when it does not exist.</summary>
    [Parameter(Mandatory = true, Position = 1)]
    [ValidateNotNullOrEmpty]
    public string DestinationPath { get; set; } = "";

    /// <summary>Number of the volume, from 1.</summary>
    [Parameter(ParameterSetName = PathSet)]
    [Parameter(ParameterSetName = LiteralPathSet)]
    [Parameter(ParameterSetName = ItemSet, ValueFromPipelineByPropertyName = true)]
    [ValidateRange(1, int.MaxValue)]
    public int? Volume { get; set; }

    /// <summary>Paths or patterns of what to restore.</summary>
    [Parameter(ParameterSetName = PathSet)]
    [Parameter(ParameterSetName = LiteralPathSet)]
    [SupportsWildcards]
    [SuppressMessage("Performance", "CA1819", Justification = "Parameters are arrays.")]
    public string[] Include { get; set; } = [];

    /// <summary>Whose the files become.</summary>
    [Parameter]
    public RestoreOwnership Ownership { get; set; }

    /// <summary>Restore nothing that gives anybody rights.</summary>
    [Parameter]
    public SwitchParameter Untrusted { get; set; }

    /// <summary>Replace files that exist.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    private protected override void Finish()
    {
        foreach (((string image, int? volume), HashSet<string> items) in _items) RunItem(image, () => Restore(image, volume, items));
    }

    private protected override bool CollectInput()
    {
        if (ParameterSetName != ItemSet) return false;
        RunItem(ImagePath, () =>
        {
            (string, int?) job = (ResolveTarget(ImagePath), Volume);
            if (!_items.TryGetValue(job, out HashSet<string>? items)) _items.Add(job, items = new(StringComparer.Ordinal));
            items.UnionWith(ItemPath);
        });
        return true;
    }

    private protected override void ProcessPath(string path) => Restore(path, Volume, null);

    private void Restore(string path, int? volume, HashSet<string>? items)
    {
        Passphrase? secret = SecretOf(path);
        var request = new ImageRestoreRequest
        {
            Path = path,
            Passphrase = secret,
            DestinationPath = ResolveTarget(DestinationPath),
            Volume = volume,
            Include = Include,
            Items = items,
            Overwrite = Force,
            Ownership = MyInvocation.BoundParameters.ContainsKey(nameof(Ownership)) ? Ownership : null,
            IsUntrusted = Untrusted,
        };
        BackupImage image = RunWorker((_, cancellation) =>
        {
            using DiskImage opened = DiskImage.Open(path, secret, cancellation);
            return opened.Describe(cancellation);
        });
        string what = items is not null ? $"{items.Count} items"
            : Include.Length > 0 ? $"what matches {string.Join(", ", Include)}" : $"all files ({FormatView.Size(image.UsedBytes)} in use)";
        string description =
            FormatView.Text($"Restore {what} from {path} to {request.DestinationPath}{(Force ? ", replacing files that exist" : "")}.");
        if (!ShouldProcess(description, description, "Restore-BackupImage")) return;
        ImageRestoreResult result = RunWorker((observer, cancellation) => ImageRestore.Run(request, observer, cancellation));
        WriteResult(result, result.Shortfall);
    }
}
