using System.Buffers;
using System.Buffers.Binary;
using CCImage.Checksums;
using CCImage.Diagnostics;

namespace CCImage.Containers.Udif;

/// <summary>
/// Computes every CRC-32 of an image while its file is read once, on all cores: the file is cut into pieces (a compressed run, 4 MiB of a
/// raw one, what lies between runs), each gets the CRC of its stored and of its decoded bytes, and those are combined in the order of the
/// data fork and of the block tables.
/// <para>
/// As <see cref="UdifStorage.Watcher"/> it takes those CRCs from what others read and decode anyway; <see cref="Complete"/> reads what is
/// left. So a job that reads the disk compares all checksums in the same pass.
/// </para>
/// </summary>
internal sealed class UdifVerification
{
    private const string Activity = "Verifying checksums";
    private const long PieceSize = 4 << 20;
    private const int Step = 256 << 10;

    /// <summary>Runs above are decoded one at a time, whatever the number of cores: memory stays bounded.</summary>
    private const long LargeRun = 16 << 20;

    private readonly UdifStorage _image;
    /// <summary>Shorter reads of raw runs are not kept: the metadata of a file system would become thousands of ranges.</summary>
    private const int ShortestRange = 4096;

    private readonly List<Piece> _pieces = [];
    private readonly Dictionary<long, Piece> _byDiskOffset = [];
    private readonly Dictionary<(UdifRunType Type, long Offset, long Length, long Decoded), Piece> _firsts = [];
    private byte[] _largeStored = [], _largeDecoded = [];
    private CancellationToken _cancellation;
    private readonly Lock _large = new();
    private long _done;

    private UdifVerification(UdifStorage image) => _image = image;

    /// <summary>Checksums that do not fit: data fork, tables in their order, master checksum.</summary>
    public IReadOnlyList<UdifChecksumMismatch> Mismatches { get; private set; } = [];

    /// <summary>Runs that cannot be decoded, in the order of the file.</summary>
    public IReadOnlyList<ImageException> Faults { get; private set; } = [];

    /// <summary>The same runs.</summary>
    public IReadOnlyList<UdifRun> FaultyRuns { get; private set; } = [];

    /// <summary>Stored bytes that nobody read yet.</summary>
    public long RemainingBytes => _pieces.Where(p => p.First is null && !p.IsKnown)
        .Sum(p => p.Run is { Type: not UdifRunType.Raw } ? p.Length : p.Unread().Sum(u => u.To - u.From));

    /// <summary>Checksums that were compared.</summary>
    public int Compared { get; private set; }

    /// <summary>Verifies an image.</summary>
    /// <param name="image">The image.</param>
    /// <param name="observer">Hears of progress, in bytes.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The data fork leaves the file, or the file cannot be read.</exception>
    public static UdifVerification Run(UdifStorage image, IImagingObserver observer, CancellationToken cancellation)
    {
        UdifVerification work = Begin(image);
        work.Complete(observer, cancellation);
        return work;
    }

    /// <summary>Plans a verification, and reads nothing yet.</summary>
    /// <param name="image">The image.</param>
    /// <exception cref="ImageException">The data fork leaves the file.</exception>
    public static UdifVerification Begin(UdifStorage image)
    {
        UdifTrailer trailer = image.Trailer;
        ulong fileLength = (ulong)image.File.Length;
        if (trailer.DataForkOffset > fileLength || trailer.DataForkLength > fileLength - trailer.DataForkOffset)
            throw ImageException.Damaged("The data fork reaches behind the end of the file.", "UDIF trailer");
        var work = new UdifVerification(image);
        work.Plan();
        return work;
    }

    /// <summary>Reads what nobody has read yet, and compares.</summary>
    /// <param name="observer">Hears of progress, in bytes.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The file cannot be read.</exception>
    public void Complete(IImagingObserver observer, CancellationToken cancellation)
    {
        Compute(observer, cancellation);
        Judge();
    }

    /// <summary>Takes what was read of a raw run. On any thread.</summary>
    /// <param name="run">The run.</param>
    /// <param name="offset">Where in the run, in bytes.</param>
    /// <param name="bytes">What was read.</param>
    public void OnRead(in UdifRun run, long offset, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            long within = offset % PieceSize;
            ReadOnlySpan<byte> part = bytes[..(int)Math.Min(bytes.Length, PieceSize - within)];
            if (_byDiskOffset.TryGetValue((run.FirstSector * UdifConstants.SectorSize) + offset - within, out Piece? piece)
                && part.Length >= Math.Min(ShortestRange, piece.Length))
                piece.Add(within, part);
            bytes = bytes[part.Length..];
            offset += part.Length;
        }
    }

    /// <summary>Takes what a compressed run was decoded to. On any thread.</summary>
    /// <param name="run">The run.</param>
    /// <param name="stored">Its bytes in the file.</param>
    /// <param name="decoded">Its bytes of the disk.</param>
    public void OnDecoded(in UdifRun run, ReadOnlySpan<byte> stored, ReadOnlySpan<byte> decoded)
    {
        if (!_byDiskOffset.TryGetValue(run.FirstSector * UdifConstants.SectorSize, out Piece? piece) || piece.IsKnown) return;
        (piece.First ?? piece).Set(Crc32.Of(stored), Crc32.Of(decoded));
    }

    private void Plan()
    {
        long budget = _image.File.Length;
        foreach (UdifBlockTable table in _image.Tables) // those without a checksum, too: their runs have to be decodable
        {
            foreach (UdifRun run in table.Runs.Where(r => r.IsStored))
            {
                // Runs of the same stored bytes are read once; what else overlaps cannot be much in an image that anybody made.
                long step = run.Type == UdifRunType.Raw ? PieceSize : run.StoredLength, length = run.Type == UdifRunType.Raw ? run.Length
                    : run.StoredLength;
                for (long at = 0; at < length; at += step)
                {
                    var piece = new Piece(run, table, run.StoredOffset + at, Math.Min(step, length - at));
                    if (!_firsts.TryAdd(piece.Key, piece)) piece.First = _firsts[piece.Key];
                    else if ((budget -= piece.Length) < -_image.File.Length)
                        throw ImageException.Damaged(
                            "The runs of the image lie over each other many times in the file: their checksums are not compared.",
                            "block tables");
                    _pieces.Add(piece);
                }
            }
        }

        foreach (Piece piece in _pieces) _byDiskOffset[piece.DiskOffset] = piece;
        if (_image.Trailer.DataForkChecksum.Crc32 is not null) AddWhatIsBetween();
        _pieces.Sort((a, b) => a.Offset.CompareTo(b.Offset));
    }

    // What of the data fork no run covers alone is read as it is: gaps, and the rest of runs that overlap others.
    private void AddWhatIsBetween()
    {
        long at = (long)(ulong)_image.Trailer.DataForkOffset, end = at + (long)(ulong)_image.Trailer.DataForkLength;
        foreach (Piece piece in _pieces.OrderBy(p => p.Offset).ToArray())
        {
            if (piece.Offset < at || piece.Offset + piece.Length > end) continue;
            Fill(piece.Offset);
            piece.IsOfFork = true;
            at = piece.Offset + piece.Length;
        }

        Fill(end);

        void Fill(long to)
        {
            for (; at < to; at += Math.Min(PieceSize, to - at))
                _pieces.Add(new(null, null, at, Math.Min(PieceSize, to - at)) { IsOfFork = true });
        }
    }

    private void Compute(IImagingObserver observer, CancellationToken cancellation)
    {
        _cancellation = cancellation;
        Piece[] unread = [.. _pieces.Where(p => p.First is null && !p.IsKnown)];
        long total = unread.Sum(p => p.Length);
        int next = -1;
        try
        {
            Parallel.For(
                0, Math.Min(Environment.ProcessorCount, unread.Length), new ParallelOptions { CancellationToken = cancellation }, _ =>
            {
                byte[] step = ArrayPool<byte>.Shared.Rent(Step);
                try
                {
                    for (int i = Interlocked.Increment(ref next); i < unread.Length; i = Interlocked.Increment(ref next))
                    {
                        cancellation.ThrowIfCancellationRequested();
                        Compute(unread[i], step.AsSpan(0, Step));
                        observer.OnProgress(new ImagingProgress(Activity, Interlocked.Add(ref _done, unread[i].Length), total, "bytes"));
                    }
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(step);
                }
            });
        }
        catch (AggregateException e) when (e.InnerExceptions.All(i => i is ImageException or OperationCanceledException))
        {
            cancellation.ThrowIfCancellationRequested();
            ImageException first = e.InnerExceptions.OfType<ImageException>().First();
            throw new ImageException(first.Id, first.Problem, first.Path, first.Place, first.Remedy, first);
        }

        Piece[] faulty = [.. _pieces.Where(p => p.Fault is not null)];
        (Faults, FaultyRuns) = ([.. faulty.Select(p => p.Fault!)], [.. faulty.Select(p => p.Run!.Value)]);
    }

    private void Compute(Piece piece, Span<byte> step)
    {
        if (piece.Run is { } run && run.Type != UdifRunType.Raw)
        {
            if (run.Length <= LargeRun && run.StoredLength <= LargeRun)
            {
                byte[] rented = ArrayPool<byte>.Shared.Rent((int)run.StoredLength), decoded = ArrayPool<byte>.Shared.Rent((int)run.Length);
                try
                {
                    Decode(piece, run, rented, decoded);
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(rented);
                    ArrayPool<byte>.Shared.Return(decoded);
                }

                return;
            }

            lock (_large)
            {
                if (_largeStored.Length < run.StoredLength) _largeStored = GC.AllocateUninitializedArray<byte>((int)run.StoredLength);
                if (_largeDecoded.Length < run.Length) _largeDecoded = GC.AllocateUninitializedArray<byte>((int)run.Length);
                Decode(piece, run, _largeStored, _largeDecoded);
            }

            return;
        }

        foreach ((long from, long to) in piece.Unread())
        {
            for (long at = from; at < to; at += step.Length)
            {
                Span<byte> part = step[..(int)Math.Min(step.Length, to - at)];
                _cancellation.ThrowIfCancellationRequested();
                _image.File.Read(piece.Offset + at, part);
                piece.Add(at, part);
            }
        }
    }

    private uint ChecksumOf(ReadOnlySpan<byte> bytes)
    {
        uint crc = 0;
        for (; !bytes.IsEmpty; bytes = bytes[Math.Min(Step, bytes.Length)..])
        {
            _cancellation.ThrowIfCancellationRequested();
            crc = Crc32.Append(crc, bytes[..Math.Min(Step, bytes.Length)]);
        }

        return crc;
    }

    private void Decode(Piece piece, in UdifRun run, byte[] stored, byte[] decoded)
    {
        try
        {
            Span<byte> bytes = stored.AsSpan(0, (int)run.StoredLength), disk = decoded.AsSpan(0, (int)run.Length);
            _image.File.Read(run.StoredOffset, bytes);
            uint crc = ChecksumOf(bytes);
            piece.Set(crc, 0); // also of what cannot be decoded
            UdifStorage.Decode(run, bytes, disk, _cancellation);
            piece.Set(crc, ChecksumOf(disk));
        }
        catch (ImageException e) when (e.Id is ImageErrorId.ImageDamaged or ImageErrorId.ChecksumMismatch or ImageErrorId.UnsupportedFormat)
        {
            piece.Fault = e;
        }
    }

    private void Judge()
    {
        var mismatches = new List<UdifChecksumMismatch>();
        UdifTrailer trailer = _image.Trailer;
        if (trailer.DataForkChecksum.Crc32 is uint fork)
        {
            uint crc = 0;
            foreach (Piece piece in _pieces.Where(p => p.IsOfFork)) crc = Crc32.Combine(crc, piece.Stored, piece.Length);
            Compare("data fork", fork, crc);
        }

        uint master = 0;
        bool hasAll = true;
        Span<byte> stored = stackalloc byte[4];
        ILookup<UdifBlockTable?, Piece> pieces = _pieces.ToLookup(p => p.Table);
        foreach (UdifBlockTable table in _image.Tables)
        {
            if (table.Header.Checksum.Crc32 is not uint expected)
            {
                hasAll = false;
                continue;
            }

            if (pieces[table].All(p => p.Fault is null)) Compare(table.Name, expected, ChecksumOf(table, pieces[table]), table);
            BinaryPrimitives.WriteUInt32BigEndian(stored, expected);
            master = Crc32.Append(master, stored);
        }

        if (hasAll && trailer.MasterChecksum.Crc32 is uint expectedMaster) Compare("master checksum", expectedMaster, master);
        Mismatches = mismatches;

        void Compare(string place, uint expected, uint actual, UdifBlockTable? table = null)
        {
            Compared++;
            if (expected != actual) mismatches.Add(new(place, expected, actual, table));
        }
    }

    // Zero runs count, ignored ones do not; what is stored comes in the order of the runs.
    private static uint ChecksumOf(UdifBlockTable table, IEnumerable<Piece> pieces)
    {
        ILookup<long, Piece> byRun = pieces.ToLookup(p => p.Run!.Value.FirstSector);
        uint crc = 0;
        foreach (UdifRun run in table.Runs.Where(r => r.Type != UdifRunType.Ignore))
        {
            if (run.Type == UdifRunType.Zero)
            {
                crc = Crc32.Combine(crc, Crc32.OfZeros(run.Length), run.Length);
                continue;
            }

            foreach (Piece piece in byRun[run.FirstSector])
                crc = Crc32.Combine(crc, piece.Decoded, run.Type == UdifRunType.Raw ? piece.Length : run.Length);
        }

        return crc;
    }

    /// <summary>A range of the file.</summary>
    private sealed class Piece(UdifRun? run, UdifBlockTable? table, long offset, long length)
    {
        /// <summary>The ranges of a raw piece whose CRC is known: ascending, neither overlapping nor adjacent. Locked.</summary>
        private readonly List<(long Start, long End, uint Crc)> _known = [];
        private volatile bool _isKnown;
        private uint _stored, _decoded;
        private ImageException? _fault;

        public UdifRun? Run => run;

        public UdifBlockTable? Table => table;

        public long Offset => offset;

        public long Length => length;

        /// <summary>Where the piece of a run begins on the disk.</summary>
        public long DiskOffset => (Run!.Value.FirstSector * UdifConstants.SectorSize) + Offset - Run.Value.StoredOffset;

        /// <summary>Whether its stored bytes are a part of the data fork's checksum.</summary>
        public bool IsOfFork { get; set; }

        /// <summary>What is stored and how: pieces that agree in it have the same CRCs.</summary>
        public (UdifRunType, long, long, long) Key =>
            (Run!.Value.Type, Offset, Length, Run.Value.Type == UdifRunType.Raw ? Length : Run.Value.Length);

        /// <summary>The piece of the same stored bytes that is read for this one, too; null for none.</summary>
        public Piece? First { get; set; }

        /// <summary>Whether both CRCs are known.</summary>
        public bool IsKnown => First?.IsKnown ?? _isKnown;

        public uint Stored => First?.Stored ?? _stored;

        public uint Decoded => First?.Decoded ?? _decoded;

        public ImageException? Fault
        {
            get => First?.Fault ?? _fault;
            set => _fault = value;
        }

        /// <summary>Notes both CRCs.</summary>
        public void Set(uint stored, uint decoded)
        {
            lock (_known) (_stored, _decoded, _isKnown) = (stored, decoded, true);
        }

        /// <summary>Takes bytes of a piece that is stored as it is. What overlaps bytes that are known is passed over.</summary>
        public void Add(long start, ReadOnlySpan<byte> bytes)
        {
            if (First is not null)
            {
                First.Add(start, bytes);
                return;
            }

            if (IsKnown) return;
            long end = start + bytes.Length;
            lock (_known)
            {
                int at = _known.FindIndex(r => r.Start >= start);
                if (at < 0) at = _known.Count;
                if ((at > 0 && _known[at - 1].End > start) || (at < _known.Count && _known[at].Start < end)) return;
                _known.Insert(at, (start, end, Crc32.Of(bytes)));
                Join(at);
                Join(at - 1);
                if (_known is [(0, var last, var crc)] && last == length) (_stored, _decoded, _isKnown) = (crc, crc, true);
            }
        }

        /// <summary>The ranges that are not known.</summary>
        public List<(long From, long To)> Unread()
        {
            var unread = new List<(long, long)>();
            lock (_known)
            {
                long at = 0;
                foreach ((long start, long end, _) in _known)
                {
                    if (start > at) unread.Add((at, start));
                    at = end;
                }

                if (at < length) unread.Add((at, length));
            }

            return unread;
        }

        private void Join(int at)
        {
            if (at < 0 || at + 1 >= _known.Count || _known[at].End != _known[at + 1].Start) return;
            ((long start, _, uint first), (long middle, long end, uint second)) = (_known[at], _known[at + 1]);
            _known[at] = (start, end, Crc32.Combine(first, second, end - middle));
            _known.RemoveAt(at + 1);
        }
    }
}
