using System.Globalization;
using System.Text;

namespace CCImage.Diagnostics;

/// <summary>
/// Text for people, of which parts are names and values from an image or a folder: what a terminal would obey, or what turns the order of
/// reading, is shown by its number. Objects keep the true text; this is only for what is written to a screen or a log.
/// </summary>
internal static class DisplayText
{
    /// <summary>The text with every control character as <c>\u001B</c>.</summary>
    /// <param name="text">Any text.</param>
    [return: System.Diagnostics.CodeAnalysis.NotNullIfNotNull(nameof(text))]
    public static string? Escape(string? text)
    {
        if (text is null || !NeedsEscape(text)) return text;
        var shown = new StringBuilder(text.Length + 16);
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                // The tags of plane 14 are invisible and can carry text of their own.
                if (c == '\uDB40') Append(c).Append("\\u").Append(((int)text[++i]).ToString("X4", CultureInfo.InvariantCulture));
                else shown.Append(c).Append(text[++i]);
            }
            else if (IsControl(c) || char.IsSurrogate(c))
            {
                Append(c);
            }
            else
            {
                shown.Append(c);
            }
        }

        return shown.ToString();

        StringBuilder Append(char c) => shown.Append("\\u").Append(((int)c).ToString("X4", CultureInfo.InvariantCulture));
    }

    private static bool NeedsEscape(string text)
    {
        foreach (char c in text)
        {
            if (IsControl(c) || char.IsSurrogate(c)) return true;
        }

        return false;
    }

    // C0, DEL and C1 (ESC and CSI among them); separators of lines and paragraphs; what turns the order of reading. Joiners stay: names are
    // written with them.
    private static bool IsControl(char c) =>
        c is < ' ' or (>= '\u007F' and <= '\u009F') or '\u061C' or '\u200E' or '\u200F' or (>= '\u2028' and <= '\u202E')
            or (>= '\u2066' and <= '\u206F') or '\uFEFF' or (>= '\uFFF9' and <= '\uFFFB');
}
