using System.Runtime.InteropServices;

namespace CCImage.Fuzzing;

/// <summary>How often each basic block of the library ran. Called by the instrumented library itself.</summary>
public static unsafe class Coverage
{
    /// <summary>Counters.</summary>
    public const int Size = 1 << 16;

    private static readonly byte* s_counters = (byte*)NativeMemory.AllocZeroed(Size);

    /// <summary>The counters, each a byte that starts again at 0.</summary>
    internal static Span<byte> Counters => new(s_counters, Size);

    /// <summary>Counts. Not exact with several threads, which does no harm.</summary>
    /// <param name="block">Number of the block.</param>
    public static void Hit(int block) => s_counters[block] = unchecked((byte)(s_counters[block] + 1));
}
