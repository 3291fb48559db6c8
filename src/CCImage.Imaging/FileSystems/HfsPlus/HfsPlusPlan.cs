using System.Text;
using CCImage.Binary;
using CCImage.Sources;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>What a new volume is to be.</summary>
internal sealed record HfsPlusPlanOptions
{
    /// <summary>The volume's name as a host shows it: 1 to 255 UTF-16 units when decomposed.</summary>
    public required string VolumeName { get; init; }

    /// <summary>HFSX with names compared by value, instead of HFS+ with names compared without case.</summary>
    public bool CaseSensitive { get; init; }

    /// <summary>Whether names that differ in case only may make the volume case-sensitive where <see cref="CaseSensitive"/> does
    /// not.</summary>
    public bool MayBecomeCaseSensitive { get; init; }

    /// <summary>Whether what cannot be kept by its name is left out with a warning.</summary>
    public bool LeaveOutMisfits { get; init; }

    /// <summary>Exact size of the volume in bytes, a multiple of 512; null for what is needed and a little slack.</summary>
    public long? VolumeSizeBytes { get; init; }

    /// <summary>Whether <see cref="VolumeSizeBytes"/> is only a wish: a volume that does not fit into it becomes as large as it
    /// needs.</summary>
    public bool MayBecomeLarger { get; init; }

    /// <summary>Bytes of the disk for a volume of so many bytes: so that a size that is advised is one that can be asked for. Null where
    /// the volume is the disk.</summary>
    public Func<long, long>? DiskLengthFor { get; init; }

    /// <summary>Bytes in an allocation block: a power of two from 4096; null for what newfs_hfs chooses for the size.</summary>
    public int? BlockSize { get; init; }

    /// <summary>Creation of the volume, of its private folders and of everything whose own date is not known.</summary>
    public UnixTime CreationTime { get; init; }

    /// <summary>The volume's 64-bit identifier (words 6 and 7 of its Finder info), from which macOS derives the UUID.</summary>
    public ulong VolumeId { get; init; }

    /// <summary>Whether the volume has a journal.</summary>
    public bool Journaled { get; init; } = true;

    /// <summary>For tests: forks are broken into extents of at most so many blocks, with a free block behind each; 0 for contiguous
    /// forks.</summary>
    internal uint MaximumExtentBlocks { get; init; }
}

/// <summary>What a node of a plan is.</summary>
internal enum PlanNodeRole : byte
{
    /// <summary>A file, folder or other entry of the source; also the root.</summary>
    Ordinary,

    /// <summary>One of several names of a file: a small file that refers to the inode.</summary>
    HardLink,

    /// <summary>The file itself behind several names, kept in the private folder.</summary>
    Inode,

    /// <summary>The folder of the inodes.</summary>
    PrivateFolder,

    /// <summary>The folder of folder inodes, which we never fill; macOS makes it on every volume that it mounts.</summary>
    PrivateDirectoryFolder,

    /// <summary><c>.journal</c>.</summary>
    Journal,

    /// <summary><c>.journal_info_block</c>.</summary>
    JournalInfo,
}

/// <summary>A file or folder of the new volume. The catalog node id follows from its number: see
/// <see cref="HfsPlusPlan.CatalogId"/>.</summary>
internal struct PlanNode
{
    /// <summary>Where metadata and content come from; null for what the volume itself adds.</summary>
    public SourceEntry? Entry;

    /// <summary>Number of the folder's node; -1 for the root.</summary>
    public int Parent;

    /// <summary>Of a folder: index of its first entry in <see cref="HfsPlusPlanNodes.Order"/>.</summary>
    public int FirstChild;

    /// <summary>Of a folder: its entries.</summary>
    public int ChildCount;

    /// <summary>Of a folder: the folders among them.</summary>
    public int FolderCount;

    /// <summary>Index of the node's first fork in <see cref="HfsPlusPlan.Forks"/>; the node's forks lie side by side. -1 for
    /// none.</summary>
    public int FirstFork;

    /// <summary>Of a link and an inode: index in <see cref="HfsPlusPlanNodes.Links"/>. -1 for none.</summary>
    public int LinkGroup;

    public PlanNodeRole Role;

    /// <summary>Whether the attributes tree has records for it.</summary>
    public bool HasAttributes;

    /// <summary>Whether one of them is an access control list.</summary>
    public bool HasSecurity;

    /// <summary>Whether something of it could not be read already when the volume was planned.</summary>
    public bool IsLost;

    /// <summary>Whether it is a folder.</summary>
    public readonly bool IsFolder =>
        Role is PlanNodeRole.PrivateFolder or PlanNodeRole.PrivateDirectoryFolder
            || (Role == PlanNodeRole.Ordinary && Entry!.Kind == EntryKind.Directory);
}

/// <summary>A fork's place in the volume. A plan keeps them in ascending order of blocks.</summary>
/// <param name="Node">Number of the node it belongs to.</param>
/// <param name="Stream">0 data, 1 resource, from 2 on attributes: index in the plan's attributes + 2.</param>
/// <param name="StartBlock">First allocation block.</param>
/// <param name="Blocks">Allocation blocks, at least 1.</param>
internal record struct PlanFork(int Node, int Stream, uint StartBlock, uint Blocks);

/// <summary>An attribute that is stored.</summary>
/// <param name="Node">Number of the node.</param>
/// <param name="Attribute">Name and value.</param>
/// <param name="Fork">Index of its fork; -1 when the value lies in the record.</param>
internal readonly record struct PlanAttribute(int Node, ExtendedAttribute Attribute, int Fork);

/// <summary>The names of a file with several.</summary>
/// <param name="Inode">Number of the inode's node.</param>
/// <param name="Names">Numbers of the links' nodes, ascending: the order of the chain.</param>
internal sealed record PlanLinks(int Inode, int[] Names);

/// <summary>A run of allocation blocks.</summary>
/// <param name="Start">First block.</param>
/// <param name="Count">Blocks.</param>
internal readonly record struct BlockRun(uint Start, uint Count)
{
    /// <summary>The first block behind the run.</summary>
    public uint End => Start + Count;
}

/// <summary>Files and folders of a new volume, numbered, named and sorted, before anything has a place.</summary>
/// <param name="volumeName">The volume's name as a host shows it.</param>
/// <param name="nodes">Number 0 is the root; the numbers give the catalog node ids.</param>
/// <param name="order">Numbers of nodes, folder by folder, within each in the order of the catalog.</param>
/// <param name="links">Files with several names.</param>
internal sealed class HfsPlusPlanNodes(string volumeName, PlanNode[] nodes, int[] order, PlanLinks[] links)
{
    /// <summary>Number 0 is the root.</summary>
    public PlanNode[] Nodes => nodes;

    /// <summary>Numbers of nodes, folder by folder, within each in the order of the catalog.</summary>
    public int[] Order => order;

    /// <summary>Files with several names.</summary>
    public PlanLinks[] Links => links;

    /// <summary>A node's name in the units of the catalog.</summary>
    /// <param name="number">The node's number.</param>
    public string NameOf(int number)
    {
        ref readonly PlanNode node = ref Nodes[number];
        return node.Role switch
        {
            PlanNodeRole.Inode => InodeName(number),
            PlanNodeRole.PrivateFolder => HfsPlusConstants.PrivateDataFolderName,
            PlanNodeRole.PrivateDirectoryFolder => HfsPlusConstants.DirectoryLinksFolderName,
            PlanNodeRole.Journal => HfsPlusPlanner.JournalFileName,
            PlanNodeRole.JournalInfo => HfsPlusPlanner.JournalInfoFileName,
            _ => HfsPlusUnicode.ToVolumeName(number == 0 ? volumeName : node.Entry!.Name),
        };
    }

    /// <summary>The name of an inode in the private folder: macOS uses the catalog node id as the link number.</summary>
    /// <param name="number">The node's number.</param>
    public static string InodeName(int number) =>
        HfsPlusConstants.InodePrefix + HfsPlusPlan.CatalogId(number).ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>
/// What could not be read of a volume's content: forks that end earlier than planned, and the files they belong to. Files give the blocks
/// behind their end back; attributes keep theirs.
/// </summary>
internal sealed class HfsPlusPlanLosses
{
    private readonly Dictionary<(int Node, int Stream), (long Size, uint Blocks)> _forks = [];
    private readonly HashSet<int> _nodes = [];
    private readonly List<BlockRun> _freed = [];

    /// <summary>Collects.</summary>
    /// <param name="plan">The plan, as it was read from.</param>
    /// <param name="lost">Forks by number, ascending, with the bytes that remain.</param>
    public HfsPlusPlanLosses(HfsPlusPlan plan, IEnumerable<(int Fork, long Size)> lost)
    {
        foreach ((int number, long size) in lost)
        {
            PlanFork fork = plan.Forks[number];
            bool gives = fork.Stream < 2 && plan.Options.MaximumExtentBlocks == 0;
            uint blocks = gives ? (uint)Layout.DivideUp(size, plan.BlockSize) : fork.Blocks;
            if (blocks < fork.Blocks) _freed.Add(new BlockRun(fork.StartBlock + blocks, fork.Blocks - blocks));
            _forks.Add((fork.Node, fork.Stream), (size, blocks));
            _nodes.Add(fork.Node);
        }
    }

    /// <summary>Blocks that are free, ascending and apart.</summary>
    public IReadOnlyList<BlockRun> Freed => _freed;

    /// <summary>Bytes and blocks of a fork that remain, or null when it is whole.</summary>
    /// <param name="fork">The fork.</param>
    public (long Size, uint Blocks)? Find(in PlanFork fork) =>
        _forks.TryGetValue((fork.Node, fork.Stream), out (long, uint) found) ? found : null;

    /// <summary>Whether something of a node was lost.</summary>
    /// <param name="node">Its number.</param>
    public bool Includes(int node) => _nodes.Contains(node);

    /// <summary>The places of the nodes' own records in the catalog.</summary>
    /// <param name="tree">The nodes.</param>
    public IEnumerable<CatalogCursor> CatalogPlaces(HfsPlusPlanNodes tree)
    {
        // Folder by folder, for a folder may have millions of entries, and as many may be lost.
        foreach (int parent in _nodes.Select(n => tree.Nodes[n].Parent).Distinct())
        {
            if (parent < 0)
            {
                yield return new CatalogCursor(-1, 0);
                continue;
            }

            for (int child = 0; child < tree.Nodes[parent].ChildCount; child++)
            {
                if (_nodes.Contains(tree.Order[tree.Nodes[parent].FirstChild + child])) yield return new CatalogCursor(parent, child);
            }
        }
    }

    /// <summary>Takes the blocks that are free out of those in use.</summary>
    /// <param name="used">Blocks in use, ascending and apart.</param>
    public BlockRun[] Without(BlockRun[] used)
    {
        var left = new List<BlockRun>(used.Length + _freed.Count);
        int next = 0;
        foreach (BlockRun run in used)
        {
            uint at = run.Start;
            for (; next < _freed.Count && _freed[next].Start < run.End; next++)
            {
                if (_freed[next].Start > at) left.Add(new BlockRun(at, _freed[next].Start - at));
                at = _freed[next].End;
            }

            if (at < run.End) left.Add(new BlockRun(at, run.End - at));
        }

        return [.. left];
    }
}

/// <summary>
/// A volume of which every size and block number is decided and nothing is written yet. <see cref="HfsPlusRenderer"/> turns any range of it
/// into bytes. Memory: a few dozen bytes an entry beside the tree itself; no node of a B-tree is kept.
/// </summary>
internal sealed class HfsPlusPlan
{
    /// <summary>The request.</summary>
    public required HfsPlusPlanOptions Options { get; init; }

    /// <summary>Bytes of the volume.</summary>
    public required long VolumeBytes { get; init; }

    /// <summary>Bytes in an allocation block.</summary>
    public required int BlockSize { get; init; }

    /// <summary>Allocation blocks of the volume.</summary>
    public required uint TotalBlocks { get; init; }

    /// <summary>Allocation blocks in use.</summary>
    public required uint AllocatedBlocks { get; set; }

    /// <summary>Where the next file would best be put.</summary>
    public required uint NextAllocation { get; init; }

    /// <summary>Bytes in use.</summary>
    public long UsedBytes => (long)AllocatedBlocks * BlockSize;

    /// <summary>Entries of the source in the volume, the root not counted.</summary>
    public required long Entries { get; init; }

    /// <summary>Bytes of content: data and resource forks, each file once.</summary>
    public required long ContentBytes { get; init; }

    /// <summary>Files of the volume, those that it adds itself included.</summary>
    public required uint FileCount { get; init; }

    /// <summary>Folders of the volume, those that it adds itself included, the root not counted.</summary>
    public required uint FolderCount { get; init; }

    /// <summary>Files and folders, and how they hang together.</summary>
    public required HfsPlusPlanNodes Tree { get; init; }

    /// <summary>Files and folders; number 0 is the root.</summary>
    public PlanNode[] Nodes => Tree.Nodes;

    /// <summary>Forks in the order of their blocks.</summary>
    public required PlanFork[] Forks { get; init; }

    /// <summary>Attributes in the order of their records.</summary>
    public required PlanAttribute[] Attributes { get; init; }

    /// <summary>Values of small attributes that the tree does not keep in memory.</summary>
    public required IReadOnlyDictionary<ExtendedAttribute, byte[]> FetchedValues { get; init; }

    /// <summary>What could not be read; null until all has been read, and when all could be.</summary>
    public HfsPlusPlanLosses? Lost { get; private set; }

    /// <summary>Blocks in use, ascending and apart.</summary>
    public required BlockRun[] UsedRuns { get; set; }

    public required BlockRun AllocationFile { get; init; }

    /// <summary>Clump size of the allocation file, which is also its logical size.</summary>
    public required uint AllocationFileSize { get; init; }

    /// <summary>The journal info block; empty when there is no journal.</summary>
    public required BlockRun JournalInfo { get; init; }

    public required BlockRun Journal { get; init; }

    /// <summary>Bytes of the journal.</summary>
    public required long JournalSize { get; init; }

    public required BlockRun ExtentsFile { get; init; }

    public required BTreePlan ExtentsTree { get; init; }

    public required BlockRun CatalogFile { get; init; }

    public required BTreePlan CatalogTree { get; init; }

    public required BlockRun AttributesFile { get; init; }

    public required BTreePlan AttributesTree { get; init; }

    /// <summary>Offset of the second copy of the volume header, in bytes.</summary>
    public long AlternateHeaderOffset => VolumeBytes - 1024;

    /// <summary>The volume's creation as HFS+ keeps it.</summary>
    public uint CreateDate => HfsPlusPlanner.ToHfsDate(Options.CreationTime, out _);

    /// <summary>The catalog node id of a node: 2 for the root, from 16 on in order of numbers.</summary>
    /// <param name="node">The node's number.</param>
    public static uint CatalogId(int node) => node == 0 ? CatalogNodeId.RootFolder : CatalogNodeId.FirstUser - 1 + (uint)node;

    /// <summary>Bytes of a fork.</summary>
    /// <param name="fork">The fork.</param>
    public long SizeOf(in PlanFork fork) => SizeOf(fork, Tree, Attributes);

    /// <summary>Bytes of a fork, while the plan is being made.</summary>
    /// <param name="fork">The fork.</param>
    /// <param name="tree">Its nodes.</param>
    /// <param name="attributes">Its attributes.</param>
    internal static long SizeOf(in PlanFork fork, HfsPlusPlanNodes tree, PlanAttribute[] attributes)
    {
        if (fork.Stream >= 2) return attributes[fork.Stream - 2].Attribute.Size;
        SourceEntry entry = tree.Nodes[fork.Node].Entry!;
        if (fork.Stream == 1) return entry.ResourceForkSize;
        return entry.Kind == EntryKind.SymbolicLink ? Encoding.UTF8.GetByteCount(entry.LinkTarget!) : entry.Size;
    }

    /// <summary>The extents of a fork: one, unless a test asked for more.</summary>
    /// <param name="fork">The fork.</param>
    public int ExtentCount(in PlanFork fork) => CountExtents(fork.Blocks, Options.MaximumExtentBlocks);

    /// <summary>One extent of a fork.</summary>
    /// <param name="fork">The fork.</param>
    /// <param name="index">Counted from 0.</param>
    public BlockRun ExtentAt(in PlanFork fork, int index) => ExtentAt(fork, index, Options.MaximumExtentBlocks);

    /// <summary>One extent of a fork.</summary>
    /// <param name="fork">The fork.</param>
    /// <param name="index">Counted from 0.</param>
    /// <param name="most">Blocks in an extent; 0 for any number.</param>
    internal static BlockRun ExtentAt(in PlanFork fork, int index, uint most)
    {
        if (most == 0) return new BlockRun(fork.StartBlock, fork.Blocks);
        uint before = (uint)index * most;
        return new BlockRun(fork.StartBlock + ((uint)index * (most + 1)), Math.Min(most, fork.Blocks - before));
    }

    /// <summary>Eight extents of a fork from the given one on; absent ones are zero.</summary>
    /// <param name="fork">The fork.</param>
    /// <param name="first">Counted from 0.</param>
    public ExtentRecord ExtentRecordAt(in PlanFork fork, int first)
    {
        var record = default(ExtentRecord);
        int count = Math.Min(ExtentCount(fork) - first, HfsPlusConstants.ExtentsPerRecord);
        for (int i = 0; i < count; i++)
        {
            BlockRun run = ExtentAt(fork, first + i);
            record[i] = new ExtentDescriptor { StartBlock = run.Start, BlockCount = run.Count };
        }

        return record;
    }

    /// <summary>Fork data as it stands in a catalog or attribute record.</summary>
    /// <param name="fork">The fork.</param>
    public ForkData ForkDataOf(in PlanFork fork)
    {
        (long size, uint blocks) = Lost?.Find(fork) ?? (SizeOf(fork), fork.Blocks);
        var data = new ForkData { LogicalSize = (ulong)size, TotalBlocks = blocks };
        if (blocks > 0) data.Extents = ExtentRecordAt(fork with { Blocks = blocks }, 0);
        return data;
    }

    /// <summary>Takes up what could not be read. Until then the plan is as it was made.</summary>
    /// <param name="losses">What was lost.</param>
    public void Settle(HfsPlusPlanLosses losses)
    {
        Lost = losses;
        UsedRuns = losses.Without(UsedRuns);
        AllocatedBlocks -= (uint)losses.Freed.Sum(r => (long)r.Count);
    }

    /// <summary>The volume header.</summary>
    public VolumeHeader Header()
    {
        uint created = CreateDate;
        VolumeAttributes attributes = VolumeAttributes.Unmounted | VolumeAttributes.UnusedNodeFix;
        if (Options.Journaled) attributes |= VolumeAttributes.Journaled;
        var header = new VolumeHeader
        {
            Signature = Options.CaseSensitive ? HfsPlusConstants.SignatureHfsx : HfsPlusConstants.SignatureHfsPlus,
            Version = Options.CaseSensitive ? HfsPlusConstants.VersionHfsx : HfsPlusConstants.VersionHfsPlus,
            Attributes = (uint)attributes,
            LastMountedVersion = Options.Journaled ? 0x4846_534Au /* 'HFSJ' */ : 0x3130_2E30u /* '10.0' */,
            JournalInfoBlock = JournalInfo.Start,
            // By tradition local time; as nobody can know the reader's zone, and for the same bytes everywhere, the offset is zero.
            CreateDate = created,
            ModifyDate = created,
            CheckedDate = created,
            FileCount = FileCount,
            FolderCount = FolderCount,
            BlockSize = (uint)BlockSize,
            TotalBlocks = TotalBlocks,
            FreeBlocks = TotalBlocks - AllocatedBlocks,
            NextAllocation = NextAllocation,
            ResourceClumpSize = HfsPlusGeometry.ForkClumpSize(BlockSize),
            DataClumpSize = HfsPlusGeometry.ForkClumpSize(BlockSize),
            NextCatalogId = CatalogId(Nodes.Length),
            EncodingsBitmap = 1,
            AllocationFile = SpecialFile(AllocationFile, AllocationFileSize, AllocationFileSize),
            ExtentsFile = TreeFile(ExtentsFile, ExtentsTree),
            CatalogFile = TreeFile(CatalogFile, CatalogTree),
            AttributesFile = TreeFile(AttributesFile, AttributesTree),
        };
        header.FinderInfo[6] = (uint)(Options.VolumeId >> 32);
        header.FinderInfo[7] = unchecked((uint)Options.VolumeId);
        return header;
    }

    /// <summary>How many extents a fork has.</summary>
    /// <param name="blocks">Its blocks.</param>
    /// <param name="most">Blocks in an extent; 0 for any number.</param>
    internal static int CountExtents(uint blocks, uint most) => most == 0 ? 1 : (int)Layout.DivideUp(blocks, most);

    private static ForkData TreeFile(BlockRun run, BTreePlan tree) =>
        SpecialFile(run, (long)tree.TotalNodes * tree.Kind.NodeSize, tree.ClumpSize);

    private static ForkData SpecialFile(BlockRun run, long size, uint clump)
    {
        var fork = new ForkData { LogicalSize = (ulong)size, ClumpSize = clump, TotalBlocks = run.Count };
        fork.Extents[0] = new ExtentDescriptor { StartBlock = run.Start, BlockCount = run.Count };
        return fork;
    }
}
