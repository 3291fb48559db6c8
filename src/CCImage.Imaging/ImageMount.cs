using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Mounting;
using CCImage.Platform;

namespace CCImage;

/// <summary>Which image to attach, and how.</summary>
/// <param name="Path">File or bundle, as a full path.</param>
public sealed record ImageMountRequest(string Path)
{
    /// <summary>The passphrase of an encrypted image. Stays the caller's.</summary>
    public Passphrase? Passphrase { get; init; }

    /// <summary>Whether nothing may be written to it.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Whether Finder is not to show its volumes.</summary>
    public bool NoBrowse { get; init; }
}

/// <summary>An image that macOS has attached.</summary>
/// <param name="Path">The image, as a full path.</param>
/// <param name="Device">The disk it appears as, for example <c>/dev/disk4</c>.</param>
/// <param name="MountPoints">Where its volumes are mounted; empty when none of them could be.</param>
public sealed record MountedBackupImage(string Path, string Device, IReadOnlyList<string> MountPoints);

/// <summary>
/// Attaches images to macOS and detaches them, by the system's own programs: only the system can mount. Nothing else of this program needs
/// it.
/// </summary>
public static class ImageMount
{
    /// <summary>Refuses every system but macOS.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.PlatformNotSupported"/>.</exception>
    public static void CheckPlatform() => CheckPlatform(OperatingSystem.IsMacOS());

    /// <summary>The same for a given system.</summary>
    /// <param name="isMac">Whether it is macOS.</param>
    internal static void CheckPlatform(bool isMac)
    {
        if (isMac) return;
        throw new ImageException(
            ImageErrorId.PlatformNotSupported, "Only macOS can mount a disk image.",
            remedy: "Restore-BackupImage extracts its files here, and Get-BackupImageItem lists them.");
    }

    /// <summary>Attaches an image and mounts its volumes.</summary>
    /// <param name="request">Which, and how.</param>
    /// <param name="observer">Hears what is run.</param>
    /// <param name="cancellation">Ends it; an image that has been attached by then is detached again.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.PlatformNotSupported"/>, <see cref="ImageErrorId.ImageInUse"/> (it is attached already, too),
    /// <see cref="ImageErrorId.PassphraseRequired"/>, <see cref="ImageErrorId.WrongPassphrase"/>, <see cref="ImageErrorId.ImageDamaged"/>,
    /// <see cref="ImageErrorId.MountFailed"/>, or what else fits to what macOS says.
    /// </exception>
    public static MountedBackupImage Attach(ImageMountRequest request, IImagingObserver observer, CancellationToken cancellation)
    {
        CheckPlatform();
        return Attach(request, SystemTools.Instance, observer, cancellation);
    }

    /// <summary>Unmounts the volumes of an image and detaches it.</summary>
    /// <param name="path">The image, as a full path; or where one of its volumes is mounted.</param>
    /// <param name="force">Whether files that are open on it are no obstacle: what was not written is lost.</param>
    /// <param name="observer">Hears what is run.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>What was attached.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.PlatformNotSupported"/>, <see cref="ImageErrorId.ImageNotMounted"/>,
    /// <see cref="ImageErrorId.ImageInUse"/>, <see cref="ImageErrorId.MountFailed"/>, or what else fits to what macOS says.</exception>
    public static MountedBackupImage Detach(string path, bool force, IImagingObserver observer, CancellationToken cancellation)
    {
        CheckPlatform();
        return Detach(path, force, SystemTools.Instance, observer, cancellation);
    }

    /// <summary><see cref="Attach(ImageMountRequest, IImagingObserver, CancellationToken)"/> by given programs.</summary>
    internal static MountedBackupImage Attach(
        ImageMountRequest request, ISystemTools system, IImagingObserver observer, CancellationToken cancellation)
    {
        string path = request.Path;
        var tools = new DiskImageTools(system, observer);
        if (tools.List(cancellation)?.FirstOrDefault(i => i.IsAt(path)) is { } present)
        {
            throw new ImageException(
                ImageErrorId.ImageInUse, $"The image is attached already, as "
                    + $"{present.Device}{(present.MountPoints.Count > 0 ? $" at {string.Join(", ", present.MountPoints)}" : "")}.",
                path, remedy: "Dismount-BackupImage detaches it.");
        }

        bool isEncrypted = CheckImage(request, observer);
        try
        {
            AttachedImage image = tools.Attach(
                new(path, request.ReadOnly, request.NoBrowse), isEncrypted ? request.Passphrase!.Bytes : [], cancellation);
            return new(path, image.Device, image.MountPoints);
        }
        catch (OperationCanceledException)
        {
            if (tools.List(CancellationToken.None)?.FirstOrDefault(i => i.IsAt(path)) is { } late) TryDetach(tools, late);
            throw;
        }
        finally
        {
            ImageUse.Forget();
        }
    }

    /// <summary><see cref="Detach(string, bool, IImagingObserver, CancellationToken)"/> by given programs.</summary>
    internal static MountedBackupImage Detach(
        string path, bool force, ISystemTools system, IImagingObserver observer, CancellationToken cancellation)
    {
        var tools = new DiskImageTools(system, observer);
        IReadOnlyList<AttachedImage> attached = tools.List(cancellation) ?? throw new ImageException(
            ImageErrorId.MountFailed, "macOS does not tell which images are attached.", path,
            remedy: "Eject it in Finder, or with Disk Utility.");
        AttachedImage image = attached.FirstOrDefault(i => i.IsAt(path))
            ?? throw new ImageException(ImageErrorId.ImageNotMounted, "The image is not attached.", path);
        bool isMountPoint = image.IsMountedAt(path);
        try
        {
            tools.Detach(image, force, cancellation);
        }
        finally
        {
            ImageUse.Forget();
        }

        // Named as the caller did, unless that was a mount point, which is gone now.
        return new(isMountPoint ? image.Path : path, image.Device, image.MountPoints);
    }

    /// <summary>
    /// Looks at the image first: what is wrong with a passphrase, or in the way, can be said better here, and before macOS asks anybody by
    /// a window. What this program does not understand is left to macOS.
    /// </summary>
    /// <returns>Whether it is encrypted.</returns>
    private static bool CheckImage(ImageMountRequest request, IImagingObserver observer)
    {
        try
        {
            using DiskImage image = DiskImage.Open(request.Path, request.Passphrase);
            if (!request.ReadOnly && image.Container.CutBytes > 0)
                throw ImageContainer.CutShort(image.Disk.Length - image.Container.CutBytes, image.Disk.Length).WithPath(request.Path);
            return image.Container.Encryption != BackupImageEncryption.None;
        }
        catch (ImageException e) when (e.Id is ImageErrorId.UnknownFormat or ImageErrorId.UnsupportedFormat or ImageErrorId.VolumeNotFound
            || (e.Id == ImageErrorId.ImageDamaged && request.ReadOnly))
        {
            observer.OnVerbose(e.Message);
            return request.Passphrase is not null;
        }
    }

    private static void TryDetach(DiskImageTools tools, AttachedImage image)
    {
        try
        {
            tools.Detach(image, force: false, CancellationToken.None);
        }
        catch (ImageException)
        {
            // The user stopped it, and hears of that; Get-BackupImage shows that it is in use.
        }
    }
}
