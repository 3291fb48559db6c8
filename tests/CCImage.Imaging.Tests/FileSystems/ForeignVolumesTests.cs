using System.Buffers.Binary;
using CCImage.Containers;
using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.Storage;

namespace CCImage.Tests.FileSystems;

/// <summary>What is not read is called by its name, with the way out.</summary>
public sealed class ForeignVolumesTests
{
    private const int Length = 256 << 10;

    public static TheoryData<VolumeKind, string, string> Kinds => new()
    {
        { VolumeKind.Iso9660, "A DISC", "ISO 9660" }, { VolumeKind.Udf, "", "UDF" }, { VolumeKind.Ext, "linux", "ext2" },
            { VolumeKind.LinuxSwap, "", "swap" },
        { VolumeKind.CoreStorage, "", "CoreStorage" }, { VolumeKind.BitLocker, "", "BitLocker" }, { VolumeKind.Hfs, "old", "classic HFS" },
        { VolumeKind.Ntfs, "", "NTFS" },
    };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Each_kind_is_named(VolumeKind kind, string name, string words)
    {
        using var folder = new TemporaryFolder();
        byte[] disk = Make(kind);
        File.WriteAllBytes(folder["disk.dmg"], disk);
        using DiskImage image = DiskImage.Open(folder["disk.dmg"]);
        BackupImageVolume volume = Assert.Single(image.Describe().Volumes!);
        Assert.Equal((kind, name, (long?)null), (volume.Kind, volume.Name, volume.FreeBytes));
        Assert.Empty(image.GetFreeExtents());
        foreach (int? number in new int?[] { null, 1 })
        {
            ImageException error = Assert.Throws<ImageException>(() => image.ReadTree(number, CancellationToken.None));
            Assert.Equal((ImageErrorId.UnsupportedFormat, image.Path), (error.Id, error.Path));
            Assert.Contains(words, error.Problem, StringComparison.Ordinal);
            Assert.NotNull(error.Remedy);
        }

        ImageVerificationResult result = ImageVerification.Run(new(folder["disk.dmg"]), SilentObserver.Instance, CancellationToken.None);
        Assert.Contains(
            result.Findings, f => f.Grade == ImageFindingGrade.Note && f.Message.Contains("does not check", StringComparison.Ordinal));
    }

    [Fact]
    public void No_cut_and_no_noise_is_one_of_them()
    {
        foreach (VolumeKind kind in Kinds.Select(r => r.Data.Item1))
        {
            byte[] disk = Make(kind);
            for (int length = 0; length < disk.Length; length += 1000)
                MalformedInput.Try(() => VolumeDetection.Open(new MemoryStorage(disk[..length]), out _).Dispose());
        }

        for (int seed = 0; seed < 50; seed++)
            Assert.Equal(VolumeKind.Unknown, VolumeDetection.Open(new MemoryStorage(TestTree.Noise(Length, seed)), out _).Kind);
    }

    public static TheoryData<string, byte[]> Archives => new()
    {
        { "gzip", [0x1F, 0x8B, 8, 0] }, { "bzip2", "BZh91AY&SY"u8.ToArray() }, { "zip", "PK\u0003\u0004"u8.ToArray() },
            { "xz", [0xFD, .. "7zXZ\0"u8] },
        { "7-Zip", [(byte)'7', (byte)'z', 0xBC, 0xAF, 0x27, 0x1C] }, { "Zstandard", [0x28, 0xB5, 0x2F, 0xFD] },
        { "RAR", "Rar!\u001A\u0007"u8.ToArray() },
    };

    [Theory]
    [MemberData(nameof(Archives))]
    public void An_archive_is_named_and_to_be_unpacked_first(string name, byte[] first)
    {
        foreach (int length in new[] { 100, 1024, 4097 })
        {
            byte[] file = [.. first, .. TestTree.Noise(length, 1).Take(length - first.Length)];
            ImageException error = Assert.Throws<ImageException>(() => ContainerDetection.Detect(new MemoryStorage(file)));
            Assert.Equal(ImageErrorId.UnsupportedFormat, error.Id);
            Assert.Contains(name, error.Problem, StringComparison.Ordinal);
            Assert.Contains("Unpack it first", error.Remedy, StringComparison.Ordinal);
        }

        // A disk whose boot code looks like one, and a compressed image with its trailer.
        byte[] disk = [.. first, .. new byte[1024 - first.Length]];
        (disk[510], disk[511]) = (0x55, 0xAA);
        Assert.Equal(ContainerKind.Raw, ContainerDetection.Detect(new MemoryStorage(disk)));
        "koly"u8.CopyTo(disk.AsSpan(512));
        Assert.Equal(ContainerKind.Udif, ContainerDetection.Detect(new MemoryStorage(disk)));
    }

    [Fact]
    public void An_image_of_disk_copy_is_named()
    {
        byte[] file = new byte[84 + (800 << 10)];
        "\u0008Untitled"u8.CopyTo(file);
        BinaryPrimitives.WriteInt32BigEndian(file.AsSpan(64), 800 << 10);
        BinaryPrimitives.WriteInt32BigEndian(file.AsSpan(80), 0x0122_0100);
        Assert.Contains("DiskCopy 4.2", Assert.Throws<ImageException>(() => ContainerDetection.Detect(new MemoryStorage(file))).Problem,
            StringComparison.Ordinal);
    }

    [Fact]
    public void No_message_claims_what_was_not_looked_at()
    {
        ImageException error = Assert.Throws<ImageException>(() => ContainerDetection.Detect(new MemoryStorage(TestTree.Noise(1000, 3))));
        Assert.Equal(ImageErrorId.UnknownFormat, error.Id);
        Assert.Contains("1000 bytes are not whole sectors", error.Problem, StringComparison.Ordinal);
    }

    private static byte[] Make(VolumeKind kind)
    {
        byte[] disk = new byte[Length];
        switch (kind)
        {
            case VolumeKind.Iso9660:
                (disk[32768], disk[34816]) = (1, 255);
                "CD001\u0001"u8.CopyTo(disk.AsSpan(32769));
                "CD001\u0001"u8.CopyTo(disk.AsSpan(34817));
                "A DISC                          "u8.CopyTo(disk.AsSpan(32768 + 40));
                (disk[32768 + 80], disk[32768 + 129]) = (100, 8);
                break;
            case VolumeKind.Udf:
                "BEA01"u8.CopyTo(disk.AsSpan(32769));
                "NSR03"u8.CopyTo(disk.AsSpan(34817));
                "TEA01"u8.CopyTo(disk.AsSpan(36865));
                break;
            case VolumeKind.Ext:
                foreach ((int at, int value) in new[] { (0, 64), (4, 256), (40, 64), (56, 0xEF53) })
                    BinaryPrimitives.WriteInt32LittleEndian(disk.AsSpan(1024 + at), value);
                "linux"u8.CopyTo(disk.AsSpan(1024 + 120));
                break;
            case VolumeKind.LinuxSwap:
                "SWAPSPACE2"u8.CopyTo(disk.AsSpan(4086));
                break;
            case VolumeKind.CoreStorage:
                (disk[8], disk[10], disk[90]) = (1, 0x10, 1);
                "CS"u8.CopyTo(disk.AsSpan(88));
                break;
            case VolumeKind.Hfs:
                "BD"u8.CopyTo(disk.AsSpan(1024));
                (disk[1024 + 19], disk[1024 + 22], disk[1024 + 36]) = (100, 2, 3);
                "old"u8.CopyTo(disk.AsSpan(1024 + 37));
                break;
            default:
                (disk[0], disk[510], disk[511]) = (0xEB, 0x55, 0xAA);
                (kind == VolumeKind.Ntfs ? "NTFS    "u8 : "-FVE-FS-"u8).CopyTo(disk.AsSpan(3));
                (disk[12], disk[40], disk[41]) = (2, 0, 1);
                break;
        }

        return disk;
    }
}
