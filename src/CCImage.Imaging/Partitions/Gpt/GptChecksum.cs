using CCImage.Checksums;

namespace CCImage.Partitions.Gpt;

/// <summary>The checksum of a GPT header: CRC-32 with its own field taken as zero.</summary>
internal static class GptChecksum
{
    private const int ChecksumOffset = 16;

    /// <summary>Of a header.</summary>
    /// <param name="header">As many bytes as the header says it has.</param>
    public static uint OfHeader(ReadOnlySpan<byte> header)
    {
        byte[] copy = header.ToArray();
        copy.AsSpan(ChecksumOffset, sizeof(uint)).Clear();
        return Crc32.Of(copy);
    }
}
