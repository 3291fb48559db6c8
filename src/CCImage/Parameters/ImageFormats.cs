namespace CCImage.Parameters;

/// <summary>A format as users name it.</summary>
/// <param name="Format">The format.</param>
/// <param name="Code">hdiutil's code.</param>
/// <param name="Extension">The usual extension, with its dot.</param>
/// <param name="IsReadOnly">Whether an image of it can only be read.</param>
/// <param name="Description">A few words, for the completer's tip.</param>
internal sealed record ImageFormatName(BackupImageFormat Format, string Code, string Extension, bool IsReadOnly, string Description);

/// <summary>The one list from which the names of formats are read and completed.</summary>
internal static class ImageFormats
{
    /// <summary>The formats that can be asked for.</summary>
    public static IReadOnlyList<ImageFormatName> All { get; } =
    [
        new(BackupImageFormat.Sparse, "UDSP", ".sparseimage", false, "one file that grows with its content"),
        new(BackupImageFormat.SparseBundle, "UDSB", ".sparsebundle", false, "a folder of band files that grows with its content"),
        new(BackupImageFormat.ReadWrite, "UDRW", ".dmg", false, "read/write, of fixed size"),
        new(BackupImageFormat.ReadOnly, "UDRO", ".dmg", true, "read-only, not compressed"),
        new(BackupImageFormat.ReadOnlyZlib, "UDZO", ".dmg", true, "read-only, zlib: every Mac reads it"),
        new(BackupImageFormat.ReadOnlyLzfse, "ULFO", ".dmg", true, "read-only, LZFSE: OS X 10.11 and later"),
        new(BackupImageFormat.ReadOnlyLzma, "ULMO", ".dmg", true, "read-only, LZMA: macOS 10.15 and later"),
        new(BackupImageFormat.ReadOnlyBzip2, "UDBZ", ".dmg", true, "read-only, bzip2: deprecated by Apple"),
    ];

    /// <summary>Finds a format by its name or by hdiutil's code, without regard to case; null when it is neither.</summary>
    /// <param name="text">What the user wrote.</param>
    public static ImageFormatName? Find(string text) => All.FirstOrDefault(name =>
        text.Equals(name.Format.ToString(), StringComparison.OrdinalIgnoreCase)
            || text.Equals(name.Code, StringComparison.OrdinalIgnoreCase));

    /// <summary>The list's row of a format.</summary>
    /// <param name="format">One of the formats that can be asked for.</param>
    public static ImageFormatName Get(BackupImageFormat format) => All.First(name => name.Format == format);

    /// <summary>The format that an extension stands for.</summary>
    /// <param name="path">Path of the image to make.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/> when it stands for none.</exception>
    public static ImageFormatName Infer(string path) => Path.GetExtension(path).ToUpperInvariant() switch
    {
        ".SPARSEIMAGE" => Get(BackupImageFormat.Sparse),
        ".SPARSEBUNDLE" => Get(BackupImageFormat.SparseBundle),
        ".DMG" => Get(BackupImageFormat.ReadOnlyZlib),
        _ => throw new ImageException(
            ImageErrorId.InvalidArgument, "The extension of the image does not tell its format.", path,
            remedy: "Give -Format, or an extension of .sparseimage, .sparsebundle or .dmg."),
    };

    /// <summary>Whether a folder is an image itself, to judge by its name.</summary>
    /// <param name="path">Path of a folder.</param>
    public static bool IsBundle(string path) =>
        Path.GetExtension(path).Equals(".sparsebundle", StringComparison.OrdinalIgnoreCase)
        || Path.GetExtension(path).Equals(".backupbundle", StringComparison.OrdinalIgnoreCase);
}
