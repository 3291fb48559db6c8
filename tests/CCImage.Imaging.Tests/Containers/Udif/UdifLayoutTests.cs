using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Containers.Udif;

namespace CCImage.Tests.Containers.Udif;

public sealed class UdifLayoutTests
{
    [Fact]
    public void Checksum()
    {
        Assert.Equal(0x88, Unsafe.SizeOf<UdifChecksum>());
        Assert.Equal(UdifChecksum.Size, Unsafe.SizeOf<UdifChecksum>());
        Offset<UdifChecksum>(0x00, nameof(UdifChecksum.Type));
        Offset<UdifChecksum>(0x04, nameof(UdifChecksum.ValueSize));
        Offset<UdifChecksum>(0x08, nameof(UdifChecksum.Value));
    }

    [Fact]
    public void Trailer()
    {
        Assert.Equal(0x200, Unsafe.SizeOf<UdifTrailer>());
        Offset<UdifTrailer>(0x000, nameof(UdifTrailer.Signature));
        Offset<UdifTrailer>(0x004, nameof(UdifTrailer.Version));
        Offset<UdifTrailer>(0x008, nameof(UdifTrailer.HeaderSize));
        Offset<UdifTrailer>(0x00C, nameof(UdifTrailer.Flags));
        Offset<UdifTrailer>(0x010, nameof(UdifTrailer.RunningDataForkOffset));
        Offset<UdifTrailer>(0x018, nameof(UdifTrailer.DataForkOffset));
        Offset<UdifTrailer>(0x020, nameof(UdifTrailer.DataForkLength));
        Offset<UdifTrailer>(0x028, nameof(UdifTrailer.ResourceForkOffset));
        Offset<UdifTrailer>(0x030, nameof(UdifTrailer.ResourceForkLength));
        Offset<UdifTrailer>(0x038, nameof(UdifTrailer.SegmentNumber));
        Offset<UdifTrailer>(0x03C, nameof(UdifTrailer.SegmentCount));
        Offset<UdifTrailer>(0x040, nameof(UdifTrailer.SegmentId));
        Offset<UdifTrailer>(0x050, nameof(UdifTrailer.DataForkChecksum));
        Offset<UdifTrailer>(0x0D8, nameof(UdifTrailer.XmlOffset));
        Offset<UdifTrailer>(0x0E0, nameof(UdifTrailer.XmlLength));
        Offset<UdifTrailer>(0x0E8, nameof(UdifTrailer.Reserved1));
        Offset<UdifTrailer>(0x160, nameof(UdifTrailer.MasterChecksum));
        Offset<UdifTrailer>(0x1E8, nameof(UdifTrailer.ImageVariant));
        Offset<UdifTrailer>(0x1EC, nameof(UdifTrailer.SectorCount));
        Offset<UdifTrailer>(0x1F4, nameof(UdifTrailer.Reserved2));
        Offset<UdifTrailer>(0x1F8, nameof(UdifTrailer.Reserved3));
        Offset<UdifTrailer>(0x1FC, nameof(UdifTrailer.Reserved4));
    }

    [Fact]
    public void Block_table()
    {
        Assert.Equal(0xCC, Unsafe.SizeOf<UdifBlockTableHeader>());
        Assert.Equal(UdifBlockTableHeader.Size, Unsafe.SizeOf<UdifBlockTableHeader>());
        Offset<UdifBlockTableHeader>(0x00, nameof(UdifBlockTableHeader.Signature));
        Offset<UdifBlockTableHeader>(0x04, nameof(UdifBlockTableHeader.Version));
        Offset<UdifBlockTableHeader>(0x08, nameof(UdifBlockTableHeader.FirstSector));
        Offset<UdifBlockTableHeader>(0x10, nameof(UdifBlockTableHeader.SectorCount));
        Offset<UdifBlockTableHeader>(0x18, nameof(UdifBlockTableHeader.DataOffset));
        Offset<UdifBlockTableHeader>(0x20, nameof(UdifBlockTableHeader.BuffersNeeded));
        Offset<UdifBlockTableHeader>(0x24, nameof(UdifBlockTableHeader.BlockDescriptor));
        Offset<UdifBlockTableHeader>(0x28, nameof(UdifBlockTableHeader.Reserved));
        Offset<UdifBlockTableHeader>(0x40, nameof(UdifBlockTableHeader.Checksum));
        Offset<UdifBlockTableHeader>(0xC8, nameof(UdifBlockTableHeader.RunCount));
    }

    [Fact]
    public void Run()
    {
        Assert.Equal(0x28, Unsafe.SizeOf<UdifRunRecord>());
        Assert.Equal(UdifRunRecord.Size, Unsafe.SizeOf<UdifRunRecord>());
        Offset<UdifRunRecord>(0x00, nameof(UdifRunRecord.Type));
        Offset<UdifRunRecord>(0x04, nameof(UdifRunRecord.Comment));
        Offset<UdifRunRecord>(0x08, nameof(UdifRunRecord.FirstSector));
        Offset<UdifRunRecord>(0x10, nameof(UdifRunRecord.SectorCount));
        Offset<UdifRunRecord>(0x18, nameof(UdifRunRecord.StoredOffset));
        Offset<UdifRunRecord>(0x20, nameof(UdifRunRecord.StoredLength));
    }

    private static void Offset<T>(int expected, string field) => Assert.Equal(expected, (int)Marshal.OffsetOf<T>(field));
}
