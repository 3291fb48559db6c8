using System.Buffers.Binary;
using System.Text;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>
/// A second opinion on a volume's bytes, written apart from the product's structures, so that our writer is not judged by our reader alone:
/// strict where the product's checker must be tolerant (slack, unused nodes, sizes of everything), and comparing with the source. The
/// checker is run, too.
/// </summary>
internal sealed class VolumeAudit
{
    private readonly FileStream _file;
    private readonly uint _blockSize;
    private readonly uint _totalBlocks;
    private readonly HashSet<long> _claimed = [];
    private readonly bool _claimBlocks;
    private readonly bool _caseSensitive;
    private readonly Dictionary<(uint, byte, uint), byte[]> _overflow = [];

    private VolumeAudit(FileStream file, bool claimBlocks)
    {
        _file = file;
        _claimBlocks = claimBlocks;
        Header = At(1024, 512);
        _blockSize = U32(Header, 40);
        _totalBlocks = U32(Header, 44);
        _caseSensitive = U16(Header, 0) == 0x4858;
    }

    public byte[] Header { get; }

    public Dictionary<uint, Item> ById { get; } = [];

    public Dictionary<string, Item> ByPath { get; } = [];

    public int CatalogDepth { get; private set; }

    public bool HasMapNodes { get; private set; }

    public int OverflowRecords => _overflow.Count;

    /// <summary>Reads the volume and checks everything that does not need the source.</summary>
    public static VolumeAudit Run(VolumeFile volume, bool claimBlocks = true)
    {
        using FileStream file = File.OpenRead(volume.Path);
        var audit = new VolumeAudit(file, claimBlocks);
        audit.Check();
        HfsPlusCheckerTests.AssertSound(volume.Path);
        return audit;
    }

    /// <summary>Checks that the volume holds the tree, whole.</summary>
    public static VolumeAudit Compare(VolumeFile volume, TestTree tree)
    {
        using FileStream file = File.OpenRead(volume.Path);
        var audit = new VolumeAudit(file, true);
        audit.Check();
        HfsPlusCheckerTests.AssertSound(volume.Path);
        foreach (SourceEntry entry in tree.Enumerate()) audit.CompareEntry(tree, entry);
        return audit;
    }

    internal sealed record Item(uint Id, uint Parent, string Name, bool IsFolder, byte[] Record)
    {
        public Dictionary<string, byte[]> Attributes { get; } = [];

        public int Children { get; set; }

        public int Folders { get; set; }

        public bool HasThread { get; set; }

        public ushort Mode => U16(Record, 42);

        public ushort Flags => U16(Record, 2);

        public uint Special => U32(Record, 44);
    }

    private static ushort U16(byte[] b, int o) => BinaryPrimitives.ReadUInt16BigEndian(b.AsSpan(o));

    private static uint U32(byte[] b, int o) => BinaryPrimitives.ReadUInt32BigEndian(b.AsSpan(o));

    private static ulong U64(byte[] b, int o) => BinaryPrimitives.ReadUInt64BigEndian(b.AsSpan(o));

    private byte[] At(long offset, int count)
    {
        byte[] bytes = new byte[count];
        _file.Position = offset;
        _file.ReadExactly(bytes);
        return bytes;
    }

    private void Check()
    {
        Assert.Equal(Header, At(_file.Length - 1024, 512));
        Assert.All(At(0, 1024), b => Assert.Equal(0, b));
        Claim(0, 1);
        Claim(_totalBlocks - 1, 1);
        ReadFork(Header, 112, 6, 0, read: false);
        foreach (byte[] record in Tree(192, 3, CompareExtentKeys))
            _overflow.Add((U32(record, 4), record[2], U32(record, 8)), record[12..]);
        CheckCatalog();
        CheckAttributes();
        CheckJournal();
        CheckCounts();
        CheckBitmap();
    }

    private void CheckCatalog()
    {
        var threads = new List<(uint Id, bool Folder, uint Parent, string Name)>();
        foreach (byte[] record in Tree(272, 4, CompareCatalogKeys))
        {
            int key = U16(record, 0);
            uint parent = U32(record, 2);
            string name = Name(record, 8, U16(record, 6));
            Assert.Equal(6 + (2 * name.Length), key);
            byte[] data = record[(key + 2)..];
            int type = U16(data, 0);
            if (type is 1 or 2)
            {
                Assert.Equal(type == 1 ? 88 : 248, data.Length);
                var item = new Item(U32(data, 8), parent, name, type == 1, data);
                Assert.True(ById.TryAdd(item.Id, item), $"duplicate id {item.Id}");
                string decomposed = new([.. name.Where(c => c is < '\u2000' or > '\u2FFF' and < '\uF900' or > '\uFAFF')]);
                Assert.Equal(decomposed.Normalize(NormalizationForm.FormD), decomposed);
            }
            else
            {
                Assert.Equal("", name);
                threads.Add((parent, type == 3, U32(data, 4), Name(data, 10, U16(data, 8))));
                Assert.Equal(10 + (2 * U16(data, 8)), data.Length);
            }
        }

        foreach ((uint id, bool folder, uint parent, string name) in threads)
        {
            Item item = ById[id];
            Assert.Equal((item.IsFolder, item.Parent, item.Name), (folder, parent, name));
            Assert.False(item.HasThread);
            item.HasThread = true;
        }

        foreach (Item item in ById.Values)
        {
            Assert.True(item.HasThread, item.Name);
            if (!item.IsFolder) Assert.NotEqual(0, item.Flags & 2);
            if (item.Id == 2)
            {
                Assert.Equal(1u, item.Parent);
                continue;
            }

            Item folder = ById[item.Parent];
            Assert.True(folder.IsFolder);
            folder.Children++;
            if (item.IsFolder) folder.Folders++;
        }

        foreach (Item item in ById.Values)
        {
            Assert.True(ByPath.TryAdd(PathOf(item), item), PathOf(item));
            if (item.IsFolder)
            {
                Assert.Equal((uint)item.Children, U32(item.Record, 4));
                if (_caseSensitive) Assert.NotEqual(0, item.Flags & 0x10);
                Assert.Equal((item.Flags & 0x10) != 0 ? (uint)item.Folders : 0u, U32(item.Record, 84));
            }
            else
            {
                _ = ReadFork(item.Record, 88, item.Id, 0, read: false);
                _ = ReadFork(item.Record, 168, item.Id, 0xFF, read: false);
                if ((item.Mode & 0xF000) == 0xA000) Assert.Equal("slnkrhap", Encoding.ASCII.GetString(item.Record, 48, 8));
                if (Encoding.ASCII.GetString(item.Record, 48, 8) == "hlnkhfs+") CheckLink(item);
            }

            Assert.NotEqual(0, item.Mode & 0xF000);
        }

        Assert.Equal(U32(Header, 64), ById.Keys.Max() + 1);
        Assert.True(ById.ContainsKey(2));
    }

    private void CheckLink(Item link)
    {
        Item privateFolder = ById.Values.Single(i => i.Name == "\0\0\0\0HFS+ Private Data");
        Assert.Equal(0x22, link.Flags);
        Assert.Equal(0x8124, link.Mode);
        Assert.Equal(2, link.Record[41]);
        Assert.Equal(U32(privateFolder.Record, 12), U32(link.Record, 12));
        Item inode = ById[link.Special];
        Assert.Equal(("iNode" + link.Special, privateFolder.Id), (inode.Name, inode.Parent));
        Assert.NotEqual(0, inode.Flags & 0x20);
        // Follow the chain: each name once, links back in agreement, as many as the inode counts.
        var seen = new HashSet<uint>();
        uint before = 0;
        for (uint id = U32(inode.Record, 4); id != 0; id = U32(ById[id].Record, 36))
        {
            Assert.True(seen.Add(id));
            Assert.Equal(before, U32(ById[id].Record, 32));
            Assert.Equal(inode.Id, ById[id].Special);
            before = id;
        }

        Assert.Contains(link.Id, seen);
        Assert.Equal(inode.Special, (uint)seen.Count);
    }

    private void CheckAttributes()
    {
        byte[]? pending = null;
        (uint Id, string Name) owner = default;
        int have = 0;
        foreach (byte[] record in Tree(352, 8, CompareAttributeKeys))
        {
            int key = U16(record, 0);
            uint id = U32(record, 4), start = U32(record, 8);
            string name = Name(record, 14, U16(record, 12));
            byte[] data = record[(key + 2)..];
            switch (U32(data, 0))
            {
                case 0x10:
                    Assert.Equal(0u, start);
                    ById[id].Attributes.Add(name, data[16..(16 + (int)U32(data, 12))]);
                    break;
                case 0x20:
                    Assert.Equal(0u, start);
                    pending = new byte[U64(data, 8)];
                    owner = (id, name);
                    have = Copy(pending, 0, data, 24);
                    ById[id].Attributes.Add(name, pending);
                    break;
                default:
                    Assert.Equal(0x30u, U32(data, 0));
                    Assert.Equal(owner, (id, name));
                    Assert.Equal((uint)(have / _blockSize), start);
                    have = Copy(pending!, have, data, 8);
                    break;
            }

            Assert.NotEqual(0, ById[id].Flags & 4);
        }

        foreach (Item item in ById.Values) Assert.Equal(item.Attributes.Count > 0, (item.Flags & 4) != 0);
    }

    private int Copy(byte[] value, int at, byte[] record, int extents)
    {
        for (int i = 0; i < 8; i++)
        {
            uint start = U32(record, extents + (8 * i)), count = U32(record, extents + (8 * i) + 4);
            if (count == 0) break;
            Claim(start, count);
            byte[] bytes = At(start * (long)_blockSize, (int)(count * _blockSize));
            int part = Math.Clamp(value.Length - at, 0, bytes.Length);
            bytes.AsSpan(0, part).CopyTo(value.AsSpan(at));
            Assert.False(bytes.AsSpan(part).ContainsAnyExcept((byte)0));
            at += bytes.Length;
        }

        return at;
    }

    private void CheckJournal()
    {
        bool journaled = (U32(Header, 4) & 0x2000) != 0;
        Assert.Equal(journaled ? "HFSJ" : "10.0", Encoding.ASCII.GetString(Header, 8, 4));
        Assert.Equal(journaled, U32(Header, 12) != 0);
        if (!journaled) return;
        byte[] info = At(U32(Header, 12) * (long)_blockSize, 180);
        Assert.Equal(1u, U32(info, 0));
        long offset = (long)U64(info, 36), size = (long)U64(info, 44);
        Item journal = ByPath["/.journal"];
        Assert.Equal((ulong)size, U64(journal.Record, 88));
        Assert.Equal(offset, U32(journal.Record, 104) * (long)_blockSize);
        Assert.Equal(U32(Header, 12), U32(ByPath["/.journal_info_block"].Record, 104));
        byte[] head = At(offset, 512);
        Assert.Equal("784c4e4a78563412", Convert.ToHexStringLower(head[..8]));
        Assert.Equal(512, BinaryPrimitives.ReadInt64LittleEndian(head.AsSpan(8)));
        Assert.Equal(512, BinaryPrimitives.ReadInt64LittleEndian(head.AsSpan(16)));
        Assert.Equal(size, BinaryPrimitives.ReadInt64LittleEndian(head.AsSpan(24)));
        uint sum = BinaryPrimitives.ReadUInt32LittleEndian(head.AsSpan(36));
        head.AsSpan(36, 4).Clear();
        uint expected = 0;
        for (int i = 0; i < 44; i++) expected = unchecked((expected << 8) ^ (expected + head[i]));
        Assert.Equal(~expected, sum);
    }

    private void CheckCounts()
    {
        Assert.Equal((uint)ById.Values.Count(i => !i.IsFolder), U32(Header, 32));
        Assert.Equal((uint)ById.Values.Count(i => i.IsFolder) - 1, U32(Header, 36));
    }

    private void CheckBitmap()
    {
        if (!_claimBlocks) return;
        Assert.Equal(_totalBlocks - (uint)_claimed.Count, U32(Header, 48));
        uint start = U32(Header, 128);
        byte[] bits = At(start * (long)_blockSize, (int)U64(Header, 112));
        for (long block = 0; block < bits.Length * 8L; block++)
            Assert.True(((bits[block / 8] >> (int)(7 - (block % 8))) & 1) == 1 == _claimed.Contains(block), $"bit of block {block}");
    }

    private void Claim(uint start, uint count)
    {
        if (!_claimBlocks) return;
        for (uint i = 0; i < count; i++)
        {
            bool isNew = _claimed.Add(start + i);
            Assert.True(isNew || U32(Header, 12) == start || start + i == U32(Header, 12), $"block {start + i} is claimed twice");
        }
    }

    // Claims a fork's blocks and, if asked, reads it. Journal and info block are ordinary files here.
    private byte[] ReadFork(byte[] record, int at, uint id, byte kind, bool read)
    {
        ulong size = U64(record, at);
        uint total = U32(record, at + 12), seen = 0;
        byte[] content = new byte[read ? size : 0];
        (byte[] source, int extents) = (record, at + 16);
        while (true)
        {
            for (int i = 0; i < 8; i++)
            {
                uint start = U32(source, extents + (8 * i)), count = U32(source, extents + (8 * i) + 4);
                if (count == 0) break;
                if (read)
                {
                    byte[] bytes = At(start * (long)_blockSize, (int)(count * _blockSize));
                    long from = seen * (long)_blockSize;
                    int part = (int)Math.Clamp((long)size - from, 0, bytes.Length);
                    bytes.AsSpan(0, part).CopyTo(content.AsSpan((int)from));
                    Assert.False(bytes.AsSpan(part).ContainsAnyExcept((byte)0), "slack is not zero");
                }
                else
                {
                    Claim(start, count);
                }

                seen += count;
            }

            if (seen >= total) break;
            (source, extents) = (_overflow[(id, kind, seen)], 0);
        }

        Assert.Equal(total, seen);
        Assert.True(
            total * (ulong)_blockSize >= size
            && (total == 0 || (total - 1) * (ulong)_blockSize < size || id < 16 || total * (ulong)_blockSize == size || kind == 0
            && id <= 17));
        return content;
    }

    private static string Name(byte[] record, int offset, int length) => Encoding.BigEndianUnicode.GetString(record, offset, 2 * length);

    private string PathOf(Item item)
    {
        if (item.Id == 2) return "/";
        var names = new Stack<string>();
        for (Item at = item; at.Id != 2; at = ById[at.Parent]) names.Push(at.Name);
        return "/" + string.Join('\u0001', names);
    }

    // All leaf records, with every node, link, key order, index and map bit checked.
    private List<byte[]> Tree(int fork, uint id, Comparison<byte[]> compare)
    {
        ulong size = U64(Header, fork);
        uint start = U32(Header, fork + 16);
        Assert.Equal(U32(Header, fork + 12), U32(Header, fork + 20));
        Claim(start, U32(Header, fork + 12));
        long origin = start * (long)_blockSize;
        byte[] head = At(origin, 512);
        int nodeSize = U16(head, 14 + 18);
        byte[] Node(uint number) => At(origin + (number * (long)nodeSize), nodeSize);
        byte[] header = Node(0);
        Assert.Equal(1, header[8]);
        uint total = U32(header, 14 + 22), free = U32(header, 14 + 26);
        Assert.Equal(size, total * (ulong)nodeSize);
        int depth = U16(header, 14);
        var used = new HashSet<uint> { 0 };
        var map = new List<byte>(header[248..U16(header, nodeSize - 8)]);
        for (uint number = U32(header, 0); number != 0;)
        {
            byte[] node = Node(number);
            Assert.Equal(2, node[8]);
            Assert.True(used.Add(number));
            map.AddRange(node[14..U16(node, nodeSize - 4)]);
            number = U32(node, 0);
            HasMapNodes = true;
        }

        var records = new List<byte[]>();
        if (id == 4) CatalogDepth = depth;
        if (depth > 0)
        {
            // Level by level from the root; the next level's nodes are what this level's records point to, in order.
            List<(uint Number, byte[]? Key)> level = [(U32(header, 16), null)];
            for (int height = depth; height >= 1; height--)
            {
                var below = new List<(uint, byte[]?)>();
                byte[]? last = null;
                for (int i = 0; i < level.Count; i++)
                {
                    byte[] node = Node(level[i].Number);
                    Assert.True(used.Add(level[i].Number));
                    Assert.Equal(height == 1 ? 0xFF : 0, node[8]);
                    Assert.Equal(height, node[9]);
                    Assert.Equal(i > 0 ? level[i - 1].Number : 0, U32(node, 4));
                    Assert.Equal(i + 1 < level.Count ? level[i + 1].Number : 0, U32(node, 0));
                    int count = U16(node, 10);
                    Assert.True(count > 0);
                    for (int r = 0; r < count; r++)
                    {
                        byte[] record = node[U16(node, nodeSize - (2 * (r + 1)))..U16(node, nodeSize - (2 * (r + 2)))];
                        if (r == 0 && level[i].Key is byte[] promised) Assert.Equal(promised, record[..promised.Length]);
                        if (last is not null) Assert.True(compare(last, record) < 0, "keys out of order");
                        last = record;
                        if (height > 1) below.Add((U32(record, U16(record, 0) + 2), record[..(U16(record, 0) + 2)]));
                        else records.Add(record);
                    }

                    int end = U16(node, nodeSize - (2 * (count + 1)));
                    Assert.False(node.AsSpan(end, nodeSize - (2 * (count + 1)) - end).ContainsAnyExcept((byte)0));
                }

                if (height == 1) Assert.Equal((level[0].Number, level[^1].Number), (U32(header, 14 + 10), U32(header, 14 + 14)));
                level = below;
            }
        }

        Assert.Equal((uint)records.Count, U32(header, 14 + 6));
        Assert.Equal(total - free, (uint)used.Count);
        for (uint n = 0; n < map.Count * 8; n++) Assert.Equal(used.Contains(n), ((map[(int)(n / 8)] >> (int)(7 - (n % 8))) & 1) == 1);
        for (uint n = 0; n < Math.Min(total, 2000); n++)
        {
            if (!used.Contains(n)) Assert.False(Node(n).AsSpan().ContainsAnyExcept((byte)0), "a free node is not zero");
        }

        return records;
    }

    private int CompareCatalogKeys(byte[] a, byte[] b)
    {
        int order = U32(a, 2).CompareTo(U32(b, 2));
        if (order != 0) return order;
        string left = Name(a, 8, U16(a, 6)), right = Name(b, 8, U16(b, 6));
        return _caseSensitive ? string.CompareOrdinal(left, right) : HfsPlusUnicode.CompareFolded(left, right);
    }

    private static int CompareAttributeKeys(byte[] a, byte[] b)
    {
        int order = U32(a, 4).CompareTo(U32(b, 4));
        if (order == 0) order = string.CompareOrdinal(Name(a, 14, U16(a, 12)), Name(b, 14, U16(b, 12)));
        return order != 0 ? order : U32(a, 8).CompareTo(U32(b, 8));
    }

    private static int CompareExtentKeys(byte[] a, byte[] b)
    {
        int order = U32(a, 4).CompareTo(U32(b, 4));
        if (order == 0) order = a[2].CompareTo(b[2]);
        return order != 0 ? order : U32(a, 8).CompareTo(U32(b, 8));
    }

    private void CompareEntry(TestTree tree, SourceEntry entry)
    {
        string path = "/"
            + string.Join('\u0001', entry.RelativePath.Split('/').Select(n => n.Replace(':', '/').Normalize(NormalizationForm.FormD)));
        Item item = ByPath[path];
        if (Encoding.ASCII.GetString(item.Record, 48, 8) == "hlnkhfs+") item = ById[item.Special];
        (int type, bool device) = entry.Kind switch
        {
            EntryKind.Directory => (0x4000, false),
            EntryKind.SymbolicLink => (0xA000, false),
            EntryKind.Fifo => (0x1000, false),
            EntryKind.Socket => (0xC000, false),
            EntryKind.CharacterDevice => (0x2000, true),
            EntryKind.BlockDevice => (0x6000, true),
            _ => (0x8000, false),
        };
        Assert.Equal(type | (int)entry.Mode, item.Mode);
        Assert.Equal((entry.UserId, entry.GroupId), (U32(item.Record, 32), U32(item.Record, 36)));
        Assert.Equal(((byte)(entry.Flags >> 16), (byte)entry.Flags), (item.Record[40], item.Record[41]));
        if (device) Assert.Equal((entry.DeviceMajor << 24) | entry.DeviceMinor, item.Special);
        Assert.Equal(Date(entry.BirthTime), U32(item.Record, 12));
        Assert.Equal(Date(entry.ModifyTime), U32(item.Record, 16));
        Assert.Equal(Date(entry.ChangeTime), U32(item.Record, 20));
        Assert.Equal(Date(entry.AccessTime), U32(item.Record, 24));
        if (entry.FinderInfo is not null) Assert.Equal(entry.FinderInfo, item.Record[48..80]);
        if (entry.Kind == EntryKind.File)
        {
            Assert.Equal(Whole(tree.OpenFork(entry, ForkKind.Data)), ReadFork(item.Record, 88, item.Id, 0, read: true));
            if (entry.ResourceForkSize > 0)
                Assert.Equal(Whole(tree.OpenFork(entry, ForkKind.Resource)), ReadFork(item.Record, 168, item.Id, 0xFF, read: true));
        }
        else if (entry.Kind == EntryKind.SymbolicLink)
        {
            Assert.Equal(entry.LinkTarget, Encoding.UTF8.GetString(ReadFork(item.Record, 88, item.Id, 0, read: true)));
        }

        Assert.Equal(entry.Attributes.Count, item.Attributes.Count);
        foreach (ExtendedAttribute attribute in entry.Attributes)
            Assert.Equal(Whole(tree.OpenAttribute(entry, attribute)), item.Attributes[attribute.Name]);

        static uint Date(UnixTime time) => (uint)Math.Clamp(time.Seconds + 2_082_844_800, 1, uint.MaxValue);
    }

    private static byte[] Whole(BlockStorage storage)
    {
        byte[] bytes = new byte[storage.Length];
        storage.Read(0, bytes);
        return bytes;
    }
}
