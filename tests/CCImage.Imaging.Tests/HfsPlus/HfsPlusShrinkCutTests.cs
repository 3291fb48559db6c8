using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;
using CCImage.Tests.Storage;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

/// <summary>Shrinking, cut off at every write, and with any of the writes lost that no flush has made durable.</summary>
public sealed class HfsPlusShrinkCutTests
{
    [Theory]
    [InlineData(1, 20, true)]
    [InlineData(2, 1, true)]
    [InlineData(3, 40, false)]
    public void Every_state_has_all_files(int seed, int pieces, bool journaled)
    {
        byte[] volume = Make(seed, pieces, journaled);
        string[] files = HfsPlusShrinkTests.FilesOf(volume);
        WriteLog storage = ShrinkRecorded(volume, out long length);
        Assert.Contains(storage.Epochs, e => e.Count > 10);
        int states = 0, durables = 0;
        byte[] last = volume;
        foreach ((byte[] state, bool isDurable) in storage.StatesOf(seed, most: 40))
        {
            Judge(last = state);
            states++;
            if (!isDurable) continue;
            Finish(state);
            durables++;
        }

        Assert.True(states > 60 && durables >= 8, $"{states} states, {durables} flushes");
        HfsPlusShrinkTests.AssertSound(last[..(int)length]);

        void Judge(byte[] state)
        {
            Assert.Equal(files, HfsPlusShrinkTests.FilesOf(state));
            IReadOnlyList<ImageFinding> findings = HfsPlusCheckerTests.Check(HfsPlusShrinkTests.Open(state), out _);
            Assert.DoesNotContain(findings, f => f.Grade == ImageFindingGrade.Damaged);
            // The copy of the header could stand in at any time.
            byte[] lost = [.. state];
            lost.AsSpan(1024, 512).Clear();
            Assert.Equal(files, HfsPlusShrinkTests.FilesOf(lost));
        }

        // Asked again, it ends where it would have ended.
        void Finish(byte[] state)
        {
            byte[] again = HfsPlusShrinkTests.Shrink(state, length);
            HfsPlusShrinkTests.AssertSound(again);
            Assert.Equal(files, HfsPlusShrinkTests.FilesOf(again));
        }
    }

    [Fact]
    public void Cancelled_while_files_move_the_volume_is_as_it_was()
    {
        byte[] volume = Make(4, 10, true);
        for (int reads = 1; ; reads += 7)
        {
            var storage = new WriteLog(volume);
            var resizer = new HfsPlusResizer(HfsPlusVolume.Open(storage), storage.Cancellation.Token);
            HfsPlusResizer.Plan plan = resizer.PlanFor(resizer.LeastLength);
            storage.CancelAtWrite = reads;
            try
            {
                plan.Write(storage, static _ => { }, storage.Cancellation.Token);
                Assert.True(reads > 7);
                return;
            }
            catch (OperationCanceledException)
            {
                HfsPlusShrinkTests.AssertSound(storage.Now);
                Assert.Equal(volume.AsSpan(1024, 512), storage.Now.AsSpan(1024, 512));
            }
        }
    }

    // With blocks of 512 bytes one block of the bitmap covers 2 MiB: here it has three, and those that a smaller volume does without may
    // lie where its header goes.
    [OracleFact("newfs_hfs")]
    public void The_bitmap_may_lie_at_the_new_end()
    {
        using var folder = new TemporaryFolder();
        using (FileStream file = System.IO.File.Create(folder["volume"])) file.SetLength(6 << 20);
        Assert.Equal(0, Oracle.Run("newfs_hfs", "-b", "512", "-v", "Small blocks", folder["volume"]).ExitCode);
        byte[] made = System.IO.File.ReadAllBytes(folder["volume"]);
        int tried = 0;
        for (int seed = 1; seed < 20 && tried < 12; seed++)
        {
            byte[] volume = ScatteredVolume.Scatter(made, seed, 1);
            HfsPlusVolume opened = HfsPlusShrinkTests.Open(volume);
            long least = new HfsPlusResizer(opened, default).LeastLength;
            for (int i = 0; i < 3; i++)
            {
                long start = opened.Header.AllocationFile.Extents[i].StartBlock, end = start
                    + opened.Header.AllocationFile.Extents[i].BlockCount;
                foreach (long blocks in (long[])[start + 1, end, end + 1, end + 2])
                {
                    if (end == start || blocks * 512 < least || blocks * 512 > volume.Length) continue;
                    var storage = new WriteLog(volume);
                    var resizer = new HfsPlusResizer(HfsPlusVolume.Open(storage), default);
                    resizer.PlanFor(blocks * 512).Write(storage, static _ => { }, default);
                    foreach ((byte[] state, _) in storage.StatesOf(seed, most: 2))
                        Assert.DoesNotContain(
                            HfsPlusCheckerTests.Check(HfsPlusShrinkTests.Open(state), out _), f => f.Grade == ImageFindingGrade.Damaged);
                    HfsPlusCheckerTests.Check(HfsPlusShrinkTests.Open(storage.Now[..(int)(blocks * 512)]), out bool isSound);
                    Assert.True(isSound);
                    tried++;
                }
            }
        }

        Assert.True(tried >= 12, $"{tried} sizes");
    }

    private static byte[] Make(int seed, int pieces, bool journaled)
    {
        var tree = new TestTree
        {
            File("a", Noise(150_000, 1), new Meta { Resource = Noise(40_000, 2), Attributes = [("large", Noise(60_000, 3))] }),
            File("b", Noise(90_000, 4), new Meta { HardLinkId = 5 }), File("c", Noise(90_000, 4), new Meta { HardLinkId = 5 }),
            Link("link", "a"), Directory("folder", File("d", Noise(5000, 5))),
        };
        using SparseMemoryStorage storage =
            HfsPlusCheckerTests.Render(tree, VolumeFile.Options with { VolumeSizeBytes = 3 << 20, Journaled = journaled });
        byte[] bytes = new byte[storage.Length];
        storage.Read(0, bytes);
        bytes = ScatteredVolume.Scatter(bytes, seed, pieces);
        HfsPlusShrinkTests.AssertSound(bytes);
        return bytes;
    }

    private static WriteLog ShrinkRecorded(byte[] volume, out long length)
    {
        var storage = new WriteLog(volume);
        var resizer = new HfsPlusResizer(HfsPlusVolume.Open(storage), default);
        length = resizer.LeastLength;
        resizer.PlanFor(length).Write(storage, static _ => { }, default);
        return storage;
    }
}
