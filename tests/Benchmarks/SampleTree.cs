using System.Text;

namespace CCImage.Benchmarks;

/// <summary>The tree the benchmarks back up: half of its bytes text-like, half random, many small files and some large ones; always the
/// same.</summary>
internal static class SampleTree
{
    /// <summary>Makes the tree, unless it is there already.</summary>
    /// <param name="folder">Where.</param>
    /// <param name="files">How many files.</param>
    /// <param name="totalBytes">Bytes in all files together.</param>
    public static void Make(string folder, int files, long totalBytes)
    {
        string marker = folder + ".complete";
        if (File.Exists(marker)) return;
        if (Directory.Exists(folder)) Directory.Delete(folder, true);
        var random = new Random(20_000);
        long mean = totalBytes / files;
        long remaining = totalBytes;
        byte[] text = MakeText(random, 8 << 20);
        for (int i = 0; i < files; i++)
        {
            // One file in twenty is large and carries four fifths of the bytes: folders of people look like that.
            long size = i == files - 1 ? remaining : i % 20 == 0 ? mean * 16 * random.Next(50, 150) / 100
                : mean / 5 * random.Next(20, 180) / 100;
            size = Math.Clamp(size, 0, remaining);
            remaining -= size;
            string directory = Path.Combine(folder, $"folder {i / 1000:D2}", $"{i / 50 % 20:D2}");
            Directory.CreateDirectory(directory);
            using FileStream file = File.Create(Path.Combine(directory, $"file {i:D5}"));
            WriteContent(file, size, i % 40 is 0 or > 20 ? text : null, random);
        }

        File.WriteAllText(marker, "");
    }

    private static void WriteContent(FileStream file, long size, byte[]? text, Random random)
    {
        byte[] buffer = new byte[1 << 20];
        while (size > 0)
        {
            int count = (int)Math.Min(size, buffer.Length);
            if (text is null) random.NextBytes(buffer.AsSpan(0, count));
            else text.AsSpan(random.Next(text.Length - count), count).CopyTo(buffer);
            file.Write(buffer, 0, count);
            size -= count;
        }
    }

    // Words drawn with falling frequency, as in prose.
    private static byte[] MakeText(Random random, int length)
    {
        string[] words =
            [.. Enumerable.Range(0, 20_000)
                .Select(_ =>
                new string([
                    .. Enumerable.Range(0, random.Next(2, 11)).Select(_ => (char)('a' + (random.Next(26) * random.Next(26) / 26)))]))];
        var text = new StringBuilder(length + 16);
        while (text.Length < length)
        {
            text.Append(words[(int)(words.Length * Math.Pow(random.NextDouble(), 4))]);
            text.Append(random.Next(12) == 0 ? ".\n" : " ");
        }

        return Encoding.ASCII.GetBytes(text.ToString(0, length));
    }
}
