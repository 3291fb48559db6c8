using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace CCImage.Compression;

/// <summary>
/// Decodes LZMA2, the chunked form of LZMA inside .xz. The destination itself is the dictionary: whatever size the stream asks for, nothing
/// but a table of 28 KB is allocated. One instance serves one thread at a time.
/// <para>
/// The inner loop uses pointers. What keeps them inside their buffers: every index of a probability is built from a bounded state, position
/// mask or bit count; before each symbol (which takes fewer than 64 bytes) the input has 64 bytes left or is replaced by a copy of its
/// rest, followed by zeros; distances are compared with what was written, lengths with what is left of the chunk.
/// </para>
/// </summary>
internal sealed unsafe class Lzma2Decoder
{
    private const int States = 12;
    private const int FirstStateAfterMatch = 7;
    private const int MaxPositionStates = 16;
    private const int MinMatch = 2;

    /// <summary>No symbol takes as many bytes: it has at most 49 bits, and each takes at most one byte.</summary>
    private const int SymbolBytes = 64;

    // Indexes into the probabilities.
    private const int IsMatch = 0;
    private const int IsRep = IsMatch + (States * MaxPositionStates);
    private const int IsRep0 = IsRep + States;
    private const int IsRep1 = IsRep0 + States;
    private const int IsRep2 = IsRep1 + States;
    private const int IsRep0Long = IsRep2 + States;
    private const int DistanceSlot = IsRep0Long + (States * MaxPositionStates);
    private const int DistanceSpecial = DistanceSlot + (4 * 64);
    private const int DistanceAlign = DistanceSpecial + 128;
    private const int MatchLength = DistanceAlign + 16;
    private const int RepLength = MatchLength + LengthSize;
    private const int Literal = RepLength + LengthSize;
    private const int LiteralSize = 0x300;

    // Inside a length decoder: two choices, short and middle lengths by position state, long ones.
    private const int LengthLow = 2;
    private const int LengthMiddle = LengthLow + (MaxPositionStates << 3);
    private const int LengthHigh = LengthMiddle + (MaxPositionStates << 3);
    private const int LengthSize = LengthHigh + 256;

    private const ushort EvenProbability = 1024;

    private readonly ushort[] _probabilities = new ushort[Literal + (LiteralSize << 4)];
    private int _lc;
    private uint _literalPositionMask;
    private uint _positionMask;
    private uint _state;
    private uint _rep0;
    private uint _rep1;
    private uint _rep2;
    private uint _rep3;

    /// <summary>Decodes chunks up to and with the end mark.</summary>
    /// <param name="source">Everything from the first chunk on, untrusted.</param>
    /// <param name="destination">Room for the result.</param>
    /// <param name="dictionarySize">How far back matches may reach, in bytes.</param>
    /// <returns>Bytes read and bytes written.</returns>
    /// <exception cref="ImageException">Damaged.</exception>
    public (int Read, int Written) Decode(ReadOnlySpan<byte> source, Span<byte> destination, uint dictionarySize)
    {
        int read = 0;
        int written = 0;
        int dictionaryStart = 0;
        bool needsDictionary = true;
        bool needsProperties = true;
        while (true)
        {
            int at = read;
            if (read >= source.Length) throw CutShort(at);
            int control = source[read++];
            if (control == 0) return (read, written);
            if (control is 1 or >= 0xE0)
            {
                needsDictionary = false;
                needsProperties = true;
                dictionaryStart = written;
            }
            else if (needsDictionary)
            {
                throw Damaged("starts without resetting its dictionary", at);
            }

            if (control < 0x80)
            {
                if (control > 2) throw Damaged($"has the undefined control byte 0x{control:X2}", at);
                if (source.Length - read < 2) throw CutShort(at);
                int stored = BinaryPrimitives.ReadUInt16BigEndian(source[read..]) + 1;
                read += 2;
                if (stored > source.Length - read) throw CutShort(at);
                if (stored > destination.Length - written) throw TooLong(at);
                source.Slice(read, stored).CopyTo(destination[written..]);
                read += stored;
                written += stored;
                continue;
            }

            if (source.Length - read < 4) throw CutShort(at);
            int plainSize = (((control & 0x1F) << 16) | BinaryPrimitives.ReadUInt16BigEndian(source[read..])) + 1;
            int codedSize = BinaryPrimitives.ReadUInt16BigEndian(source[(read + 2)..]) + 1;
            read += 4;
            if (control >= 0xC0)
            {
                if (read >= source.Length) throw CutShort(at);
                SetProperties(source[read++], at);
                needsProperties = false;
            }
            else if (needsProperties)
            {
                throw Damaged("has a chunk without properties", at);
            }

            if (control >= 0xA0) ResetState();
            if (codedSize > source.Length - read) throw CutShort(at);
            if (plainSize > destination.Length - written) throw TooLong(at);
            bool sound;
            fixed (byte* input = source.Slice(read, codedSize))
            fixed (byte* output = destination)
            fixed (ushort* probabilities = _probabilities)
            {
                byte* target = output + written;
                sound = DecodeChunk(
                    input, input + codedSize, output + dictionaryStart, target, target + plainSize, dictionarySize, probabilities);
            }

            if (!sound) throw Damaged("has a damaged chunk", at);
            read += codedSize;
            written += plainSize;
        }
    }

    private static ImageException Damaged(string what, int at) =>
        ImageException.Damaged($"An LZMA2 stream {what}.", $"byte {at} of the LZMA2 stream");

    private static ImageException CutShort(int at) => Damaged("is cut short", at);

    private static ImageException TooLong(int at) => Damaged("holds more bytes than it should", at);

    private void SetProperties(int properties, int at)
    {
        // (pb * 5 + lp) * 9 + lc
        int lc = properties % 9;
        int lp = properties / 9 % 5;
        int pb = properties / 45;
        if (pb > 4 || lc + lp > 4) throw Damaged($"has impossible properties (0x{properties:X2})", at);
        _lc = lc;
        _literalPositionMask = (1u << lp) - 1;
        _positionMask = (1u << pb) - 1;
    }

    private void ResetState()
    {
        Array.Fill(_probabilities, EvenProbability);
        _state = 0;
        _rep0 = _rep1 = _rep2 = _rep3 = 0;
    }

    /// <summary>Decodes one LZMA chunk. Distances are kept less one, as the format does.</summary>
    /// <returns>Whether it was sound: used up exactly, with the range coder at its end.</returns>
    private bool DecodeChunk(
        byte* p, byte* end, byte* dictionary, byte* target, byte* targetEnd, uint dictionarySize, ushort* probabilities)
    {
        unchecked
        {
            if (end - p < 5 || *p != 0) return false;
            uint range = uint.MaxValue;
            uint code = BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<uint>(p + 1));
            if (!BitConverter.IsLittleEndian) code = BinaryPrimitives.ReverseEndianness(code);
            p += 5;
            byte* tail = stackalloc byte[2 * SymbolBytes];
            bool inTail = false;

            uint state = _state;
            uint rep0 = _rep0, rep1 = _rep1, rep2 = _rep2, rep3 = _rep3;
            int lc = _lc;
            uint literalPositionMask = _literalPositionMask, positionMask = _positionMask;

            while (target < targetEnd)
            {
                if (end - p < SymbolBytes)
                {
                    if (p > end) return false;
                    if (!inTail)
                    {
                        inTail = true;
                        int rest = (int)(end - p);
                        new Span<byte>(tail, 2 * SymbolBytes).Clear();
                        new ReadOnlySpan<byte>(p, rest).CopyTo(new Span<byte>(tail, rest));
                        p = tail;
                        end = tail + rest;
                    }
                }

                uint position = (uint)(target - dictionary);
                uint positionState = position & positionMask;
                if (Bit(probabilities + IsMatch + (state << 4) + positionState, ref range, ref code, ref p) == 0)
                {
                    uint before = position == 0 ? 0u : target[-1];
                    ushort* literal = probabilities + Literal
                        + (LiteralSize * (((position & literalPositionMask) << lc) + (before >> (8 - lc))));
                    uint symbol = 1;
                    if (state < FirstStateAfterMatch)
                    {
                        do symbol = (symbol << 1) | Bit(literal + symbol, ref range, ref code, ref p);
                        while (symbol < 0x100);
                    }
                    else
                    {
                        uint match = target[-(nint)rep0 - 1];
                        uint offset = 0x100;
                        do
                        {
                            match <<= 1;
                            uint matchBit = match & offset;
                            uint bit = Bit(literal + offset + matchBit + symbol, ref range, ref code, ref p);
                            symbol = (symbol << 1) | bit;
                            offset &= bit == 0 ? ~matchBit : matchBit;
                        }
                        while (symbol < 0x100);
                    }

                    *target++ = (byte)symbol;
                    state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
                    continue;
                }

                uint length;
                if (Bit(probabilities + IsRep + state, ref range, ref code, ref p) == 0)
                {
                    rep3 = rep2;
                    rep2 = rep1;
                    rep1 = rep0;
                    length = Length(probabilities + MatchLength, positionState, ref range, ref code, ref p);
                    state = state < FirstStateAfterMatch ? 7u : 10u;
                    uint slot = 1;
                    ushort* slots = probabilities + DistanceSlot + ((length < 4 ? length : 3) << 6);
                    do slot = (slot << 1) | Bit(slots + slot, ref range, ref code, ref p);
                    while (slot < 64);
                    slot -= 64;
                    rep0 = slot;
                    if (slot >= 4)
                    {
                        int bits = (int)(slot >> 1) - 1;
                        rep0 = (2 | (slot & 1)) << bits;
                        ushort* tree;
                        if (slot < 14)
                        {
                            tree = probabilities + DistanceSpecial + rep0 - slot;
                        }
                        else
                        {
                            uint direct = 0;
                            for (int i = bits - 4; i > 0; i--)
                            {
                                Normalize(ref range, ref code, ref p);
                                range >>= 1;
                                uint borrow = (code - range) >> 31;
                                code -= range & (borrow - 1);
                                direct = (direct << 1) | (1 - borrow);
                            }

                            rep0 += direct << 4;
                            tree = probabilities + DistanceAlign;
                            bits = 4;
                        }

                        uint node = 1;
                        for (int i = 0; i < bits; i++)
                        {
                            uint bit = Bit(tree + node, ref range, ref code, ref p);
                            node = (node << 1) | bit;
                            rep0 += bit << i;
                        }
                    }
                }
                else
                {
                    if (Bit(probabilities + IsRep0 + state, ref range, ref code, ref p) == 0)
                    {
                        if (Bit(probabilities + IsRep0Long + (state << 4) + positionState, ref range, ref code, ref p) == 0)
                        {
                            if (rep0 >= position || rep0 >= dictionarySize) return false;
                            *target = target[-(nint)rep0 - 1];
                            target++;
                            state = state < FirstStateAfterMatch ? 9u : 11u;
                            continue;
                        }
                    }
                    else
                    {
                        uint distance;
                        if (Bit(probabilities + IsRep1 + state, ref range, ref code, ref p) == 0)
                        {
                            distance = rep1;
                        }
                        else
                        {
                            if (Bit(probabilities + IsRep2 + state, ref range, ref code, ref p) == 0)
                            {
                                distance = rep2;
                            }
                            else
                            {
                                distance = rep3;
                                rep3 = rep2;
                            }

                            rep2 = rep1;
                        }

                        rep1 = rep0;
                        rep0 = distance;
                    }

                    length = Length(probabilities + RepLength, positionState, ref range, ref code, ref p);
                    state = state < FirstStateAfterMatch ? 8u : 11u;
                }

                length += MinMatch;
                if (rep0 >= position || rep0 >= dictionarySize || length > targetEnd - target) return false;
                byte* from = target - (nint)rep0 - 1;
                byte* matchEnd = target + length;
                if (rep0 >= 7 && targetEnd - matchEnd >= 8)
                {
                    // Eight at a time; what is written too much is written again later.
                    do
                    {
                        Unsafe.WriteUnaligned(target, Unsafe.ReadUnaligned<ulong>(from));
                        target += 8;
                        from += 8;
                    }
                    while (target < matchEnd);
                    target = matchEnd;
                }
                else
                {
                    do *target++ = *from++;
                    while (target < matchEnd);
                }
            }

            Normalize(ref range, ref code, ref p);
            _state = state;
            _rep0 = rep0;
            _rep1 = rep1;
            _rep2 = rep2;
            _rep3 = rep3;
            return p == end && code == 0;
        }
    }

    /// <summary>Takes in a byte when the range has become small.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Normalize(ref uint range, ref uint code, ref byte* p)
    {
        unchecked
        {
            if (range >= 1u << 24) return;
            range <<= 8;
            code = (code << 8) | *p++;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Bit(ushort* probability, ref uint range, ref uint code, ref byte* p)
    {
        unchecked
        {
            Normalize(ref range, ref code, ref p);
            uint value = *probability;
            uint bound = (range >> 11) * value;
            if (code < bound)
            {
                range = bound;
                *probability = (ushort)(value + ((2048 - value) >> 5));
                return 0;
            }

            range -= bound;
            code -= bound;
            *probability = (ushort)(value - (value >> 5));
            return 1;
        }
    }

    private static uint Length(ushort* coder, uint positionState, ref uint range, ref uint code, ref byte* p)
    {
        unchecked
        {
            ushort* tree;
            uint first;
            uint leaves;
            if (Bit(coder, ref range, ref code, ref p) == 0)
            {
                tree = coder + LengthLow + (positionState << 3);
                first = 0;
                leaves = 8;
            }
            else if (Bit(coder + 1, ref range, ref code, ref p) == 0)
            {
                tree = coder + LengthMiddle + (positionState << 3);
                first = 8;
                leaves = 8;
            }
            else
            {
                tree = coder + LengthHigh;
                first = 16;
                leaves = 256;
            }

            uint node = 1;
            do node = (node << 1) | Bit(tree + node, ref range, ref code, ref p);
            while (node < leaves);
            return first + node - leaves;
        }
    }
}
