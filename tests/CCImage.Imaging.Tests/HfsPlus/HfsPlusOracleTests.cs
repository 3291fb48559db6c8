using System.Globalization;
using System.Text;
using CCImage.Sources;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

/// <summary>Volumes that other people's programs check and read.</summary>
public class HfsPlusOracleTests
{
    internal static TestTree Oddities(bool hardLinks = true) => new()
    {
        TestTree.File("empty"),
        TestTree.File("small", "hello\n"),
        TestTree.File("block", Noise(4096, 1)),
        TestTree.File("large", Noise(3_000_001, 2), new Meta { Mode = 0xDED, UserId = 0, GroupId = 0, Flags = 0x2 }),
        TestTree.File("Ünïcode-ÅÄÖ-한글-Ά", "decomposed"),
        TestTree.File("emoji 😀.txt", "beyond the plane"),
        TestTree.File("a:colon", "stored with a slash"),
        TestTree.File(new string('n', 255), "longest name"),
        TestTree.File("resource", "data", new Meta { Resource = Noise(70_000, 3), FinderInfo = [.. "TEXTttxt"u8, .. new byte[24]] }),
        TestTree.File("attributes", "x", new Meta
        {
            Attributes =
                [("user.odd", [1, 2, 3]), ("com.apple.quarantine", "0081;"u8.ToArray()), ("big", Noise(100_000, 4)),
                    ("edge", Noise(3802, 5)), ("over", Noise(3803, 6)), ("none", [])],
            AttributesOnDemand = [("lazy", Noise(100, 7)), ("lazy big", Noise(9000, 8))],
        }),
        Link("link", "small"),
        Link("dangling", "/no/where/ä"),
        Special("fifo", EntryKind.Fifo),
        Special("socket", EntryKind.Socket),
        Special("null", EntryKind.CharacterDevice, 1, 3),
        Special("disk", EntryKind.BlockDevice, 8, 0x12345),
        TestTree.Directory("folder",
            TestTree.Directory("empty folder"),
            TestTree.Directory("with attributes", new Meta { Mode = 0x1ED, Attributes = [("folder", "value"u8.ToArray())] }),
            TestTree.File("Makefile", "all:"),
            TestTree.File("makefile.am", "all:"),
            TestTree.File("MAKEFILE.in", "all:"),
            TestTree.File("inner", "inner")),
        TestTree.File("linked 1", "shared content", new Meta { HardLinkId = hardLinks ? 77 : 0, Attributes = [("on inode", [9])] }),
        TestTree.Directory("links",
            TestTree.File("linked 2", "shared content", new Meta { HardLinkId = hardLinks ? 77 : 0, Attributes = [("on inode", [9])] }),
            TestTree.File("linked 3", "shared content", new Meta { HardLinkId = hardLinks ? 77 : 0, Attributes = [("on inode", [9])] }),
            TestTree.File("pair 1", Noise(5000, 9), new Meta { HardLinkId = hardLinks ? 5 : 0 }),
            TestTree.File("pair 2", Noise(5000, 9), new Meta { HardLinkId = hardLinks ? 5 : 0 }),
            TestTree.File("single", "not linked in this tree", new Meta { HardLinkId = 123 })),
        TestTree.File("old", "1904", new Meta { Time = UnixTime.FromSeconds(-2_082_844_799) }),
        TestTree.File("future", "2100", new Meta { Time = UnixTime.FromSeconds(4_102_444_800) }),
    };

    public static TheoryData<bool, bool, long?, uint> Variants => new()
    {
        { false, true, null, 0 }, { true, true, null, 0 }, { false, false, null, 0 }, { true, false, 64L << 20, 0 },
            { false, true, 3L << 30, 0 }, { false, true, null, 1 }, { false, true, 200L << 20, 3 },
    };

    [OracleTheory("fsck_hfs")]
    [MemberData(nameof(Variants))]
    public void Fsck_finds_nothing(bool caseSensitive, bool journaled, long? size, uint extentBlocks)
    {
        using VolumeFile file = VolumeFile.Write(Oddities(),
            VolumeFile.Options with { CaseSensitive = caseSensitive, Journaled = journaled, VolumeSizeBytes = size,
            MaximumExtentBlocks = extentBlocks });
        file.AssertFsckIsContent();
    }

    [OracleFact("fsck_hfs")]
    public void Fsck_finds_nothing_in_an_empty_volume()
    {
        foreach (bool caseSensitive in (bool[])[false, true])
        {
            using VolumeFile file = VolumeFile.Write([], VolumeFile.Options with { CaseSensitive = caseSensitive });
            file.AssertFsckIsContent();
        }
    }

    [OracleFact("fls", "icat", "fsstat")]
    public void The_Sleuth_Kit_reads_every_name_and_content()
    {
        TestTree tree = Oddities();
        foreach (uint extentBlocks in (uint[])[0, 1])
        {
            using VolumeFile file = VolumeFile.Write(tree, VolumeFile.Options with { MaximumExtentBlocks = extentBlocks });
            VolumeAudit audit = VolumeAudit.Run(file);
            (int code, string summary, _) = Oracle.Run("fsstat", file.Path);
            Assert.Equal(0, code);
            Assert.Contains("Volume Name: Test Volume", summary, StringComparison.Ordinal);
            Assert.Contains("Number of files: " + file.Plan.FileCount, summary, StringComparison.Ordinal);
            string[] listed =
                [.. Oracle.Run("fls", "-r", "-p", "-u", file.Path).Output.Split('\n').Where(l => l.Contains('\t'))
                    .Select(l => l[(l.IndexOf('\t') + 1)..])];
            foreach (SourceEntry entry in tree.Enumerate().Where(e => e.Parent is not null))
                Assert.Contains(
                    entry.RelativePath.Replace(':', '/').Normalize(NormalizationForm.FormD), listed.Select(l => l.Replace(':', '/')));
            // It gives up on files whose attributes have forks of their own.
            foreach (SourceEntry entry in tree.Enumerate().Where(e => e.Kind == EntryKind.File && !e.Attributes.Any(a => a.Size > 3802)))
            {
                string path = "/"
                    + string.Join(
                    '\u0001', entry.RelativePath.Split('/').Select(n => n.Replace(':', '/').Normalize(NormalizationForm.FormD)));
                VolumeAudit.Item item = audit.ByPath[path];
                uint id = item.Flags == 0x22 ? item.Special : item.Id;
                Assert.Equal(Content(tree, entry), Oracle.RunForBytes("icat", file.Path, id.ToString(CultureInfo.InvariantCulture)));
            }
        }
    }

    [OracleFact("7zz")]
    public void Seven_Zip_extracts_every_content()
    {
        TestTree tree = Oddities();
        using VolumeFile file = VolumeFile.Write(tree);
        string target = Path.Combine(file.Folder, "x");
        (int code, string output, string error) = Oracle.Run("7zz", "x", "-y", "-o" + target, "-thfs", file.Path);
        Assert.True(code == 0, output + error);
        Assert.DoesNotContain("Warning", output, StringComparison.Ordinal);
        Assert.Contains("Everything is Ok", output, StringComparison.Ordinal);
        Dictionary<string, string> extracted = System.IO.Directory.EnumerateFiles(target, "*", SearchOption.AllDirectories)
            .GroupBy(f => Path.GetFileName(f).Normalize(NormalizationForm.FormD)).ToDictionary(g => g.Key, g => g.First());
        foreach (SourceEntry entry in tree.Enumerate()
            .Where(e => e.Kind == EntryKind.File && e.Name != "a:colon" && e.HardLinkId is 0 or 123))
            Assert.Equal(Content(tree, entry), System.IO.File.ReadAllBytes(extracted[entry.Name.Normalize(NormalizationForm.FormD)]));
    }

    // One line for each entry, as busybox prints them.
    private const string ListScript = """
        cd /mnt
        find . | sort | while read -r f; do
          if [ -h "$f" ]; then echo "$(stat -c '%f|%h|%u|%g|%Y' "$f")|$(readlink "$f")|$f"
          elif [ -f "$f" ]; then echo "$(stat -c '%f|%h|%u|%g|%Y' "$f")|$(md5sum < "$f" | cut -c1-32)|$f"
          elif [ -d "$f" ]; then echo "$(stat -c '%f|0|%u|%g|%Y' "$f")||$f"
          else echo "$(stat -c '%f|%h|%u|%g|%Y' "$f")||$f"; fi
        done
        getfattr -m - -d -e hex attributes folder/"with attributes" 2>/dev/null
        """;

    [OracleTheory("uml-hfsplus")]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(false, 1)]
    public void The_Linux_kernel_mounts_and_reads_everything(bool caseSensitive, uint extentBlocks)
    {
        TestTree tree = Oddities();
        using VolumeFile file =
            VolumeFile.Write(tree, VolumeFile.Options with { CaseSensitive = caseSensitive, MaximumExtentBlocks = extentBlocks });
        string[] lines = RunInLinux(file, "mount -t hfsplus -o ro /dev/ubda /mnt || exit 9\n" + ListScript);
        AssertListed(tree, lines);
        // Attributes with a fork of their own the driver does not read.
        Assert.Contains(lines, l => l.EndsWith("edge=0x" + Convert.ToHexStringLower(Noise(3802, 5)), StringComparison.Ordinal));
        Assert.Contains(lines, l => l.EndsWith("folder=0x" + Convert.ToHexStringLower("value"u8), StringComparison.Ordinal));
    }

    [OracleTheory("uml-hfsplus", "fsck_hfs")]
    [InlineData(false)]
    [InlineData(true)]
    public void The_Linux_kernel_writes_and_Apples_checker_stays_content(bool caseSensitive)
    {
        TestTree tree = Oddities();
        using VolumeFile file =
            VolumeFile.Write(
                tree, VolumeFile.Options with { CaseSensitive = caseSensitive, Journaled = false, VolumeSizeBytes = 48 << 20 });
        string[] lines = RunInLinux(file, """
            mount -t hfsplus -o rw /dev/ubda /mnt || exit 9
            cd /mnt; mkdir new; i=0; while [ $i -lt 500 ]; do echo "content $i" > new/file$i; i=$((i+1)); done
            rm new/file1*; mv new/file2 folder/moved; ln small "new/third name"; ln -s nowhere new/link
            dd if=/dev/urandom of=new/random bs=1k count=700 2>/dev/null; rm large
            cd /; sync; umount /mnt; mount -t hfsplus -o ro /dev/ubda /mnt; cat /mnt/new/file499 "/mnt/links/linked 3"
            """);
        Assert.Equal(["content 499", "shared content"], lines);
        (int code, string output, string error) = Oracle.Run("fsck_hfs", "-fn", file.Path);
        Assert.True(code == 0, output + error);
        using CCImage.Storage.BlockStorage storage = CCImage.Storage.FileStorage.OpenRead(file.Path);
        IReadOnlyList<ImageFinding> findings =
            HfsPlusCheckerTests.Check(CCImage.FileSystems.HfsPlus.HfsPlusVolume.Open(storage), out bool isSound);
        Assert.True(isSound, HfsPlusCheckerTests.TextOf(findings));
    }

    [OracleFact("fsck_hfs", "newfs_hfs")]
    public void An_empty_volume_lies_as_newfs_hfs_lays_it()
    {
        foreach (long size in (long[])[
            1 << 20, 10_752_000, 127L << 20, 512L << 20, 1L << 30, 5L << 30, 20L << 30, 300L << 30, 2L << 40, (16L << 40) - (1 << 20)])
        {
            using VolumeFile file = VolumeFile.Write([], VolumeFile.Options with { VolumeSizeBytes = size });
            string theirs = Path.Combine(file.Folder, "theirs");
            using (FileStream stream = System.IO.File.Create(theirs)) stream.SetLength(size);
            Assert.Equal(0, Oracle.Run("newfs_hfs", "-J", "-v", "Test Volume", theirs).ExitCode);
            byte[] ours = new byte[512], apple = new byte[512];
            using (FileStream stream = System.IO.File.OpenRead(file.Path)) ReadHeader(stream, ours);
            using (FileStream stream = System.IO.File.OpenRead(theirs)) ReadHeader(stream, apple);
            // Size, block size, clumps, and the five special files with size, clump and extents. Where room is scarce Apple's gaps stay.
            Assert.Equal(apple[40..48], ours[40..48]);
            Assert.Equal(apple[56..64], ours[56..64]);
            Assert.Equal(apple[112..512], ours[112..512]);
            Assert.Equal(apple[12..16], ours[12..16]);
            Assert.Equal(apple[52..56], ours[52..56]);
            Assert.Equal(apple[48..52], ours[48..52]);
        }

        static void ReadHeader(FileStream stream, byte[] header)
        {
            stream.Position = 1024;
            stream.ReadExactly(header);
        }
    }

    private static string[] RunInLinux(VolumeFile file, string script)
    {
        string path = Path.Combine(file.Folder, "script.sh");
        System.IO.File.WriteAllText(path, script.ReplaceLineEndings("\n") + "\n");
        (int code, string output, string error) = Oracle.Run("uml-hfsplus", file.Path, path);
        Assert.True(code is 0 or 1, $"{code}: {output}{error}");
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    private static void AssertListed(TestTree tree, string[] lines)
    {
        Dictionary<string, string[]> listed = lines.Where(l => l.Split('|').Length == 7).Select(l => l.Split('|'))
            .ToDictionary(f => f[6].Normalize(NormalizationForm.FormC));
        // The driver writes each half of a surrogate pair by itself, which no host takes for a name.
        foreach (SourceEntry entry in tree.Enumerate().Where(e => !e.Name.Any(char.IsSurrogate)))
        {
            string[] fields = listed["." + (entry.Parent is null ? "" : "/" + entry.RelativePath.Normalize(NormalizationForm.FormC))];
            int type = entry.Kind switch
            {
                EntryKind.Directory => 0x4000,
                EntryKind.SymbolicLink => 0xA000,
                EntryKind.Fifo => 0x1000,
                EntryKind.Socket => 0xC000,
                EntryKind.CharacterDevice => 0x2000,
                EntryKind.BlockDevice => 0x6000,
                _ => 0x8000,
            };
            string content = entry.Kind switch
            {
                EntryKind.SymbolicLink => entry.LinkTarget!,
                EntryKind.File => Convert.ToHexStringLower(System.Security.Cryptography.MD5.HashData(Content(tree, entry))),
                _ => "",
            };
            int links = entry.Kind == EntryKind.Directory ? 0 : entry.HardLinkId switch { 77 => 3, 5 => 2, _ => 1 };
            long seconds = Math.Clamp(entry.ModifyTime.Seconds, -2_082_844_799, uint.MaxValue - 2_082_844_800L);
            // The driver takes dates before 1970 for ones after 2040.
            if (seconds < 0) seconds += 1L << 32;
            Assert.Equal(
                $"{type | (int)entry.Mode:x}|{links}|{entry.UserId}|{entry.GroupId}|{seconds}|{content}", string.Join('|', fields[..6]));
        }
    }

    private static byte[] Content(TestTree tree, SourceEntry entry)
    {
        using CCImage.Storage.BlockStorage fork = tree.OpenFork(entry, ForkKind.Data);
        byte[] bytes = new byte[fork.Length];
        fork.Read(0, bytes);
        return bytes;
    }
}
