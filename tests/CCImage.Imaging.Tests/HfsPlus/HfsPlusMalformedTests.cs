using System.Buffers.Binary;
using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>Damage of every kind to a small real volume: the answer is a tree or a typed error, soon and without much memory.</summary>
public sealed class HfsPlusMalformedTests
{
    private const string Sample = "log2timeline__dfvfs/hfsplus.raw.gz";
    private const int BlockSize = 4096;

    [CorpusFact]
    public void Bit_flips_in_all_metadata()
    {
        byte[] disk = Corpus.OpenRaw(Sample).ToArray();
        var random = new Random(11);
        int trees = 0, errors = 0;
        _incomplete = 0;
        foreach ((long offset, int length) in Metadata(disk))
        {
            for (int i = 0; i < length; i++)
            {
                if (disk[offset + i] == 0 && random.Next(16) != 0) continue; // most of a B-tree is empty
                byte old = disk[offset + i];
                disk[offset + i] ^= (byte)(1 << random.Next(8));
                if (TryReadAll(disk)) trees++;
                else errors++;
                disk[offset + i] = old;
            }
        }

        Assert.True(
            trees > 100 && errors > 10 && _incomplete > 50,
            $"{trees} trees, {_incomplete} of them incomplete, and {errors} errors: the flips did not reach the metadata");
    }

    [CorpusFact]
    public void Every_truncation()
    {
        byte[] disk = Corpus.OpenRaw(Sample).ToArray();
        for (int length = 0; length < disk.Length; length += length < 8192 ? 509 : 100_003)
            Assert.False(TryReadAll(disk[..length]) && length > 0 && HfsPlusVolume.IsMatch(new MemoryStorage(disk[..length])));
    }

    [CorpusFact]
    public void A_circle_of_leaves_is_found()
    {
        byte[] disk = Corpus.OpenRaw(Sample).ToArray();
        (long catalog, int nodeSize) = Catalog(disk);
        uint leaf = BinaryPrimitives.ReadUInt32BigEndian(disk.AsSpan((int)catalog + 14 + 10));
        BinaryPrimitives.WriteUInt32BigEndian(disk.AsSpan((int)catalog + ((int)leaf * nodeSize)), leaf);
        Assert.Equal(ImageErrorId.ImageDamaged,
            Assert.Throws<ImageException>(() => HfsPlusVolume.Open(new MemoryStorage(disk)).Catalog.ReadLeaves().Count()).Id);

        // The index leads to all leaves.
        using SourceTree whole = HfsPlusVolume.Open(Corpus.OpenRaw(Sample)).ReadTree();
        using SourceTree tree = HfsPlusVolume.Open(new MemoryStorage(disk)).ReadTree();
        Assert.Equal(whole.Enumerate().Select(e => e.RelativePath).Order(), tree.Enumerate().Select(e => e.RelativePath).Order());
        Assert.Equal(0, tree.OmittedCount);
    }

    [CorpusFact]
    public void Absurd_counts()
    {
        byte[] disk = Corpus.OpenRaw(Sample).ToArray();
        (long catalog, _) = Catalog(disk);
        foreach (uint absurd in new[] { 0u, 1u, 0x7FFF_FFFFu, 0x8000_0000u, 0xFFFF_FFFFu })
        {
            // Every word of the volume header and of the catalog's header record.
            foreach (int offset in Enumerable.Range(0, 128).Select(i => 1024 + (4 * i))
                .Concat(Enumerable.Range(0, 10).Select(i => (int)catalog + 14 + (4 * i))))
            {
                uint old = BinaryPrimitives.ReadUInt32BigEndian(disk.AsSpan(offset));
                BinaryPrimitives.WriteUInt32BigEndian(disk.AsSpan(offset), absurd);
                TryReadAll(disk);
                BinaryPrimitives.WriteUInt32BigEndian(disk.AsSpan(offset), old);
            }
        }
    }

    [CorpusFact]
    public void Folders_that_contain_each_other_are_left_out()
    {
        // The folder's own record is moved into itself: its key's parent becomes its own id.
        byte[] disk = Corpus.OpenRaw(Sample).ToArray();
        int name = disk.AsSpan().IndexOf(System.Text.Encoding.BigEndianUnicode.GetBytes("a_directory"));
        Span<byte> key = disk.AsSpan(name - 8);
        uint id = BinaryPrimitives.ReadUInt32BigEndian(key[(8 + 22 + 8)..]);
        BinaryPrimitives.WriteUInt32BigEndian(key[2..], id);
        using SourceTree tree = HfsPlusVolume.Open(new MemoryStorage(disk)).ReadTree();
        Assert.Contains(tree.Omissions, o => o.Path!.EndsWith("/a_directory", StringComparison.Ordinal)
            && o.Message.Contains("contain each other", StringComparison.Ordinal));
        Assert.True(tree.OmittedCount >= 2); // and what is in it
        Assert.NotEmpty(tree.Root.Children);
    }

    [CorpusFact]
    public void The_alternate_header_stands_in()
    {
        byte[] disk = Corpus.OpenRaw(Sample).ToArray();
        disk.AsSpan(1024, 512).Clear();
        Assert.True(HfsPlusVolume.IsMatch(new MemoryStorage(disk)));
        Assert.Equal("hfsplus_test", HfsPlusVolume.Open(new MemoryStorage(disk)).Name);
        disk.AsSpan(disk.Length - 1024, 512).Clear();
        Assert.False(HfsPlusVolume.IsMatch(new MemoryStorage(disk)));
        Assert.Equal(VolumeKind.Unknown, VolumeDetection.Open(new MemoryStorage(disk), out _).Kind);
        Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => HfsPlusVolume.Open(new MemoryStorage(disk))).Id);
    }

    [CorpusFact]
    public void Nothing_is_free_where_bitmap_and_header_disagree_or_the_volume_is_dirty()
    {
        byte[] disk = Corpus.OpenRaw(Sample).ToArray();
        Assert.NotEmpty(HfsPlusVolume.Open(new MemoryStorage(disk)).GetFreeExtents());
        byte[] fewer = [.. disk];
        BinaryPrimitives.WriteUInt32BigEndian(fewer.AsSpan(1024 + 48), 970); // one less than the bitmap's
        Assert.Empty(HfsPlusVolume.Open(new MemoryStorage(fewer)).GetFreeExtents());
        byte[] dirty = [.. disk];
        dirty[1024 + 6] &= 0xFE; // the bit "unmounted"
        Assert.Empty(HfsPlusVolume.Open(new MemoryStorage(dirty)).GetFreeExtents());
    }

    private int _incomplete;

    // Offset and length of headers and special files, from the volume header.
    private static IEnumerable<(long Offset, int Length)> Metadata(byte[] disk)
    {
        yield return (1024, 512);
        for (int fork = 1024 + 112; fork < 1024 + 512; fork += 80)
        {
            uint start = BinaryPrimitives.ReadUInt32BigEndian(disk.AsSpan(fork + 16)),
                count = BinaryPrimitives.ReadUInt32BigEndian(disk.AsSpan(fork + 20));
            if (count != 0) yield return (start * (long)BlockSize, (int)Math.Min(count * BlockSize, 64 << 10));
        }
    }

    private static (long Offset, int NodeSize) Catalog(byte[] disk)
    {
        long offset = BinaryPrimitives.ReadUInt32BigEndian(disk.AsSpan(1024 + 272 + 16)) * (long)BlockSize;
        return (offset, BinaryPrimitives.ReadUInt16BigEndian(disk.AsSpan((int)offset + 14 + 18)));
    }

    // Whether all could be read; a typed error is fine, anything else fails the test.
    private bool TryReadAll(byte[] disk)
    {
        ImageException? problem = MalformedInput.Try(() =>
        {
            using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(disk), out ImageException? fault);
            if (fault is not null) throw fault;
            _ = (volume.Name, volume.Kind, volume.CreationTime, volume.GetFreeExtents().Count());
            using SourceTree? tree = volume.ReadTree();
            if (tree?.OmittedCount > 0) _incomplete++;
            Assert.True(tree is null || tree.OmittedCount >= tree.Omissions.Count(o => o.Kind != ImagingWarningKind.Advice));
            byte[] buffer = new byte[4096];
            foreach (SourceEntry entry in tree?.Enumerate().Where(e => e.Kind == EntryKind.File) ?? [])
            {
                foreach (ForkKind kind in new[] { ForkKind.Data, ForkKind.Resource })
                {
                    using BlockStorage fork = tree!.OpenFork(entry, kind);
                    fork.Read(0, buffer.AsSpan(0, (int)Math.Min(fork.Length, buffer.Length)));
                    if (fork.Length > 0) _ = fork.GetExtents(0, fork.Length).Last();
                }
            }
        });
        Assert.True(problem is null || problem.Place is not null, problem?.Message);
        return problem is null;
    }
}
