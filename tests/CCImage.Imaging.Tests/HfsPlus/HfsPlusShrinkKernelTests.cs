using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>Volumes of Apple's newfs_hfs that the Linux kernel fills and empties, resized in between; the kernel reads every content,
/// before and after.</summary>
public sealed class HfsPlusShrinkKernelTests
{
    // What is there, then what changes, then what is there: the first and the last list are compared with those of the other runs.
    private const string Script = """
        export LC_ALL=C
        mount -t hfsplus -o rw /dev/ubda /mnt || exit 9
        cd /mnt
        list() { find . -type f | sort | xargs -r md5sum; }
        list; echo ===
        SEED
        i=0
        while [ $i -lt 25 ]; do
          r=$(( (seed * 7919 + i * 104729 + (seed * i * 31)) % 1009 ))
          dd if=/dev/urandom of=file$(( r % 60 )) bs=1k count=$(( r % 300 )) 2>/dev/null || rm -f file$(( r % 60 ))
          mkdir -p dir$(( r % 7 )); echo "content $r" > dir$(( r % 7 ))/small$i; ln -f dir$(( r % 7 ))/small$i link$i
          [ $(( r % 3 )) -ne 0 ] || rm -f file$(( (r / 7) % 60 ))
          [ $(( i % 5 )) -ne 0 ] || { sync; dd if=/dev/urandom of=long1 bs=1k count=20 2>/dev/null oflag=append conv=notrunc; sync
            dd if=/dev/urandom of=long2 bs=1k count=20 2>/dev/null oflag=append conv=notrunc; }
          i=$(( i + 1 ))
        done
        sync; list
        cd /; umount /mnt
        """;

    [OracleTheory("newfs_hfs", "uml-hfsplus", "fsck_hfs")]
    [InlineData(1, 4096)]
    [InlineData(2, 512)]
    public void Filling_and_resizing_in_turns(int seed, int blockSize)
    {
        using var folder = new TemporaryFolder();
        string image = folder["volume"], script = folder["script.sh"];
        using (FileStream file = File.Create(image)) file.SetLength(24 << 20);
        Assert.Equal(0, Oracle.Run("newfs_hfs", "-b", $"{blockSize}", "-v", "Turns", image).ExitCode);
        var random = new Random(seed);
        string known = "";
        for (int turn = 0; turn < 2; turn++)
        {
            File.WriteAllText(
                script, Script.Replace("SEED", $"seed={(seed * 10) + turn}", StringComparison.Ordinal).ReplaceLineEndings("\n"));
            (int exitCode, string output, string error) = Oracle.Run("uml-hfsplus", image, script);
            Assert.True(exitCode == 0, output + error);
            string[] lists = output.Split("===\n");
            Assert.Equal(known, lists[0]);
            known = lists[1];
            byte[] volume = File.ReadAllBytes(image);
            string[] files = HfsPlusShrinkTests.FilesOf(volume);
            long least = new HfsPlusResizer(HfsPlusShrinkTests.Open(volume), default).LeastLength;
            Assert.Equal(least, HfsPlusMinimumSize.Of(HfsPlusShrinkTests.Open(volume)));
            foreach (long size in (long[])[random.NextInt64(least, volume.Length), least, (24 << 20) + (random.Next(4000) * 512)])
            {
                least = new HfsPlusResizer(HfsPlusShrinkTests.Open(volume), default).LeastLength;
                volume = Resize(volume, Math.Max(size, least));
                HfsPlusShrinkTests.AssertSound(volume);
                Assert.Equal(files, HfsPlusShrinkTests.FilesOf(volume));
            }

            File.WriteAllBytes(image, volume);
        }
    }

    private static byte[] Resize(byte[] volume, long size)
    {
        size = size / 512 * 512;
        if (size <= volume.Length) return HfsPlusShrinkTests.Shrink(volume, size);
        var storage = new MemoryStorage();
        storage.Write(0, volume);
        var resizer = new HfsPlusResizer(HfsPlusVolume.Open(new WindowStorage(storage, 0, volume.Length)), default);
        HfsPlusResizer.Plan plan = resizer.PlanFor(size);
        storage.Write(size - 1, [0]);
        plan.Write(storage, static _ => { }, default);
        return storage.ToArray();
    }
}
