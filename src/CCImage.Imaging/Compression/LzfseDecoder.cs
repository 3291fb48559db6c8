using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using CCImage.Binary;

namespace CCImage.Compression;

/// <summary>
/// Decodes LZFSE streams. One instance is a workspace of some 50 KB for one thread at a time.
/// <para>
/// The inner loops use pointers. What keeps them inside their buffers: a decoder table is built only from frequencies that sum to its
/// number of states, so that every next state is an index of the table; bits are loaded eight bytes at a time from an address that is
/// compared with the start of the block's payload before each load and never lies behind its last eight bytes; counts of literals and
/// matches are compared with what is left of both buffers before each copy; copies that write 16 bytes at a time are made only with 32
/// bytes of room to spare.
/// </para>
/// </summary>
internal sealed unsafe class LzfseDecoder
{
    /// <summary>Bytes that wide copies may read or write beyond their end.</summary>
    private const int Slack = 32;

    private static readonly int[] LBase = LzfseFormat.BaseValues(LzfseFormat.LExtraBits);
    private static readonly int[] MBase = LzfseFormat.BaseValues(LzfseFormat.MExtraBits);
    private static readonly int[] DBase = LzfseFormat.BaseValues(LzfseFormat.DExtraBits);
    private static readonly sbyte[] ShortFrequencies = MakeShortFrequencies();

    // Entry of a literal state: bits to read (8), symbol (8), base of the next state (16).
    private readonly uint[] _literalTable = new uint[LzfseFormat.LiteralStates];
    private readonly ValueEntry[] _lTable = new ValueEntry[LzfseFormat.LStates];
    private readonly ValueEntry[] _mTable = new ValueEntry[LzfseFormat.MStates];
    private readonly ValueEntry[] _dTable = new ValueEntry[LzfseFormat.DStates];
    private readonly byte[] _literals = new byte[LzfseFormat.MaxLiterals + Slack];
    private readonly ushort[] _frequencies = new ushort[LzfseFormat.FrequencyCount];

    /// <summary>Decodes a stream. What follows its end mark is ignored, as the reference decoder does.</summary>
    /// <param name="source">The stream, untrusted.</param>
    /// <param name="destination">Filled exactly.</param>
    /// <exception cref="ImageException">Damaged.</exception>
    public void Decode(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        int read = 0;
        int written = 0;
        while (true)
        {
            uint magic = Layout.Read<UInt32LE>(Require(source, read, 4));
            switch (magic)
            {
                case LzfseFormat.EndOfStream:
                    if (written != destination.Length)
                        throw Damaged($"An LZFSE stream holds {written} bytes instead of {destination.Length}.", read);
                    return;

                case LzfseFormat.RawBlock:
                {
                    int start = read + Unsafe.SizeOf<LzfseRawHeader>();
                    uint count = Layout.Read<LzfseRawHeader>(Require(source, read, Unsafe.SizeOf<LzfseRawHeader>())).RawBytes;
                    RequireRoom(destination, written, count, read);
                    Require(source, start, count)[..(int)count].CopyTo(destination[written..]);
                    read = start + (int)count;
                    written += (int)count;
                    break;
                }

                case LzfseFormat.LzvnBlock:
                {
                    int start = read + Unsafe.SizeOf<LzvnHeader>();
                    LzvnHeader header = Layout.Read<LzvnHeader>(Require(source, read, Unsafe.SizeOf<LzvnHeader>()));
                    RequireRoom(destination, written, header.RawBytes, read);
                    ReadOnlySpan<byte> payload = Require(source, start, header.PayloadBytes)[..(int)(uint)header.PayloadBytes];
                    LzvnDecoder.Decode(payload, destination[..(written + (int)(uint)header.RawBytes)], written);
                    read = start + payload.Length;
                    written += (int)(uint)header.RawBytes;
                    break;
                }

                case LzfseFormat.Version1Block:
                case LzfseFormat.Version2Block:
                {
                    Block block = magic == LzfseFormat.Version1Block ? ReadVersion1(source, read) : ReadVersion2(source, read);
                    RequireRoom(destination, written, (uint)block.RawBytes, read);
                    int start = read + block.HeaderBytes;
                    Require(source, start, (uint)(block.LiteralPayloadBytes + block.MatchPayloadBytes));
                    DecodeLiterals(source, start, block, read);
                    DecodeMatches(source, start + block.LiteralPayloadBytes, block, destination, written, read);
                    read = start + block.LiteralPayloadBytes + block.MatchPayloadBytes;
                    written += block.RawBytes;
                    break;
                }

                default:
                    throw Damaged($"An LZFSE stream has a block of unknown kind (0x{magic:X8}).", read);
            }
        }
    }

    private static sbyte[] MakeShortFrequencies()
    {
        // The code of a frequency by its lowest five bits: value * 8 + bits, or -1 for the two long codes.
        sbyte[] table = new sbyte[32];
        for (int bits = 0; bits < 32; bits++)
        {
            table[bits] = (sbyte)((bits & 1) == 0 ? (((bits >> 1) & 1) << 3) | 2
                : (bits & 3) == 1 ? ((2 + ((bits >> 2) & 1)) << 3) | 3
                : (bits & 7) == 3 ? ((4 + ((bits >> 3) & 3)) << 3) | 5
                : -1);
        }

        return table;
    }

    private static ReadOnlySpan<byte> Require(ReadOnlySpan<byte> source, int at, long count) =>
        at <= source.Length && count <= source.Length - at ? source[at..] : throw Damaged("An LZFSE stream is cut short.", at);

    private static void RequireRoom(Span<byte> destination, int written, uint count, int at)
    {
        if (count > destination.Length - written)
            throw Damaged($"An LZFSE stream holds more than the {destination.Length} bytes it should.", at);
    }

    private static ImageException Damaged(string message, int at) => ImageException.Damaged(message, $"byte {at} of the stream");

    private Block ReadVersion1(ReadOnlySpan<byte> source, int at)
    {
        int size = Unsafe.SizeOf<LzfseVersion1Header>();
        LzfseVersion1Header header = Layout.Read<LzfseVersion1Header>(Require(source, at, size));
        for (int i = 0; i < _frequencies.Length; i++) _frequencies[i] = header.Frequencies[i];
        return new Block(
            size, Count(header.RawBytes, int.MaxValue), Count(header.Literals, LzfseFormat.MaxLiterals),
            Count(header.Matches, LzfseFormat.MaxMatches),
            Count(header.LiteralPayloadBytes, 1 << 20), Count(header.MatchPayloadBytes, 1 << 20),
            Bits(header.LiteralBits), Bits(header.MatchBits),
            header.LiteralStates[0], header.LiteralStates[1], header.LiteralStates[2], header.LiteralStates[3],
            header.LState, header.MState, header.DState).Validated(at);

        int Count(uint value, int most) => value <= most ? (int)value : throw Damaged("An LZFSE block has a count out of range.", at);
        int Bits(uint value) =>
            unchecked((int)value) is >= -7 and <= 0 and int bits ? bits : throw Damaged("An LZFSE block has a bit count out of range.", at);
    }

    private Block ReadVersion2(ReadOnlySpan<byte> source, int at)
    {
        LzfseVersion2Header header = Layout.Read<LzfseVersion2Header>(Require(source, at, Unsafe.SizeOf<LzfseVersion2Header>()));
        uint size = header.HeaderBytes;
        if (size < Unsafe.SizeOf<LzfseVersion2Header>() || size > Unsafe.SizeOf<LzfseVersion2Header>() + (2 * LzfseFormat.FrequencyCount))
            throw Damaged("An LZFSE block has a header of impossible size.", at);
        ReadFrequencies(Require(source, at, size)[..(int)size][Unsafe.SizeOf<LzfseVersion2Header>()..], at);
        ulong counts = header.Counts;
        ulong states = header.LiteralStates;
        uint matchStates = header.MatchStates;
        uint rawBytes = header.RawBytes;
        if (rawBytes > int.MaxValue) throw Damaged("An LZFSE block has a count out of range.", at);
        return new Block(
            (int)size, (int)rawBytes, Field(counts, 0, 20), Field(counts, 40, 20), Field(counts, 20, 20), Field(states, 40, 20),
            Field(counts, 60, 3) - 7, Field(states, 60, 3) - 7,
            Field(states, 0, 10), Field(states, 10, 10), Field(states, 20, 10), Field(states, 30, 10),
            Field(matchStates, 0, 10), Field(matchStates, 10, 10), Field(matchStates, 20, 10)).Validated(at);

        static int Field(ulong value, int shift, int bits) => (int)((value >> shift) & ((1UL << bits) - 1));
    }

    /// <summary>
    /// Reads the packed frequencies of a <c>bvx2</c> header, which must use its bytes up. No bytes at all mean no frequencies.
    /// Codes, from the lowest bit: x0 = 0..1, x01 = 2..3, xx011 = 4..7, xxxx0111 = 8..23, xxxxxxxxxx1111 = 24..1047.
    /// </summary>
    private void ReadFrequencies(ReadOnlySpan<byte> packed, int at)
    {
        Array.Clear(_frequencies);
        if (packed.IsEmpty) return;
        uint bits = 0;
        int have = 0;
        int read = 0;
        for (int i = 0; i < _frequencies.Length; i++)
        {
            while (have <= 24 && read < packed.Length)
            {
                bits |= (uint)packed[read++] << have;
                have += 8;
            }

            int code = ShortFrequencies[bits & 31];
            int used = code >= 0 ? code & 7 : (bits & 8) == 0 ? 8 : 14;
            if (used > have) throw Damaged("An LZFSE block has a frequency table that is cut short.", at);
            int value = (int)(bits >> 4);
            _frequencies[i] = (ushort)(code >= 0 ? code >> 3 : used == 8 ? 8 + (value & 0xF) : 24 + (value & 0x3FF));
            bits >>= used;
            have -= used;
        }

        if (read != packed.Length || have >= 8) throw Damaged("An LZFSE block has a frequency table that is too long.", at);
    }

    /// <summary>The frequencies of one alphabet, which must fill all states: only then is every next state inside the table.</summary>
    private ReadOnlySpan<ushort> Frequencies(int first, int symbols, int states, int at)
    {
        ReadOnlySpan<ushort> frequencies = _frequencies.AsSpan(first, symbols);
        int sum = 0;
        foreach (ushort f in frequencies) sum += f;
        return sum == states ? frequencies : throw Damaged($"An LZFSE block has frequencies that sum to {sum} instead of {states}.", at);
    }

    private void BuildLiteralTable(ReadOnlySpan<ushort> frequencies)
    {
        const int States = LzfseFormat.LiteralStates;
        int next = 0;
        for (int symbol = 0; symbol < frequencies.Length; symbol++)
        {
            int f = frequencies[symbol];
            if (f == 0) continue;
            int bits = LzfseFormat.StateBits(f, States);
            int wide = ((2 * States) >> bits) - f; // so many of the symbol's states take all bits, the others one less
            Span<uint> entries = _literalTable.AsSpan(next, f);
            for (int j = 0; j < entries.Length; j++)
            {
                entries[j] = j < wide
                    ? (uint)((((f + j) << bits) - States) << 16 | symbol << 8 | bits)
                    : (uint)(((j - wide) << (bits - 1)) << 16 | symbol << 8 | (bits - 1));
            }

            next += f;
        }
    }

    private static void BuildValueTable(
        ReadOnlySpan<ushort> frequencies, ReadOnlySpan<byte> extraBits, int[] baseValues, ValueEntry[] table)
    {
        int states = table.Length;
        int next = 0;
        for (int symbol = 0; symbol < frequencies.Length; symbol++)
        {
            int f = frequencies[symbol];
            if (f == 0) continue;
            int bits = LzfseFormat.StateBits(f, states);
            int wide = ((2 * states) >> bits) - f;
            byte extra = extraBits[symbol];
            for (int j = 0; j < f; j++)
            {
                table[next++] = j < wide
                    ? new ValueEntry((byte)(bits + extra), extra, (ushort)(((f + j) << bits) - states), baseValues[symbol])
                    : new ValueEntry((byte)(bits - 1 + extra), extra, (ushort)((j - wide) << (bits - 1)), baseValues[symbol]);
            }
        }
    }

    /// <summary>Decodes the literals of a block into the workspace.</summary>
    private void DecodeLiterals(ReadOnlySpan<byte> source, int start, in Block block, int at)
    {
        if (block.Literals == 0) return;
        BuildLiteralTable(Frequencies(
            LzfseFormat.LSymbols + LzfseFormat.MSymbols + LzfseFormat.DSymbols, LzfseFormat.LiteralSymbols, LzfseFormat.LiteralStates, at));
        bool whole;
        fixed (byte* first = source)
        fixed (uint* table = _literalTable)
        fixed (byte* literals = _literals)
        {
            whole = DecodeLiterals(first + start, first + start + block.LiteralPayloadBytes, block, table, literals);
        }

        if (!whole) throw Damaged("An LZFSE block has a literal stream that is cut short.", at);
    }

    /// <summary>
    /// The loop of <see cref="DecodeLiterals(ReadOnlySpan{byte}, int, in Block, int)"/>. A header of 32 bytes or more precedes the payload,
    /// so that eight bytes before its start can be read.
    /// </summary>
    private static bool DecodeLiterals(byte* payload, byte* end, in Block block, uint* table, byte* literals)
    {
        unchecked
        {
            byte* lowest = payload - 8;
            byte* p = end - 8;
            int bits = 64 + block.LiteralBits; // bits of the eight bytes at p that are not used yet: the low ones
            ulong window = Load(p);
            if (bits < 64 && window >> bits != 0) return false;
            uint s0 = (uint)block.LiteralState0;
            uint s1 = (uint)block.LiteralState1;
            uint s2 = (uint)block.LiteralState2;
            uint s3 = (uint)block.LiteralState3;
            byte* target = literals;
            byte* targetEnd = literals + block.Literals;
            while (target < targetEnd)
            {
                int bytes = (64 - bits) >> 3;
                p -= bytes;
                if (p < lowest) return false;
                bits += bytes << 3;
                window = Load(p);

                uint e0 = table[s0];
                uint e1 = table[s1];
                uint e2 = table[s2];
                uint e3 = table[s3];
                bits -= (byte)e0;
                s0 = (e0 >> 16) + Low(window >> bits, (int)(byte)e0);
                bits -= (byte)e1;
                s1 = (e1 >> 16) + Low(window >> bits, (int)(byte)e1);
                bits -= (byte)e2;
                s2 = (e2 >> 16) + Low(window >> bits, (int)(byte)e2);
                bits -= (byte)e3;
                s3 = (e3 >> 16) + Low(window >> bits, (int)(byte)e3);
                *(uint*)target = LittleEndian(((e0 >> 8) & 0xFF) | (e1 & 0xFF00) | ((e2 & 0xFF00) << 8) | ((e3 & 0xFF00) << 16));
                target += 4;
            }

            return ((p - payload) << 3) + bits >= 0;
        }
    }

    /// <summary>Decodes the triplets of a block and carries them out.</summary>
    private void DecodeMatches(ReadOnlySpan<byte> source, int start, in Block block, Span<byte> destination, int written, int at)
    {
        if (block.Matches == 0)
        {
            if (block.RawBytes != 0) throw Damaged("An LZFSE block has no content.", at);
            return;
        }

        BuildValueTable(Frequencies(0, LzfseFormat.LSymbols, LzfseFormat.LStates, at), LzfseFormat.LExtraBits, LBase, _lTable);
        BuildValueTable(
            Frequencies(LzfseFormat.LSymbols, LzfseFormat.MSymbols, LzfseFormat.MStates, at), LzfseFormat.MExtraBits, MBase, _mTable);
        BuildValueTable(
            Frequencies(LzfseFormat.LSymbols + LzfseFormat.MSymbols, LzfseFormat.DSymbols, LzfseFormat.DStates, at), LzfseFormat.DExtraBits,
            DBase, _dTable);
        string? problem;
        fixed (byte* first = source)
        fixed (byte* output = destination)
        fixed (byte* literals = _literals)
        fixed (ValueEntry* l = _lTable, m = _mTable, d = _dTable)
        {
            problem = DecodeMatches(
                first + start, first + start + block.MatchPayloadBytes, block, l, m, d,
                literals, output, output + written, output + destination.Length);
        }

        if (problem is not null) throw Damaged(problem, at);
    }

    private static string? DecodeMatches(
        byte* payload, byte* end, in Block block, ValueEntry* lTable, ValueEntry* mTable, ValueEntry* dTable,
        byte* literal, byte* output, byte* target, byte* outputEnd)
    {
        unchecked
        {
            byte* lowest = payload - 8;
            byte* literalEnd = literal + block.Literals;
            byte* blockEnd = target + block.RawBytes;
            byte* p = end - 8;
            int bits = 64 + block.MatchBits;
            ulong window = Load(p);
            if (bits < 64 && window >> bits != 0) return "An LZFSE block has a match stream with a wrong end.";
            uint ls = (uint)block.LState;
            uint ms = (uint)block.MState;
            uint ds = (uint)block.DState;
            long distance = 0;
            for (int i = block.Matches; i > 0; i--)
            {
                int bytes = (64 - bits) >> 3;
                p -= bytes;
                if (p < lowest) return "An LZFSE block has a match stream that is cut short.";
                bits += bytes << 3;
                window = Load(p);

                // At most 14, 17 and 23 bits, and there are 57 at least.
                ValueEntry e = lTable[ls];
                bits -= e.TotalBits;
                uint value = Low(window >> bits, e.TotalBits);
                ls = e.NextState + (value >> e.ExtraBits);
                nint l = (nint)(e.BaseValue + Low(value, e.ExtraBits));

                e = mTable[ms];
                bits -= e.TotalBits;
                value = Low(window >> bits, e.TotalBits);
                ms = e.NextState + (value >> e.ExtraBits);
                nint m = (nint)(e.BaseValue + Low(value, e.ExtraBits));

                e = dTable[ds];
                bits -= e.TotalBits;
                value = Low(window >> bits, e.TotalBits);
                ds = e.NextState + (value >> e.ExtraBits);
                long d = e.BaseValue + Low(value, e.ExtraBits);
                distance = d == 0 ? distance : d;

                if (l > literalEnd - literal) return "An LZFSE block uses more literals than it has.";
                if (l + m > blockEnd - target) return "An LZFSE block holds more bytes than it says.";
                byte* matchStart = target + l;
                if ((ulong)(distance - 1) >= (ulong)(matchStart - output))
                    return "An LZFSE block refers to bytes before the start of the output.";
                byte* from = matchStart - distance;

                if (l + m + Slack <= outputEnd - target)
                {
                    Copy16(target, literal);
                    for (nint done = 16; done < l; done += 16) Copy16(target + done, literal + done);
                    literal += l;
                    target = matchStart;
                    if (distance >= 16)
                    {
                        Copy16(target, from);
                        for (nint done = 16; done < m; done += 16) Copy16(target + done, from + done);
                    }
                    else if (distance >= 8)
                    {
                        for (nint done = 0; done < m; done += 8) *(ulong*)(target + done) = *(ulong*)(from + done);
                    }
                    else
                    {
                        // A short pattern: once 16 bytes stand, they repeat at a multiple of the distance that is 16 or more.
                        nint few = m < 16 ? m : 16;
                        for (nint done = 0; done < few; done++) target[done] = from[done];
                        if (m > 16)
                        {
                            nint period = (nint)distance * (nint)((15 + distance) / distance);
                            for (nint done = 16; done < m; done += 16) Copy16(target + done, target + done - period);
                        }
                    }
                }
                else
                {
                    for (nint done = 0; done < l; done++) target[done] = literal[done];
                    literal += l;
                    target = matchStart;
                    for (nint done = 0; done < m; done++) target[done] = from[done];
                }

                target += m;
            }

            if (((p - payload) << 3) + bits < 0) return "An LZFSE block has a match stream that is cut short.";
            return target == blockEnd ? null : "An LZFSE block holds fewer bytes than it says.";
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Load(byte* p) =>
        BitConverter.IsLittleEndian ? Unsafe.ReadUnaligned<ulong>(p) : BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<ulong>(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint LittleEndian(uint value) => BitConverter.IsLittleEndian ? value : BinaryPrimitives.ReverseEndianness(value);

    /// <summary>The lowest bits of a value, fewer than 32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Low(ulong value, int bits) => unchecked((uint)value & ((1u << bits) - 1));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy16(byte* target, byte* source) => Vector128.Load(source).Store(target);

    /// <summary>A state of an L, M or D decoder.</summary>
    /// <param name="TotalBits">Bits to read: state bits above, extra bits below.</param>
    /// <param name="ExtraBits">Of these, the bits that belong to the value.</param>
    /// <param name="NextState">Base of the next state.</param>
    /// <param name="BaseValue">Base of the value.</param>
    [StructLayout(LayoutKind.Sequential, Pack = 8)]
    private readonly record struct ValueEntry(byte TotalBits, byte ExtraBits, ushort NextState, int BaseValue);

    /// <summary>What both kinds of header say.</summary>
    private readonly record struct Block(
        int HeaderBytes, int RawBytes, int Literals, int Matches, int LiteralPayloadBytes, int MatchPayloadBytes, int LiteralBits,
        int MatchBits,
        int LiteralState0, int LiteralState1, int LiteralState2, int LiteralState3, int LState, int MState, int DState)
    {
        /// <summary>Refuses counts beyond the workspace and states outside their tables.</summary>
        public Block Validated(int at)
        {
            if (Literals > LzfseFormat.MaxLiterals || (Literals & 3) != 0 || Matches > LzfseFormat.MaxMatches)
                throw Damaged("An LZFSE block has a count out of range.", at);
            if ((LiteralState0 | LiteralState1 | LiteralState2 | LiteralState3) >= LzfseFormat.LiteralStates
                || LState >= LzfseFormat.LStates || MState >= LzfseFormat.MStates || DState >= LzfseFormat.DStates)
                throw Damaged("An LZFSE block has a state out of range.", at);
            return this;
        }
    }
}
