using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using CCImage.Encryption;
using CCImage.Storage;

namespace CCImage.Benchmarks;

/// <summary>The encrypted layer alone, over memory, on one thread: 512-byte blocks, IVs included.</summary>
internal static class EncryptedLayer
{
    /// <summary>Prints "encrypting / decrypting" in MB/s.</summary>
    /// <param name="keyBits">128 or 256.</param>
    public static void Measure(int keyBits)
    {
        const int Bytes = 64 << 20, Piece = 1 << 20, DataOffset = 4096;
        using var storage = new EncryptedStorage(
            new MemoryStorage(DataOffset + Bytes),
            new BlockCipher(new DiskKeys(RandomNumberGenerator.GetBytes(keyBits / 8), RandomNumberGenerator.GetBytes(20)), 512), DataOffset,
            Bytes);
        byte[] piece = RandomNumberGenerator.GetBytes(Piece);
        double encrypting = Best(at => storage.Write(at, piece)), decrypting = Best(at => storage.Read(at, piece));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{encrypting:F0} / {decrypting:F0}"));

        static double Best(Action<long> move)
        {
            double best = 0;
            for (int round = 0; round < 12; round++)
            {
                long start = Stopwatch.GetTimestamp();
                for (long at = 0; at < Bytes; at += Piece) move(at);
                best = Math.Max(best, Bytes / 1e6 / Stopwatch.GetElapsedTime(start).TotalSeconds);
            }

            return best;
        }
    }
}
