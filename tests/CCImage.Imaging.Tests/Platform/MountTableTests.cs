using CCImage.Platform;

namespace CCImage.Tests.Platform;

/// <summary>Linux' table of mounts, on texts recorded from /proc/self/mountinfo (the SMB, NFS and FUSE lines from systems that had
/// them).</summary>
public class MountTableTests
{
    private const string Recorded = """
        22 27 0:21 / /proc rw,relatime - proc proc rw
        27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
        36 27 0:31 / /mnt/nas rw,relatime shared:44 - cifs //nas.local/backup rw,vers=3.1.1,cache=strict,username=admin
        37 27 0:32 / /mnt/nfs rw,relatime shared:45 master:2 propagate_from:1 - nfs4 nas.local:/export rw,vers=4.2
        38 27 8:17 / /media/my\040stick rw,nosuid,nodev shared:50 - vfat /dev/sdb1 rw,fmask=0022
        39 27 0:33 / /home/u/remote rw,nosuid,nodev shared:51 - fuse.sshfs u@host:/srv rw,user_id=1000
        40 27 0:40 /@home /home ro,relatime shared:60 - btrfs /dev/nvme0n1p2 rw,subvol=/@home
        41 27 254:1 / /mnt/nas rw,relatime - xfs /dev/vdb rw
        broken line
        42 27 x:1 / /bad rw - ext4 /dev/bad rw
        """;

    private static readonly IReadOnlyList<MountEntry> s_table = MountTable.Parse(Recorded.ReplaceLineEndings("\n"));

    [Fact]
    public void Reads_every_line_of_the_known_form()
    {
        Assert.Equal([22ul, 27, 36, 37, 38, 39, 40, 41], s_table.Select(m => m.Id));
        Assert.Equal(new MountEntry(37, 0, 32, "/mnt/nfs", "nfs4", "nas.local:/export", "rw,relatime"), s_table[3]);
        Assert.Equal("/media/my stick", s_table[4].MountPoint);
        Assert.True(s_table[6].IsReadOnly);
        Assert.False(s_table[5].IsReadOnly);
    }

    [Theory]
    [InlineData(36ul, 254u, 1u, "/mnt/nas/x", 36ul)]    // the kernel's number decides, even for a mount that another one hides
    [InlineData(null, 254u, 1u, "/mnt/nas/x", 41ul)]    // by device among those above the path
    [InlineData(null, 0u, 31u, "/mnt/nas/x", 36ul)]
    [InlineData(null, 9u, 9u, "/mnt/nas/x", 41ul)]      // device unknown: the last of the longest
    [InlineData(null, 254u, 0u, "/mnt/nasty", 27ul)]    // a prefix of the name is not a folder above it
    [InlineData(null, 0u, 99u, "/home/u/file", 40ul)]   // btrfs shows other device numbers than mountinfo
    [InlineData(null, 0u, 33u, "/home/u/remote", 39ul)]
    [InlineData(77ul, 8u, 17u, "/media/my stick/a", 38ul)]
    public void Finds_the_mount_of_a_path(ulong? id, uint major, uint minor, string path, ulong expected) =>
        Assert.Equal(expected, MountTable.Find(s_table, id, major, minor, path)!.Id);

    [Theory]
    [InlineData("cifs", "SMB", null)]
    [InlineData("nfs4", "NFS", null)]
    [InlineData("fuse.sshfs", "SSH", null)]
    [InlineData("afpfs", "AFP", null)]
    [InlineData("vfat", null, 4294967295L)]
    [InlineData("msdos", null, 4294967295L)]
    [InlineData("FAT32", null, 4294967295L)]
    [InlineData("exfat", null, null)]
    [InlineData("ext4", null, null)]
    public void Knows_what_a_type_means(string type, string? protocol, long? limit)
    {
        Assert.Equal(protocol, HostVolume.NetworkProtocol(type));
        Assert.Equal(limit, HostVolume.MaximumFileSizeOf(type));
    }
}
