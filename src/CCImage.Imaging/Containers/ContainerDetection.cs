using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Storage;

namespace CCImage.Containers;

/// <summary>How a disk is contained in a file or folder.</summary>
internal enum ContainerKind
{
    /// <summary>The file is the disk, byte by byte (UDRW).</summary>
    Raw,

    /// <summary>Universal Disk Image Format with a <c>koly</c> trailer: UDRO and the compressed ones.</summary>
    Udif,

    /// <summary><c>sprs</c> (UDSP).</summary>
    SparseImage,

    /// <summary>A folder of bands (UDSB).</summary>
    SparseBundle,

    /// <summary>An encrypted file; what is in it shows after decryption.</summary>
    Encrypted,

    /// <summary>Apple's sparse format of macOS 26, <c>shdw</c>: recognised only.</summary>
    Asif,
}

/// <summary>Tells formats apart: by content, never by name.</summary>
internal static class ContainerDetection
{
    private const int SectorSize = 512;

    /// <summary>What a path leads to.</summary>
    /// <param name="path">A file or folder.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.ImageNotFound"/>; <see cref="ImageErrorId.UnknownFormat"/>: empty, or a folder that is no bundle;
    /// unreadable.
    /// </exception>
    public static ContainerKind Detect(string path)
    {
        CheckFinished(path);
        if (Directory.Exists(path))
        {
            return SparseBundleStorage.IsMatch(path)
                ? ContainerKind.SparseBundle
                : throw new ImageException(
                    ImageErrorId.UnknownFormat, "This folder is not a disk image: no Info.plist names it a sparse bundle.", path,
                    remedy: "Name the image itself; of a bundle, check that it was copied whole.");
        }

        using FileStorage file = FileStorage.OpenRead(path);
        try
        {
            return Detect(file);
        }
        catch (ImageException e)
        {
            throw e.WithPath(path);
        }
    }

    /// <summary>Refuses what a job that was stopped, or one that is running, has not finished: part of a disk reads like a whole
    /// one.</summary>
    /// <param name="path">A file or folder.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    private static void CheckFinished(string path)
    {
        if (!PartialFolder.IsUnfinished(path) || !Path.Exists(path)) return;
        throw new ImageException(
            ImageErrorId.ImageDamaged,
            $"This is an unfinished image of a run that was stopped, or is running still: its name ends in '{PartialFolder.Suffix}'.", path,
            remedy: "Make the image again: that removes it. An image of your own by such a name has to be renamed.");
    }

    /// <summary>What a file, or the decrypted content of one, is.</summary>
    /// <param name="file">The file.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnknownFormat"/>: empty, or not even whole sectors;
    /// <see cref="ImageErrorId.UnsupportedFormat"/>: an archive, or an image of a format that is only known by name.</exception>
    public static ContainerKind Detect(BlockStorage file)
    {
        Span<byte> first = stackalloc byte[8];
        Span<byte> last = stackalloc byte[8];
        Span<byte> trailer = stackalloc byte[4];
        if (file.Length == 0)
            throw new ImageException(ImageErrorId.UnknownFormat, "The file is empty.", remedy: "Restore the image from another copy.");
        if (file.Length < first.Length) throw NotWholeSectors(file);
        file.Read(0, first);
        file.Read(file.Length - last.Length, last);
        if (first.SequenceEqual("encrcdsa"u8) || last.SequenceEqual("cdsaencr"u8)) return ContainerKind.Encrypted;
        if (file.Length >= SectorSize)
        {
            file.Read(file.Length - SectorSize, trailer);
            if (trailer.SequenceEqual("koly"u8)) return ContainerKind.Udif;
        }

        if (SparseImageStorage.IsMatch(file)) return ContainerKind.SparseImage;
        if (first.StartsWith("shdw"u8)) return ContainerKind.Asif;

        // A disk with a boot record is a disk, whatever the code in it looks like.
        if (!HasBootSignature(file) && ForeignFiles.Find(file) is { } foreign) throw foreign;
        return file.Length % SectorSize == 0 ? ContainerKind.Raw : throw NotWholeSectors(file);
    }

    /// <summary>The refusal for an image in Apple's sparse format of macOS 26.</summary>
    public static ImageException AsifUnsupported() => ImageException.Unsupported(
        "This is an ASIF image (the sparse format of macOS 26), which is not supported yet.",
        "Convert it on a Mac with 'diskutil image', for example to a sparse bundle.", "header at byte 0");

    private static bool HasBootSignature(BlockStorage file)
    {
        if (file.Length < SectorSize) return false;
        Span<byte> signature = stackalloc byte[2];
        file.Read(SectorSize - signature.Length, signature);
        return signature[0] == 0x55 && signature[1] == 0xAA;
    }

    private static ImageException NotWholeSectors(BlockStorage file) => new(
        ImageErrorId.UnknownFormat,
        $"The file is not recognised as a disk image: it has neither the trailer nor a header of one, and its {file.Length} bytes are not "
            + $"whole sectors of {SectorSize}, as those of a disk are.",
        remedy: "Check the path; if it was an image, it may be cut short.");
}
