using System.ComponentModel;
using System.Globalization;
using System.Management.Automation;
using CCImage.Diagnostics;

namespace CCImage.Internal;

/// <summary>What the format views need beyond properties. Not for scripts.</summary>
[EditorBrowsable(EditorBrowsableState.Never)]
public static class FormatView
{
    private static readonly string[] Units = ["KB", "MB", "GB", "TB", "PB", "EB"];

    /// <summary>Text from an image as it may go to a terminal: control characters by their numbers. Empty for null.</summary>
    /// <param name="value">A name, a path, a message; a list of them.</param>
    public static string Text(object? value) => value is null ? "" : DisplayText.Escape(
        value is PSObject { BaseObject: not string } or not string && LanguagePrimitives.GetEnumerable(value) is { } list
            ? "{" + string.Join(", ", list.Cast<object>()) + "}" : value.ToString() ?? "");

    /// <summary>A size as people read it, in PowerShell's own units (1 KB = 1,024 bytes): "512 B", "1.5 GB". Empty for null.</summary>
    /// <param name="bytes">A number of bytes, or null; of any integer type, since deserialised objects pass here too.</param>
    public static string Size(object? bytes)
    {
        if (Unwrap(bytes) is not { } number) return "";
        if (Math.Abs(number) < 1024) return string.Create(CultureInfo.CurrentCulture, $"{number} B");
        double value = number;
        int unit = -1;
        // A number that would be shown as 1024 of a unit is shown as 1 of the next.
        while (Math.Abs(value) >= 1023.95 && unit < Units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return value.ToString("0.#", CultureInfo.CurrentCulture) + " " + Units[unit];
    }

    /// <summary>Names and file systems of an image's volumes, or what stands in their way.</summary>
    /// <param name="image">A <see cref="BackupImage"/>, live or deserialised.</param>
    public static string Volumes(PSObject? image)
    {
        if (image is null) return "";
        if (image.Properties["IsLocked"]?.Value is true) return "(locked)";
        return DisplayText.Escape(
            string.Join(", ", LanguagePrimitives.GetEnumerable(image.Properties["Volumes"]?.Value)?.Cast<object>().Select(Volume) ?? []));
    }

    /// <summary>A duration to a tenth of a second, or in hours and minutes when it is long.</summary>
    /// <param name="duration">The duration.</param>
    public static string Duration(TimeSpan duration) => duration < TimeSpan.FromMinutes(1)
        ? string.Create(CultureInfo.CurrentCulture, $"{duration.TotalSeconds:0.0} s")
        : duration.ToString(duration < TimeSpan.FromHours(1) ? @"m\:ss" : @"d\.hh\:mm\:ss", CultureInfo.CurrentCulture);

    private static string Volume(object volume)
    {
        PSPropertyInfo? Property(string name) => PSObject.AsPSObject(volume).Properties[name];
        string name = Property("Name")?.Value as string ?? "";
        return name.Length > 0 ? $"{name} ({Property("Kind")?.Value})" : $"{Property("Kind")?.Value ?? volume}";
    }

    private static long? Unwrap(object? value) => value switch
    {
        null => null,
        PSObject wrapped => Unwrap(wrapped.BaseObject),
        IConvertible number => number.ToInt64(CultureInfo.InvariantCulture),
        _ => null,
    };
}
