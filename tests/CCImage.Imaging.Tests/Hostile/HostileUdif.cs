using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace CCImage.Tests.Hostile;

/// <summary>UDIF images whose block tables name the same bytes of the file again and again. Layout: docs/formats/udif.md.</summary>
internal static class HostileUdif
{
    public const uint Raw = 1, Ignored = 2, Zlib = 0x80000005;

    /// <summary>Compresses a run.</summary>
    public static byte[] Deflate(byte[] bytes)
    {
        using var memory = new MemoryStream();
        using (var zlib = new ZLibStream(memory, CompressionLevel.Optimal, leaveOpen: true)) zlib.Write(bytes);
        return memory.ToArray();
    }

    /// <summary>Puts an image together.</summary>
    /// <param name="runs">Type, first sector, sectors, and where and how long it is in the data fork.</param>
    /// <param name="sectors">Sectors of the disk.</param>
    /// <param name="fork">The data fork.</param>
    public static byte[] Make(IReadOnlyList<(uint Type, long First, long Count, long Offset, long Length)> runs, long sectors, byte[] fork)
    {
        byte[] table = new byte[204 + (40 * (runs.Count + 1))];
        "mish"u8.CopyTo(table);
        table[7] = 1;
        BinaryPrimitives.WriteInt64BigEndian(table.AsSpan(16), sectors);
        BinaryPrimitives.WriteInt32BigEndian(table.AsSpan(200), runs.Count + 1);
        for (int i = 0; i <= runs.Count; i++)
        {
            Span<byte> run = table.AsSpan(204 + (40 * i), 40);
            (uint type, long first, long count, long offset, long length) = i < runs.Count ? runs[i]
                : (uint.MaxValue, sectors, 0, fork.Length, 0);
            BinaryPrimitives.WriteUInt32BigEndian(run, type);
            BinaryPrimitives.WriteInt64BigEndian(run[8..], first);
            BinaryPrimitives.WriteInt64BigEndian(run[16..], count);
            BinaryPrimitives.WriteInt64BigEndian(run[24..], offset);
            BinaryPrimitives.WriteInt64BigEndian(run[32..], length);
        }

        byte[] list = Encoding.ASCII.GetBytes(
            $"<plist version=\"1.0\"><dict><key>resource-fork</key><dict><key>blkx</key><array>"
            + $"<dict><key>Data</key><data>{Convert.ToBase64String(table)}</data></dict></array></dict></dict></plist>");
        byte[] trailer = new byte[512];
        "koly"u8.CopyTo(trailer);
        trailer[7] = 4;
        trailer[10] = 2;
        trailer[15] = 1;
        BinaryPrimitives.WriteInt64BigEndian(trailer.AsSpan(32), fork.Length);
        trailer[59] = trailer[63] = 1;
        BinaryPrimitives.WriteInt64BigEndian(trailer.AsSpan(216), fork.Length);
        BinaryPrimitives.WriteInt64BigEndian(trailer.AsSpan(224), list.Length);
        trailer[491] = 1;
        BinaryPrimitives.WriteInt64BigEndian(trailer.AsSpan(492), sectors);
        return [.. fork, .. list, .. trailer];
    }
}
