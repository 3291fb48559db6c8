using System.Buffers.Binary;
using CCImage.Checksums;
using CCImage.FileSystems.ExFat;
using CCImage.Partitions;
using CCImage.Storage;

namespace CCImage.Fuzzing;

/// <summary>A volume: described, judged, its free space and its files read, and mended where that is possible.</summary>
internal class VolumeTarget : FuzzTarget
{
    /// <inheritdoc/>
    public override bool ChangesLength => false;

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        using var volume = new RecordingMemory(input, isWritable: true);
        try
        {
            DiskReading.Volume(volume, volume);
            return volume.Reads;
        }
        finally
        {
            volume.Undo();
        }
    }
}

/// <summary>Files that HFS+ compresses; an input is the attribute, and the resource fork behind its first 64 bytes.</summary>
internal sealed class CompressedFileTarget : FuzzTarget
{
    private const int Attribute = 64;

    /// <inheritdoc/>
    public override IEnumerable<byte[]> Seeds()
    {
        byte[] content = new byte[70_000];
        foreach (uint type in (uint[])[1, 3, 4, 7, 8, 9, 10, 11, 12])
        {
            // Header, and as the fork: for zlib the table's place, its length and one block, for the others offsets from the start.
            byte[] input =
                [.. "fpmc"u8, (byte)type, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0x0F, .. new byte[47], 0, 0, 0, 12, .. new byte[12], 1, 0, 0, 0,
                    12, 0, 0, 0, 31, 0, 0, 0, 0xFF, .. new byte[100]];
            if (type is 8 or 10 or 12) (input[Attribute], input[Attribute + 3], input[Attribute + 4]) = (8, 0, 60);
            yield return input;
        }

        using var memory = new MemoryStream();
        using (var zlib = new System.IO.Compression.ZLibStream(memory, System.IO.Compression.CompressionLevel.Optimal, leaveOpen: true))
            zlib.Write(content.AsSpan(0, 5000));
        yield return [.. "fpmc"u8, 3, 0, 0, 0, 0x88, 0x13, 0, 0, 0, 0, 0, 0, .. memory.ToArray()];
    }

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        using var fork = new MemoryStorage(input.AsSpan(Math.Min(Attribute, input.Length)).ToArray());
        if (FileSystems.CompressedFile.TryParse(input) is { } file)
            DiskReading.Samples(file.Open(fork, () => new MemoryStorage(input), () => "file"));
        return [];
    }
}

/// <summary>APFS: the checksums of changed blocks are put right.</summary>
internal sealed class ApfsTarget : VolumeTarget
{
    private const int BlockSize = 4096;

    /// <inheritdoc/>
    public override IEnumerable<(int At, byte[] Bytes)> Mend(byte[] input, IReadOnlyList<(int At, byte[] Bytes)> changes)
    {
        foreach (int block in changes.SelectMany(c => new[] { c.At / BlockSize, (c.At + c.Bytes.Length - 1) / BlockSize }).Distinct()
            .ToArray())
        {
            if ((block + 1) * BlockSize > input.Length) continue;
            byte[] checksum = new byte[sizeof(ulong)];
            BinaryPrimitives.WriteUInt64LittleEndian(checksum, Fletcher64.Compute(input.AsSpan((block * BlockSize) + 8, BlockSize - 8)));
            yield return (block * BlockSize, checksum);
        }
    }
}

/// <summary>exFAT: the checksums of both boot regions are put right.</summary>
internal sealed class ExFatTarget : VolumeTarget
{
    private const int Sector = 512, Region = 12 * Sector;

    /// <inheritdoc/>
    public override IEnumerable<(int At, byte[] Bytes)> Mend(byte[] input, IReadOnlyList<(int At, byte[] Bytes)> changes)
    {
        for (int start = 0; start <= Region && changes.Any(c => c.At < 2 * Region); start += Region)
        {
            ReadOnlySpan<byte> region = input.AsSpan(start, Region);
            uint checksum =
                ExFatChecksum.Append(ExFatChecksum.Append(ExFatChecksum.Of(region[..106]), region[108..112]), region[113..(11 * Sector)]);
            byte[] sector = new byte[Sector];
            for (int at = 0; at < Sector; at += sizeof(uint)) BinaryPrimitives.WriteUInt32LittleEndian(sector.AsSpan(at), checksum);
            yield return (start + (11 * Sector), sector);
        }
    }
}

/// <summary>Partition maps: the checksums of a GPT are put right.</summary>
internal sealed class PartitionMapTarget : FuzzTarget
{
    private const int Sector = PartitionTable.SectorSize;

    /// <inheritdoc/>
    public override bool ChangesLength => false;

    /// <inheritdoc/>
    public override IEnumerable<(int At, byte[] Bytes)> Mend(byte[] input, IReadOnlyList<(int At, byte[] Bytes)> changes)
    {
        foreach (int header in (int[])[Sector, input.Length - Sector])
        {
            byte[] fields = input[header..(header + Sector)];
            int size = BinaryPrimitives.ReadInt32LittleEndian(fields.AsSpan(12));
            if (!fields.AsSpan().StartsWith("EFI PART"u8) || size is < 92 or > Sector) continue;
            ulong entries = BinaryPrimitives.ReadUInt64LittleEndian(fields.AsSpan(72));
            ulong length =
                (ulong)BinaryPrimitives.ReadUInt32LittleEndian(
                    fields.AsSpan(80)) * BinaryPrimitives.ReadUInt32LittleEndian(fields.AsSpan(84));
            if (entries < (ulong)(input.Length / Sector) && length <= (ulong)input.Length - (entries * Sector))
                BinaryPrimitives.WriteUInt32LittleEndian(fields.AsSpan(88), Crc32.Of(input.AsSpan((int)entries * Sector, (int)length)));
            fields.AsSpan(16, 4).Clear();
            BinaryPrimitives.WriteUInt32LittleEndian(fields.AsSpan(16), Crc32.Of(fields.AsSpan(0, size)));
            yield return (header, fields[..92]);
        }
    }

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        using var disk = new RecordingMemory(input, isWritable: true);
        try
        {
            DiskReading.Disk(disk, disk);
            return disk.Reads;
        }
        finally
        {
            disk.Undo();
        }
    }
}
