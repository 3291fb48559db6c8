using System.Buffers.Binary;
using System.IO.Compression;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// A file that the file system keeps compressed: flag UF_COMPRESSED, and the attribute <c>com.apple.decmpfs</c> with a header and, for small
/// files, the content; for others the content lies in the resource fork, in blocks of 64 KiB. Source: what Apple's public sources say of
/// <c>decmpfs_disk_header</c>; the block table as other readers agree on it. Types 1 (stored), 3 and 4 (zlib) are read.
/// </summary>
internal sealed class CompressedFile
{
    /// <summary>Name of the attribute.</summary>
    public const string AttributeName = "com.apple.decmpfs";

    /// <summary>Longest value that is believed; the kernel's own limit is far below.</summary>
    public const int MaximumAttributeSize = 1 << 20;

    private const int HeaderSize = 16;
    private const uint Magic = 0x636D7066; // 'fpmc' as bytes
    private const int BlockSize = 64 << 10;
    private readonly uint _type;
    private readonly byte[] _value;

    private CompressedFile(uint type, long size, byte[] value) => (_type, Size, _value) = (type, size, value);

    /// <summary>Bytes of the content, decompressed.</summary>
    public long Size { get; }

    /// <summary>Whether the resource fork holds the compressed content.</summary>
    public bool IsInResourceFork => _type is 4 or 8 or 10 or 12 or 14;

    /// <summary>Reads the attribute, or null when it is none of these: then the file is what its forks are.</summary>
    /// <param name="value">The attribute's value.</param>
    public static CompressedFile? TryParse(byte[] value)
    {
        if (value.Length < HeaderSize || BinaryPrimitives.ReadUInt32LittleEndian(value) != Magic) return null;
        ulong size = BinaryPrimitives.ReadUInt64LittleEndian(value.AsSpan(8));
        return size <= long.MaxValue ? new(BinaryPrimitives.ReadUInt32LittleEndian(value.AsSpan(4)), (long)size, value) : null;
    }

    /// <summary>Opens the content.</summary>
    /// <param name="resourceFork">The resource fork, where <see cref="IsInResourceFork"/>.</param>
    /// <param name="place">What errors call it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.UnsupportedFormat"/> for other methods; <see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public BlockStorage Open(BlockStorage? resourceFork, string place)
    {
        switch (_type)
        {
            case 1:
            case 3:
                if (Size > (_type == 1 ? _value.Length - HeaderSize : BlockSize)) throw ImageException.Damaged($"A compressed file in an attribute claims {Size} bytes.", place);
                byte[] content = new byte[Size];
                if (_type == 1) _value.AsSpan(HeaderSize, content.Length).CopyTo(content);
                else Inflate(_value.AsSpan(HeaderSize), content, place);
                return new MemoryStorage(content);
            case 4:
                return new CompressedFork(resourceFork!, Size, place);
            default:
                throw ImageException.Unsupported(
                    $"The file is compressed by the file system with method {_type}{NameOf(_type)}, which this version cannot read.",
                    "Copy the file on a Mac, or use a copy of it that is not compressed.", place);
        }
    }

    private static string NameOf(uint type) => type switch { 7 or 8 => " (LZVN)", 11 or 12 => " (LZFSE)", 13 or 14 => " (LZBITMAP)", _ => "" };

    // A block that would not compress is stored behind a byte whose low half is all ones.
    private static void Inflate(ReadOnlySpan<byte> source, Span<byte> target, string place)
    {
        if (target.IsEmpty) return;
        if (!source.IsEmpty && (source[0] & 0x0F) == 0x0F)
        {
            if (source.Length - 1 < target.Length) throw ImageException.Damaged("A stored block of a compressed file is too short.", place);
            source.Slice(1, target.Length).CopyTo(target);
            return;
        }

        try
        {
            using var stream = new ZLibStream(new MemoryStream(source.ToArray()), CompressionMode.Decompress);
            if (stream.ReadAtLeast(target, target.Length, throwOnEndOfStream: false) == target.Length) return;
        }
        catch (InvalidDataException e)
        {
            throw ImageException.Damaged("A block of a compressed file does not decompress.", place, e);
        }

        throw ImageException.Damaged("A block of a compressed file is cut short.", place);
    }

    // Resource fork: a header of four big-endian words (offset of the data first), a big-endian length, then, all little-endian, the number of
    // blocks and offset and length of each, counted from that number.
    private sealed class CompressedFork : BlockStorage
    {
        private readonly Lock _reading = new();
        private readonly BlockStorage _fork;
        private readonly string _place;
        private readonly long _tableOffset;
        private readonly byte[] _block;
        private long _blockNumber = -1;

        public CompressedFork(BlockStorage fork, long size, string place)
        {
            (_fork, Length, _place) = (fork, size, place);
            Span<byte> word = stackalloc byte[4];
            if (fork.Length < 16) throw ImageException.Damaged("The resource fork of a compressed file is too short.", place);
            fork.Read(0, word);
            _tableOffset = BinaryPrimitives.ReadUInt32BigEndian(word) + 4L;
            if (_tableOffset > fork.Length - 4) throw ImageException.Damaged("The block table of a compressed file is out of bounds.", place);
            fork.Read(_tableOffset, word);
            long blocks = BinaryPrimitives.ReadUInt32LittleEndian(word);
            if (blocks != Layout.DivideUp(size, BlockSize) || blocks * 8 > fork.Length - _tableOffset - 4)
                throw ImageException.Damaged($"A compressed file of {size} bytes claims {blocks} blocks.", place);
            _block = new byte[Math.Min(size, BlockSize)];
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
            Span<byte> entry = stackalloc byte[8];
            _fork.Read(_tableOffset + 4 + (number * 8), entry);
            long offset = _tableOffset + BinaryPrimitives.ReadUInt32LittleEndian(entry);
            uint length = BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]);
            if (length > 2 * BlockSize || offset > _fork.Length - length) throw ImageException.Damaged($"Block {number} of a compressed file is out of bounds.", _place);
            byte[] bytes = new byte[length];
            _fork.Read(offset, bytes);
            _blockNumber = -1;
            Inflate(bytes, _block.AsSpan(0, (int)Math.Min(BlockSize, Length - (number * BlockSize))), _place);
            _blockNumber = number;
        }
    }
}
