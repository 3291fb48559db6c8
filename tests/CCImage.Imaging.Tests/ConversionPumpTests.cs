using System.Diagnostics;
using CCImage.Containers;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.Tests;

public sealed class ConversionPumpTests
{
    private const int Chunk = 64 << 10;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(7)]
    public void The_disk_arrives_in_order_once_and_without_its_holes(int workers)
    {
        for (int seed = 0; seed < 30; seed++)
        {
            var random = new Random(seed);
            var source = new PatchworkSource(random, pieces: 60);
            var writer = new RecordingWriter
            {
                Splits = [.. Enumerable.Range(0, random.Next(6)).Select(_ => random.NextInt64(1, source.Length / 512) * 512).Distinct()
                    .Order()],
                Gap = 1 << random.Next(9, 20),
                Scatter = true,
            };
            var observer = new ProgressObserver();
            ConversionPump.Run(source, writer, "testing", observer, CancellationToken.None, workers);

            Assert.True(writer.IsComplete);
            Assert.Equal(source.Content, writer.Disk(source.Length));
            Assert.Equal(1, writer.MostAppending);
            Assert.Equal(workers > 1, writer.MostEncoding > 1);
            long at = 0;
            foreach (StorageExtent piece in writer.Pieces)
            {
                Assert.Equal(at, piece.Offset);
                Assert.DoesNotContain(writer.Splits, s => s > piece.Offset && s < piece.End);
                if (piece.Kind == ExtentKind.Data)
                {
                    long from = writer.Splits.LastOrDefault(s => s <= piece.Offset);
                    Assert.Equal((piece.Offset - from) / Chunk, (piece.End - 1 - from) / Chunk);
                }

                at = piece.End;
            }

            Assert.Equal(observer.Last.Total, observer.Last.Completed);
            Assert.True(observer.IsMonotonic);
        }
    }

    [Fact]
    public void Holes_are_never_read_and_stay_whole()
    {
        const long Large = 1L << 45;
        var source =
            new HoleSource(new(0, 8192, ExtentKind.Data), new(8192, Large, ExtentKind.Unused), new(8192 + Large, 4096, ExtentKind.Data),
            new(12288 + Large, Large, ExtentKind.Zero), new(12288 + (2 * Large), 512, ExtentKind.Data));
        var writer = new RecordingWriter { Splits = [12288 + Large + 512] };
        ConversionPump.Run(source, writer, "", SilentObserver.Instance, CancellationToken.None, 2);
        Assert.Equal(
            [
                new(0, 8192, ExtentKind.Data), new(8192, Large, ExtentKind.Unused), new(8192 + Large, 4096, ExtentKind.Data),
                new(12288 + Large, 512, ExtentKind.Zero), new(12800 + Large, Large - 512, ExtentKind.Zero),
                new(12288 + (2 * Large), 512, ExtentKind.Data),
            ],
            writer.Pieces);
    }

    [Fact]
    public void Data_that_is_all_zeros_arrives_as_zero()
    {
        byte[] disk = new byte[3 * Chunk];
        disk[Chunk - 1] = 1;
        disk[2 * Chunk] = 1;
        var writer = new RecordingWriter();
        ConversionPump.Run(new MemoryStorage(disk), writer, "", SilentObserver.Instance, CancellationToken.None, 2);
        Assert.Equal([ExtentKind.Data, ExtentKind.Zero, ExtentKind.Data], writer.Pieces.Select(p => p.Kind));
    }

    [Fact]
    public void Short_gaps_become_data_unless_they_are_all_between_two_splits()
    {
        var source = new HoleSource(
            new(0, 4096, ExtentKind.Data), new(4096, 2048, ExtentKind.Unused), new(6144, 2048, ExtentKind.Data),
            new(8192, 2048, ExtentKind.Unused))
        { MayReadHoles = true };
        var writer = new RecordingWriter { Splits = [8192], Gap = 4096 };
        ConversionPump.Run(source, writer, "", SilentObserver.Instance, CancellationToken.None, 2);
        Assert.Equal([new(0, 8192, ExtentKind.Data), new(8192, 2048, ExtentKind.Unused)], writer.Pieces);
    }

    [Fact]
    public void Boundaries_that_are_not_on_sectors_are_made_so()
    {
        var source = new HoleSource(
            new(0, 1000, ExtentKind.Data), new(1000, 5000, ExtentKind.Zero), new(6000, 200, ExtentKind.Data),
            new(6200, 100, ExtentKind.Unused), new(6300, 356, ExtentKind.Data))
        { MayReadHoles = true };
        var writer = new RecordingWriter();
        ConversionPump.Run(source, writer, "", SilentObserver.Instance, CancellationToken.None, 2);
        Assert.Equal([new(0, 1024, ExtentKind.Data), new(1024, 4608, ExtentKind.Zero), new(5632, 1024, ExtentKind.Data)], writer.Pieces);
    }

    [Fact]
    public void An_empty_disk_is_complete_at_once()
    {
        var writer = new RecordingWriter();
        ConversionPump.Run(new ZeroStorage(0), writer, "", SilentObserver.Instance, CancellationToken.None);
        Assert.True(writer.IsComplete);
        Assert.Empty(writer.Pieces);
    }

    [Theory]
    [InlineData("read")]
    [InlineData("encode")]
    [InlineData("append")]
    [InlineData("extents")]
    [InlineData("complete")]
    public void The_first_failure_comes_out_as_it_is_and_everything_stops(string where)
    {
        for (int at = 1; at < 40; at += 6)
        {
            int left = at, running = 0;
            void Fail(string here)
            {
                Interlocked.Increment(ref running);
                try
                {
                    if (here == where && Interlocked.Decrement(ref left) <= 0)
                        throw new ImageException(ImageErrorId.SourceUnreadable, "Broken in " + here + ".");
                }
                finally
                {
                    Interlocked.Decrement(ref running);
                }
            }

            var source =
                new HoleSource(
                    [.. Enumerable.Range(0, 50).Select(i => new StorageExtent(i * (long)Chunk, Chunk, ExtentKind.Data))]) { Visit = Fail };
            var writer = new RecordingWriter { Visit = Fail };
            if (where is "complete" or "extents") left = 1;
            var failure =
                Assert.Throws<ImageException>(
                    () => ConversionPump.Run(source, writer, "", SilentObserver.Instance, CancellationToken.None, 3));
            Assert.Equal("Broken in " + where + ".", failure.Problem);
            Assert.False(writer.IsComplete);
            Assert.Equal(0, running);
            int pieces = writer.Pieces.Count;
            Thread.Sleep(5);
            Assert.Equal(pieces, writer.Pieces.Count);
        }
    }

    [Theory]
    [InlineData("read")]
    [InlineData("encode")]
    [InlineData("append")]
    public void Cancelling_stops_soon_and_completes_nothing(string where)
    {
        for (int at = 1; at < 60; at += 7)
        {
            using var cancellation = new CancellationTokenSource();
            int left = at;
            void Cancel(string here)
            {
                if (here == where && Interlocked.Decrement(ref left) == 0) cancellation.Cancel();
            }

            var source =
                new HoleSource(
                    [.. Enumerable.Range(0, 60).Select(i => new StorageExtent(i * (long)Chunk, Chunk, ExtentKind.Data))]) { Visit =
                    Cancel };
            var writer = new RecordingWriter { Visit = Cancel };
            Assert.ThrowsAny<OperationCanceledException>(
                () => ConversionPump.Run(source, writer, "", SilentObserver.Instance, cancellation.Token, 3));
            Assert.False(writer.IsComplete);
            Assert.InRange(writer.Pieces.Count, 0, 60);
        }

        using var before = new CancellationTokenSource();
        before.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(
            () => ConversionPump.Run(new ZeroStorage(Chunk), new RecordingWriter(), "", SilentObserver.Instance, before.Token));
    }

    [Fact]
    public void Cancelling_wakes_those_who_wait_for_a_chunk()
    {
        // The first piece hangs in the source until it is cancelled: the others run out of chunks and wait.
        using var cancellation = new CancellationTokenSource();
        void Hang(long offset)
        {
            if (offset == 0) cancellation.Token.WaitHandle.WaitOne();
        }

        var source =
            new HoleSource(
                [.. Enumerable.Range(0, 100).Select(i => new StorageExtent(i * (long)Chunk, Chunk, ExtentKind.Data))]) { VisitRead = Hang };
        var writer = new RecordingWriter();

        // From a thread of its own: a timer's callback waits for the thread pool, which the tests beside this one may keep busy for
        // seconds.
        var canceller = new Thread(() =>
        {
            Thread.Sleep(200);
            cancellation.Cancel();
        });
        var watch = Stopwatch.StartNew();
        canceller.Start();
        Assert.ThrowsAny<OperationCanceledException>(
            () => ConversionPump.Run(source, writer, "", SilentObserver.Instance, cancellation.Token, 4));
        canceller.Join();
        Assert.InRange(watch.ElapsedMilliseconds, 150, 5000);

        // And no more was read ahead than there are chunks.
        Assert.InRange(source.Reads, 2, (2 * 4) + 2);
    }

    [Fact]
    public void A_slow_first_piece_does_not_make_memory_grow()
    {
        int first = 1;
        void Hang(string here)
        {
            if (here == "encode" && Interlocked.Exchange(ref first, 0) == 1) Thread.Sleep(300);
        }

        var source = new HoleSource([.. Enumerable.Range(0, 500).Select(i => new StorageExtent(i * (long)Chunk, Chunk, ExtentKind.Data))]);
        var writer = new RecordingWriter { Visit = Hang };
        ConversionPump.Run(source, writer, "", SilentObserver.Instance, CancellationToken.None, 3);
        Assert.InRange(writer.Chunks.Count, 2, (2 * 3) + 2);
        Assert.Equal(500, writer.Pieces.Count);
    }

    private sealed class ProgressObserver : IImagingObserver
    {
        private long _before = -1;

        public ImagingProgress Last { get; private set; }

        public bool IsMonotonic { get; private set; } = true;

        public void OnProgress(ImagingProgress progress)
        {
            lock (this)
            {
                IsMonotonic &= progress.Completed > _before && progress.Completed <= progress.Total && progress.Unit == "bytes";
                (_before, Last) = (progress.Completed, progress);
            }
        }

        public void OnWarning(ImagingWarning warning)
        {
        }

        public void OnVerbose(string message)
        {
        }
    }

    /// <summary>A disk of listed extents whose data is 0xA5; reading a hole is an error.</summary>
    private sealed class HoleSource(params StorageExtent[] extents) : BlockStorage
    {
        private int _reads;

        public Action<string> Visit { get; init; } = _ => { };

        public Action<long> VisitRead { get; init; } = _ => { };

        public bool MayReadHoles { get; init; }

        public int Reads => _reads;

        public override long Length => extents[^1].End;

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            Interlocked.Increment(ref _reads);
            Visit("read");
            VisitRead(offset);
            buffer.Clear();
            foreach (StorageExtent extent in GetExtentsCore(offset, buffer.Length))
            {
                if (extent.Kind == ExtentKind.Data) buffer.Slice((int)(extent.Offset - offset), (int)extent.Length).Fill(0xA5);
                else Assert.True(MayReadHoles, "A hole was read.");
            }
        }

        protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length)
        {
            Visit("extents");
            return extents.Where(e => e.Offset < offset + length && e.End > offset)
                .Select(e =>
                    new StorageExtent(Math.Max(e.Offset, offset), Math.Min(e.End, offset + length) - Math.Max(e.Offset, offset), e.Kind));
        }
    }

    /// <summary>Random extents of every kind; holes read as zeros, but only where the extent is shorter than the writer cares
    /// for.</summary>
    private sealed class PatchworkSource : BlockStorage
    {
        private readonly List<StorageExtent> _extents = [];

        public PatchworkSource(Random random, int pieces)
        {
            long at = 0;
            for (int i = 0; i < pieces; i++)
            {
                long length = random.Next(3) == 0 ? random.Next(1, 40) * 512 : random.Next(1, 400_000 / 512) * 512;
                _extents.Add(new(at, length, (ExtentKind)random.Next(3)));
                at += length;
            }

            Content = new byte[at];
            foreach (StorageExtent e in _extents.Where(e => e.Kind == ExtentKind.Data))
                random.NextBytes(Content.AsSpan((int)e.Offset, (int)e.Length));
        }

        public byte[] Content { get; }

        public override long Length => Content.Length;

        protected override void ReadCore(long offset, Span<byte> buffer) => Content.AsSpan((int)offset, buffer.Length).CopyTo(buffer);

        protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) =>
            _extents.Where(e => e.Offset < offset + length && e.End > offset)
                .Select(e =>
                    new StorageExtent(Math.Max(e.Offset, offset), Math.Min(e.End, offset + length) - Math.Max(e.Offset, offset), e.Kind));
    }

    private sealed class RecordingWriter : ImageWriter
    {
        private readonly MemoryStorage _disk = new();
        private int _encoding;
        private int _appending;

        public Action<string> Visit { get; init; } = _ => { };

        public List<long> Splits { get; init; } = [];

        public int Gap { get; init; } = 512;

        /// <summary>Whether encoding takes differently long, so that the order of finishing is another than that of taking.</summary>
        public bool Scatter { get; init; }

        public List<StorageExtent> Pieces { get; } = [];

        public HashSet<DiskChunk> Chunks { get; } = [];

        public bool IsComplete { get; private set; }

        public int MostAppending { get; private set; }

        public int MostEncoding { get; private set; }

        public override int ChunkSize => Chunk;

        public override IReadOnlyList<long> SplitPoints => Splits;

        public override int ShortestGap => Gap;

        public byte[] Disk(long length)
        {
            if (_disk.Length < length) _disk.Write(length - 1, [0]);
            return _disk.ToArray();
        }

        public override void Encode(DiskChunk chunk)
        {
            lock (Chunks) MostEncoding = Math.Max(MostEncoding, ++_encoding);
            Visit("encode");
            if (Scatter && chunk.Offset / Chunk % 3 == 0) Thread.Sleep(1);
            Assert.Equal(0, chunk.EncodedLength);
            chunk.PlainChecksum = unchecked((uint)chunk.Offset);
            lock (Chunks) _encoding--;
        }

        public override void Append(DiskChunk chunk)
        {
            MostAppending = Math.Max(MostAppending, Interlocked.Increment(ref _appending));
            Visit("append");
            Assert.Equal(unchecked((uint)chunk.Offset), chunk.PlainChecksum);
            if (chunk.Kind == ExtentKind.Data && chunk.Offset < 1 << 30)
                _disk.Write(chunk.Offset, chunk.Plain.AsSpan(0, (int)chunk.Length));
            Chunks.Add(chunk);
            Pieces.Add(new(chunk.Offset, chunk.Length, chunk.Kind));
            Interlocked.Decrement(ref _appending);
        }

        public override void Complete()
        {
            Visit("complete");
            IsComplete = true;
        }
    }
}
