using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace CCImage.Tests.EndToEnd;

/// <summary>What somebody else's reader says a file is.</summary>
/// <param name="Type">Letter of the type: r, d, l, p, c, b, h.</param>
/// <param name="Permissions">Nine letters, as <c>ls</c> shows them (s and t included).</param>
/// <param name="UserId">Owner.</param>
/// <param name="GroupId">Group.</param>
/// <param name="Size">Bytes.</param>
/// <param name="ModifySeconds">Seconds since 1970.</param>
/// <param name="Inode">The reader's handle.</param>
internal sealed record ForeignEntry(char Type, string Permissions, uint UserId, uint GroupId, long Size, long ModifySeconds, string Inode);

/// <summary>Readers that are not ours: 7-Zip, The Sleuth Kit, qemu and a decoder in Python.</summary>
internal static class ForeignReaders
{
    /// <summary>Where the partition begins in images of ours, in sectors.</summary>
    public const int PartitionSector = 40;

    /// <summary>Decodes an image to a raw disk without our own code.</summary>
    public static void Decode(string image, BackupImageFormat format, string raw)
    {
        switch (format)
        {
            case BackupImageFormat.Sparse or BackupImageFormat.SparseBundle:
                Oracle.RunForBytes("python3", Path.Combine(Oracle.Folder, "decode_sparse.py"), image, raw);
                break;
            case BackupImageFormat.ReadWrite:
                File.Copy(image, raw);
                break;
            default:
                Oracle.RunForBytes("qemu-img", "convert", "-f", "dmg", "-O", "raw", image, raw);
                break;
        }
    }

    /// <summary>Lets 7-Zip check the checksums of a UDIF; the least warning is a failure.</summary>
    public static void TestUdif(string image)
    {
        (int exitCode, string output, string error) = Oracle.Run("7z", "t", "-tdmg", image);
        Assert.True(exitCode == 0, output + error);
        Assert.DoesNotContain("warning", output + error, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("Everything is Ok", output, StringComparison.Ordinal);
    }

    /// <summary>Lists the tree with The Sleuth Kit: path to entry, names composed (NFC).</summary>
    public static Dictionary<string, ForeignEntry> List(string raw)
    {
        byte[] output =
            Oracle.RunForBytes(
                "fls", "-o", PartitionSector.ToString(CultureInfo.InvariantCulture), "-f", "hfs", "-r", "-p", "-m", "/", raw);
        var result = new Dictionary<string, ForeignEntry>();
        foreach (string line in Encoding.UTF8.GetString(output).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            // MD5|name|inode|mode|uid|gid|size|atime|mtime|ctime|crtime; a name may hold anything, so count from the end.
            string[] cells = line.Split('|');
            string name = string.Join('|', cells[1..^9]).TrimStart('/');
            int link = name.IndexOf(" -> ", StringComparison.Ordinal);
            if (link >= 0) name = name[..link];
            if (name.StartsWith('$') || name.StartsWith('^') || name.Contains("HFS+ Private", StringComparison.Ordinal)) continue;
            if (name.EndsWith("-rsrc", StringComparison.Ordinal) || name.StartsWith(".journal", StringComparison.Ordinal)
                || name.Contains("Private Directory Data", StringComparison.Ordinal)) continue;
            string mode = cells[^8];
            result[name.Normalize(NormalizationForm.FormC)] = new ForeignEntry(
                mode[2],
                mode[3..12],
                uint.Parse(cells[^7], CultureInfo.InvariantCulture),
                uint.Parse(cells[^6], CultureInfo.InvariantCulture),
                long.Parse(cells[^5], CultureInfo.InvariantCulture),
                long.Parse(cells[^3], CultureInfo.InvariantCulture),
                cells[^9]);
        }

        return result;
    }

    /// <summary>Content of a file by The Sleuth Kit.</summary>
    public static byte[] Content(string raw, string inode) =>
        Oracle.RunForBytes("icat", "-o", PartitionSector.ToString(CultureInfo.InvariantCulture), "-f", "hfs", raw, inode);

    /// <summary>Extracts the volume with 7-Zip and hashes every regular file: path (NFC) to SHA-256.</summary>
    public static Dictionary<string, string> ExtractAndHash(string raw, string folder)
    {
        // 7-Zip opens a GPT disk first, and the volume in it second.
        string volume = Path.Combine(folder, "volume");
        Directory.CreateDirectory(volume);
        string window = Path.Combine(folder, "window.hfs");
        CopyWindow(raw, window);
        (int exitCode, string output, string error) = Oracle.Run("7z", "x", "-thfs", "-snl-", "-y", "-o" + volume, window);
        File.Delete(window);
        Assert.True(exitCode == 0, output + error);
        var hashes = new Dictionary<string, string>();
        string top = Directory.GetDirectories(volume).Length == 1 && Directory.GetFiles(volume).Length == 0
            ? Directory.GetDirectories(volume)[0] : volume;
        foreach (string file in Directory.EnumerateFiles(
            top, "*", new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0 }))
        {
            string name = Path.GetRelativePath(top, file).Normalize(NormalizationForm.FormC);
            if (new FileInfo(file).LinkTarget is not null) continue;
            using FileStream stream = File.OpenRead(file);
            hashes[name] = Convert.ToHexStringLower(SHA256.HashData(stream));
        }

        return hashes;
    }

    /// <summary>Copies the partition's window out of a raw disk, holes left out.</summary>
    public static void CopyWindow(string raw, string window)
    {
        using FileStream source = File.OpenRead(raw);
        using FileStream target = File.Create(window);
        long length = source.Length - (2 * PartitionSector * 512);
        target.SetLength(length);
        source.Position = PartitionSector * 512;
        byte[] buffer = new byte[1 << 20];
        for (long at = 0; at < length;)
        {
            int count = source.Read(buffer, 0, (int)Math.Min(buffer.Length, length - at));
            if (buffer.AsSpan(0, count).ContainsAnyExcept((byte)0))
            {
                target.Position = at;
                target.Write(buffer, 0, count);
            }

            at += count;
        }
    }
}
