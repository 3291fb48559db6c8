using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Sources;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Folders whose own records are damaged or lost, found by their thread records, which lead from the id to the parent and the name: so that
/// what is in them can be listed at its place.
/// </summary>
/// <param name="folders">The folders that are known, by id; receives those that are found.</param>
/// <param name="hidden">Folders that are not shown.</param>
/// <param name="make">Makes one by its name and its parent's id.</param>
internal sealed class LostFolders(Dictionary<uint, SourceEntry> folders, HashSet<uint> hidden, Func<string, uint, SourceEntry> make)
{
    private readonly Dictionary<uint, (uint ParentId, string Name)> _threads = [];
    private readonly Dictionary<SourceEntry, HashSet<string>> _names = [];
    private readonly HashSet<uint> _hopeless = []; // each is tried once

    /// <summary>Takes the threads of a leaf, of folders that are not known.</summary>
    /// <param name="node">The leaf.</param>
    public void Read(BTreeNode node)
    {
        for (int i = 0; i < node.RecordCount; i++)
        {
            if (TryRead(node, i) is var (id, parent, name) && !folders.ContainsKey(id) && !hidden.Contains(id))
                _threads.TryAdd(id, (parent, name));
        }
    }

    /// <summary>The id of the private folder of hard links by its thread, or null.</summary>
    /// <param name="node">A leaf.</param>
    public static uint? FindPrivateFolder(BTreeNode node)
    {
        for (int i = 0; i < node.RecordCount; i++)
        {
            if (TryRead(node, i) is (uint id, CatalogNodeId.RootFolder, HfsPlusConstants.PrivateDataFolderName)) return id;
        }

        return null;
    }

    /// <summary>A folder at its place, known or found; null where threads do not lead to the root, or something else has the
    /// name.</summary>
    /// <param name="id">Its id.</param>
    public SourceEntry? Find(uint id)
    {
        var path = new Stack<uint>();
        var seen = new HashSet<uint>();
        uint at = id;
        for (; !folders.ContainsKey(at); at = _threads[at].ParentId)
        {
            if (_hopeless.Contains(at) || !_threads.ContainsKey(at) || !seen.Add(at))
            {
                _hopeless.UnionWith(path);
                return null;
            }

            path.Push(at);
        }

        SourceEntry folder = folders[at];
        while (path.TryPop(out uint next))
        {
            (uint parent, string diskName) = _threads[next];
            string name = HfsPlusNames.FromDisk(diskName);
            if (!_names.TryGetValue(folder, out HashSet<string>? taken)) _names[folder] = taken = [.. folder.Children.Select(c => c.Name)];
            if (!taken.Add(name))
            {
                _hopeless.UnionWith([next, .. path]);
                return null;
            }

            SourceEntry made = make(name, parent);
            folder.Add(made);
            folders[next] = folder = made;
        }

        return folder;
    }

    private static (uint Id, uint ParentId, string Name)? TryRead(BTreeNode node, int index)
    {
        try
        {
            CatalogRecordKey key = CatalogRecordKey.Read(node, index);
            ReadOnlySpan<byte> data = node.Data(index);
            if (key.Name.Length > 0 || data.Length < Unsafe.SizeOf<CatalogThread>()) return null;
            CatalogThread thread = Layout.Read<CatalogThread>(data);
            int size = thread.NameLength * sizeof(char), start = Unsafe.SizeOf<CatalogThread>();
            bool isFolder = (CatalogRecordType)(ushort)thread.RecordType == CatalogRecordType.FolderThread;
            if (!isFolder || size == 0 || thread.NameLength > HfsPlusConstants.MaximumNameLength || size > data.Length - start) return null;
            return (key.ParentId, thread.ParentId, CatalogRecordKey.ReadName(data.Slice(start, size)));
        }
        catch (ImageException e) when (e.IsFaultOfContent)
        {
            return null; // told when the records were read
        }
    }
}
