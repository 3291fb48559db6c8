using System.Runtime.ExceptionServices;
using CCImage.Containers;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage;

/// <summary>
/// Moves a disk from a storage into a container: the one place with parallelism. Every worker takes the next piece of the disk, reads it,
/// has it encoded, and then appends whatever is next in order, its own or another's; there is no thread that only waits for others.
/// Memory is bounded by a fixed number of chunks. What the source says is not stored is never read.
/// </summary>
internal sealed class ConversionPump
{
    /// <summary>Bytes that all chunks together may take, as long as every worker has one and there is one to spare.</summary>
    private const long MemoryBudget = 128L << 20;

    private const int SectorSize = 512;

    private readonly BlockStorage _source;
    private readonly ImageWriter _writer;
    private readonly string _activity;
    private readonly IImagingObserver _observer;
    private readonly CancellationToken _cancellation;
    private readonly long _totalData;
    private readonly DiskRevision? _revision;

    // What was appended where the disk may become different: whoever appends is alone.
    private readonly List<Revisable> _revisable = [];

    // The gate guards everything below it. Whoever takes the next piece in order out of its slot appends it, outside the gate.
    private readonly object _gate = new();
    private readonly IEnumerator<StorageExtent> _pieces;
    private readonly Stack<Job> _free = new();
    private readonly Job?[] _finished;
    private long _taken;
    private long _appended;
    private long _doneData;
    private bool _stopped;
    private ExceptionDispatchInfo? _failure;

    private ConversionPump(
        BlockStorage source, ImageWriter writer, string activity, IImagingObserver observer, int workers, DiskRevision? revision,
        CancellationToken cancellation)
    {
        _revision = revision;
        (_source, _writer, _activity, _observer, _cancellation) = (source, writer, activity, observer, cancellation);
        foreach (StorageExtent region in Regions(source, writer, cancellation))
            if (region.Kind == ExtentKind.Data) _totalData += region.Length;
        _pieces = Pieces(Regions(source, writer, cancellation), writer).GetEnumerator();
        int jobs = (int)Math.Clamp(MemoryBudget / (2L * writer.ChunkSize), workers + 1, (workers * 2) + 2);
        for (int i = 0; i < jobs; i++) _free.Push(new Job());
        _finished = new Job?[jobs];
    }

    /// <summary>Moves the whole disk and completes the container.</summary>
    /// <param name="source">The disk.</param>
    /// <param name="writer">The container. <see cref="ImageWriter.Complete"/> is called when everything went well and nobody
    /// cancelled.</param>
    /// <param name="activity">What is being done, for progress: bytes of data, of all the disk's data.</param>
    /// <param name="observer">Hears of progress.</param>
    /// <param name="cancellation">Ends it: when this returns, no thread touches source or writer any more.</param>
    /// <param name="workers">Number of threads, the caller's own included; null for one per processor.</param>
    /// <param name="revision">What the disk knows only at its end, if there is any; replaced before the container is completed.</param>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    /// <exception cref="ImageException">What source or writer threw first; so is any other exception of theirs.</exception>
    public static void Run(
        BlockStorage source, ImageWriter writer, string activity, IImagingObserver observer, CancellationToken cancellation,
        int? workers = null,
        DiskRevision? revision = null)
    {
        cancellation.ThrowIfCancellationRequested();
        int count = Math.Max(1, workers ?? Environment.ProcessorCount);
        var pump = new ConversionPump(source, writer, activity, observer, count, revision, cancellation);
        pump.Run(count);
        pump.Revise();
        cancellation.ThrowIfCancellationRequested();
        writer.Complete();
    }

    private void Run(int workers)
    {
        Thread[] others = new Thread[workers - 1];
        using (_pieces)
        {
            using (_cancellation.Register(Stop))
            {
                for (int i = 0; i < others.Length; i++)
                {
                    others[i] = new Thread(Work) { IsBackground = true, Name = "CCImage pump" };
                    others[i].Start();
                }

                Work();
                foreach (Thread other in others) other.Join();
            }
        }

        _failure?.Throw();
        _cancellation.ThrowIfCancellationRequested();
    }

    private void Work()
    {
        try
        {
            while (Take() is Job job)
            {
                if (job.DataLength > 0) Read(job.Chunk);
                job.Chunk.EncodedLength = 0;
                _writer.Encode(job.Chunk);
                lock (_gate) _finished[job.Sequence % _finished.Length] = job;
                AppendWhatIsNext();
            }
        }
        catch (Exception e)
        {
            lock (_gate) _failure ??= ExceptionDispatchInfo.Capture(e);
            Stop();
        }
    }

    /// <summary>
    /// The next piece of the disk, with a chunk for it; null when there is none any more. Piece and chunk are taken together: the lowest
    /// piece that is not appended always has a chunk and a thread, so waiting for a chunk always ends.
    /// </summary>
    private Job? Take()
    {
        lock (_gate)
        {
            while (!_stopped && _free.Count == 0) Monitor.Wait(_gate);
            if (_stopped || _cancellation.IsCancellationRequested || !_pieces.MoveNext()) return null;
            StorageExtent piece = _pieces.Current;
            Job job = _free.Pop();
            (job.Chunk.Offset, job.Chunk.Length, job.Chunk.Kind) = (piece.Offset, piece.Length, piece.Kind);
            job.DataLength = piece.Kind == ExtentKind.Data ? piece.Length : 0;
            job.Sequence = _taken++;
            return job;
        }
    }

    private void Read(DiskChunk chunk)
    {
        int length = (int)chunk.Length;
        if (chunk.Plain.Length < length) chunk.Plain = GC.AllocateUninitializedArray<byte>(_writer.ChunkSize);
        Span<byte> plain = chunk.Plain.AsSpan(0, length);
        _source.Read(chunk.Offset, plain);
        if (!plain.ContainsAnyExcept((byte)0)) chunk.Kind = ExtentKind.Zero;
    }

    private void AppendWhatIsNext()
    {
        while (true)
        {
            Job job;
            lock (_gate)
            {
                long slot = _appended % _finished.Length;
                if (_stopped || _finished[slot] is not Job next) return;
                job = next;
                _finished[slot] = null;
            }

            // The slot is empty and still the next one: nobody else appends meanwhile, nor ever again if this throws.
            _writer.Append(job.Chunk);
            if (_revision is not null && job.Chunk.Kind == ExtentKind.Data) Keep(job.Chunk, _revision);
            lock (_gate)
            {
                _doneData += job.DataLength;
                if (job.DataLength > 0) _observer.OnProgress(new ImagingProgress(_activity, _doneData, _totalData, "bytes"));
                _appended++;
                _free.Push(job);
                Monitor.Pulse(_gate);
            }
        }
    }

    // Of a chunk that lies in a revisable range as a whole the disk gives the bytes again. At the ends of such a range there are files
    // beside it, which would be read a second time and may be others by then: there the bytes are kept.
    private void Keep(DiskChunk chunk, DiskRevision revision)
    {
        foreach (StorageExtent range in revision.Ranges)
        {
            if (range.End <= chunk.Offset || range.Offset >= chunk.Offset + chunk.Length) continue;
            bool isInside = range.Offset <= chunk.Offset && range.End >= chunk.Offset + chunk.Length;
            _revisable.Add(new(chunk.Offset, chunk.Length, chunk.PlainChecksum, isInside ? null : chunk.Plain[..(int)chunk.Length]));
            return;
        }
    }

    /// <summary>Replaces what the disk has become different in. Only then the container is completed: whatever fails here leaves no
    /// image.</summary>
    private void Revise()
    {
        if (_revision is null) return;
        IReadOnlyList<StorageExtent> changes = _revision.Settle();
        var chunk = new DiskChunk { Kind = ExtentKind.Data };
        long replaced = 0;
        int next = 0; // both are in the order of the disk
        foreach (Revisable piece in _revisable)
        {
            while (next < changes.Count && changes[next].End <= piece.Offset) next++;
            StorageExtent[] parts = [.. changes.Skip(next).TakeWhile(c => c.Offset < piece.End)];
            if (parts.Length == 0) continue;
            _cancellation.ThrowIfCancellationRequested();
            (chunk.Offset, chunk.Length, chunk.EncodedLength) = (piece.Offset, piece.Length, 0);
            chunk.Plain = piece.Plain ?? new byte[piece.Length];
            if (piece.Plain is null) _source.Read(piece.Offset, chunk.Plain);
            foreach (StorageExtent part in parts)
            {
                long from = Math.Max(part.Offset, piece.Offset), to = Math.Min(part.End, piece.End);
                if (piece.Plain is not null) _source.Read(from, chunk.Plain.AsSpan((int)(from - piece.Offset), (int)(to - from)));
                replaced += to - from;
            }

            _writer.Replace(chunk, piece.Checksum);
        }

        if (replaced != changes.Sum(c => c.Length))
            throw new InvalidOperationException("What the disk changed is not what was copied as data.");
    }

    private void Stop()
    {
        lock (_gate)
        {
            _stopped = true;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>
    /// The extents as the writer wants them: adjacent gaps of one kind in one, on whole sectors, and those that are too short for it as
    /// data, unless they are all there is between two split points.
    /// </summary>
    private static IEnumerable<StorageExtent> Regions(BlockStorage source, ImageWriter writer, CancellationToken cancellation)
    {
        StorageExtent gap = default;
        foreach (StorageExtent extent in ExtentWalk.Of(source, cancellation))
        {
            if (gap.Length > 0 && extent.Kind == gap.Kind)
            {
                gap = gap with { Length = gap.Length + extent.Length };
                continue;
            }

            foreach (StorageExtent region in SettleGap(gap, source.Length, writer)) yield return region;
            gap = default;
            if (extent.Kind == ExtentKind.Data) yield return extent;
            else gap = extent;
        }

        foreach (StorageExtent region in SettleGap(gap, source.Length, writer)) yield return region;
    }

    private static IEnumerable<StorageExtent> SettleGap(StorageExtent gap, long diskLength, ImageWriter writer)
    {
        if (gap.Length == 0) yield break;
        long start = gap.Offset + ((SectorSize - (gap.Offset % SectorSize)) % SectorSize);
        long end = gap.End == diskLength ? gap.End : gap.End - (gap.End % SectorSize);
        if (start >= end)
        {
            yield return gap with { Kind = ExtentKind.Data };
            yield break;
        }

        if (start > gap.Offset) yield return new(gap.Offset, start - gap.Offset, ExtentKind.Data);
        if (end - start >= writer.ShortestGap)
        {
            yield return new(start, end - start, gap.Kind);
        }
        else
        {
            for (long at = start; at < end;)
            {
                (long from, long to) = Between(writer.SplitPoints, at, diskLength);
                long next = Math.Min(to, end);
                yield return new(at, next - at, at == from && next == to ? gap.Kind : ExtentKind.Data);
                at = next;
            }
        }

        if (gap.End > end) yield return new(end, gap.End - end, ExtentKind.Data);
    }

    /// <summary>Cuts the regions at the split points, and data also at multiples of the chunk size from there.</summary>
    private static IEnumerable<StorageExtent> Pieces(IEnumerable<StorageExtent> regions, ImageWriter writer)
    {
        IReadOnlyList<long> splits = writer.SplitPoints;
        long start = 0, end = 0; // data that is not handed out yet
        foreach (StorageExtent region in regions)
        {
            if (region.Kind == ExtentKind.Data)
            {
                if (start == end) start = region.Offset;
                end = region.End;
                while (start < end)
                {
                    (long from, long to) = Between(splits, start, long.MaxValue);
                    long chunkStart = start - ((start - from) % writer.ChunkSize);
                    long cut = to - chunkStart > writer.ChunkSize ? chunkStart + writer.ChunkSize : to;
                    if (cut > end) break;
                    yield return new(start, cut - start, ExtentKind.Data);
                    start = cut;
                }

                continue;
            }

            if (start < end) yield return new(start, end - start, ExtentKind.Data);
            start = end = region.End;
            for (long at = region.Offset; at < region.End;)
            {
                long next = Math.Min(Between(splits, at, long.MaxValue).To, region.End);
                yield return new(at, next - at, region.Kind);
                at = next;
            }
        }

        if (start < end) yield return new(start, end - start, ExtentKind.Data);
    }

    /// <summary>The split points around an offset: the last that is not behind it (or 0), and the next (or
    /// <paramref name="last"/>).</summary>
    private static (long From, long To) Between(IReadOnlyList<long> splits, long offset, long last)
    {
        int low = 0, high = splits.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (splits[middle] <= offset) low = middle + 1;
            else high = middle;
        }

        return (low == 0 ? 0 : splits[low - 1], low == splits.Count ? last : splits[low]);
    }

    /// <summary>A chunk that was appended and may have to be replaced.</summary>
    private sealed record Revisable(long Offset, long Length, uint Checksum, byte[]? Plain)
    {
        public long End => Offset + Length;
    }

    /// <summary>A chunk and its place in the order.</summary>
    private sealed class Job
    {
        public DiskChunk Chunk { get; } = new();

        public long Sequence { get; set; }

        /// <summary>Bytes that were to be read, whatever they turned out to be.</summary>
        public long DataLength { get; set; }
    }
}
