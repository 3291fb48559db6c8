using System.Text;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Names as they lie on disk (decomposed, <c>/</c> and <c>:</c> exchanged) and as a POSIX host shows them (composed).</summary>
internal static class HfsPlusNames
{
    /// <summary>What stands for U+0000, which no host allows in a name: the symbol that macOS shows for it.</summary>
    private const char NulSymbol = '\u2400';

    /// <summary>
    /// The name for a host: composed (NFC), because that is what people type on Linux and Windows, but only where decomposing it again
    /// gives the stored name exactly; otherwise as stored.
    /// </summary>
    /// <param name="stored">UTF-16 units as on disk.</param>
    public static string FromDisk(string stored)
    {
        string name = Exchange(stored);
        if (!stored.AsSpan().ContainsAnyExceptInRange('\u0000', '\u007F')) return name;
        string? composed = Compose(name);
        return composed is not null && HfsPlusUnicode.ToVolumeName(composed) == stored ? composed : name;
    }

    private static string Exchange(string stored) => !stored.AsSpan().ContainsAny('/', ':', '\0')
        ? stored
        : string.Create(stored.Length, stored, static (target, source) =>
        {
            for (int i = 0; i < target.Length; i++) target[i] = source[i] switch { '/' => ':', ':' => '/', '\0' => NulSymbol, char c => c };
        });

    // Characters that HFS+ never decomposes would be changed (the compatibility ideographs): the text between them is composed alone.
    // Null for half a surrogate pair, which has no normalisation form.
    private static string? Compose(string text)
    {
        try
        {
            var result = new StringBuilder(text.Length);
            int start = 0;
            for (int i = 0; i <= text.Length; i++)
            {
                if (i < text.Length && !IsNeverDecomposed(text[i])) continue;
                if (i > start) result.Append(text[start..i].Normalize(NormalizationForm.FormC));
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
