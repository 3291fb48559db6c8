using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.Encryption;

/// <summary>
/// Makes headers of version 2 as the newest samples have them, and wraps existing keys under another passphrase. Keys, salts and IVs come
/// from the system's generator, never from a recipe: two images are never encrypted alike.
/// </summary>
internal static class EncryptionHeaderWriter
{
    /// <summary>Bytes of a new header, which are also where the data begin: 239 sectors.</summary>
    public const int HeaderSize = 122_368;

    /// <summary>Bytes enciphered as one chain in new images.</summary>
    public const int BlockSize = 512;

    /// <summary>The fewest rounds of key derivation in a new header.</summary>
    public const int FewestIterations = 250_000;

    /// <summary>As many rounds as a machine may do in a quarter of a second that is to be opened by slower ones too.</summary>
    private const int MostIterations = 2_000_000;

    private const int SaltSize = 20;

    /// <summary>What a key entry reserves for the wrapped keys.</summary>
    private const int WrappedRoom = 512;

    private static readonly Lazy<int> s_calibrated = new(Calibrate);

    /// <summary>Rounds of key derivation that take this machine about a quarter of a second.</summary>
    public static int CalibratedIterations => s_calibrated.Value;

    /// <summary>Makes a header and the keys it wraps.</summary>
    /// <param name="keyBits">128 or 256.</param>
    /// <param name="passphrase">The passphrase. Stays the caller's.</param>
    /// <param name="iterations">Rounds of key derivation; null for what takes a quarter of a second here.</param>
    /// <param name="keys">Receives the keys; the caller's.</param>
    /// <returns><see cref="HeaderSize"/> bytes, with no data counted yet.</returns>
    public static byte[] Create(int keyBits, Passphrase passphrase, int? iterations, out DiskKeys keys)
    {
        if (keyBits is not (128 or 256)) throw new ArgumentOutOfRangeException(nameof(keyBits));
        int aesSize = keyBits / 8;
        byte[] header = new byte[HeaderSize];
        int entryOffset = Unsafe.SizeOf<EncryptionHeaderV2>() + Unsafe.SizeOf<KeyEntryV2>();
        var fixedPart = new EncryptionHeaderV2
        {
            Signature = EncryptionHeaderV2.SignatureValue,
            Version = 2,
            IvSize = 16,
            Mode = EncryptionHeaderV2.ModeCbc,
            Algorithm = EncryptionHeaderV2.CipherAes,
            KeyBits = (uint)keyBits,
            IvAlgorithm = EncryptionHeaderV2.IvHmacSha1,
            IvKeyBits = DiskKeys.HmacKeySize * 8,
            BlockSize = BlockSize,
            DataOffset = HeaderSize,
            KeyEntryCount = 1,
        };
        Guid.NewGuid().TryWriteBytes(fixedPart.Uuid, bigEndian: true, out _);
        Layout.Write(header, in fixedPart);
        Layout.Write(header.AsSpan(Unsafe.SizeOf<EncryptionHeaderV2>()), new KeyEntryV2
        {
            Type = KeyEntryV2.TypePassphrase,
            Offset = (ulong)entryOffset,
            Size = (ulong)(Unsafe.SizeOf<PassphraseKeyV2>() + WrappedRoom),
        });

        byte[] blob = GC.AllocateUninitializedArray<byte>(aesSize + DiskKeys.HmacKeySize + EncryptionHeader.KeyMarker.Length, pinned: true);
        try
        {
            RandomNumberGenerator.Fill(blob.AsSpan(0, aesSize + DiskKeys.HmacKeySize));
            EncryptionHeader.KeyMarker.CopyTo(blob.AsSpan(aesSize + DiskKeys.HmacKeySize));
            Wrap(blob, passphrase, iterations ?? CalibratedIterations, header.AsSpan(entryOffset));
            keys = new DiskKeys(blob.AsSpan(0, aesSize), blob.AsSpan(aesSize, DiskKeys.HmacKeySize));
        }
        finally
        {
            CryptographicOperations.ZeroMemory(blob);
        }

        return header;
    }

    /// <summary>Begins an encrypted file: header, and no data.</summary>
    /// <param name="file">An empty file that grows; stays the caller's.</param>
    /// <param name="keyBits">128 or 256.</param>
    /// <param name="passphrase">The passphrase. Stays the caller's.</param>
    /// <param name="iterations">As for <see cref="Create"/>.</param>
    public static EncryptedStorage CreateFile(BlockStorage file, int keyBits, Passphrase passphrase, int? iterations = null)
    {
        if (!file.CanGrow || file.Length != 0) throw new ArgumentException("The file must be empty and able to grow.", nameof(file));
        byte[] header = Create(keyBits, passphrase, iterations, out DiskKeys keys);
        file.Write(0, header);
        return new EncryptedStorage(file, new BlockCipher(keys, BlockSize), HeaderSize, 0, ownsInner: false);
    }

    /// <summary>
    /// Wraps the keys of a version 2 header under a new passphrase, with a new salt and IV. The keys, and so the data, stay as they are; so
    /// does every other way to the keys.
    /// </summary>
    /// <param name="header">The bytes of a header; changed.</param>
    /// <param name="oldPassphrase">Opens it now.</param>
    /// <param name="newPassphrase">Is to open it.</param>
    /// <param name="iterations">As for <see cref="Create"/>.</param>
    /// <returns>The bytes that changed: first and length.</returns>
    /// <exception cref="ImageException">As <see cref="EncryptionHeader.Read"/> and <see cref="EncryptionHeader.Unlock"/>; version
    /// 1.</exception>
    public static (int Offset, int Length) Rewrap(byte[] header, Passphrase oldPassphrase, Passphrase newPassphrase, int? iterations)
    {
        EncryptionHeader parsed = EncryptionHeader.Read(new MemoryStorage(header));
        if (parsed.Version != 2) throw EncryptionHeader.VersionOneUnsupported("Convert it to a new image with the new passphrase.");

        using KeyBlob blob = parsed.UnwrapKeys(oldPassphrase);
        int offset = (int)blob.Offset;
        Wrap(blob.Bytes, newPassphrase, iterations ?? CalibratedIterations, header.AsSpan(offset));
        return (offset, Unsafe.SizeOf<PassphraseKeyV2>() + blob.WrappedSize);
    }

    /// <summary>Wraps keys and lays down what says how.</summary>
    private static void Wrap(byte[] blob, Passphrase passphrase, int iterations, Span<byte> destination)
    {
        var key = new PassphraseKeyV2
        {
            KdfAlgorithm = PassphraseKeyV2.KdfPbkdf2,
            KdfPrf = PassphraseKeyV2.PrfHmacSha1,
            Iterations = (uint)iterations,
            SaltSize = SaltSize,
            IvSize = EncryptionHeader.TripleDesBlock,
            KeyBits = EncryptionHeader.TripleDesKeySize * 8,
            Algorithm = PassphraseKeyV2.CipherTripleDes,
            Padding = PassphraseKeyV2.PaddingPkcs7,
            Mode = PassphraseKeyV2.ModeCbcPadded,
        };
        Span<byte> salt = Layout.AsBytes(ref key.Salt)[..SaltSize];
        Span<byte> iv = Layout.AsBytes(ref key.Iv)[..EncryptionHeader.TripleDesBlock];
        RandomNumberGenerator.Fill(salt);
        RandomNumberGenerator.Fill(iv);
        byte[] derived = EncryptionHeader.Derive(passphrase, salt, iterations);
        try
        {
            using var cipher = TripleDES.Create();
            cipher.SetKey(derived);
            key.WrappedSize = (uint)cipher.EncryptCbc(blob, iv, destination[Unsafe.SizeOf<PassphraseKeyV2>()..], PaddingMode.PKCS7);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(derived);
        }

        Layout.Write(destination, in key);
    }

    private static int Calibrate()
    {
        // Not the first call: that one loads the system's library.
        const int Sample = 50_000;
        Span<byte> derived = stackalloc byte[EncryptionHeader.TripleDesKeySize];
        Rfc2898DeriveBytes.Pbkdf2("calibration"u8, derived, derived, 1, HashAlgorithmName.SHA1);
        long start = Stopwatch.GetTimestamp();
        Rfc2898DeriveBytes.Pbkdf2("calibration"u8, new byte[SaltSize], derived, Sample, HashAlgorithmName.SHA1);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return (int)Math.Clamp(Sample * 0.25 / Math.Max(seconds, 1e-6), FewestIterations, MostIterations);
    }
}
