using System.Security.Cryptography;

namespace CCImage.Encryption;

/// <summary>The content of a key entry of version 2, unwrapped, as it is to be wrapped again: in pinned memory, zeroed when
/// disposed.</summary>
/// <param name="Bytes">AES key, HMAC key, marker.</param>
/// <param name="Offset">Where the entry begins in the header.</param>
/// <param name="WrappedSize">Bytes of the wrapped keys in it.</param>
internal sealed record KeyBlob(byte[] Bytes, long Offset, int WrappedSize) : IDisposable
{
    /// <inheritdoc/>
    public void Dispose() => CryptographicOperations.ZeroMemory(Bytes);
}
