using System.Buffers.Binary;
using System.IO.Compression;
using System.Runtime.CompilerServices;
using System.Text;
using CCImage.Compression;
using CCImage.FileSystems;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.Compression;

namespace CCImage.Tests.HfsPlus;

/// <summary>What no sample holds: made by hand from the descriptions of the formats.</summary>
public sealed class HfsPlusSpecialsTests
{
    private const string Sample = "log2timeline__dfvfs/hfsplus.raw.gz";

    [Fact]
    public void Master_directory_block_has_the_offsets_of_the_specification()
    {
        Assert.Equal(130, Unsafe.SizeOf<MasterDirectoryBlock>());
        Assert.Equal(
            0x14, (int)System.Runtime.InteropServices.Marshal.OffsetOf<MasterDirectoryBlock>(nameof(MasterDirectoryBlock.BlockSize)));
        Assert.Equal(0x1C,
            (int)System.Runtime.InteropServices.Marshal.OffsetOf<MasterDirectoryBlock>(nameof(MasterDirectoryBlock.FirstBlockSector)));
        Assert.Equal(0x24, (int)System.Runtime.InteropServices.Marshal.OffsetOf<MasterDirectoryBlock>(nameof(MasterDirectoryBlock.Name)));
        Assert.Equal(0x7C,
            (int)System.Runtime.InteropServices.Marshal.OffsetOf<MasterDirectoryBlock>(nameof(MasterDirectoryBlock.EmbeddedSignature)));
    }

    [CorpusFact]
    public void An_embedded_volume_is_found_in_its_wrapper()
    {
        byte[] inner = Corpus.OpenRaw(Sample).ToArray();
        const int Start = 8192, Unit = 4096;
        byte[] outer = new byte[Start + (3 * Unit) + inner.Length + Unit];
        inner.CopyTo(outer, Start + (3 * Unit));
        Span<byte> block = outer.AsSpan(1024);
        "BD"u8.CopyTo(block);
        BinaryPrimitives.WriteUInt32BigEndian(block[0x14..], Unit);
        BinaryPrimitives.WriteUInt16BigEndian(block[0x1C..], Start / 512);
        "H+"u8.CopyTo(block[0x7C..]);
        BinaryPrimitives.WriteUInt16BigEndian(block[0x7E..], 3);
        BinaryPrimitives.WriteUInt16BigEndian(block[0x80..], (ushort)(inner.Length / Unit));

        using FileSystemVolume volume = VolumeDetection.Open(new MemoryStorage(outer), out _);
        Assert.Equal((VolumeKind.HfsPlus, "hfsplus_test"), (volume.Kind, volume.Name));
        Assert.NotEmpty(volume.ReadTree()!.Root.Children);
        StorageExtent[] alone = [.. HfsPlusVolume.Open(new MemoryStorage(inner)).GetFreeExtents()];
        Assert.Equal(alone.Select(e => e with { Offset = e.Offset + Start + (3 * Unit) }), volume.GetFreeExtents());

        BinaryPrimitives.WriteUInt16BigEndian(block[0x80..], ushort.MaxValue); // not inside any more
        Assert.Equal(VolumeKind.Hfs, VolumeDetection.Open(new MemoryStorage(outer), out _).Kind);
    }

    [CorpusFact]
    public void The_first_link_to_a_folder_is_the_folder_and_the_others_lead_to_it()
    {
        byte[] disk = Corpus.OpenRaw(Sample).ToArray();
        uint hiddenFolder = IdOf(disk, ".HFS+ Private Directory Data\r");
        int folder = FindKey(disk, "a_directory");
        uint parent = BinaryPrimitives.ReadUInt32BigEndian(disk.AsSpan(folder + 2));
        BinaryPrimitives.WriteUInt32BigEndian(disk.AsSpan(folder + 2), hiddenFolder);
        Encoding.BigEndianUnicode.GetBytes("dir_0000018").CopyTo(disk, folder + 8);
        MakeFolderLink(disk, "passwords.txt", 18);
        MakeFolderLink(disk, "fseventsd-uuid", 18);

        using SourceTree tree = HfsPlusVolume.Open(new MemoryStorage(disk)).ReadTree();
        Dictionary<string, SourceEntry> entries = tree.Enumerate().ToDictionary(e => e.RelativePath);
        Assert.Equal(2u, parent);
        Assert.Equal(EntryKind.Directory, entries["passwords.txt"].Kind);
        Assert.Equal(53, entries["passwords.txt/a_file"].Size);
        Assert.Equal((EntryKind.SymbolicLink, "../passwords.txt"),
            (entries[".fseventsd/fseventsd-uuid"].Kind, entries[".fseventsd/fseventsd-uuid"].LinkTarget));
        Assert.DoesNotContain(entries.Keys, k => k.Contains("dir_", StringComparison.Ordinal));

        MakeFolderLink(disk, "another_file", 19);
        using SourceTree without = HfsPlusVolume.Open(new MemoryStorage(disk)).ReadTree();
        Assert.Contains("leads to folder 19", Assert.Single(without.Omissions).Message, StringComparison.Ordinal);
        Assert.Contains(without.Enumerate(), e => e.RelativePath == "passwords.txt/a_file");
    }

    [Fact]
    public void Content_that_the_file_system_compressed_is_decompressed()
    {
        byte[] small = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("hello ", 100)));
        Assert.Equal(small,
            Read(CompressedFile.TryParse(Attribute(3, small.Length, Deflate(small)))!.Open(null, () => new MemoryStorage([]), () => "x")));
        Assert.Equal(
            small, Read(
            CompressedFile.TryParse(Attribute(3, small.Length, [0xFF, .. small]))!.Open(null, () => new MemoryStorage([]), () => "x")));
        Assert.Equal(
            small, Read(CompressedFile.TryParse(Attribute(1, small.Length, small))!.Open(null, () => new MemoryStorage([]), () => "x")));

        byte[] large = new byte[200_000];
        new Random(3).NextBytes(large.AsSpan(65536, 65536));
        CompressedFile file = CompressedFile.TryParse(Attribute(4, large.Length, []))!;
        Assert.True(file.IsInResourceFork);
        using BlockStorage storage = file.Open(new MemoryStorage(ResourceFork(large)), () => new MemoryStorage([]), () => "x");
        Assert.Equal(large, Read(storage));
        byte[] across = new byte[70_000];
        storage.Read(60_000, across);
        Assert.Equal(large[60_000..130_000], across);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(10)]
    [InlineData(12)]
    public void Content_in_blocks_of_the_newer_methods_is_decompressed(int type)
    {
        byte[] large = [.. BlockSamples.Text(150_000, 4), .. BlockSamples.Random(50_000, 5)];
        byte[] fork = OffsetFork(large, (uint)type);
        using BlockStorage storage =
            CompressedFile.TryParse(
                Attribute((uint)type, large.Length, []))!.Open(new MemoryStorage(fork), () => new MemoryStorage([]), () => "x");
        Assert.Equal(large, Read(storage));
        byte[] across = new byte[70_000];
        storage.Read(60_000, across);
        Assert.Equal(large[60_000..130_000], across);

        byte[] small = large[..3000];
        Assert.Equal(
            small, Read(
            CompressedFile.TryParse(
            Attribute((uint)type - 1, small.Length, Compress(small, (uint)type)))!.Open(null, () => new MemoryStorage([]), () => "x")));
        for (int i = 0; i < 400; i++)
        {
            byte[] changed = [.. fork];
            changed[i * 31 % 3000] ^= (byte)(1 << (i % 8));
            MalformedInput.Try(
                () => Read(CompressedFile.TryParse(
                Attribute((uint)type, large.Length, []))!.Open(new MemoryStorage(changed), () => new MemoryStorage([]), () => "x")));
        }
    }

    [OracleFact("lzfse")]
    public void Content_that_another_encoder_compressed_is_decompressed()
    {
        using var folder = new TemporaryFolder();
        foreach (int length in (int[])[100, 3000, 60_000])
        {
            byte[] plain = BlockSamples.Text(length, length);
            File.WriteAllBytes(folder["plain"], plain);
            Oracle.RunForBytes("lzfse", "-encode", "-i", folder["plain"], "-o", folder["coded"]);
            byte[] coded = File.ReadAllBytes(folder["coded"]);
            Assert.Equal(
                plain, Read(CompressedFile.TryParse(Attribute(11, length, coded))!.Open(null, () => new MemoryStorage([]), () => "x")));
            if (!coded.AsSpan().StartsWith("bvxn"u8)) continue;

            // Short input is LZVN in a block with a header of twelve bytes; the file system keeps it without.
            int payload = BinaryPrimitives.ReadInt32LittleEndian(coded.AsSpan(8));
            Assert.Equal(
                plain, Read(
                CompressedFile.TryParse(
                Attribute(7, length, coded[12..(12 + payload)]))!.Open(null, () => new MemoryStorage([]), () => "x")));
        }
    }

    [Fact]
    public void Compressed_content_that_cannot_be_read_is_a_typed_error()
    {
        foreach (uint type in new uint[] { 2, 5, 13, 14, 99 })
            Assert.Equal(
                ImageErrorId.UnsupportedFormat,
                Assert.Throws<ImageException>(() =>
                CompressedFile.TryParse(Attribute(type, 5, []))!.Open(new MemoryStorage(16), () => new MemoryStorage([]), () => "x")).Id);
        Assert.Null(CompressedFile.TryParse(new byte[15]));
        Assert.Null(CompressedFile.TryParse(new byte[16]));
        byte[] withDictionary = Convert.FromHexString("78F9636040050000100001"); // as in ZlibCodecTests
        byte[][] damaged =
        [
            Attribute(3, 100, [1, 2, 3]), Attribute(3, long.MaxValue, [1]), Attribute(1, 5, [1]), Attribute(3, 100, Deflate(new byte[99])),
            Attribute(3, 16, withDictionary),
        ];
        foreach (byte[] value in damaged)
            Assert.Equal(ImageErrorId.ImageDamaged,
                Assert.Throws<ImageException>(() => CompressedFile.TryParse(value)!.Open(null, () => new MemoryStorage([]), () => "x")).Id);

        byte[] content = new byte[100_000];
        byte[] fork = ResourceFork(content);
        for (int i = 0; i < fork.Length; i++)
        {
            byte old = fork[i];
            fork[i] ^= 0xFF;
            try
            {
                Read(CompressedFile.TryParse(
                    Attribute(4, content.Length, []))!.Open(new MemoryStorage(fork), () => new MemoryStorage([]), () => "x"));
            }
            catch (ImageException e)
            {
                Assert.Equal(ImageErrorId.ImageDamaged, e.Id);
            }

            fork[i] = old;
        }
    }

    [Fact]
    public void Names_are_composed_only_where_decomposing_gives_them_back()
    {
        Assert.Equal("été", HfsPlusNames.FromDisk("e\u0301te\u0301"));
        Assert.Equal("한글", HfsPlusNames.FromDisk("한글".Normalize(NormalizationForm.FormD)));
        Assert.Equal("a:b/c", HfsPlusNames.FromDisk("a/b:c"));
        Assert.Equal("\u2400x", HfsPlusNames.FromDisk("\0x"));
        Assert.Equal("\uF900é", HfsPlusNames.FromDisk("\uF900e\u0301")); // a compatibility ideograph, never decomposed
        Assert.Equal("\u212B", HfsPlusNames.FromDisk("\u212B")); // the Ångström sign
        Assert.Equal("é", HfsPlusNames.FromDisk("é")); // stored composed, against the rule
        Assert.Equal("e\u0301\uD800", HfsPlusNames.FromDisk("e\u0301\uD800")); // half a pair
    }

    [CorpusFact]
    public void Other_file_systems_are_told_apart()
    {
        using FileSystemVolume hfs = VolumeDetection.Open(Corpus.OpenRaw("rizinorg__rizin-testbins/hfs.img"), out _);
        Assert.Equal(VolumeKind.Hfs, hfs.Kind);
        using FileSystemVolume apfs = VolumeDetection.Open(Corpus.OpenRaw("log2timeline__dfvfs/apfs.raw.gz"), out _);
        Assert.Equal((VolumeKind.Apfs, "apfs_test", 1014L * 4096), (apfs.Kind, apfs.Name, apfs.CapacityBytes));
        using MemoryStorage disk = Corpus.OpenRaw("balena-io-modules__etcher-sdk/etcher-test.img.gz");
        using FileSystemVolume fat = VolumeDetection.Open(new WindowStorage(disk, 128 * 512, 2048 * 512), out _);
        Assert.Equal((VolumeKind.Fat12, "NEW VOLUME", 2048L * 512), (fat.Kind, fat.Name, fat.CapacityBytes));
        Assert.True(fat.HasReadableTree(0));
        Assert.False(hfs.HasReadableTree(0));
        Assert.Null(hfs.ReadTree());
    }

    private static byte[] Read(BlockStorage storage)
    {
        byte[] bytes = new byte[storage.Length];
        storage.Read(0, bytes);
        return bytes;
    }

    // One block by a method: LZVN as literals alone, in runs of up to 271.
    private static byte[] Compress(byte[] plain, uint type)
    {
        if (type == 10) return [0xCC, .. plain];
        if (type == 12)
        {
            byte[] room = new byte[plain.Length + 4096];
            return room[..new LzfseCodec().Encode(plain, room)];
        }

        var coded = new List<byte>();
        foreach (byte[] run in plain.Chunk(271))
            coded.AddRange(run.Length < 16 ? [(byte)(0xE0 | run.Length), .. run] : [0xE0, (byte)(run.Length - 16), .. run]);
        return [.. coded, 0x06, 0, 0, 0, 0, 0, 0, 0];
    }

    // The last block is stored as it is.
    private static byte[] OffsetFork(byte[] content, uint type)
    {
        byte[][] parts = [.. content.Chunk(65536)];
        byte[][] blocks = [.. parts.Select((p, i) => i == parts.Length - 1 && type == 8 ? [0x06, .. p] : Compress(p, type))];
        var fork = new List<byte>();
        int offset = (blocks.Length + 1) * 4;
        foreach (byte[] block in blocks.Append([]))
        {
            fork.AddRange(BitConverter.GetBytes(offset));
            offset += block.Length;
        }

        return [.. fork, .. blocks.SelectMany(b => b)];
    }

    private static byte[] Attribute(uint type, long size, byte[] content)
    {
        byte[] value = new byte[16 + content.Length];
        "fpmc"u8.CopyTo(value);
        BinaryPrimitives.WriteUInt32LittleEndian(value.AsSpan(4), type);
        BinaryPrimitives.WriteInt64LittleEndian(value.AsSpan(8), size);
        content.CopyTo(value, 16);
        return value;
    }

    private static byte[] Deflate(ReadOnlySpan<byte> content)
    {
        using var target = new MemoryStream();
        using (var stream = new ZLibStream(target, CompressionLevel.Fastest, leaveOpen: true)) stream.Write(content);
        return target.ToArray();
    }

    private static byte[] ResourceFork(byte[] content)
    {
        byte[][] blocks = [.. content.Chunk(65536).Select((chunk, i) => i == 1 ? [0xFF, .. chunk] : Deflate(chunk))];
        byte[] header = new byte[256 + 4 + 4 + (8 * blocks.Length)];
        BinaryPrimitives.WriteUInt32BigEndian(header, 256);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(260), (uint)blocks.Length);
        int offset = header.Length - 260;
        for (int i = 0; i < blocks.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(264 + (8 * i)), (uint)offset);
            BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(268 + (8 * i)), (uint)blocks[i].Length);
            offset += blocks[i].Length;
        }

        return [.. header, .. blocks.SelectMany(b => b)];
    }

    // The key of a folder or file record: the first occurrence of its name that is not a thread's.
    private static int FindKey(byte[] disk, string name)
    {
        byte[] bytes = Encoding.BigEndianUnicode.GetBytes(name);
        for (int at = 0; ;)
        {
            int found = disk.AsSpan(at).IndexOf(bytes);
            Assert.True(found >= 0, name);
            int key = at + found - 8;
            if (BinaryPrimitives.ReadUInt16BigEndian(disk.AsSpan(key)) == 6 + bytes.Length
                && BinaryPrimitives.ReadUInt16BigEndian(disk.AsSpan(key + 8 + bytes.Length)) is 1 or 2) return key;
            at += found + 1;
        }
    }

    private static uint IdOf(byte[] disk, string name) =>
        BinaryPrimitives.ReadUInt32BigEndian(disk.AsSpan(FindKey(disk, name) + 8 + (2 * name.Length) + 8));

    private static void MakeFolderLink(byte[] disk, string file, uint number)
    {
        Span<byte> record = disk.AsSpan(FindKey(disk, file) + 8 + (2 * file.Length));
        BinaryPrimitives.WriteUInt16BigEndian(record[2..], 0x22); // link chain, thread
        BinaryPrimitives.WriteUInt32BigEndian(record[44..], number); // 32 + 12: special
        "fdrpMACS"u8.CopyTo(record[48..]);
    }
}
