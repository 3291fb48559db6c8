using System.Text;

namespace CCImage.Tests.Compression;

/// <summary>Blocks of known character.</summary>
internal static class BlockSamples
{
    /// <summary>Words in no order: compresses to about a third.</summary>
    public static byte[] Text(int length, int seed)
    {
        var random = new Random(seed);
        var text = new StringBuilder(length + 16);
        string[] words =
            [.. Enumerable.Range(0, 800)
                .Select(_ => new string([.. Enumerable.Range(0, random.Next(2, 9)).Select(_ => (char)('a' + random.Next(26)))]))];
        while (text.Length < length) text.Append(words[random.Next(words.Length)]).Append(random.Next(12) == 0 ? ".\n" : " ");
        return Encoding.ASCII.GetBytes(text.ToString(0, length));
    }

    /// <summary>Does not compress.</summary>
    public static byte[] Random(int length, int seed)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
