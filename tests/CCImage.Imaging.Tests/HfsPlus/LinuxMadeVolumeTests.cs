using System.Text;
using CCImage.FileSystems.HfsPlus;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.HfsPlus;

namespace CCImage.Tests.HfsPlus;

/// <summary>Volumes made by Apple's newfs_hfs and filled by the Linux kernel: everything in them was put there by others.</summary>
public sealed class LinuxMadeVolumeTests
{
    // A file that is written into the holes of a full volume has more than eight extents.
    private const string Script = """
        set -e
        mount -t hfsplus /dev/ubda /mnt
        cd /mnt
        mkdir -p d/e
        echo hello > d/a
        ln d/a d/b
        ln d/a third
        ln -s ../a d/e/sym
        echo once > once
        ln once twice
        rm once
        mknod d/chr c 1 3
        mknod d/blk b 8 17
        mkfifo d/fifo
        chown 501:20 d/a
        chmod 4751 d/a
        touch -d '2001-02-03 04:05:06' d/a
        echo x > 'd/été 한글 :colon'
        setfattr -n user.test -v value d/e
        : > d/empty
        i=0
        while [ $i -lt 300 ]; do echo $i > "d/e/a rather long name so that the catalog gets leaves $i"; i=$((i+1)); done
        i=0
        while [ $i -lt 100 ]; do echo $i > d/hole$i; i=$((i+1)); done
        sync
        dd if=/dev/zero of=filler bs=4096 2>/dev/null || true
        sync
        i=0
        while [ $i -lt 100 ]; do rm d/hole$i; i=$((i+2)); done
        sync
        i=0
        while [ $i -lt 40 ]; do printf '%04095d\n' $i; i=$((i+1)); done > d/f1
        sync
        rm filler d/hole*
        cd /
        umount /mnt
        """;

    [OracleFact("newfs_hfs", "uml-hfsplus", "icat")]
    public void HFS_plus_is_read_as_it_was_written() => Check(VolumeKind.HfsPlus);

    [OracleFact("newfs_hfs", "uml-hfsplus", "icat")]
    public void HFSX_is_read_as_it_was_written() => Check(VolumeKind.HfsPlusCaseSensitive, "-s");

    private static void Check(VolumeKind kind, params string[] options)
    {
        string folder = Directory.CreateTempSubdirectory("ccimage-").FullName;
        try
        {
            string image = Path.Combine(folder, "volume"), script = Path.Combine(folder, "script.sh");
            using (FileStream file = File.Create(image)) file.SetLength(8 << 20);
            File.WriteAllText(script, Script);
            Assert.Equal(0, Oracle.Run("newfs_hfs", [.. options, "-v", "Vol été", image]).ExitCode);
            (int exitCode, string output, string error) = Oracle.Run("uml-hfsplus", image, script);
            Assert.True(exitCode == 0, output + error);
            using HfsPlusVolume volume = HfsPlusVolume.Open(new MemoryStorage(File.ReadAllBytes(image)));
            CheckVolume(volume, kind, image);
            Assert.True(
                HfsPlusCheckerTests.Check(volume, out bool isSound) is var findings && isSound, HfsPlusCheckerTests.TextOf(findings));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void CheckVolume(HfsPlusVolume volume, VolumeKind kind, string image)
    {
        Assert.Equal((kind, "Vol été", false), (volume.Kind, volume.Name, volume.IsJournaled));
        HfsPlusReaderTests.AssertFreeSpace(volume, image);
        using SourceTree tree = volume.ReadTree();
        Dictionary<string, SourceEntry> entries = tree.Enumerate().ToDictionary(e => e.RelativePath);
        Assert.Equal(1 + 2 + 300 + 11, entries.Count);

        SourceEntry[] links = [entries["d/a"], entries["d/b"], entries["third"]];
        Assert.NotEqual(0, links[0].HardLinkId);
        foreach (SourceEntry link in links)
        {
            Assert.Equal(
                (EntryKind.File, 6L, 0x9E9u, 501u, 20u, links[0].HardLinkId, "hello\n"),
                (link.Kind, link.Size, link.Mode, link.UserId, link.GroupId, link.HardLinkId, TextOf(tree, link)));
            Assert.Equal(new DateTimeOffset(2001, 2, 3, 4, 5, 6, TimeSpan.Zero), link.ModifyTime.ToDateTimeOffset());
        }

        // a link record still, but the only name
        Assert.Equal((0L, "once\n"), (entries["twice"].HardLinkId, TextOf(tree, entries["twice"])));
        Assert.Equal("../a", entries["d/e/sym"].LinkTarget);
        Assert.Equal((EntryKind.CharacterDevice, EntryKind.BlockDevice, EntryKind.Fifo),
            (entries["d/chr"].Kind, entries["d/blk"].Kind, entries["d/fifo"].Kind));
        Assert.Equal("x\n", TextOf(tree, entries["d/été 한글 :colon"]));
        ExtendedAttribute attribute = Assert.Single(entries["d/e"].Attributes);
        Assert.Equal(("user.test", "value"), (attribute.Name, Encoding.UTF8.GetString(attribute.Value!)));
        Assert.Equal(0, entries["d/empty"].Size);
        string expected = string.Concat(Enumerable.Range(0, 40).Select(i => i.ToString("D4095", null) + "\n"));
        Assert.Equal(expected, TextOf(tree, entries["d/f1"]));
        Assert.Equal(expected, Encoding.UTF8.GetString(Oracle.RunForBytes("icat", "-f", "hfs", image, $"{entries["d/f1"].NodeId}")));
        Assert.NotEqual(0u, (uint)new BTreeFile(volume.OpenFork(volume.Header.ExtentsFile, 3, 0, "extents"), "extents").Header.LeafRecords);
        Assert.Equal(Enumerable.Range(0, 300).Select(i => $"{i}\n").Order(),
            entries["d/e"].Children.Where(c => c.Kind == EntryKind.File).Select(c => TextOf(tree, c)).Order());
    }

    private static string TextOf(SourceTree tree, SourceEntry entry)
    {
        using BlockStorage fork = tree.OpenFork(entry, ForkKind.Data);
        byte[] bytes = new byte[fork.Length];
        fork.Read(0, bytes);
        return Encoding.UTF8.GetString(bytes);
    }
}
