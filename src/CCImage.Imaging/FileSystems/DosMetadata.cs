using CCImage.Sources;

namespace CCImage.FileSystems;

/// <summary>What FAT and exFAT keep of a file in the same form. Sources: docs/formats/fat.md, docs/formats/exfat.md.</summary>
internal static class DosMetadata
{
    /// <summary>Attribute: not to be written.</summary>
    public const ushort ReadOnly = 0x01;

    /// <summary>Attribute: not to be shown.</summary>
    public const ushort Hidden = 0x02;

    /// <summary>Attribute: a directory.</summary>
    public const ushort Directory = 0x10;

    private const uint UserHidden = 0x8000; // sys/stat.h: UF_HIDDEN

    /// <summary>Whether a host can have a file of that name.</summary>
    /// <param name="name">The name.</param>
    public static bool IsName(string name) => name.Length > 0 && name is not ("." or "..") && !name.AsSpan().ContainsAny('/', '\0');

    /// <summary>Permissions, as systems show them that know owners.</summary>
    /// <param name="attributes">The attributes.</param>
    // 0755, 0444, 0644
    public static uint ModeOf(ushort attributes) => (attributes & Directory) != 0 ? 0x1EDu : (attributes & ReadOnly) != 0 ? 0x124u : 0x1A4u;

    /// <summary>BSD flags.</summary>
    /// <param name="attributes">The attributes.</param>
    public static uint FlagsOf(ushort attributes) => (attributes & Hidden) != 0 ? UserHidden : 0;

    /// <summary>A time; none where the fields have no meaning.</summary>
    /// <param name="date">Years since 1980, month and day.</param>
    /// <param name="time">Hour, minute, and half of the second.</param>
    /// <param name="hundredths">Of a second, to be added; up to 199.</param>
    /// <param name="offset">What it is ahead of UTC; null for this machine's local time.</param>
    public static UnixTime TimeOf(ushort date, ushort time, byte hundredths = 0, TimeSpan? offset = null)
    {
        int year = 1980 + (date >> 9), month = (date >> 5) & 15, day = date & 31, hour = time >> 11, minute = (time >> 5) & 63,
            second = (time & 31) * 2;
        if (month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth(year, month) || hour > 23 || minute > 59 || second > 58
            || hundredths > 199) return UnixTime.None;
        var local = new DateTime(year, month, day, hour, minute, second, DateTimeKind.Utc);
        return UnixTime.From(
            new DateTimeOffset(
            local.AddMilliseconds(
            hundredths * 10) - (offset ?? TimeZoneInfo.Local.GetUtcOffset(DateTime.SpecifyKind(local, DateTimeKind.Unspecified)))));
    }
}
