using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Text;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// Reads a whole volume into a tree: every record in one pass from leaf to leaf, then the folders from the root down. What the root does
/// not lead to (files that were deleted while they were open, the system's private folders) is not shown. Not recursive. A record that is
/// damaged is left out and told in the tree's omissions; all others are in the tree.
/// </summary>
/// <param name="tree">The records.</param>
/// <param name="unknownFeatures">Features of the container that are not known, for people; null for none.</param>
internal sealed class ApfsTreeReader(ApfsFileTree tree, string? unknownFeatures = null)
{
    /// <summary>The attribute in which APFS keeps a resource fork.</summary>
    public const string ResourceForkAttribute = "com.apple.ResourceFork";

    private const string FinderInfoAttribute = "com.apple.FinderInfo";
    private const int FinderInfoSize = 32;
    private const int MaximumLinkTarget = 1024; // PATH_MAX of macOS
    private const long MostKept = 16 << 20; // bytes of values of attributes; what comes then is read again when it is asked for

    // Type bits of st_mode.
    private const uint TypeMask = 0xF000, TypeFifo = 0x1000, TypeCharacter = 0x2000, TypeFolder = 0x4000, TypeBlock = 0x6000,
        TypeLink = 0xA000, TypeSocket = 0xC000;

    // BSD flags (Apple's sys/stat.h): UF_COMPRESSED; SF_FIRMLINK, which tells like SF_DATALESS where a file lies, not what it is.
    private const uint CompressedFlag = 0x20, FirmlinkFlag = 0x0080_0000;

    private readonly Dictionary<ulong, ApfsFile> _files = [];
    private readonly Dictionary<ulong, long> _streamEnds = []; // only when extents are to be checked
    private readonly Dictionary<ulong, List<(string Name, ulong FileId, bool IsFolder)>> _folders = [];
    private readonly HashSet<ulong> _toldFaults = [];

    private readonly TreeOmissions _omissions = new();
    private readonly Dictionary<ulong, ImageException> _faults = []; // of objects, told when the paths are known
    private long _faultsLeft;
    private bool _isIncomplete;
    private bool _checksExtents;
    private long _kept;

    /// <summary>Reads the tree.</summary>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>, <see cref="ImageErrorId.UnsupportedFormat"/>.</exception>
    public ApfsTree Read(CancellationToken cancellation)
    {
        foreach (ApfsNode leaf in tree.ReadLeaves(LoseNode))
        {
            cancellation.ThrowIfCancellationRequested();
            for (int i = 0; i < leaf.Count; i++) TakeRecord(leaf, i);
        }

        if (_isIncomplete) FindLostEntries(cancellation);
        if (!_files.TryGetValue(ApfsFileConstants.RootFolder, out ApfsFile? root) || KindOf(root) != EntryKind.Directory)
        {
            // Without the record of the root its files are there all the same; without any file there is nothing to be listed.
            ImageException fault = ImageException.Damaged("The volume has no root folder.", "tree of files");
            if (!_folders.ContainsKey(ApfsFileConstants.RootFolder)) throw fault;
            _omissions.Lose(() => "/", "The metadata of the root folder", fault);
            root = null;
        }

        SourceEntry rootEntry = root is null ? MakeLostFolder("", ApfsFileConstants.RootFolder)
            : MakeEntry("", ApfsFileConstants.RootFolder, root);
        Attach(rootEntry, cancellation);
        TellFaults(rootEntry);
        if (unknownFeatures is not null)
            _omissions.Advise($"The APFS container has features that this version does not know ({unknownFeatures}): its files are read as "
                + $"if they had none of them. Compare them with their source.");
        return new ApfsTree(tree, rootEntry, _files, _omissions);
    }

    private void LoseNode(ImageException fault)
    {
        _isIncomplete = true;
        _omissions.LeaveOut(() => null, fault);
    }

    private void TakeRecord(ApfsNode leaf, int index)
    {
        ulong id = 0;
        try
        {
            id = ApfsFileTree.HeadOf(leaf, index) & ApfsConstants.AddressMask;
            ReadRecord(leaf, index);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            if (_files.TryGetValue(id, out ApfsFile? file)) file.MayLackAttributes = true;
            else if (_faults.ContainsKey(id)) return; // attributes of a file that is lost already
            if (_faults.Count >= TreeOmissions.MostKept || !_faults.TryAdd(id, e)) _faultsLeft++;
        }
    }

    // Of an object that has a place the path is told; what an entry leads to in vain was told with the entry.
    private void TellFaults(SourceEntry root)
    {
        _omissions.CountMore(_faultsLeft);
        if (_faults.Count == 0) return;
        Dictionary<ulong, SourceEntry> owners = [];
        var pending = new Stack<SourceEntry>([root]);
        while (pending.TryPop(out SourceEntry? entry))
        {
            if (_faults.ContainsKey((ulong)entry.NodeId)) owners.TryAdd((ulong)entry.NodeId, entry);
            foreach (SourceEntry child in entry.Children) pending.Push(child);
        }

        foreach ((ulong id, ImageException fault) in _faults)
        {
            if (owners.TryGetValue(id, out SourceEntry? owner))
                _omissions.Lose(() => TreeOmissions.PathOf(owner), "Something of it", fault);
            else if (!_toldFaults.Contains(id)) _omissions.LeaveOut(() => null, fault);
        }
    }

    /// <summary>Reads the tree, and proves that extents hold what every file and attribute claims. The content of files of the cloud is not
    /// here.</summary>
    /// <param name="onFault">Hears of each fault: what, and where.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>Files and folders that the root leads to, itself not among them.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>, <see cref="ImageErrorId.UnsupportedFormat"/>.</exception>
    public long Check(Action<string, string?> onFault, CancellationToken cancellation)
    {
        _checksExtents = true;
        using ApfsTree read = Read(cancellation);
        foreach (ImagingWarning omission in read.Omissions) onFault(omission.Message, omission.Path);
        foreach ((ulong id, ApfsFile file) in _files)
        {
            cancellation.ThrowIfCancellationRequested();
            if (file.IsContentLost) onFault(CompressedFile.HeaderLost("").Problem, $"tree of files, object {id}");
            if ((file.Inode.BsdFlags & ApfsFileConstants.DatalessFlag) == 0) MustHold(id, file.Inode.StreamId, file.Size, onFault);
            if (file.Streams is null) continue;
            foreach (ExtendedAttribute attribute in file.Attributes)
            {
                if (file.Streams.TryGetValue(attribute.Name, out ulong stream)) MustHold(id, stream, attribute.Size, onFault);
            }
        }

        return read.Enumerate().LongCount() - 1;
    }

    private void MustHold(ulong id, ulong stream, long size, Action<string, string?> onFault)
    {
        if (_streamEnds.GetValueOrDefault(stream) < size)
            onFault($"A stream of {size} bytes has extents for {_streamEnds.GetValueOrDefault(stream)}.", $"tree of files, object {id}");
    }

    private void ReadRecord(ApfsNode leaf, int index)
    {
        ulong head = ApfsFileTree.HeadOf(leaf, index), id = head & ApfsConstants.AddressMask;
        switch ((ApfsRecordType)(head >> ApfsConstants.TypeShift))
        {
            case ApfsRecordType.Inode:
                if (!_files.TryAdd(id, ReadInode(leaf.Value(index), id))) throw Damaged("There are two files of one number.", id);
                break;
            case ApfsRecordType.Attribute:
                ReadAttribute(leaf, index, id);
                break;
            case ApfsRecordType.Extent when _checksExtents:
                long end = _streamEnds.GetValueOrDefault(id);
                _streamEnds[id] = end + tree.ReadExtent(leaf, index, end, $"tree of files, object {id}").Length;
                break;
            case ApfsRecordType.Entry:
                ReadOnlySpan<byte> value = leaf.Value(index, sizeof(ulong));
                if (value.IsEmpty) throw Damaged("An entry of a folder has no value.", id);
                if (!_folders.TryGetValue(id, out List<(string Name, ulong FileId, bool IsFolder)>? entries)) _folders[id] = entries = [];
                ReadOnlySpan<byte> whole = leaf.Value(index);
                bool isFolder = whole.Length > ApfsFileConstants.EntryFlagsOffset
                    && (whole[ApfsFileConstants.EntryFlagsOffset] & ApfsFileConstants.EntryTypeMask) == ApfsFileConstants.EntryOfFolder;
                entries.Add((ReadEntryName(leaf.Key(index), id), BinaryPrimitives.ReadUInt64LittleEndian(value), isFolder));
                break;
        }
    }

    private static ApfsFile ReadInode(ReadOnlySpan<byte> value, ulong id)
    {
        int size = Unsafe.SizeOf<ApfsInode>();
        if (value.Length < size) throw Damaged($"An inode has {value.Length} bytes.", id);
        ReadOnlySpan<byte> finderInfo = FindField(value[size..], ApfsFileConstants.FinderInfoField, FinderInfoSize, id);
        ReadOnlySpan<byte> stream = FindField(value[size..], ApfsFileConstants.StreamField, Unsafe.SizeOf<ApfsStream>(), id);
        ReadOnlySpan<byte> device = FindField(value[size..], ApfsFileConstants.DeviceField, sizeof(uint), id);
        return new ApfsFile
        {
            Inode = Layout.Read<ApfsInode>(value),
            Size = stream.IsEmpty ? 0 : SizeOf(Layout.Read<ApfsStream>(stream), id),
            Device = device.IsEmpty ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(device),
            FinderInfo = finderInfo.ContainsAnyExcept((byte)0) ? finderInfo[..FinderInfoSize].ToArray() : null,
        };
    }

    // xf_blob_t: number of fields, bytes of their values; then the fields' types and sizes; then their values, each on a multiple of 8.
    private static ReadOnlySpan<byte> FindField(ReadOnlySpan<byte> fields, byte type, int least, ulong id)
    {
        const int header = 4;
        if (fields.Length < header) return [];
        int count = BinaryPrimitives.ReadUInt16LittleEndian(fields), entry = Unsafe.SizeOf<ApfsExtendedField>(), at = header
            + (count * entry);
        if (at > fields.Length) throw Damaged("The extended fields of an inode are cut short.", id);
        for (int i = 0; i < count; i++)
        {
            ApfsExtendedField field = Layout.Read<ApfsExtendedField>(fields[(header + (i * entry))..]);
            if (field.Size > fields.Length - at) throw Damaged("An extended field of an inode is cut short.", id);
            if (field.Type == type)
                return field.Size >= least ? fields.Slice(at, field.Size)
                    : throw Damaged($"An extended field of an inode has {(ushort)field.Size} bytes.", id);
            at = Math.Min(fields.Length, at + ((field.Size + 7) & ~7));
        }

        return [];
    }

    private void ReadAttribute(ApfsNode leaf, int index, ulong id)
    {
        string name = ReadAttributeName(leaf, index, id);
        ReadOnlySpan<byte> value = ReadAttributeValue(leaf, index, name, id, out ApfsAttributeValue fixedPart);
        if ((fixedPart.Flags & ApfsFileConstants.AttributeOfFileSystem) != 0
            && name is not (ApfsFileConstants.LinkTargetAttribute or CompressedFile.AttributeName)) return;

        // In the order of keys an inode precedes its attributes.
        if (!_files.TryGetValue(id, out ApfsFile? file)) throw Damaged($"The attribute {name} belongs to no file.", id);
        bool isInStream = (fixedPart.Flags & ApfsFileConstants.AttributeInStream) != 0;
        if (isInStream && value.Length < Unsafe.SizeOf<ApfsAttributeStream>()) throw Damaged($"The attribute {name} has no stream.", id);
        if (isInStream)
        {
            ApfsAttributeStream stream = Layout.Read<ApfsAttributeStream>(value);
            if (name == ApfsFileConstants.LinkTargetAttribute) throw Damaged("A symbolic link leads nowhere.", id);
            Add(file, new(name, SizeOf(stream.Stream, id), null));
            (file.Streams ??= [])[name] = stream.StreamId;
        }
        else if (name == ApfsFileConstants.LinkTargetAttribute) SetTarget(file, value, id);
        else if ((_kept += value.Length) <= MostKept || (name == FinderInfoAttribute && value.Length == FinderInfoSize))
            Add(file, new(name, value.Length, value.ToArray()));
        else
        {
            Add(file, new(name, value.Length, null));
            if (name == CompressedFile.AttributeName && KindOf(file) == EntryKind.File && (file.Inode.BsdFlags & CompressedFlag) != 0)
                file.Compressed = CompressedFile.TryParse(value);
        }
    }

    private static string ReadAttributeName(ApfsNode leaf, int index, ulong id)
    {
        const int nameOffset = 10;
        ReadOnlySpan<byte> key = leaf.Key(index);
        if (key.Length < nameOffset) throw Damaged("The key of an attribute is cut short.", id);
        return ReadName(key[nameOffset..], BinaryPrimitives.ReadUInt16LittleEndian(key[sizeof(ulong)..]), id);
    }

    private static ReadOnlySpan<byte> ReadAttributeValue(ApfsNode leaf, int index, string name, ulong id, out ApfsAttributeValue fixedPart)
    {
        ReadOnlySpan<byte> value = leaf.Value(index);
        int header = Unsafe.SizeOf<ApfsAttributeValue>();
        if (value.Length < header) throw Damaged($"The attribute {name} has no value.", id);
        fixedPart = Layout.Read<ApfsAttributeValue>(value);
        if (fixedPart.Length > value.Length - header) throw Damaged($"The value of the attribute {name} is cut short.", id);
        return value.Slice(header, fixedPart.Length);
    }

    /// <summary>Reads a value that lies in its record; null when there is no such attribute.</summary>
    /// <param name="tree">The records.</param>
    /// <param name="id">The object.</param>
    /// <param name="attribute">The attribute's name.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static byte[]? FindValue(ApfsFileTree tree, ulong id, string attribute)
    {
        foreach ((ApfsNode leaf, int index) in tree.Find(id, ApfsRecordType.Attribute))
        {
            string name = ReadAttributeName(leaf, index, id);
            if (name == attribute) return ReadAttributeValue(leaf, index, name, id, out _).ToArray();
        }

        return null;
    }

    private static void SetTarget(ApfsFile file, ReadOnlySpan<byte> target, ulong id)
    {
        int end = target.IndexOf((byte)0);
        if (end >= 0) target = target[..end];
        if (target.IsEmpty || target.Length > MaximumLinkTarget) throw Damaged("A symbolic link leads nowhere.", id);
        file.LinkTarget = Encoding.UTF8.GetString(target);
    }

    private static void Add(ApfsFile file, ExtendedAttribute attribute)
    {
        if (attribute is { Name: FinderInfoAttribute, Value: { Length: FinderInfoSize } info })
            file.FinderInfo = info.AsSpan().ContainsAnyExcept((byte)0) ? info : null;
        else file.Attributes.Add(attribute);
    }

    private string ReadEntryName(ReadOnlySpan<byte> key, ulong folder)
    {
        int nameOffset = tree.HasHashedNames ? 12 : 10;
        if (key.Length < nameOffset) throw Damaged("The key of a folder's entry is cut short.", folder);
        int length = tree.HasHashedNames
            ? (int)(BinaryPrimitives.ReadUInt32LittleEndian(key[sizeof(ulong)..]) & ApfsFileConstants.HashedNameLengthMask)
            : BinaryPrimitives.ReadUInt16LittleEndian(key[sizeof(ulong)..]);
        string name = ReadName(key[nameOffset..], length, folder);
        return name is "." or ".." || name.Contains('/') ? throw Damaged("A folder has an entry whose name cannot be one.", folder) : name;
    }

    // UTF-8; the length counts the zero behind it.
    private static string ReadName(ReadOnlySpan<byte> bytes, int length, ulong id)
    {
        if (length > bytes.Length) throw Damaged("A name is cut short.", id);
        bytes = bytes[..length];
        if (!bytes.IsEmpty && bytes[^1] == 0) bytes = bytes[..^1];
        return bytes.IsEmpty || bytes.Contains((byte)0) ? throw Damaged("A name is empty, or has a zero.", id)
            : Encoding.UTF8.GetString(bytes);
    }

    // A folder has one place; other files as many as they have names.
    private void Attach(SourceEntry root, CancellationToken cancellation)
    {
        var pending = new Stack<(ulong Id, SourceEntry Entry)>([(ApfsFileConstants.RootFolder, root)]);
        var folders = new HashSet<ulong> { ApfsFileConstants.RootFolder };
        while (pending.TryPop(out (ulong Id, SourceEntry Entry) folder))
        {
            cancellation.ThrowIfCancellationRequested();
            if (!_folders.TryGetValue(folder.Id, out List<(string Name, ulong FileId, bool IsFolder)>? entries)) continue;
            foreach ((string name, ulong id, bool isFolder) in entries)
            {
                if (TryMakeEntry(folder.Entry, name, id, isFolder) is not { } entry) continue;
                if (entry.Kind == EntryKind.Directory)
                {
                    if (!folders.Add(id))
                    {
                        LeaveOut(folder.Entry, name, Damaged("The folder lies in two places, and is shown in the other one.", id));
                        continue;
                    }

                    pending.Push((id, entry));
                }
                else if (_files.TryGetValue(id, out ApfsFile? file) && file.First is { } first && first != entry)
                    entry.HardLinkId = first.HardLinkId = (long)id;
                folder.Entry.Add(entry);
            }
        }

        if (_isIncomplete) TellUnreached(folders);
    }

    // Where entries of folders are lost, a file is found by the folder and the name that its inode keeps.
    private void FindLostEntries(CancellationToken cancellation)
    {
        HashSet<ulong> placed = [.. _folders.Values.SelectMany(entries => entries.Select(e => e.FileId))];
        foreach (ApfsNode leaf in tree.ReadLeaves(_ => { }))
        {
            cancellation.ThrowIfCancellationRequested();
            for (int i = 0; i < leaf.Count; i++)
            {
                if (TryFindPlace(leaf, i) is not var (id, parent, name) || !_files.TryGetValue(id, out ApfsFile? file) || !placed.Add(id))
                    continue;
                if (!_folders.TryGetValue(parent, out List<(string Name, ulong FileId, bool IsFolder)>? entries))
                    _folders[parent] = entries = [];
                entries.Add((name, id, KindOf(file) == EntryKind.Directory));
            }
        }
    }

    private static (ulong Id, ulong Parent, string Name)? TryFindPlace(ApfsNode leaf, int index)
    {
        try
        {
            ulong head = ApfsFileTree.HeadOf(leaf, index), id = head & ApfsConstants.AddressMask;
            if ((ApfsRecordType)(head >> ApfsConstants.TypeShift) != ApfsRecordType.Inode || id <= ApfsFileConstants.PrivateFolder)
                return null;
            ReadOnlySpan<byte> value = leaf.Value(index);
            if (value.Length < Unsafe.SizeOf<ApfsInode>()) return null;
            ulong parent = Layout.Read<ApfsInode>(value).ParentId;
            ReadOnlySpan<byte> field = FindField(value[Unsafe.SizeOf<ApfsInode>()..], ApfsFileConstants.NameField, 1, id);
            if (field.IsEmpty || parent is ApfsFileConstants.RootParent or ApfsFileConstants.PrivateFolder) return null;
            string name = ReadName(field, field.Length, id);
            return name is "." or ".." || name.Contains('/') ? null : (id, parent, name);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return null; // told when the records were read
        }
    }

    private void TellUnreached(HashSet<ulong> reached)
    {
        foreach ((ulong folder, List<(string Name, ulong FileId, bool IsFolder)> entries) in _folders)
        {
            if (reached.Contains(folder) || folder is ApfsFileConstants.RootParent or ApfsFileConstants.PrivateFolder) continue;
            foreach ((string name, _, _) in entries)
                _omissions.LeaveOut(() => $"folder {folder}/{name}", Damaged($"It lies in folder {folder}, which is lost.", folder));
        }
    }

    // 0755
    private static SourceEntry MakeLostFolder(string name, ulong id) =>
        new() { Name = name, Kind = EntryKind.Directory, Mode = 0x1ED, NodeId = (long)id };

    private void LeaveOut(SourceEntry folder, string name, ImageException fault) =>
        _omissions.LeaveOut(() => TreeOmissions.PathOf(folder, name), fault);

    // Null for an entry that is left out. A folder whose own record is lost has its place and its entries.
    private SourceEntry? TryMakeEntry(SourceEntry folder, string name, ulong id, bool isFolder)
    {
        try
        {
            if (_files.TryGetValue(id, out ApfsFile? file))
            {
                SourceEntry entry = file.First?.WithName(name) ?? MakeEntry(name, id, file);
                file.First ??= entry;
                return entry;
            }

            ImageException fault = _faults.TryGetValue(id, out ImageException? why) ? why
                : Damaged($"It leads to file {id}, which is not there.", id);
            _toldFaults.Add(id);
            if (!isFolder || !_folders.ContainsKey(id)) throw fault;
            _omissions.Lose(() => TreeOmissions.PathOf(folder, name), "The metadata of the folder", fault);
            return MakeLostFolder(name, id);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            LeaveOut(folder, name, e);
            return null;
        }
    }

    private SourceEntry MakeEntry(string name, ulong id, ApfsFile file)
    {
        ApfsInode inode = file.Inode;
        EntryKind kind = KindOf(file);
        uint flags = inode.BsdFlags & ~(FirmlinkFlag | ApfsFileConstants.DatalessFlag);
        if (kind == EntryKind.File && (flags & CompressedFlag) != 0 && (file.Compressed ??= TryFindCompressed(file, id)) is not null)
            flags &= ~CompressedFlag;
        bool isDevice = kind is EntryKind.CharacterDevice or EntryKind.BlockDevice;
        bool isInFork = file.Compressed is { IsInResourceFork: true };
        if (kind == EntryKind.SymbolicLink && file.LinkTarget is null) throw Damaged($"The symbolic link \"{name}\" leads nowhere.", id);
        return new SourceEntry
        {
            Name = name,
            Kind = kind,
            Size = kind == EntryKind.File ? file.Compressed?.Size ?? file.Size : 0,
            ResourceForkSize = kind == EntryKind.File && !isInFork ? file.Attributes.Find(a => a.Name == ResourceForkAttribute)?.Size ?? 0
                : 0,
            Mode = inode.Mode & SourceEntry.PermissionMask,
            UserId = inode.OwnerId,
            GroupId = inode.GroupId,
            Flags = flags,

            // sys/types.h: major() is the top byte, minor() the other three.
            DeviceMajor = isDevice ? file.Device >> 24 : 0,
            DeviceMinor = isDevice ? file.Device & 0xFF_FFFF : 0,
            BirthTime = TimeOf(inode.CreateTime),
            ModifyTime = TimeOf(inode.ModifyTime),
            ChangeTime = TimeOf(inode.ChangeTime),
            AccessTime = TimeOf(inode.AccessTime),
            NodeId = (long)id,
            LinkTarget = kind == EntryKind.SymbolicLink ? file.LinkTarget : null,
            FinderInfo = file.FinderInfo,
            Attributes = file.Attributes.Count == 0 ? [] : [.. file.Attributes.Where(a => IsShown(a, file))],
        };
    }

    private static bool IsShown(ExtendedAttribute attribute, ApfsFile file) =>
        attribute.Name != ResourceForkAttribute && (file.Compressed is null || attribute.Name != CompressedFile.AttributeName);

    private CompressedFile? TryFindCompressed(ApfsFile file, ulong id)
    {
        CompressedFile? found = null;
        try
        {
            found = FindCompressed(file, id);
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            // The file is listed, and its content is an error.
        }

        file.IsContentLost = found is null && file.Size == 0
            && (_isIncomplete || file.MayLackAttributes
                || file.Attributes.Exists(a => a.Name is CompressedFile.AttributeName or ResourceForkAttribute));
        return found;
    }

    private CompressedFile? FindCompressed(ApfsFile file, ulong id)
    {
        if (file.Attributes.Find(a => a.Name == CompressedFile.AttributeName) is not { } attribute
            || attribute.Size > CompressedFile.MaximumAttributeSize) return null;
        if (attribute.Value is not null) return CompressedFile.TryParse(attribute.Value);
        // in its record, and no such header
        if (file.Streams is null || !file.Streams.TryGetValue(attribute.Name, out ulong of)) return null;
        using BlockStorage stream = tree.OpenStream(of, attribute.Size, $"attribute {attribute.Name} of file {id}");
        Span<byte> header = stackalloc byte[CompressedFile.HeaderSize];
        header = header[..(int)Math.Min(header.Length, attribute.Size)];
        stream.Read(0, header);
        return CompressedFile.TryParse(header);
    }

    private static EntryKind KindOf(ApfsFile file) => (file.Inode.Mode & TypeMask) switch
    {
        TypeFolder => EntryKind.Directory,
        TypeLink => EntryKind.SymbolicLink,
        TypeFifo => EntryKind.Fifo,
        TypeSocket => EntryKind.Socket,
        TypeCharacter => EntryKind.CharacterDevice,
        TypeBlock => EntryKind.BlockDevice,
        _ => EntryKind.File,
    };

    private static UnixTime TimeOf(ulong nanoseconds) => new(Math.Max(unchecked((long)nanoseconds), long.MinValue + 1));

    private static long SizeOf(in ApfsStream stream, ulong id) =>
        stream.Size <= long.MaxValue ? (long)(ulong)stream.Size : throw Damaged($"A file claims {(ulong)stream.Size} bytes.", id);

    private static ImageException Damaged(string problem, ulong id) => ImageException.Damaged(problem, $"tree of files, object {id}");
}
