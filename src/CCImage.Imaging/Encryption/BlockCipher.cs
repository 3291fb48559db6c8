using System.Buffers;
using System.Collections.Concurrent;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace CCImage.Encryption;

/// <summary>
/// AES-CBC over the numbered blocks of an encrypted image, many blocks in a call. Every block is a chain of its own whose IV is the
/// HMAC-SHA1 of its number, so the platform's AES can run over one step of many chains at once: deciphering is one ECB call and one XOR,
/// enciphering one ECB call for each 16 bytes of a block. The result is exactly CBC block by block. Thread-safe.
/// </summary>
internal sealed class BlockCipher : IDisposable
{
    /// <summary>Bytes of a block of AES.</summary>
    public const int CipherSize = 16;

    /// <summary>How many chains are enciphered side by side: enough to make a call into the platform cheap, few enough to stay in the
    /// cache.</summary>
    private const int MostChains = 2048;

    private readonly ConcurrentBag<Aes> _ciphers = [];
    private readonly HmacSha1Batch _ivs;
    private readonly DiskKeys _keys;

    /// <summary>Prepares the keys.</summary>
    /// <param name="keys">The keys; owned from now on.</param>
    /// <param name="blockSize">Bytes in a chain, a multiple of 16.</param>
    public BlockCipher(DiskKeys keys, int blockSize)
    {
        _keys = keys;
        BlockSize = blockSize;
        _ivs = new HmacSha1Batch(keys.HmacKey);
    }

    /// <summary>Bytes in a chain.</summary>
    public int BlockSize { get; }

    /// <summary>Deciphers whole blocks in place.</summary>
    /// <param name="data">A multiple of <see cref="BlockSize"/> bytes.</param>
    /// <param name="firstBlock">Number of the first block.</param>
    public void Decrypt(Span<byte> data, long firstBlock)
    {
        byte[] chained = ArrayPool<byte>.Shared.Rent(data.Length);
        Aes aes = Rent();
        try
        {
            // What each 16 bytes are XORed with once deciphered: the ciphertext before them, or the block's IV.
            Span<byte> before = chained.AsSpan(0, data.Length);
            data[..^CipherSize].CopyTo(before[CipherSize..]);
            int blocks = data.Length / BlockSize;
            byte[] ivs = ArrayPool<byte>.Shared.Rent(blocks * CipherSize);
            _ivs.Compute(unchecked((uint)firstBlock), ivs.AsSpan(0, blocks * CipherSize));
            for (int i = 0; i < blocks; i++) ivs.AsSpan(i * CipherSize, CipherSize).CopyTo(before[(i * BlockSize)..]);
            ArrayPool<byte>.Shared.Return(ivs);
            aes.DecryptEcb(data, data, PaddingMode.None);
            Xor(data, before);
        }
        finally
        {
            _ciphers.Add(aes);
            ArrayPool<byte>.Shared.Return(chained);
        }
    }

    /// <summary>Enciphers whole blocks in place.</summary>
    /// <param name="data">A multiple of <see cref="BlockSize"/> bytes.</param>
    /// <param name="firstBlock">Number of the first block.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Encrypt(Span<byte> data, long firstBlock)
    {
        Aes aes = Rent();
        byte[] step = ArrayPool<byte>.Shared.Rent(MostChains * CipherSize);
        try
        {
            while (!data.IsEmpty)
            {
                int chains = Math.Min(MostChains, data.Length / BlockSize);
                Span<byte> chain = step.AsSpan(0, chains * CipherSize);
                _ivs.Compute(unchecked((uint)firstBlock), chain);
                for (int at = 0; at < BlockSize; at += CipherSize)
                {
                    Span<Vector128Bytes> links = MemoryMarshal.Cast<byte, Vector128Bytes>(chain);
                    for (int i = 0; i < chains; i++) links[i] ^= MemoryMarshal.Read<Vector128Bytes>(data[((i * BlockSize) + at)..]);
                    aes.EncryptEcb(chain, chain, PaddingMode.None);
                    for (int i = 0; i < chains; i++) MemoryMarshal.Write(data[((i * BlockSize) + at)..], in links[i]);
                }

                data = data[(chains * BlockSize)..];
                firstBlock += chains;
            }
        }
        finally
        {
            _ciphers.Add(aes);
            CryptographicOperations.ZeroMemory(step);
            ArrayPool<byte>.Shared.Return(step);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        while (_ciphers.TryTake(out Aes? aes)) aes.Dispose();
        _ivs.Dispose();
        _keys.Dispose();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Xor(Span<byte> data, ReadOnlySpan<byte> with)
    {
        Span<Vector<byte>> left = MemoryMarshal.Cast<byte, Vector<byte>>(data);
        ReadOnlySpan<Vector<byte>> right = MemoryMarshal.Cast<byte, Vector<byte>>(with);
        for (int i = 0; i < left.Length; i++) left[i] ^= right[i];
        for (int i = left.Length * Vector<byte>.Count; i < data.Length; i++) data[i] ^= with[i];
    }

    private Aes Rent()
    {
        if (_ciphers.TryTake(out Aes? aes)) return aes;
        aes = Aes.Create();
        aes.SetKey(_keys.AesKey);
        return aes;
    }

    /// <summary>Sixteen bytes that XOR as one.</summary>
    [StructLayout(LayoutKind.Sequential, Pack = 1)]
    private readonly struct Vector128Bytes
    {
        private readonly ulong _low;
        private readonly ulong _high;

        private Vector128Bytes(ulong low, ulong high) => (_low, _high) = (low, high);

        public static Vector128Bytes operator ^(Vector128Bytes a, Vector128Bytes b) => new(a._low ^ b._low, a._high ^ b._high);
    }
}
