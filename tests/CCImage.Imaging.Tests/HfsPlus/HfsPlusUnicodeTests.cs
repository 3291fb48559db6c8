using System.Buffers.Binary;
using System.Security.Cryptography;
using CCImage.FileSystems.HfsPlus;

namespace CCImage.Tests.HfsPlus;

public class HfsPlusUnicodeTests
{
    // SHA-256 over the images of all 65,536 units as big-endian 16-bit numbers, taken from the case folding table that Apple published
    // with TN1150 (and that stands in its kernel).
    [Fact]
    public void Case_folding_is_that_of_TN1150()
    {
        byte[] images = new byte[2 * 0x10000];
        for (int unit = 0; unit < 0x10000; unit++)
            BinaryPrimitives.WriteUInt16BigEndian(images.AsSpan(2 * unit), HfsPlusUnicode.Fold((char)unit));
        Assert.Equal("b8e22686df0e37d75ab4e0d24c83cf92a5cab407cb6ff722fa54384d6544be46", Convert.ToHexStringLower(SHA256.HashData(images)));
    }

    // SHA-256 over what Apple's kernel makes of every unit by itself, surrogates left out, as big-endian 16-bit numbers. U+2400 decomposes
    // to itself there and becomes NUL one step later, ':' likewise.
    [Fact]
    public void Decomposition_is_that_of_Apples_kernel()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> bytes = stackalloc byte[2];
        for (int unit = 0; unit < 0x10000; unit++)
        {
            if (char.IsSurrogate((char)unit)) continue;
            string result = unit is ':' or 0x2400 ? ((char)unit).ToString() : HfsPlusUnicode.ToVolumeName(((char)unit).ToString());
            foreach (char c in result)
            {
                BinaryPrimitives.WriteUInt16BigEndian(bytes, c);
                hash.AppendData(bytes);
            }
        }

        Assert.Equal("f8fc97edfb04675a62e021741a19a831811ddcf467b3723311ae979090db40f5", Convert.ToHexStringLower(hash.GetHashAndReset()));
    }

    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("a:b", "a/b")]
    [InlineData("é:", "e\u0301/")]
    [InlineData("ệ", "e\u0323\u0302")]
    [InlineData("각", "\u1100\u1161\u11A8")]
    [InlineData("가", "\u1100\u1161")]
    [InlineData("e\u0302\u0323", "e\u0323\u0302")] // marks in canonical order
    [InlineData("a\u0301\u0300", "a\u0301\u0300")] // of one class: as they come
    [InlineData("\u0344", "\u0308\u0301")]
    [InlineData("a\u0344\u0323", "a\u0308\u0323\u0301")] // a decomposed mark starts a run of its own, as in Apple's kernel
    [InlineData("\u2126\u212B", "\u2126\u212B")] // Ohm and Ångström signs stay: U+2000..U+2FFF
    [InlineData("\uF900\uFA30", "\uF900\uFA30")]
    [InlineData("\u2400", "\0")]
    [InlineData("\u1B06", "\u1B06")] // Balinese, composed since Unicode 5.0: too late
    [InlineData("😀é", "😀e\u0301")]
    public void Names_are_decomposed(string host, string volume) => Assert.Equal(volume, HfsPlusUnicode.ToVolumeName(host));

    [Theory]
    [InlineData("a", "A", 0)]
    [InlineData("a", "b", -1)]
    [InlineData("B", "a", 1)]
    [InlineData("ab", "a", 1)]
    [InlineData("a\u200Db", "AB", 0)] // a joiner is ignorable
    [InlineData("\u200D", "", 0)]
    [InlineData("\0", "\uFFFE", 1)] // NUL comes last
    [InlineData("Ω", "ω", 0)]
    [InlineData("Ⅷ", "ⅷ", 0)]
    [InlineData("ß", "ss", 1)]
    public void Names_compare_in_the_order_of_TN1150(string left, string right, int expected)
    {
        Assert.Equal(expected, HfsPlusUnicode.CompareFolded(left, right));
        Assert.Equal(-expected, HfsPlusUnicode.CompareFolded(right, left));
    }
}
