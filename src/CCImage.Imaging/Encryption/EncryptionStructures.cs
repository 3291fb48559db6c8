using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

// Headers of encrypted disk images. Sources: the images in circulation (docs/formats/encryption.md says which), and the public analyses of
// the format (VileFault, 2006; vfdecrypt; John the Ripper's dmg2john). Every integer is big-endian.
namespace CCImage.Encryption;

/// <summary>Sixteen bytes.</summary>
[InlineArray(16)]
internal struct Bytes16
{
    private byte _first;
}

/// <summary>Thirty-two bytes.</summary>
[InlineArray(32)]
internal struct Bytes32
{
    private byte _first;
}

/// <summary>The fixed part of a version 2 header: at the start of the file, or of a bundle's <c>token</c> (76 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct EncryptionHeaderV2
{
    /// <summary>'encrcdsa' as a number.</summary>
    public const ulong SignatureValue = 0x656E637263647361;

    /// <summary>AES, as CDSA numbers ciphers that it did not know.</summary>
    public const uint CipherAes = 0x80000001;

    /// <summary>CBC.</summary>
    public const uint ModeCbc = 5;

    /// <summary>HMAC-SHA1.</summary>
    public const uint IvHmacSha1 = 91;

    public UInt64BE Signature;

    /// <summary>2.</summary>
    public UInt32BE Version;

    /// <summary>16 bytes.</summary>
    public UInt32BE IvSize;

    /// <summary>5: CBC, as CDSA numbers modes.</summary>
    public UInt32BE Mode;

    /// <summary>0x80000001: AES.</summary>
    public UInt32BE Algorithm;

    /// <summary>128 or 256.</summary>
    public UInt32BE KeyBits;

    /// <summary>91: HMAC-SHA1 makes the IVs.</summary>
    public UInt32BE IvAlgorithm;

    /// <summary>160.</summary>
    public UInt32BE IvKeyBits;

    public Bytes16 Uuid;

    /// <summary>Bytes enciphered as one chain: 4,096 in old images, 512 in newer ones.</summary>
    public UInt32BE BlockSize;

    /// <summary>True length of the data in bytes; 0 in a bundle's token.</summary>
    public UInt64BE DataSize;

    /// <summary>Where the data begin, in bytes from the start of the file.</summary>
    public UInt64BE DataOffset;

    /// <summary>How many <see cref="KeyEntryV2"/> follow.</summary>
    public UInt32BE KeyEntryCount;
}

/// <summary>Where one way to the keys is stored (20 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct KeyEntryV2
{
    /// <summary>1: by passphrase. Others (certificates) exist.</summary>
    public const uint TypePassphrase = 1;

    public UInt32BE Type;
    public UInt64BE Offset;
    public UInt64BE Size;
}

/// <summary>The keys, wrapped with a passphrase (104 bytes; the wrapped keys follow).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct PassphraseKeyV2
{
    /// <summary>PBKDF2.</summary>
    public const uint KdfPbkdf2 = 103;

    /// <summary>HMAC-SHA1.</summary>
    public const uint PrfHmacSha1 = 0;

    /// <summary>Triple-DES in EDE order.</summary>
    public const uint CipherTripleDes = 17;

    /// <summary>PKCS #7.</summary>
    public const uint PaddingPkcs7 = 7;

    /// <summary>CBC with padding.</summary>
    public const uint ModeCbcPadded = 6;

    /// <summary>103: PBKDF2.</summary>
    public UInt32BE KdfAlgorithm;

    /// <summary>0: HMAC-SHA1.</summary>
    public UInt32BE KdfPrf;

    public UInt32BE Iterations;

    /// <summary>20 bytes.</summary>
    public UInt32BE SaltSize;

    public Bytes32 Salt;

    /// <summary>8 bytes.</summary>
    public UInt32BE IvSize;

    public Bytes32 Iv;

    /// <summary>192.</summary>
    public UInt32BE KeyBits;

    /// <summary>17: Triple-DES in EDE order.</summary>
    public UInt32BE Algorithm;

    /// <summary>7: PKCS #7.</summary>
    public UInt32BE Padding;

    /// <summary>6: CBC with padding.</summary>
    public UInt32BE Mode;

    /// <summary>Bytes of wrapped keys that follow.</summary>
    public UInt32BE WrappedSize;
}

/// <summary>Twelve bytes.</summary>
[InlineArray(12)]
internal struct Bytes12
{
    private byte _first;
}

/// <summary>Forty-eight bytes.</summary>
[InlineArray(48)]
internal struct Bytes48
{
    private byte _first;
}

/// <summary>Room for a wrapped AES key.</summary>
[InlineArray(296)]
internal struct Bytes296
{
    private byte _first;
}

/// <summary>Room for a wrapped HMAC key.</summary>
[InlineArray(300)]
internal struct Bytes300
{
    private byte _first;
}

/// <summary>The end of a version 1 trailer, but for its signature.</summary>
[InlineArray(476)]
internal struct Bytes476
{
    private byte _first;
}

/// <summary>The trailer of a version 1 image: the last bytes of the file, or the whole <c>token</c> of a bundle (1,276 bytes).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct EncryptionTrailerV1
{
    /// <summary>'cdsaencr' as a number.</summary>
    public const ulong SignatureValue = 0x63647361656E6372;

    public Bytes16 Uuid;

    /// <summary>Bytes enciphered as one chain: 4,096 in every image seen.</summary>
    public UInt32BE BlockSize;

    /// <summary>17, 7, 6 and 192: Triple-DES that wraps the keys, PKCS #7, CBC, key bits.</summary>
    public Bytes16 Wrap;

    /// <summary>8, 103 and 0: size of its IV, PBKDF2, HMAC-SHA1.</summary>
    public Bytes12 Derivation;
    public UInt32BE Iterations;
    public UInt32BE SaltSize;
    public Bytes32 Salt;

    /// <summary>16.</summary>
    public UInt32BE IvSize;

    /// <summary>5: CBC.</summary>
    public UInt32BE Mode;

    /// <summary>0x80000001: AES.</summary>
    public UInt32BE Algorithm;

    /// <summary>Size of the AES key in bits: 128 or 256.</summary>
    public UInt32BE KeyBits;
    public Bytes32 UnwrapIv;
    public UInt32BE WrappedAesKeySize;
    public Bytes296 WrappedAesKey;
    public UInt32BE WrappedHmacKeySize;
    public Bytes300 WrappedHmacKey;
    public UInt32BE WrappedIntegrityKeySize;
    public Bytes48 WrappedIntegrityKey;
    public Bytes476 Unknown2;
    public UInt64BE Signature;
}
