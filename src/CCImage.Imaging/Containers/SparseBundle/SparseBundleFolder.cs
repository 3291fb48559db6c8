using System.Security.Cryptography;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Containers.SparseBundle;

/// <summary>
/// The folder of a bundle, held open. Everything in it is reached from there by single names, so that a bundle that is renamed or replaced
/// stays the one that was opened; nothing in it is a link, and nothing but a regular file is opened.
/// </summary>
internal sealed class SparseBundleFolder : IDisposable
{
    private readonly HostStat _bandsStat;

    private SparseBundleFolder(HostDirectory root, string path)
    {
        (Root, Path) = (root, path);
        try
        {
            Bands = OpenFolder(SparseBundleFiles.BandsName);
            Mapped = OpenFolder(SparseBundleFiles.MappedName);
            if (Bands is not null) _bandsStat = Bands.Stat;
        }
        catch
        {
            Bands?.Dispose();
            throw;
        }
    }

    /// <summary>The bundle's path, as it was given.</summary>
    public string Path { get; }

    /// <summary>The bundle's folder.</summary>
    public HostDirectory Root { get; }

    /// <summary>The folder with the bands; null when it is missing.</summary>
    public HostDirectory? Bands { get; private set; }

    /// <summary>The folder with the bits of the bands, where there is one.</summary>
    public HostDirectory? Mapped { get; }

    /// <summary>Opens the folder at a path. Links in the path are followed: it is the user's own choice.</summary>
    /// <param name="path">The bundle.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageNotFound"/>; <see cref="ImageErrorId.ImageDamaged"/>: a link in it;
    /// unreadable.</exception>
    public static SparseBundleFolder Open(string path)
    {
        HostDirectory root;
        try
        {
            root = HostPlatform.Current.OpenDirectory(path);
        }
        catch (HostException e) when (e.Failure is HostFailure.NotFound or HostFailure.NotADirectory)
        {
            throw new ImageException(
                ImageErrorId.ImageNotFound, "There is no such bundle.", path, remedy: "Check the path.", innerException: e);
        }
        catch (HostException e)
        {
            throw FileErrors.Map(e, path, writing: false);
        }

        return Take(root, path);
    }

    /// <summary>Takes over an open folder.</summary>
    /// <param name="root">The folder; closed when this fails.</param>
    /// <param name="path">Its path, for errors.</param>
    public static SparseBundleFolder Take(HostDirectory root, string path)
    {
        try
        {
            return new SparseBundleFolder(root, path);
        }
        catch
        {
            root.Dispose();
            throw;
        }
    }

    /// <summary>Makes the folder of bands in a new bundle.</summary>
    /// <exception cref="HostException">What the host says.</exception>
    public void CreateBands()
    {
        Root.CreateDirectory(SparseBundleFiles.BandsName);
        Bands = Root.OpenDirectory(SparseBundleFiles.BandsName);
    }

    /// <summary>Whether the bundle has a file.</summary>
    /// <param name="name">A single name.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it is something else; unreadable.</exception>
    public bool Has(string name) => StatOf(Root, name, name) is not null;

    /// <summary>What a file is; null when there is none.</summary>
    /// <param name="folder">A folder of this bundle.</param>
    /// <param name="name">A single name.</param>
    /// <param name="place">The name in the bundle, for errors.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it is no regular file; unreadable.</exception>
    public HostStat? StatOf(HostDirectory folder, string name, string place)
    {
        try
        {
            HostStat stat = folder.GetStat(name);
            UnixFiles.RequireFile(stat);
            return stat;
        }
        catch (HostException e) when (e.Failure == HostFailure.NotFound)
        {
            return null;
        }
        catch (HostException e)
        {
            throw ErrorOf(e, place, writing: false);
        }
    }

    /// <summary>Opens a file.</summary>
    /// <param name="folder">A folder of this bundle.</param>
    /// <param name="name">A single name.</param>
    /// <param name="place">The name in the bundle, for errors.</param>
    /// <param name="writable">Whether it is to be written; then nobody else may have it open.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public FileStorage OpenFile(HostDirectory folder, string name, string place, bool writable)
    {
        try
        {
            return FileStorage.Open(folder, name, System.IO.Path.Combine(Path, place), writable);
        }
        catch (HostException e)
        {
            throw ErrorOf(e, place, writing: writable && e.Failure != HostFailure.NotFound);
        }
    }

    /// <summary>Makes a file; nothing may have its name. Who may read the bundle's property list may read it.</summary>
    /// <param name="folder">A folder of this bundle.</param>
    /// <param name="name">A single name.</param>
    /// <param name="place">The name in the bundle, for errors.</param>
    /// <param name="mode">Permission bits.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public FileStorage CreateFile(HostDirectory folder, string name, string place, uint mode) =>
        FileStorage.CreateNew(folder, name, System.IO.Path.Combine(Path, place), mode);

    /// <summary>Reads a whole file.</summary>
    /// <param name="name">A single name.</param>
    /// <param name="maximum">Most bytes that make sense.</param>
    /// <returns>Null when there is none.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it is longer, or no file; unreadable.</exception>
    public byte[]? ReadSmallFile(string name, int maximum)
    {
        if (!Has(name)) return null;
        FileStorage file;
        try
        {
            file = OpenFile(Root, name, name, writable: false);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageNotFound)
        {
            return null;
        }

        using (file) return ReadWhole(file, name, maximum);
    }

    /// <summary>Reads a whole file that is open.</summary>
    /// <param name="file">The file.</param>
    /// <param name="name">Its name, for errors.</param>
    /// <param name="maximum">Most bytes that make sense.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: it is longer; unreadable.</exception>
    public static byte[] ReadWhole(BlockStorage file, string name, int maximum)
    {
        if (file.Length > maximum) throw ImageException.Damaged($"The file has {file.Length} bytes; at most {maximum} make sense.", name);
        byte[] bytes = new byte[file.Length];
        file.Read(0, bytes);
        return bytes;
    }

    /// <summary>Writes a new small file, durably but for its name.</summary>
    /// <param name="name">A single name.</param>
    /// <param name="bytes">Its content.</param>
    /// <param name="mode">Permission bits.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public void WriteSmallFile(string name, byte[] bytes, uint mode)
    {
        using FileStorage file = CreateFile(Root, name, name, mode);
        file.Write(0, bytes);
        file.Flush();
    }

    /// <summary>
    /// Replaces a small file in one rename, durably. The new one is this user's alone until it has the permission bits of the old one; its
    /// name until then cannot be guessed.
    /// </summary>
    /// <param name="name">A single name.</param>
    /// <param name="bytes">The new content.</param>
    /// <param name="check">Looks at the new file before it takes the name.</param>
    /// <exception cref="ImageException">What the host says; nothing has changed then.</exception>
    public void ReplaceSmallFile(string name, byte[] bytes, Action<BlockStorage>? check = null)
    {
        const uint privateMode = 0x180;
        HostStat? old = StatOf(Root, name, name);
        RemoveLeftovers(name);
        string temporary = $".{name}.{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8))}{PartialFolder.Suffix}";
        try
        {
            using (FileStorage file = CreateFile(Root, temporary, name, privateMode))
            {
                file.Write(0, bytes);
                file.Flush();
                check?.Invoke(file);
                file.SetMode(old is { } stat ? stat.Mode & 0x1FF : ModeOfNewFiles());
            }

            Root.Rename(temporary, name);
            Root.Flush();
        }
        catch (Exception e)
        {
            RemoveQuietly(temporary);
            if (FileErrors.IsFileError(e)) throw FileErrors.Map(e, System.IO.Path.Combine(Path, name), writing: true);
            throw;
        }
    }

    /// <summary>The permission bits for a new file in a bundle that exists: those of its property list.</summary>
    public uint ModeOfNewFiles() => ((StatOf(Root, SparseBundleInfo.FileName, SparseBundleInfo.FileName)
        ?? StatOf(Root, SparseBundleInfo.CopyName, SparseBundleInfo.CopyName))?.Mode & 0x1B6) ?? 0x1B6;

    /// <summary>The file of a bundle that whoever opens it locks: the token, or the property list of a bundle without one, or its
    /// copy.</summary>
    public string GuardName() => Has(SparseBundleStorage.TokenName) ? SparseBundleStorage.TokenName
        : Has(SparseBundleInfo.FileName) || !Has(SparseBundleInfo.CopyName) ? SparseBundleInfo.FileName : SparseBundleInfo.CopyName;

    /// <summary>Locks the bundle.</summary>
    /// <param name="writable">Whether it is to be written: then nobody else may have it open.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>, or what the host says.</exception>
    public FileStorage OpenGuard(bool writable)
    {
        string name = GuardName();
        try
        {
            SafeFileHandle handle = Root.OpenLocked(name, writable, exclusive: writable, out HostStat stat);
            FileStorage guard = FileStorage.Take(System.IO.Path.Combine(Path, name), handle, writable);
            if (StatOf(Root, name, name)?.Identity == stat.Identity) return guard;

            // Whoever held it has replaced or removed it meanwhile.
            guard.Dispose();
            throw ImageUseError(null);
        }
        catch (HostException e) when (e.Failure == HostFailure.InUse)
        {
            throw ImageUseError(e);
        }
        catch (HostException e)
        {
            throw ErrorOf(e, name, writing: writable && e.Failure != HostFailure.NotFound);
        }
    }

    /// <summary>Locks a bundle that is to be replaced, which needs no right to write to it.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>, or what the host says.</exception>
    public FileStorage OpenGuardToReplace()
    {
        string name = GuardName();
        try
        {
            try
            {
                return FileStorage.Take(
                    System.IO.Path.Combine(Path, name), Root.OpenLocked(name, writable: true, exclusive: true, out _), writable: false);
            }
            catch (HostException e) when (e.Failure is HostFailure.AccessDenied or HostFailure.ReadOnly)
            {
                return FileStorage.Take(
                    System.IO.Path.Combine(Path, name), Root.OpenLocked(name, writable: false, exclusive: true, out _), writable: false);
            }
        }
        catch (HostException e) when (e.Failure == HostFailure.InUse)
        {
            throw AtomicFile.InUse(Path, e);
        }
        catch (HostException e)
        {
            throw ErrorOf(e, name, writing: false);
        }
    }

    /// <summary>
    /// Refuses what was read when the bundle is no longer the one that was opened: somebody replaced or removed it, or put bands in or took
    /// some away. A band that was gone reads as zeros, so that only this tells.
    /// </summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>, or <see cref="ImageErrorId.ImageUnreadable"/>.</exception>
    public void CheckUnchanged()
    {
        try
        {
            using HostDirectory bands = Root.OpenDirectory(SparseBundleFiles.BandsName);
            bool isSame = bands.Stat.Identity == _bandsStat.Identity && bands.Stat.ModifyTime == _bandsStat.ModifyTime;
            if (isSame && (Has(SparseBundleInfo.FileName) || Has(SparseBundleInfo.CopyName))) return;
        }
        catch (HostException e) when (e.Failure != HostFailure.NotFound)
        {
            throw FileErrors.Map(e, Path, writing: false);
        }
        catch (HostException)
        {
            // It was removed: said below.
        }

        throw new ImageException(
            ImageErrorId.ImageInUse, "The bundle was changed or replaced while it was read: what was read is not to be relied on.", Path,
            remedy: "See who writes to it, and run the job again.");
    }

    /// <summary>Refuses to take a band's absence for zeros when it is the folder that is gone.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageUnreadable"/>.</exception>
    public void CheckBandsAreThere()
    {
        try
        {
            if (Root.GetStat(SparseBundleFiles.BandsName).Identity == Bands!.Stat.Identity) return;
        }
        catch (HostException e) when (e.Failure != HostFailure.NotFound)
        {
            throw FileErrors.Map(e, Path, writing: false);
        }
        catch (HostException)
        {
            // Said below.
        }

        throw new ImageException(
            ImageErrorId.ImageUnreadable, "The folder with the bands is gone.", System.IO.Path.Combine(Path, SparseBundleFiles.BandsName),
            remedy: "Check that the disk or the share with the image is connected, and that nobody removes or replaces it.");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Bands?.Dispose();
        Mapped?.Dispose();
        Root.Dispose();
    }

    /// <summary>The error for what the host refused of a file in the bundle.</summary>
    /// <param name="e">What it said.</param>
    /// <param name="place">The name in the bundle.</param>
    /// <param name="writing">Whether it was to be written.</param>
    public ImageException ErrorOf(HostException e, string place, bool writing) =>
        e.Failure is HostFailure.SymbolicLink or HostFailure.NotAFile
        ? new ImageException(
            ImageErrorId.ImageDamaged, $"{e.Message} A bundle holds nothing but files and folders of its own.", Path, place,
            "See who put it there, and restore the image from another copy.", e)
        : FileErrors.Map(e, System.IO.Path.Combine(Path, place), writing);

    private ImageException ImageUseError(HostException? e) => new(
        ImageErrorId.ImageInUse, "Another process has it open.", Path, remedy: "Eject the image or wait until the other job has ended.",
        innerException: e);

    private HostDirectory? OpenFolder(string name)
    {
        try
        {
            HostStat stat = Root.GetStat(name);
            if (stat.Kind != EntryKind.Directory)
                throw ImageException.Damaged(stat.Kind == EntryKind.SymbolicLink ? "This is a symbolic link, not a folder."
                    : "This is not a folder.", name).WithPath(Path);
            return Root.OpenDirectory(name);
        }
        catch (HostException e) when (e.Failure == HostFailure.NotFound)
        {
            return null;
        }
        catch (HostException e)
        {
            throw ErrorOf(e, name, writing: false);
        }
    }

    // What a process that was killed left of a replacement of this file.
    private void RemoveLeftovers(string name)
    {
        var names = new List<string>();
        try
        {
            Root.ReadNames(names, []);
        }
        catch (HostException)
        {
            return;
        }

        foreach (string found in names)
        {
            if (found.StartsWith($".{name}.", StringComparison.Ordinal) && found.EndsWith(PartialFolder.Suffix, StringComparison.Ordinal))
                RemoveQuietly(found);
        }
    }

    private void RemoveQuietly(string name)
    {
        try
        {
            Root.Remove(name);
        }
        catch (HostException)
        {
            // It was never made, or the next replacement removes it.
        }
    }
}
