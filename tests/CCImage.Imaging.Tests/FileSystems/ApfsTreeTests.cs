using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using CCImage.Binary;
using CCImage.Containers.SparseImage;
using CCImage.Diagnostics;
using CCImage.FileSystems.Apfs;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.EndToEnd;

namespace CCImage.Tests.FileSystems;

/// <summary>The files of APFS volumes: what other writers put there, and records that cannot be true.</summary>
public sealed class ApfsTreeTests : IDisposable
{
    private const int BlockSize = 4096;
    private const int TypeOffset = 24, SubtypeOffset = 28;
    private const uint FileTree = 14, ExtentTree = 15; // OBJECT_TYPE_FSTREE, OBJECT_TYPE_BLOCKREFTREE
    private readonly TemporaryFolder _folder = new();
    private readonly SparseImageStorage _disk;

    public ApfsTreeTests()
    {
        _disk = SparseImageStorage.Create(FileStorage.CreateNew(_folder["image"]), ApfsSample.Length, ownsFile: true);
        ApfsSample.Write(_disk, 0);
    }

    public void Dispose()
    {
        _disk.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void Each_volume_has_its_own_files_as_they_were_written_last()
    {
        // The files are what seq prints; "changed" was overwritten in part, "deleted" is in the snapshot only.
        using ApfsContainer container = ApfsContainer.Open(_disk);
        for (int volume = 0; volume < ApfsSample.Volumes; volume++)
        {
            Assert.True(container.HasReadableTree(volume));
            using SourceTree tree = container.ReadTree(volume)!;
            SourceEntry[] files = [.. tree.Enumerate().Where(e => e.Kind == EntryKind.File)];
            Assert.Equal(container.Describe(1)[volume].FileCount, files.DistinctBy(f => f.NodeId).Count());
            Assert.All(files, f => Assert.Equal(files.Count(o => o.NodeId == f.NodeId) > 1 ? f.NodeId : 0, f.HardLinkId));
            Assert.Equal(container.Describe(1)[volume].FolderCount, tree.Enumerate().Count(e => e.Kind == EntryKind.Directory) - 1);
            Assert.DoesNotContain(files, f => f.Name == "deleted");
            Assert.Contains(files, f => f.RelativePath == "folder/changed");
            foreach (SourceEntry file in files)
            {
                string text = Encoding.ASCII.GetString(Read(tree, file));
                Assert.Equal(file.Size, text.Length);
                if (file.Name.StartsWith("numbers", StringComparison.Ordinal) || file.Name == "link")
                    Assert.Equal(Enumerable.Range(int.Parse(text.Split('\n')[0], CultureInfo.InvariantCulture), text.Count(c => c == '\n'))
                        .Select(n => $"{n}"), text.TrimEnd('\n').Split('\n'));
            }
        }
    }

    [Fact]
    public void A_name_that_leaves_its_folder_is_damage()
    {
        Change((record, type, key, value) =>
        {
            int at = key.IndexOf("changed\0"u8);
            if (type != ApfsRecordType.Entry || at < 0) return false;
            "../a/bc"u8.CopyTo(key[at..]);
            return true;
        });
        AssertLeftOut("whose name cannot be one");
    }

    [Fact]
    public void An_entry_that_leads_to_no_file_is_damage()
    {
        Change((record, type, key, value) =>
        {
            if (type != ApfsRecordType.Entry || key.IndexOf("changed\0"u8) < 0) return false;
            BinaryPrimitives.WriteUInt64LittleEndian(value, 99_999);
            return true;
        });
        AssertLeftOut("which is not there");
    }

    [Fact]
    public void A_folder_that_contains_itself_is_damage()
    {
        Change((record, type, key, value) =>
        {
            if (type != ApfsRecordType.Entry || key.IndexOf("changed\0"u8) < 0) return false;
            BinaryPrimitives.WriteUInt64LittleEndian(value, record); // the folder the entry lies in
            return true;
        });
        AssertLeftOut("lies in two places");
    }

    // The folder has its place and its files by the entries that lead to it and that it has.
    [Fact]
    public void A_folder_without_its_inode_is_listed_with_its_files()
    {
        HashSet<string> before = Paths();
        ulong folder = 0;
        Change((record, type, key, value) =>
        {
            if (type != ApfsRecordType.Inode || record <= ApfsFileConstants.RootFolder + 1
                || (BinaryPrimitives.ReadUInt16LittleEndian(value[80..]) & 0xF000) != 0x4000) return false;
            folder = record;
            key[7] = (byte)((key[7] & 0x0F) | 0x70); // another type of record
            return true;
        });
        Assert.NotEqual(0ul, folder);
        Assert.Equal(before, Paths());
        using ApfsContainer container = ApfsContainer.Open(_disk);
        ImagingWarning omission = Assert.Single(Enumerable.Range(0, ApfsSample.Volumes).SelectMany(v => container.ReadTree(v)!.Omissions));
        Assert.Equal((ImagingWarningKind.MetadataLost, "/folder"), (omission.Kind, omission.Path));
    }

    [CorpusFact]
    public void A_leaf_that_is_lost_is_told_and_the_other_files_are_listed()
    {
        BlockStorage disk = Corpus.OpenRaw("deploymenttheory__go-apfs-v2/basic.img.gz");
        byte[] bytes = new byte[disk.Length - (40 * 512)]; // the partition
        disk.Read(40 * 512, bytes);
        HashSet<string> Paths(out SourceTree tree)
        {
            tree = ApfsContainer.Open(new MemoryStorage(bytes)).ReadTree()!;
            return [.. tree.Enumerate().Select(e => e.RelativePath)];
        }

        HashSet<string> before = Paths(out SourceTree whole);
        Assert.Equal(0, whole.OmittedCount);
        int told = 0;
        for (int at = 0; at < bytes.Length; at += BlockSize)
        {
            Span<byte> block = bytes.AsSpan(at, BlockSize);
            ApfsNodeHeader header = Layout.Read<ApfsNodeHeader>(block);
            if (header.Object.Subtype != FileTree || (header.Flags & ApfsConstants.NodeLeaf) == 0
                || (header.Flags & ApfsConstants.NodeRoot) != 0 || !ApfsBlocks.IsIntact(block)) continue;
            block[2000] ^= 0x5A;
            HashSet<string> after = Paths(out SourceTree tree);
            Assert.True(after.IsSubsetOf(before) && after.Count > 1);
            if (tree.OmittedCount > 0) told++;
            Assert.Equal(after.Count < before.Count
                || tree.OmittedCount > 0, tree.Omissions.Any(o => o.Message.Contains("cannot be used", StringComparison.Ordinal)));
            block[2000] ^= 0x5A;
        }

        Assert.True(told > 1);
    }

    [Theory]
    [InlineData(0, 8, "do not follow")] // length
    [InlineData(8, 1L << 50, "leaves the container")] // address
    public void Extents_that_cannot_be_are_an_error_of_that_file_alone(int offset, long number, string problem)
    {
        Change((record, type, key, value) =>
        {
            if (type != ApfsRecordType.Extent) return false;
            BinaryPrimitives.WriteInt64LittleEndian(value[offset..], number);
            return true;
        });
        using ApfsContainer container = ApfsContainer.Open(_disk);
        string[] problems =
        [
            .. Enumerable.Range(0, ApfsSample.Volumes).SelectMany(v =>
            {
                using SourceTree tree = container.ReadTree(v)!;
                return tree.Enumerate().Where(e => e.Kind == EntryKind.File).Select(f => Record.Exception(() => Read(tree, f)))
                    .OfType<ImageException>().Select(e => e.Problem).ToArray();
            }),
        ];
        Assert.Contains(problem, Assert.Single(problems.Distinct()), StringComparison.Ordinal);
    }

    [Fact]
    public void Content_in_the_cloud_is_no_damage()
    {
        Change((record, type, key, value) =>
        {
            if (type != ApfsRecordType.Inode || (BinaryPrimitives.ReadUInt16LittleEndian(value[80..]) & 0xF000) != 0x8000) return false;
            BinaryPrimitives.WriteUInt32LittleEndian(value[68..], ApfsFileConstants.DatalessFlag);
            return true;
        });
        using ApfsContainer container = ApfsContainer.Open(_disk);
        var problems = new HashSet<ImageErrorId>();
        for (int volume = 0; volume < ApfsSample.Volumes; volume++)
        {
            using SourceTree tree = container.ReadTree(volume)!;
            foreach (SourceEntry file in tree.Enumerate().Where(e => e.Kind == EntryKind.File))
                if (Record.Exception(() => Read(tree, file)) is ImageException e) problems.Add(e.Id);
        }

        Assert.Equal([ImageErrorId.UnsupportedFormat], problems);
    }

    // Found by fuzzing: growing moves the checkpoints, and what was there is free then.
    [Fact]
    public void A_file_in_an_area_of_the_container_is_damage()
    {
        Change(
            (record, type, key, value) =>
            {
                // an extent at block 1, where the checkpoint descriptors are
                BinaryPrimitives.WriteUInt64LittleEndian(key, 1 | (2UL << ApfsConstants.TypeShift));
                return true;
            },
            ExtentTree);
        using ApfsContainer container = ApfsContainer.Open(_disk);
        var findings = new ImageFindings("container");
        container.Check(findings, CancellationToken.None);
        Assert.Contains(findings.ToList(), f =>
            f.Message.Contains("keeps for itself", StringComparison.Ordinal) && f.Grade == ImageFindingGrade.Damaged);
    }

    // Whatever stands in the nodes, with their checksums right: files are read, or it is damage.
    [Fact]
    public void Flipped_bits_under_a_right_checksum_never_do_more_than_damage()
    {
        var random = new Random(7);
        (long At, byte[] Block, int[] Used)[] nodes = [.. FindNodes().Select(Load).Where(n => n.Used.Length > 0)];
        int damaged = 0;
        for (int i = 0; i < 300; i++)
        {
            (long at, byte[] block, int[] used) = nodes[random.Next(nodes.Length)];
            byte[] changed = [.. block];
            changed[used[random.Next(used.Length)]] ^= (byte)(1 << random.Next(8));
            ApfsBlocks.Seal(changed);
            _disk.Write(at, changed);
            if (ReadAll() is not null) damaged++;
            _disk.Write(at, block);
        }

        Assert.InRange(damaged, 10, 290);
        Assert.Null(ReadAll());

        // Bytes of the header behind the object's, and of keys and values.
        (long At, byte[] Block, int[] Used) Load(long at)
        {
            byte[] block = new byte[BlockSize];
            _disk.Read(at, block);
            var node = new ApfsNode(block, "node");
            IEnumerable<int> used = Enumerable.Range(32, 24);
            for (int i = 0; i < node.Count; i++) used = used.Concat(RangeOf(block, node.Key(i))).Concat(RangeOf(block, node.Value(i)));
            return (at, block, [.. used]);
        }

        static IEnumerable<int> RangeOf(byte[] block, ReadOnlySpan<byte> part) =>
            ((ReadOnlySpan<byte>)block).Overlaps(part, out int offset) ? Enumerable.Range(offset, part.Length) : [];
    }

    [CorpusFact]
    public void Metadata_is_what_the_volume_has()
    {
        using DiskImage image =
            DiskImage.Open(CorpusImage.All.Single(s => s.File == "deploymenttheory__go-apfs-v2/basic.dmg").Materialise(_folder[""]));
        using SourceTree tree = image.ReadTree(null, default);
        Dictionary<string, SourceEntry> entries = tree.Enumerate().ToDictionary(e => e.RelativePath);
        Assert.Equal(0x1EDu, entries["script.sh"].Mode);
        Assert.Equal("hello.txt", entries["link-to-hello"].LinkTarget);
        Assert.Equal((entries["hello.txt"].NodeId, entries["hello.txt"].NodeId),
            (entries["hello.txt"].HardLinkId, entries["hardlink-to-hello"].HardLinkId));
        Assert.Equal(0, entries["random.bin"].HardLinkId);
        Assert.Equal((34, 23893, 0u),
            (entries["rsrc.txt"].ResourceForkSize, entries["compressed.txt"].Size, entries["compressed.txt"].Flags & 0x20));
        Assert.All(entries.Values, e => Assert.InRange(e.ModifyTime.ToDateTimeOffset().Year, 2024, 2026));
    }

    // Many nodes, holes, links to the same file, attributes with extents of their own, names of every length: written by the Linux driver
    // of other people.
    [OracleFact("mkapfs", "apfsck", "uml-apfs")]
    public void What_another_driver_wrote_is_read()
    {
        string raw = _folder["container"];
        ForeignApfs.Make(raw, 90 << 20);
        var driver = new ForeignApfs(_folder, 1, 0);
        string read = driver.Run(raw, """
            set -e
            mount -t apfs -o rw /dev/ubda /mnt
            cd /mnt
            i=0
            while [ $i -lt 900 ]; do d=many/$((i / 500)); mkdir -p $d
            seq $i $((i + 20)) > "$d/a file with a name of some length $i"; i=$((i + 1)); done
            long=$(seq -s x 1 84); echo long > $(echo $long | cut -c 1-250)
            echo umlaut > 'Ä ü ß 漢字 😀'
            dd if=/dev/zero of=holes bs=4096 count=1 seek=2000 2> /dev/null
            echo data | dd of=holes bs=4096 seek=700 conv=notrunc 2> /dev/null
            : > empty
            seq 1 200000 > large; i=0
            while [ $i -lt 15 ]; do echo $i | dd of=large bs=4096 seek=$((i * 5)) conv=notrunc 2> /dev/null
            echo $i > between$i; sync; i=$((i + 1)); done
            ln large sub-name; mkdir -p sub; ln large sub/other-name; ln -s ../large sub/link
            mkfifo fifo; mknod device c 3 7
            chown 501:20 large; chmod 4755 large; touch -d '2001-02-03 04:05:06' large
            setfattr -n osx.small -v value large
            setfattr -n osx.big -v "$(seq -s , 1 2500)" large
            sync
            find . -type f -print0 | sort -z | xargs -0 sha256sum
            cd /; umount /mnt
            """, null);
        using FileStorage storage = FileStorage.OpenRead(raw);
        using ApfsContainer container = ApfsContainer.Open(storage);
        using SourceTree tree = container.ReadTree(0)!;
        Dictionary<string, SourceEntry> entries = tree.Enumerate().ToDictionary(e => e.RelativePath);
        Assert.Equal(read.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal),
            ForeignApfs.HashesOf(tree).Order(StringComparer.Ordinal));
        Assert.True(entries.Count > 920);
        SourceEntry large = entries["large"];
        Assert.Equal((0x9EDu, 501u, 20u, 981173106L), (large.Mode, large.UserId, large.GroupId, large.ModifyTime.Seconds));
        Assert.Equal((large.HardLinkId, large.NodeId), (entries["sub-name"].HardLinkId, entries["sub/other-name"].HardLinkId));
        Assert.Equal("../large", entries["sub/link"].LinkTarget);
        // the driver keeps the device's numbers as Linux has them
        Assert.Equal((EntryKind.Fifo, EntryKind.CharacterDevice), (entries["fifo"].Kind, entries["device"].Kind));
        Assert.Equal("value", Encoding.ASCII.GetString(Read(tree.OpenAttribute(large, large.Attributes.Single(a => a.Name == "small")))));
        Assert.Equal(string.Join(',', Enumerable.Range(1, 2500)),
            Encoding.ASCII.GetString(Read(tree.OpenAttribute(large, large.Attributes.Single(a => a.Name == "big")))));
        using BlockStorage holes = tree.OpenFork(entries["holes"], ForkKind.Data);
        Assert.True(holes.GetExtents(0, holes.Length).Where(e => e.Kind == ExtentKind.Data).Sum(e => e.Length) < 100_000, "holes are read");
    }

    private static byte[] Read(SourceTree tree, SourceEntry file) => Read(tree.OpenFork(file, ForkKind.Data));

    private static byte[] Read(BlockStorage content)
    {
        using (content)
        {
            byte[] bytes = new byte[content.Length];
            content.Read(0, bytes);
            return bytes;
        }
    }

    private ImageException? ReadAll()
    {
        try
        {
            using ApfsContainer container = ApfsContainer.Open(_disk);
            for (int volume = 0; volume < ApfsSample.Volumes; volume++)
            {
                using SourceTree tree = container.ReadTree(volume)!;
                foreach (SourceEntry entry in tree.Enumerate())
                {
                    if (entry.Kind == EntryKind.File)
                    {
                        using BlockStorage content = tree.OpenFork(entry, ForkKind.Data);
                        content.Read(0, new byte[Math.Min(content.Length, 1 << 20)]);
                    }

                    foreach (ExtendedAttribute attribute in entry.Attributes) tree.OpenAttribute(entry, attribute).Dispose();
                }
            }

            return null;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            return e;
        }
    }

    // Said, and all other files are read.
    private void AssertLeftOut(string problem)
    {
        Assert.Null(ReadAll());
        using ApfsContainer container = ApfsContainer.Open(_disk);
        SourceTree[] trees = [.. Enumerable.Range(0, ApfsSample.Volumes).Select(v => container.ReadTree(v)!)];
        ImagingWarning omission = Assert.Single(trees.SelectMany(t => t.Omissions));
        Assert.Contains(problem, omission.Message, StringComparison.Ordinal);
        Assert.Equal(1, trees.Sum(t => t.OmittedCount));
        Assert.All(trees, t => Assert.NotEmpty(t.Root.Children));
        var findings = new ImageFindings("image");
        container.Check(findings, CancellationToken.None);
        Assert.Contains(
            findings.ToList(), f => f.Grade == ImageFindingGrade.Damaged && f.Message.Contains(problem, StringComparison.Ordinal));
    }

    private HashSet<string> Paths()
    {
        using ApfsContainer container = ApfsContainer.Open(_disk);
        return [.. Enumerable.Range(0, ApfsSample.Volumes)
            .SelectMany(v => container.ReadTree(v)!.Enumerate().Select(e => $"{v}/{e.RelativePath}"))];
    }

    private IEnumerable<long> FindNodes(uint tree = FileTree)
    {
        byte[] block = new byte[BlockSize];
        foreach (StorageExtent extent in _disk.GetExtents(0, _disk.Length).Where(e => e.Kind == ExtentKind.Data))
        {
            for (long at = extent.Offset / BlockSize * BlockSize; at < extent.End; at += BlockSize)
            {
                _disk.Read(at, block);
                uint type = BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(TypeOffset)) & ApfsConstants.ObjectTypeMask;
                if ((ApfsObjectType)type is not (ApfsObjectType.BTreeRoot or ApfsObjectType.BTreeNode)
                    || BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(SubtypeOffset)) != tree) continue;
                if (ApfsBlocks.IsIntact(block)) yield return at;
            }
        }
    }

    // Changes the first record that is to be changed, in the newest version of its node (a snapshot has older ones), and gives the node its
    // checksum.
    private void Change(RecordChange change, uint tree = FileTree)
    {
        foreach (long at in FindNodes(tree).OrderByDescending(TransactionOf))
        {
            byte[] block = new byte[BlockSize];
            _disk.Read(at, block);
            var node = new ApfsNode(block, "node");
            for (int i = 0; node.IsLeaf && i < node.Count; i++)
            {
                ReadOnlySpan<byte> key = node.Key(i), value = node.Value(i);
                Assert.True(((ReadOnlySpan<byte>)block).Overlaps(key, out int keyAt));
                int valueAt = 0;
                Assert.True(value.IsEmpty || ((ReadOnlySpan<byte>)block).Overlaps(value, out valueAt));
                ulong head = ApfsFileTree.HeadOf(node, i);
                if (!change(head & ApfsConstants.AddressMask, (ApfsRecordType)(head >> ApfsConstants.TypeShift),
                    block.AsSpan(keyAt, key.Length), block.AsSpan(valueAt, value.Length))) continue;
                ApfsBlocks.Seal(block);
                _disk.Write(at, block);
                return;
            }
        }

        Assert.Fail("There is no such record.");
    }

    private ulong TransactionOf(long at)
    {
        byte[] header = new byte[32];
        _disk.Read(at, header);
        return Layout.Read<ApfsObjectHeader>(header).TransactionId;
    }

    private delegate bool RecordChange(ulong record, ApfsRecordType type, Span<byte> key, Span<byte> value);
}
