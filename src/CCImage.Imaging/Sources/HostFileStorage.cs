using CCImage.Platform;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Sources;

/// <summary>
/// A file of the source, for reading: without a lock, because it is somebody else's and may be in use, and with the length it had when it was
/// opened: if it becomes shorter meanwhile, zeros stand in for its end. Holes are known as <see cref="ExtentKind.Zero"/> where the host tells them.
/// </summary>
internal sealed class HostFileStorage : BlockStorage
{
    private readonly SafeFileHandle _file;
    private readonly string _path;

    /// <summary>Takes over an open file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="path">Its name for people.</param>
    public HostFileStorage(SafeFileHandle file, string path)
    {
        (_file, _path) = (file, path);
        Length = RandomAccess.GetLength(file);
    }

    /// <inheritdoc/>
    public override long Length { get; }

    /// <summary>The open file, to ask the host about it.</summary>
    public SafeFileHandle Handle => _file;

    /// <summary>Whether a read met the file's end before <see cref="Length"/>: zeros stand in for what is gone.</summary>
    public bool BecameShorter { get; private set; }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        try
        {
            while (!buffer.IsEmpty)
            {
                int count = RandomAccess.Read(_file, buffer, offset);
                if (count == 0)
                {
                    BecameShorter = true;
                    buffer.Clear();
                    return;
                }

                buffer = buffer[count..];
                offset += count;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageErrorId.SourceUnreadable, "The file cannot be read.", _path, $"byte {offset}", e.Message, e);
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        long at = offset, end = offset + length;
        while (at < end)
        {
            long hole = FileSystemCalls.NextHole(_file, at) ?? end;
            long stop = Math.Min(hole, end);
            if (hole > at)
            {
                yield return new(at, stop - at, ExtentKind.Data);
                at = stop;
                continue;
            }

            long? data = FileSystemCalls.NextData(_file, at);
            stop = Math.Min(data ?? end, end);

            // A file that changes may answer anything: then it is all data.
            bool isHole = data is not null && stop > at;
            if (!isHole) stop = end;
            yield return new(at, stop - at, isHole ? ExtentKind.Zero : ExtentKind.Data);
            at = stop;
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _file.Dispose();
        base.Dispose(disposing);
    }
}
