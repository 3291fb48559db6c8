using CCImage.Binary;
using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Platform;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// Changes the passphrase of an encrypted image: the keys are wrapped anew, the data stay as they are. At every moment the image opens with
/// the old passphrase or with the new one: of a bundle the <c>token</c> is replaced by a rename; of a file the sectors that change are
/// written at once, in every sample a single one, and meanwhile a copy of the old header lies beside the image.
/// </summary>
public static class ImagePassphrase
{
    /// <summary>What the name of an image ends with for the copy of its header, which exists only while the passphrase changes.</summary>
    internal const string BackupSuffix = ".header-backup";

    private const int SectorSize = 512;

    /// <summary>More is no header: it is held in memory and kept beside the image.</summary>
    private const int LongestHeader = 1 << 20;

    /// <summary>
    /// Changes the passphrase. A change that was interrupted is finished by asking for it again: with the old passphrase as well as with
    /// the new one, whichever opens the image.
    /// </summary>
    /// <param name="path">The image, as a full path.</param>
    /// <param name="oldPassphrase">Opens it now. Stays the caller's.</param>
    /// <param name="newPassphrase">Is to open it. Stays the caller's.</param>
    /// <param name="observer">Hears when a change that was interrupted is finished.</param>
    /// <param name="cancellation">Ends it before anything is written.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.WrongPassphrase"/>, <see cref="ImageErrorId.ImageInUse"/>, <see cref="ImageErrorId.UnsupportedFormat"/>
    /// (version 1),
    /// <see cref="ImageErrorId.InvalidArgument"/> (not encrypted, or nothing to change to), or what the host says.
    /// </exception>
    public static void Change(
        string path, Passphrase oldPassphrase, Passphrase newPassphrase, IImagingObserver observer, CancellationToken cancellation)
    {
        if (Change(path, oldPassphrase, newPassphrase, null, observer, cancellation) is { } leftover) throw leftover;
    }

    /// <summary>The same with a number of rounds of its own.</summary>
    /// <param name="path">The image, as a full path.</param>
    /// <param name="oldPassphrase">Opens it now.</param>
    /// <param name="newPassphrase">Is to open it.</param>
    /// <param name="rounds">Rounds of key derivation; null for what takes this machine a quarter of a second.</param>
    /// <param name="observer">Hears when a change that was interrupted is finished.</param>
    /// <param name="cancellation">Ends it before anything is written.</param>
    /// <returns>Why the copy of the old header is still there, although the passphrase is changed; null when it is not.</returns>
    internal static ImageException? Change(
        string path, Passphrase oldPassphrase, Passphrase newPassphrase, int? rounds, IImagingObserver observer,
        CancellationToken cancellation)
    {
        ImageOutput.CheckEncryption(BackupImageEncryption.Aes128, newPassphrase);
        try
        {
            switch (ContainerDetection.Detect(path))
            {
                case ContainerKind.SparseBundle:
                    ChangeBundle(path, oldPassphrase, newPassphrase, rounds, cancellation);
                    return null;
                case ContainerKind.Encrypted:
                    using (FileStorage file = FileStorage.OpenWrite(path))
                        return ChangeFile(file, path, oldPassphrase, newPassphrase, rounds, observer, cancellation);
                default:
                    throw NotEncrypted();
            }
        }
        catch (ImageException e)
        {
            throw e.WithPath(path);
        }
    }

    /// <summary>Whether an image opens with a passphrase only. What cannot be told counts as no: opening it says why.</summary>
    /// <param name="path">The image, as a full path.</param>
    internal static bool IsNeeded(string path)
    {
        try
        {
            return ContainerDetection.Detect(path) switch
            {
                ContainerKind.Encrypted => true,
                ContainerKind.SparseBundle => SparseBundleStorage.ReadToken(path).Length > 0,
                _ => false,
            };
        }
        catch (ImageException)
        {
            return false;
        }
    }

    /// <summary>Whether a passphrase is not wrong for an image; or is right for the copy of its header, after a change that was
    /// interrupted.</summary>
    /// <param name="path">The image, as a full path.</param>
    /// <param name="passphrase">The passphrase. Stays the caller's.</param>
    internal static bool Opens(string path, Passphrase passphrase)
    {
        try
        {
            using DiskImage image = DiskImage.Open(path, passphrase);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.WrongPassphrase)
        {
            return OpensBackup(path + BackupSuffix, passphrase);
        }
        catch (ImageException)
        {
            // Something else is wrong, and the job says what.
        }

        return true;
    }

    private static bool OpensBackup(string path, Passphrase passphrase)
    {
        if (!File.Exists(path)) return false;
        try
        {
            using FileStorage file = FileStorage.OpenRead(path);
            EncryptionHeader.Read(file).UnwrapKeys(passphrase).Dispose();
            return true;
        }
        catch (ImageException)
        {
            return false;
        }
    }

    /// <summary>The same for an image in one file, which is open.</summary>
    /// <param name="file">The file.</param>
    /// <param name="path">Its path, beside which the copy of the header is kept.</param>
    /// <param name="oldPassphrase">Opens it now.</param>
    /// <param name="newPassphrase">Is to open it.</param>
    /// <param name="rounds">Rounds of key derivation.</param>
    /// <param name="observer">Hears when a change that was interrupted is finished.</param>
    /// <param name="cancellation">Ends it before anything is written.</param>
    /// <returns>Why the copy of the old header is still there, although the passphrase is changed; null when it is not.</returns>
    internal static ImageException? ChangeFile(
        BlockStorage file, string path, Passphrase oldPassphrase, Passphrase newPassphrase, int? rounds, IImagingObserver observer,
        CancellationToken cancellation)
    {
        string backupPath = path + BackupSuffix;
        byte[] header = ReadHeader(file);
        RequireWhole(file);
        byte[] changed = [.. header];
        bool fromBackup = false;
        int offset, length;
        try
        {
            (offset, length) = EncryptionHeaderWriter.Rewrap(changed, oldPassphrase, newPassphrase, rounds);
        }
        catch (ImageException e) when (
            e.Id is ImageErrorId.WrongPassphrase or ImageErrorId.ImageDamaged && ReadBackup(backupPath, header) is not null)
        {
            // The power went when the sector was being written, or before its copy was removed. Only the keys are taken from the copy: the
            // image may have grown since.
            byte[] backup = ReadBackup(backupPath, header)!;
            (offset, length) = EncryptionHeaderWriter.Rewrap(backup, oldPassphrase, newPassphrase, rounds);
            backup.AsSpan(offset, length).CopyTo(changed.AsSpan(offset));
            fromBackup = true;
        }

        cancellation.ThrowIfCancellationRequested();
        if (fromBackup)
            observer.OnWarning(
                new ImagingWarning(ImagingWarningKind.Advice, path, "A change of the passphrase that was interrupted is finished now."));
        else WriteBackup(backupPath, header);

        int first = offset / SectorSize * SectorSize, end = (int)Layout.RoundUp(offset + length, SectorSize);
        file.Write(first, changed.AsSpan(first, end - first));
        file.Flush();
        CheckOpens(file, changed, newPassphrase,
            $"The old header is kept as {Path.GetFileName(backupPath)}. Check the medium, and change the passphrase again.");
        return DeleteBackup(backupPath);
    }

    // The passphrase is changed by now. Who changed it because the old one is known must hear that a copy is left that it opens.
    private static ImageException? DeleteBackup(string backupPath)
    {
        try
        {
            File.Delete(backupPath);
            FileSystemCalls.FlushFolder(Path.GetDirectoryName(backupPath)!);
            return null;
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            return new ImageException(
                ImageErrorId.DestinationUnwritable,
                $"The passphrase is changed, but the copy of the old header could not be removed: {e.Message}", backupPath,
                remedy: "Delete this file: with it the old passphrase still opens the image.", innerException: e);
        }
    }

    // What is cut short may be all there is of an image: nothing of it is written to.
    private static void RequireWhole(BlockStorage file)
    {
        EncryptionHeader read;
        try
        {
            read = EncryptionHeader.Read(file);
        }
        catch (ImageException)
        {
            return; // torn by a change that was interrupted: its copy decides
        }

        if (read.DataOffset > file.Length || read.DataSize > file.Length - read.DataOffset)
            throw ImageContainer.CutShort(Math.Max(0, file.Length - read.DataOffset), read.DataSize);
    }

    private static void ChangeBundle(
        string path, Passphrase oldPassphrase, Passphrase newPassphrase, int? rounds, CancellationToken cancellation)
    {
        using SparseBundleFolder folder = SparseBundleFolder.Open(path);
        SparseBundleStorage.ReadInfo(folder, out _);
        if (SparseBundleStorage.ReadToken(folder).Length == 0) throw NotEncrypted();

        // Whoever has the bundle open holds its token.
        using FileStorage guard = folder.OpenGuard(writable: true);
        byte[] token = SparseBundleFolder.ReadWhole(guard, SparseBundleStorage.TokenName, LongestHeader);
        EncryptionHeaderWriter.Rewrap(token, oldPassphrase, newPassphrase, rounds);
        cancellation.ThrowIfCancellationRequested();
        folder.ReplaceSmallFile(SparseBundleStorage.TokenName, token, written =>
        {
            CheckOpens(written, token, newPassphrase, "The passphrase is what it was. Check the medium.");

            // An open file cannot be replaced there.
            if (OperatingSystem.IsWindows()) guard.Dispose();
            cancellation.ThrowIfCancellationRequested();
        });
    }

    private static byte[] ReadHeader(BlockStorage file)
    {
        long length = EncryptionHeader.TryReadDataOffset(file)
            ?? throw EncryptionHeader.VersionOneUnsupported("Convert it to a new image with the new passphrase.");
        if (length is < SectorSize or > LongestHeader)
            throw ImageException.Damaged($"An encryption header of {length} bytes is not possible.", "encryption header at byte 0");
        byte[] header = new byte[length];
        file.Read(0, header);
        return header;
    }

    /// <summary>The copy of a header, if it is one of the same image.</summary>
    private static byte[]? ReadBackup(string path, byte[] header)
    {
        if (!File.Exists(path)) return null;
        using FileStorage file = FileStorage.OpenRead(path);
        if (file.Length != header.Length) return null;
        byte[] backup = new byte[header.Length];
        file.Read(0, backup);
        return EncryptionHeader.UuidOf(backup) == EncryptionHeader.UuidOf(header) ? backup : null;
    }

    private static void WriteBackup(string path, byte[] header)
    {
        using var backup = new AtomicFile(path, overwrite: true) { IsPrivate = true };
        backup.Storage.Write(0, header);
        backup.Storage.Flush();
        byte[] written = new byte[header.Length];
        backup.Storage.Read(0, written);
        if (!written.AsSpan().SequenceEqual(header)) throw NotWritten("The passphrase is what it was. Check the medium.");
        backup.Commit();
    }

    private static void CheckOpens(BlockStorage file, byte[] expected, Passphrase passphrase, string remedy)
    {
        byte[] written = new byte[expected.Length];
        file.Read(0, written);
        if (!written.AsSpan().SequenceEqual(expected)) throw NotWritten(remedy);
        EncryptionHeader.Read(new MemoryStorage(written)).UnwrapKeys(passphrase).Dispose();
    }

    private static ImageException NotWritten(string remedy) =>
        new(ImageErrorId.ChecksumMismatch, "The header that was written does not read back the same.", place: "encryption header at byte 0",
            remedy: remedy);

    /// <summary>The refusal of an image that has no passphrase.</summary>
    internal static ImageException NotEncrypted() =>
        new(ImageErrorId.InvalidArgument, "The image is not encrypted.", remedy: "Convert it to an encrypted one.");
}
