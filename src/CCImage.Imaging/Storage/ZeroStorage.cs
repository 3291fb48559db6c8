namespace CCImage.Storage;

/// <summary>Nothing but zeros, of any length, without taking any room.</summary>
/// <param name="length">Bytes.</param>
/// <param name="kind">Whether the zeros mean something (<see cref="ExtentKind.Zero"/>) or belong to nobody
/// (<see cref="ExtentKind.Unused"/>).</param>
public sealed class ZeroStorage(long length, ExtentKind kind = ExtentKind.Zero) : BlockStorage
{
    /// <inheritdoc/>
    public override long Length => length;

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer) => buffer.Clear();

    /// <inheritdoc/>
    protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) => [new(offset, length, kind)];
}
