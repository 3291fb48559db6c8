using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Partitions.ApplePartitionMap;
using CCImage.Partitions.Gpt;
using CCImage.Partitions.Mbr;

namespace CCImage.Tests.Partitions;

public sealed class PartitionLayoutTests
{
    [Fact]
    public void GPT_header_has_the_offsets_of_the_specification()
    {
        Assert.Equal(0x5C, Unsafe.SizeOf<GptHeader>());
        AssertOffsets<GptHeader>(
            (nameof(GptHeader.Signature), 0x00), (nameof(GptHeader.Revision), 0x08), (nameof(GptHeader.HeaderSize), 0x0C),
            (nameof(GptHeader.HeaderChecksum), 0x10), (nameof(GptHeader.Reserved), 0x14), (nameof(GptHeader.OwnSector), 0x18),
            (nameof(GptHeader.OtherSector), 0x20), (nameof(GptHeader.FirstUsableSector), 0x28), (nameof(GptHeader.LastUsableSector), 0x30),
            (nameof(GptHeader.DiskGuid), 0x38), (nameof(GptHeader.EntriesSector), 0x48), (nameof(GptHeader.EntryCount), 0x50),
            (nameof(GptHeader.EntrySize), 0x54), (nameof(GptHeader.EntriesChecksum), 0x58));
    }

    [Fact]
    public void GPT_entry_has_the_offsets_of_the_specification()
    {
        Assert.Equal(0x80, Unsafe.SizeOf<GptEntry>());
        AssertOffsets<GptEntry>(
            (nameof(GptEntry.Type), 0x00), (nameof(GptEntry.Id), 0x10), (nameof(GptEntry.FirstSector), 0x20),
            (nameof(GptEntry.LastSector), 0x28),
            (nameof(GptEntry.Attributes), 0x30), (nameof(GptEntry.Name), 0x38));
    }

    [Fact]
    public void MBR_sector_has_the_offsets_of_the_specification()
    {
        Assert.Equal(0x200, Unsafe.SizeOf<MbrSector>());
        AssertOffsets<MbrSector>(
            (nameof(MbrSector.BootCode), 0x000), (nameof(MbrSector.DiskSignature), 0x1B8), (nameof(MbrSector.Reserved), 0x1BC),
            (nameof(MbrSector.Entries), 0x1BE), (nameof(MbrSector.Signature), 0x1FE));
        Assert.Equal(0x10, Unsafe.SizeOf<MbrEntry>());
        AssertOffsets<MbrEntry>(
            (nameof(MbrEntry.Status), 0x0), (nameof(MbrEntry.First), 0x1), (nameof(MbrEntry.Type), 0x4), (nameof(MbrEntry.Last), 0x5),
            (nameof(MbrEntry.StartSector), 0x8), (nameof(MbrEntry.SectorCount), 0xC));
    }

    [Fact]
    public void Apple_partition_entry_has_the_offsets_of_the_specification()
    {
        Assert.Equal(8, Unsafe.SizeOf<DriverDescriptor>());
        Assert.Equal(0x5C, Unsafe.SizeOf<ApplePartitionEntry>());
        AssertOffsets<ApplePartitionEntry>(
            (nameof(ApplePartitionEntry.Signature), 0x00), (nameof(ApplePartitionEntry.EntryCount), 0x04),
            (nameof(ApplePartitionEntry.StartBlock), 0x08),
            (nameof(ApplePartitionEntry.BlockCount), 0x0C), (nameof(ApplePartitionEntry.Name), 0x10),
            (nameof(ApplePartitionEntry.Type), 0x30),
            (nameof(ApplePartitionEntry.DataStart), 0x50), (nameof(ApplePartitionEntry.DataCount), 0x54),
            (nameof(ApplePartitionEntry.Status), 0x58));
    }

    private static void AssertOffsets<T>(params (string Field, int Offset)[] expected)
    {
        foreach ((string field, int offset) in expected) Assert.Equal((field, offset), (field, (int)Marshal.OffsetOf<T>(field)));
    }
}
