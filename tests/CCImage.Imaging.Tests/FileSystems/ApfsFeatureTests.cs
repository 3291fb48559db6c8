using System.Buffers.Binary;
using CCImage.Diagnostics;
using CCImage.FileSystems.Apfs;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.FileSystems;

/// <summary>Features of APFS that this version does not know, or knows by name only: nothing is written, and what cannot be read says
/// why.</summary>
public sealed class ApfsFeatureTests : IDisposable
{
    private const int ReadOnlyFeatures = 0x30, IncompatibleFeatures = 0x38; // of a volume
    private const int ContainerReadOnly = 0x38, ContainerIncompatible = 0x40;

    private readonly SparseMemoryStorage _disk = new(ApfsSample.Length);

    public ApfsFeatureTests() => ApfsSample.Write(_disk, 0);

    public void Dispose() => _disk.Dispose();

    [Theory]
    [InlineData(true, IncompatibleFeatures, 0x4000UL)]
    [InlineData(true, IncompatibleFeatures, 1UL << 63)]
    [InlineData(true, ReadOnlyFeatures, 1UL)]
    [InlineData(false, ContainerIncompatible, 0x4000UL)]
    [InlineData(false, ContainerReadOnly, 0x10UL)]
    public void What_is_not_known_forbids_writing_and_is_noted(bool isOfVolume, int field, ulong bit)
    {
        using (ApfsContainer sound = ApfsContainer.Open(_disk))
        {
            Assert.Null(sound.UnknownFeatures);
            Assert.NotEmpty(sound.GetFreeExtents());
        }

        Set(isOfVolume ? "APSB"u8 : "NXSB"u8, field, bit);
        using ApfsContainer container = ApfsContainer.Open(_disk);
        Assert.Contains($"0x{bit:X}", container.UnknownFeatures, StringComparison.Ordinal);
        Assert.Empty(container.GetFreeExtents());
        Assert.Equal(ImageErrorId.UnsupportedFormat, Assert.Throws<ImageException>(() => container.OpenResizer(CancellationToken.None)).Id);
        var findings = new ImageFindings("image");
        container.Check(findings, CancellationToken.None);
        Assert.Equal(ImageFindingGrade.Note, findings.Worst);
        Assert.Contains(
            findings.ToList(), f => f.Grade == ImageFindingGrade.Note && f.Message.Contains($"0x{bit:X}", StringComparison.Ordinal));

        // Its files are read, and it is said.
        using SourceTree tree = container.ReadTree()!;
        Assert.Contains(tree.Enumerate(), e => e.RelativePath == "folder/changed");
        Assert.Equal((ImagingWarningKind.Advice, 0L), (Assert.Single(tree.Omissions).Kind, tree.OmittedCount));

        // Nor is block 0 mended.
        byte[] first = new byte[4096];
        _disk.Read(0, first);
        first[0] ^= 0xFF;
        _disk.Write(0, first);
        using ApfsContainer damaged = ApfsContainer.Open(_disk);
        Assert.Empty(damaged.Repair(CancellationToken.None));
        findings = new ImageFindings("image");
        damaged.Check(findings, CancellationToken.None);
        Assert.Equal(ImageFindingGrade.Damaged, findings.Worst);
    }

    [Theory]
    [InlineData(true, IncompatibleFeatures, 0x20UL, "sealed")]
    [InlineData(true, IncompatibleFeatures, 0x100UL, "second tree")]
    [InlineData(false, ContainerIncompatible, 0x100UL, "Fusion")]
    public void What_cannot_be_read_is_named(bool isOfVolume, int field, ulong bit, string name)
    {
        Set(isOfVolume ? "APSB"u8 : "NXSB"u8, field, bit);
        using ApfsContainer container = ApfsContainer.Open(_disk);
        Assert.False(container.HasReadableTree(0));
        Assert.Null(container.ReadTree());
        ImageException obstacle = container.ObstacleToReading(0)!;
        Assert.Equal(ImageErrorId.UnsupportedFormat, obstacle.Id);
        Assert.Contains(name, obstacle.Problem, StringComparison.Ordinal);
        Assert.NotNull(obstacle.Remedy);
        var findings = new ImageFindings("image");
        container.Check(findings, CancellationToken.None);
        Assert.Contains(findings.ToList(), f => f.Grade == ImageFindingGrade.Note && f.Message.Contains(name, StringComparison.Ordinal));
    }

    [Fact]
    public void An_image_whose_only_volume_is_sealed_says_so()
    {
        using var folder = new TemporaryFolder();
        Set("APSB"u8, IncompatibleFeatures, 0x20);
        using (FileStorage file = FileStorage.CreateNew(folder["image.img"]))
        {
            file.SetLength(_disk.Length);
            byte[] piece = new byte[1 << 20];
            foreach (StorageExtent extent in _disk.GetExtents(0, _disk.Length).Where(e => e.Kind == ExtentKind.Data))
            {
                for (long at = extent.Offset; at < extent.End; at += piece.Length)
                {
                    int count = (int)Math.Min(piece.Length, extent.End - at);
                    _disk.Read(at, piece.AsSpan(0, count));
                    file.Write(at, piece.AsSpan(0, count));
                }
            }
        }

        using DiskImage image = DiskImage.Open(folder["image.img"]);
        foreach (int? volume in new int?[] { null, 1, 2 })
        {
            ImageException error = Assert.Throws<ImageException>(() => image.ReadTree(volume, CancellationToken.None));
            Assert.Equal((ImageErrorId.UnsupportedFormat, image.Path), (error.Id, error.Path));
            Assert.Contains("sealed", error.Problem, StringComparison.Ordinal);
        }
    }

    // In every superblock of the kind, whatever its age.
    private void Set(ReadOnlySpan<byte> magic, int field, ulong bits)
    {
        byte[] block = new byte[4096];
        int changed = 0;
        foreach (StorageExtent extent in _disk.GetExtents(0, _disk.Length).Where(e => e.Kind == ExtentKind.Data).ToList())
        {
            for (long at = extent.Offset / block.Length * block.Length; at < extent.End; at += block.Length)
            {
                _disk.Read(at, block);
                if (!block.AsSpan(32).StartsWith(magic) || !ApfsBlocks.IsIntact(block)) continue;
                BinaryPrimitives.WriteUInt64LittleEndian(
                    block.AsSpan(field), BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(field)) | bits);
                ApfsBlocks.Seal(block);
                _disk.Write(at, block);
                changed++;
            }
        }

        Assert.True(changed > 0);
    }
}
