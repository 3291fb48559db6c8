using CCImage.Sources;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>The dates of HFS+: seconds since 1904-01-01 UTC in 32 bits, 0 for none, ending in February 2040.</summary>
internal static class HfsPlusTime
{
    /// <summary>To a point in time; 0 is <see cref="UnixTime.None"/>.</summary>
    /// <param name="date">The field.</param>
    public static UnixTime ToUnix(uint date) =>
        date == 0 ? UnixTime.None : UnixTime.FromSeconds(date - HfsPlusConstants.EpochOffsetSeconds);
}
