using System.Buffers;
using System.Buffers.Binary;
using CCImage.Checksums;
using CCImage.Diagnostics;

namespace CCImage.Containers.Udif;

/// <summary>
/// Computes every CRC-32 of an image while its file is read once, on all cores: the file is cut into pieces (a compressed run, 4 MiB of a raw
/// one, what lies between runs), each gets the CRC of its stored and of its decoded bytes, and those are combined in the order of the data
/// fork and of the block tables.
/// </summary>
internal sealed class UdifVerification
{
    private const string Activity = "Verifying checksums";
    private const long PieceSize = 4 << 20;
    private const int Step = 256 << 10;

    /// <summary>Runs above are decoded one at a time, whatever the number of cores: memory stays bounded.</summary>
    private const long LargeRun = 16 << 20;

    private readonly UdifStorage _image;
    private readonly List<Piece> _pieces = [];
    private readonly Lock _large = new();
    private long _done;

    private UdifVerification(UdifStorage image) => _image = image;

    /// <summary>Checksums that do not fit: data fork, tables in their order, master checksum.</summary>
    public IReadOnlyList<UdifChecksumMismatch> Mismatches { get; private set; } = [];

    /// <summary>Runs that cannot be decoded, in the order of the file.</summary>
    public IReadOnlyList<ImageException> Faults { get; private set; } = [];

    /// <summary>Checksums that were compared.</summary>
    public int Compared { get; private set; }

    /// <summary>Verifies an image.</summary>
    /// <param name="image">The image.</param>
    /// <param name="observer">Hears of progress, in bytes.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The data fork leaves the file, or the file cannot be read.</exception>
    public static UdifVerification Run(UdifStorage image, IImagingObserver observer, CancellationToken cancellation)
    {
        UdifTrailer trailer = image.Trailer;
        ulong fileLength = (ulong)image.File.Length;
        if (trailer.DataForkOffset > fileLength || trailer.DataForkLength > fileLength - trailer.DataForkOffset)
            throw ImageException.Damaged("The data fork reaches behind the end of the file.", "UDIF trailer");
        var work = new UdifVerification(image);
        work.Plan();
        work.Compute(observer, cancellation);
        work.Judge();
        return work;
    }

    private void Plan()
    {
        foreach (UdifBlockTable table in _image.Tables) // those without a checksum, too: their runs have to be decodable
        {
            foreach (UdifRun run in table.Runs.Where(r => r.IsStored))
            {
                if (run.Type != UdifRunType.Raw)
                {
                    _pieces.Add(new(run, table, run.StoredOffset, run.StoredLength));
                    continue;
                }

                for (long at = 0; at < run.Length; at += PieceSize) _pieces.Add(new(run, table, run.StoredOffset + at, Math.Min(PieceSize, run.Length - at)));
            }
        }

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
            for (; at < to; at += Math.Min(PieceSize, to - at)) _pieces.Add(new(null, null, at, Math.Min(PieceSize, to - at)) { IsOfFork = true });
        }
    }

    private void Compute(IImagingObserver observer, CancellationToken cancellation)
    {
        long total = _pieces.Sum(p => p.Length);
        int next = -1;
        try
        {
            Parallel.For(0, Math.Min(Environment.ProcessorCount, _pieces.Count), new ParallelOptions { CancellationToken = cancellation }, _ =>
            {
                byte[] step = ArrayPool<byte>.Shared.Rent(Step);
                try
                {
                    for (int i = Interlocked.Increment(ref next); i < _pieces.Count; i = Interlocked.Increment(ref next))
                    {
                        cancellation.ThrowIfCancellationRequested();
                        Compute(_pieces[i], step.AsSpan(0, Step));
                        observer.OnProgress(new ImagingProgress(Activity, Interlocked.Add(ref _done, _pieces[i].Length), total, "bytes"));
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

        Faults = [.. _pieces.Where(p => p.Fault is not null).Select(p => p.Fault!)];
    }

    private void Compute(Piece piece, Span<byte> step)
    {
        if (piece.Run is { } run && run.Type != UdifRunType.Raw)
        {
            if (run.Length <= LargeRun && run.StoredLength <= LargeRun)
            {
                Decode(piece, run);
                return;
            }

            lock (_large) Decode(piece, run);
            return;
        }

        uint crc = 0;
        for (long at = 0; at < piece.Length; at += step.Length)
        {
            Span<byte> part = step[..(int)Math.Min(step.Length, piece.Length - at)];
            _image.File.Read(piece.Offset + at, part);
            crc = Crc32.Append(crc, part);
        }

        (piece.Stored, piece.Decoded) = (crc, crc);
    }

    private void Decode(Piece piece, in UdifRun run)
    {
        byte[] stored = ArrayPool<byte>.Shared.Rent((int)run.StoredLength), decoded = ArrayPool<byte>.Shared.Rent((int)run.Length);
        try
        {
            Span<byte> bytes = stored.AsSpan(0, (int)run.StoredLength), disk = decoded.AsSpan(0, (int)run.Length);
            _image.File.Read(run.StoredOffset, bytes);
            if (piece.IsOfFork) piece.Stored = Crc32.Of(bytes);
            UdifStorage.Decode(run, bytes, disk);
            piece.Decoded = Crc32.Of(disk);
        }
        catch (ImageException e) when (e.Id is ImageErrorId.ImageDamaged or ImageErrorId.ChecksumMismatch or ImageErrorId.UnsupportedFormat)
        {
            piece.Fault = e;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(stored);
            ArrayPool<byte>.Shared.Return(decoded);
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

            if (pieces[table].All(p => p.Fault is null)) Compare(table.Name, expected, ChecksumOf(table, pieces[table]));
            BinaryPrimitives.WriteUInt32BigEndian(stored, expected);
            master = Crc32.Append(master, stored);
        }

        if (hasAll && trailer.MasterChecksum.Crc32 is uint expectedMaster) Compare("master checksum", expectedMaster, master);
        Mismatches = mismatches;

        void Compare(string place, uint expected, uint actual)
        {
            Compared++;
            if (expected != actual) mismatches.Add(new(place, expected, actual));
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

            foreach (Piece piece in byRun[run.FirstSector]) crc = Crc32.Combine(crc, piece.Decoded, run.Type == UdifRunType.Raw ? piece.Length : run.Length);
        }

        return crc;
    }

    /// <summary>A range of the file.</summary>
    private sealed class Piece(UdifRun? run, UdifBlockTable? table, long offset, long length)
    {
        public UdifRun? Run => run;

        public UdifBlockTable? Table => table;

        public long Offset => offset;

        public long Length => length;

        /// <summary>Whether its stored bytes are a part of the data fork's checksum.</summary>
        public bool IsOfFork { get; set; }

        public uint Stored { get; set; }

        public uint Decoded { get; set; }

        public ImageException? Fault { get; set; }
    }
}
