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
            Assert.Equal(
                (2, bits, 512, 122_368L, 0L), (header.Version, header.KeyBits, header.BlockSize, header.DataOffset, header.DataSize));
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
            Assert.Equal(
                ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => EncryptionHeader.Read(new MemoryStorage(header))).Id);
        }
    }

    [Fact]
    public void Rounds_are_counted_over_all_key_entries()
    {
        byte[] header = WithTwoKeys("one", "two");
        foreach ((uint first, uint second, bool fits) in new[]
        {
            (3_000_000u, 2_000_000u, true), (3_000_000u, 2_000_001u, false), (4_000_000u, 4_000_000u, false),
        })
        {
            Layout.Write<UInt32BE>(header.AsSpan(FirstKey + 8), first);
            Layout.Write<UInt32BE>(header.AsSpan(SecondKey + 8), second);
            if (fits) Assert.Equal(2, EncryptionHeader.Read(new MemoryStorage(header)).Version);
            else Assert.Equal(
                ImageErrorId.ImageDamaged, Assert.Throws<ImageException>(() => EncryptionHeader.Read(new MemoryStorage(header))).Id);
        }
    }

    /// <summary>Nobody learns from the time how much of a passphrase was right: a wrong one costs the same derivations, and no fewer where
    /// there are several keys.</summary>
    [Fact]
    public void A_wrong_passphrase_costs_what_the_right_one_costs()
    {
        byte[] single = EncryptionHeaderWriter.Create(256, Secrets.Of("right"), Secrets.FewRounds, out DiskKeys keys);
        keys.Dispose();
        foreach ((byte[] header, string right, int cost) in new[] { (single, "right", 1), (WithTwoKeys("one", "two"), "one", 1),
            (WithTwoKeys("one", "two"), "two", 2) })
        {
            EncryptionHeader parsed = EncryptionHeader.Read(new MemoryStorage(header));
            using Passphrase good = Secrets.Of(right), bad = Secrets.Of("no");
            parsed.UnwrapKeys(good).Dispose();
            Assert.Throws<ImageException>(() => parsed.UnwrapKeys(bad));
            Assert.Equal(cost, good.Derivations);
            Assert.Equal(header == single ? 1 : 2, bad.Derivations);
        }
    }

    [CorpusFact]
    public void Version_1_costs_one_derivation_either_way()
    {
        CorpusImage image =
            CorpusImage.All.First(i => i.File.EndsWith("header_v1.dmg", StringComparison.Ordinal) && i.Passphrase.Length > 0);
        EncryptionHeader header = EncryptionHeader.Read(new MemoryStorage(File.ReadAllBytes(image.FullPath)));
        using Passphrase good = Secrets.Of(image.Passphrase), bad = Secrets.Of("no");
        header.Unlock(good).Dispose();
        Assert.Throws<ImageException>(() => header.Unlock(bad));
        Assert.Equal((1, 1), (good.Derivations, bad.Derivations));
        Assert.Null(header.Identifier);
    }

    [Fact]
    public void The_key_derived_last_is_kept_for_its_salt_and_rounds_only()
    {
        using Passphrase secret = Secrets.Of("pass");
        var headers = new List<EncryptionHeader>();
        var expected = new List<byte[]>();
        foreach (int rounds in new[] { 1000, 1000, 1001 })
        {
            headers.Add(EncryptionHeader.Read(new MemoryStorage(EncryptionHeaderWriter.Create(128, secret, rounds, out DiskKeys keys))));
            expected.Add(keys.AesKey.ToArray());
            keys.Dispose();
        }

        int before = secret.Derivations;
        foreach (int i in new[] { 2, 2, 0, 1, 1, 0 })
        {
            using DiskKeys keys = headers[i].Unlock(secret);
            Assert.Equal(expected[i], keys.AesKey.ToArray());
        }

        // The first is the one that was made last.
        Assert.Equal(3, secret.Derivations - before);
    }

    private const int FirstKey = 1024;
    private const int SecondKey = 2048;

    /// <summary>A header with two key entries, each with a passphrase of its own.</summary>
    private static byte[] WithTwoKeys(string first, string second)
    {
        byte[] header = EncryptionHeaderWriter.Create(128, Secrets.Of(first), Secrets.FewRounds, out DiskKeys keys);
        keys.Dispose();
        byte[] other = EncryptionHeaderWriter.Create(128, Secrets.Of(second), Secrets.FewRounds, out keys);
        keys.Dispose();
        int entries = Unsafe.SizeOf<EncryptionHeaderV2>(), entrySize = Unsafe.SizeOf<KeyEntryV2>(),
            keySize = Unsafe.SizeOf<PassphraseKeyV2>() + 48;
        header.AsSpan(entries + entrySize, keySize).CopyTo(header.AsSpan(FirstKey));
        other.AsSpan(entries + entrySize, keySize).CopyTo(header.AsSpan(SecondKey));
        Layout.Write<UInt32BE>(header.AsSpan((int)Marshal.OffsetOf<EncryptionHeaderV2>(nameof(EncryptionHeaderV2.KeyEntryCount))), 2);
        for (int i = 0; i < 2; i++)
        {
            Layout.Write(header.AsSpan(entries + (i * entrySize)), new KeyEntryV2
            {
                Type = KeyEntryV2.TypePassphrase, Offset = (ulong)(i == 0 ? FirstKey : SecondKey), Size = (ulong)keySize,
            });
        }

        return header;
    }
}
