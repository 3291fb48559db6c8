using CCImage.Platform;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Sources;

/// <summary>
/// A file of the source, for reading: without a lock, because it is somebody else's and may be in use, and with the length it had when it
/// was opened: if it becomes shorter meanwhile, zeros stand in for its end, and <see cref="ReadableEnd"/> tells. Holes are known as
/// <see cref="ExtentKind.Zero"/> where the host tells them and is to be believed.
/// </summary>
internal sealed class HostFileStorage : BlockStorage
{
    private readonly SafeFileHandle _file;
    private readonly string _path;
    private readonly Lock _gate = new();
    private long _endMet = long.MaxValue;

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

    /// <summary>Whether holes are what the host calls holes; otherwise all is data, and whoever reads sees the zeros.</summary>
    public bool TrustsHoles { get; init; } = true;

    /// <summary>What is done on the reading thread first.</summary>
    public Action? BeforeRead { get; init; }

    /// <summary>Where a read met the file's end before <see cref="Length"/>, the lowest such place: zeros stood in for what is gone.
    /// Otherwise the length.</summary>
    public long ReadableEnd => Math.Min(Interlocked.Read(ref _endMet), Length);

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        BeforeRead?.Invoke();
        try
        {
            while (!buffer.IsEmpty)
            {
                int count = RandomAccess.Read(_file, buffer, offset);
                if (count == 0)
                {
                    lock (_gate) _endMet = Math.Min(_endMet, offset);
                    buffer.Clear();
                    return;
                }

                buffer = buffer[count..];
                offset += count;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageErrorId.SourceUnreadable, "The file cannot be read.", _path, $"byte {offset}", IsInCloud(e)
                ? MacDirectory.CloudMessage : e.Message, e);
        }
    }

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
    {
        long at = offset, end = offset + length;
        if (!TrustsHoles)
        {
            yield return new(offset, length, ExtentKind.Data);
            yield break;
        }

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

    private static bool IsInCloud(Exception e) => OperatingSystem.IsMacOS() && e.HResult == MacDirectory.Deadlock;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _file.Dispose();
        base.Dispose(disposing);
    }
}
