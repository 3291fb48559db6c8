using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Sources;

/// <summary>A folder of the host, as <see cref="FolderScanner"/> found it. It holds the root folder open.</summary>
public sealed class HostTree : SourceTree
{
    private readonly HostDirectory _root;

    private readonly IHostPlatform _platform;
    private readonly IDisposable? _cloud;

    /// <summary>Shows a scanned folder.</summary>
    /// <param name="root">The folder; owned.</param>
    /// <param name="rootPath">Its full path.</param>
    /// <param name="rootEntry">Its entry, which gets the others.</param>
    /// <param name="platform">The machine.</param>
    /// <param name="cloud">What lets files be downloaded from the cloud, as long as the tree is in use; null where they are not to
    /// be.</param>
    internal HostTree(HostDirectory root, string rootPath, SourceEntry rootEntry, IHostPlatform platform, IDisposable? cloud)
    {
        (_root, RootPath, Root, _platform, _cloud) = (root, rootPath, rootEntry, platform, cloud);
        TrustsHoles = platform.TrustsHoles;
    }

    /// <inheritdoc/>
    public override SourceEntry Root { get; }

    /// <summary>The root's full path.</summary>
    public string RootPath { get; }

    /// <summary>Entries in the tree, the root not counted.</summary>
    public long EntryCount { get; internal set; }

    /// <summary>Sum of the files' sizes in bytes, both forks; a file with several names counts once.</summary>
    public long TotalBytes { get; internal set; }

    /// <summary>Whether holes are not read. Where the host is not to be believed, they may be asked for all the same: for an
    /// estimate.</summary>
    internal bool TrustsHoles { get; set; }

    /// <summary>Entries that a pattern left out; what lies in such a folder is not counted.</summary>
    public long ExcludedCount { get; internal set; }

    /// <summary>What could not be read and was left out.</summary>
    public IReadOnlyList<ImagingWarning> Skipped { get; internal set; } = [];

    /// <inheritdoc/>
    public override string DisplayPath(SourceEntry entry) => entry.Parent is null ? RootPath : Path.Join(RootPath, entry.RelativePath);

    /// <inheritdoc/>
    public override BlockStorage OpenFork(SourceEntry entry, ForkKind fork)
    {
        KeepThread();
        try
        {
            return fork == ForkKind.Resource
                ? new HostForkStorage(InFolderOf(entry, folder => folder.OpenResourceFork(entry.Name)), DisplayPath(entry))
                : OpenData(entry);
        }
        catch (HostException e)
        {
            throw Unreadable(entry, "The file cannot be opened any more.", e);
        }
    }

    /// <inheritdoc/>
    /// <remarks>By the time of the last change of content, and by what reading met.</remarks>
    public override bool HasChanged(SourceEntry entry, BlockStorage fork)
    {
        if (fork is not HostFileStorage file) return false;
        try
        {
            return file.ReadableEnd < file.Length || (entry.ModifyTime.IsKnown && _root.GetModifyTime(file.Handle) != entry.ModifyTime);
        }
        catch (HostException e)
        {
            throw Unreadable(entry, "The file cannot be examined any more.", e);
        }
    }

    /// <inheritdoc/>
    public override long ReadableEnd(BlockStorage fork) => fork switch
    {
        HostFileStorage file => file.ReadableEnd,
        HostForkStorage resource => resource.ReadableEnd,
        _ => fork.Length,
    };

    /// <inheritdoc/>
    public override BlockStorage OpenAttribute(SourceEntry entry, ExtendedAttribute attribute)
    {
        if (attribute.Value is not null) return new MemoryStorage(attribute.Value);
        try
        {
            return new MemoryStorage(entry.Parent is null
                ? _root.ReadAttribute(HostNode.Self, attribute.Name)
                : InFolderOf(entry, folder => folder.ReadAttribute(new(entry.Name), attribute.Name)));
        }
        catch (HostException e)
        {
            throw Unreadable(entry, $"The attribute {attribute.Name} cannot be read any more.", e);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _root.Dispose();
        _cloud?.Dispose();
        base.Dispose(disposing);
    }

    private void KeepThread()
    {
        if (_cloud is null) _platform.KeepThreadFromDownloading();
    }

    private HostFileStorage OpenData(SourceEntry entry)
    {
        SafeFileHandle file;
        HostStat stat;
        try
        {
            // In one call. A folder on the way may have become a link since the scan: the file's number tells.
            file = _root.OpenFile(entry.RelativePath, out stat);
        }
        catch (HostException e) when (e.Failure == HostFailure.BadName)
        {
            // The path is longer than the host takes at once.
            HostStat found = default;
            file = InFolderOf(entry, folder => folder.OpenFile(entry.Name, out found));
            stat = found;
        }

        try
        {
            if (stat.Kind != EntryKind.File || unchecked((long)stat.Identity.Inode) != entry.NodeId)
                throw Unreadable(entry, "The file was replaced by another one since the source was scanned.", null);
            return new HostFileStorage(file, DisplayPath(entry)) { TrustsHoles = TrustsHoles, BeforeRead = KeepThread };
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private T InFolderOf<T>(SourceEntry entry, Func<HostDirectory, T> action)
    {
        var names = new Stack<string>();
        for (SourceEntry? folder = entry.Parent; folder?.Parent is not null; folder = folder.Parent) names.Push(folder.Name);
        HostDirectory current = _root;
        try
        {
            while (names.TryPop(out string? name))
            {
                HostDirectory next = current.OpenDirectory(name);
                if (!ReferenceEquals(current, _root)) current.Dispose();
                current = next;
            }

            return action(current);
        }
        finally
        {
            if (!ReferenceEquals(current, _root)) current.Dispose();
        }
    }

    private ImageException Unreadable(SourceEntry entry, string problem, HostException? cause) =>
        new(ImageErrorId.SourceUnreadable, problem, DisplayPath(entry), remedy: cause?.RemedyForReading is string hint
            ? $"{cause.Message} {hint}" : cause?.Message, innerException: cause);
}
