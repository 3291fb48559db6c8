using System.Globalization;

namespace CCImage.Partitions;

/// <summary>A kind of partition under the names that people and Apple's tools know it by.</summary>
/// <param name="DisplayName">For people: <c>"Apple_HFS"</c>, <c>"EFI"</c>, <c>"Microsoft basic data"</c>; the bare GUID or number when
/// unknown.</param>
/// <param name="SegmentName">As UDIF block tables name it: the content hint of IOKit where there is one, else the GUID.</param>
internal sealed record PartitionType(string DisplayName, string SegmentName)
{
    /// <summary>GPT type of an HFS+ partition.</summary>
    public static readonly Guid AppleHfs = new("48465300-0000-11AA-AA11-00306543ECAC");

    /// <summary>GPT type of an APFS container.</summary>
    public static readonly Guid AppleApfs = new("7C3457EF-0000-11AA-AA11-00306543ECAC");

    // Source: UEFI specification for EFI, Apple TN2166 and the content names of IOKit for Apple's, Microsoft's documentation of diskpart.
    private static readonly Dictionary<Guid, PartitionType> ByGuid = new()
    {
        [AppleHfs] = new("Apple_HFS", "Apple_HFS"),
        [AppleApfs] = new("Apple_APFS", "Apple_APFS"),
        [new("426F6F74-0000-11AA-AA11-00306543ECAC")] = new("Apple_Boot", "Apple_Boot"),
        [new("55465300-0000-11AA-AA11-00306543ECAC")] = new("Apple_UFS", "Apple_UFS"),
        [new("52414944-0000-11AA-AA11-00306543ECAC")] = new("Apple_RAID", "Apple_RAID"),
        [new("53746F72-6167-11AA-AA11-00306543ECAC")] = new("Apple_CoreStorage", "Apple_CoreStorage"),
        [new("4C616265-6C00-11AA-AA11-00306543ECAC")] = new("Apple_Label", "Apple_Label"),
        [new("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")] = Bare("EFI", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
        [new("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7")] = new("Microsoft basic data", "Microsoft Basic Data"),
        [new("E3C9E316-0B5C-4DB8-817D-F92DF00215AE")] = Bare("Microsoft reserved", "E3C9E316-0B5C-4DB8-817D-F92DF00215AE"),
        [new("DE94BBA4-06D1-4D40-A16A-BFD50179D6AC")] = Bare("Windows recovery", "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"),
        [new("0FC63DAF-8483-4772-8E79-3D69D8477DE4")] = Bare("Linux filesystem", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"),
        [new("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F")] = Bare("Linux swap", "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"),
    };

    // Source: content hints of Apple's IOFDiskPartitionScheme. 0x0B and 0x0E were seen in images.
    private static readonly Dictionary<byte, string> ByMbrType = new()
    {
        [0x01] = "DOS_FAT_12",
        [0x04] = "DOS_FAT_16_S",
        [0x05] = "DOS_Extended",
        [0x06] = "DOS_FAT_16",
        [0x07] = "Windows_NTFS",
        [0x0B] = "DOS_FAT_32",
        [0x0C] = "Windows_FAT_32",
        [0x0E] = "Windows_FAT_16",
        [0x0F] = "Windows_Extended",
        [0x82] = "Linux_Swap",
        [0x83] = "Linux",
        [0xA8] = "Apple_UFS",
        [0xAB] = "Apple_Boot",
        [0xAF] = "Apple_HFS",
    };

    /// <summary>The type of a GPT entry.</summary>
    /// <param name="type">Its type GUID.</param>
    public static PartitionType FromGuid(Guid type)
    {
        if (ByGuid.TryGetValue(type, out PartitionType? known)) return known;
        string text = type.ToString("D").ToUpperInvariant();
        return Bare(text, text);
    }

    /// <summary>The type of an MBR entry.</summary>
    /// <param name="type">Its type byte.</param>
    public static PartitionType FromMbr(byte type) =>
        ByMbrType.TryGetValue(type, out string? name) ? Bare(name, name) : Bare("0x" + type.ToString("X2", CultureInfo.InvariantCulture));

    private static PartitionType Bare(string display, string? segment = null) => new(display, segment ?? display);
}
