using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Restoring;

/// <summary>Writes the forks of files.</summary>
/// <param name="tree">Where they come from.</param>
/// <param name="failures">Says what ends the restore.</param>
/// <param name="warnings">Hears of resource forks that the host does not take.</param>
/// <param name="observer">Hears of progress, in bytes.</param>
/// <param name="totalBytes">Bytes of all that is to be restored.</param>
/// <param name="volume">Where it goes, as far as it is known.</param>
/// <param name="cancellation">Ends it.</param>
internal sealed class ContentRestorer(
    SourceTree tree, RestoreFailures failures, RestoreWarnings warnings, IImagingObserver observer, long totalBytes, HostVolume? volume,
    CancellationToken cancellation)
{
    /// <summary>
    /// A piece of this length, at a multiple of it, that is all zeros becomes a hole: images that are encrypted, or written in one piece,
    /// do not tell where the holes were.
    /// </summary>
    public const int HoleSize = 64 << 10;

    /// <summary>The part of such a piece at the end of an extent that is worth a hole.</summary>
    public const int LeastHole = 4 << 10;

    private const int BufferSize = 1 << 20;

    private readonly byte[] _buffer = new byte[BufferSize];
    private readonly bool _makesHoles = volume?.MayHaveHoles ?? true;
    private long _done;

    /// <summary>Bytes of content written so far, holes not counted.</summary>
    public long Bytes { get; private set; }

    /// <summary>Writes a file's content, holes as holes where it tells them.</summary>
    /// <param name="entry">The entry.</param>
    /// <param name="content">Its content.</param>
    /// <param name="file">The new file, open.</param>
    /// <exception cref="UnreadableContentException">The content cannot be read.</exception>
    /// <exception cref="HostException"><see cref="HostFailure.FileTooLarge"/>.</exception>
    public void WriteContent(SourceEntry entry, BlockStorage content, SafeFileHandle file)
    {
        long length = content.Length, written = 0;
        if (length > volume?.MaximumFileSize) throw TooLarge(null);
        using IEnumerator<StorageExtent> extents = content.GetExtents(0, length).GetEnumerator();
        while (FromSource(extents.MoveNext))
        {
            StorageExtent extent = extents.Current;
            if (extent.Kind != ExtentKind.Data) continue;
            for (long offset = extent.Offset; offset < extent.End;)
            {
                cancellation.ThrowIfCancellationRequested();
                int count = (int)Math.Min(_buffer.Length, extent.End - offset);
                FromSource(() =>
                {
                    content.Read(offset, _buffer.AsSpan(0, count));
                    return true;
                });
                if (WriteSolid(entry, file, offset, count) is var end and > 0) written = end;
                offset += count;
                _done += count;
                observer.OnProgress(new("Restoring", _done, totalBytes, "bytes"));
            }
        }

        if (written < length) ToDestination(entry, () => RandomAccess.SetLength(file, length));
    }

    /// <summary>Writes a resource fork, if the entry has one.</summary>
    /// <param name="folder">The folder the file lies in.</param>
    /// <param name="entry">The entry.</param>
    /// <param name="node">The new file.</param>
    /// <exception cref="UnreadableContentException">The fork cannot be read.</exception>
    public void WriteResourceFork(HostDirectory folder, SourceEntry entry, HostNode node)
    {
        if (entry.ResourceForkSize <= 0) return;
        try
        {
            using BlockStorage fork = FromSource(() => tree.OpenFork(entry, ForkKind.Resource));
            for (long offset = 0; offset < fork.Length;)
            {
                cancellation.ThrowIfCancellationRequested();
                int count = (int)Math.Min(_buffer.Length, fork.Length - offset);
                FromSource(() =>
                {
                    fork.Read(offset, _buffer.AsSpan(0, count));
                    return true;
                });
                folder.WriteResourceFork(node, offset, _buffer.AsSpan(0, count), fork.Length);
                offset += count;
            }
        }
        catch (HostException e)
        {
            warnings.Lose("resource forks", () => tree.DisplayPath(entry), e.Message);
        }
    }

    // Writes what was read, long runs of zeros left out. Where the last written byte ends in the file; 0 when there was none.
    private long WriteSolid(SourceEntry entry, SafeFileHandle file, long offset, int count)
    {
        long end = 0;
        int start = 0;
        for (int at = 0; at < count;)
        {
            int piece = (int)Math.Min(count - at, HoleSize - ((offset + at) % HoleSize));
            if (_makesHoles && piece >= LeastHole && !_buffer.AsSpan(at, piece).ContainsAnyExcept((byte)0))
            {
                Write(start, at);
                start = at + piece;
            }

            at += piece;
        }

        Write(start, count);
        return end;

        void Write(int from, int to)
        {
            if (from == to) return;
            ToDestination(entry, () => RandomAccess.Write(file, _buffer.AsSpan(from, to - from), offset + from));
            Bytes += to - from;
            end = offset + to;
        }
    }

    private static T FromSource<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (ImageException e)
        {
            throw new UnreadableContentException(e);
        }
    }

    private void ToDestination(SourceEntry entry, Action write)
    {
        try
        {
            write();
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw TooLarge(e); // so the runtime says it of a length that is set
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            ImageException error = FileErrors.Map(e, failures.HostPathOf(entry), writing: true);
            throw error.Id == ImageErrorId.DestinationFileSizeLimit ? TooLarge(e) : error;
        }
    }

    private static HostException TooLarge(Exception? e) =>
        new(HostFailure.FileTooLarge, "The file system there does not allow a file of this size.", e);
}

/// <summary>The source failed, not the destination: one file is lost, the restore goes on.</summary>
#pragma warning disable CA1064 // It never leaves this folder.
internal sealed class UnreadableContentException(ImageException cause) : Exception(cause.Message, cause);
#pragma warning restore CA1064
