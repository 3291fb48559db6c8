namespace CCImage.Partitions.Gpt;

/// <summary>CRC-32 (polynomial 0xEDB88320, reflected) as the table's two checksums use it.</summary>
internal static class GptChecksum
{
    private const int ChecksumOffset = 16;
    private static readonly uint[] Table = MakeTable();

    /// <summary>Of any bytes.</summary>
    /// <param name="bytes">The bytes.</param>
    public static uint Of(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in bytes) crc = Table[(crc ^ b) & 0xFF] ^ (crc >> 8);
        return ~crc;
    }

    /// <summary>Of a header, its own checksum field taken as zero.</summary>
    /// <param name="header">As many bytes as the header says it has.</param>
    public static uint OfHeader(ReadOnlySpan<byte> header)
    {
        byte[] copy = header.ToArray();
        copy.AsSpan(ChecksumOffset, sizeof(uint)).Clear();
        return Of(copy);
    }

    private static uint[] MakeTable()
    {
        uint[] table = new uint[256];
        for (uint i = 0; i < table.Length; i++)
        {
            uint value = i;
            for (int bit = 0; bit < 8; bit++) value = (value & 1) != 0 ? (value >> 1) ^ 0xEDB88320 : value >> 1;
            table[i] = value;
        }

        return table;
    }
}
