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
/// <param name="maximumFileSize">Bytes that a file can have there, where it is known.</param>
/// <param name="cancellation">Ends it.</param>
internal sealed class ContentRestorer(
    SourceTree tree, RestoreFailures failures, RestoreWarnings warnings, IImagingObserver observer, long totalBytes, long? maximumFileSize, CancellationToken cancellation)
{
    private const int BufferSize = 1 << 20;

    private readonly byte[] _buffer = new byte[BufferSize];

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
        if (length > maximumFileSize) throw TooLarge(null);
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
                ToDestination(entry, () => RandomAccess.Write(file, _buffer.AsSpan(0, count), offset));
                offset += count;
                written = offset;
                Bytes += count;
                observer.OnProgress(new("Restoring", Bytes, totalBytes, "bytes"));
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
            warnings.Lose("resource forks", tree.DisplayPath(entry), e.Message);
        }
    }

    private static T FromSource<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (ImageException e) when (!FileErrors.EndsJob(e))
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

    private static HostException TooLarge(Exception? e) => new(HostFailure.FileTooLarge, "The file system there does not allow a file of this size.", e);
}

/// <summary>The source failed, not the destination: one file is lost, the restore goes on.</summary>
#pragma warning disable CA1064 // It never leaves this folder.
internal sealed class UnreadableContentException(ImageException cause) : Exception(cause.Message, cause);
#pragma warning restore CA1064
