using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Encryption;

/// <summary>
/// What the header of an encrypted image says: readable without the passphrase. <see cref="Unlock"/> turns it, with the passphrase, into
/// keys.
/// </summary>
internal sealed class EncryptionHeader
{
    /// <summary>
    /// The most key-derivation rounds that are tried: ten times the most seen. More would be a file made to hang its reader.
    /// </summary>
    public const uint MaximumIterations = 5_000_000;

    /// <summary>Bytes of the key that wraps.</summary>
    public const int TripleDesKeySize = 24;

    /// <summary>Bytes of a block of the cipher that wraps, and of its IV.</summary>
    public const int TripleDesBlock = 8;

    private const int SectorSize = 512;
    private const int MaximumKeyEntries = 64;
    private const int MaximumWrappedSize = 4096;

    /// <summary>Bytes in front of a key that version 1 wraps.</summary>
    private const int LengthSize = 4;

    // RFC 3217, section 3.1: the fixed IV of the outer layer of a Triple-DES key wrap.
    private static ReadOnlySpan<byte> KeyWrapIv => [0x4A, 0xDD, 0xA2, 0x2C, 0x79, 0xE8, 0x21, 0x05];

    /// <summary>What stands behind the keys once they are unwrapped.</summary>
    public static ReadOnlySpan<byte> KeyMarker => "CKIE\0"u8;

    private EncryptionHeader()
    {
    }

    /// <summary>1 or 2.</summary>
    public required int Version { get; init; }

    /// <summary>Size of the AES key in bits: 128 or 256.</summary>
    public required int KeyBits { get; init; }

    /// <summary>Bytes enciphered as one chain, a multiple of 16.</summary>
    public required int BlockSize { get; init; }

    /// <summary>Where the data begin in the file, in bytes.</summary>
    public required long DataOffset { get; init; }

    /// <summary>True length of the data in bytes; 0 in a bundle's token, where the bands tell it.</summary>
    public required long DataSize { get; init; }

    /// <summary>Tells the image from all others; null in version 1, which has none.</summary>
    public Guid? Identifier { get; private init; }

    /// <summary>The byte behind the last key entry and the keys they point to; 0 in version 1, which has its trailer.</summary>
    public long HeaderEnd { get; private init; }

    /// <summary>The public form of the key size.</summary>
    public BackupImageEncryption Encryption => KeyBits == 256 ? BackupImageEncryption.Aes256 : BackupImageEncryption.Aes128;

    private PassphraseKey[] PassphraseKeys { get; init; } = [];

    private EncryptionTrailerV1? Trailer { get; init; }

    /// <summary>Whether a file (or a bundle's token) begins or ends as encrypted images do.</summary>
    /// <param name="file">The file.</param>
    public static bool IsMatch(BlockStorage file) => HasSignatureV2(file) || HasSignatureV1(file);

    /// <summary>Parses the header.</summary>
    /// <param name="file">The file, or the token of a bundle.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/> or
    /// <see cref="ImageErrorId.UnsupportedFormat"/>.</exception>
    public static EncryptionHeader Read(BlockStorage file) =>
        HasSignatureV2(file) ? ReadV2(file) : HasSignatureV1(file) ? ReadV1(file)
            : throw ImageException.Damaged("There is no encryption header.");

    /// <summary>Derives and unwraps the keys.</summary>
    /// <param name="passphrase">The passphrase.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.WrongPassphrase"/>.</exception>
    public DiskKeys Unlock(Passphrase passphrase, CancellationToken cancellation = default)
    {
        if (Trailer is EncryptionTrailerV1 trailer)
            return UnlockV1(trailer, KeyBits / 8, passphrase, cancellation) ?? throw WrongPassphrase();
        using KeyBlob blob = UnwrapKeys(passphrase, cancellation);
        return new DiskKeys(blob.Bytes.AsSpan(0, KeyBits / 8), blob.Bytes.AsSpan(KeyBits / 8, DiskKeys.HmacKeySize));
    }

    /// <summary>Unwraps the keys of a version 2 header, all that is wrapped with them included.</summary>
    /// <param name="passphrase">The passphrase.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.WrongPassphrase"/>, or there is no passphrase.</exception>
    internal KeyBlob UnwrapKeys(Passphrase passphrase, CancellationToken cancellation = default)
    {
        if (PassphraseKeys.Length == 0)
        {
            throw ImageException.Unsupported(
                "The image opens with a certificate only, not with a passphrase.",
                "Attach it on the Mac that holds the certificate, and convert it there.");
        }

        foreach (PassphraseKey key in PassphraseKeys)
        {
            if (UnwrapV2(key, passphrase, cancellation) is { } blob) return new KeyBlob(blob, key.Offset, key.Wrapped.Length);
        }

        throw WrongPassphrase();
    }

    /// <summary>The refusal to write what is encrypted in the way of version 1.</summary>
    /// <param name="remedy">The way out.</param>
    public static ImageException VersionOneUnsupported(string remedy) =>
        ImageException.Unsupported("The image is encrypted in the way of Mac OS X 10.3 and 10.4, which is read but not written.", remedy);

    private static ImageException WrongPassphrase() =>
        new(ImageErrorId.WrongPassphrase, "The passphrase does not open the image.",
            remedy: "Check the passphrase; upper and lower case count.");

    /// <summary>Where the data begin in a file with a version 2 header; null for every other file.</summary>
    /// <param name="file">The file.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static long? TryReadDataOffset(BlockStorage file)
    {
        if (!HasSignatureV2(file)) return null;
        ulong offset = ReadStructure<EncryptionHeaderV2>(file, 0, "encryption header").DataOffset;
        return offset <= (ulong)file.Length ? (long)offset
            : throw ImageException.Damaged($"The data begin at {offset}, behind the end of the file.", "encryption header at byte 0");
    }

    /// <summary>The identifier in a version 2 header.</summary>
    /// <param name="header">The bytes of the header.</param>
    public static Guid UuidOf(ReadOnlySpan<byte> header) => UuidOf(Layout.Read<EncryptionHeaderV2>(header));

    /// <summary>Notes the true length of the data in a version 2 header: eight bytes of one sector.</summary>
    /// <param name="file">The file.</param>
    /// <param name="length">Bytes of data.</param>
    public static void WriteDataSize(BlockStorage file, long length) =>
        file.Write(Marshal.OffsetOf<EncryptionHeaderV2>(nameof(EncryptionHeaderV2.DataSize)), Layout.ToBytes<UInt64BE>((ulong)length));

    private static Guid UuidOf(in EncryptionHeaderV2 header) => new((ReadOnlySpan<byte>)header.Uuid, bigEndian: true);

    private static bool HasSignatureV2(BlockStorage file) =>
        file.Length >= sizeof(ulong) && ReadUInt64(file, 0) == EncryptionHeaderV2.SignatureValue;

    private static bool HasSignatureV1(BlockStorage file) =>
        file.Length >= Unsafe.SizeOf<EncryptionTrailerV1>()
            && ReadUInt64(file, file.Length - sizeof(ulong)) == EncryptionTrailerV1.SignatureValue;

    private static ulong ReadUInt64(BlockStorage file, long offset) => ReadStructure<UInt64BE>(file, offset, "signature");

    private static T ReadStructure<T>(BlockStorage file, long offset, string name)
        where T : unmanaged
    {
        int size = Unsafe.SizeOf<T>();
        if (offset < 0 || offset > file.Length - size)
            throw ImageException.Damaged($"The file ends before its {name}.", $"{name} at byte {offset}");
        byte[] bytes = new byte[size];
        file.Read(offset, bytes);
        return Layout.Read<T>(bytes);
    }

    private static EncryptionHeader ReadV2(BlockStorage file)
    {
        const string Place = "encryption header at byte 0";
        EncryptionHeaderV2 header = ReadStructure<EncryptionHeaderV2>(file, 0, "encryption header");
        if (header.Version != 2) throw ImageException.Unsupported($"Encryption version {header.Version} is not known.", place: Place);
        if (header.Algorithm != EncryptionHeaderV2.CipherAes || (uint)header.KeyBits is not (128 or 256) || header.IvSize != 16)
            throw ImageException.Unsupported(
                $"The cipher {(uint)header.Algorithm:X8} with {header.KeyBits} bits is not known.", place: Place);
        if (header.Mode != EncryptionHeaderV2.ModeCbc || header.IvAlgorithm != EncryptionHeaderV2.IvHmacSha1)
            throw ImageException.Unsupported(
                $"Cipher mode {header.Mode} with IVs of kind {header.IvAlgorithm} is not known.", place: Place);
        if (header.IvKeyBits != DiskKeys.HmacKeySize * 8)
            throw ImageException.Unsupported($"An IV key of {header.IvKeyBits} bits is not known.", place: Place);
        uint blockSize = header.BlockSize;
        if (blockSize is < SectorSize or > 1 << 20 || !BitOperations.IsPow2(blockSize))
            throw ImageException.Damaged($"A cipher block of {blockSize} bytes is not possible.", Place);
        if (header.DataOffset > long.MaxValue || header.DataSize > long.MaxValue || header.DataOffset % SectorSize != 0)
            throw ImageException.Damaged($"Data of {header.DataSize} bytes at byte {header.DataOffset} are not possible.", Place);
        if (header.KeyEntryCount > MaximumKeyEntries)
            throw ImageException.Damaged($"{header.KeyEntryCount} ways to the keys are too many.", Place);

        var keys = new List<PassphraseKey>();
        long entriesEnd = Unsafe.SizeOf<EncryptionHeaderV2>() + ((long)(uint)header.KeyEntryCount * Unsafe.SizeOf<KeyEntryV2>());
        long end = entriesEnd;
        for (int i = 0; i < (int)(uint)header.KeyEntryCount; i++)
        {
            long at = Unsafe.SizeOf<EncryptionHeaderV2>() + ((long)i * Unsafe.SizeOf<KeyEntryV2>());
            KeyEntryV2 entry = ReadStructure<KeyEntryV2>(file, at, "key entry");
            if (entry.Type != KeyEntryV2.TypePassphrase) continue;
            if (entry.Offset < (ulong)entriesEnd || entry.Offset > header.DataOffset || entry.Size > header.DataOffset - entry.Offset)
                throw ImageException.Damaged(
                    $"A wrapped key of {entry.Size} bytes at byte {entry.Offset} is not inside the header.", $"key entry {i} at byte {at}");
            PassphraseKey key = ReadPassphraseKey(file, entry, i);
            keys.Add(key);

            // Of all together: whoever does not know the passphrase waits for each of them.
            if (keys.Sum(k => (long)k.Iterations) > MaximumIterations)
                throw ImageException.Damaged($"More than {MaximumIterations} rounds of key derivation in all key entries are not possible.",
                    $"key entry {i} at byte {at}");
            end = Math.Max(end, (long)(ulong)entry.Offset + Unsafe.SizeOf<PassphraseKeyV2>() + key.Wrapped.Length);
        }

        return new EncryptionHeader
        {
            Version = 2,
            KeyBits = (int)(uint)header.KeyBits,
            BlockSize = (int)blockSize,
            DataOffset = (long)(ulong)header.DataOffset,
            DataSize = (long)(ulong)header.DataSize,
            PassphraseKeys = [.. keys],
            HeaderEnd = end,
            Identifier = UuidOf(in header),
        };
    }

    private static PassphraseKey ReadPassphraseKey(BlockStorage file, KeyEntryV2 entry, int number)
    {
        string place = $"key entry {number} at byte {(ulong)entry.Offset}";
        if (entry.Offset > (ulong)file.Length) throw ImageException.Damaged("A wrapped key lies beyond the end of the file.", place);
        long offset = (long)(ulong)entry.Offset;
        PassphraseKeyV2 key = ReadStructure<PassphraseKeyV2>(file, offset, "wrapped key");
        if (key.KdfAlgorithm != PassphraseKeyV2.KdfPbkdf2 || key.KdfPrf != PassphraseKeyV2.PrfHmacSha1)
            throw ImageException.Unsupported($"Key derivation {key.KdfAlgorithm}/{key.KdfPrf} is not known.", place: place);
        if (key.Algorithm != PassphraseKeyV2.CipherTripleDes || key.KeyBits != TripleDesKeySize * 8)
            throw ImageException.Unsupported($"Key wrap {key.Algorithm} with {key.KeyBits} bits is not known.", place: place);
        if (key.Padding != PassphraseKeyV2.PaddingPkcs7 || key.Mode != PassphraseKeyV2.ModeCbcPadded)
            throw ImageException.Unsupported($"Key wrap in mode {key.Mode} with padding {key.Padding} is not known.", place: place);
        if ((uint)key.Iterations is 0 or > MaximumIterations)
            throw ImageException.Damaged($"{key.Iterations} rounds of key derivation are not possible.", place);
        if (key.SaltSize > 32 || key.IvSize != TripleDesBlock)
            throw ImageException.Damaged("The salt or IV of a wrapped key has an impossible length.", place);
        if ((uint)key.WrappedSize is 0 or > MaximumWrappedSize || key.WrappedSize % TripleDesBlock != 0
            || entry.Size < (ulong)Unsafe.SizeOf<PassphraseKeyV2>() + (uint)key.WrappedSize)
            throw ImageException.Damaged($"A wrapped key of {key.WrappedSize} bytes is not possible.", place);
        byte[] wrapped = new byte[(uint)key.WrappedSize];
        long at = offset + Unsafe.SizeOf<PassphraseKeyV2>();
        if (at > file.Length - wrapped.Length) throw ImageException.Damaged("The file ends inside a wrapped key.", place);
        file.Read(at, wrapped);
        return new PassphraseKey(
            offset, (int)(uint)key.Iterations, Layout.AsBytes(ref key.Salt)[..(int)(uint)key.SaltSize].ToArray(),
            Layout.AsBytes(ref key.Iv)[..TripleDesBlock].ToArray(), wrapped);
    }

    private static EncryptionHeader ReadV1(BlockStorage file)
    {
        int size = Unsafe.SizeOf<EncryptionTrailerV1>();
        long at = file.Length - size;
        string place = $"encryption trailer at byte {at}";
        EncryptionTrailerV1 trailer = ReadStructure<EncryptionTrailerV1>(file, at, "encryption trailer");
        if ((uint)trailer.Iterations is 0 or > MaximumIterations)
            throw ImageException.Damaged($"{trailer.Iterations} rounds of key derivation are not possible.", place);
        if (trailer.SaltSize > 32 || trailer.WrappedAesKeySize > 296 || trailer.WrappedHmacKeySize > 300)
            throw ImageException.Damaged("A field of the encryption trailer is longer than its room.", place);
        if (trailer.Algorithm != EncryptionHeaderV2.CipherAes || (uint)trailer.KeyBits is not (128 or 256))
            throw ImageException.Unsupported(
                $"The cipher {(uint)trailer.Algorithm:X8} with {trailer.KeyBits} bits is not known.", place: place);
        if (trailer.Mode != EncryptionHeaderV2.ModeCbc)
            throw ImageException.Unsupported($"Cipher mode {trailer.Mode} is not known.", place: place);
        if ((uint)trailer.BlockSize is < SectorSize or > 1 << 20 || !BitOperations.IsPow2((uint)trailer.BlockSize))
            throw ImageException.Damaged($"A cipher block of {trailer.BlockSize} bytes is not possible.", place);
        return new EncryptionHeader
        {
            Version = 1,
            KeyBits = (int)(uint)trailer.KeyBits,
            BlockSize = (int)(uint)trailer.BlockSize,
            DataOffset = 0,
            DataSize = at,
            Trailer = trailer,
        };
    }

    private static DiskKeys? UnlockV1(EncryptionTrailerV1 trailer, int keySize, Passphrase passphrase, CancellationToken cancellation)
    {
        byte[] derived =
            Derive(passphrase, Layout.AsBytes(ref trailer.Salt)[..(int)(uint)trailer.SaltSize], (int)(uint)trailer.Iterations,
                cancellation);
        byte[]? aes = null;
        byte[]? hmac = null;
        try
        {
            aes = UnwrapV1(derived, Layout.AsBytes(ref trailer.WrappedAesKey)[..(int)(uint)trailer.WrappedAesKeySize]);
            hmac = UnwrapV1(derived, Layout.AsBytes(ref trailer.WrappedHmacKey)[..(int)(uint)trailer.WrappedHmacKeySize]);

            // The length that was unwrapped is another witness of the key's: a key cut short deciphers to noise, and nothing else would
            // tell.
            return aes?.Length == LengthSize + keySize && hmac?.Length == LengthSize + DiskKeys.HmacKeySize
                ? new DiskKeys(aes.AsSpan(LengthSize, keySize), hmac.AsSpan(LengthSize, DiskKeys.HmacKeySize))
                : null;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(derived);
            CryptographicOperations.ZeroMemory(aes);
            CryptographicOperations.ZeroMemory(hmac);
        }
    }

    // RFC 3217: decipher with the fixed IV, reverse the bytes, decipher again with the first eight as the IV. The plaintext starts with a
    // length of zero in four bytes.
    private static byte[]? UnwrapV1(byte[] derived, ReadOnlySpan<byte> wrapped)
    {
        byte[]? outer = DecipherTripleDes(derived, KeyWrapIv, wrapped);
        if (outer is null || outer.Length <= TripleDesBlock || outer.Length % TripleDesBlock != 0) return null;
        outer.AsSpan().Reverse();
        try
        {
            return DecipherTripleDes(derived, outer.AsSpan(0, TripleDesBlock), outer.AsSpan(TripleDesBlock));
        }
        finally
        {
            CryptographicOperations.ZeroMemory(outer);
        }
    }

    private byte[]? UnwrapV2(PassphraseKey key, Passphrase passphrase, CancellationToken cancellation)
    {
        byte[] derived = Derive(passphrase, key.Salt, key.Iterations, cancellation);
        try
        {
            byte[]? blob = DecipherTripleDes(derived, key.Iv, key.Wrapped);

            // A wrong passphrase passes the padding check once in 256 times; the marker behind the keys is what tells.
            int keysSize = (KeyBits / 8) + DiskKeys.HmacKeySize;
            if (blob is null || (blob.Length > keysSize && blob.AsSpan(keysSize).StartsWith(KeyMarker[..4]))) return blob;
            CryptographicOperations.ZeroMemory(blob);
            return null;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(derived);
        }
    }

    /// <summary>The key that wraps, from the passphrase; in pinned memory.</summary>
    /// <param name="passphrase">The passphrase.</param>
    /// <param name="salt">The salt.</param>
    /// <param name="iterations">Rounds of PBKDF2.</param>
    /// <param name="cancellation">Ends it.</param>
    internal static byte[] Derive(Passphrase passphrase, ReadOnlySpan<byte> salt, int iterations, CancellationToken cancellation = default)
    {
        byte[] derived = GC.AllocateUninitializedArray<byte>(TripleDesKeySize, pinned: true);
        passphrase.Derive(salt, iterations, derived, cancellation);
        return derived;
    }

    private static byte[]? DecipherTripleDes(byte[] key, ReadOnlySpan<byte> iv, ReadOnlySpan<byte> wrapped)
    {
        if (wrapped.IsEmpty || wrapped.Length % TripleDesBlock != 0) return null;
        byte[] plain = GC.AllocateUninitializedArray<byte>(wrapped.Length, pinned: true);
        using var cipher = TripleDES.Create();
        try
        {
            cipher.SetKey(key);
            int length = cipher.DecryptCbc(wrapped, iv, plain, PaddingMode.PKCS7);
            return Cut(plain, length);
        }
        catch (CryptographicException)
        {
            // Padding that does not fit (or, once in ages, a weak derived key): not the passphrase. Or a damaged padding behind the real
            // keys.
            CryptographicOperations.ZeroMemory(plain);
            return null;
        }

        static byte[] Cut(byte[] bytes, int length)
        {
            byte[] result = GC.AllocateUninitializedArray<byte>(length, pinned: true);
            bytes.AsSpan(0, length).CopyTo(result);
            CryptographicOperations.ZeroMemory(bytes);
            return result;
        }
    }

    private sealed record PassphraseKey(long Offset, int Iterations, byte[] Salt, byte[] Iv, byte[] Wrapped);
}
