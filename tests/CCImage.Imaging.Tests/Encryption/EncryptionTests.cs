using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using CCImage.Binary;
using CCImage.Encryption;
using CCImage.Storage;

namespace CCImage.Tests.Encryption;

public class EncryptionTests
{
    private static readonly byte[] HmacKey = [.. Enumerable.Range(1, 20).Select(i => (byte)(i * 11 % 256))];

    [Fact]
    public void The_structures_lie_as_on_disk()
    {
        Assert.Equal(0x4C, Unsafe.SizeOf<EncryptionHeaderV2>());
        Assert.Equal(0x34, (int)Marshal.OffsetOf<EncryptionHeaderV2>(nameof(EncryptionHeaderV2.BlockSize)));
        Assert.Equal(0x38, (int)Marshal.OffsetOf<EncryptionHeaderV2>(nameof(EncryptionHeaderV2.DataSize)));
        Assert.Equal(0x40, (int)Marshal.OffsetOf<EncryptionHeaderV2>(nameof(EncryptionHeaderV2.DataOffset)));
        Assert.Equal(0x48, (int)Marshal.OffsetOf<EncryptionHeaderV2>(nameof(EncryptionHeaderV2.KeyEntryCount)));
        Assert.Equal(0x14, Unsafe.SizeOf<KeyEntryV2>());
        Assert.Equal(0x68, Unsafe.SizeOf<PassphraseKeyV2>());
        Assert.Equal(0x4FC, Unsafe.SizeOf<EncryptionTrailerV1>());
        Assert.Equal(0x10, (int)Marshal.OffsetOf<EncryptionTrailerV1>(nameof(EncryptionTrailerV1.BlockSize)));
        Assert.Equal(0x30, (int)Marshal.OffsetOf<EncryptionTrailerV1>(nameof(EncryptionTrailerV1.Iterations)));
        Assert.Equal(0x64, (int)Marshal.OffsetOf<EncryptionTrailerV1>(nameof(EncryptionTrailerV1.KeyBits)));
        Assert.Equal(0x88, (int)Marshal.OffsetOf<EncryptionTrailerV1>(nameof(EncryptionTrailerV1.WrappedAesKeySize)));
        Assert.Equal(0x1B4, (int)Marshal.OffsetOf<EncryptionTrailerV1>(nameof(EncryptionTrailerV1.WrappedHmacKeySize)));
        Assert.Equal(0x4F4, (int)Marshal.OffsetOf<EncryptionTrailerV1>(nameof(EncryptionTrailerV1.Signature)));
    }

    [Theory]
    [InlineData(0u, 1)]
    [InlineData(5u, 8)]
    [InlineData(77u, 29)]
    [InlineData(uint.MaxValue - 3, 9)]
    public void Ivs_are_the_platforms_hmac_cut_short(uint first, int count)
    {
        using var batch = new HmacSha1Batch(HmacKey);
        byte[] ivs = new byte[count * 16];
        batch.Compute(first, ivs);
        for (int i = 0; i < count; i++)
        {
            UInt32BE number = unchecked(first + (uint)i);
            byte[] expected = HMACSHA1.HashData(HmacKey, Layout.ToBytes(in number));
            Assert.Equal(expected[..16], ivs.AsSpan(i * 16, 16).ToArray());
        }
    }

    [Theory]
    [InlineData(16, 512, 1)]
    [InlineData(32, 512, 1500)]
    [InlineData(16, 4096, 13)]
    [InlineData(32, 4096, 700)]
    public void Blocks_are_the_platforms_cbc(int keySize, int blockSize, int blocks)
    {
        byte[] key = RandomNumberGenerator.GetBytes(keySize);
        byte[] plain = RandomNumberGenerator.GetBytes(blockSize * blocks);
        byte[] expected = new byte[plain.Length];
        using (var aes = Aes.Create())
        {
            aes.Key = key;
            for (int i = 0; i < blocks; i++)
            {
                UInt32BE number = (uint)(i + 100);
                byte[] iv = HMACSHA1.HashData(HmacKey, Layout.ToBytes(in number))[..16];
                aes.EncryptCbc(plain.AsSpan(i * blockSize, blockSize), iv, expected.AsSpan(i * blockSize, blockSize), PaddingMode.None);
            }
        }

        using var cipher = new BlockCipher(new DiskKeys(key, HmacKey), blockSize);
        byte[] actual = [.. plain];
        cipher.Encrypt(actual, 100);
        Assert.Equal(expected, actual);
        cipher.Decrypt(actual, 100);
        Assert.Equal(plain, actual);
    }

    [CorpusFact]
    public void Raw_images_made_by_a_Mac_decode_to_their_disk()
    {
        int seen = 0;
        foreach (CorpusImage image in CorpusImage.All.Where(
            i => i.IsEncrypted && i.Container.Contains("raw/UDRW", StringComparison.Ordinal) && i.Passphrase.Length > 0))
        {
            using EncryptedStorage disk =
                EncryptedStorage.Open(new MemoryStorage(File.ReadAllBytes(image.FullPath)), Secrets.Of(image.Passphrase));
            byte[] bytes = new byte[image.CapacityBytes!.Value];
            disk.Read(0, bytes);
            Assert.True(image.Sha256 == Convert.ToHexStringLower(SHA256.HashData(bytes)), image.File);

            // In pieces that begin and end anywhere.
            byte[] piece = new byte[5000];
            disk.Read(3001, piece);
            Assert.Equal(bytes[3001..8001], piece);
            seen++;
        }

        Assert.True(seen >= 5, $"Only {seen} images were tried.");
    }

    [CorpusFact]
    public void A_wrong_passphrase_is_told_from_a_damaged_image()
    {
        foreach (string name in new[] { "citruz__dmgwiz/input_aes256.dmg", "openwall__john-samples/testimage.AES-128.64k.header_v1.dmg" })
        {
            var file = new MemoryStorage(File.ReadAllBytes(Path.Combine(CorpusLocation.Folder!, name)));
            var error = Assert.Throws<ImageException>(() => EncryptedStorage.Open(file, Secrets.Of("not this one")));
            Assert.Equal(ImageErrorId.WrongPassphrase, error.Id);
        }
    }

    [CorpusFact]
    public void Every_flipped_bit_of_a_header_gives_a_typed_error_or_opens()
    {
        byte[] original =
            File.ReadAllBytes(Path.Combine(CorpusLocation.Folder!, "openwall__john-samples/testimage.AES-128.64k.header_v2.dmg"));
        for (int bit = 0; bit < 96 * 8; bit++)
        {
            byte[] damaged = [.. original];
            damaged[bit / 8] ^= (byte)(1 << (bit % 8));
            MalformedInput.Try(() => EncryptionHeader.Read(new MemoryStorage(damaged)));
        }
    }

    /// <summary>Of a cipher's block nobody can read a part.</summary>
    [Fact]
    public void A_torn_end_is_an_error_in_a_file_and_the_end_of_a_band()
    {
        using var cipher = new BlockCipher(new DiskKeys(new byte[16], HmacKey), 512);
        byte[] plain = RandomNumberGenerator.GetBytes(1024), enciphered = [.. plain], read = new byte[1000];
        cipher.Encrypt(enciphered, 0);
        var torn = new MemoryStorage(enciphered[..1000]);
        using (var file = new EncryptedStorage(torn, cipher, 0, 1000, ownsCipher: false, readOnly: true))
        {
            file.Read(0, read.AsSpan(0, 992));
            Assert.Equal(plain[..992], read[..992]);
            Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => file.Read(0, read)).Id);
        }

        using EncryptedStorage band = EncryptedStorage.OfBand(torn, cipher);
        Assert.Equal(992, band.Length);
        band.Read(0, read.AsSpan(0, 992));
        Assert.Equal(plain[..992], read[..992]);
    }
}
