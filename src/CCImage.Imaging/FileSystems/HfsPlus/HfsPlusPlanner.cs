using System.Text;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Decides everything about a new HFS+ volume: catalog node ids, order of records, place of every fork and B-tree, size. The same tree and
/// the same options give the same plan.
/// <para>
/// Places are those of newfs_hfs: volume header, allocation file, journal info block, journal, extents, attributes, catalog, with gaps
/// behind the last two for growth where there is room; then all forks, contiguous, in the order of the nodes; the last block holds
/// the second header.
/// </para>
/// </summary>
internal static class HfsPlusPlanner
{
    /// <summary>The journal's name in the root folder; macOS hides it.</summary>
    public const string JournalFileName = ".journal";

    /// <summary>The journal info block's name in the root folder; macOS hides it.</summary>
    public const string JournalInfoFileName = ".journal_info_block";

    /// <summary>Longest name of an attribute, in UTF-16 units.</summary>
    public const int MaximumAttributeNameLength = 127;

    /// <summary>
    /// The largest value kept in the attribute's record, in bytes. Apple's kernel computes it so that a node holds two records with the
    /// longest keys: half of (node − descriptor − 3 offsets), less key and header.
    /// </summary>
    public const int MaximumInlineAttribute = (((HfsPlusGeometry.AttributesNodeSize - 14 - 6) / 2) - 268 - 16) & ~1;

    private const string AccessControlListName = "com.apple.system.Security";
    private const int RootNode = 0;

    /// <summary>Plans a volume.</summary>
    /// <param name="tree">What goes into it; opened only for small attribute values that it does not keep in memory.</param>
    /// <param name="options">What it is to be.</param>
    /// <param name="observer">Hears what cannot be kept exactly, each kind once.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">
    /// <see cref="ImageErrorId.SourceNotRepresentable"/>: a name too long, or two that are one on this volume;
    /// <see cref="ImageErrorId.CapacityTooSmall"/>; <see cref="ImageErrorId.InvalidArgument"/>.
    /// </exception>
    public static HfsPlusPlan Plan(SourceTree tree, HfsPlusPlanOptions options, IImagingObserver observer, CancellationToken cancellation)
    {
        CheckOptions(options);
        var losses = new LossReport(tree, observer);
        var misfits = new HfsPlusMisfits(tree);
        HfsPlusPlanNodes nodes = NodeNumbering.Run(tree, options, losses, misfits, cancellation);
        if (options.MayBecomeCaseSensitive && !options.CaseSensitive && misfits.CaseTwins > 0)
        {
            observer.OnWarning(new ImagingWarning(ImagingWarningKind.Advice, null, misfits.DescribeChoice()));
            options = options with { CaseSensitive = true };
            (losses, misfits) = (new LossReport(tree, observer), new HfsPlusMisfits(tree));
            nodes = NodeNumbering.Run(tree, options, losses, misfits, cancellation);
        }

        misfits.Settle(options.LeaveOutMisfits, observer);
        (PlanFork[] forks, PlanAttribute[] attributes, Dictionary<ExtendedAttribute, byte[]> fetched) =
            ListForks(tree, nodes, losses, observer, cancellation);
        CountDates(nodes, losses);
        losses.Tell();
        return new VolumeLayout(nodes, forks, attributes, fetched, options, cancellation).Run();
    }

    /// <summary>A time as seconds since 1904; what HFS+ cannot express (before 1904, after February 2040) is clamped. 0 for none.</summary>
    /// <param name="time">The time.</param>
    /// <param name="clamped">Whether it was out of range.</param>
    internal static uint ToHfsDate(UnixTime time, out bool clamped)
    {
        clamped = false;
        if (!time.IsKnown) return 0;
        long seconds = time.Seconds + HfsPlusConstants.EpochOffsetSeconds;
        long kept = Math.Clamp(seconds, 1, uint.MaxValue);
        clamped = kept != seconds;
        return (uint)kept;
    }

    /// <summary>A device's number as Darwin packs it: 8 bits major, 24 bits minor.</summary>
    /// <param name="entry">A device.</param>
    internal static uint DarwinDevice(SourceEntry entry) => (entry.DeviceMajor & 0xFF) << 24 | (entry.DeviceMinor & 0xFF_FFFF);

    private static void CheckOptions(HfsPlusPlanOptions options)
    {
        string name = HfsPlusUnicode.ToVolumeName(options.VolumeName);
        if (name.Length is 0 or > HfsPlusConstants.MaximumNameLength || options.VolumeName.AsSpan().ContainsAny('\0', '/')
            || !IsWellFormed(name))
        {
            throw new ImageException(ImageErrorId.InvalidArgument, $"\"{options.VolumeName}\" cannot be the name of a volume.",
                remedy: "Choose a name of 1 to 255 characters without a slash.");
        }

        if (options.VolumeSizeBytes is long size && (size % 512 != 0 || size is < 0 or > HfsPlusGeometry.MaximumVolumeSize))
            throw new ImageException(
                ImageErrorId.InvalidArgument, $"A volume cannot have {size} bytes.", remedy: "Choose a multiple of 512.");
        if (options.BlockSize is int block && (block < HfsPlusGeometry.DefaultBlockSize || !System.Numerics.BitOperations.IsPow2(block)))
            throw new ImageException(ImageErrorId.InvalidArgument, $"An allocation block cannot have {block} bytes.",
                remedy: "Choose a power of two from 4096.");
    }

    internal static bool IsWellFormed(string name)
    {
        for (int i = 0; i < name.Length; i++)
        {
            if (!char.IsSurrogate(name[i])) continue;
            if (i + 1 >= name.Length || !char.IsSurrogatePair(name[i], name[i + 1])) return false;
            i++;
        }

        return true;
    }

    // Forks in the order of their places, and attributes in the order of their records: both follow the nodes' numbers. Blocks are open.
    private static (PlanFork[] Forks, PlanAttribute[] Attributes, Dictionary<ExtendedAttribute, byte[]> Fetched) ListForks(
        SourceTree tree, HfsPlusPlanNodes nodes, LossReport losses, IImagingObserver observer, CancellationToken cancellation)
    {
        var forks = new List<PlanFork>();
        var attributes = new List<PlanAttribute>();
        var fetched = new Dictionary<ExtendedAttribute, byte[]>(ReferenceEqualityComparer.Instance);
        for (int i = 0; i < nodes.Nodes.Length; i++)
        {
            if (i % 4096 == 0) cancellation.ThrowIfCancellationRequested();
            ref PlanNode node = ref nodes.Nodes[i];
            node.FirstFork = -1;
            if (node.Entry is not SourceEntry entry || node.Role == PlanNodeRole.HardLink) continue;
            int first = forks.Count;
            if (entry.Kind == EntryKind.File)
            {
                if (entry.Size > 0) forks.Add(new PlanFork(i, 0, 0, 0));
                if (entry.ResourceForkSize > 0) forks.Add(new PlanFork(i, 1, 0, 0));
            }
            else if (entry.Kind == EntryKind.SymbolicLink && entry.LinkTarget is { Length: > 0 } target)
            {
                forks.Add(new PlanFork(i, 0, 0, 0));
                if (target.Length > 255 && Encoding.UTF8.GetByteCount(target) > 1023) losses.LongTargets.Count(entry);
            }
            else if (entry.Kind is EntryKind.CharacterDevice or EntryKind.BlockDevice
                && (entry.DeviceMajor > 0xFF || entry.DeviceMinor > 0xFF_FFFF))
            {
                losses.Devices.Count(entry);
            }

            if (entry.Attributes.Count > 0)
            {
                foreach (ExtendedAttribute stored in StoredAttributes(entry, losses))
                {
                    ExtendedAttribute attribute = stored;
                    bool inline = attribute.Size <= MaximumInlineAttribute;
                    if (inline && attribute.Value is null) attribute = Fetch(tree, entry, attribute, fetched, observer, ref node.IsLost);
                    if (!inline) forks.Add(new PlanFork(i, attributes.Count + 2, 0, 0));
                    attributes.Add(new PlanAttribute(i, attribute, inline ? -1 : forks.Count - 1));
                    node.HasAttributes = true;
                    node.HasSecurity |= attribute.Name == AccessControlListName;
                }
            }

            if (forks.Count > first) node.FirstFork = first;
        }

        return ([.. forks], [.. attributes], fetched);
    }

    private static List<ExtendedAttribute> StoredAttributes(SourceEntry entry, LossReport losses)
    {
        var stored = new List<ExtendedAttribute>(entry.Attributes.Count);
        foreach (ExtendedAttribute attribute in entry.Attributes)
        {
            bool fits = attribute.Name.Length is > 0 and <= MaximumAttributeNameLength && attribute.Size is >= 0 and <= int.MaxValue
                && IsWellFormed(attribute.Name);
            if (fits && !stored.Exists(a => a.Name == attribute.Name)) stored.Add(attribute);
            else losses.Attributes.Count(entry);
        }

        stored.Sort(static (a, b) => HfsPlusUnicode.CompareBinary(a.Name, b.Name));
        return stored;
    }

    // A small value that the tree does not keep. Nothing is decided yet, so that the record gets the length of what could be read.
    private static ExtendedAttribute Fetch(
        SourceTree tree, SourceEntry entry, ExtendedAttribute attribute, Dictionary<ExtendedAttribute, byte[]> fetched,
        IImagingObserver observer, ref bool isLost)
    {
        byte[] value = [];
        string? problem = null;
        try
        {
            using BlockStorage storage = tree.OpenAttribute(entry, attribute);
            byte[] read = new byte[(int)Math.Min(storage.Length, MaximumInlineAttribute)];
            storage.Read(0, read);
            value = read;
            if (storage.Length > read.Length || storage.Length < attribute.Size)
                problem = $"Its size changed from {attribute.Size} to {storage.Length} bytes.";
        }
        catch (Exception e) when (e is ImageException or IOException or UnauthorizedAccessException)
        {
            problem = e.Message;
        }

        if (problem is not null)
        {
            isLost = true;
            observer.OnWarning(new ImagingWarning(
                ImagingWarningKind.ContentLost, tree.DisplayPath(entry),
                $"The attribute {attribute.Name} was lost: {problem} The copy ends where reading ended, and is marked in the image."));
        }

        if (value.Length != attribute.Size) attribute = attribute with { Size = value.Length };
        fetched.Add(attribute, value);
        return attribute;
    }

    private static void CountDates(HfsPlusPlanNodes nodes, LossReport losses)
    {
        foreach (ref PlanNode node in nodes.Nodes.AsSpan())
        {
            if (node.Entry is not SourceEntry entry || node.Role == PlanNodeRole.HardLink) continue;
            if (OutOfRange(entry.BirthTime) || OutOfRange(entry.ModifyTime) || OutOfRange(entry.ChangeTime) || OutOfRange(entry.AccessTime)
                || OutOfRange(entry.BackupTime))
                losses.Dates.Count(entry);
        }

        static bool OutOfRange(UnixTime time)
        {
            _ = ToHfsDate(time, out bool clamped);
            return clamped;
        }
    }

    /// <summary>Gathers what cannot be kept exactly, to tell each kind once.</summary>
    internal sealed class LossReport(SourceTree tree, IImagingObserver observer)
    {
        public Loss Dates { get; } =
            new(ImagingWarningKind.MetadataRounded, "dates outside 1904 to February 2040, where HFS+ ends; they were moved to its ends");

        public Loss Devices { get; } =
            new(ImagingWarningKind.MetadataRounded, "device numbers beyond 8 bits major and 24 bits minor; they were cut");

        public Loss Attributes { get; } =
            new(ImagingWarningKind.MetadataLost,
                "extended attributes with a name over 127 characters or a value over 2 GiB; these were left out");

        public Loss SpecialLinks { get; } =
            new(ImagingWarningKind.MetadataLost,
                "several names although they are not regular files, which HFS+ does not know; each name became an entry of its own");

        public Loss LongTargets { get; } =
            new(ImagingWarningKind.Advice, "symbolic links longer than 1023 bytes, which macOS does not follow");

        public void Tell()
        {
            foreach (Loss loss in (Loss[])[Dates, Devices, Attributes, SpecialLinks, LongTargets])
            {
                if (loss.First is null) continue;
                string who = loss.Entries == 1 ? "This entry has" : $"{loss.Entries} entries, of which this is the first, have";
                observer.OnWarning(new ImagingWarning(loss.Kind, tree.DisplayPath(loss.First), $"{who} {loss.What}."));
            }
        }

        internal sealed class Loss(ImagingWarningKind kind, string what)
        {
            public ImagingWarningKind Kind => kind;

            public string What => what;

            public SourceEntry? First { get; private set; }

            public long Entries { get; private set; }

            public void Count(SourceEntry entry)
            {
                if (ReferenceEquals(_last, entry)) return;
                _last = entry;
                First ??= entry;
                Entries++;
            }

            private SourceEntry? _last;
        }
    }

    /// <summary>Numbers the entries level by level, sorts every folder by the volume's comparison, and splits files with several
    /// names.</summary>
    private static class NodeNumbering
    {
        private readonly record struct Named(string Name, SourceEntry? Entry, int Number);

        public static HfsPlusPlanNodes Run(
            SourceTree tree, HfsPlusPlanOptions options, LossReport losses, HfsPlusMisfits misfits, CancellationToken cancellation)
        {
            Comparison<Named> comparison = options.CaseSensitive
                ? static (a, b) => HfsPlusUnicode.CompareBinary(a.Name, b.Name)
                : static (a, b) => HfsPlusUnicode.CompareFolded(a.Name, b.Name);
            Dictionary<long, List<int>> names = FindLinks(tree, losses, cancellation);
            var nodes = new List<PlanNode> { new() { Entry = tree.Root, Parent = -1, LinkGroup = -1 } };
            var order = new List<int>();

            // The ids that newfs_hfs and the first mount by macOS give: journal, its info block, the two private folders.
            var own = new List<PlanNodeRole>();
            if (options.Journaled) own.AddRange([PlanNodeRole.Journal, PlanNodeRole.JournalInfo]);
            own.AddRange([PlanNodeRole.PrivateFolder, PlanNodeRole.PrivateDirectoryFolder]);
            foreach (PlanNodeRole role in own) nodes.Add(new PlanNode { Role = role, Parent = RootNode, LinkGroup = -1 });
            int privateFolder = 1 + own.IndexOf(PlanNodeRole.PrivateFolder);

            var children = new List<Named>();
            for (int folder = 0; folder < nodes.Count; folder++)
            {
                if (!nodes[folder].IsFolder || nodes[folder].Entry is not SourceEntry entry) continue;
                cancellation.ThrowIfCancellationRequested();
                children.Clear();
                if (folder == RootNode)
                {
                    var known = new HfsPlusPlanNodes("", [.. nodes], [], []);
                    for (int i = 1; i <= own.Count; i++) children.Add(new Named(known.NameOf(i), null, i));
                }

                foreach (SourceEntry child in entry.Children)
                {
                    if (VolumeNameOf(child, misfits) is string name) children.Add(new Named(name, child, -1));
                }

                children.Sort(comparison);
                RemoveTwins(children, comparison, misfits);
                int firstChild = order.Count, folders = 0;
                foreach (Named child in children)
                {
                    int number = child.Number;
                    if (number < 0)
                    {
                        number = nodes.Count;
                        var node = new PlanNode { Entry = child.Entry, Parent = folder, LinkGroup = -1 };
                        if (child.Entry!.HardLinkId != 0 && child.Entry.Kind == EntryKind.File
                            && names.TryGetValue(child.Entry.HardLinkId, out List<int>? group))
                        {
                            node.Role = PlanNodeRole.HardLink;
                            group.Add(number);
                        }

                        nodes.Add(node);
                    }

                    order.Add(number);
                    if (nodes[number].IsFolder) folders++;
                }

                PlanNode done = nodes[folder];
                (done.FirstChild, done.ChildCount, done.FolderCount) = (firstChild, children.Count, folders);
                nodes[folder] = done;
            }

            PlanLinks[] links = AddInodes(nodes, order, names, privateFolder);
            return new HfsPlusPlanNodes(options.VolumeName, [.. nodes], [.. order], links);
        }

        // The numbers that are really shared: a file whose other names lie outside the tree is an ordinary one.
        private static Dictionary<long, List<int>> FindLinks(SourceTree tree, LossReport losses, CancellationToken cancellation)
        {
            var seen = new Dictionary<long, int>();
            foreach (SourceEntry entry in tree.Enumerate())
            {
                if (entry.HardLinkId == 0 || entry.Kind == EntryKind.Directory) continue;
                int count = seen[entry.HardLinkId] = seen.GetValueOrDefault(entry.HardLinkId) + 1;
                if (count > 1 && entry.Kind != EntryKind.File) losses.SpecialLinks.Count(entry);
            }

            cancellation.ThrowIfCancellationRequested();
            var shared = new Dictionary<long, List<int>>();
            foreach ((long id, int count) in seen)
            {
                if (count > 1) shared.Add(id, []);
            }

            return shared;
        }

        private static PlanLinks[] AddInodes(List<PlanNode> nodes, List<int> order, Dictionary<long, List<int>> names, int privateFolder)
        {
            var links = new List<PlanLinks>();
            foreach (List<int> group in names.Values.Where(g => g.Count > 0).OrderBy(g => g[0]))
            {
                int inode = nodes.Count;
                foreach (int number in group)
                {
                    PlanNode link = nodes[number];
                    link.LinkGroup = links.Count;
                    nodes[number] = link;
                }

                nodes.Add(new PlanNode { Entry = nodes[group[0]].Entry, Role = PlanNodeRole.Inode, Parent = privateFolder,
                    LinkGroup = links.Count });
                links.Add(new PlanLinks(inode, [.. group]));
            }

            PlanNode folder = nodes[privateFolder];
            (folder.FirstChild, folder.ChildCount) = (order.Count, links.Count);
            nodes[privateFolder] = folder;
            order.AddRange(links.Select(l => l.Inode).OrderBy(HfsPlusPlanNodes.InodeName, StringComparer.Ordinal));
            return [.. links];
        }

        private static string? VolumeNameOf(SourceEntry entry, HfsPlusMisfits misfits)
        {
            string name = HfsPlusUnicode.ToVolumeName(entry.Name);
            if (name.Length is > 0 and <= HfsPlusConstants.MaximumNameLength && IsWellFormed(name)) return name;
            misfits.AddName(
                entry,
                name.Length > HfsPlusConstants.MaximumNameLength
                    ? $"the name takes {name.Length} UTF-16 units on HFS+, which keeps at most {HfsPlusConstants.MaximumNameLength}"
                    : "the name is not valid Unicode, which HFS+ asks for");
            return null;
        }

        // Of names that are one on the volume the first by its units on the host stays, so that the same folder gives the same volume; the
        // volume's own files come before all.
        private static void RemoveTwins(List<Named> sorted, Comparison<Named> comparison, HfsPlusMisfits misfits)
        {
            int kept = 0;
            for (int i = 0, end; i < sorted.Count; i = end)
            {
                for (end = i + 1; end < sorted.Count && comparison(sorted[i], sorted[end]) == 0;) end++;
                Named first = sorted[i];
                if (end > i + 1)
                {
                    List<Named> same = sorted.GetRange(i, end - i);
                    same.Sort(static (a, b) => string.CompareOrdinal(a.Entry?.Name, b.Entry?.Name));
                    first = same[0];
                    foreach (Named twin in same.Skip(1))
                        misfits.AddTwin(
                            twin.Entry!, first.Entry, first.Entry is not null && HfsPlusUnicode.CompareBinary(first.Name, twin.Name) != 0);
                }

                sorted[kept++] = first;
            }

            sorted.RemoveRange(kept, sorted.Count - kept);
        }
    }

    /// <summary>Gives everything its place.</summary>
    private sealed class VolumeLayout(
        HfsPlusPlanNodes nodes, PlanFork[] forks, PlanAttribute[] attributes, Dictionary<ExtendedAttribute, byte[]> fetched,
        HfsPlusPlanOptions options, CancellationToken cancellation)
    {
        private readonly CatalogRecords _catalogRecords = new(nodes);
        private readonly AttributeRecords _attributeRecords = new(attributes, forks, options.MaximumExtentBlocks);
        private readonly ExtentOverflowRecords _extentRecords = new(forks, options.MaximumExtentBlocks);
        private readonly long _contentBytes = SumOf(forks, nodes, attributes);
        private int _blockSize;
        private ulong _forkSpan;
        private BTreeBuilder<CatalogCursor>? _catalog;
        private BTreeBuilder<AttributeCursor>? _attributes;
        private BTreeBuilder<ExtentCursor>? _extents;

        private enum Room
        {
            /// <summary>As newfs_hfs: B-trees of its initial sizes, and gaps behind them.</summary>
            Roomy,

            /// <summary>No gaps.</summary>
            Close,

            /// <summary>B-trees no larger than their nodes need.</summary>
            Tight,
        }

        public HfsPlusPlan Run()
        {
            if (_contentBytes <= HfsPlusGeometry.LargestNewVolume)
                return options.VolumeSizeBytes is long size ? FixedSize(size) : NeededSize();
            PlanFork largest = forks.MaxBy(f => HfsPlusPlan.SizeOf(f, nodes, attributes));
            throw new ImageException(
                ImageErrorId.SourceNotRepresentable, $"The source has more content than the {HfsPlusGeometry.LargestNewVolume} bytes of "
                    + $"the largest volume; this is its largest file.",
                nodes.Nodes[largest.Node].Entry!.RelativePath, remedy: "Exclude the file: holes count as content here.");
        }

        // Beyond what a number holds it is more than any volume has, too.
        private static long SumOf(PlanFork[] forks, HfsPlusPlanNodes nodes, PlanAttribute[] attributes)
        {
            long sum = 0;
            foreach (PlanFork fork in forks)
                sum = (long)UInt128.Min((UInt128)sum + (UInt128)HfsPlusPlan.SizeOf(fork, nodes, attributes), long.MaxValue);
            return sum;
        }

        private HfsPlusPlan FixedSize(long size)
        {
            // Less than the content is not tried: its files may have more blocks of the size that such a volume has than can be counted.
            if (size >= Math.Max(HfsPlusGeometry.MinimumVolumeSize, _contentBytes))
            {
                foreach (Room room in (Room[])[Room.Roomy, Room.Close, Room.Tight])
                {
                    Places places = Place(size, room);
                    if (places.End < places.TotalBlocks) return Complete(size, places);
                }
            }

            if (options.MayBecomeLarger) return NeededSize();
            long least = LeastSize(size);
            throw new ImageException(ImageErrorId.CapacityTooSmall,
                $"The volume needs at least {least} bytes, and only {size} were given to it.",
                remedy: $"Choose a size of {options.DiskLengthFor?.Invoke(least) ?? least} bytes or more, or exclude something.");
        }

        // What is needed depends on the size itself: bitmap, journal and B-trees grow with it. So sizes are tried until one holds what it
        // asks for.
        private long LeastSize(long size)
        {
            size = Math.Max(Layout.RoundUp(size, HfsPlusGeometry.DefaultBlockSize), SmallestTried());
            while (true)
            {
                Places places = Place(size, Room.Tight);
                if (places.End < places.TotalBlocks) return size;
                size = Math.Max(checked((long)((places.End + 1) * (ulong)_blockSize)), size + _blockSize);
                cancellation.ThrowIfCancellationRequested();
            }
        }

        private HfsPlusPlan NeededSize()
        {
            long size = SmallestTried();
            while (true)
            {
                Places places = Place(size, Room.Close);
                if (places.End < places.TotalBlocks) return Complete(size, places);
                // A little more than needed, for what the first mount adds; sizes of B-trees grow with the volume, so a few rounds are
                // possible.
                ulong blocks = places.End + 1;
                blocks += 64 + (blocks / 128);
                size = Math.Max(checked((long)(blocks * (ulong)_blockSize)), size + _blockSize);
                cancellation.ThrowIfCancellationRequested();
            }
        }

        // Large content is tried from its own size on, with allocation blocks that it can be counted in.
        private long SmallestTried() =>
            _contentBytes < HfsPlusGeometry.DefaultBlockSize * (long)int.MaxValue ? HfsPlusGeometry.MinimumVolumeSize
                : Layout.RoundUp(_contentBytes, HfsPlusGeometry.DefaultBlockSize);

        // Decides sizes and places for a volume of that size, without looking whether they fit: End tells.
        private Places Place(long size, Room room)
        {
            int blockSize = options.BlockSize ?? HfsPlusGeometry.BlockSize(size);
            if (size / blockSize > uint.MaxValue)
            {
                throw new ImageException(
                    ImageErrorId.InvalidArgument, $"A volume of {size} bytes needs larger allocation blocks than {blockSize} bytes.",
                    remedy: "Leave the block size open.");
            }

            SetBlockSize(blockSize);
            BTreeKind catalogKind = new(HfsPlusGeometry.CatalogNodeSize(size), 516, 6,
                options.CaseSensitive ? HfsPlusConstants.KeyCompareBinary : HfsPlusConstants.KeyCompareCaseFolding);
            if (_catalog?.Kind != catalogKind) _catalog = new BTreeBuilder<CatalogCursor>(_catalogRecords, catalogKind, cancellation);

            var places =
                new Places { TotalBlocks = (uint)(size / blockSize), JournalSize = options.Journaled
                    ? HfsPlusGeometry.JournalSize(size, blockSize) : 0 };
            places.Cursor = 1; // block 0 holds the volume header
            places.AllocationFileSize = HfsPlusGeometry.AllocationFileSize(places.TotalBlocks, blockSize);
            places.AllocationFile = places.Take(places.AllocationFileSize / blockSize);
            if (options.Journaled)
            {
                places.JournalInfo = places.Take(1);
                places.Journal = places.Take(Layout.DivideUp(places.JournalSize, blockSize));
            }

            places.ExtentsFile = TakeTree(ref places, size, room, _extents!, CatalogNodeId.ExtentsFile, out _);
            places.AttributesFile = TakeTree(ref places, size, room, _attributes!, CatalogNodeId.AttributesFile, out uint attributesClump);
            if (room == Room.Roomy && size >= 2 * 1024 * 1024) places.Cursor += 10UL * (attributesClump / (uint)blockSize);
            places.CatalogFile = TakeTree(ref places, size, room, _catalog, CatalogNodeId.CatalogFile, out uint catalogClump);
            if (room == Room.Roomy)
                places.Cursor += (10UL * (catalogClump / (uint)blockSize)) + (ulong)HfsPlusGeometry.HotFileBandBlocks(size, blockSize);
            places.FirstFork = places.Cursor;
            places.End = places.Cursor + _forkSpan;
            return places;
        }

        private BlockRun TakeTree(ref Places places, long size, Room room, BTreePlan tree, uint fileId, out uint clump)
        {
            int nodeSize = tree.Kind.NodeSize;
            clump = HfsPlusGeometry.TreeClumpSize(size, _blockSize, nodeSize, fileId);
            long unit = room == Room.Tight ? Math.Max(nodeSize, _blockSize) : clump;
            // Map nodes grow with the file: round up until they fit.
            long nodesNeeded = tree.MinimumNodes;
            while (true)
            {
                long bytes = Layout.RoundUp(nodesNeeded * nodeSize, unit);
                uint total = (uint)Math.Min(bytes / nodeSize, uint.MaxValue);
                if (tree.Fits(total))
                {
                    tree.SetFileSize(total, clump);
                    return places.Take(bytes / _blockSize);
                }

                nodesNeeded = total + 1L;
            }
        }

        private void SetBlockSize(int blockSize)
        {
            if (_blockSize == blockSize) return;
            _blockSize = blockSize;
            _forkSpan = 0;
            for (int i = 0; i < forks.Length; i++)
            {
                long blocks = Layout.DivideUp(HfsPlusPlan.SizeOf(forks[i], nodes, attributes), blockSize);
                if (blocks > uint.MaxValue)
                {
                    throw new ImageException(
                        ImageErrorId.SourceNotRepresentable, "The file is larger than a volume with these allocation blocks can be.",
                        nodes.Nodes[forks[i].Node].Entry!.RelativePath, remedy: "Exclude the file.");
                }

                forks[i] = forks[i] with { Blocks = (uint)blocks };
                _forkSpan += (ulong)blocks;
                if (options.MaximumExtentBlocks > 0)
                    _forkSpan += (ulong)HfsPlusPlan.CountExtents((uint)blocks, options.MaximumExtentBlocks);
            }

            _attributes =
                new BTreeBuilder<AttributeCursor>(
                    _attributeRecords, new BTreeKind(HfsPlusGeometry.AttributesNodeSize, 266, 6, 0), cancellation);
            _extents = new BTreeBuilder<ExtentCursor>(
                _extentRecords, new BTreeKind(HfsPlusGeometry.ExtentsNodeSize, 10, 2, 0), cancellation);
        }

        private HfsPlusPlan Complete(long size, in Places places)
        {
            var used = new UsedRunList();
            used.Add(new BlockRun(0, 1));
            foreach (BlockRun run in (BlockRun[])[
                places.AllocationFile, places.JournalInfo, places.Journal, places.ExtentsFile, places.AttributesFile, places.CatalogFile])
                used.Add(run);

            ulong next = places.FirstFork;
            for (int i = 0; i < forks.Length; i++)
            {
                forks[i] = forks[i] with { StartBlock = (uint)next };
                int extents = HfsPlusPlan.CountExtents(forks[i].Blocks, options.MaximumExtentBlocks);
                next += forks[i].Blocks + (options.MaximumExtentBlocks > 0 ? (ulong)extents : 0);
            }

            for (int i = 0; i < forks.Length; i++)
            {
                int extents = HfsPlusPlan.CountExtents(forks[i].Blocks, options.MaximumExtentBlocks);
                for (int e = 0; e < extents; e++) used.Add(HfsPlusPlan.ExtentAt(forks[i], e, options.MaximumExtentBlocks));
            }

            used.Add(new BlockRun(places.TotalBlocks - 1, 1));
            BlockRun[] runs = used.ToArray();
            var plan = new HfsPlusPlan
            {
                Options = options,
                VolumeBytes = size,
                BlockSize = _blockSize,
                TotalBlocks = places.TotalBlocks,
                AllocatedBlocks = (uint)runs.Sum(r => (long)r.Count),
                NextAllocation = (uint)Math.Min(places.End, places.TotalBlocks - 1),
                Entries = nodes.Nodes.LongCount(n => n.Entry is not null && n.Role != PlanNodeRole.Inode) - 1,
                ContentBytes = nodes.Nodes.Where(n => n.Entry?.Kind == EntryKind.File && n.Role != PlanNodeRole.HardLink)
                    .Sum(n => n.Entry!.Size + n.Entry.ResourceForkSize),
                FileCount = (uint)nodes.Nodes.Count(n => !n.IsFolder),
                FolderCount = (uint)nodes.Nodes.Count(n => n.IsFolder) - 1,
                Tree = nodes,
                Forks = forks,
                Attributes = attributes,
                FetchedValues = fetched,
                UsedRuns = runs,
                AllocationFile = places.AllocationFile,
                AllocationFileSize = (uint)places.AllocationFileSize,
                JournalInfo = places.JournalInfo,
                Journal = places.Journal,
                JournalSize = places.JournalSize,
                ExtentsFile = places.ExtentsFile,
                ExtentsTree = _extents!,
                CatalogFile = places.CatalogFile,
                CatalogTree = _catalog!,
                AttributesFile = places.AttributesFile,
                AttributesTree = _attributes!,
            };
            _catalogRecords.Plan = _attributeRecords.Plan = _extentRecords.Plan = plan;
            return plan;
        }

        private struct Places
        {
            public uint TotalBlocks;
            public ulong Cursor;
            public long AllocationFileSize;
            public long JournalSize;
            public BlockRun AllocationFile;
            public BlockRun JournalInfo;
            public BlockRun Journal;
            public BlockRun ExtentsFile;
            public BlockRun AttributesFile;
            public BlockRun CatalogFile;
            public ulong FirstFork;

            /// <summary>The first block behind everything but the second header; the layout fits when it is below
            /// <see cref="TotalBlocks"/>.</summary>
            public ulong End;

            public BlockRun Take(long blocks)
            {
                // Beyond 32 bits the layout does not fit anyway, and End says so.
                var run = new BlockRun(
                    (uint)Math.Min(Cursor, uint.MaxValue), (uint)Math.Min(blocks, uint.MaxValue - (long)Math.Min(Cursor, uint.MaxValue)));
                Cursor += (ulong)blocks;
                return run;
            }
        }
    }

    /// <summary>Collects runs in ascending order and joins those that touch.</summary>
    private sealed class UsedRunList
    {
        private readonly List<BlockRun> _runs = [];

        public void Add(BlockRun run)
        {
            if (run.Count == 0) return;
            if (_runs.Count > 0 && _runs[^1].End == run.Start) _runs[^1] = new BlockRun(_runs[^1].Start, _runs[^1].Count + run.Count);
            else _runs.Add(run);
        }

        public BlockRun[] ToArray() => [.. _runs];
    }
}
