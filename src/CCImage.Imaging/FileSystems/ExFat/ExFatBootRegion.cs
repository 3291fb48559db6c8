using System.Buffers.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.ExFat;

/// <summary>The twelve sectors of boot code and parameters, of which a copy follows at once.</summary>
internal static class ExFatBootRegion
{
    /// <summary>Sectors of a region: eleven, and one with nothing but their checksum.</summary>
    public const int Sectors = 12;

    /// <summary>Reads a region.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="sectorSize">Bytes in a sector.</param>
    /// <param name="isBackup">Whether to read the copy.</param>
    public static byte[] Read(BlockStorage volume, int sectorSize, bool isBackup)
    {
        byte[] region = new byte[Sectors * sectorSize];
        volume.Read(isBackup ? region.Length : 0, region);
        return region;
    }

    /// <summary>Whether the checksum that fills the last sector is right.</summary>
    /// <param name="region">The region.</param>
    public static bool IsValid(ReadOnlySpan<byte> region)
    {
        int end = region.Length / Sectors * (Sectors - 1);
        const int Flags = ExFatBootSector.FlagsOffset, Percent = ExFatBootSector.PercentOffset;
        uint checksum = ExFatChecksum.Of(region[..Flags]); // what changes while the volume is in use is left out
        checksum = ExFatChecksum.Append(checksum, region[(Flags + 2)..Percent]);
        checksum = ExFatChecksum.Append(checksum, region[(Percent + 1)..end]);
        for (int i = end; i < region.Length; i += 4)
            if (BinaryPrimitives.ReadUInt32LittleEndian(region[i..]) != checksum) return false;
        return true;
    }

    /// <summary>Whether a region and its copy say the same; the flags and the fill level of a copy may be old.</summary>
    /// <param name="region">The region.</param>
    /// <param name="copy">Its copy.</param>
    public static bool AreEqual(ReadOnlySpan<byte> region, ReadOnlySpan<byte> copy)
    {
        const int Flags = ExFatBootSector.FlagsOffset, Percent = ExFatBootSector.PercentOffset;
        return region[..Flags].SequenceEqual(copy[..Flags]) && region[(Flags + 2)..Percent].SequenceEqual(copy[(Flags + 2)..Percent])
            && region[(Percent + 1)..].SequenceEqual(copy[(Percent + 1)..]);
    }
}
