using System.Runtime.InteropServices;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>A name of a file or folder that has several.</summary>
/// <param name="Id">Catalog node id of the link.</param>
/// <param name="Node">Number of what it leads to.</param>
/// <param name="Previous">The link before it in the chain.</param>
/// <param name="Next">The link behind it.</param>
/// <param name="CreateDate">By which a Mac recognises the link of a file.</param>
/// <param name="HasChain">Whether its flags say that it is in a chain.</param>
internal readonly record struct HardLink(uint Id, uint Node, uint Previous, uint Next, uint CreateDate, bool HasChain);

/// <summary>
/// Compares the names of hard links with what they lead to: the nodes in a private folder, their counts, and the chains of links. Once for
/// files (<c>iNode</c>…), once for folders (<c>dir_</c>…). Links of files without a chain are as systems before Mac OS X 10.5 and Linux
/// make them, and lawful.
/// </summary>
/// <param name="isFolders">Whether the nodes are folders.</param>
/// <param name="findings">Receives what is found.</param>
internal sealed class HardLinkChecker(bool isFolders, ImageFindings findings)
{
    private readonly List<HardLink> _links = [];
    private readonly Dictionary<uint, Node> _nodes = [];

    /// <summary>Takes a link.</summary>
    /// <param name="link">The link.</param>
    public void AddLink(HardLink link) => _links.Add(link);

    /// <summary>Takes a node.</summary>
    /// <param name="number">Its number, from its name.</param>
    /// <param name="id">Its catalog node id.</param>
    /// <param name="count">Links that it counts.</param>
    /// <param name="firstLink">The first link of the chain, where the record tells.</param>
    /// <param name="hasChain">Whether its flags say that there is a chain.</param>
    public void AddNode(uint number, uint id, uint count, uint firstLink, bool hasChain) =>
        _nodes[number] = new Node { Id = id, Count = count, First = firstLink, HasChain = hasChain };

    /// <summary>Judges all of them.</summary>
    /// <param name="recognised">Creation dates by which links of files are recognised: of the private folder and of the root.</param>
    public void Check((uint PrivateFolder, uint Root) recognised)
    {
        Dictionary<uint, HardLink> byId = new(_links.Count);
        foreach (HardLink link in _links)
        {
            byId[link.Id] = link;
            ref Node node = ref CollectionsMarshal.GetValueRefOrNullRef(_nodes, link.Node);
            if (System.Runtime.CompilerServices.Unsafe.IsNullRef(ref node))
                Fault($"A hard link leads to node {link.Node}, which is not there: its content is lost.", link.Id);
            else Meet(ref node, link);
            if (!isFolders && link.CreateDate != recognised.PrivateFolder && link.CreateDate != recognised.Root)
                Fault("A hard link has not the creation date by which a Mac recognises it: it appears as an empty file.", link.Id);
        }

        foreach ((uint number, Node node) in _nodes)
        {
            if (node.Seen == 0)
                Fault($"Node {number} has {node.Count} names by its own count, but nothing leads to it: its content has no name any more.",
                    node.Id);
            else if (node.Seen != node.Count) Fault($"Node {number} counts {node.Count} names; there are {node.Seen}.", node.Id);
            else if (node.HasChain) CheckChain(number, node, byId);
        }
    }

    // A folder keeps its first link in an attribute: here it is the one that nothing precedes.
    private void Meet(ref Node node, HardLink link)
    {
        node.Seen++;
        if (isFolders && link.Previous == 0) node.First = link.Id;
    }

    // From the first link on, both ways.
    private void CheckChain(uint number, in Node node, Dictionary<uint, HardLink> byId)
    {
        uint before = 0, passed = 0;
        for (uint id = node.First; id != 0; passed++)
        {
            if (passed == node.Count || !byId.TryGetValue(id, out HardLink link) || link.Node != number || link.Previous != before
                || !link.HasChain)
            {
                Fault($"The chain of the names of node {number} is broken.", id);
                return;
            }

            (before, id) = (id, link.Next);
        }

        if (passed != node.Count) Fault($"The chain of the names of node {number} has {passed} of {node.Count}.", node.Id);
    }

    private void Fault(string message, uint id) => findings.Damaged(HfsPlusCheckNames.HardLinks, message, CatalogNodes.PlaceOf(id));

    private struct Node
    {
        public uint Id, Count, First, Seen;
        public bool HasChain;
    }
}
