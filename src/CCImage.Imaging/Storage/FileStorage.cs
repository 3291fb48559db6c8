using CCImage.Platform;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Storage;

/// <summary>
/// A file: an image, a band of a bundle. Holes of sparse files are known as <see cref="ExtentKind.Zero"/> where the host tells them.
/// While it is open to be written nobody else can open it by this class, and while it is open to be read nobody can write it (advisory
/// locks on Unix, sharing modes on Windows).
/// </summary>
internal sealed class FileStorage : BlockStorage
{
    private readonly SafeFileHandle _file;
    private readonly bool _writable;
    private long _length;

    private FileStorage(string path, SafeFileHandle file, bool writable)
    {
        (Path, _file, _writable) = (path, file, writable);
        _length = RandomAccess.GetLength(file);
    }

    /// <summary>The file's path as it was given.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public override long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override bool CanWrite => _writable;

    /// <inheritdoc/>
    public override bool CanGrow => _writable;

    /// <summary>Opens an existing file for reading.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="ImageException">Not found, in use, unreadable.</exception>
    public static FileStorage OpenRead(string path) => Open(path, writable: false);

    /// <summary>Opens an existing file for reading and writing, exclusively.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="ImageException">Not found, in use, not writable.</exception>
    public static FileStorage OpenWrite(string path) => Open(path, writable: true);

    /// <summary>Opens an existing file of a folder that is held open; a link is not followed.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="name">A single name.</param>
    /// <param name="path">The file's path, for errors.</param>
    /// <param name="writable">Whether it is to be written; then nobody else may have it open.</param>
    /// <exception cref="HostException">What the host says.</exception>
    public static FileStorage Open(HostDirectory folder, string name, string path, bool writable) =>
        Take(path, folder.OpenLocked(name, writable, exclusive: writable, out _), writable);

    /// <summary>Creates a file in a folder that is held open, for reading and writing, exclusively.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="name">A single name; nothing may have it.</param>
    /// <param name="path">The file's path, for errors.</param>
    /// <param name="mode">Permission bits, of which the process' mask is taken off.</param>
    /// <param name="preallocate">As for <see cref="CreateNew(string, FileMode, long)"/>.</param>
    /// <exception cref="ImageException">What the host says.</exception>
    public static FileStorage CreateNew(HostDirectory folder, string name, string path, uint mode, long preallocate = 0)
    {
        // Asked first: a file system that is told to reserve more than it has takes all there is before it says no,
        // and whoever else writes there meets a full disk in the meantime.
        if (preallocate > 0 && FreeSpaceAt(path) is long free && free < preallocate) throw NoRoomFor(preallocate, path);
        try
        {
            return Take(path, folder.CreateLocked(name, mode, preallocate), writable: true);
        }
        catch (HostException e) when (preallocate > 0 && e.Failure == HostFailure.NoSpace)
        {
            throw NoRoomFor(preallocate, path, e);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, path, writing: true);
        }
    }

    /// <summary>Takes over an open file.</summary>
    /// <param name="path">Its path, for errors.</param>
    /// <param name="file">The file; closed when this fails.</param>
    /// <param name="writable">Whether it is open to be written.</param>
    public static FileStorage Take(string path, SafeFileHandle file, bool writable)
    {
        try
        {
            return new FileStorage(path, file, writable);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Creates a file for reading and writing, exclusively.</summary>
    /// <param name="path">The file.</param>
    /// <param name="mode"><see cref="FileMode.CreateNew"/>: must not exist; others may open or empty an existing one.</param>
    /// <param name="preallocate">Bytes to reserve on the medium; the length stays 0. Where the file system cannot reserve, nothing
    /// happens.</param>
    /// <exception cref="ImageException">It exists, no room, not writable.</exception>
    public static FileStorage CreateNew(string path, FileMode mode = FileMode.CreateNew, long preallocate = 0) =>
        Create(path, mode, preallocate);

    /// <summary>The open file.</summary>
    internal SafeFileHandle Handle => _file;

    /// <summary>How far the last flush came.</summary>
    internal FlushReach FlushReach { get; private set; } = FlushReach.Ordinary;

    /// <summary>
    /// Reads the end of the file back through another handle: on shares, files of another length than what was written have been seen.
    /// </summary>
    /// <param name="file">The same file, opened again by its name.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ChecksumMismatch"/>.</exception>
    public void CheckAsWritten(SafeFileHandle file)
    {
        const int tailLength = 4096;
        try
        {
            long length = Length;
            int count = (int)Math.Min(tailLength, length);
            byte[] written = new byte[count], found = new byte[count];
            long there = RandomAccess.GetLength(file);
            ReadCore(length - count, written);
            if (there == length && RandomAccess.Read(file, found, length - count) == count && written.AsSpan().SequenceEqual(found)) return;
            throw new ImageException(
                ImageErrorId.ChecksumMismatch,
                $"What was written does not read back the same: {there} bytes instead of {length}, or another end.", Path,
                remedy: "Check the share and the network, and write the image again.");
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Path, writing: true);
        }
    }

    /// <summary>Refuses a file that became shorter while it was read: then somebody writes to it.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>; unreadable.</exception>
    public void CheckUnchanged()
    {
        if (_writable) return;
        try
        {
            if (RandomAccess.GetLength(_file) >= Length) return;
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Path, writing: false);
        }

        throw new ImageException(
            ImageErrorId.ImageInUse, "The image was changed while it was read: what was read is not to be relied on.", Path,
            remedy: "See who writes to it, and run the job again.");
    }

    /// <summary>Sets the permission bits. On Windows, and where the file system keeps none, nothing happens.</summary>
    /// <param name="mode">The bits.</param>
    public void SetMode(uint mode)
    {
        if (OperatingSystem.IsWindows()) return;
        try
        {
            if ((uint)File.GetUnixFileMode(_file) != mode) File.SetUnixFileMode(_file, (UnixFileMode)mode);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            // FAT and shares give every file the modes of their mount, and refuse others.
        }
    }

    /// <summary>Cuts the file, or extends it by zeros that take no room where the file system has holes.</summary>
    /// <param name="length">The new length in bytes.</param>
    public void SetLength(long length)
    {
        if (!_writable) throw new NotSupportedException("This storage is read-only.");
        try
        {
            RandomAccess.SetLength(_file, length);
            Volatile.Write(ref _length, length);
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw FileErrors.TooBig(Path, e);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Path, writing: true);
        }
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        if (!_writable) return;
        try
        {
            FlushReach = FileSystemCalls.FlushFile(_file);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Path, writing: true);
        }
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        try
        {
            while (!buffer.IsEmpty)
            {
                int count = RandomAccess.Read(_file, buffer, offset);
                if (count == 0) throw ImageException.Damaged("The file became shorter while it was read.", $"byte {offset}").WithPath(Path);
                buffer = buffer[count..];
                offset += count;
            }
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.MapRead(e, Path, offset);
        }
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        if (offset > long.MaxValue - buffer.Length) throw FileErrors.TooBig(Path, null);
        try
        {
            RandomAccess.Write(_file, buffer, offset);
        }
        catch (ArgumentOutOfRangeException e)
        {
            // The runtime's way to say EFBIG.
            throw FileErrors.TooBig(Path, e);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Path, writing: true);
        }

        long end = offset + buffer.Length, known;
        while ((known = Volatile.Read(ref _length)) < end && Interlocked.CompareExchange(ref _length, end, known) != known)
        {
        }
    }

    /// <summary>
    /// Gives the medium's room under a range back, which reads as zeros afterwards (where the medium was taken, and where it was not). The
    /// file must not have been written since it was opened: Darwin knows holes from what is on the medium.
    /// </summary>
    /// <param name="offset">Where the range begins: a multiple of 4,096.</param>
    /// <param name="length">Bytes of the range, likewise.</param>
    /// <returns>How many bytes were given back; null where the host or its file system cannot do it, and nothing has changed.</returns>
    /// <exception cref="ImageException">What the host says.</exception>
    public long? PunchHole(long offset, long length)
    {
        if (!_writable) throw new NotSupportedException("This storage is read-only.");
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length - offset);
        try
        {
            long punched = 0;
            foreach (StorageExtent extent in Extents(offset, length, holesAreKnown: true))
            {
                if (extent.Kind != ExtentKind.Data) continue;
                if (!FileSystemCalls.PunchHole(_file, extent.Offset, extent.Length)) return null;
                punched += extent.Length;
            }

            return punched;
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, Path, writing: true);
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) =>

        // Darwin knows holes from what is on the medium; of a file that is being written that is too early, and of one that was just
        // written as well.
        Extents(offset, length, holesAreKnown: HostPlatform.Current.TrustsHoles);

    private IEnumerable<StorageExtent> Extents(long offset, long length, bool holesAreKnown)
    {
        long at = offset, end = offset + length;
        while (at < end)
        {
            long hole = holesAreKnown ? FileSystemCalls.NextHole(_file, at) ?? end : end;
            if (hole > at)
            {
                long stop = Math.Min(hole, end);
                yield return new(at, stop - at, ExtentKind.Data);
                at = stop;
            }
            else
            {
                long? data = FileSystemCalls.NextData(_file, at);
                long stop = Math.Min(data ?? end, end);
                if (stop <= at) (stop, data) = (end, null);
                yield return new(at, stop - at, data is null ? ExtentKind.Data : ExtentKind.Zero);
                at = stop;
            }
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            UnixFiles.Unlock(_file);
            _file.Dispose();
        }

        base.Dispose(disposing);
    }

    private static FileStorage Open(string path, bool writable)
    {
        try
        {
            return Take(path, HostPlatform.Current.OpenFile(path, writable, exclusive: writable, out _), writable);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            bool missing = e is HostException { Failure: HostFailure.NotFound or HostFailure.NotADirectory };
            throw FileErrors.Map(e, path, writable && !missing);
        }
    }

    private static FileStorage Create(string path, FileMode mode, long preallocate)
    {
        try
        {
            if (preallocate > 0 && FreeSpaceAt(path) is long free && free < preallocate) throw NoRoomFor(preallocate, path);

            // Unix locks are exclusive for FileShare.None.
            return Take(
                path, File.OpenHandle(path, mode, FileAccess.ReadWrite, FileShare.None, FileOptions.None, preallocate), writable: true);
        }
        catch (IOException e) when (mode == FileMode.CreateNew && File.Exists(path))
        {
            throw new ImageException(
                ImageErrorId.DestinationExists, "A file of this name exists.", path, remedy: "Choose another name, or ask to overwrite.",
                innerException: e);
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            // The runtime gives no code when it cannot reserve: then the free space tells which limit was met.
            ImageException mapped = FileErrors.Map(e, path, writing: true);
            if (preallocate == 0 || mapped.Id != ImageErrorId.DestinationUnwritable || e is UnauthorizedAccessException) throw mapped;
            throw FreeSpaceAt(path) >= preallocate ? FileErrors.TooBig(path, e) : NoRoomFor(preallocate, path, e);
        }
    }

    private static ImageException NoRoomFor(long bytes, string path, Exception? innerException = null) => new(
        ImageErrorId.DestinationFull, $"There is no room for {bytes} bytes.", path,
        remedy: "Free some space, or choose another place.", innerException: innerException);

    /// <summary>Bytes free for this user where a file lies; null when the host does not say.</summary>
    private static long? FreeSpaceAt(string path)
    {
        try
        {
            return new DriveInfo(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!).AvailableFreeSpace;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }
}
