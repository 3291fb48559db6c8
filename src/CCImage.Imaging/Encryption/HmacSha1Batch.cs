using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Security.Cryptography;

namespace CCImage.Encryption;

/// <summary>
/// HMAC-SHA1 of many 32-bit numbers under one key, eight at a time: what the IVs of an encrypted image are made of. Both message blocks
/// that depend on the key alone are hashed once; a number then costs two SHA-1 rounds instead of four and no call into the platform.
/// Sources: FIPS 180-4 (SHA-1), RFC 2104 (HMAC). The platform's own HMAC is the reference the tests compare with.
/// </summary>
internal sealed class HmacSha1Batch : IDisposable
{
    /// <summary>How many numbers are hashed side by side.</summary>
    public const int Lanes = 8;

    /// <summary>Bytes kept of each code: an AES IV.</summary>
    public const int IvSize = 16;

    private const int BlockSize = 64;
    private const int StateWords = 5;
    private readonly uint[] _states = GC.AllocateUninitializedArray<uint>(2 * StateWords, pinned: true);

    /// <summary>Hashes the key.</summary>
    /// <param name="key">At most 64 bytes.</param>
    public HmacSha1Batch(ReadOnlySpan<byte> key)
    {
        Span<byte> pad = stackalloc byte[BlockSize];
        KeyState(key, pad, 0x36, _states.AsSpan(0, StateWords));
        KeyState(key, pad, 0x5C, _states.AsSpan(StateWords));
        CryptographicOperations.ZeroMemory(pad);
    }

    /// <summary>Computes the first 16 bytes of HMAC-SHA1(key, number as 4 big-endian bytes) for consecutive numbers.</summary>
    /// <param name="first">The first number; they wrap at 2^32, as the format's counter does.</param>
    /// <param name="ivs">16 bytes for each number.</param>
    public void Compute(uint first, Span<byte> ivs)
    {
        Span<byte> last = stackalloc byte[Lanes * IvSize];
        while (ivs.Length >= last.Length)
        {
            ComputeLanes(first, ivs);
            ivs = ivs[last.Length..];
            first = unchecked(first + Lanes);
        }

        if (ivs.IsEmpty) return;
        ComputeLanes(first, last);
        last[..ivs.Length].CopyTo(ivs);
    }

    /// <inheritdoc/>
    public void Dispose() => CryptographicOperations.ZeroMemory(MemoryMarshal.AsBytes(_states.AsSpan()));

    // Compiled with all optimisations at once: a job of a second would spend most of it in the quickly compiled form.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void ComputeLanes(uint first, Span<byte> ivs)
    {
        Span<Vector256<uint>> w = stackalloc Vector256<uint>[16];
        Span<Vector256<uint>> state = stackalloc Vector256<uint>[StateWords];

        // Inner hash: one more block of the number, the padding bit, and the length of 64 + 4 bytes in bits.
        w.Clear();
        w[0] = Vector256.Create(first) + Vector256.Create(0u, 1, 2, 3, 4, 5, 6, 7);
        w[1] = Vector256.Create(0x80000000u);
        w[15] = Vector256.Create((uint)(BlockSize + 4) * 8);
        Compress(_states.AsSpan(0, StateWords), w, state);

        // Outer hash: one more block of the inner hash.
        w.Clear();
        state.CopyTo(w);
        w[5] = Vector256.Create(0x80000000u);
        w[15] = Vector256.Create((uint)(BlockSize + 20) * 8);
        Compress(_states.AsSpan(StateWords), w, state);

        for (int lane = 0; lane < Lanes; lane++)
        {
            for (int word = 0; word < IvSize / 4; word++)
                BinaryPrimitives.WriteUInt32BigEndian(ivs[((lane * IvSize) + (word * 4))..], state[word].GetElement(lane));
        }
    }

    private static void KeyState(ReadOnlySpan<byte> key, Span<byte> pad, byte filler, Span<uint> state)
    {
        pad.Fill(filler);
        for (int i = 0; i < key.Length; i++) pad[i] ^= key[i];
        Span<Vector256<uint>> w = stackalloc Vector256<uint>[16];
        for (int i = 0; i < 16; i++) w[i] = Vector256.Create(BinaryPrimitives.ReadUInt32BigEndian(pad[(i * 4)..]));
        Span<Vector256<uint>> result = stackalloc Vector256<uint>[StateWords];
        Compress([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0], w, result);
        for (int i = 0; i < StateWords; i++) state[i] = result[i].GetElement(0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> RotateLeft(Vector256<uint> value, int bits) => (value << bits) | (value >>> (32 - bits));

    // One block of SHA-1 in every lane, from the same starting state. The schedule is kept as a ring of sixteen words.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Compress(ReadOnlySpan<uint> start, Span<Vector256<uint>> w, Span<Vector256<uint>> result)
    {
        unchecked
        {
            Vector256<uint> a = Vector256.Create(start[0]), b = Vector256.Create(start[1]), c = Vector256.Create(start[2]);
            Vector256<uint> d = Vector256.Create(start[3]), e = Vector256.Create(start[4]);
            Vector256<uint> k = Vector256.Create(0x5A827999u);
            for (int i = 0; i < 20; i++) Round(d ^ (b & (c ^ d)), k, i < 16 ? w[i] : Next(w, i), ref a, ref b, ref c, ref d, ref e);
            k = Vector256.Create(0x6ED9EBA1u);
            for (int i = 20; i < 40; i++) Round(b ^ c ^ d, k, Next(w, i), ref a, ref b, ref c, ref d, ref e);
            k = Vector256.Create(0x8F1BBCDCu);
            for (int i = 40; i < 60; i++) Round((b & c) | (d & (b | c)), k, Next(w, i), ref a, ref b, ref c, ref d, ref e);
            k = Vector256.Create(0xCA62C1D6u);
            for (int i = 60; i < 80; i++) Round(b ^ c ^ d, k, Next(w, i), ref a, ref b, ref c, ref d, ref e);
            result[0] = a + Vector256.Create(start[0]);
            result[1] = b + Vector256.Create(start[1]);
            result[2] = c + Vector256.Create(start[2]);
            result[3] = d + Vector256.Create(start[3]);
            result[4] = e + Vector256.Create(start[4]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> Next(Span<Vector256<uint>> w, int i) =>
        w[i & 15] = RotateLeft(w[(i + 13) & 15] ^ w[(i + 8) & 15] ^ w[(i + 2) & 15] ^ w[i & 15], 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Round(
        Vector256<uint> f,
        Vector256<uint> k,
        Vector256<uint> w,
        ref Vector256<uint> a,
        ref Vector256<uint> b,
        ref Vector256<uint> c,
        ref Vector256<uint> d,
        ref Vector256<uint> e)
    {
        Vector256<uint> next = RotateLeft(a, 5) + f + e + k + w;
        e = d;
        d = c;
        c = RotateLeft(b, 30);
        b = a;
        a = next;
    }
}
