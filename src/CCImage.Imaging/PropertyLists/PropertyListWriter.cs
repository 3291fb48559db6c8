using System.Globalization;
using System.Text;
using System.Xml;

namespace CCImage.PropertyLists;

/// <summary>
/// Writes property lists as Core Foundation does, to the byte: tabs, and base64 in lines whose length shrinks with the indentation. That
/// the files of Apple's tools come out the same after reading is tested on real images.
/// </summary>
internal static class PropertyListWriter
{
    private const string Header =
        """
        <?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
        <plist version="1.0">

        """;

    /// <summary>Longest line of base64, indentation included, a tab counting as eight.</summary>
    private const int LineLength = 76;

    /// <summary>Core Foundation indents data by no more tabs than this.</summary>
    private const int MaximumDataIndent = 8;

    /// <summary>Writes a property list.</summary>
    /// <param name="root">The outermost dictionary.</param>
    /// <returns>XML in UTF-8, ending with a line feed.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>: a text holds characters that XML cannot.</exception>
    public static byte[] Write(PropertyListDictionary root)
    {
        var text = new StringBuilder(Header.ReplaceLineEndings("\n"));
        WriteNode(text, root, 0);
        text.Append("</plist>\n");
        return Encoding.UTF8.GetBytes(text.ToString());
    }

    private static void WriteNode(StringBuilder text, PropertyListNode node, int indent)
    {
        if (indent > PropertyListReader.MaximumDepth) throw new InvalidOperationException("The property list is too deep.");
        text.Append('\t', indent);
        switch (node)
        {
            case PropertyListDictionary { Count: 0 }:
                text.Append("<dict/>\n");
                break;
            case PropertyListDictionary dictionary:
                text.Append("<dict>\n");
                foreach ((string key, PropertyListNode value) in dictionary)
                {
                    text.Append('\t', indent + 1).Append("<key>").Append(Escape(key)).Append("</key>\n");
                    WriteNode(text, value, indent + 1);
                }

                text.Append('\t', indent).Append("</dict>\n");
                break;
            case PropertyListArray { Items.Count: 0 }:
                text.Append("<array/>\n");
                break;
            case PropertyListArray array:
                text.Append("<array>\n");
                foreach (PropertyListNode item in array.Items) WriteNode(text, item, indent + 1);
                text.Append('\t', indent).Append("</array>\n");
                break;
            case PropertyListString value:
                text.Append("<string>").Append(Escape(value.Value)).Append("</string>\n");
                break;
            case PropertyListInteger value:
                text.Append(CultureInfo.InvariantCulture, $"<integer>{value.Value}</integer>\n");
                break;
            case PropertyListReal value:
                text.Append(CultureInfo.InvariantCulture, $"<real>{value.Value:R}</real>\n");
                break;
            case PropertyListBoolean value:
                text.Append(value.Value ? "<true/>\n" : "<false/>\n");
                break;
            case PropertyListDate value:
                text.Append(CultureInfo.InvariantCulture, $"<date>{value.Value:yyyy-MM-dd'T'HH:mm:ss'Z'}</date>\n");
                break;
            case PropertyListData value:
                WriteData(text, value.Value, indent);
                break;
            default:
                throw new InvalidOperationException($"A property list cannot hold a {node.GetType().Name}.");
        }
    }

    private static void WriteData(StringBuilder text, byte[] data, int indent)
    {
        int dataIndent = Math.Min(indent, MaximumDataIndent);
        int lineBytes = (LineLength - (8 * dataIndent)) / 4 * 3;
        text.Append("<data>\n");
        for (int start = 0; start < data.Length; start += lineBytes)
        {
            text.Append('\t', dataIndent)
                .Append(Convert.ToBase64String(data, start, Math.Min(lineBytes, data.Length - start)))
                .Append('\n');
        }

        text.Append('\t', indent).Append("</data>\n");
    }

    /// <summary>A text for people as a property list can hold it: each character that XML does not know is U+FFFD.</summary>
    /// <param name="text">Any text, for example a partition's name, in which its map allows everything.</param>
    public static string Presentable(string text) =>
        string.Concat(text.EnumerateRunes().Select(r => r.IsBmp && !XmlConvert.IsXmlChar((char)r.Value) ? Rune.ReplacementChar : r));

    private static string Escape(string value)
    {
        try
        {
            XmlConvert.VerifyXmlChars(value);
        }
        catch (XmlException e)
        {
            throw new ImageException(
                ImageErrorId.InvalidArgument, "A text holds characters that a property list cannot hold.",
                remedy: "Leave control characters out of names.",
                innerException: e);
        }

        return value.Replace("&", "&amp;", StringComparison.Ordinal)
            .Replace("<", "&lt;", StringComparison.Ordinal)
            .Replace(">", "&gt;", StringComparison.Ordinal);
    }
}
