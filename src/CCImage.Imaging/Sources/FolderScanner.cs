using CCImage.Diagnostics;
using CCImage.Platform;

namespace CCImage.Sources;

/// <summary>Finds out what a folder of the host holds, with all its metadata, and reads no content.</summary>
public sealed class FolderScanner
{
    private const int ProgressInterval = 1000;
    private const string ExcludeOrSkip = "Exclude it, or ask to skip what cannot be read.";
    private const string RightsExcludeOrSkip = "Run with the rights to read it, exclude it, or ask to skip what cannot be read.";

    private readonly FolderScanOptions _options;
    private readonly IHostPlatform _platform;
    private readonly IImagingObserver _observer;
    private readonly CancellationToken _cancellation;
    private readonly PathPatterns _patterns;
    private readonly bool[] _patternMatched;
    private readonly Dictionary<string, HashSet<HostIdentity>> _excludedNames;
    private readonly List<ImagingWarning> _skipped = [];
    private readonly AttributePool _pool = new();
    private readonly Dictionary<HostIdentity, SourceEntry> _firstNames = [];
    private readonly HashSet<ulong> _joinedVolumes = [];
    private readonly HashSet<HostIdentity> _firmlinks = [];
    private readonly string _rootPath;
    private long _entries;
    private long _bytes;
    private long _lastLinkId;
    private long _excluded;
    private long _unkept;
    private string? _firstUnkept;

    private FolderScanner(
        string rootPath, FolderScanOptions options, IHostPlatform platform, IImagingObserver observer, CancellationToken cancellation)
    {
        (_rootPath, _options, _platform, _observer, _cancellation) = (rootPath, options, platform, observer, cancellation);
        _patterns = new(options.Exclude);
        _patternMatched = new bool[options.Exclude.Count];
        _excludedNames = new(platform.NameComparer);
        foreach (string path in options.ExcludePaths) ExcludePath(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));
    }

    /// <summary>
    /// Scans. Links are never followed, except that the root itself may be one. Entries are in the ordinal order of their names, so the
    /// same folder gives the same tree. Mac's attributes are taken from where the host keeps them; on Linux from <c>user.</c> attributes.
    /// </summary>
    /// <param name="rootPath">The folder.</param>
    /// <param name="options">What to leave out.</param>
    /// <param name="observer">Hears of progress (entries) and of what was left out.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.SourceNotFound"/>; <see cref="ImageErrorId.SourceUnreadable"/> for the
    /// first thing that cannot be read, unless the options say to leave it out.</exception>
    public static HostTree Scan(string rootPath, FolderScanOptions options, IImagingObserver observer, CancellationToken cancellation) =>
        Scan(rootPath, options, HostPlatform.Current, observer, cancellation);

    /// <summary>The same on a given machine.</summary>
    internal static HostTree Scan(
        string rootPath, FolderScanOptions options, IHostPlatform platform, IImagingObserver observer, CancellationToken cancellation) =>
        new FolderScanner(Path.GetFullPath(rootPath), options, platform, observer, cancellation).Scan();

    private HostTree Scan()
    {
        // What is in the cloud is downloaded while the tree is in use, or not at all, should it be evicted between the look at it and the
        // reading.
        IDisposable? cloud = _options.IncludeDataless ? _platform.DownloadCloudFiles() : null;
        if (!_options.IncludeDataless) _platform.KeepThreadFromDownloading();
        HostDirectory? root = null;
        HostTree? tree = null;
        try
        {
            root = OpenRoot();
            SourceEntry rootEntry = MakeRoot(root);
            tree = new HostTree(root, _rootPath, rootEntry, _platform, cloud);

            // The tree keeps its folder open; the walk has its own.
            using var path = new HostPath(OpenRoot());
            Walk(path, rootEntry);
            tree.EntryCount = _entries;
            tree.TotalBytes = _bytes;
            tree.Skipped = _skipped;
            tree.ExcludedCount = _excluded;
            TellUnusedPatterns();
            TellUnkeptAttributes();
            return tree;
        }
        catch
        {
            root?.Dispose();
            cloud?.Dispose();
            throw;
        }
    }

    private SourceEntry MakeRoot(HostDirectory root)
    {
        try
        {
            return MakeEntry(root, HostNode.Self, "", root.Stat);
        }
        catch (HostException e)
        {
            throw Failure(_rootPath, "The metadata of the source folder cannot be read.", e);
        }
    }

    private HostDirectory OpenRoot()
    {
        try
        {
            return _platform.OpenDirectory(_rootPath);
        }
        catch (HostException e) when (e.Failure == HostFailure.NotFound)
        {
            throw new ImageException(
                ImageErrorId.SourceNotFound, "The source folder does not exist.", _rootPath,
                remedy: "Check the path, and whether its volume is mounted.", innerException: e);
        }
        catch (HostException e) when (e.Failure == HostFailure.NotADirectory)
        {
            throw new ImageException(
                ImageErrorId.SourceNotFound, "The source is not a folder.", _rootPath, remedy: "Name the folder that holds it.",
                innerException: e);
        }
        catch (HostException e)
        {
            throw Failure(_rootPath, "The source folder cannot be opened.", e);
        }
    }

    // Folders are visited parents first, in order; the path is that of the folder visited last, and the next one's parent is on it.
    private void Walk(HostPath path, SourceEntry root)
    {
        var pending = new Stack<SourceEntry>();
        pending.Push(root);
        SourceEntry at = root;
        var subfolders = new List<SourceEntry>();
        var names = new List<string>();
        while (pending.TryPop(out SourceEntry? folder))
        {
            _cancellation.ThrowIfCancellationRequested();
            if (folder.Parent is not null)
            {
                for (; at != folder.Parent; at = at.Parent!) path.Leave();
                if (!Enter(path, folder)) continue;
                at = folder;
            }

            subfolders.Clear();
            names.Clear();
            List(path.Current, folder, names, subfolders);
            for (int i = subfolders.Count - 1; i >= 0; i--) pending.Push(subfolders[i]);
        }
    }

    private bool Enter(HostPath path, SourceEntry folder)
    {
        try
        {
            path.Enter(folder.Name);
            if (unchecked((long)path.Current.Stat.Identity.Inode) == folder.NodeId) return true;
            path.Leave();
            Skip(DisplayPath(folder), "The folder was replaced by another one during the scan; its content was left out.", null);
        }
        catch (HostException e)
        {
            Skip(DisplayPath(folder), "The folder cannot be opened; its content was left out.", e);
        }

        return false;
    }

    private void List(HostDirectory folder, SourceEntry entry, List<string> names, List<SourceEntry> subfolders)
    {
        var undecodable = new List<string>();
        try
        {
            folder.ReadNames(names, undecodable);
        }
        catch (HostException e)
        {
            Skip(DisplayPath(entry), "The folder cannot be read to its end; the rest of its content was left out.", e);
        }

        undecodable.Sort(StringComparer.Ordinal);
        foreach (string name in undecodable)
            Skip(Join(entry, name), "The name is not valid UTF-8 (offending bytes are shown as \\xNN), so no Mac volume can hold it.", null,
                "Rename it, or ask to skip what cannot be read.");

        names.Sort(StringComparer.Ordinal);
        bool? keepsBeside = null;
        foreach (string name in names)
        {
            if (name.StartsWith("._", StringComparison.Ordinal) && names.BinarySearch(name[2..], StringComparer.Ordinal) >= 0
                && (keepsBeside ??= folder.KeepsAttributesBeside) && IsAppleDouble(folder, name))
            {
                _observer.OnVerbose($"{Join(entry, name)} was not taken as a file: it is how this volume keeps the attributes of "
                    + $"{name[2..]}, which were taken.");
                continue;
            }

            SourceEntry? child = Look(folder, entry, name, out bool enter);
            if (child is null) continue;
            entry.Add(child);
            if (enter) subfolders.Add(child);
            if (++_entries % ProgressInterval == 0)
            {
                _observer.OnProgress(new("Scanning", _entries, 0, "entries"));
                _cancellation.ThrowIfCancellationRequested();
            }
        }
    }

    private static bool IsAppleDouble(HostDirectory folder, string name)
    {
        try
        {
            if (folder.GetStat(name) is not { Kind: EntryKind.File, IsDataless: false }) return false;
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = folder.OpenFile(name, out _);
            Span<byte> magic = stackalloc byte[4];
            return RandomAccess.Read(file, magic, 0) == magic.Length && magic.SequenceEqual((ReadOnlySpan<byte>)[0x00, 0x05, 0x16, 0x07]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false; // then it is looked at like any other file
        }
    }

    private SourceEntry? Look(HostDirectory folder, SourceEntry parent, string name, out bool enter)
    {
        enter = false;
        try
        {
            HostStat stat = folder.GetStat(name);
            bool isFolder = stat.Kind == EntryKind.Directory;
            if (!_patterns.IsEmpty && IsExcluded(parent, name, isFolder)) return null;
            if (_excludedNames.TryGetValue(name, out HashSet<HostIdentity>? folders) && folders.Contains(folder.Stat.Identity)) return null;
            if (stat.Kind is null)
            {
                Skip(Join(parent, name), "The entry is of a kind that no Mac volume has.", null, ExcludeOrSkip);
                return null;
            }

            if (stat.IsDataless && !_options.IncludeDataless)
            {
                LeaveOut(Join(parent, name),
                    $"The {(isFolder ? "folder" : "file")}'s content is in the cloud only; reading it would download it.");
                return null;
            }

            if (stat.Kind == EntryKind.File && !folder.CanRead(name, stat))
            {
                Skip(Join(parent, name), "The file cannot be read: no permission.", null);
                return null;
            }

            bool isLink = stat.LinkCount > 1 && !isFolder;
            if (isLink && _firstNames.TryGetValue(stat.Identity, out SourceEntry? first))
            {
                if (first.HardLinkId == 0) first.HardLinkId = ++_lastLinkId;
                return FurtherName(first, name);
            }

            SourceEntry entry = MakeEntry(folder, new(name), name, stat);
            if (isLink) _firstNames.Add(stat.Identity, entry);
            _bytes += entry.Size + entry.ResourceForkSize;
            if (stat.HasUnkeptAttributes && _unkept++ == 0) _firstUnkept = Join(parent, name);
            enter = isFolder && IsEntered(folder, parent, name, stat);
            return entry;
        }
        catch (HostException e) when (e.Failure == HostFailure.NotFound)
        {
            _observer.OnVerbose($"{Join(parent, name)} was deleted during the scan.");
            return null;
        }
        catch (HostException e)
        {
            Skip(Join(parent, name), "The entry's metadata cannot be read.", e);
            return null;
        }
    }

    private bool IsExcluded(SourceEntry parent, string name, bool isFolder)
    {
        int first = -1;
        bool excluded = _patterns.IsMatch(name, isFolder, () => RelativePath(parent, name), number =>
        {
            _patternMatched[number] = true;
            if (first < 0) first = number;
        });
        if (!excluded) return false;
        _excluded++;
        _observer.OnVerbose($"{Join(parent, name)} was left out: it matches the pattern '{_options.Exclude[first]}'.");
        return true;
    }

    private void TellUnkeptAttributes()
    {
        if (_firstUnkept is null) return;
        _observer.OnWarning(new ImagingWarning(
            ImagingWarningKind.MetadataLost, _firstUnkept,
            $"{(_unkept == 1 ? "This entry has" : $"{_unkept} entries, of which this is the first, have")} attributes of Linux that a Mac "
                + $"has no flag for; they are not kept."));
    }

    // A pattern that does nothing is mostly one that was written for another root.
    private void TellUnusedPatterns()
    {
        for (int i = 0; i < _patternMatched.Length; i++)
        {
            if (_patternMatched[i]) continue;
            _observer.OnWarning(new ImagingWarning(
                ImagingWarningKind.Advice, null,
                $"The pattern '{_options.Exclude[i]}' to exclude matched nothing in "
                    + $"{_rootPath}{(_excluded > 0 ? " that was not left out with something else" : "")}."));
        }
    }

    // A Mac's startup disk is two volumes: firmlinks lead from the system's to the user's, which is also mounted whole, at
    // /System/Volumes/Data. Both count as one file system, and what a firmlink has shown already is not entered again.
    private bool IsEntered(HostDirectory folder, SourceEntry parent, string name, in HostStat stat)
    {
        if (stat.Identity.Device == folder.Stat.Identity.Device)
        {
            if (_firmlinks.Count == 0 || !_firmlinks.Contains(stat.Identity)) return true;
            _observer.OnVerbose($"{Join(parent, name)} was not entered: what is there is in the source by a firmlink.");
            return false;
        }

        if (!_platform.IsFirmlink(Join(parent, name), stat))
            return !_options.OneFileSystem || _joinedVolumes.Contains(stat.Identity.Device);
        _firmlinks.Add(stat.Identity);
        _joinedVolumes.Add(stat.Identity.Device);
        return true;
    }

    private SourceEntry MakeEntry(HostDirectory folder, HostNode node, string name, in HostStat stat)
    {
        HostAttributes attributes = folder.ReadAttributes(node, stat);
        bool isFile = stat.Kind == EntryKind.File;
        return new SourceEntry
        {
            Name = name,
            Kind = stat.Kind!.Value,
            Size = isFile ? stat.Size : 0,
            ResourceForkSize = isFile ? attributes.ResourceForkSize : 0,
            Mode = stat.Mode,
            UserId = stat.UserId,
            GroupId = stat.GroupId,
            Flags = stat.Flags,
            DeviceMajor = stat.DeviceMajor,
            DeviceMinor = stat.DeviceMinor,
            BirthTime = stat.BirthTime,
            ModifyTime = stat.ModifyTime,
            ChangeTime = stat.ChangeTime,
            // Reading where a link points is an access, and nothing prevents that: the time would tell of this scan, and differ in the
            // next.
            AccessTime = stat.Kind == EntryKind.SymbolicLink ? stat.ModifyTime : stat.AccessTime,
            NodeId = unchecked((long)stat.Identity.Inode),
            LinkTarget = stat.Kind == EntryKind.SymbolicLink ? folder.ReadLink(name) : null,
            BackupTime = attributes.BackupTime,
            FinderInfo = attributes.FinderInfo,
            Attributes = _pool.Intern(attributes.Attributes),
        };
    }

    private static SourceEntry FurtherName(SourceEntry first, string name) => new()
    {
        Name = name,
        Kind = first.Kind,
        Size = first.Size,
        ResourceForkSize = first.ResourceForkSize,
        Mode = first.Mode,
        UserId = first.UserId,
        GroupId = first.GroupId,
        Flags = first.Flags,
        DeviceMajor = first.DeviceMajor,
        DeviceMinor = first.DeviceMinor,
        BirthTime = first.BirthTime,
        ModifyTime = first.ModifyTime,
        ChangeTime = first.ChangeTime,
        AccessTime = first.AccessTime,
        BackupTime = first.BackupTime,
        HardLinkId = first.HardLinkId,
        NodeId = first.NodeId,
        LinkTarget = first.LinkTarget,
        FinderInfo = first.FinderInfo,
        Attributes = first.Attributes,
    };

    private void Skip(string path, string problem, HostException? cause, string remedy = RightsExcludeOrSkip)
    {
        ImageException failure = Failure(path, problem, cause, remedy);
        if (!(_options.OnUnreadable?.Invoke(failure) ?? _options.SkipUnreadable)) throw failure;
        LeaveOut(path, cause is null ? problem : $"{problem} {cause.Message}{(cause.RemedyForReading is string hint ? " " + hint : "")}");
    }

    private void LeaveOut(string path, string reason)
    {
        var warning = new ImagingWarning(ImagingWarningKind.SourceSkipped, path, reason);
        _skipped.Add(warning);
        _observer.OnWarning(warning);
    }

    private static ImageException Failure(string path, string problem, HostException? cause, string remedy = RightsExcludeOrSkip) =>
        new(ImageErrorId.SourceUnreadable, cause is null ? problem : $"{problem} {cause.Message}", path, remedy: cause?.RemedyForReading
            ?? remedy, innerException: cause);

    private string DisplayPath(SourceEntry entry) => entry.Parent is null ? _rootPath : Path.Join(_rootPath, entry.RelativePath);

    private string Join(SourceEntry parent, string name) => Path.Join(DisplayPath(parent), name);

    private static string RelativePath(SourceEntry parent, string name) => parent.Parent is null ? name : $"{parent.RelativePath}/{name}";

    // By its folder's identity and its name: it may not exist yet, and the way to its folder may lead over links.
    private void ExcludePath(string path)
    {
        if (Path.GetDirectoryName(path) is not string folderPath) return;
        try
        {
            using HostDirectory folder = _platform.OpenDirectory(folderPath);
            foreach (string name in (ReadOnlySpan<string>)[Path.GetFileName(path), Path.GetFileName(path) + ".partial"])
            {
                if (!_excludedNames.TryGetValue(name, out HashSet<HostIdentity>? folders)) _excludedNames.Add(name, folders = []);
                folders.Add(folder.Stat.Identity);
            }
        }
        catch (HostException)
        {
            // No such folder: nothing in the source lies in it.
        }
    }

    /// <summary>Attributes repeat a thousandfold (a label of SELinux, a flag of quarantine): equal small ones are kept once.</summary>
    private sealed class AttributePool
    {
        private const int MaximumCount = 4096;
        private const int MaximumValue = 256;

        private readonly Dictionary<(string Name, string Value), ExtendedAttribute> _attributes = [];
        private readonly Dictionary<ExtendedAttribute, ExtendedAttribute[]> _single = new(ReferenceEqualityComparer.Instance);

        public IReadOnlyList<ExtendedAttribute> Intern(IReadOnlyList<ExtendedAttribute> attributes)
        {
            if (attributes.Count == 0) return attributes;
            var result = new ExtendedAttribute[attributes.Count];
            for (int i = 0; i < result.Length; i++) result[i] = Intern(attributes[i]);
            if (result.Length > 1) return result;
            if (_single.TryGetValue(result[0], out ExtendedAttribute[]? known)) return known;
            if (_single.Count < MaximumCount) _single.Add(result[0], result);
            return result;
        }

        private ExtendedAttribute Intern(ExtendedAttribute attribute)
        {
            if (attribute.Value is null || attribute.Value.Length > MaximumValue) return attribute;
            (string, string) key = (attribute.Name, Convert.ToHexString(attribute.Value));
            if (_attributes.TryGetValue(key, out ExtendedAttribute? known)) return known;
            if (_attributes.Count < MaximumCount) _attributes.Add(key, attribute);
            return attribute;
        }
    }
}
