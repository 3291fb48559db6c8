using System.Text;
using CCImage.Containers;
using CCImage.Containers.SparseBundle;
using CCImage.Containers.SparseImage;
using CCImage.Containers.Udif;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Storage;

namespace CCImage.Fuzzing;

/// <summary>UDIF: trailer, property list, block tables, checksums, and the disk behind.</summary>
internal sealed class UdifTarget : FuzzTarget
{
    /// <inheritdoc/>
    public override IReadOnlyList<byte[]> Words { get; } =
    [
        .. "koly|mish|<data>|</data>|<dict>|blkx|plst|<key>|</key>".Split('|').Select(Encoding.ASCII.GetBytes),
        [0x80, 0, 0, 4], [0x80, 0, 0, 5], [0x80, 0, 0, 6], [0x80, 0, 0, 7], [0x80, 0, 0, 8], [0x7F, 0xFF, 0xFF, 0xFE],
            [0xFF, 0xFF, 0xFF, 0xFF],
    ];

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        using var file = new RecordingMemory(input);
        if (ContainerDetection.Detect(file) != ContainerKind.Udif) return file.Reads;
        using UdifStorage image = UdifStorage.Open(file);
        new UdifChecker(image).Check(new ImageFindings("image"), SilentObserver.Instance, CancellationToken.None);
        image.ReadLicenceResources();
        DiskReading.Samples(image);
        DiskReading.Disk(image, null);
        return file.Reads;
    }
}

/// <summary>Sparse images: read, judged, and written to.</summary>
internal sealed class SparseImageTarget : FuzzTarget
{
    /// <inheritdoc/>
    public override bool ChangesLength => false;

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        using var file = new RecordingMemory(input);
        if (!SparseImageStorage.IsMatch(file)) return file.Reads;
        using (SparseImageStorage image = SparseImageStorage.Open(file, writable: false))
        {
            new SparseImageChecker(image).Check(new ImageFindings("image"));
            DiskReading.Samples(image);
            Expect(() => DiskReading.Disk(image, null));
        }

        using var writable = new RecordingMemory(input, isWritable: true);
        try
        {
            using SparseImageStorage image = SparseImageStorage.Open(writable, writable: true);
            for (long at = 0; at <= image.Length - 512; at += Math.Max(512, (image.Length / 3) & ~511L)) image.Write(at, [1]);
            image.Flush();
        }
        finally
        {
            writable.Undo();
        }

        return file.Reads;
    }
}

/// <summary>Sparse bundles; an input is their files, one after the other, cut by a line.</summary>
internal sealed class SparseBundleTarget : FuzzTarget
{
    private static readonly byte[] s_cut = "\n--8<--\n"u8.ToArray();
    private static readonly string[] s_names =
        [SparseBundleInfo.FileName, SparseBundleInfo.CopyName, SparseBundleStorage.TokenName, "bands/0", "bands/1", "mapped/0"];

    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-fuzz-").FullName;

    public SparseBundleTarget() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(_folder, recursive: true);

    /// <inheritdoc/>
    public override IReadOnlyList<byte[]> Words { get; } =
        [s_cut, .. "size|band-size|<integer>|</integer>|<key>|diskimage-bundle-type|bundle-backingstore-version|encrcdsa".Split('|')
            .Select(Encoding.ASCII.GetBytes)];

    /// <inheritdoc/>
    public override IEnumerable<byte[]> Seeds()
    {
        byte[] list = new SparseBundleInfo(4 << 20, 1 << 20, 1).ToPropertyList(),
            large = new SparseBundleInfo(10L << 40, 8 << 20, 1).ToPropertyList();
        byte[] band = new byte[9000], map = new byte[32],
            token = EncryptionHeaderWriter.Create(256, EncryptedTarget.Passphrase, 2, out DiskKeys keys);
        keys.Dispose();
        map.AsSpan().Fill(0xAA);
        return [Join(list, list, [], band, band), Join(list, [], []), Join(list, list, [], band, band, map), Join(large, list, [], band),
            Join(list, list, token[..2000], band, band, map)];
    }

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        PutFiles(input);
        if (ContainerDetection.Detect(_folder) != ContainerKind.SparseBundle) return [];
        new SparseBundleChecker(_folder).Check(new ImageFindings("bundle"), CancellationToken.None);
        var token = new MemoryStorage(SparseBundleStorage.ReadToken(_folder));
        if (token.Length > 0) EncryptionHeaderChecker.Check(token, true, new ImageFindings("token"));
        Expect(() => DiskImage.Inspect(_folder), ImageErrorId.PassphraseRequired);
        if (EncryptionHeader.IsMatch(token) && EncryptedTarget.HasManyRounds(token)) return [];
        Expect(
            () =>
            {
                using ImageContainer container = ImageContainer.Open(_folder, EncryptedTarget.Passphrase, writable: false);
                DiskReading.Samples(container.Disk);
                DiskReading.Disk(container.Disk, null);
            },
            ImageErrorId.WrongPassphrase);
        return [];
    }

    private static byte[] Join(params byte[][] files) => [.. files.SelectMany((file, i) => i == 0 ? file : s_cut.Concat(file))];

    private void PutFiles(ReadOnlySpan<byte> input)
    {
        foreach (string name in s_names)
        {
            int end = input.IndexOf(s_cut);
            ReadOnlySpan<byte> content = end < 0 ? input : input[..end];
            input = end < 0 ? [] : input[(end + s_cut.Length)..];
            string path = Path.Combine(_folder, name);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            if (content.IsEmpty && name != SparseBundleStorage.TokenName) File.Delete(path);
            else File.WriteAllBytes(path, content.ToArray());
        }
    }
}

/// <summary>Encrypted files: headers of both versions, and what they decipher.</summary>
internal sealed class EncryptedTarget : FuzzTarget
{
    private const int MostRounds = 5000; // more are lawful, and take their time

    /// <summary>Opens the seeds.</summary>
    public static Passphrase Passphrase { get; } = Passphrase.Take("fuzz"u8.ToArray());

    /// <summary>Whether any key entry asks for more rounds than are tried here.</summary>
    /// <param name="file">A file with a version 2 header.</param>
    public static bool HasManyRounds(BlockStorage file)
    {
        byte[] bytes = new byte[(int)Math.Min(file.Length, 64 << 10)];
        file.Read(0, bytes);
        var header = Binary.Layout.Read<EncryptionHeaderV2>(bytes.Length < 76 ? new byte[76] : bytes);
        for (int i = 0, at = 76; i < Math.Min(100, (uint)header.KeyEntryCount) && at + 20 <= bytes.Length; i++, at += 20)
        {
            ulong offset = Binary.Layout.Read<KeyEntryV2>(bytes.AsSpan(at)).Offset;
            if (offset >= (ulong)bytes.Length - 12
                || System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan((int)offset + 8)) > MostRounds) return true;
        }

        return header.Signature != EncryptionHeaderV2.SignatureValue; // version 1 always asks for 1,000
    }

    /// <inheritdoc/>
    public override IEnumerable<byte[]> Seeds()
    {
        foreach (int bits in (int[])[128, 256])
        {
            byte[] header = EncryptionHeaderWriter.Create(bits, Passphrase, 2, out DiskKeys keys), file = new byte[header.Length + 8192];
            keys.Dispose();
            header.CopyTo(file, 0);
            EncryptionHeader.WriteDataSize(new RecordingMemory(file, isWritable: true), 8000);
            yield return file;
        }
    }

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        using var file = new RecordingMemory(input);
        EncryptionHeaderChecker.Check(file, isToken: false, new ImageFindings("image"));
        if (!EncryptionHeader.IsMatch(file)) return file.Reads;
        EncryptionHeader header = EncryptionHeader.Read(file);
        if (header.Version != 2 || HasManyRounds(file)) return file.Reads;
        Expect(
            () =>
            {
                using EncryptedStorage plain = EncryptedStorage.Open(file, Passphrase);
                DiskReading.Samples(plain);
            },
            ImageErrorId.WrongPassphrase);
        return file.Reads;
    }
}
