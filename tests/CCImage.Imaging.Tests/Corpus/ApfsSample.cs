using System.IO.Compression;
using CCImage.Storage;

namespace CCImage.Tests;

/// <summary>A container of three volumes with snapshots, by other writers; see <c>Data/README.md</c>.</summary>
internal static class ApfsSample
{
    /// <summary>Bytes of the container.</summary>
    public const long Length = 1025L << 20;

    /// <summary>Its volumes.</summary>
    public const int Volumes = 3;

    /// <summary>Writes what is not zero of it.</summary>
    /// <param name="disk">Reads as zeros so far; a file is made as long as the container.</param>
    /// <param name="offset">Where it begins.</param>
    public static void Write(BlockStorage disk, long offset)
    {
        using var packed =
            new BrotliStream(
                typeof(ApfsSample).Assembly.GetManifestResourceStream("apfs-three-volumes.raw.br")!, CompressionMode.Decompress);
        byte[] piece = new byte[1 << 20];
        for (long at = 0; at < Length; at += piece.Length)
        {
            packed.ReadExactly(piece);
            bool isLast = at + piece.Length == Length;
            if (!isLast && !piece.AsSpan().ContainsAnyExcept((byte)0)) continue;
            for (int block = 0; block < piece.Length; block += 4096)
            {
                Span<byte> content = piece.AsSpan(block, 4096);
                if ((isLast && block == piece.Length - 4096) || content.ContainsAnyExcept((byte)0))
                    disk.Write(offset + at + block, content);
            }
        }
    }
}
