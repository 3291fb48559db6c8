using System.Buffers.Binary;
using System.Security.Cryptography;

namespace CCImage.Encryption;

/// <summary>
/// PBKDF2 with HMAC-SHA1 (RFC 8018). The platform's own cannot be stopped: what takes it longer than a moment, as only a header that was
/// made to hang its reader asks for, is done here round by round.
/// </summary>
internal static class KeyDerivation
{
    /// <summary>Rounds that are left to the platform: well under a second.</summary>
    public const int MostUnstoppable = 1_000_000;

    private const int HashSize = 20;
    private const int RoundsPerLook = 1000;

    /// <summary>Derives a key.</summary>
    /// <param name="passphrase">The passphrase.</param>
    /// <param name="salt">The salt.</param>
    /// <param name="key">Receives it; in pinned memory.</param>
    /// <param name="rounds">Rounds.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <param name="mostUnstoppable">Rounds that are left to the platform.</param>
    public static void Derive(
        ReadOnlySpan<byte> passphrase, ReadOnlySpan<byte> salt, Span<byte> key, int rounds, CancellationToken cancellation,
        int mostUnstoppable = MostUnstoppable)
    {
        cancellation.ThrowIfCancellationRequested();
        if (rounds <= mostUnstoppable)
        {
            Rfc2898DeriveBytes.Pbkdf2(passphrase, salt, key, rounds, HashAlgorithmName.SHA1);
            return;
        }

        using var hash = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA1, passphrase);
        Span<byte> number = stackalloc byte[sizeof(int)], round = stackalloc byte[HashSize], block = stackalloc byte[HashSize];
        try
        {
            for (int at = 0; at < key.Length; at += HashSize)
            {
                BinaryPrimitives.WriteInt32BigEndian(number, (at / HashSize) + 1);
                hash.AppendData(salt);
                hash.AppendData(number);
                hash.GetHashAndReset(round);
                round.CopyTo(block);
                for (int i = 1; i < rounds; i++)
                {
                    if (i % RoundsPerLook == 0) cancellation.ThrowIfCancellationRequested();
                    hash.AppendData(round);
                    hash.GetHashAndReset(round);
                    for (int b = 0; b < HashSize; b++) block[b] ^= round[b];
                }

                block[..Math.Min(HashSize, key.Length - at)].CopyTo(key[at..]);
            }
        }
        catch (OperationCanceledException)
        {
            CryptographicOperations.ZeroMemory(key);
            throw;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(round);
            CryptographicOperations.ZeroMemory(block);
        }
    }
}
