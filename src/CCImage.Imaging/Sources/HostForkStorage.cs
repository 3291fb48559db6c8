using CCImage.Platform;
using CCImage.Storage;

namespace CCImage.Sources;

/// <summary>A resource fork of a file of the source.</summary>
/// <param name="fork">The fork; owned.</param>
/// <param name="path">The file's name for people.</param>
internal sealed class HostForkStorage(HostFork fork, string path) : BlockStorage
{
    /// <inheritdoc/>
    public override long Length => fork.Length;

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        try
        {
            while (!buffer.IsEmpty)
            {
                int count = fork.Read(offset, buffer);
                if (count == 0)
                    throw new ImageException(ImageErrorId.SourceUnreadable, "The resource fork became shorter while it was read.", path, $"byte {offset}");
                buffer = buffer[count..];
                offset += count;
            }
        }
        catch (HostException e)
        {
            throw new ImageException(ImageErrorId.SourceUnreadable, "The resource fork cannot be read.", path, $"byte {offset}", e.Message, e);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        fork.Dispose();
        base.Dispose(disposing);
    }
}
