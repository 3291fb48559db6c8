using System.Text;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Names as they lie on disk (decomposed, <c>/</c> and <c>:</c> exchanged) and as a POSIX host shows them (composed).</summary>
internal static class HfsPlusNames
{
    /// <summary>What stands for U+0000, which no host allows in a name: the symbol that macOS shows for it.</summary>
    private const char NulSymbol = '\u2400';

    /// <summary>
    /// The name for a host: composed (NFC), because that is what people type on Linux and Windows, but only where decomposing it again gives the
    /// stored name exactly; otherwise as stored.
    /// </summary>
    /// <param name="stored">UTF-16 units as on disk.</param>
    public static string FromDisk(string stored)
    {
        string name = stored;
        if (stored.AsSpan().ContainsAnyExceptInRange('\u0001', '\u007F'))
        {
            string? composed = Normalize(stored, NormalizationForm.FormC);
            if (composed is not null && Normalize(composed, NormalizationForm.FormD) == stored) name = composed;
        }

        return name.AsSpan().ContainsAny('/', ':', '\0')
            ? string.Create(name.Length, name, static (target, source) =>
            {
                for (int i = 0; i < source.Length; i++) target[i] = source[i] switch { '/' => ':', ':' => '/', '\0' => NulSymbol, char c => c };
            })
            : name;
    }

    // Characters that HFS+ never decomposes would be changed (the compatibility ideographs): the text between them is normalised alone.
    // Null for half a surrogate pair, which has no normalisation form.
    private static string? Normalize(string text, NormalizationForm form)
    {
        try
        {
            var result = new StringBuilder(text.Length);
            int start = 0;
            for (int i = 0; i <= text.Length; i++)
            {
                if (i < text.Length && !IsNeverDecomposed(text[i])) continue;
                if (i > start) result.Append(text[start..i].Normalize(form));
                if (i < text.Length) result.Append(text[i]);
                start = i + 1;
            }

            return result.ToString();
        }
        catch (ArgumentException)
        {
            return null;
        }
    }

    private static bool IsNeverDecomposed(char c) => c is (>= '\u2000' and <= '\u2FFF') or (>= '\uF900' and <= '\uFAFF');
}
