using System.Buffers;
using System.Security.Cryptography;
using CCImage.Storage;

namespace CCImage.Encryption;

/// <summary>
/// The plaintext of an encrypted file: it lies below the container, so that every format is read through it unchanged. Blocks are counted
/// from the start of the data (in a bundle, from the start of each band).
/// </summary>
internal sealed class EncryptedStorage : BlockStorage
{
    /// <summary>Deciphered in one go: long enough to be fast, short enough to bound memory.</summary>
    private const int MostBytesAtOnce = 1 << 20;

    private readonly BlockStorage _inner;
    private readonly BlockCipher _cipher;
    private readonly long _dataOffset;
    private readonly bool _ownsCipher;

    /// <summary>Opens the layer.</summary>
    /// <param name="inner">The file; owned from now on.</param>
    /// <param name="cipher">The keys.</param>
    /// <param name="dataOffset">Where the data begin in the file, in bytes.</param>
    /// <param name="length">Bytes of data; what the file lacks of them is an error when it is read.</param>
    /// <param name="ownsCipher">Whether the cipher is disposed with the layer: a bundle's bands share one.</param>
    public EncryptedStorage(BlockStorage inner, BlockCipher cipher, long dataOffset, long length, bool ownsCipher)
    {
        (_inner, _cipher, _dataOffset, Length, _ownsCipher) = (inner, cipher, dataOffset, length, ownsCipher);
    }

    /// <inheritdoc/>
    public override long Length { get; }

    /// <summary>Opens an encrypted file with its passphrase.</summary>
    /// <param name="file">The file; owned by the result.</param>
    /// <param name="passphrase">The passphrase.</param>
    /// <exception cref="ImageException">Damaged, not supported, or not the passphrase.</exception>
    public static EncryptedStorage Open(BlockStorage file, Passphrase passphrase)
    {
        EncryptionHeader header = EncryptionHeader.Read(file);
        if (header.DataOffset > file.Length || header.DataSize > file.Length - header.DataOffset)
        {
            throw ImageException.Damaged(
                $"The file has {file.Length} bytes, and {header.DataSize} bytes of data should begin at {header.DataOffset}.", "encryption header at byte 0");
        }

        return new EncryptedStorage(file, new BlockCipher(header.Unlock(passphrase), header.BlockSize), header.DataOffset, header.DataSize, ownsCipher: true);
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        int blockSize = _cipher.BlockSize;
        byte[] rented = ArrayPool<byte>.Shared.Rent(Math.Max(blockSize, Math.Min(MostBytesAtOnce, buffer.Length) + (2 * blockSize)));
        try
        {
            while (!buffer.IsEmpty)
            {
                long block = offset / blockSize;
                int lead = (int)(offset % blockSize);
                int wanted = Math.Min(buffer.Length, MostBytesAtOnce);
                int span = (lead + wanted + blockSize - 1) / blockSize * blockSize;
                Span<byte> work = rented.AsSpan(0, span);

                // The last block may be stored short; the format pads it, some writers do not.
                long at = _dataOffset + (block * blockSize);
                int stored = (int)Math.Min(span, _inner.Length - at);
                if (stored < lead + wanted && stored < span)
                    throw ImageException.Damaged("The file ends inside the encrypted data.", $"byte {_inner.Length}");
                _inner.Read(at, work[..stored]);
                work[stored..].Clear();
                _cipher.Decrypt(work, block);
                work.Slice(lead, wanted).CopyTo(buffer);
                buffer = buffer[wanted..];
                offset += wanted;
            }
        }
        finally
        {
            CryptographicOperations.ZeroMemory(rented);
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _inner.Dispose();
            if (_ownsCipher) _cipher.Dispose();
        }

        base.Dispose(disposing);
    }
}
