using System.Runtime.InteropServices;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>What was seen of a file or folder.</summary>
[Flags]
internal enum SeenOf : ushort
{
    None = 0,
    Record = 1 << 0,
    IsFolder = 1 << 1,
    Thread = 1 << 2,
    ThreadOfFolder = 1 << 3,
    HasAttributesFlag = 1 << 4,
    HasSecurityFlag = 1 << 5,
    CountsFolders = 1 << 6,
    HasChildLinkFlag = 1 << 7,
    Attribute = 1 << 8,
    Security = 1 << 9,
    Rooted = 1 << 10,
    OnPath = 1 << 11,
}

/// <summary>What is remembered of a file or folder: 36 bytes, so that a million take some 60 MB with their table.</summary>
internal struct CatalogNodeState
{
    /// <summary>By the key of its record, and by its thread.</summary>
    public uint Parent, ThreadParent;

    /// <summary>Of the name in the key, and in the thread.</summary>
    public uint NameHash, ThreadNameHash;

    /// <summary>Entries and folders in it: as counted, and as its record says.</summary>
    public uint Children, Folders, Valence, FolderCount;

    public SeenOf Seen;

    public readonly bool Is(SeenOf what) => (Seen & what) == what;
}

/// <summary>
/// All files and folders by catalog node id. Records and threads come in another order than ids, so each leaves its mark here, and what
/// does not agree is found at the end.
/// </summary>
/// <param name="findings">Receives what is found.</param>
internal sealed class CatalogNodes(ImageFindings findings)
{
    private readonly Dictionary<uint, CatalogNodeState> _nodes = [];
    private uint _folder, _children, _folders; // of the folder whose entries are coming: they come in one row

    /// <summary>What is known of an id; made when it is new.</summary>
    /// <param name="id">Catalog node id.</param>
    public ref CatalogNodeState Get(uint id) => ref CollectionsMarshal.GetValueRefOrAddDefault(_nodes, id, out _);

    /// <summary>What is known of an id, or nothing.</summary>
    /// <param name="id">Catalog node id.</param>
    public CatalogNodeState Find(uint id) => _nodes.GetValueOrDefault(id);

    /// <summary>Counts an entry of a folder.</summary>
    /// <param name="folder">Catalog node id.</param>
    /// <param name="isFolder">Whether the entry is a folder, or a link to one.</param>
    public void CountEntry(uint folder, bool isFolder)
    {
        if (folder != _folder)
        {
            EndFolder();
            _folder = folder;
        }

        _children++;
        if (isFolder) _folders++;
    }

    /// <summary>Judges what can only be judged when all records were seen.</summary>
    /// <param name="mustCountFolders">Whether every folder must keep the count of its folders (HFSX).</param>
    /// <param name="cancellation">Ends it.</param>
    public void Check(bool mustCountFolders, CancellationToken cancellation)
    {
        EndFolder();
        foreach ((uint id, CatalogNodeState node) in _nodes)
        {
            cancellation.ThrowIfCancellationRequested();
            if (id == CatalogNodeId.RootParent) continue;
            if (node.Is(SeenOf.Thread) || node.Is(SeenOf.Record)) CheckThread(id, node);
            if (!node.Is(SeenOf.Record)) continue;
            CheckParent(id, node);
            if (node.Is(SeenOf.IsFolder)) CheckCounts(id, node, mustCountFolders);
        }

        CheckReachable(cancellation);
    }

    /// <summary>Compares the flags of all records with the attributes that were seen.</summary>
    public void CheckAttributeFlags()
    {
        foreach ((uint id, CatalogNodeState node) in _nodes)
        {
            if (node.Is(SeenOf.Record) && node.Is(SeenOf.HasAttributesFlag) != node.Is(SeenOf.Attribute))
                findings.Damaged(HfsPlusCheckNames.AttributeFlags,
                    node.Is(SeenOf.Attribute)
                        ? "An entry has attributes, but its record denies it: a Mac does not show them."
                        : "The record of an entry claims attributes, but there are none.",
                    PlaceOf(id));
            else if (node.Is(SeenOf.Record) && node.Is(SeenOf.HasSecurityFlag) != node.Is(SeenOf.Security))
                findings.Damaged(HfsPlusCheckNames.AttributeFlags,
                    node.Is(SeenOf.Security)
                        ? "An entry has an access control list, but its record denies it: a Mac ignores it."
                        : "The record of an entry claims an access control list, but there is none.",
                    PlaceOf(id));
        }
    }

    /// <summary>What findings call the place of an entry.</summary>
    /// <param name="id">Catalog node id.</param>
    public static string PlaceOf(uint id) => $"catalog, id {id}";

    private void EndFolder()
    {
        if (_folder != 0)
        {
            ref CatalogNodeState node = ref Get(_folder);
            node.Children += _children;
            node.Folders += _folders;
        }

        (_folder, _children, _folders) = (0, 0, 0);
    }

    private void CheckThread(uint id, in CatalogNodeState node)
    {
        string? fault = null;
        if (!node.Is(SeenOf.Record)) fault = "A thread record leads to nothing: the file or folder with its id is missing.";
        else if (!node.Is(SeenOf.Thread)) fault = "A file or folder has no thread record: it cannot be found by its id.";
        else if (node.Is(SeenOf.IsFolder) != node.Is(SeenOf.ThreadOfFolder))
            fault = "A thread record takes a file for a folder, or a folder for a file.";
        else if (node.Parent != node.ThreadParent)
            fault = $"A thread record names folder {node.ThreadParent}; the entry lies in {node.Parent}.";
        else if (node.NameHash != node.ThreadNameHash) fault = "A thread record has another name than the entry.";
        if (fault is not null) findings.Damaged(HfsPlusCheckNames.Threads, fault, PlaceOf(id));
    }

    private void CheckParent(uint id, in CatalogNodeState node)
    {
        if (id == CatalogNodeId.RootFolder || node.Parent == CatalogNodeId.RootParent) return;
        if (!Find(node.Parent).Is(SeenOf.Record | SeenOf.IsFolder))
            findings.Damaged(
                HfsPlusCheckNames.Folders, $"An entry lies in folder {node.Parent}, which is not there: nobody finds it.", PlaceOf(id));
    }

    private void CheckCounts(uint id, in CatalogNodeState node, bool mustCountFolders)
    {
        if (node.Valence != node.Children)
            findings.Damaged(
                HfsPlusCheckNames.FolderCounts, $"A folder counts {node.Valence} entries; there are {node.Children}.", PlaceOf(id));
        if (mustCountFolders && !node.Is(SeenOf.CountsFolders))
        {
            findings.Note(HfsPlusCheckNames.FolderCounts,
                "A folder of a case-sensitive volume does not keep the count of its folders, as systems before Mac OS X 10.5 and other "
                    + "newfs_hfs made them.",
                PlaceOf(id), "The First Aid of a Mac adds it.");
        }
        else if (node.Is(SeenOf.CountsFolders) && node.FolderCount != node.Folders)
            findings.Damaged(HfsPlusCheckNames.FolderCounts,
                $"A folder counts {node.FolderCount} folders in it; there are {node.Folders}.", PlaceOf(id));
    }

    // Each folder has one parent: whoever goes up and does not come to the root went in a circle. Each id is passed once.
    private void CheckReachable(CancellationToken cancellation)
    {
        var path = new List<uint>();
        foreach (uint start in _nodes.Keys.ToArray())
        {
            cancellation.ThrowIfCancellationRequested();
            path.Clear();
            uint id = start;
            while (true)
            {
                ref CatalogNodeState node = ref CollectionsMarshal.GetValueRefOrNullRef(_nodes, id);
                if (System.Runtime.CompilerServices.Unsafe.IsNullRef(ref node) || !node.Is(SeenOf.Record | SeenOf.IsFolder)
                    || id == CatalogNodeId.RootFolder || node.Is(SeenOf.Rooted))
                    break;
                if (node.Is(SeenOf.OnPath))
                {
                    findings.Damaged(HfsPlusCheckNames.Folders, "Folders contain each other: nobody finds them.", PlaceOf(id));
                    break;
                }

                node.Seen |= SeenOf.OnPath;
                path.Add(id);
                id = node.Parent;
            }

            foreach (uint passed in path) Get(passed).Seen |= SeenOf.Rooted;
        }
    }
}
