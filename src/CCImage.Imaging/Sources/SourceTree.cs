using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.Sources;

/// <summary>
/// A whole tree of entries and the way to their bytes. One implementation reads a host's folders, one a volume inside an image, one a
/// test's literals.
/// </summary>
public abstract class SourceTree : IDisposable
{
    /// <summary>The root folder; its metadata becomes the volume's root folder.</summary>
    public abstract SourceEntry Root { get; }

    /// <summary>
    /// What the volume has, or should have, that this tree does not show or not as it is, and why: entries whose records are damaged, lost
    /// attributes. Where there is very much of it, the last one tells how much more.
    /// </summary>
    public virtual IReadOnlyList<ImagingWarning> Omissions => [];

    /// <summary>How many entries and attributes are missing in this tree; never less than what <see cref="Omissions"/> names.</summary>
    public virtual long OmittedCount => 0;

    /// <summary>
    /// Opens a fork for reading. Its length may differ from what the entry says if the source changed in between: the caller cuts or pads
    /// and reports. Safe to call from several threads at once.
    /// </summary>
    /// <param name="entry">A file of this tree.</param>
    /// <param name="fork">Which fork.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.SourceUnreadable"/> when it cannot be opened any more.</exception>
    public abstract BlockStorage OpenFork(SourceEntry entry, ForkKind fork);

    /// <summary>
    /// Whether what was read from an open fork may be something else than was scanned: asked when the fork was read, before it is closed. A
    /// change of its length is the caller's to see.
    /// </summary>
    /// <param name="entry">The file.</param>
    /// <param name="fork">What <see cref="OpenFork"/> gave for it.</param>
    public virtual bool HasChanged(SourceEntry entry, BlockStorage fork) => false;

    /// <summary>
    /// Up to where what was read from an open fork is its content: asked when a part was read. Below the fork's length when the file became
    /// shorter since it was opened; zeros stood in for the rest.
    /// </summary>
    /// <param name="fork">What <see cref="OpenFork"/> gave.</param>
    public virtual long ReadableEnd(BlockStorage fork) => fork.Length;

    /// <summary>Opens the value of an extended attribute whose <see cref="ExtendedAttribute.Value"/> is null.</summary>
    /// <param name="entry">An entry of this tree.</param>
    /// <param name="attribute">One of its attributes.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.SourceUnreadable"/>.</exception>
    public virtual BlockStorage OpenAttribute(SourceEntry entry, ExtendedAttribute attribute) =>
        new MemoryStorage(attribute.Value ?? throw new NotSupportedException("This tree keeps attribute values in memory."));

    /// <summary>A name of the entry that the user recognises: the full path on the host, or the path in the volume.</summary>
    /// <param name="entry">An entry of this tree.</param>
    public virtual string DisplayPath(SourceEntry entry) => "/" + entry.RelativePath;

    /// <summary>All entries, parents before their children, the root first. Not recursive: depth is no danger.</summary>
    public IEnumerable<SourceEntry> Enumerate()
    {
        var pending = new Stack<SourceEntry>();
        pending.Push(Root);
        while (pending.TryPop(out SourceEntry? entry))
        {
            yield return entry;
            for (int i = entry.Children.Count - 1; i >= 0; i--) pending.Push(entry.Children[i]);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Releases what the tree holds open.</summary>
    /// <param name="disposing">Always true.</param>
    protected virtual void Dispose(bool disposing)
    {
    }
}
