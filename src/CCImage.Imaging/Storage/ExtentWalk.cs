namespace CCImage.Storage;

/// <summary>Walks over all extents of a storage without having it list them all at once.</summary>
internal static class ExtentWalk
{
    /// <summary>
    /// The extents of a whole storage, asked for in slices that grow while they hold little: a disk of exbibytes with nothing on it is a
    /// few questions, and none of many small extents is a list of millions.
    /// </summary>
    /// <param name="source">The storage.</param>
    /// <param name="cancellation">Ends the walk.</param>
    /// <exception cref="InvalidOperationException">The storage breaks the contract of <see cref="BlockStorage.GetExtents"/>.</exception>
    public static IEnumerable<StorageExtent> Of(BlockStorage source, CancellationToken cancellation)
    {
        long at = 0, slice = 1L << 30, length = source.Length;
        while (at < length)
        {
            cancellation.ThrowIfCancellationRequested();
            long end = at + Math.Min(slice, length - at);
            int count = 0;
            foreach (StorageExtent extent in source.GetExtents(at, end - at))
            {
                if (extent.Offset != at || extent.Length <= 0 || extent.Length > end - at)
                    throw new InvalidOperationException($"{source.GetType().Name} lists an extent {extent} where one at {at} is due.");
                yield return extent;
                at = extent.End;
                count++;
            }

            if (at != end) throw new InvalidOperationException($"{source.GetType().Name} lists no extents from {at} to {end}.");
            if (count < 1000 && slice < 1L << 60) slice *= 2;
            else if (count > 10_000 && slice > 1 << 20) slice /= 2;
        }
    }
}
