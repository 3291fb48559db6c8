using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

using static TestTree;

/// <summary>Shrinking, cut off at every write, and with any of the writes lost that no flush has made durable.</summary>
public sealed class HfsPlusShrinkCutTests
{
    [Theory]
    [InlineData(1, 20, true)]
    [InlineData(2, 1, true)]
    [InlineData(3, 40, false)]
    public void EveryStateHasAllFiles(int seed, int pieces, bool journaled)
    {
        byte[] volume = Make(seed, pieces, journaled);
        string[] files = HfsPlusShrinkTests.FilesOf(volume);
        RecordingStorage storage = ShrinkRecorded(volume, out long length);
        Assert.Contains(storage.Epochs, e => e.Count > 10);
        var random = new Random(seed);
        byte[] durable = [.. volume];
        int states = 0, epochs = 0;
        foreach (List<(long Offset, byte[] Bytes)> epoch in storage.Epochs)
        {
            byte[] prefix = [.. durable];
            for (int i = 0; i < epoch.Count; i++)
            {
                Apply(prefix, epoch[i]);
                if (epoch.Count < 40 || i % 16 == 0) Judge(prefix);
                byte[] lossy = [.. durable];
                foreach ((long, byte[]) write in epoch.Take(i + 1).Where(_ => random.Next(2) == 0).OrderBy(_ => random.Next())) Apply(lossy, write);
                if (epoch.Count < 40 || i % 16 == 8) Judge(lossy);
                if (epoch[i].Bytes.Length <= 512) continue;
                byte[] torn = [.. durable];
                Apply(torn, (epoch[i].Offset, epoch[i].Bytes[..512]));
                if (epoch.Count < 40) Judge(torn);
            }

            durable = prefix;
            Judge(durable);
            Finish(durable);
            epochs++;
        }

        Assert.True(states > 60 && epochs >= 8, $"{states} states, {epochs} flushes");
        HfsPlusShrinkTests.AssertSound(durable[..(int)length]);

        void Judge(byte[] state)
        {
            states++;
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
    public void CancelledWhileFilesMoveTheVolumeIsAsItWas()
    {
        byte[] volume = Make(4, 10, true);
        for (int reads = 1; ; reads += 7)
        {
            var storage = new RecordingStorage(volume);
            var resizer = new HfsPlusResizer(HfsPlusVolume.Open(storage), storage.Cancellation.Token);
            HfsPlusResizer.Plan plan = resizer.PlanFor(resizer.LeastLength);
            storage.CancelAtWrite = reads;
            try
            {
                resizer.Write(storage, resizer.LeastLength, plan);
                Assert.True(reads > 7);
                return;
            }
            catch (OperationCanceledException)
            {
                HfsPlusShrinkTests.AssertSound(storage.ToArray());
                Assert.Equal(volume.AsSpan(1024, 512), storage.ToArray().AsSpan(1024, 512));
            }
        }
    }

    private static byte[] Make(int seed, int pieces, bool journaled)
    {
        var tree = new TestTree
        {
            File("a", Noise(150_000, 1), new Meta { Resource = Noise(40_000, 2), Attributes = [("large", Noise(60_000, 3))] }),
            File("b", Noise(90_000, 4), new Meta { HardLinkId = 5 }), File("c", Noise(90_000, 4), new Meta { HardLinkId = 5 }),
            Link("link", "a"), Directory("folder", File("d", Noise(5000, 5))),
        };
        using SparseMemoryStorage storage = HfsPlusCheckerTests.Render(tree, VolumeFile.Options with { VolumeSizeBytes = 3 << 20, Journaled = journaled });
        byte[] bytes = new byte[storage.Length];
        storage.Read(0, bytes);
        bytes = ScatteredVolume.Scatter(bytes, seed, pieces);
        HfsPlusShrinkTests.AssertSound(bytes);
        return bytes;
    }

    private static RecordingStorage ShrinkRecorded(byte[] volume, out long length)
    {
        var storage = new RecordingStorage(volume);
        var resizer = new HfsPlusResizer(HfsPlusVolume.Open(storage), default);
        length = resizer.LeastLength;
        resizer.Write(storage, length, resizer.PlanFor(length));
        return storage;
    }

    private static void Apply(byte[] bytes, (long Offset, byte[] Bytes) write) => write.Bytes.CopyTo(bytes.AsSpan((int)write.Offset));

    // Keeps every write, by the flush that makes it durable.
    private sealed class RecordingStorage(byte[] before) : BlockStorage
    {
        private readonly byte[] _now = [.. before];
        private List<(long Offset, byte[] Bytes)> _epoch = [];
        private int _writes;

        public List<List<(long Offset, byte[] Bytes)>> Epochs { get; } = [];

        public CancellationTokenSource Cancellation { get; } = new();

        public int CancelAtWrite { get; set; }

        public override long Length => _now.Length;

        public override bool CanWrite => true;

        public byte[] ToArray() => [.. _now];

        public override void Flush()
        {
            if (_epoch.Count > 0) Epochs.Add(_epoch);
            _epoch = [];
        }

        protected override void ReadCore(long offset, Span<byte> buffer) => _now.AsSpan((int)offset, buffer.Length).CopyTo(buffer);

        protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
        {
            if (++_writes == CancelAtWrite) Cancellation.Cancel();
            _epoch.Add((offset, buffer.ToArray()));
            buffer.CopyTo(_now.AsSpan((int)offset));
        }
    }
}
