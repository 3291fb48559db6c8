using CCImage.Diagnostics;
using CCImage.Platform;

namespace CCImage.Tests;

/// <summary>The verdict on recorded answers of systems that are not here, and the asking on this one.</summary>
public sealed class FullFsyncTests
{
    private static readonly FullFlush s_took = new("fcntl(F_FULLFSYNC)", true, null);
    private static readonly FullFlush s_refused = new("fcntl(F_FULLFSYNC)", true, "Operation not supported");
    private static readonly FullFlush s_flushed = new("fsync", true, null);
    private static readonly FullFlush s_closed = new("fsync", false, "Read-only file system");

    // File systems as statfs on macOS and mountinfo on Linux name them.
    public static TheoryData<string, bool, string, FullFsyncSupport, string?> Verdicts => new()
    {
        { "apfs", true, "took", FullFsyncSupport.Yes, null },
        { "smbfs", true, "took", FullFsyncSupport.Yes, null },
        { "smbfs", true, "refused", FullFsyncSupport.No, "fruit:time machine = yes" },
        { "nfs", true, "refused", FullFsyncSupport.No, "sparse image" },
        { "ext4", false, "flushed", FullFsyncSupport.Equivalent, "waits for the medium" },
        { "NTFS", false, "flushed", FullFsyncSupport.Equivalent, "waits for the medium" },
        { "tmpfs", false, "flushed", FullFsyncSupport.NotDeterminable, "local disk" },
        { "fuse.sshfs", false, "flushed", FullFsyncSupport.NotDeterminable, "Only a Mac" },
        { "cifs", false, "flushed", FullFsyncSupport.NotDeterminable, "Only a Mac" },
        { "", false, "flushed", FullFsyncSupport.NotDeterminable, "this file system" },
        { "ext4", false, "closed", FullFsyncSupport.NotDeterminable, "can be written" },
    };

    [Theory]
    [MemberData(nameof(Verdicts))]
    public void Judges_what_the_host_answers(string type, bool isMac, string outcome, FullFsyncSupport support, string? advice)
    {
        FullFsyncReport report = FullFsync.Judge("/place", Volume(type), Outcome(outcome), isMac);
        Assert.Equal(support, report.Support);
        if (advice is null) Assert.Null(report.Advice);
        else Assert.Contains(advice, report.Advice, StringComparison.Ordinal);
        Assert.Equal(("/place", type, HostVolume.NetworkProtocol(type)), (report.Path, report.FileSystemType, report.Protocol));
    }

    [Fact]
    public void A_bundle_is_warned_of_or_refused_only_where_the_answer_is_no()
    {
        foreach ((string type, string outcome, bool warns) in (
            ReadOnlySpan<(string, string, bool)>)[("smbfs", "refused", true), ("smbfs", "took", false), ("cifs", "flushed", false)])
        {
            FullFsyncReport report = FullFsync.Judge("/share/a.sparsebundle", Volume(type), Outcome(outcome), type == "smbfs");
            var observer = new RecordingObserver();
            FullFsync.CheckForBundle(report, isRequired: false, observer);
            Assert.Equal(warns ? 1 : 0, observer.Warnings.Count);
            Exception? refusal = Record.Exception(() => FullFsync.CheckForBundle(report, isRequired: true, SilentObserver.Instance));
            if (!warns) Assert.Null(refusal);
            else Assert.Contains("AFP", Assert.IsType<ImageException>(refusal).Remedy, StringComparison.Ordinal);
        }
    }

    [LinuxFact]
    public void Asks_this_system()
    {
        using var folder = new TemporaryFolder();
        FullFsyncReport here = FullFsync.Ask(folder.Path);
        Assert.Equal(("fsync", null), (here.Method, here.Error));
        Assert.Contains(here.Support, new[] { FullFsyncSupport.Equivalent, FullFsyncSupport.NotDeterminable });
        Assert.Equal(
            here.FileSystemType is "ext3" or "ext4" or "xfs" or "btrfs" or "f2fs" or "zfs", here.Support == FullFsyncSupport.Equivalent);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));

        FullFsyncReport memory = FullFsync.Ask("/dev/shm");
        Assert.Equal(("tmpfs", FullFsyncSupport.NotDeterminable), (memory.FileSystemType, memory.Support));
        FullFsyncReport closed = FullFsync.Ask("/proc");
        Assert.Equal(FullFsyncSupport.NotDeterminable, closed.Support);
        Assert.NotNull(closed.Error);
        Assert.Equal(ImageErrorId.DestinationNotFound, Assert.Throws<ImageException>(() => FullFsync.Ask(folder["no", "such"])).Id);
    }

    private static HostVolume Volume(string type) => new()
    {
        MountPoint = "/mount", FileSystemType = type, Protocol = HostVolume.NetworkProtocol(type),
            IsNetwork = HostVolume.NetworkProtocol(type) is not null,
    };

    private static FullFlush Outcome(string name) =>
        name switch { "took" => s_took, "refused" => s_refused, "flushed" => s_flushed, _ => s_closed };
}
