using System.Runtime.InteropServices;

namespace CCImage.Compression;

/// <summary>
/// The machine's own LZMA encoder: <c>liblzma</c> of the XZ Utils, on macOS <c>libcompression</c>. Found at the first use, by name; nothing
/// of it is shipped with the program.
/// </summary>
internal abstract unsafe class SystemLzma
{
    private static readonly string[] LiblzmaNames =
        OperatingSystem.IsWindows() ? ["liblzma.dll", "lzma.dll", "liblzma-5.dll"]
        : OperatingSystem.IsMacOS()
            ? ["/usr/lib/liblzma.5.dylib", "liblzma.5.dylib", "/opt/homebrew/lib/liblzma.5.dylib", "/usr/local/lib/liblzma.5.dylib"]
        : ["liblzma.so.5", "liblzma.so"];

    private static readonly Lazy<SystemLzma> Loaded = new(
        () => Load(OperatingSystem.IsMacOS() ? ["/usr/lib/libcompression.dylib"] : [], LiblzmaNames), LazyThreadSafetyMode.PublicationOnly);

    /// <summary>The encoder.</summary>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/>: there is none.</exception>
    public static SystemLzma Current => Loaded.Value;

    /// <summary>Compresses to one .xz file with LZMA2 and no check, as Apple's images have it: UDIF has checksums of its own.</summary>
    /// <param name="source">The plain bytes.</param>
    /// <param name="destination">Room for the result.</param>
    /// <param name="level">The preset, 0 to 9.</param>
    /// <returns>Bytes used, or 0 when it does not fit.</returns>
    public abstract int Encode(ReadOnlySpan<byte> source, Span<byte> destination, int level);

    /// <summary>Tries libraries by name; here so that the tests see what happens without them.</summary>
    internal static SystemLzma Load(string[] libcompressionNames, string[] liblzmaNames)
    {
        foreach (string name in libcompressionNames)
        {
            if (NativeLibrary.TryLoad(name, out nint library) && Libcompression.From(library) is { } encoder) return encoder;
        }

        foreach (string name in liblzmaNames)
        {
            if (NativeLibrary.TryLoad(name, out nint library) && Liblzma.From(library) is { } encoder) return encoder;
        }

        throw new ImageException(
            ImageErrorId.ComponentMissing,
            "This machine has no library that compresses with LZMA (liblzma of the XZ Utils).",
            remedy: OperatingSystem.IsWindows()
                ? "Put liblzma.dll of the XZ Utils (tukaani.org/xz) into a folder of the PATH, or choose another format, for example LZFSE."
                : "Install liblzma (package liblzma5 or xz-libs), or choose another format, for example LZFSE.");
    }

    /// <summary>XZ Utils 5. Signatures from <c>lzma/container.h</c>, <c>lzma/lzma12.h</c>, <c>lzma/filter.h</c>.</summary>
    private sealed class Liblzma : SystemLzma
    {
        private const int Ok = 0;
        private const int MemoryError = 5;
        private const int BufferError = 10;
        private const int CheckNone = 0;
        private const ulong Lzma2Filter = 0x21;

        // lzma_options_lzma has some 112 bytes, reserved fields included; its first field is the dictionary size.
        private const int OptionsSize = 256;
        private const uint SmallestDictionary = 64 << 10;

        private readonly delegate* unmanaged[Cdecl]<byte*, uint, byte> _preset;
        private readonly delegate* unmanaged[Cdecl]<Filter*, int, nint, byte*, nuint, byte*, nuint*, nuint, int> _encode;

        private Liblzma(nint preset, nint encode)
        {
            _preset = (delegate* unmanaged[Cdecl]<byte*, uint, byte>)preset;
            _encode = (delegate* unmanaged[Cdecl]<Filter*, int, nint, byte*, nuint, byte*, nuint*, nuint, int>)encode;
        }

        public static Liblzma? From(nint library) =>
            NativeLibrary.TryGetExport(library, "lzma_lzma_preset", out nint preset)
            && NativeLibrary.TryGetExport(library, "lzma_stream_buffer_encode", out nint encode) ? new Liblzma(preset, encode) : null;

        public override int Encode(ReadOnlySpan<byte> source, Span<byte> destination, int level)
        {
            if (destination.IsEmpty) return 0; // an error of the caller to the library
            ulong* options = stackalloc ulong[OptionsSize / sizeof(ulong)];
            if (_preset((byte*)options, (uint)level) != 0)
                throw new InvalidOperationException($"liblzma does not know the preset {level}.");

            // A dictionary larger than the block finds nothing more, but costs ten times its size in memory.
            uint dictionary = SmallestDictionary;
            while (dictionary < source.Length && dictionary < 1u << 30) dictionary <<= 1;
            *(uint*)options = Math.Min(*(uint*)options, dictionary);

            Filter* filters = stackalloc Filter[2];
            filters[0] = new Filter { Id = Lzma2Filter, Options = options };
            filters[1] = new Filter { Id = ulong.MaxValue };
            nuint used = 0;
            int result;
            fixed (byte* input = source)
            fixed (byte* output = destination)
            {
                result = _encode(filters, CheckNone, 0, input, (nuint)source.Length, output, &used, (nuint)destination.Length);
            }

            return result switch
            {
                Ok => (int)used,
                BufferError => 0,
                MemoryError => throw new InsufficientMemoryException("liblzma is out of memory."),
                _ => throw new InvalidOperationException($"liblzma refused to encode (code {result})."),
            };
        }

        private struct Filter
        {
            public ulong Id;
            public void* Options;
        }
    }

    /// <summary>Apple's Compression framework; its LZMA is xz at preset 6, whatever level is asked for.</summary>
    private sealed class Libcompression : SystemLzma
    {
        private const int AlgorithmLzma = 0x306;

        private readonly delegate* unmanaged[Cdecl]<byte*, nuint, byte*, nuint, void*, int, nuint> _encode;

        private Libcompression(nint encode) => _encode = (delegate* unmanaged[Cdecl]<byte*, nuint, byte*, nuint, void*, int, nuint>)encode;

        public static Libcompression? From(nint library) =>
            NativeLibrary.TryGetExport(library, "compression_encode_buffer", out nint encode) ? new Libcompression(encode) : null;

        public override int Encode(ReadOnlySpan<byte> source, Span<byte> destination, int level)
        {
            fixed (byte* input = source)
            fixed (byte* output = destination)
            {
                return (int)_encode(output, (nuint)destination.Length, input, (nuint)source.Length, null, AlgorithmLzma);
            }
        }
    }
}
