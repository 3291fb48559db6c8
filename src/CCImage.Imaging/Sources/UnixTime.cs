namespace CCImage.Sources;

/// <summary>A point in time as nanoseconds since 1970-01-01 UTC (1677 to 2262), the finest any host here keeps.</summary>
/// <param name="Nanoseconds">Nanoseconds since the epoch.</param>
public readonly record struct UnixTime(long Nanoseconds) : IComparable<UnixTime>
{
    /// <summary>Nanoseconds in a second.</summary>
    public const long NanosecondsPerSecond = 1_000_000_000;

    /// <summary>No time known.</summary>
    public static UnixTime None => new(long.MinValue);

    /// <summary>Whether a time is known.</summary>
    public bool IsKnown => Nanoseconds != long.MinValue;

    /// <summary>Whole seconds since the epoch, rounded down.</summary>
    public long Seconds => Math.DivRem(Nanoseconds, NanosecondsPerSecond, out long rest) - (rest < 0 ? 1 : 0);

    /// <summary>From seconds and nanoseconds; what lies outside the range is clamped.</summary>
    /// <param name="seconds">Seconds since the epoch.</param>
    /// <param name="nanoseconds">0 to 999,999,999.</param>
    public static UnixTime FromSeconds(long seconds, long nanoseconds = 0) =>
        new((long)Int128.Clamp(((Int128)seconds * NanosecondsPerSecond) + nanoseconds, long.MinValue + 1, long.MaxValue));

    /// <summary>From a date.</summary>
    /// <param name="value">The date.</param>
    public static UnixTime From(DateTimeOffset value) =>
        FromSeconds(Math.DivRem(value.UtcTicks - DateTimeOffset.UnixEpoch.Ticks, TimeSpan.TicksPerSecond, out long rest), rest * 100);

    /// <summary>As a date, to 100 ns, rounded down.</summary>
    public DateTimeOffset ToDateTimeOffset() =>
        DateTimeOffset.UnixEpoch.AddTicks(Math.DivRem(Nanoseconds, 100, out long rest) - (rest < 0 ? 1 : 0));

    /// <inheritdoc/>
    public int CompareTo(UnixTime other) => Nanoseconds.CompareTo(other.Nanoseconds);

    /// <summary>Earlier than.</summary>
    public static bool operator <(UnixTime left, UnixTime right) => left.Nanoseconds < right.Nanoseconds;

    /// <summary>Later than.</summary>
    public static bool operator >(UnixTime left, UnixTime right) => left.Nanoseconds > right.Nanoseconds;

    /// <summary>Not later than.</summary>
    public static bool operator <=(UnixTime left, UnixTime right) => left.Nanoseconds <= right.Nanoseconds;

    /// <summary>Not earlier than.</summary>
    public static bool operator >=(UnixTime left, UnixTime right) => left.Nanoseconds >= right.Nanoseconds;
}
