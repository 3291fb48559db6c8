using System.Buffers.Binary;
using CCImage.Storage;

namespace CCImage.Containers;

/// <summary>
/// Files that are taken for images and are none, or images of formats that are not read: told by name, with the way out. Sources: RFC 1952
/// (gzip), the documentation of bzip2, zip (APPNOTE.TXT), xz, 7-Zip, Zstandard (RFC 8878) and RAR; Apple's technical note on DiskCopy 4.2's
/// data structure.
/// </summary>
internal static class ForeignFiles
{
    private const int HeaderSize = 84; // of DiskCopy 4.2, the longest of all

    /// <summary>The refusal for a file that is one of these; null for any other.</summary>
    /// <param name="file">The file; it is no image of a format that is read.</param>
    public static ImageException? Find(BlockStorage file)
    {
        byte[] first = new byte[(int)Math.Min(HeaderSize, file.Length)];
        file.Read(0, first);
        if (ArchiveOf(first) is { } archive)
            return ImageException.Unsupported($"The file is compressed or an archive ({archive}), not a disk image.",
                "Unpack it first, and name the image that was in it.", "byte 0");
        return IsDiskCopy(first, file.Length)
            ? ImageException.Unsupported("The file is an image of DiskCopy 4.2 (of before Mac OS X), which this version does not read.",
                "Convert it on a Mac with hdiutil of macOS 10.14 or older, or strip its header of 84 bytes.", "header at byte 0")
            : null;
    }

    private static string? ArchiveOf(ReadOnlySpan<byte> first)
    {
        if (first.StartsWith((ReadOnlySpan<byte>)[0x1F, 0x8B, 8])) return "gzip";
        if (first.StartsWith("BZh"u8) && first.Length >= 10
            && (first[4..].StartsWith((ReadOnlySpan<byte>)[0x31, 0x41, 0x59, 0x26, 0x53, 0x59])
            || first[4..].StartsWith((ReadOnlySpan<byte>)[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]))) return "bzip2";
        if (first.StartsWith("PK\u0003\u0004"u8) || first.StartsWith("PK\u0005\u0006"u8)) return "zip";
        if (first.StartsWith((ReadOnlySpan<byte>)[0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0])) return "xz";
        if (first.StartsWith((ReadOnlySpan<byte>)[(byte)'7', (byte)'z', 0xBC, 0xAF, 0x27, 0x1C])) return "7-Zip";
        if (first.StartsWith((ReadOnlySpan<byte>)[0x28, 0xB5, 0x2F, 0xFD])) return "Zstandard";
        if (first.StartsWith("Rar!\u001A\u0007"u8)) return "RAR";
        return first.StartsWith("xar!"u8) ? "xar" : null;
    }

    // A Pascal string of at most 63 characters, bytes of data and of tags, their checksums, disk format and its byte, and 0x0100; then as
    // many bytes as they say.
    private static bool IsDiskCopy(ReadOnlySpan<byte> header, long length)
    {
        const int DataSize = 64, TagSize = 68, Mark = 82;
        if (header.Length < HeaderSize || header[0] is 0 or > 63 || BinaryPrimitives.ReadUInt16BigEndian(header[Mark..]) != 0x0100)
            return false;
        long data = BinaryPrimitives.ReadUInt32BigEndian(header[DataSize..]),
            tags = BinaryPrimitives.ReadUInt32BigEndian(header[TagSize..]);
        return data > 0 && data % 512 == 0 && HeaderSize + data + tags <= length;
    }
}
