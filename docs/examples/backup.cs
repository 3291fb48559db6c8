#:property PublishAot=false
#:property RestorePackagesWithLockFile=false
#:project ../../src/CCImage.Imaging/CCImage.Imaging.csproj
#:project ../../src/CCImage.Private/CCImage.Private.csproj

// Backs up a folder to a disk image, without PowerShell:
//
//     dotnet run docs/examples/backup.cs -- SOURCE IMAGE
//
// The extension of IMAGE tells the format: .sparseimage, .sparsebundle, or .dmg (read-only, zlib).

using CCImage;
using CCImage.Diagnostics;

if (args.Length != 2)
{
    Console.Error.WriteLine("usage: dotnet run docs/examples/backup.cs -- SOURCE IMAGE");
    return 2;
}

using var stop = new CancellationTokenSource();
Console.CancelKeyPress += (_, e) =>
{
    // The image is not made, and nothing stays behind.
    e.Cancel = true;
    stop.Cancel();
};

var recipe = new ImageRecipe
{
    SourcePath = Path.GetFullPath(args[0]),
    Path = Path.GetFullPath(args[1]),
    Format = Path.GetExtension(args[1]).ToLowerInvariant() switch
    {
        ".sparseimage" => BackupImageFormat.Sparse,
        ".sparsebundle" => BackupImageFormat.SparseBundle,
        _ => BackupImageFormat.ReadOnlyZlib,
    },
};

try
{
    using ImageCreation creation = ImageCreation.Prepare(recipe, new ConsoleObserver(), stop.Token);
    Console.WriteLine($"{creation.Estimate.Entries:N0} entries, {creation.Estimate.SourceBytes:N0} bytes of content");
    BackupImage image = creation.Run(stop.Token);
    Console.WriteLine($"{image.Path}: {image.Format} ({image.FormatCode}), {image.StoredBytes:N0} bytes");
    foreach (BackupImageVolume volume in image.Volumes)
        Console.WriteLine($"  volume \"{volume.Name}\", {volume.Kind}, {volume.FileCount:N0} files");
    if (creation.Shortfall is not { } shortfall) return 0;

    // The image stands, and lacks something.
    Console.Error.WriteLine($"{shortfall.Id}: {shortfall.Message}");
    return 1;
}
catch (ImageException e)
{
    // Stable id, problem, path, place and remedy.
    Console.Error.WriteLine($"{e.Id}: {e.Message}");
    return 1;
}
catch (OperationCanceledException)
{
    Console.Error.WriteLine("Cancelled.");
    return 130;
}

/// <summary>Says on the console what the user should know.</summary>
internal sealed class ConsoleObserver : IImagingObserver
{
    /// <inheritdoc/>
    public void OnProgress(ImagingProgress progress)
    {
    }

    /// <inheritdoc/>
    public void OnWarning(ImagingWarning warning) => Console.Error.WriteLine($"warning: {warning}");

    /// <inheritdoc/>
    public void OnVerbose(string message)
    {
    }
}
