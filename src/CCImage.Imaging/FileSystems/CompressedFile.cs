using System.Buffers.Binary;
using System.IO.Compression;
using CCImage.Binary;
using CCImage.Compression;
using CCImage.Storage;

namespace CCImage.FileSystems;

/// <summary>
/// A file that the file system keeps compressed: flag UF_COMPRESSED, and the attribute <c>com.apple.decmpfs</c> with a header and, for
/// small files, the content; for others the content lies in the resource fork, in blocks of 64 KiB. Source: what Apple's public sources say
/// of
/// <c>decmpfs_disk_header</c>; the block tables and the marks of stored blocks as other readers agree on them. Read are the types 1
/// (stored), 3 and 4 (zlib), 7 and 8 (LZVN), 9 and 10 (stored), 11 and 12 (LZFSE); each pair in the attribute and in the resource fork.
/// </summary>
internal sealed class CompressedFile
{
    /// <summary>Name of the attribute.</summary>
    public const string AttributeName = "com.apple.decmpfs";

    /// <summary>Longest value that is believed; the kernel's own limit is far below.</summary>
    public const int MaximumAttributeSize = 1 << 20;

    /// <summary>Bytes at the beginning of the value that tell what it is.</summary>
    public const int HeaderSize = 16;

    private const uint Magic = 0x636D7066; // 'fpmc' as bytes
    private const int BlockSize = 64 << 10;
    private static readonly LzfseCodec s_lzfse = new();
    private readonly uint _type;
    private readonly byte[]? _value; // where whoever reads the tree has it anyway

    private CompressedFile(uint type, long size, byte[]? value) => (_type, Size, _value) = (type, size, value);

    /// <summary>Bytes of the content, decompressed.</summary>
    public long Size { get; }

    /// <summary>Whether the resource fork holds the compressed content.</summary>
    public bool IsInResourceFork => _type is 4 or 8 or 10 or 12 or 14;

    /// <summary>Reads the attribute, or null when it is none of these: then the file is what its forks are.</summary>
    /// <param name="value">The attribute's value, which is in memory for another reason and is kept.</param>
    public static CompressedFile? TryParse(byte[] value) => TryParse(value, value);

    /// <summary>The same by the beginning of a value, which is read whole when the file is opened.</summary>
    /// <param name="header">The beginning of the attribute's value.</param>
    public static CompressedFile? TryParse(ReadOnlySpan<byte> header) => TryParse(header, null);

    private static CompressedFile? TryParse(ReadOnlySpan<byte> header, byte[]? value)
    {
        if (header.Length < HeaderSize || BinaryPrimitives.ReadUInt32LittleEndian(header) != Magic) return null;
        ulong size = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        return size <= long.MaxValue ? new(BinaryPrimitives.ReadUInt32LittleEndian(header[4..]), (long)size, value) : null;
    }

    /// <summary>The error for a file that is marked as compressed, and what says how is lost: it is not as empty as its data
    /// fork.</summary>
    /// <param name="place">What errors call it.</param>
    public static ImageException HeaderLost(string place) =>
        ImageException.Damaged($"The file is compressed by the file system, and the attribute {AttributeName} that leads to its content is "
            + $"missing or damaged.", place);

    /// <summary>Opens the content.</summary>
    /// <param name="resourceFork">The resource fork, where <see cref="IsInResourceFork"/>.</param>
    /// <param name="openValue">Opens the value of the attribute, which has at most <see cref="MaximumAttributeSize"/> bytes.</param>
    /// <param name="place">What errors call it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnsupportedFormat"/> for other methods;
    /// <see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public BlockStorage Open(BlockStorage? resourceFork, Func<BlockStorage> openValue, Func<string> place)
    {
        switch (_type)
        {
            case 1 or 3 or 7 or 9 or 11:
                byte[] value = _value ?? ReadValue(openValue);
                if (Size > (_type == 1 ? value.Length - HeaderSize : BlockSize))
                    throw ImageException.Damaged($"A compressed file in an attribute claims {Size} bytes.", place());
                byte[] content = new byte[Size];
                if (_type == 1) value.AsSpan(HeaderSize, content.Length).CopyTo(content);
                else Decode(_type, value.AsSpan(HeaderSize), content, place);
                return new MemoryStorage(content);
            case 4 or 8 or 10 or 12:
                return new CompressedFork(resourceFork!, _type, Size, place);
            default:
                throw ImageException.Unsupported(
                    $"The file is compressed by the file system with method {_type}{NameOf(_type)}, which this version cannot read.",
                    "Copy the file on a Mac, or use a copy of it that is not compressed.", place());
        }
    }

    private static byte[] ReadValue(Func<BlockStorage> open)
    {
        using BlockStorage storage = open();
        byte[] value = new byte[(int)Math.Min(storage.Length, MaximumAttributeSize)];
        storage.Read(0, value);
        return value.Length >= HeaderSize ? value : throw ImageException.Damaged("The attribute of a compressed file is too short.");
    }

    private static string NameOf(uint type) => type is 13 or 14 ? " (LZBITMAP)" : "";

    // A block that would not compress is stored behind a byte that no compressed one begins with.
    private static bool IsStored(uint type, byte first) => type switch
    {
        3 or 4 => (first & 0x0F) == 0x0F,
        7 or 8 => first == 0x06, // LZVN's code for the end
        9 or 10 => true,
        _ => first == 0xFF,
    };

    private static void Decode(uint type, ReadOnlySpan<byte> source, Span<byte> target, Func<string> place)
    {
        if (target.IsEmpty) return;
        if (source.IsEmpty) throw ImageException.Damaged("A block of a compressed file is missing.", place());
        if (IsStored(type, source[0]))
        {
            if (source.Length - 1 < target.Length)
                throw ImageException.Damaged("A stored block of a compressed file is too short.", place());
            source.Slice(1, target.Length).CopyTo(target);
            return;
        }

        try
        {
            switch (type)
            {
                case 7 or 8:
                    LzvnDecoder.Decode(source, target, 0);
                    break;
                case 11 or 12:
                    s_lzfse.Decode(source, target);
                    break;
                default:
                    Inflate(source, target, place);
                    break;
            }
        }
        catch (ImageException e) when (type is 7 or 8 or 11 or 12)
        {
            throw ImageException.Damaged($"A block of a compressed file does not decompress: {e.Problem}", place(), innerException: e);
        }
    }

    private static void Inflate(ReadOnlySpan<byte> source, Span<byte> target, Func<string> place)
    {
        try
        {
            using var stream = new ZLibStream(new MemoryStream(source.ToArray()), CompressionMode.Decompress);
            if (stream.ReadAtLeast(target, target.Length, throwOnEndOfStream: false) == target.Length) return;
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            // The latter (a ZLibException) for a block that asks for a dictionary of its own: nothing else is read here but memory.
            throw ImageException.Damaged("A block of a compressed file does not decompress.", place(), e);
        }

        throw ImageException.Damaged("A block of a compressed file is cut short.", place());
    }

    // Resource fork, zlib: a header of four big-endian words (offset of the data first), a big-endian length, then, all little-endian, the
    // number of blocks and offset and length of each, counted from that number. The other methods: the little-endian offsets of the blocks
    // and of the end of the last, counted from the fork's begin, and nothing else before the blocks.
    private sealed class CompressedFork : BlockStorage
    {
        private readonly Lock _reading = new();
        private readonly BlockStorage _fork;
        private readonly Func<string> _place;
        private readonly uint _type;
        private readonly long _tableOffset;
        private readonly byte[] _block;
        private long _blockNumber = -1;

        public CompressedFork(BlockStorage fork, uint type, long size, Func<string> place)
        {
            (_fork, _type, Length, _place) = (fork, type, size, place);
            _tableOffset = type == 4 ? FindTable() : 0;
            _block = new byte[Math.Min(size, BlockSize)];
            if (type == 4 || (Layout.DivideUp(size, BlockSize) + 1) * sizeof(uint) <= fork.Length) return;
            throw ImageException.Damaged($"The resource fork of a compressed file of {size} bytes is too short.", place());
        }

        public override long Length { get; }

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            lock (_reading)
            {
                while (!buffer.IsEmpty)
                {
                    Load(offset / BlockSize);
                    int within = (int)(offset % BlockSize);
                    int count = (int)Math.Min(buffer.Length, Math.Min(BlockSize - within, Length - offset));
                    _block.AsSpan(within, count).CopyTo(buffer);
                    buffer = buffer[count..];
                    offset += count;
                }
            }
        }

        private void Load(long number)
        {
            if (number == _blockNumber) return;
            (long offset, long length) = Find(number);
            if (length is < 0 or > 2 * BlockSize || offset > _fork.Length - length)
                throw ImageException.Damaged($"Block {number} of a compressed file is out of bounds.", _place());
            byte[] bytes = new byte[length];
            _fork.Read(offset, bytes);
            _blockNumber = -1;
            Decode(_type, bytes, _block.AsSpan(0, (int)Math.Min(BlockSize, Length - (number * BlockSize))), _place);
            _blockNumber = number;
        }

        private long FindTable()
        {
            Span<byte> word = stackalloc byte[4];
            if (_fork.Length < 16) throw ImageException.Damaged("The resource fork of a compressed file is too short.", _place());
            _fork.Read(0, word);
            long table = BinaryPrimitives.ReadUInt32BigEndian(word) + 4L;
            if (table > _fork.Length - 4) throw ImageException.Damaged("The block table of a compressed file is out of bounds.", _place());
            _fork.Read(table, word);
            long blocks = BinaryPrimitives.ReadUInt32LittleEndian(word);
            if (blocks != Layout.DivideUp(Length, BlockSize) || blocks * 8 > _fork.Length - table - 4)
                throw ImageException.Damaged($"A compressed file of {Length} bytes claims {blocks} blocks.", _place());
            return table;
        }

        private (long Offset, long Length) Find(long number)
        {
            Span<byte> entry = stackalloc byte[8];
            _fork.Read(_type == 4 ? _tableOffset + 4 + (number * 8) : number * 4, entry);
            long first = BinaryPrimitives.ReadUInt32LittleEndian(entry), second = BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]);
            return _type == 4 ? (_tableOffset + first, second) : (first, second - first);
        }
    }
}
