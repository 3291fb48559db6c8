using CCImage.Compression;

namespace CCImage.Containers.Udif;

/// <summary>A way to store runs: its type in block tables, hdiutil's code for images that use it, and the codec, where there is
/// one.</summary>
/// <param name="RunType">The run type.</param>
/// <param name="FormatCode">hdiutil's four letters.</param>
/// <param name="Format">The format of an image that uses it.</param>
/// <param name="Name">What people call it.</param>
/// <param name="Reader">Decompresses; null when this version cannot.</param>
internal sealed record UdifCodec(UdifRunType RunType, string FormatCode, BackupImageFormat Format, string Name, BlockCodec? Reader);

/// <summary>The list of codecs.</summary>
internal static class UdifCodecs
{
    /// <summary>Runs as they are.</summary>
    public static UdifCodec Raw { get; } = new(UdifRunType.Raw, "UDRO", BackupImageFormat.ReadOnly, "none", null);

    /// <summary>zlib.</summary>
    public static UdifCodec Zlib { get; } = new(UdifRunType.Zlib, "UDZO", BackupImageFormat.ReadOnlyZlib, "zlib", new ZlibCodec());

    /// <summary>All that compress.</summary>
    public static IReadOnlyList<UdifCodec> Compressed { get; } =
    [
        Zlib,
        new(UdifRunType.Adc, "UDCO", BackupImageFormat.ReadOnlyAdc, "ADC", new AdcCodec()),
        new(UdifRunType.Bzip2, "UDBZ", BackupImageFormat.ReadOnlyBzip2, "bzip2", new Bzip2Codec()),
        new(UdifRunType.Lzfse, "ULFO", BackupImageFormat.ReadOnlyLzfse, "LZFSE", new LzfseCodec()),
        new(UdifRunType.Lzma, "ULMO", BackupImageFormat.ReadOnlyLzma, "LZMA", new LzmaCodec()),
    ];

    /// <summary>The codec of a run type; null for what is not compressed.</summary>
    /// <param name="type">The run type.</param>
    public static UdifCodec? Find(UdifRunType type)
    {
        foreach (UdifCodec codec in Compressed)
            if (codec.RunType == type) return codec;
        return null;
    }
}
