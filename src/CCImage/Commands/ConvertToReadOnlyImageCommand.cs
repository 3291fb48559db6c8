using System.Management.Automation;
using CCImage.Encryption;
using CCImage.Internal;
using CCImage.Parameters;

namespace CCImage.Commands;

/// <summary>Turns any image that can be read into a read-only one, compressed or not.</summary>
[Cmdlet(VerbsData.ConvertTo, "ReadOnlyImage", DefaultParameterSetName = PathSet, SupportsShouldProcess = true,
    ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(BackupImage))]
public sealed class ConvertToReadOnlyImageCommand : ImagePathCommand
{
    private readonly HashSet<string> _written = [];
    private Passphrase? _asked;

    /// <summary>The image to make, or a folder to make it in.</summary>
    [Parameter(Position = 1)]
    [ValidateNotNullOrEmpty]
    public string? DestinationPath { get; set; }

    /// <summary>A read-only format.</summary>
    [Parameter]
    [ImageFormat]
    [ArgumentCompleter(typeof(ReadOnlyImageFormatCompleter))]
    public string? Format { get; set; }

    /// <summary>The codec's level.</summary>
    [Parameter]
    [ValidateRange(0, 9)]
    public int? CompressionLevel { get; set; }

    /// <summary>How to encrypt the new image; by default as the source is.</summary>
    [Parameter]
    public BackupImageEncryption? Encryption { get; set; }

    /// <summary>Save the passphrase of the new image in the keychain of macOS.</summary>
    [Parameter]
    public SwitchParameter SaveToKeychain { get; set; }

    /// <summary>Keep every byte of the disk.</summary>
    [Parameter]
    public SwitchParameter KeepFreeSpace { get; set; }

    /// <summary>Delete the source once the result was verified.</summary>
    [Parameter]
    public SwitchParameter DeleteSource { get; set; }

    /// <summary>Take over what is left of a damaged image.</summary>
    [Parameter]
    public SwitchParameter AllowDamaged { get; set; }

    /// <summary>Replace an image that exists.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    private protected override bool UsesKeychain => FromKeychain || SaveToKeychain;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _asked?.Dispose();
        base.Dispose(disposing);
    }

    private protected override void ProcessPath(string path)
    {
        ImageFormatName format = Format is null ? ImageFormats.Get(BackupImageFormat.ReadOnlyZlib) : ImageFormats.Find(Format)!;
        if (!format.IsReadOnly)
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"{format.Format} is not a read-only format.", path,
                remedy: "Choose ReadOnly, ReadOnlyZlib, ReadOnlyLzfse, ReadOnlyLzma or ReadOnlyBzip2.");
        }

        string destination = DestinationOf(path, format.Extension);
        Passphrase? secret = SecretOf(path);
        BackupImage image = RunWorker((_, cancellation) =>
        {
            using DiskImage opened = DiskImage.Open(path, secret, cancellation);
            return opened.Describe(cancellation);
        });
        bool encrypts = (Encryption ?? image.Encryption) != BackupImageEncryption.None;
        if (SaveToKeychain && !encrypts)
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, "The new image would not be encrypted, and so has no passphrase to save.", path,
                remedy: "Say how to encrypt it: -Encryption Aes256 or -Encryption Aes128.");
        }

        var request = new ImageConversionRequest
        {
            Path = path,
            DestinationPath = destination,
            Format = format.Format,
            CompressionLevel = CompressionLevel,
            Passphrase = secret,
            DestinationEncryption = Encryption,
            KeepFreeSpace = KeepFreeSpace,
            DeleteSource = DeleteSource,
            AllowDamaged = AllowDamaged,
            Overwrite = Force,
        };
        if (_written.Contains(destination)) throw DestinationTargets.AlreadyUsed(destination, "-DestinationPath");
        ImageConversion.Check(request);
        _written.Add(destination);
        string description = $"Convert {path} ({image.Format}, {FormatView.Size(image.StoredBytes)}) to {format.Format} at {destination}"
            + (DeleteSource ? ", then delete the source." : ".");
        if (!ShouldProcess(description, description, "ConvertTo-ReadOnlyImage")) return;

        // Asked once for all images of a pipeline.
        if (encrypts && secret is null) _asked ??= PromptForNewPassphrase(System.IO.Path.GetFileName(destination));
        request = request with { DestinationPassphrase = secret ?? _asked };
        BackupImage result = RunWorker((observer, cancellation) => ImageConversion.Run(request, observer, cancellation));
        if (SaveToKeychain) SaveInKeychain(destination, (secret ?? _asked)!);
        WriteResult(result, ShortfallOf(result, path));
    }

    private static ImageException? ShortfallOf(BackupImage result, string source) =>
        result.Damage?.Problems is not [string first, ..] problems
        ? null
        : new(
            ImageErrorId.ConvertedInPart, $"The source was damaged, and so is what is in the new image. "
                + $"{first}{(problems.Count > 1 ? $" ({problems.Count - 1} further problems)" : "")}", source,
            remedy: "The property Damage of the result has all of it.");

    private string DestinationOf(string source, string extension)
    {
        string name = System.IO.Path.GetFileNameWithoutExtension(source) + extension;
        string? given = DestinationPath is null ? null : ResolveImageTarget(DestinationPath);
        string destination = given is null ? System.IO.Path.Combine(System.IO.Path.GetDirectoryName(source) ?? source, name)
            : DestinationTargets.IsFolder(given) ? System.IO.Path.Combine(given, name)
            : given;
        if (!string.Equals(destination, source, StringComparison.Ordinal)) return destination;
        throw new ImageException(
            ImageErrorId.InvalidArgument, "The new image would take the place of its own source.", source,
            remedy: "Give another name or folder with -DestinationPath.");
    }
}
