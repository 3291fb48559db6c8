using System.Globalization;
using System.Text;
using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <summary>
/// The record of zeros in <c>Info.plist</c>: a text of ranges <c>first+count</c>, in sectors of 512 bytes and hexadecimal, with spaces
/// between them; empty where everything in use is stored. Apple's tools pass over keys they do not know.
/// </summary>
internal static class SparseBundleZeros
{
    /// <summary>The key.</summary>
    public const string Key = "ccimage-zeros";

    private const int SectorSize = 512;
    private const int MostRanges = 8192;

    /// <summary>Writes a record.</summary>
    /// <param name="zeros">The ranges: ascending, not overlapping. What is no whole sector of them is left out.</param>
    /// <returns>Null when there are too many.</returns>
    public static string? Format(IReadOnlyList<StorageExtent> zeros)
    {
        if (zeros.Count > MostRanges) return null;
        var text = new StringBuilder();
        foreach (StorageExtent range in zeros)
        {
            long first = (range.Offset + SectorSize - 1) / SectorSize, end = range.End / SectorSize;
            if (end <= first) continue;
            if (text.Length > 0) text.Append(' ');
            text.Append(CultureInfo.InvariantCulture, $"{first:x}+{end - first:x}");
        }

        return text.ToString();
    }

    /// <summary>Reads a record.</summary>
    /// <param name="record">The text, or null.</param>
    /// <returns>The ranges, ascending and not overlapping; null without a record, or with one that makes no sense: a record is evidence,
    /// never needed for reading.</returns>
    public static IReadOnlyList<StorageExtent>? Parse(string? record)
    {
        if (record is null || record.Length > MostRanges * 34) return null;
        var zeros = new List<StorageExtent>();
        long end = 0;
        foreach (string range in record.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] parts = range.Split('+');
            if (parts.Length != 2 || !TryRead(parts[0], out long first) || !TryRead(parts[1], out long count)) return null;
            if (first * SectorSize < end || count == 0) return null;
            zeros.Add(new(first * SectorSize, count * SectorSize, ExtentKind.Zero));
            end = (first + count) * SectorSize;
        }

        return zeros;

        static bool TryRead(string text, out long value) =>
            long.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value) && value is >= 0 and < 1L << 52;
    }
}
