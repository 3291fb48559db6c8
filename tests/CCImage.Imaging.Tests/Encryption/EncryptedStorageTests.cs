using System.Runtime.InteropServices;
using System.Security.Cryptography;
using CCImage.Binary;
using CCImage.Containers.SparseBundle;
using CCImage.Encryption;
using CCImage.Storage;
using CCImage.Tests.Storage;

namespace CCImage.Tests.Encryption;

/// <summary>The layer over something that can be written, held to the storage contract.</summary>
public abstract class EncryptedStorageContract : WritableStorageContract
{
    private const int DataOffset = 8192;
    private static readonly byte[] s_key = RandomNumberGenerator.GetBytes(32);
    private static readonly byte[] s_hmacKey = RandomNumberGenerator.GetBytes(20);

    [Fact]
    public void What_lies_beneath_is_never_in_the_clear()
    {
        using BlockStorage storage = Make(11, out byte[] content);
        storage.Write(content.Length + 50_000, [1]);
        storage.Flush();
        byte[] beneath = new byte[Beneath.Length - DataOffset];
        Beneath.Read(DataOffset, beneath);
        Assert.Equal(0, beneath.Length % BlockSize);
        Assert.True(beneath.Length >= content.Length + 50_001);
        for (int at = 0; at < beneath.Length; at += BlockSize)
        {
            ReadOnlySpan<byte> block = beneath.AsSpan(at, BlockSize);
            Assert.True(block.ContainsAnyExcept((byte)0), $"The block at {at} is plain zeros.");
            if (at + BlockSize <= content.Length)
                Assert.False(block.SequenceEqual(content.AsSpan(at, BlockSize)), $"The block at {at} is plain.");
        }
    }

    [Fact]
    public void Cut_and_extended_data_end_in_zeros()
    {
        if (Make(12, out byte[] content) is not EncryptedStorage storage) return;
        using (storage)
        {
            if (Beneath is FileStorage)
            {
                storage.SetLength(100_003);
                Assert.Equal(100_003, storage.Length);
                Assert.Equal(DataOffset + Layout.RoundUp(100_003, BlockSize), Beneath.Length);
                content.AsSpan(100_003).Clear();
            }

            storage.SetLength(content.Length + 3000);
            storage.Flush();
            Assert.Equal(content.Concat(new byte[3000]), ReadAll(storage));
            Assert.Equal(storage.Length, NotedLength());
        }
    }

    [Fact]
    public void The_noted_length_never_counts_data_that_are_not_on_the_medium()
    {
        var record = new RecordingStorage();
        record.Write(0, new byte[DataOffset]);
        using var storage = new EncryptedStorage(record, Cipher(), DataOffset, 0);
        for (int i = 0; i < 5; i++)
        {
            storage.Write(i * 10_000, new byte[9000]);
            storage.Write(0, [1]);
            storage.Flush();
        }

        // Between two flushes either data are written or the length, and the length is below what the flush before has made safe.
        long safe = 0, end = 0;
        int lengths = 0;
        foreach ((long offset, byte[]? bytes) in record.Log)
        {
            if (bytes is null) safe = end;
            else if (offset >= DataOffset) end = Math.Max(end, offset - DataOffset + bytes.Length);
            else if (offset > 0)
            {
                Assert.True((long)(ulong)Layout.Read<UInt64BE>(bytes) <= safe);
                lengths++;
            }
        }

        Assert.Equal(5, lengths);
    }

    [Fact]
    public void A_read_beside_a_write_sees_no_noise()
    {
        using BlockStorage storage = Make(13, out byte[] content);
        const int From = 5001, To = 5600;
        content.AsSpan(From, To - From).Fill(1);
        storage.Write(From, content.AsSpan(From, To - From));
        using var done = new CancellationTokenSource();
        var writer = new Thread(() =>
        {
            byte[] bytes = new byte[To - From];
            for (byte i = 0; !done.IsCancellationRequested; i ^= 1)
            {
                Array.Fill(bytes, i);
                storage.Write(From, bytes);
            }
        });
        writer.Start();
        try
        {
            byte[] read = new byte[3 * 4096];
            for (int i = 0; i < 3000; i++)
            {
                storage.Read(0, read);
                Assert.True(read.AsSpan(0, From).SequenceEqual(content.AsSpan(0, From)));
                Assert.True(read.AsSpan(To).SequenceEqual(content.AsSpan(To, read.Length - To)));
                Assert.False(read.AsSpan(From, To - From).ContainsAnyExcept((byte)0, (byte)1));
            }
        }
        finally
        {
            done.Cancel();
            writer.Join();
        }
    }

    /// <summary>Bytes of a chain.</summary>
    protected abstract int BlockSize { get; }

    /// <summary>What the layer lies over.</summary>
    protected BlockStorage Beneath { get; private set; } = new MemoryStorage();

    /// <summary>Makes what the layer lies over: empty, and able to grow.</summary>
    protected abstract BlockStorage MakeBeneath();

    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 300_001);
        Beneath = MakeBeneath();
        Beneath.Write(0, new byte[DataOffset]);
        var storage = new EncryptedStorage(Beneath, Cipher(), DataOffset, 0, ownsInner: Beneath is FileStorage);
        for (int at = 0; at < content.Length; at += 70_000) storage.Write(at, content.AsSpan(at, Math.Min(70_000, content.Length - at)));
        return storage;
    }

    protected override BlockStorage? Reopen(BlockStorage storage)
    {
        storage.Dispose();
        BlockStorage file = Beneath is FileStorage beneath ? Beneath = FileStorage.OpenRead(beneath.Path) : Beneath;
        return new EncryptedStorage(file, Cipher(), DataOffset, NotedLength(), readOnly: true);
    }

    private long NotedLength()
    {
        byte[] field = new byte[8];
        Beneath.Read(Marshal.OffsetOf<EncryptionHeaderV2>(nameof(EncryptionHeaderV2.DataSize)), field);
        return (long)(ulong)Layout.Read<UInt64BE>(field);
    }

    private BlockCipher Cipher() => new(new DiskKeys(s_key, s_hmacKey), BlockSize);

    private sealed class RecordingStorage : BlockStorage
    {
        private readonly MemoryStorage _memory = new();

        public List<(long Offset, byte[]? Bytes)> Log { get; } = [];

        public override long Length => _memory.Length;

        public override bool CanWrite => true;

        public override bool CanGrow => true;

        public override void Flush() => Log.Add((0, null));

        protected override void ReadCore(long offset, Span<byte> buffer) => _memory.Read(offset, buffer);

        protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
        {
            Log.Add((offset, buffer.ToArray()));
            _memory.Write(offset, buffer);
        }
    }
}

public sealed class EncryptedMemory512Tests : EncryptedStorageContract
{
    protected override int BlockSize => 512;

    protected override BlockStorage MakeBeneath() => new MemoryStorage();
}

public sealed class EncryptedMemory4096Tests : EncryptedStorageContract
{
    protected override int BlockSize => 4096;

    protected override BlockStorage MakeBeneath() => new MemoryStorage();
}

public sealed class EncryptedFile512Tests : EncryptedStorageContract
{
    protected override int BlockSize => 512;

    protected override BlockStorage MakeBeneath() => FileStorage.CreateNew(Path.Combine(Folder, "file"));
}

public sealed class EncryptedFile4096Tests : EncryptedStorageContract
{
    protected override int BlockSize => 4096;

    protected override BlockStorage MakeBeneath() => FileStorage.CreateNew(Path.Combine(Folder, "file"));
}

/// <summary>A bundle whose bands are encrypted, without maps (as new ones are) and with them.</summary>
public abstract class EncryptedBundleContract : WritableStorageContract
{
    private protected const int Band = 1 << 20;
    private protected BlockCipher Cipher { get; } =
        new(new DiskKeys(RandomNumberGenerator.GetBytes(16), RandomNumberGenerator.GetBytes(20)), 512);

    protected abstract bool HasMaps { get; }

    private protected string Bundle => Path.Combine(Folder, "b.sparsebundle");

    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, (2 * Band) + 77_824);
        content.AsSpan(Band - 5000, 300_000).Clear();
        if (seed % 2 == 1) content.AsSpan(0, Band).Clear();
        Directory.CreateDirectory(HasMaps ? Path.Combine(Bundle, "mapped") : Bundle);
        SparseBundleStorage disk = SparseBundleStorage.Create(Bundle, content.Length, Band, [1], b => EncryptedStorage.OfBand(b, Cipher));
        for (int at = 0; at < content.Length; at += 65_000) disk.Write(at, content.AsSpan(at, Math.Min(65_000, content.Length - at)));
        return disk;
    }

    protected override BlockStorage Reopen(BlockStorage storage)
    {
        storage.Dispose();
        return SparseBundleStorage.Open(Bundle, writable: false, b => EncryptedStorage.OfBand(b, Cipher));
    }
}

public sealed class EncryptedBundleTests : EncryptedBundleContract
{
    protected override bool HasMaps => false;

    [Fact]
    public void Bands_are_whole_after_a_flush_and_nothing_in_them_is_plain_zeros()
    {
        Directory.CreateDirectory(Bundle);
        using (SparseBundleStorage disk =
            SparseBundleStorage.Create(Bundle, (200 * Band) + 5120, Band, [1], b => EncryptedStorage.OfBand(b, Cipher)))
        {
            // More bands than are kept open.
            for (long band = 0; band < 200; band += 2) disk.Write((band * Band) + 300_000, [7]);
            disk.Write(200L * Band, [7]);
            disk.Flush();
        }

        string[] bands = Directory.GetFiles(Path.Combine(Bundle, "bands"));
        Assert.Equal(101, bands.Length);
        foreach (string band in bands)
        {
            byte[] bytes = File.ReadAllBytes(band);
            Assert.Equal(Path.GetFileName(band) == "c8" ? 5120 : Band, bytes.Length);
            for (int at = 0; at < bytes.Length; at += 512) Assert.True(bytes.AsSpan(at, 512).ContainsAnyExcept((byte)0));
        }
    }

    public override void Dispose()
    {
        Cipher.Dispose();
        base.Dispose();
        GC.SuppressFinalize(this);
    }
}

public sealed class EncryptedBundleWithMapsTests : EncryptedBundleContract
{
    protected override bool HasMaps => true;
}
