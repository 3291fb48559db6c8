using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using CCImage.Compression;

namespace CCImage.Tests.Compression;

public sealed class LzfseCodecTests : BlockCodecContract
{
    private protected override BlockCodec[] Codecs { get; } = [new LzfseCodec()];

    private protected override int DamageCount => 100_000;

    [Fact]
    public void Headers_lie_as_in_the_stream()
    {
        Assert.Equal(0x08, Unsafe.SizeOf<LzfseRawHeader>());
        Assert.Equal(0x04, Offset<LzfseRawHeader>(nameof(LzfseRawHeader.RawBytes)));
        Assert.Equal(0x0C, Unsafe.SizeOf<LzvnHeader>());
        Assert.Equal(0x04, Offset<LzvnHeader>(nameof(LzvnHeader.RawBytes)));
        Assert.Equal(0x08, Offset<LzvnHeader>(nameof(LzvnHeader.PayloadBytes)));
        Assert.Equal(0x20, Unsafe.SizeOf<LzfseVersion2Header>());
        Assert.Equal(0x04, Offset<LzfseVersion2Header>(nameof(LzfseVersion2Header.RawBytes)));
        Assert.Equal(0x08, Offset<LzfseVersion2Header>(nameof(LzfseVersion2Header.Counts)));
        Assert.Equal(0x10, Offset<LzfseVersion2Header>(nameof(LzfseVersion2Header.LiteralStates)));
        Assert.Equal(0x18, Offset<LzfseVersion2Header>(nameof(LzfseVersion2Header.HeaderBytes)));
        Assert.Equal(0x1C, Offset<LzfseVersion2Header>(nameof(LzfseVersion2Header.MatchStates)));
        Assert.Equal(0x304, Unsafe.SizeOf<LzfseVersion1Header>());
        Assert.Equal(0x04, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.RawBytes)));
        Assert.Equal(0x08, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.PayloadBytes)));
        Assert.Equal(0x0C, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.Literals)));
        Assert.Equal(0x10, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.Matches)));
        Assert.Equal(0x14, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.LiteralPayloadBytes)));
        Assert.Equal(0x18, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.MatchPayloadBytes)));
        Assert.Equal(0x1C, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.LiteralBits)));
        Assert.Equal(0x20, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.LiteralStates)));
        Assert.Equal(0x28, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.MatchBits)));
        Assert.Equal(0x2C, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.LState)));
        Assert.Equal(0x2E, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.MState)));
        Assert.Equal(0x30, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.DState)));
        Assert.Equal(0x32, Offset<LzfseVersion1Header>(nameof(LzfseVersion1Header.Frequencies)));

        static int Offset<T>(string field) => (int)Marshal.OffsetOf<T>(field);
    }

    [Fact]
    public void Symbols_tile_their_values()
    {
        Assert.Equal(60, LzfseFormat.BaseValues(LzfseFormat.LExtraBits)[^1]);
        Assert.Equal(312, LzfseFormat.BaseValues(LzfseFormat.MExtraBits)[^1]);
        Assert.Equal(229_372, LzfseFormat.BaseValues(LzfseFormat.DExtraBits)[^1]);
        Assert.Equal(LzfseFormat.MaxL, 60 + (1 << LzfseFormat.LExtraBits[^1]) - 1);
        Assert.Equal(LzfseFormat.MaxM, 312 + (1 << LzfseFormat.MExtraBits[^1]) - 1);
        Assert.Equal(LzfseFormat.MaxD, 229_372 + (1 << LzfseFormat.DExtraBits[^1]) - 1);
    }

    [Fact]
    public void Incompressible_stretches_hardly_grow_and_are_not_stored()
    {
        byte[] plain = [.. BlockSamples.Text(100_000, 1), .. BlockSamples.Random(500_000, 2), .. BlockSamples.Text(100_000, 1)];
        byte[] room = new byte[plain.Length];
        int used = new LzfseCodec().Encode(plain, room);
        Assert.InRange(used, 500_000, 590_000);
        Assert.Equal(0, Count(room.AsSpan(0, used), "bvx-"u8)); // 7-Zip does not read those
        Assert.Equal(plain, Decode(new LzfseCodec(), room.AsSpan(0, used), plain.Length, out _));
        byte[] noise = BlockSamples.Random(1_000_000, 3);
        Assert.InRange(new LzfseCodec().Encode(noise, new byte[1_100_000]), 1_000_000, 1_012_000);
    }

    [Fact]
    public void Plain_frequency_tables_are_read_too()
    {
        for (int seed = 0; seed < 200; seed++)
        {
            byte[] plain = seed < 20 ? BlockSamples.Text(20_000 + seed, seed) : GeneratedBlocks.Make(seed, 50_000);
            byte[] room = new byte[plain.Length + 2000];
            byte[] packed = room[..new LzfseCodec().Encode(plain, room)];
            byte[] unpacked = ToVersion1(packed);
            Assert.True(seed >= 20 || unpacked.AsSpan().StartsWith("bvx1"u8));
            Assert.Equal(plain, Decode(new LzfseCodec(), unpacked, plain.Length, out _));
            if (unpacked.AsSpan().StartsWith("bvx1"u8))
            {
                unpacked[0x32]++; // a frequency: the sum is wrong now
                Decode(new LzfseCodec(), unpacked, plain.Length, out ImageException? problem);
                Assert.Contains("sum", problem?.Message, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void Empty_streams_and_rows_of_blocks_are_read()
    {
        Assert.Empty(Decode(new LzfseCodec(), "bvx$"u8, 0, out ImageException? problem));
        Assert.Null(problem);
        byte[] row = [.. "bvx-\x05\0\0\0hello"u8, .. "bvx-\0\0\0\0"u8, .. "bvx-\x01\0\0\0!"u8, .. "bvx$"u8, .. "anything"u8];
        Assert.Equal("hello!"u8.ToArray(), Decode(new LzfseCodec(), row, 6, out problem));
        Assert.Null(problem);
        Decode(new LzfseCodec(), "bvx-\x05\0\0\0hello"u8, 5, out problem);
        Assert.Equal(ImageErrorId.ImageDamaged, problem?.Id);
        Decode(new LzfseCodec(), "bvx?\x05\0\0\0hello"u8, 5, out problem);
        Assert.Equal(ImageErrorId.ImageDamaged, problem?.Id);
        Assert.Equal("byte 0 of the stream", problem?.Place);
    }

    [Fact]
    public void Ten_thousand_LZVN_streams_decode_as_their_model_says()
    {
        var codec = new LzfseCodec();
        for (int seed = 0; seed < 10_000; seed++)
        {
            (byte[] payload, byte[] plain) = MakeLzvn(new Random(seed));
            byte[] stream = [.. "bvxn"u8, .. Bytes(plain.Length), .. Bytes(payload.Length), .. payload, .. "bvx$"u8];
            byte[] back = Decode(codec, stream, plain.Length, out ImageException? problem);
            Assert.True(problem is null, $"Seed {seed}: {problem?.Message}");
            Assert.True(back.AsSpan().SequenceEqual(plain), $"Seed {seed} decodes to something else.");

            // And damaged.
            var random = new Random(seed);
            stream[random.Next(stream.Length)] ^= (byte)(1 << random.Next(8));
            Decode(codec, stream, plain.Length, out _);
            Decode(codec, stream.AsSpan(0, random.Next(stream.Length)), plain.Length, out problem);
            Assert.NotNull(problem);
        }
    }

    [Theory]
    [InlineData("1E 06")] // undefined
    [InlineData("70 06")]
    [InlineData("D5 06")]
    [InlineData("F5 06")] // a match before there is a distance
    [InlineData("46 61 06")]
    [InlineData("40 02 61 06")] // before the start
    [InlineData("40 00 61 06")] // distance 0
    [InlineData("E4 61 62 63 06")] // literals missing
    public void Wrong_LZVN_codes_are_refused(string codes)
    {
        byte[] payload = [.. Convert.FromHexString(codes.Replace(" ", "", StringComparison.Ordinal)), 0, 0, 0, 0, 0, 0, 0];
        byte[] stream = [.. "bvxn"u8, .. Bytes(4), .. Bytes(payload.Length), .. payload, .. "bvx$"u8];
        Decode(new LzfseCodec(), stream, 4, out ImageException? problem);
        Assert.Equal(ImageErrorId.ImageDamaged, problem?.Id);
    }

    [OracleFact("lzfse")]
    public void The_reference_tool_reads_what_is_written() => WithFolder(folder =>
    {
        string encoded = Path.Combine(folder, "encoded"), decoded = Path.Combine(folder, "decoded");
        foreach (byte[] plain in OracleBlocks())
        {
            byte[] room = new byte[plain.Length + (plain.Length / 8) + 2000];
            int used = new LzfseCodec().Encode(plain, room);
            File.WriteAllBytes(encoded, room[..used]);
            Assert.Equal(0, Oracle.Run("lzfse", "-decode", "-i", encoded, "-o", decoded).ExitCode);
            Assert.Equal(plain, File.ReadAllBytes(decoded));
        }
    });

    [OracleFact("lzfse")]
    public void What_the_reference_tool_writes_is_read() => WithFolder(folder =>
    {
        string plainFile = Path.Combine(folder, "plain"), encoded = Path.Combine(folder, "encoded");
        var kinds = new HashSet<string>();
        long ours = 0, theirs = 0;
        foreach (byte[] plain in OracleBlocks())
        {
            File.WriteAllBytes(plainFile, plain);
            Assert.Equal(0, Oracle.Run("lzfse", "-encode", "-i", plainFile, "-o", encoded).ExitCode);
            byte[] block = File.ReadAllBytes(encoded);
            kinds.Add(Encoding.ASCII.GetString(block, 0, 4));
            Assert.Equal(plain, Decode(new LzfseCodec(), block, plain.Length, out ImageException? problem));
            Assert.Null(problem);
            if (plain.Length < 100_000) continue;
            theirs += block.Length;
            ours += new LzfseCodec().Encode(plain, new byte[plain.Length + 1000]);
        }

        Assert.Superset(new HashSet<string> { "bvx2", "bvxn", "bvx-" }, kinds);
        Assert.InRange(ours, 1, theirs * 1.02);
    });

    /// <summary>80 blocks of a few hundred bytes to some MB: LZVN, LZFSE and stored in the reference tool's hands.</summary>
    private static IEnumerable<byte[]> OracleBlocks()
    {
        for (int seed = 0; seed < 70; seed++) yield return GeneratedBlocks.Make(seed + 20_000);
        for (int seed = 0; seed < 6; seed++) yield return BlockSamples.Text(200_000 + (seed * 100_000), seed);
        yield return BlockSamples.Random(3000, 1);
        yield return BlockSamples.Random(1, 1);
        yield return new byte[3_000_000];
        yield return [.. BlockSamples.Text(400_000, 1), .. BlockSamples.Random(300_000, 2), .. BlockSamples.Text(400_000, 1),
            .. BlockSamples.Random(300_000, 2)];
    }

    private static byte[] Bytes(int value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        return bytes;
    }

    private static int Count(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> what)
    {
        int count = 0;
        for (int at; (at = bytes.IndexOf(what)) >= 0; bytes = bytes[(at + 1)..]) count++;
        return count;
    }

    /// <summary>A row of LZVN codes of every kind, and what they mean.</summary>
    private static (byte[] Payload, byte[] Plain) MakeLzvn(Random random)
    {
        var payload = new List<byte>();
        var plain = new List<byte>();
        int distance = 0;
        int codes = random.Next(1, 60);
        for (int i = 0; i < codes; i++)
        {
            int literals = 0, match = 0;
            int kind = plain.Count == 0 ? random.Next(2) : random.Next(10);
            int far = Math.Min(plain.Count, 65_535);
            switch (kind)
            {
                case 0:
                    literals = random.Next(1, 16);
                    payload.Add((byte)(0xE0 | literals));
                    break;
                case 1:
                    literals = random.Next(16, 272);
                    payload.AddRange([0xE0, (byte)(literals - 16)]);
                    break;
                case 2 when distance > 0:
                    match = random.Next(1, 16);
                    payload.Add((byte)(0xF0 | match));
                    break;
                case 3 when distance > 0:
                    match = random.Next(16, 272);
                    payload.AddRange([0xF0, (byte)(match - 16)]);
                    break;
                case 4 when distance > 0: // LLMMM110, one literal at least, and not where LL = 01 and MMM = 11x, or LL = 11 and MMM = 01x
                    literals = random.Next(1, 4);
                    match = random.Next(3, 11);
                    if (Undefined(literals, match)) match = 3;
                    payload.Add((byte)((literals << 6) | ((match - 3) << 3) | 6));
                    break;
                case 5: // 101LLMMM DDDDDDMM DDDDDDDD
                    literals = random.Next(4);
                    match = random.Next(3, 35);
                    distance = random.Next(1, Math.Min(far + literals, 16_383) + 1);
                    payload.AddRange(
                        [(byte)(0xA0 | (literals << 3) | ((match - 3) >> 2)), (byte)(((distance << 2) | ((match - 3) & 3)) & 0xFF),
                        (byte)(distance >> 6)]);
                    break;
                case 6: // LLMMM111
                    literals = random.Next(4);
                    match = random.Next(3, 11);
                    if (Undefined(literals, match)) match = 3;
                    distance = random.Next(1, far + 1);
                    payload.AddRange([(byte)((literals << 6) | ((match - 3) << 3) | 7), (byte)(distance & 0xFF), (byte)(distance >> 8)]);
                    break;
                case 7:
                    payload.Add(random.Next(2) == 0 ? (byte)0x0E : (byte)0x16);
                    break;
                default: // LLMMMDDD DDDDDDDD
                    literals = random.Next(4);
                    match = random.Next(3, 11);
                    if (Undefined(literals, match)) match = 3;
                    distance = random.Next(1, Math.Min(far + literals, 0x5FF) + 1);
                    payload.AddRange([(byte)((literals << 6) | ((match - 3) << 3) | (distance >> 8)), (byte)(distance & 0xFF)]);
                    break;
            }

            for (int n = 0; n < literals; n++)
            {
                byte literal = (byte)random.Next(256);
                payload.Add(literal);
                plain.Add(literal);
            }

            for (int n = 0; n < match; n++) plain.Add(plain[^distance]);
        }

        payload.AddRange([6, 0, 0, 0, 0, 0, 0, 0]);
        return ([.. payload], [.. plain]);

        // 0x70.., 0xD0.. are no codes, 0xA0.. and 0xB0.. another.
        static bool Undefined(int literals, int match) =>
            (((literals << 6) | ((match - 3) << 3)) & 0xF0) is 0x70 or 0xD0 or 0xA0 or 0xB0 or 0xE0 or 0xF0;
    }

    /// <summary>The same stream with <c>bvx1</c> blocks in place of <c>bvx2</c>, made from the description of the format, not by the
    /// decoder.</summary>
    private static byte[] ToVersion1(byte[] stream)
    {
        var result = new List<byte>();
        int at = 0;
        while (true)
        {
            ReadOnlySpan<byte> block = stream.AsSpan(at);
            if (block.StartsWith("bvx$"u8))
            {
                result.AddRange(block[..4]);
                return [.. result];
            }

            if (block.StartsWith("bvx-"u8))
            {
                int size = 8 + BinaryPrimitives.ReadInt32LittleEndian(block[4..]);
                result.AddRange(block[..size]);
                at += size;
                continue;
            }

            ulong v0 = BinaryPrimitives.ReadUInt64LittleEndian(block[8..]), v1 = BinaryPrimitives.ReadUInt64LittleEndian(block[16..]),
                v2 = BinaryPrimitives.ReadUInt64LittleEndian(block[24..]);
            int headerSize = (int)Field(v2, 0, 32), literalBytes = (int)Field(v0, 20, 20), matchBytes = (int)Field(v1, 40, 20);
            byte[] header = new byte[772];
            "bvx1"u8.CopyTo(header);
            block.Slice(4, 4).CopyTo(header.AsSpan(4));
            uint[] words =
                [(uint)(literalBytes + matchBytes), Field(v0, 0, 20), Field(v0, 40, 20), (uint)literalBytes, (uint)matchBytes,
                    unchecked(Field(v0, 60, 3) - 7)];
            for (int i = 0; i < words.Length; i++) BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8 + (4 * i)), words[i]);
            for (int i = 0; i < 4; i++)
                BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(32 + (2 * i)), (ushort)Field(v1, 10 * i, 10));
            BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(40), unchecked(Field(v1, 60, 3) - 7));
            for (int i = 0; i < 3; i++)
                BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(44 + (2 * i)), (ushort)Field(v2, 32 + (10 * i), 10));
            int bit = 32 * 8;
            for (int i = 0; i < 360; i++) BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(50 + (2 * i)), Frequency(block, ref bit));
            result.AddRange(header);
            result.AddRange(block.Slice(headerSize, literalBytes + matchBytes));
            at += headerSize + literalBytes + matchBytes;
        }

        static uint Field(ulong value, int shift, int bits) => (uint)((value >> shift) & ((1UL << bits) - 1));

        static ushort Frequency(ReadOnlySpan<byte> block, ref int bit)
        {
            if (Take(block, ref bit, 1) == 0) return (ushort)Take(block, ref bit, 1);
            if (Take(block, ref bit, 1) == 0) return (ushort)(2 + Take(block, ref bit, 1));
            if (Take(block, ref bit, 1) == 0) return (ushort)(4 + Take(block, ref bit, 2));
            return Take(block, ref bit, 1) == 0 ? (ushort)(8 + Take(block, ref bit, 4)) : (ushort)(24 + Take(block, ref bit, 10));
        }

        static int Take(ReadOnlySpan<byte> block, ref int bit, int count)
        {
            int value = 0;
            for (int i = 0; i < count; i++, bit++) value |= ((block[bit >> 3] >> (bit & 7)) & 1) << i;
            return value;
        }
    }
}
