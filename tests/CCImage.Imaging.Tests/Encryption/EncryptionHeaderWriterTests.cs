using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;
using CCImage.Encryption;
using CCImage.Storage;

namespace CCImage.Tests.Encryption;

public class EncryptionHeaderWriterTests
{
    [CorpusFact]
    public void A_new_header_differs_from_the_newest_samples_in_keys_rounds_and_length_only()
    {
        foreach ((string name, int bits) in new[]
        {
            ("citruz__dmgwiz/input_aes256.dmg", 256), ("rizinorg__rizin-testbins/src-aes-128.dmg", 128),
            ("chocol4te__sparsebundle-utils/none-fat-aes128.sparsebundle/token", 128),
        })
        {
            byte[] sample = File.ReadAllBytes(Path.Combine(CorpusLocation.Folder!, name))[..EncryptionHeaderWriter.HeaderSize];
            byte[] ours = EncryptionHeaderWriter.Create(bits, Secrets.Of("secret"), 250_000, out DiskKeys keys);
            keys.Dispose();
            Assert.NotEqual(ours, sample);
            foreach (byte[] header in new[] { sample, ours })
            {
                Clear<EncryptionHeaderV2>(header, 0, nameof(EncryptionHeaderV2.Uuid), 16);
                Clear<EncryptionHeaderV2>(header, 0, nameof(EncryptionHeaderV2.DataSize), 8);
                Clear<PassphraseKeyV2>(header, 96, nameof(PassphraseKeyV2.Iterations), 4);
                Clear<PassphraseKeyV2>(header, 96, nameof(PassphraseKeyV2.Salt), 20);
                Clear<PassphraseKeyV2>(header, 96, nameof(PassphraseKeyV2.Iv), 8);
                header.AsSpan(96 + Unsafe.SizeOf<PassphraseKeyV2>(), bits == 256 ? 64 : 48).Clear();
            }

            Assert.Equal(sample, ours);
        }

        static void Clear<T>(byte[] header, int offset, string field, int length) =>
            header.AsSpan(offset + (int)Marshal.OffsetOf<T>(field), length).Clear();
    }

    [Theory]
    [InlineData(128)]
    [InlineData(256)]
    public void A_new_header_opens_with_its_passphrase_only_and_no_two_are_alike(int bits)
    {
        byte[] first = EncryptionHeaderWriter.Create(bits, Secrets.Of("pass ü"), Secrets.FewRounds, out DiskKeys keys);
        byte[] second = EncryptionHeaderWriter.Create(bits, Secrets.Of("pass ü"), Secrets.FewRounds, out DiskKeys others);
        using (keys)
        using (others)
        {
            EncryptionHeader header = EncryptionHeader.Read(new MemoryStorage(first));
            Assert.Equal((2, bits, 512, 122_368L, 0L), (header.Version, header.KeyBits, header.BlockSize, header.DataOffset, header.DataSize));
            using DiskKeys unlocked = header.Unlock(Secrets.Of("pass ü"));
            Assert.Equal(keys.AesKey.ToArray(), unlocked.AesKey.ToArray());
            Assert.Equal(keys.HmacKey.ToArray(), unlocked.HmacKey.ToArray());
            Assert.NotEqual(keys.AesKey.ToArray(), others.AesKey.ToArray());
            Assert.NotEqual(keys.HmacKey.ToArray(), others.HmacKey.ToArray());
            Assert.Equal(ImageErrorId.WrongPassphrase, Assert.Throws<ImageException>(() => header.Unlock(Secrets.Of("pass u"))).Id);
            Assert.Equal(ImageErrorId.WrongPassphrase, Assert.Throws<ImageException>(() => header.Unlock(Secrets.Of(""))).Id);

            // UUID, salt and IV are new each time.
            foreach ((int at, int length) in new[] { (36, 16), (112, 20), (148, 8) })
            {
                Assert.True(first.AsSpan(at, length).ContainsAnyExcept((byte)0));
                Assert.False(first.AsSpan(at, length).SequenceEqual(second.AsSpan(at, length)));
            }
        }
    }

    [Fact]
    public void Rounds_are_calibrated_but_never_few()
    {
        Assert.InRange(EncryptionHeaderWriter.CalibratedIterations, 250_000, 2_000_000);
        byte[] header = EncryptionHeaderWriter.Create(128, Secrets.Of("x"), null, out DiskKeys keys);
        keys.Dispose();
        Assert.Equal(EncryptionHeaderWriter.CalibratedIterations, (int)(uint)Layout.Read<PassphraseKeyV2>(header.AsSpan(96)).Iterations);
    }

    [Fact]
    public void Rounds_that_would_hang_the_reader_are_refused()
    {
        byte[] header = EncryptionHeaderWriter.Create(128, Secrets.Of("x"), Secrets.FewRounds, out DiskKeys keys);
        keys.Dispose();
        foreach (uint rounds in new[] { 0u, EncryptionHeader.MaximumIterations + 1, uint.MaxValue })
        {
            Layout.Write<UInt32BE>(header.AsSpan(96 + 8), rounds);
            Assert.Equal(ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => EncryptionHeader.Read(new MemoryStorage(header))).Id);
        }
    }
}
