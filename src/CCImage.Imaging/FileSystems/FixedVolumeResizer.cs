using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>A volume that keeps its size in any window it fits.</summary>
/// <param name="volume">The volume; its capacity is all it occupies, from the start of its window.</param>
internal sealed class FixedVolumeResizer(FileSystemVolume volume) : VolumeResizer
{
    /// <inheritdoc/>
    public override long LeastLength => volume.CapacityBytes;

    /// <inheritdoc/>
    public override string WhyNotLess => "FAT and exFAT volumes are not made smaller";

    /// <inheritdoc/>
    public override VolumeResizePlan PlanFor(long length) => new Plan { Obstacle = "FAT and exFAT volumes keep their size." };

    private sealed class Plan : VolumeResizePlan
    {
        /// <inheritdoc/>
        public override long BytesMoved => 0;

        /// <inheritdoc/>
        public override bool IsEmpty => true;

        /// <inheritdoc/>
        public override void Write(BlockStorage window, Action<long> onMoved, CancellationToken cancellation)
        {
        }
    }
}
