using System.Security.Cryptography;

namespace CCImage.Encryption;

/// <summary>The keys of an encrypted image, unwrapped: in pinned memory, zeroed when disposed.</summary>
internal sealed class DiskKeys : IDisposable
{
    /// <summary>Bytes of the key that makes the IVs.</summary>
    public const int HmacKeySize = 20;

    private readonly byte[] _bytes;

    /// <summary>Takes a copy of both keys.</summary>
    /// <param name="aesKey">16 or 32 bytes.</param>
    /// <param name="hmacKey">20 bytes.</param>
    public DiskKeys(ReadOnlySpan<byte> aesKey, ReadOnlySpan<byte> hmacKey)
    {
        if (aesKey.Length is not (16 or 32)) throw new ArgumentException("An AES key has 16 or 32 bytes.", nameof(aesKey));
        if (hmacKey.Length != HmacKeySize) throw new ArgumentException("The HMAC key has 20 bytes.", nameof(hmacKey));
        _bytes = GC.AllocateUninitializedArray<byte>(aesKey.Length + hmacKey.Length, pinned: true);
        aesKey.CopyTo(_bytes);
        hmacKey.CopyTo(_bytes.AsSpan(aesKey.Length));
    }

    /// <summary>The key of the data.</summary>
    public ReadOnlySpan<byte> AesKey => _bytes.AsSpan(0, _bytes.Length - HmacKeySize);

    /// <summary>The key of the IVs.</summary>
    public ReadOnlySpan<byte> HmacKey => _bytes.AsSpan(_bytes.Length - HmacKeySize);

    /// <inheritdoc/>
    public void Dispose() => CryptographicOperations.ZeroMemory(_bytes);
}
