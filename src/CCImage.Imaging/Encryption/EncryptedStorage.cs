using System.Buffers;
using System.Security.Cryptography;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Encryption;

/// <summary>
/// The plaintext of an encrypted file: it lies below the container, so that every format is read and written through it unchanged. Blocks
/// are counted from the start of the data (in a bundle, from the start of each band).
/// <para>
/// What lies beneath is ciphertext everywhere: a gap that a write leaves is filled with enciphered zeros before the write, because a hole
/// of the host would decipher to noise. The length in the header is written by <see cref="Flush"/>, after the data it counts are on the
/// medium, so that every prefix of the writes is a valid image.
/// </para>
/// </summary>
internal sealed class EncryptedStorage : BlockStorage
{
    /// <summary>Ciphered in one go, and locked as one when the file can be written: long enough to be fast, short enough to bound
    /// memory.</summary>
    private const int MostWindowSize = 1 << 20;

    private readonly BlockStorage _inner;
    private readonly BlockCipher _cipher;
    private readonly long _dataOffset;
    private readonly int _windowSize;
    private readonly bool _ownsInner;
    private readonly bool _ownsCipher;
    private readonly bool _keepsSize;
    private readonly bool _writable;

    /// <summary>
    /// Half a chain of new bytes and half of old ones are neither: who reads or writes a window keeps others out of it. Windows share the
    /// locks in turn. Null when nobody writes.
    /// </summary>
    private readonly Lock[]? _windows;

    /// <summary>Held while the data become longer or shorter. Taken before a window's lock.</summary>
    private readonly Lock _growing = new();
    private long _length;
    private long _savedLength;

    /// <summary>Opens the layer.</summary>
    /// <param name="inner">The file. The layer can be written when the file can.</param>
    /// <param name="cipher">The keys.</param>
    /// <param name="dataOffset">Where the data begin in the file, in bytes; in front of them stands a version 2 header that keeps their
    /// length, or nothing.</param>
    /// <param name="length">Bytes of data; what the file lacks of them is an error when it is read.</param>
    /// <param name="ownsInner">Whether the file is disposed with the layer.</param>
    /// <param name="ownsCipher">Whether the cipher is disposed with the layer: a bundle's bands share one.</param>
    /// <param name="readOnly">Whether it is not to be written although the file can.</param>
    public EncryptedStorage(
        BlockStorage inner, BlockCipher cipher, long dataOffset, long length, bool ownsInner = true, bool ownsCipher = true,
        bool readOnly = false)
    {
        (_inner, _cipher, _dataOffset, _length, _savedLength) = (inner, cipher, dataOffset, length, length);
        (_ownsInner, _ownsCipher) = (ownsInner, ownsCipher);
        _windowSize = MostWindowSize / cipher.BlockSize * cipher.BlockSize;
        _keepsSize = dataOffset > 0;
        _writable = inner.CanWrite && !readOnly;
        if (_writable) _windows = [.. Enumerable.Range(0, 16).Select(_ => new Lock())];
    }

    /// <inheritdoc/>
    public override long Length => Volatile.Read(ref _length);

    /// <summary>Bytes of data that the header tells of and the file does not have; 0 for a whole file.</summary>
    public long CutBytes { get; private init; }

    /// <inheritdoc/>
    public override bool CanWrite => _writable;

    /// <inheritdoc/>
    public override bool CanGrow => _writable && _inner.CanGrow;

    /// <summary>Opens an encrypted file with its passphrase; writable when the file is and the encryption is of version 2.</summary>
    /// <param name="file">The file; owned by the result.</param>
    /// <param name="passphrase">The passphrase.</param>
    /// <param name="mayBeCut">Whether a file that ends before its data is opened as far as it goes (see <see cref="CutBytes"/>), to be
    /// read.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">Damaged, not supported, or not the passphrase.</exception>
    public static EncryptedStorage Open(
        BlockStorage file, Passphrase passphrase, bool mayBeCut = false, CancellationToken cancellation = default)
    {
        EncryptionHeader header = EncryptionHeader.Read(file);
        long there = Math.Max(0, file.Length - header.DataOffset) / header.BlockSize * header.BlockSize, cut = 0;
        if (header.DataOffset > file.Length || header.DataSize > file.Length - header.DataOffset)
        {
            if (!mayBeCut || there == 0) throw CutShort(header, file);
            cut = header.DataSize - there;
        }

        return new EncryptedStorage(
            file, new BlockCipher(header.Unlock(passphrase, cancellation), header.BlockSize), header.DataOffset, header.DataSize - cut,
            readOnly: header.Version != 2 || cut > 0)
        {
            CutBytes = cut,
        };
    }

    private static ImageException CutShort(EncryptionHeader header, BlockStorage file) => ImageException.Damaged(
        $"The file has {file.Length} bytes, and {header.DataSize} bytes of data should begin at {header.DataOffset}.",
        "encryption header at byte 0");

    /// <summary>
    /// The layer over a band of a bundle, which is encrypted by itself, its blocks counted from 0. Bytes at its end that are less than a
    /// cipher's block were torn when it grew, and nobody can read them: the band ends before them.
    /// </summary>
    /// <param name="band">The band's file; owned by the result.</param>
    /// <param name="cipher">The keys, which all bands share; stays the caller's.</param>
    public static EncryptedStorage OfBand(BlockStorage band, BlockCipher cipher) =>
        new(band, cipher, 0, band.Length / BlockCipher.CipherSize * BlockCipher.CipherSize, ownsCipher: false);

    /// <summary>Whether what lies beneath goes on behind the data: a cut was interrupted.</summary>
    public bool HasRemains => _keepsSize && _inner.Length > _dataOffset + Layout.RoundUp(_length, _cipher.BlockSize);

    /// <summary>Cuts the data, or extends them by zeros.</summary>
    /// <param name="length">The new length in bytes.</param>
    /// <exception cref="NotSupportedException">The storage is read-only, or data are to be cut and what lies beneath is no
    /// file.</exception>
    public void SetLength(long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (!CanGrow) throw new NotSupportedException("The length of this storage cannot change.");
        lock (_growing)
        {
            if (length > _length)
            {
                FillWithZeros(length);
                return;
            }

            // The header first: never may it count what is gone. The chain that the data now end in is whole, so it stays. The same length
            // once more ends a cut that was interrupted in between.
            FileStorage file = _inner as FileStorage ?? throw new NotSupportedException("Only a file can be cut.");
            Volatile.Write(ref _length, length);
            SaveLength();
            file.SetLength(_dataOffset + Layout.RoundUp(length, _cipher.BlockSize));
        }
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        if (!_writable) return;
        if (!_keepsSize) _inner.Flush();
        else lock (_growing) SaveLength();
    }

    /// <inheritdoc/>
    protected override void ReadCore(long offset, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            Span<byte> part = buffer[..PartInWindow(offset, buffer.Length)];
            ReadWindow(offset, part);
            buffer = buffer[part.Length..];
            offset += part.Length;
        }
    }

    /// <inheritdoc/>
    protected override void WriteCore(long offset, ReadOnlySpan<byte> buffer)
    {
        if (offset > long.MaxValue - buffer.Length - _dataOffset - _cipher.BlockSize)
            throw new ArgumentOutOfRangeException(nameof(offset), "The data would end behind every file.");
        if (offset + buffer.Length <= Length)
        {
            WriteWindows(offset, buffer);
            return;
        }

        lock (_growing)
        {
            FillWithZeros(offset);
            WriteWindows(offset, buffer);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            if (_ownsInner) _inner.Dispose();
            if (_ownsCipher) _cipher.Dispose();
        }

        base.Dispose(disposing);
    }

    private int RoundUp(int length) => (int)Layout.RoundUp(length, _cipher.BlockSize);

    /// <summary>How many bytes of a range lie in the window it begins in. Windows are whole blocks.</summary>
    private int PartInWindow(long offset, int length) => (int)Math.Min(length, _windowSize - (offset % _windowSize));

    private Lock.Scope Enter(long offset) => _windows is null ? default : _windows[offset / _windowSize % _windows.Length].EnterScope();

    private void ReadWindow(long offset, Span<byte> part)
    {
        (long block, long within) = Math.DivRem(offset, _cipher.BlockSize);
        int lead = (int)within, end = lead + part.Length, span = RoundUp(end);
        if (lead == 0 && span == end)
        {
            using (Enter(offset)) ReadCiphertext(block, part, end);
            _cipher.Decrypt(part, block);
            return;
        }

        byte[] rented = ArrayPool<byte>.Shared.Rent(span);
        Span<byte> work = rented.AsSpan(0, span);
        try
        {
            using (Enter(offset)) ReadCiphertext(block, work, end);
            _cipher.Decrypt(work, block);
            work[lead..end].CopyTo(part);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(work);
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    /// <summary>
    /// Reads whole blocks. The last one may be stored short, the format pads it, some writers do not; but of a cipher's block all bytes are
    /// needed.
    /// </summary>
    private void ReadCiphertext(long block, Span<byte> work, int needed)
    {
        long at = _dataOffset + (block * _cipher.BlockSize);
        int stored = (int)Math.Clamp(_inner.Length - at, 0, work.Length);
        if (stored < Layout.RoundUp(needed, BlockCipher.CipherSize))
            throw ImageException.Damaged("The file ends inside the encrypted data.", $"byte {_inner.Length}");
        _inner.Read(at, work[..stored]);
        work[stored..].Clear();
    }

    private void WriteWindows(long offset, ReadOnlySpan<byte> buffer)
    {
        byte[] rented = ArrayPool<byte>.Shared.Rent(RoundUp(Math.Min(_windowSize, buffer.Length)) + _cipher.BlockSize);
        try
        {
            while (!buffer.IsEmpty)
            {
                ReadOnlySpan<byte> part = buffer[..PartInWindow(offset, buffer.Length)];
                WriteWindow(offset, part, rented);
                buffer = buffer[part.Length..];
                offset += part.Length;
            }
        }
        catch
        {
            // Otherwise nothing but ciphertext is left in it.
            CryptographicOperations.ZeroMemory(rented);
            throw;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    private void WriteWindow(long offset, ReadOnlySpan<byte> part, byte[] rented)
    {
        (long block, long within) = Math.DivRem(offset, _cipher.BlockSize);
        int lead = (int)within, end = lead + part.Length;
        Span<byte> work = rented.AsSpan(0, RoundUp(end));
        bool isWhole = lead == 0 && end == work.Length;
        if (isWhole)
        {
            part.CopyTo(work);
            _cipher.Encrypt(work, block);
        }

        using (Enter(offset))
        {
            if (!isWhole)
            {
                // The blocks at both ends keep what is not written.
                long last = block + ((end - 1) / _cipher.BlockSize);
                if (lead > 0) LoadBlock(block, work[.._cipher.BlockSize]);
                if (end < work.Length && (lead == 0 || last > block)) LoadBlock(last, work[^_cipher.BlockSize..]);
                part.CopyTo(work[lead..]);
                _cipher.Encrypt(work, block);
            }

            _inner.Write(_dataOffset + (block * _cipher.BlockSize), work);

            // Here, so that nobody who writes into the same block takes the new bytes for padding.
            if (offset + part.Length > Length) Volatile.Write(ref _length, offset + part.Length);
        }
    }

    /// <summary>One block in the clear, with zeros behind the end of the data: what stands there is padding.</summary>
    private void LoadBlock(long block, Span<byte> work)
    {
        int known = (int)Math.Clamp(Length - (block * _cipher.BlockSize), 0, work.Length);
        if (known > 0)
        {
            ReadCiphertext(block, work, known);
            _cipher.Decrypt(work, block);
        }

        work[known..].Clear();
    }

    /// <summary>Extends the data by enciphered zeros. Under the lock of growing.</summary>
    private void FillWithZeros(long length)
    {
        if (length <= _length) return;
        byte[] zeros = new byte[(int)Math.Min(length - _length, _windowSize)];
        while (_length < length) WriteWindows(_length, zeros.AsSpan(0, (int)Math.Min(length - _length, zeros.Length)));
    }

    /// <summary>Data first, then what counts them. Under the lock of growing.</summary>
    private void SaveLength()
    {
        _inner.Flush();
        if (!_keepsSize || _savedLength == _length) return;
        long length = _length;
        EncryptionHeader.WriteDataSize(_inner, length);
        _inner.Flush();
        _savedLength = length;
    }
}
