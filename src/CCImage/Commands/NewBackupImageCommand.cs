using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Management.Automation;
using System.Security;
using CCImage.Encryption;
using CCImage.Errors;
using CCImage.Internal;
using CCImage.Parameters;

namespace CCImage.Commands;

/// <summary>Backs up a folder or volume to a new disk image, or makes an empty one.</summary>
[Cmdlet(VerbsCommon.New, "BackupImage", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.Low)]
[OutputType(typeof(BackupImage))]
public sealed class NewBackupImageCommand : ImagingCommand
{
    private readonly HashSet<string> _written = [];
    private string? _target;
    private Passphrase? _secret;

    /// <summary>Folder or volume to back up; without it the image is empty.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    [Alias("FullName")]
    public string? SourcePath { get; set; }

    /// <summary>The image to make, or a folder that exists.</summary>
    [Parameter(Mandatory = true, Position = 1)]
    [ValidateNotNullOrEmpty]
    public string Path { get; set; } = "";

    /// <summary>The format; by default what the extension stands for.</summary>
    [Parameter]
    [ImageFormat]
    [ArgumentCompleter(typeof(ImageFormatCompleter))]
    public string? Format { get; set; }

    /// <summary>Size of the disk.</summary>
    [Parameter]
    [ValidateRange(1L, long.MaxValue)]
    public long? SizeBytes { get; set; }

    /// <summary>Name of the volume.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? VolumeName { get; set; }

    /// <summary>File system of the volume; by default case-sensitive only where names of the source ask for it.</summary>
    [Parameter]
    public ImageFileSystem? FileSystem { get; set; }

    /// <summary>Bytes in a band of a sparse bundle.</summary>
    [Parameter]
    [ValidateRange(1L, long.MaxValue)]
    public long? BandSizeBytes { get; set; }

    /// <summary>The codec's level.</summary>
    [Parameter]
    [ValidateRange(0, 9)]
    public int? CompressionLevel { get; set; }

    /// <summary>Patterns of what to leave out.</summary>
    [Parameter]
    [SupportsWildcards]
    [SuppressMessage("Performance", "CA1819", Justification = "Parameters are arrays.")]
    public string[] Exclude { get; set; } = [];

    /// <summary>Stay on the source's file system.</summary>
    [Parameter]
    public SwitchParameter OneFileSystem { get; set; }

    /// <summary>Leave out what cannot be read, with a warning.</summary>
    [Parameter]
    public SwitchParameter SkipUnreadable { get; set; }

    /// <summary>Download files that are in the cloud only, and take them.</summary>
    [Parameter]
    public SwitchParameter IncludeCloudFiles { get; set; }

    /// <summary>Reserve the blocks of a read/write image on the host at once.</summary>
    [Parameter]
    public SwitchParameter Preallocate { get; set; }

    /// <summary>How to encrypt the image.</summary>
    [Parameter]
    public BackupImageEncryption Encryption { get; set; }

    /// <summary>The passphrase that will open the image; asked for when it is not given.</summary>
    [Parameter]
    [ValidateNotNull]
    public SecureString? Passphrase { get; set; }

    /// <summary>Save the passphrase in the keychain of macOS.</summary>
    [Parameter]
    public SwitchParameter SaveToKeychain { get; set; }

    /// <summary>Replace an image that exists.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    private protected override bool UsesKeychain => SaveToKeychain;

    private protected override void CheckOwnParameters()
    {
        if (!SaveToKeychain || Encryption != BackupImageEncryption.None) return;
        throw new ImageException(
            ImageErrorId.InvalidArgument, "An image that is not encrypted has no passphrase to save.",
            remedy: "Say how to encrypt: -Encryption Aes256 or -Encryption Aes128.");
    }

    private protected override void ProcessInput()
    {
        if (MyInvocation.ExpectingInput)
        {
            RunItem(SourcePath ?? Path, Create);
            return;
        }

        try
        {
            Create();
        }
        catch (Exception e) when (!ErrorMapping.IsFlowControl(e))
        {
            // What names no file of its own speaks of the image that was asked for.
            ThrowTerminatingError(
                ErrorMapping.ToRecord(e is ImageException i && _target is not null ? i.WithPath(_target) : e, SourcePath ?? Path));
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _secret?.Dispose();
        base.Dispose(disposing);
    }

    private Passphrase? Secret(string path)
    {
        if (Encryption == BackupImageEncryption.None)
        {
            if (Passphrase is null) return null;
            throw new ImageException(
                ImageErrorId.InvalidArgument, "A passphrase was given, but no encryption.",
                remedy: "Say how to encrypt: -Encryption Aes256 or -Encryption Aes128.");
        }

        // Asked once for all images of a pipeline, before the source is read: people go away while it is.
        if (Passphrase is null && IsWhatIf) return null;
        return _secret ??= Passphrase is null ? PromptForNewPassphrase(System.IO.Path.GetFileName(path))
            : CCImage.Encryption.Passphrase.From(Passphrase);
    }

    private void Create()
    {
        ImageRecipe recipe = MakeRecipe();
        if (!_written.Add(recipe.Path)) throw DestinationTargets.AlreadyUsed(recipe.Path, "-Path");
        using ImageCreation creation =
            RunWorker((observer, cancellation) => ImageCreation.Prepare(recipe, observer, cancellation, probe: !IsWhatIf));
        string description = Describe(recipe, creation.Estimate);
        if (!ShouldProcess(description, description, "New-BackupImage")) return;
        BackupImage image = RunWorker((_, cancellation) => creation.Run(cancellation));
        if (SaveToKeychain) SaveInKeychain(recipe.Path, recipe.Passphrase!);
        WriteResult(image, creation.Shortfall);
    }

    private ImageRecipe MakeRecipe()
    {
        _target = null;
        string? source = SourcePath is null ? null : ResolveTarget(SourcePath);
        if (source is null && SizeBytes is null)
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, "There is nothing to make an image of.",
                remedy: "Give -SourcePath for a backup, or -SizeBytes for an empty image.");
        }

        string path = ResolveImageTarget(Path);
        if (DestinationTargets.IsFolder(path)) path = InFolder(path, source);
        _target = path;
        return new ImageRecipe
        {
            SourcePath = source,
            Path = path,
            Format = Format is null ? InferFormat(path, source) : ImageFormats.Find(Format)!.Format,
            SizeBytes = SizeBytes,
            VolumeName = VolumeName,
            FileSystem = FileSystem,
            BandSizeBytes = BandSizeBytes,
            CompressionLevel = CompressionLevel,
            Exclude = Exclude,
            OneFileSystem = OneFileSystem,
            SkipUnreadable = SkipUnreadable,
            IncludeDataless = IncludeCloudFiles,
            Encryption = Encryption,
            Passphrase = Secret(path),
            Overwrite = Force,
            Preallocate = Preallocate,
        };
    }

    // An empty image is made to be filled.
    private static BackupImageFormat InferFormat(string path, string? source)
    {
        ImageFormatName inferred = ImageFormats.Infer(path);
        return source is null && inferred.IsReadOnly ? BackupImageFormat.ReadWrite : inferred.Format;
    }

    private string InFolder(string folder, string? source)
    {
        if (Format is null || source is null)
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, "The path is a folder.", folder,
                remedy: "Give the path of the image; a folder is enough only with both -SourcePath and -Format.");
        }

        string name = System.IO.Path.GetFileName(source);
        return System.IO.Path.Combine(folder, (name.Length > 0 ? name : VolumeName ?? "Backup") + ImageFormats.Find(Format)!.Extension);
    }

    private static string Describe(ImageRecipe recipe, ImageCreationEstimate estimate) => string.Create(
        CultureInfo.CurrentCulture,
        $"{(recipe.SourcePath is null ? "Make an empty image" : $"Back up {recipe.SourcePath}")} to {recipe.Path} "
            + $"({recipe.Format}{(recipe.Encryption == BackupImageEncryption.None ? "" : $", {recipe.Encryption}")}): "
        + $"{estimate.Entries:N0} entries, {FormatView.Size(estimate.SourceBytes)} of content, capacity "
        + $"{FormatView.Size(estimate.CapacityBytes)}, "
        + $"at most {FormatView.Size(estimate.ExpectedBytes)} on disk, {FormatView.Size(estimate.AvailableBytes)} available there.");
}
