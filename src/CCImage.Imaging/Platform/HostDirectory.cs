using CCImage.Sources;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Platform;

/// <summary>
/// An entry of a folder, to have its metadata set: by its open file, or else by its name, never followed when it is a link. The folder
/// itself goes by its own descriptor, where there is such a thing.
/// </summary>
/// <param name="Name">A single name, or <c>.</c> for the folder itself.</param>
/// <param name="File">The open file, if there is one.</param>
internal readonly record struct HostNode(string Name, SafeFileHandle? File = null)
{
    /// <summary>The folder itself.</summary>
    public static HostNode Self => new(".");
}

/// <summary>A resource fork held open for reading; safe to use from several threads at once.</summary>
internal abstract class HostFork : IDisposable
{
    /// <summary>Length in bytes when it was opened.</summary>
    public abstract long Length { get; }

    /// <summary>Reads up to the buffer's length.</summary>
    /// <param name="offset">Where in the fork, below its length.</param>
    /// <param name="buffer">Receives the bytes.</param>
    /// <returns>How many; 0 when the fork became shorter.</returns>
    public abstract int Read(long offset, Span<byte> buffer);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes the fork.</summary>
    /// <param name="disposing">Always true.</param>
    protected virtual void Dispose(bool disposing)
    {
    }
}

/// <summary>
/// A folder held open. Its entries are reached by single names, and no link is ever followed: whoever holds one cannot be led out of it,
/// and a path of any depth can be walked. Safe to use from several threads at once. Every refusal is a <see cref="HostException"/>.
/// </summary>
internal abstract class HostDirectory : IDisposable
{
    /// <summary>What the open folder is.</summary>
    public abstract HostStat Stat { get; }

    /// <summary>
    /// Whether the system itself keeps the attributes of a file NAME of this volume in a file <c>._NAME</c> beside it, and shows both: the
    /// attributes, and the file that they are in.
    /// </summary>
    public virtual bool KeepsAttributesBeside => false;

    /// <summary>Lists the names, without <c>.</c> and <c>..</c>, in the host's order.</summary>
    /// <param name="names">Receives the names.</param>
    /// <param name="undecodable">Receives the names that are not text, with the offending bytes as <c>\xNN</c>: nobody may lose them in
    /// silence.</param>
    public abstract void ReadNames(ICollection<string> names, ICollection<string> undecodable);

    /// <summary>What an entry is.</summary>
    /// <param name="name">A single name.</param>
    public abstract HostStat GetStat(string name);

    /// <summary>Opens a folder in this one.</summary>
    /// <param name="name">A single name.</param>
    public abstract HostDirectory OpenDirectory(string name);

    /// <summary>Opens the folder this one lies in, provided it still is the one that is expected.</summary>
    /// <param name="expected">Its identity.</param>
    public abstract HostDirectory OpenParent(HostIdentity expected);

    /// <summary>
    /// Opens a file for reading; a FIFO or a device is not waited for. This one call takes a path of several names too: folders on the way
    /// are then followed even when they are links, which is for the caller to find out by <paramref name="stat"/>.
    /// </summary>
    /// <param name="name">A name, or names with <c>/</c> between.</param>
    /// <param name="stat">What was opened: compare it with what was expected.</param>
    public abstract SafeFileHandle OpenFile(string name, out HostStat stat);

    /// <summary>When the content of a file was last changed, as <see cref="HostStat.ModifyTime"/> tells it.</summary>
    /// <param name="file">The open file.</param>
    public virtual UnixTime GetModifyTime(SafeFileHandle file) => UnixTime.From(File.GetLastWriteTimeUtc(file));

    /// <summary>
    /// Opens an entry to have its metadata set by what is open, so that whatever gets its name in between is not touched; without effects
    /// on a device or a FIFO, and never followed when it is a link. Null where the host goes by names for entries of this kind.
    /// </summary>
    /// <param name="name">A single name.</param>
    /// <param name="kind">What is expected there; look at what was opened.</param>
    public abstract SafeFileHandle? OpenForMetadata(string name, EntryKind kind);

    /// <summary>What an entry is, by what is open where something is.</summary>
    /// <param name="node">The entry.</param>
    public virtual HostStat GetStat(HostNode node) => GetStat(node.Name);

    /// <summary>Opens the resource fork of a file.</summary>
    /// <param name="name">A single name.</param>
    public abstract HostFork OpenResourceFork(string name);

    /// <summary>Where a symbolic link points.</summary>
    /// <param name="name">A single name.</param>
    public abstract string ReadLink(string name);

    /// <summary>Whether this user may read a file, as far as a cheap question tells.</summary>
    /// <param name="name">A single name.</param>
    /// <param name="stat">What it is.</param>
    public abstract bool CanRead(string name, in HostStat stat);

    /// <summary>Reads the extended attributes of an entry.</summary>
    /// <param name="node">The entry.</param>
    /// <param name="stat">What it is.</param>
    public abstract HostAttributes ReadAttributes(HostNode node, in HostStat stat);

    /// <summary>Reads one attribute.</summary>
    /// <param name="node">The entry.</param>
    /// <param name="attribute">The attribute's name in the model.</param>
    public abstract byte[] ReadAttribute(HostNode node, string attribute);

    /// <summary>Makes a folder that only this user can enter until <see cref="SetMode"/>.</summary>
    /// <param name="name">A single name.</param>
    public abstract void CreateDirectory(string name);

    /// <summary>Makes a file that only this user can open until <see cref="SetMode"/>; never opens one that exists.</summary>
    /// <param name="name">A single name.</param>
    public abstract SafeFileHandle CreateFile(string name);

    /// <summary>Makes a symbolic link.</summary>
    /// <param name="name">A single name.</param>
    /// <param name="target">Where it points.</param>
    public abstract void CreateSymbolicLink(string name, string target);

    /// <summary>Makes a FIFO, a socket or a device node.</summary>
    /// <param name="name">A single name.</param>
    /// <param name="stat">Kind and device numbers.</param>
    public abstract void CreateNode(string name, in HostStat stat);

    /// <summary>Gives a file a further name here.</summary>
    /// <param name="name">The new name.</param>
    /// <param name="folder">The folder of the existing name.</param>
    /// <param name="existing">The existing name.</param>
    public abstract void CreateLink(string name, HostDirectory folder, string existing);

    /// <summary>Removes an entry that is not a folder.</summary>
    /// <param name="name">A single name.</param>
    public abstract void Remove(string name);

    /// <summary>Gives an entry that is not a folder another name in one step; what has that name, and is not a folder either, is
    /// replaced.</summary>
    /// <param name="name">The name it has.</param>
    /// <param name="newName">The name it gets.</param>
    public abstract void Rename(string name, string newName);

    /// <summary>
    /// Opens a regular file of an image, with a lock: others may read it while it is open to be read, and nobody while the lock is
    /// exclusive. Nothing else than a regular file is opened, and nothing is waited for.
    /// </summary>
    /// <param name="name">A single name.</param>
    /// <param name="writable">Whether it is to be written.</param>
    /// <param name="exclusive">Whether nobody else may have it open.</param>
    /// <param name="stat">What was opened.</param>
    /// <exception cref="HostException"><see cref="HostFailure.InUse"/>, <see cref="HostFailure.NotAFile"/>,
    /// <see cref="HostFailure.SymbolicLink"/>, and others.</exception>
    public abstract SafeFileHandle OpenLocked(string name, bool writable, bool exclusive, out HostStat stat);

    /// <summary>Makes a file, open to be written, with an exclusive lock; never opens one that exists.</summary>
    /// <param name="name">A single name.</param>
    /// <param name="mode">Permission bits, of which the process' mask is taken off.</param>
    /// <param name="preallocate">Bytes to reserve on the medium, where it can; the length stays 0.</param>
    public abstract SafeFileHandle CreateLocked(string name, uint mode, long preallocate);

    /// <summary>What an open file is.</summary>
    /// <param name="file">The file.</param>
    public abstract HostStat GetStatOf(SafeFileHandle file);

    /// <summary>Removes an empty folder.</summary>
    /// <param name="name">A single name.</param>
    public abstract void RemoveDirectory(string name);

    /// <summary>Moves an entry to another folder of the same volume in one step; a file of that name is replaced.</summary>
    /// <param name="name">The name it has here.</param>
    /// <param name="folder">Where it goes.</param>
    /// <param name="newName">The name it gets there.</param>
    public abstract void MoveTo(string name, HostDirectory folder, string newName);

    /// <summary>As <see cref="MoveTo"/>, but never over anything that exists.</summary>
    /// <param name="name">The name it has here.</param>
    /// <param name="folder">Where it goes.</param>
    /// <param name="newName">The name it gets there.</param>
    public abstract FileSystemCalls.RenameOutcome MoveToFree(string name, HostDirectory folder, string newName);

    /// <summary>Exchanges two entries in one step; both must exist.</summary>
    /// <param name="name">The one here.</param>
    /// <param name="folder">Where the other one is.</param>
    /// <param name="other">Its name.</param>
    public abstract FileSystemCalls.RenameOutcome Exchange(string name, HostDirectory folder, string other);

    /// <summary>Makes the names in this folder durable, as far as the host can.</summary>
    /// <exception cref="IOException">The medium failed.</exception>
    public abstract void Flush();

    /// <summary>Whether a file can be renamed while it is open, and its identity is a number of its own.</summary>
    public virtual bool KeepsOpenFilesOnRename => true;

    /// <summary>Sets owner and group.</summary>
    /// <param name="node">The entry.</param>
    /// <param name="user">Owner's number.</param>
    /// <param name="group">Group's number.</param>
    public abstract void SetOwner(HostNode node, uint user, uint group);

    /// <summary>Sets the permission bits (of anything but a symbolic link).</summary>
    /// <param name="node">The entry.</param>
    /// <param name="mode">The bits.</param>
    public abstract void SetMode(HostNode node, uint mode);

    /// <summary>Sets the times; one that is not known stays.</summary>
    /// <param name="node">The entry.</param>
    /// <param name="stat">The times.</param>
    public abstract void SetTimes(HostNode node, in HostStat stat);

    /// <summary>Writes an extended attribute, Finder info included.</summary>
    /// <param name="node">The entry.</param>
    /// <param name="attribute">The attribute's name in the model.</param>
    /// <param name="value">The value.</param>
    public abstract void SetAttribute(HostNode node, string attribute, ReadOnlySpan<byte> value);

    /// <summary>Whether an attribute is an access control list to this host: it may forbid what else is to be done, and is set
    /// last.</summary>
    /// <param name="attribute">The attribute's name in the model.</param>
    public virtual bool IsAccessList(string attribute) => false;

    /// <summary>Writes a piece of the resource fork; the first piece is at 0 and makes it.</summary>
    /// <param name="node">The file.</param>
    /// <param name="offset">Where in the fork.</param>
    /// <param name="bytes">The piece.</param>
    /// <param name="total">Length of the whole fork in bytes: where it cannot be written in pieces, the host may refuse at once.</param>
    public abstract void WriteResourceFork(HostNode node, long offset, ReadOnlySpan<byte> bytes, long total);

    /// <summary>Sets the BSD flags.</summary>
    /// <param name="node">The entry.</param>
    /// <param name="flags">The flags.</param>
    public abstract void SetFlags(HostNode node, uint flags);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes the folder.</summary>
    /// <param name="disposing">Always true.</param>
    protected abstract void Dispose(bool disposing);
}
