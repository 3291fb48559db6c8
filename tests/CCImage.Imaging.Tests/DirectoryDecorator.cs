using CCImage.Platform;
using CCImage.Sources;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Tests;

/// <summary>A real folder, one behaviour of which a test replaces.</summary>
internal abstract class DirectoryDecorator(HostDirectory inner) : HostDirectory
{
    public override HostStat Stat => inner.Stat;

    public override void ReadNames(ICollection<string> names, ICollection<string> undecodable) => inner.ReadNames(names, undecodable);

    public override HostStat GetStat(string name) => inner.GetStat(name);

    public override HostDirectory OpenDirectory(string name) => Decorate(inner.OpenDirectory(name));

    public override HostDirectory OpenParent(HostIdentity expected) => Decorate(inner.OpenParent(expected));

    public override SafeFileHandle OpenFile(string name, out HostStat stat) => inner.OpenFile(name, out stat);

    public override SafeFileHandle? OpenForMetadata(string name, EntryKind kind) => inner.OpenForMetadata(name, kind);

    public override HostStat GetStat(HostNode node) => inner.GetStat(node);

    public override HostFork OpenResourceFork(string name) => inner.OpenResourceFork(name);

    public override string ReadLink(string name) => inner.ReadLink(name);

    public override bool CanRead(string name, in HostStat stat) => inner.CanRead(name, stat);

    public override HostAttributes ReadAttributes(HostNode node, in HostStat stat) => inner.ReadAttributes(node, stat);

    public override byte[] ReadAttribute(HostNode node, string attribute) => inner.ReadAttribute(node, attribute);

    public override void CreateDirectory(string name) => inner.CreateDirectory(name);

    public override SafeFileHandle CreateFile(string name) => inner.CreateFile(name);

    public override void CreateSymbolicLink(string name, string target) => inner.CreateSymbolicLink(name, target);

    public override void CreateNode(string name, in HostStat stat) => inner.CreateNode(name, stat);

    public override void CreateLink(string name, HostDirectory folder, string existing) => inner.CreateLink(name, folder, existing);

    public override void Remove(string name) => inner.Remove(name);

    public override bool KeepsOpenFilesOnRename => inner.KeepsOpenFilesOnRename;

    public override void Rename(string name, string newName) => inner.Rename(name, newName);

    public override SafeFileHandle OpenLocked(string name, bool writable, bool exclusive, out HostStat stat) =>
        inner.OpenLocked(name, writable, exclusive, out stat);

    public override SafeFileHandle CreateLocked(string name, uint mode, long preallocate) => inner.CreateLocked(name, mode, preallocate);

    public override HostStat GetStatOf(SafeFileHandle file) => inner.GetStatOf(file);

    public override void RemoveDirectory(string name) => inner.RemoveDirectory(name);

    public override void MoveTo(string name, HostDirectory folder, string newName) => inner.MoveTo(name, folder, newName);

    public override FileSystemCalls.RenameOutcome MoveToFree(string name, HostDirectory folder, string newName) =>
        inner.MoveToFree(name, folder, newName);

    public override FileSystemCalls.RenameOutcome Exchange(string name, HostDirectory folder, string other) =>
        inner.Exchange(name, folder, other);

    public override void Flush() => inner.Flush();

    public override void SetOwner(HostNode node, uint user, uint group) => inner.SetOwner(node, user, group);

    public override void SetMode(HostNode node, uint mode) => inner.SetMode(node, mode);

    public override void SetTimes(HostNode node, in HostStat stat) => inner.SetTimes(node, stat);

    public override void SetAttribute(HostNode node, string attribute, ReadOnlySpan<byte> value) =>
        inner.SetAttribute(node, attribute, value);

    public override bool IsAccessList(string attribute) => inner.IsAccessList(attribute);

    public override void WriteResourceFork(HostNode node, long offset, ReadOnlySpan<byte> bytes, long total) =>
        inner.WriteResourceFork(node, offset, bytes, total);

    public override void SetFlags(HostNode node, uint flags) => inner.SetFlags(node, flags);

    protected abstract HostDirectory Decorate(HostDirectory folder);

    protected override void Dispose(bool disposing) => inner.Dispose();
}
