using System.Text;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.Restoring;

/// <summary>A tree written down in a test; it can hold what no real file system would.</summary>
internal sealed class LiteralTree : SourceTree
{
    private readonly Dictionary<SourceEntry, Func<BlockStorage>> _contents = [];

    public LiteralTree(params Node[] nodes)
    {
        Root = new() { Name = "", Kind = EntryKind.Directory, Mode = 0x1ED };
        Add(Root, nodes);
    }

    public override SourceEntry Root { get; }

    public static Node File(string name, string content, Func<string, SourceEntry>? make = null) => new(
        make?.Invoke(name) ?? new() { Name = name, Kind = EntryKind.File, Mode = 0x1A4, Size = content.Length }, [],
        () => new MemoryStorage(Encoding.UTF8.GetBytes(content)));

    public static Node Folder(string name, params Node[] children) =>
        new(new() { Name = name, Kind = EntryKind.Directory, Mode = 0x1ED }, children, null);

    public static Node Link(string name, string target) =>
        new(new() { Name = name, Kind = EntryKind.SymbolicLink, LinkTarget = target, Mode = 0x1FF }, [], null);

    public static Node Damaged(string name, bool opens) => new(
        new() { Name = name, Kind = EntryKind.File, Mode = 0x1A4, Size = 3 << 20 }, [],
        () => opens ? new TornStorage() : throw ImageException.Damaged("No extents."));

    public override BlockStorage OpenFork(SourceEntry entry, ForkKind fork) => _contents[entry]();

    private void Add(SourceEntry folder, Node[] nodes)
    {
        foreach (Node node in nodes)
        {
            folder.Add(node.Entry);
            if (node.Content is not null) _contents[node.Entry] = node.Content;
            Add(node.Entry, node.Children);
        }
    }

    public sealed record Node(SourceEntry Entry, Node[] Children, Func<BlockStorage>? Content);

    private sealed class TornStorage : BlockStorage
    {
        public override long Length => 3 << 20;

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            if (offset > 0) throw ImageException.Damaged("The band is gone.");
        }
    }
}
