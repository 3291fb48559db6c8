using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Encryption;

/// <summary>
/// What the header of an encrypted image says: readable without the passphrase. <see cref="Unlock"/> turns it, with the passphrase, into keys.
/// </summary>
internal sealed class EncryptionHeader
{
    /// <summary>
    /// The most key-derivation rounds that are tried: twenty times what the newest macOS asks for. More would be a file made to hang its reader.
    /// </summary>
    public const uint MaximumIterations = 20_000_000;

    private const int MaximumKeyEntries = 64;
    private const int MaximumWrappedSize = 4096;
    private const uint PrfHmacSha1 = 0;
    private const uint KdfPbkdf2 = 103;
    private const uint CipherTripleDes = 17;
    private const uint CipherAes = 0x80000001;
    private const int TripleDesKeySize = 24;
    private const int TripleDesBlock = 8;

    // RFC 3217, section 3.1: the fixed IV of the outer layer of a Triple-DES key wrap.
    private static ReadOnlySpan<byte> KeyWrapIv => [0x4A, 0xDD, 0xA2, 0x2C, 0x79, 0xE8, 0x21, 0x05];

    private EncryptionHeader()
    {
    }

    /// <summary>1 or 2.</summary>
    public required int Version { get; init; }

    /// <summary>Size of the AES key in bits: 128 or 256; version 1 has 128.</summary>
    public required int KeyBits { get; init; }

    /// <summary>Bytes enciphered as one chain, a multiple of 16.</summary>
    public required int BlockSize { get; init; }

    /// <summary>Where the data begin in the file, in bytes.</summary>
    public required long DataOffset { get; init; }

    /// <summary>True length of the data in bytes; 0 in a bundle's token, where the bands tell it.</summary>
    public required long DataSize { get; init; }

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
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/> or <see cref="ImageErrorId.UnsupportedFormat"/>.</exception>
    public static EncryptionHeader Read(BlockStorage file) =>
        HasSignatureV2(file) ? ReadV2(file) : HasSignatureV1(file) ? ReadV1(file) : throw ImageException.Damaged("There is no encryption header.");

    /// <summary>Derives and unwraps the keys.</summary>
    /// <param name="passphrase">The passphrase.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.WrongPassphrase"/>.</exception>
    public DiskKeys Unlock(Passphrase passphrase)
    {
        if (Trailer is EncryptionTrailerV1 trailer) return UnlockV1(trailer, passphrase) ?? throw Wrong();
        if (PassphraseKeys.Length == 0)
        {
            throw ImageException.Unsupported(
                "The image opens with a certificate only, not with a passphrase.", "Attach it on the Mac that holds the certificate, and convert it there.");
        }

        foreach (PassphraseKey key in PassphraseKeys)
        {
            if (UnlockV2(key, passphrase) is { } keys) return keys;
        }

        throw Wrong();

        static ImageException Wrong() => new(ImageErrorId.WrongPassphrase, "The passphrase does not open the image.", remedy: "Check the passphrase; upper and lower case count.");
    }

    private static bool HasSignatureV2(BlockStorage file) => file.Length >= sizeof(ulong) && ReadUInt64(file, 0) == EncryptionHeaderV2.SignatureValue;

    private static bool HasSignatureV1(BlockStorage file) =>
        file.Length >= Unsafe.SizeOf<EncryptionTrailerV1>() && ReadUInt64(file, file.Length - sizeof(ulong)) == EncryptionTrailerV1.SignatureValue;

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
        if (header.Algorithm != CipherAes || (uint)header.KeyBits is not (128 or 256) || header.IvSize != 16)
            throw ImageException.Unsupported($"The cipher {(uint)header.Algorithm:X8} with {header.KeyBits} bits is not known.", place: Place);
        if (header.IvKeyBits != DiskKeys.HmacKeySize * 8) throw ImageException.Unsupported($"An IV key of {header.IvKeyBits} bits is not known.", place: Place);
        uint blockSize = header.BlockSize;
        if (blockSize is < 16 or > 1 << 20 || blockSize % 16 != 0) throw ImageException.Damaged($"A cipher block of {blockSize} bytes is not possible.", Place);
        if (header.DataOffset > long.MaxValue || header.DataSize > long.MaxValue)
            throw ImageException.Damaged("The data lie beyond every file.", Place);
        if (header.KeyEntryCount > MaximumKeyEntries) throw ImageException.Damaged($"{header.KeyEntryCount} ways to the keys are too many.", Place);

        var keys = new List<PassphraseKey>();
        long end = Unsafe.SizeOf<EncryptionHeaderV2>() + ((long)(uint)header.KeyEntryCount * Unsafe.SizeOf<KeyEntryV2>());
        for (int i = 0; i < (int)(uint)header.KeyEntryCount; i++)
        {
            long at = Unsafe.SizeOf<EncryptionHeaderV2>() + ((long)i * Unsafe.SizeOf<KeyEntryV2>());
            KeyEntryV2 entry = ReadStructure<KeyEntryV2>(file, at, "key entry");
            if (entry.Type != KeyEntryV2.TypePassphrase) continue;
            PassphraseKey key = ReadPassphraseKey(file, entry, i);
            keys.Add(key);
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
        };
    }

    private static PassphraseKey ReadPassphraseKey(BlockStorage file, KeyEntryV2 entry, int number)
    {
        string place = $"key entry {number} at byte {(ulong)entry.Offset}";
        if (entry.Offset > (ulong)file.Length) throw ImageException.Damaged("A wrapped key lies beyond the end of the file.", place);
        long offset = (long)(ulong)entry.Offset;
        PassphraseKeyV2 key = ReadStructure<PassphraseKeyV2>(file, offset, "wrapped key");
        if (key.KdfAlgorithm != KdfPbkdf2 || key.KdfPrf != PrfHmacSha1)
            throw ImageException.Unsupported($"Key derivation {key.KdfAlgorithm}/{key.KdfPrf} is not known.", place: place);
        if (key.Algorithm != CipherTripleDes || key.KeyBits != TripleDesKeySize * 8)
            throw ImageException.Unsupported($"Key wrap {key.Algorithm} with {key.KeyBits} bits is not known.", place: place);
        if ((uint)key.Iterations is 0 or > MaximumIterations)
            throw ImageException.Damaged($"{key.Iterations} rounds of key derivation are not possible.", place);
        if (key.SaltSize > 32 || key.IvSize != TripleDesBlock) throw ImageException.Damaged("The salt or IV of a wrapped key has an impossible length.", place);
        if ((uint)key.WrappedSize is 0 or > MaximumWrappedSize || key.WrappedSize % TripleDesBlock != 0)
            throw ImageException.Damaged($"A wrapped key of {key.WrappedSize} bytes is not possible.", place);
        byte[] wrapped = new byte[(uint)key.WrappedSize];
        long at = offset + Unsafe.SizeOf<PassphraseKeyV2>();
        if (at > file.Length - wrapped.Length) throw ImageException.Damaged("The file ends inside a wrapped key.", place);
        file.Read(at, wrapped);
        return new PassphraseKey(
            (int)(uint)key.Iterations, Layout.AsBytes(ref key.Salt)[..(int)(uint)key.SaltSize].ToArray(), Layout.AsBytes(ref key.Iv)[..TripleDesBlock].ToArray(), wrapped);
    }

    private static EncryptionHeader ReadV1(BlockStorage file)
    {
        int size = Unsafe.SizeOf<EncryptionTrailerV1>();
        long at = file.Length - size;
        string place = $"encryption trailer at byte {at}";
        EncryptionTrailerV1 trailer = ReadStructure<EncryptionTrailerV1>(file, at, "encryption trailer");
        if ((uint)trailer.Iterations is 0 or > MaximumIterations)
            throw ImageException.Damaged($"{trailer.Iterations} rounds of key derivation are not possible.", place);
        if (trailer.SaltSize > 48 || trailer.WrappedAesKeySize > 296 || trailer.WrappedHmacKeySize > 300)
            throw ImageException.Damaged("A field of the encryption trailer is longer than its room.", place);
        return new EncryptionHeader
        {
            Version = 1,
            KeyBits = 128,
            BlockSize = EncryptionTrailerV1.BlockSize,
            DataOffset = 0,
            DataSize = at,
            Trailer = trailer,
        };
    }

    private static DiskKeys? UnlockV1(EncryptionTrailerV1 trailer, Passphrase passphrase)
    {
        byte[] derived = Derive(passphrase, Layout.AsBytes(ref trailer.Salt)[..(int)(uint)trailer.SaltSize], (int)(uint)trailer.Iterations);
        byte[]? aes = null;
        byte[]? hmac = null;
        try
        {
            aes = UnwrapV1(derived, Layout.AsBytes(ref trailer.WrappedAesKey)[..(int)(uint)trailer.WrappedAesKeySize]);
            hmac = UnwrapV1(derived, Layout.AsBytes(ref trailer.WrappedHmacKey)[..(int)(uint)trailer.WrappedHmacKeySize]);
            return aes is { Length: >= 20 } && hmac is { Length: >= 24 } ? new DiskKeys(aes.AsSpan(4, 16), hmac.AsSpan(4, DiskKeys.HmacKeySize)) : null;
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

    private DiskKeys? UnlockV2(PassphraseKey key, Passphrase passphrase)
    {
        byte[] derived = Derive(passphrase, key.Salt, key.Iterations);
        byte[]? blob = null;
        try
        {
            blob = DecipherTripleDes(derived, key.Iv, key.Wrapped);
            int aesSize = KeyBits / 8;

            // A wrong passphrase passes the padding check once in 256 times; the marker behind the keys is what tells.
            return blob is not null && blob.Length >= aesSize + DiskKeys.HmacKeySize + 4 && blob.AsSpan(aesSize + DiskKeys.HmacKeySize).StartsWith("CKIE"u8)
                ? new DiskKeys(blob.AsSpan(0, aesSize), blob.AsSpan(aesSize, DiskKeys.HmacKeySize))
                : null;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(derived);
            CryptographicOperations.ZeroMemory(blob);
        }
    }

    private static byte[] Derive(Passphrase passphrase, ReadOnlySpan<byte> salt, int iterations)
    {
        byte[] derived = GC.AllocateUninitializedArray<byte>(TripleDesKeySize, pinned: true);
        Rfc2898DeriveBytes.Pbkdf2(passphrase.Bytes, salt, derived, iterations, HashAlgorithmName.SHA1);
        return derived;
    }

    private static byte[]? DecipherTripleDes(byte[] key, ReadOnlySpan<byte> iv, ReadOnlySpan<byte> wrapped)
    {
        if (wrapped.IsEmpty || wrapped.Length % TripleDesBlock != 0) return null;
        using var cipher = TripleDES.Create();
        try
        {
            cipher.Key = key;
            return cipher.DecryptCbc(wrapped, iv, PaddingMode.PKCS7);
        }
        catch (CryptographicException)
        {
            // Padding that does not fit (or, once in ages, a weak derived key): not the passphrase.
            return null;
        }
    }

    private sealed record PassphraseKey(int Iterations, byte[] Salt, byte[] Iv, byte[] Wrapped);
}
