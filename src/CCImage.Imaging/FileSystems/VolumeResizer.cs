using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>Fits the volume in a window of a disk to another length of that window. Judged and planned from metadata, before anything is
/// written.</summary>
internal abstract class VolumeResizer
{
    /// <summary>Bytes of the shortest window the volume fits when what is in the way is moved; of a volume that does not shrink, of its
    /// window now.</summary>
    public abstract long LeastLength { get; }

    /// <summary>Why it is not less: half a sentence.</summary>
    public abstract string WhyNotLess { get; }

    /// <summary>What the volume will be in a window of another length.</summary>
    /// <param name="length">Bytes of the window.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.CapacityTooSmall"/>: what is in use does not fit, or there is no room for
    /// what a larger volume needs.</exception>
    public abstract VolumeResizePlan PlanFor(long length);
}

/// <summary>How a volume gets another length; nothing is left to be decided.</summary>
internal abstract class VolumeResizePlan
{
    /// <summary>Why the volume keeps its size in the longer window, as a sentence, so that somebody else has to extend it; null where it
    /// does not.</summary>
    public string? Obstacle { get; init; }

    /// <summary>Bytes of contents and structures that are written to another place, because their own is in the way.</summary>
    public abstract long BytesMoved { get; }

    /// <summary>Whether the volume is already what it is to be, and nothing is left to be finished.</summary>
    public abstract bool IsEmpty { get; }

    /// <summary>Resizes the volume, durably. Every prefix of the writes is a volume of the old or the new length, with all its
    /// files.</summary>
    /// <param name="window">The window: the longer one of before and after.</param>
    /// <param name="onMoved">Hears how many bytes have been moved, often.</param>
    /// <param name="cancellation">Ends it before the volume has changed: then it is as it was.</param>
    public abstract void Write(BlockStorage window, Action<long> onMoved, CancellationToken cancellation);
}
