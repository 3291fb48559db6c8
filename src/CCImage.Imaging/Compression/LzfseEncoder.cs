using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using CCImage.Binary;

namespace CCImage.Compression;

/// <summary>
/// Encodes LZFSE streams of <c>bvx2</c> blocks and nothing else: 7-Zip reads no stored ones, and a run that does not compress is better
/// stored raw by the image. One instance is a workspace of some 1 MB for one thread at a time.
/// <para>
/// Two halves: the match finder walks the source and leaves triplets and literals; when a block is full (or the source ends) the block
/// encoder turns them into two entropy-coded streams. The blocks are encoded into a workspace that holds the worst case and then copied, so
/// that no inner loop has to watch the destination.
/// </para>
/// </summary>
internal sealed unsafe class LzfseEncoder
{
    private const int MinMatch = 4;

    /// <summary>A match this long is taken without looking whether the next byte starts a better one.</summary>
    private const int GoodMatch = 40;

    /// <summary>The last bytes of the source start no match, so that eight bytes can be read anywhere before them.</summary>
    private const int EndMargin = 16;

    /// <summary>After so many literals without a match (as a power of two), only every second position is looked at, then every third,
    /// …</summary>
    private const int SkipShift = 9;

    private const int LongestSkip = 16;

    private const int MinHashBits = 8;
    private const int MaxHashBits = 14;
    private const uint HashMultiplier = 0x9E37_79B1;
    private const int NoPosition = int.MinValue / 2;

    // Worst cases: a header with all frequencies long, ten bits a literal, 54 bits a triplet; and eight bytes that the last store may write
    // too much.
    private const int MaxHeaderSize = 32 + (((14 * LzfseFormat.FrequencyCount) + 7) / 8);
    private const int MaxBlockSize = MaxHeaderSize + (10 * LzfseFormat.MaxLiterals / 8) + 8 + (54 * LzfseFormat.MaxMatches / 8) + 8 + 64;

    private static readonly int[] LBase = LzfseFormat.BaseValues(LzfseFormat.LExtraBits);
    private static readonly int[] MBase = LzfseFormat.BaseValues(LzfseFormat.MExtraBits);
    private static readonly byte[] LSymbol = MakeSymbols(LBase, LzfseFormat.MaxL);
    private static readonly byte[] MSymbol = MakeSymbols(MBase, LzfseFormat.MaxM);

    // The four latest positions whose first four bytes have the same hash, the latest first, and those bytes.
    private readonly Bucket[] _buckets = GC.AllocateUninitializedArray<Bucket>(1 << MaxHashBits, pinned: true);
    private readonly Triplet[] _triplets = new Triplet[LzfseFormat.MaxMatches];
    private readonly byte[] _literals = new byte[LzfseFormat.MaxLiterals + 64];
    private readonly byte[] _block = new byte[MaxBlockSize];
    private readonly ushort[] _frequencies = new ushort[LzfseFormat.FrequencyCount];
    private readonly Transition[] _transitions = new Transition[LzfseFormat.FrequencyCount];
    private int _hashShift;

    // The block being filled.
    private int _tripletCount;
    private int _literalCount;
    private int _blockStart;
    private int _lastDistance;

    private int _written;

    /// <summary>Encodes a stream.</summary>
    /// <param name="source">The plain bytes.</param>
    /// <param name="destination">Room for the stream.</param>
    /// <returns>Bytes used, or 0 when it does not fit.</returns>
    public int Encode(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        _tripletCount = 0;
        _literalCount = 0;
        _blockStart = 0;
        _lastDistance = 0;
        _written = 0;
        int bits = Math.Clamp(BitOperations.Log2((uint)source.Length | 1), MinHashBits, MaxHashBits);
        _hashShift = 32 - bits;
        _buckets.AsSpan(0, 1 << bits).Fill(new Bucket { Positions = Vector128.Create(NoPosition), Values = Vector128<uint>.Zero });
        fixed (byte* start = source)
        {
            if (!FindMatches(start, source.Length, destination)) return 0;
        }

        if (destination.Length - _written < sizeof(uint)) return 0;
        Layout.Write<UInt32LE>(destination[_written..], LzfseFormat.EndOfStream);
        return _written + sizeof(uint);
    }

    private static byte[] MakeSymbols(int[] baseValues, int max)
    {
        byte[] symbols = new byte[max + 1];
        int symbol = 0;
        for (int value = 0; value <= max; value++)
        {
            if (symbol + 1 < baseValues.Length && value >= baseValues[symbol + 1]) symbol++;
            symbols[value] = (byte)symbol;
        }

        return symbols;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Load4(byte* p) => Unsafe.ReadUnaligned<uint>(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Load8(byte* p) =>
        BitConverter.IsLittleEndian ? Unsafe.ReadUnaligned<ulong>(p) : BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<ulong>(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store8(byte* p, ulong value) =>
        Unsafe.WriteUnaligned(p, BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value));

    /// <summary>What a match saves, in bits, roughly: literals take some six, a triplet its distance and a dozen.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Gain(int length, int distance) => unchecked((length * 6) - BitOperations.Log2((uint)distance));

    /// <summary>
    /// Walks the source. At each position the best of four candidates is compared with that of the next position, and the better one taken
    /// (lazy matching); a match is extended backwards into the literals before it.
    /// </summary>
    /// <returns>Whether everything fitted.</returns>
    private bool FindMatches(byte* source, int length, Span<byte> destination)
    {
        unchecked
        {
            int limit = length - EndMargin;
            int literalStart = 0;
            int at = 0;
            while (at < limit)
            {
                int bestLength = Search(source, length, at, out int from);
                if (bestLength == 0)
                {
                    at += 1 + Math.Min((at - literalStart) >> SkipShift, LongestSkip);
                    if (at - literalStart > LzfseFormat.MaxLiterals / 4)
                    {
                        // Nothing here: hand over literals now and then, so that a block is never asked for more than it holds.
                        int ready = Math.Min(at, length) - literalStart;
                        if (!Push(source, ref literalStart, ready, 0, 0, destination)) return false;
                    }

                    continue;
                }

                while (bestLength < GoodMatch && at + 1 < limit)
                {
                    int nextLength = Search(source, length, at + 1, out int nextFrom);
                    if (nextLength == 0 || Gain(nextLength, at + 1 - nextFrom) <= Gain(bestLength, at - from) + 5) break;
                    at++;
                    bestLength = nextLength;
                    from = nextFrom;
                }

                int searched = at + 1;
                while (at > literalStart && from > 0 && source[at - 1] == source[from - 1])
                {
                    at--;
                    from--;
                    bestLength++;
                }

                int end = at + bestLength;
                if (!Push(source, ref literalStart, at - literalStart, bestLength, at - from, destination)) return false;
                Insert(source, searched, Math.Min(end, limit));
                at = end;
            }

            if (length > literalStart && !Push(source, ref literalStart, length - literalStart, 0, 0, destination)) return false;
            return Flush(literalStart, destination);
        }
    }

    /// <summary>Finds the best earlier match for a position and enters the position into its bucket.</summary>
    /// <returns>Its length, or 0.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int Search(byte* source, int length, int at, out int from)
    {
        unchecked
        {
            uint value = Load4(source + at);
            ref Bucket bucket =
                ref Unsafe.Add(ref System.Runtime.InteropServices.MemoryMarshal.GetArrayDataReference(_buckets),
                    (nint)((value * HashMultiplier) >> _hashShift));
            Vector128<int> positions = bucket.Positions;
            Vector128<uint> values = bucket.Values;
            bucket.Positions = Vector128.Shuffle(positions, Vector128.Create(0, 0, 1, 2)).WithElement(0, at);
            bucket.Values = Vector128.Shuffle(values, Vector128.Create(0u, 0, 1, 2)).WithElement(0, value);

            from = 0;
            uint candidates = Vector128.Equals(values, Vector128.Create(value)).ExtractMostSignificantBits();
            if (candidates == 0) return 0;
            return Best(source, length, at, positions, candidates, out from);
        }
    }

    private static int Best(byte* source, int length, int at, Vector128<int> positions, uint candidates, out int from)
    {
        unchecked
        {
            int best = 0;
            int bestGain = int.MinValue;
            from = 0;
            int most = length - at;
            do
            {
                int candidate = positions.GetElement(BitOperations.TrailingZeroCount(candidates));
                candidates &= candidates - 1;
                int distance = at - candidate;
                if (distance > LzfseFormat.MaxD) break; // and the others are older still
                int matched = MatchLength(source + at, source + candidate, most);
                int gain = Gain(matched, distance);
                if (gain > bestGain)
                {
                    bestGain = gain;
                    best = matched;
                    from = candidate;
                }
            }
            while (candidates != 0);
            return best;
        }
    }

    /// <summary>How many bytes agree; four are known to.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int MatchLength(byte* a, byte* b, int most)
    {
        unchecked
        {
            int length = MinMatch;
            int wide = most - 8;
            while (length <= wide)
            {
                ulong difference = Load8(a + length) ^ Load8(b + length);
                if (difference != 0) return length + (BitOperations.TrailingZeroCount(difference) >> 3);
                length += 8;
            }

            while (length < most && a[length] == b[length]) length++;
            return length;
        }
    }

    /// <summary>Enters positions into their buckets; of long matches only some.</summary>
    private void Insert(byte* source, int first, int end)
    {
        unchecked
        {
            ref Bucket buckets = ref System.Runtime.InteropServices.MemoryMarshal.GetArrayDataReference(_buckets);
            int shift = _hashShift;
            int step = end - first > 256 ? 4 : 1;
            for (int at = first; at < end; at += step)
            {
                uint value = Load4(source + at);
                ref Bucket bucket = ref Unsafe.Add(ref buckets, (nint)((value * HashMultiplier) >> shift));
                bucket.Positions = Vector128.Shuffle(bucket.Positions, Vector128.Create(0, 0, 1, 2)).WithElement(0, at);
                bucket.Values = Vector128.Shuffle(bucket.Values, Vector128.Create(0u, 0, 1, 2)).WithElement(0, value);
            }
        }
    }

    /// <summary>
    /// Adds literals and a match to the block, in as many triplets as it takes; a full block is encoded first. The triplets of one call
    /// need not be in one block.
    /// </summary>
    /// <returns>Whether everything fitted.</returns>
    private bool Push(byte* source, ref int literalStart, int literals, int match, int distance, Span<byte> destination)
    {
        unchecked
        {
            do
            {
                int l = Math.Min(literals, LzfseFormat.MaxL);
                if ((_tripletCount == LzfseFormat.MaxMatches || _literalCount + l > LzfseFormat.MaxLiterals)
                    && !Flush(literalStart, destination))
                    return false;
                literals -= l;

                // The match goes with the last literals. Without one any distance does, and that of the triplet before is the cheapest.
                int m = literals == 0 ? Math.Min(match, LzfseFormat.MaxM) : 0;
                int d = m != 0 ? distance : _lastDistance != 0 ? _lastDistance : 1;
                match -= m;

                // A distance that repeats is written as 0; a block knows nothing of those before.
                _triplets[_tripletCount++] = new Triplet { L = (ushort)l, M = (ushort)m, D = d == _lastDistance ? 0 : d };
                _lastDistance = d;
                new ReadOnlySpan<byte>(source + literalStart, l).CopyTo(_literals.AsSpan(_literalCount));
                _literalCount += l;
                literalStart += l + m;
            }
            while (literals > 0 || match > 0);
            return true;
        }
    }

    /// <summary>Encodes the block that was filled, if anything is in it, and starts the next.</summary>
    /// <param name="blockEnd">The position the block ends at.</param>
    /// <param name="destination">Room for the stream.</param>
    /// <returns>Whether it fitted.</returns>
    private bool Flush(int blockEnd, Span<byte> destination)
    {
        int rawBytes = blockEnd - _blockStart;
        if (rawBytes == 0) return true;
        int size = EncodeBlock(rawBytes);
        _blockStart = blockEnd;
        _tripletCount = 0;
        _literalCount = 0;
        _lastDistance = 0;
        if (size > destination.Length - _written) return false;
        _block.AsSpan(0, size).CopyTo(destination[_written..]);
        _written += size;
        return true;
    }

    /// <summary>Encodes the triplets and literals into the workspace.</summary>
    /// <returns>The size of the block.</returns>
    private int EncodeBlock(int rawBytes)
    {
        unchecked
        {
            // Four decoders take turns: fill up, with a literal that exists.
            while ((_literalCount & 3) != 0)
            {
                _literals[_literalCount] = _literals[_literalCount - 1];
                _literalCount++;
            }

            Span<int> counts = stackalloc int[LzfseFormat.FrequencyCount];
            counts.Clear();
            Span<int> lCounts = counts[..LzfseFormat.LSymbols];
            Span<int> mCounts = counts.Slice(LzfseFormat.LSymbols, LzfseFormat.MSymbols);
            Span<int> dCounts = counts.Slice(LzfseFormat.LSymbols + LzfseFormat.MSymbols, LzfseFormat.DSymbols);
            Span<int> literalCounts = counts[(LzfseFormat.LSymbols + LzfseFormat.MSymbols + LzfseFormat.DSymbols)..];
            foreach (byte literal in _literals.AsSpan(0, _literalCount)) literalCounts[literal]++;
            foreach (ref readonly Triplet triplet in _triplets.AsSpan(0, _tripletCount))
            {
                lCounts[LSymbol[triplet.L]]++;
                mCounts[MSymbol[triplet.M]]++;
                dCounts[DSymbol(triplet.D, out _)]++;
            }

            Span<ushort> frequencies = _frequencies;
            Normalize(lCounts, frequencies[..LzfseFormat.LSymbols], LzfseFormat.LStates);
            Normalize(mCounts, frequencies.Slice(LzfseFormat.LSymbols, LzfseFormat.MSymbols), LzfseFormat.MStates);
            Normalize(dCounts, frequencies.Slice(LzfseFormat.LSymbols + LzfseFormat.MSymbols, LzfseFormat.DSymbols), LzfseFormat.DStates);
            Normalize(literalCounts, frequencies[(LzfseFormat.LSymbols + LzfseFormat.MSymbols + LzfseFormat.DSymbols)..],
                LzfseFormat.LiteralStates);

            int headerSize = WriteFrequencies();
            int literalSize;
            int matchSize;
            LzfseVersion2Header header = default;
            header.Magic = LzfseFormat.Version2Block;
            header.RawBytes = (uint)rawBytes;
            header.HeaderBytes = (uint)headerSize;
            fixed (byte* block = _block)
            {
                literalSize = EncodeLiterals(block + headerSize, out ulong literalStates, out int literalBits);
                matchSize = EncodeTriplets(block + headerSize + literalSize, out uint matchStates, out int matchBits);
                header.Counts =
                    (uint)_literalCount | ((ulong)literalSize << 20) | ((ulong)_tripletCount << 40) | ((ulong)(7 + literalBits) << 60);
                header.LiteralStates = literalStates | ((ulong)matchSize << 40) | ((ulong)(7 + matchBits) << 60);
                header.MatchStates = matchStates;
            }

            Layout.Write(_block, header);
            return headerSize + literalSize + matchSize;
        }
    }

    /// <summary>
    /// Shares out the states in proportion to the counts: every symbol that occurs gets one at least, and all are given away. Without any
    /// symbol the first gets all, because tables must be full.
    /// </summary>
    private static void Normalize(ReadOnlySpan<int> counts, Span<ushort> frequencies, int states)
    {
        long total = 0;
        foreach (int count in counts) total += count;
        frequencies.Clear();
        if (total == 0)
        {
            frequencies[0] = (ushort)states;
            return;
        }

        int left = states;
        for (int i = 0; i < counts.Length; i++)
        {
            if (counts[i] == 0) continue;
            int f = Math.Max(1, (int)((((long)counts[i] * states) + (total >> 1)) / total));
            frequencies[i] = (ushort)f;
            left -= f;
        }

        // What rounding left over or took too much goes where one state matters least: where counts per state are highest, or lowest after
        // the loss.
        while (left != 0)
        {
            int best = -1;
            double bestValue = double.MinValue;
            int step = Math.Sign(left);
            for (int i = 0; i < counts.Length; i++)
            {
                if (counts[i] == 0 || (step < 0 && frequencies[i] == 1)) continue;
                double value = counts[i] * Math.Log2((frequencies[i] + step) / (double)frequencies[i]);
                if (value > bestValue)
                {
                    bestValue = value;
                    best = i;
                }
            }

            frequencies[best] = (ushort)(frequencies[best] + step);
            left -= step;
        }
    }

    /// <summary>Packs the frequencies behind the place of the fixed header; the decoder's counterpart lists the codes.</summary>
    /// <returns>Size of the whole header.</returns>
    private int WriteFrequencies()
    {
        unchecked
        {
            int at = Unsafe.SizeOf<LzfseVersion2Header>();
            uint bits = 0;
            int have = 0;
            foreach (int f in _frequencies)
            {
                (int code, int size) = f switch
                {
                    < 2 => (f << 1, 2),
                    < 4 => (((f - 2) << 2) | 1, 3),
                    < 8 => (((f - 4) << 3) | 3, 5),
                    < 24 => (((f - 8) << 4) | 7, 8),
                    _ => (((f - 24) << 4) | 15, 14),
                };
                bits |= (uint)code << have;
                have += size;
                while (have >= 8)
                {
                    _block[at++] = (byte)bits;
                    bits >>= 8;
                    have -= 8;
                }
            }

            if (have > 0) _block[at++] = (byte)bits;
            return at;
        }
    }

    /// <summary>
    /// Makes the transitions of an alphabet. A coder state s of n is kept as s + n. A symbol of frequency f takes k bits from states with
    /// s + n ≥ f·2^k and one less from others, where f·2^k lies in n..2n; adding k·2^16 - f·2^k makes the upper half the number of bits.
    /// </summary>
    private static void MakeTransitions(ReadOnlySpan<ushort> frequencies, Span<Transition> transitions, int states)
    {
        int first = 0;
        for (int i = 0; i < frequencies.Length; i++)
        {
            int f = frequencies[i];
            if (f == 0) continue;
            int k = LzfseFormat.StateBits(f, states);
            transitions[i] = new Transition { BitsOffset = (k << 16) - (f << k), StateOffset = first - f + states };
            first += f;
        }
    }

    /// <summary>Encodes the literals, the last first, so that the decoder gets the first first.</summary>
    private int EncodeLiterals(byte* target, out ulong states, out int unusedBits)
    {
        const int First = LzfseFormat.LSymbols + LzfseFormat.MSymbols + LzfseFormat.DSymbols;
        MakeTransitions(_frequencies.AsSpan(First), _transitions.AsSpan(First), LzfseFormat.LiteralStates);
        unchecked
        {
            byte* p = target;
            uint s0 = LzfseFormat.LiteralStates, s1 = s0, s2 = s0, s3 = s0;
            ulong bits = 0;
            int have = 0;
            fixed (byte* literals = _literals)
            fixed (Transition* transitions = &_transitions[First])
            {
                for (byte* literal = literals + _literalCount - 4; literal >= literals; literal -= 4)
                {
                    s3 = Step(s3, transitions + literal[3], ref bits, ref have);
                    s2 = Step(s2, transitions + literal[2], ref bits, ref have);
                    s1 = Step(s1, transitions + literal[1], ref bits, ref have);
                    s0 = Step(s0, transitions + literal[0], ref bits, ref have);
                    Store8(p, bits);
                    p += have >> 3;
                    bits >>= have & ~7;
                    have &= 7;
                }
            }

            const uint Mask = LzfseFormat.LiteralStates - 1;
            states = (s0 & Mask) | ((ulong)(s1 & Mask) << 10) | ((ulong)(s2 & Mask) << 20) | ((ulong)(s3 & Mask) << 30);
            return Finish(target, p, bits, have, out unusedBits);
        }
    }

    /// <summary>Encodes the triplets, the last first. Eight zero bytes come before, for decoders that load ahead.</summary>
    private int EncodeTriplets(byte* target, out uint states, out int unusedBits)
    {
        const int FirstM = LzfseFormat.LSymbols;
        const int FirstD = FirstM + LzfseFormat.MSymbols;
        MakeTransitions(_frequencies.AsSpan(0, LzfseFormat.LSymbols), _transitions, LzfseFormat.LStates);
        MakeTransitions(_frequencies.AsSpan(FirstM, LzfseFormat.MSymbols), _transitions.AsSpan(FirstM), LzfseFormat.MStates);
        MakeTransitions(_frequencies.AsSpan(FirstD, LzfseFormat.DSymbols), _transitions.AsSpan(FirstD), LzfseFormat.DStates);
        unchecked
        {
            Store8(target, 0);
            byte* p = target + 8;
            uint ls = LzfseFormat.LStates, ms = LzfseFormat.MStates, ds = LzfseFormat.DStates;
            ulong bits = 0;
            int have = 0;
            ReadOnlySpan<byte> lExtra = LzfseFormat.LExtraBits;
            ReadOnlySpan<byte> mExtra = LzfseFormat.MExtraBits;
            fixed (Transition* transitions = _transitions)
            {
                for (int i = _tripletCount - 1; i >= 0; i--)
                {
                    ref readonly Triplet triplet = ref _triplets[i];

                    // At most 23, 17 and 14 bits, with seven left over.
                    int symbol = DSymbol(triplet.D, out int extra);
                    bits |= (ulong)(uint)((triplet.D + 4) & ((1 << extra) - 1)) << have;
                    have += extra;
                    ds = Step(ds, transitions + FirstD + symbol, ref bits, ref have);

                    symbol = MSymbol[triplet.M];
                    bits |= (ulong)(uint)(triplet.M - MBase[symbol]) << have;
                    have += mExtra[symbol];
                    ms = Step(ms, transitions + FirstM + symbol, ref bits, ref have);

                    symbol = LSymbol[triplet.L];
                    bits |= (ulong)(uint)(triplet.L - LBase[symbol]) << have;
                    have += lExtra[symbol];
                    ls = Step(ls, transitions + symbol, ref bits, ref have);

                    Store8(p, bits);
                    p += have >> 3;
                    bits >>= have & ~7;
                    have &= 7;
                }
            }

            states = (ls & (LzfseFormat.LStates - 1)) | ((ms & (LzfseFormat.MStates - 1)) << 10) | ((ds & (LzfseFormat.DStates - 1)) << 20);
            return Finish(target, p, bits, have, out unusedBits);
        }
    }

    /// <summary>Writes the last bits.</summary>
    private static int Finish(byte* start, byte* p, ulong bits, int have, out int unusedBits)
    {
        if (have > 0) *p++ = (byte)bits;
        unusedBits = have > 0 ? have - 8 : 0;
        return (int)(p - start);
    }

    /// <summary>Encodes one symbol: puts out the low bits of the state and goes to the next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Step(uint state, Transition* transition, ref ulong bits, ref int have)
    {
        unchecked
        {
            int count = (int)(state + (uint)transition->BitsOffset) >> 16;
            bits |= (ulong)(state & ((1u << count) - 1)) << have;
            have += count;
            return (state >> count) + (uint)transition->StateOffset;
        }
    }

    /// <summary>The symbol of a distance: its highest bit and the two below it, counted from 4.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int DSymbol(int distance, out int extraBits)
    {
        unchecked
        {
            uint value = (uint)distance + 4;
            extraBits = BitOperations.Log2(value) - 2;
            return (extraBits << 2) | (int)((value >> extraBits) & 3);
        }
    }

    private struct Bucket
    {
        public Vector128<int> Positions;
        public Vector128<uint> Values;
    }

    private struct Triplet
    {
        public int D;
        public ushort L;
        public ushort M;
    }

    private struct Transition
    {
        public int BitsOffset;
        public int StateOffset;
    }
}
