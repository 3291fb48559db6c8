using CCImage.Platform;
using CCImage.Storage;

namespace CCImage.Sources;

/// <summary>A resource fork of a file of the source.</summary>
/// <param name="fork">The fork; owned.</param>
/// <param name="path">The file's name for people.</param>
internal sealed class HostForkStorage(HostFork fork, string path) : BlockStorage
{
    private readonly Lock _gate = new();
    private long _endMet = long.MaxValue;

    /// <inheritdoc/>
    public override long Length => fork.Length;

    /// <summary>Where a read met the fork's end before <see cref="Length"/>, the lowest such place: zeros stood in for what is gone.
    /// Otherwise the length.</summary>
    public long ReadableEnd => Math.Min(Interlocked.Read(ref _endMet), Length);

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        try
        {
            while (!buffer.IsEmpty)
            {
                int count = fork.Read(offset, buffer);
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
        catch (HostException e)
        {
            throw new ImageException(
                ImageErrorId.SourceUnreadable, "The resource fork cannot be read.", path, $"byte {offset}", e.Message, e);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        fork.Dispose();
        base.Dispose(disposing);
    }
}
