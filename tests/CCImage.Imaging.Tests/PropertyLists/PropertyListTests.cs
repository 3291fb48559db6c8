using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using CCImage.PropertyLists;

namespace CCImage.Tests.PropertyLists;

public sealed class PropertyListTests
{
    private const string Head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        + "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist "
        + "version=\"1.0\">\n";

    // Made with Python's plistlib (FMT_BINARY) from {"size": 2**40, "neg": -2, "on": True, "data": b"\0\1\2", "list": ["ä", "x"*20, 1.5],
    // "when": 2020-02-03T04:05:06Z}.
    private const string Binary =
        "YnBsaXN0MDDWAQIDBAUGBwgJCgsPVHNpemVTbmVnUm9uVGRhdGFUbGlzdFR3aGVuEwAAAQAAAAAAE//////////+CUMAAQKjDA0OYQDkXxAUeHh4eHh4eHh4eHh4"
        + "eHh4eHh4eHgjP/gAAAAAAAAzQcHz6bkAAAAIFRoeISYrMDlCQ0dLTmVuAAAAAAAAAQEAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAHc=";

    private static readonly string[] SampleFolders = ["bands", "mapped"];

    [Fact]
    public void Every_kind_of_value_comes_back_as_it_was_written()
    {
        var inner = new PropertyListDictionary { { "a<&>", "b \"c\" & d\n  e" }, { "", "" } };
        var list = new PropertyListDictionary
        {
            { "z", long.MinValue + 1 },
            { "a", long.MaxValue },
            { "yes", true },
            { "no", false },
            { "data", Enumerable.Range(0, 200).Select(i => (byte)i).ToArray() },
            { "none", Array.Empty<byte>() },
            { "date", new PropertyListDate(new DateTime(2001, 2, 3, 4, 5, 6, DateTimeKind.Utc)) },
            { "real", new PropertyListReal(0.1) },
            { "array", new PropertyListArray([inner, new PropertyListArray([]), new PropertyListDictionary(), "ü € 😀", "  "]) },
        };

        byte[] written = PropertyListWriter.Write(list);
        PropertyListDictionary read = PropertyListReader.ParseDictionary(written);

        Assert.Equal(list.Select(p => p.Key), read.Select(p => p.Key));
        Assert.Equal(long.MinValue + 1, read.GetInteger("z"));
        Assert.Equal(long.MaxValue, read.GetInteger("a"));
        Assert.True(read.GetBoolean("yes"));
        Assert.False(read.GetBoolean("no"));
        Assert.Equal(list.GetData("data"), read.GetData("data"));
        Assert.Empty(read.GetData("none")!);
        Assert.Equal(list["date"], read["date"]);
        Assert.Equal(list["real"], read["real"]);
        IReadOnlyList<PropertyListNode> array = read.GetArray("array")!;
        Assert.Equal("b \"c\" & d\n  e", ((PropertyListDictionary)array[0]).GetString("a<&>"));
        Assert.Equal(new PropertyListString("ü € 😀"), array[3]);
        Assert.Equal(new PropertyListString("  "), array[4]);
        Assert.Equal(written, PropertyListWriter.Write(read));
    }

    [Fact]
    public void Writes_Apple_style()
    {
        var list = new PropertyListDictionary { { "n", 5 }, { "d", new byte[60] }, { "e", new PropertyListDictionary() } };
        string zeros = new('A', 68);
        Assert.Equal(
            Head + "<dict>\n\t<key>n</key>\n\t<integer>5</integer>\n\t<key>d</key>\n\t<data>\n\t" + zeros + "\n\t" + new string('A', 12)
            + "\n\t</data>\n\t<key>e</key>\n\t<dict/>\n</dict>\n</plist>\n",
            Encoding.UTF8.GetString(PropertyListWriter.Write(list)));
    }

    [Fact]
    public void Reads_binary()
    {
        PropertyListDictionary read = PropertyListReader.ParseDictionary(Convert.FromBase64String(Binary));
        Assert.Equal(1L << 40, read.GetInteger("size"));
        Assert.Equal(-2, read.GetInteger("neg"));
        Assert.True(read.GetBoolean("on"));
        Assert.Equal([0, 1, 2], read.GetData("data"));
        Assert.Equal(
            [new PropertyListString("ä"), new PropertyListString(new string('x', 20)), new PropertyListReal(1.5)], read.GetArray("list"));
        Assert.Equal(new PropertyListDate(new DateTime(2020, 2, 3, 4, 5, 6, DateTimeKind.Utc)), read["when"]);
    }

    [Theory]
    [InlineData("")]
    [InlineData("x")]
    [InlineData("<a/>")]
    [InlineData("<plist/>")]
    [InlineData("<plist></plist>")]
    [InlineData("<plist><dict><key>a</key></dict></plist>")]
    [InlineData("<plist><dict><string>a</string></dict></plist>")]
    [InlineData("<plist><dict>text</dict></plist>")]
    [InlineData("<plist><dict/><dict/></plist>")]
    [InlineData("<plist><dict/>")]
    [InlineData("<plist><integer>12x</integer></plist>")]
    [InlineData("<plist><integer></integer></plist>")]
    [InlineData("<plist><integer>9223372036854775808</integer></plist>")]
    [InlineData("<plist><data>A!</data></plist>")]
    [InlineData("<plist><data>AA<dict/></data></plist>")]
    [InlineData("<plist><date>yesterday</date></plist>")]
    [InlineData("<plist><true>x</true></plist>")]
    [InlineData("<plist><string>a<b/></string></plist>")]
    [InlineData("<!DOCTYPE plist [<!ENTITY a 'b'>]><plist><string>&a;</string></plist>")]
    [InlineData("<!DOCTYPE plist [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><plist><string>&a;</string></plist>")]
    [InlineData("bplist00")]
    public void Refuses_malformed(string text) =>
        Assert.Equal(
            ImageErrorId.ImageDamaged,
            Assert.Throws<ImageException>(() => PropertyListReader.Parse(Encoding.UTF8.GetBytes(text))).Id);

    [Theory]
    [InlineData("FFFE00006400220000000000")] // the mark of UTF-32, and no such characters: refused while the reader is being made
    [InlineData("FFFE0000FFFFFFFF")]
    [InlineData("0000FEFFFFFFFFFF")]
    [InlineData("FFFE3C00003F")]
    [InlineData("EFBBBFFF")]
    [InlineData("")]
    public void Refuses_text_in_no_encoding(string bytes) =>
        Assert.Equal(
            ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => PropertyListReader.Parse(Convert.FromHexString(bytes))).Id);

    [Fact]
    public void Refuses_too_deep_too_many_too_long()
    {
        string Nested(int depth) => "<plist>" + string.Concat(Enumerable.Repeat("<array>", depth))
            + string.Concat(Enumerable.Repeat("</array>", depth)) + "</plist>";
        PropertyListReader.Parse(Encoding.UTF8.GetBytes(Nested(PropertyListReader.MaximumDepth)));
        Refused(Nested(PropertyListReader.MaximumDepth + 1));
        Refused(Nested(200_000));
        Refused("<plist><array>" + string.Concat(Enumerable.Repeat("<true/>", PropertyListReader.MaximumNodes)) + "</array></plist>");
        Refused("<plist><string>" + new string('x', PropertyListReader.MaximumText + 1) + "</string></plist>");

        static void Refused(string text) =>
            Assert.Equal(
                ImageErrorId.ImageDamaged,
                Assert.Throws<ImageException>(() => PropertyListReader.Parse(Encoding.UTF8.GetBytes(text))).Id);
    }

    [Fact]
    public void Refuses_cycles_and_bombs_in_binary()
    {
        // One array that holds itself; then 60 arrays of which each holds the next one fifteen times.
        Refused([0xA1, 0x00], [0]);
        var objects = new List<byte>();
        var offsets = new List<int>();
        for (int i = 0; i < 60; i++)
        {
            offsets.Add(objects.Count);
            objects.Add(0xAE);
            objects.AddRange(Enumerable.Repeat((byte)(i + 1), 14));
        }

        offsets.Add(objects.Count);
        objects.Add(0x09);
        Refused([.. objects], [.. offsets]);

        static void Refused(byte[] objects, int[] offsets)
        {
            var file = new List<byte>("bplist00"u8.ToArray());
            file.AddRange(objects);
            foreach (int offset in offsets)
            {
                file.Add((byte)((offset + 8) >> 8));
                file.Add((byte)((offset + 8) & 0xFF));
            }

            byte[] trailer = new byte[32];
            trailer[6] = 2;
            trailer[7] = 1;
            BinaryPrimitives.WriteInt64BigEndian(trailer.AsSpan(8), offsets.Length);
            BinaryPrimitives.WriteInt64BigEndian(trailer.AsSpan(24), 8 + objects.Length);
            file.AddRange(trailer);
            Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => PropertyListReader.Parse(file.ToArray())).Id);
        }
    }

    [Fact]
    public void Nothing_but_the_typed_error_comes_out_of_damage()
    {
        var random = new Random(7);
        byte[] xml = PropertyListWriter.Write(new() { { "a", 1 }, { "b", new byte[30] }, { "c", new PropertyListArray(["x", true]) } });
        byte[] binary = Convert.FromBase64String(Binary);
        for (int i = 0; i < 4000; i++)
        {
            byte[] copy = (byte[])(i % 2 == 0 ? xml : binary).Clone();
            for (int flips = random.Next(1, 4); flips > 0; flips--) copy[random.Next(copy.Length)] ^= (byte)(1 << random.Next(8));
            if (random.Next(4) == 0) copy = copy[..random.Next(copy.Length)];
            if (MalformedInput.Try(() => PropertyListReader.Parse(copy)) is not { } problem) continue;
            Assert.Equal(ImageErrorId.ImageDamaged, problem.Id);
            Assert.NotNull(problem.Place);
        }
    }

    [CorpusFact]
    public void Every_list_of_Apples_tools_is_written_as_it_was_read()
    {
        int compared = 0;
        foreach (string file in Directory.EnumerateFiles(CorpusLocation.Folder!, "*", SearchOption.AllDirectories)
            .Where(f => !SampleFolders.Contains(Path.GetFileName(Path.GetDirectoryName(f)))))
        {
            byte[]? list = Path.GetFileName(file) is "Info.plist" or "Info.bckup" ? File.ReadAllBytes(file) : ListOfUdif(file);
            if (list is null || file.Contains("balena", StringComparison.Ordinal)) continue; // those are another tool's

            // The first systems named another company in the document type.
            string text = Encoding.UTF8.GetString(list).Replace("-//Apple Computer//DTD", "-//Apple//DTD", StringComparison.Ordinal);
            Assert.Equal(text, Encoding.UTF8.GetString(PropertyListWriter.Write(PropertyListReader.ParseDictionary(list))));
            compared++;
        }

        Assert.True(compared >= 20, $"Only {compared} lists were found.");
    }

    private static byte[]? ListOfUdif(string path)
    {
        using FileStream file = File.OpenRead(path);
        using var content = new MemoryStream();
        if (path.EndsWith(".gz", StringComparison.Ordinal))
        {
            using var unzip = new GZipStream(file, CompressionMode.Decompress);
            unzip.CopyTo(content);
        }
        else if (path.EndsWith(".dmg", StringComparison.Ordinal))
        {
            file.CopyTo(content);
        }

        if (content.Length < 512) return null;
        byte[] bytes = content.ToArray();
        ReadOnlySpan<byte> trailer = bytes.AsSpan(bytes.Length - 512);
        if (!trailer.StartsWith("koly"u8)) return null;
        long offset = BinaryPrimitives.ReadInt64BigEndian(trailer[216..]), length = BinaryPrimitives.ReadInt64BigEndian(trailer[224..]);
        return length == 0 ? null : bytes.AsSpan((int)offset, (int)length).ToArray();
    }
}
