using System.Globalization;
using System.Text;
using System.Xml;

namespace CCImage.PropertyLists;

/// <summary>
/// Reads property lists, XML and binary, that nobody vouches for: no entities, no document type is followed, and size, depth, number of
/// values and length of a text are limited.
/// </summary>
internal static class PropertyListReader
{
    /// <summary>Most bytes of a property list.</summary>
    public const int MaximumBytes = 64 << 20;

    /// <summary>Most levels of dictionaries and arrays in each other.</summary>
    public const int MaximumDepth = 64;

    /// <summary>Most values in a property list; ours have a few thousand at most.</summary>
    public const int MaximumNodes = 500_000;

    /// <summary>Most characters of a key or string.</summary>
    public const int MaximumText = 1 << 20;

    /// <summary>Reads a property list.</summary>
    /// <param name="bytes">XML in any Unicode encoding, or binary (<c>bplist00</c>).</param>
    /// <returns>The outermost value.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>: not a property list, or beyond the limits.</exception>
    public static PropertyListNode Parse(byte[] bytes)
    {
        if (bytes.Length > MaximumBytes)
            throw Damaged($"The property list has {bytes.Length} bytes; at most {MaximumBytes} are read.", "byte 0");
        if (BinaryPropertyListReader.IsMatch(bytes)) return new BinaryPropertyListReader(bytes).Read();
        var settings = new XmlReaderSettings
        {
            DtdProcessing = DtdProcessing.Ignore,
            XmlResolver = null,
            IgnoreComments = true,
            IgnoreProcessingInstructions = true,
            MaxCharactersInDocument = MaximumBytes,
        };
        using var stream = new MemoryStream(bytes, writable: false);
        XmlReader? xml = null;
        try
        {
            xml = XmlReader.Create(stream, settings); // reads the first bytes already
            return new XmlParser(xml).ReadDocument();
        }
        catch (Exception e) when (
            e is XmlException or FormatException or DecoderFallbackException or ArgumentException or InvalidOperationException)
        {
            throw Damaged("The property list is not well-formed XML: " + e.Message, XmlParser.Place(xml), e);
        }
        finally
        {
            xml?.Dispose();
        }
    }

    /// <inheritdoc cref="Parse(byte[])"/>
    public static PropertyListNode Parse(ReadOnlySpan<byte> bytes) => bytes.Length > MaximumBytes
        ? throw Damaged($"The property list has {bytes.Length} bytes; at most {MaximumBytes} are read.", "byte 0")
        : Parse(bytes.ToArray());

    /// <summary>Reads a property list whose outermost value must be a dictionary.</summary>
    /// <param name="bytes">The property list.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static PropertyListDictionary ParseDictionary(byte[] bytes) =>
        Parse(bytes) as PropertyListDictionary ?? throw Damaged("The property list is not a dictionary.", "its outermost value");

    internal static ImageException Damaged(string message, string place, Exception? inner = null) =>
        ImageException.Damaged(message, "property list, " + place, inner);

    /// <summary>One document. Recursion is bounded by <see cref="MaximumDepth"/>.</summary>
    private sealed class XmlParser(XmlReader xml)
    {
        private readonly char[] _buffer = new char[4096];
        private int _nodes;

        public static string Place(XmlReader? xml) => xml is IXmlLineInfo line
            ? string.Create(CultureInfo.InvariantCulture, $"line {line.LineNumber}, column {line.LinePosition}")
            : "line 1";

        public PropertyListNode ReadDocument()
        {
            if (xml.MoveToContent() != XmlNodeType.Element || xml.LocalName != "plist") throw Bad("The document is not a property list.");
            if (xml.IsEmptyElement) throw Bad("The property list is empty.");
            xml.Read();
            PropertyListNode root = ReadValue(1);
            if (xml.MoveToContent() != XmlNodeType.EndElement) throw Bad("The property list holds more than one value.");
            xml.Read();
            if (xml.MoveToContent() != XmlNodeType.None) throw Bad("Something follows the property list.");
            return root;
        }

        /// <summary>Reads the element at the reader and leaves the reader behind it.</summary>
        private PropertyListNode ReadValue(int depth)
        {
            if (xml.MoveToContent() != XmlNodeType.Element) throw Bad("A value is missing.");
            if (++_nodes > MaximumNodes) throw Bad($"The property list holds more than {MaximumNodes} values.");
            switch (xml.LocalName)
            {
                case "dict":
                    return ReadDictionary(depth);
                case "array":
                    return ReadArray(depth);
                case "string":
                    return new PropertyListString(ReadText());
                case "integer":
                    return ReadInteger();
                case "real":
                    string real = ReadText().Trim();
                    return double.TryParse(real, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
                        ? new PropertyListReal(number)
                        : throw Bad("A real number cannot be read.");
                case "true":
                case "false":
                    bool value = xml.LocalName == "true";
                    if (ReadText().Length != 0) throw Bad("A Boolean has content.");
                    return value;
                case "date":
                    return DateTime.TryParseExact(
                        ReadText().Trim(), "yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture,
                        DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out DateTime date)
                        ? new PropertyListDate(date)
                        : throw Bad("A date cannot be read.");
                case "data":
                    return new PropertyListData(ReadData());
                default:
                    throw Bad($"The element '{Clip(xml.LocalName)}' is none of a property list.");
            }
        }

        private PropertyListDictionary ReadDictionary(int depth)
        {
            var dictionary = new PropertyListDictionary();
            if (!EnterContainer(depth)) return dictionary;
            while (xml.MoveToContent() == XmlNodeType.Element)
            {
                if (xml.LocalName != "key") throw Bad("A key is missing in a dictionary.");
                string key = ReadText();

                // As Core Foundation does it, the last of several equal keys counts.
                dictionary[key] = ReadValue(depth + 1);
            }

            LeaveContainer();
            return dictionary;
        }

        private PropertyListArray ReadArray(int depth)
        {
            var items = new List<PropertyListNode>();
            if (!EnterContainer(depth)) return new PropertyListArray(items);
            while (xml.MoveToContent() == XmlNodeType.Element) items.Add(ReadValue(depth + 1));
            LeaveContainer();
            return new PropertyListArray(items);
        }

        private bool EnterContainer(int depth)
        {
            if (depth > MaximumDepth) throw Bad($"The property list is more than {MaximumDepth} levels deep.");
            bool empty = xml.IsEmptyElement;
            xml.Read();
            return !empty;
        }

        private void LeaveContainer()
        {
            if (xml.NodeType != XmlNodeType.EndElement) throw Bad("Text stands where a value is expected.");
            xml.Read();
        }

        private PropertyListInteger ReadInteger()
        {
            ReadOnlySpan<char> text = ReadText().AsSpan().Trim();
            bool negative = text.StartsWith('-');
            ReadOnlySpan<char> digits = text.StartsWith('-') || text.StartsWith('+') ? text[1..] : text;
            bool hexadecimal = digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
            NumberStyles style = hexadecimal ? NumberStyles.AllowHexSpecifier : NumberStyles.None;
            if (!ulong.TryParse(hexadecimal ? digits[2..] : digits, style, CultureInfo.InvariantCulture, out ulong magnitude))
                throw Bad("An integer cannot be read.");
            if (magnitude > long.MaxValue) throw Bad("An integer does not fit into 64 bits.");
            return new PropertyListInteger(negative ? -(long)magnitude : (long)magnitude);
        }

        /// <summary>Reads the text of the element and leaves the reader behind its end. In pieces, so that no text outgrows its limit
        /// unseen.</summary>
        private string ReadText()
        {
            if (xml.IsEmptyElement)
            {
                xml.Read();
                return "";
            }

            // White space alone is content here, too.
            var text = new StringBuilder();
            xml.Read();
            while (xml.NodeType is XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.Whitespace or XmlNodeType.SignificantWhitespace)
            {
                int count;
                while ((count = xml.ReadValueChunk(_buffer, 0, _buffer.Length)) > 0)
                {
                    if (text.Length + count > MaximumText) throw Bad($"A text has more than {MaximumText} characters.");
                    text.Append(_buffer, 0, count);
                }

                xml.Read();
            }

            if (xml.NodeType != XmlNodeType.EndElement) throw Bad("An element stands where text is expected.");
            xml.Read();
            return text.ToString();
        }

        private byte[] ReadData()
        {
            if (xml.IsEmptyElement)
            {
                xml.Read();
                return [];
            }

            // Leaves the reader behind the end element by itself when it returns 0.
            using var data = new MemoryStream();
            byte[] buffer = new byte[4096];
            int count;
            while ((count = xml.ReadElementContentAsBase64(buffer, 0, buffer.Length)) > 0) data.Write(buffer, 0, count);
            return data.ToArray();
        }

        private ImageException Bad(string message) => Damaged(message, Place(xml));

        private static string Clip(string name) => name.Length <= 40 ? name : name[..40] + "…";
    }
}
