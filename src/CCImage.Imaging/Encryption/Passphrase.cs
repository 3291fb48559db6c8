using System.Runtime.InteropServices;
using System.Security;
using System.Security.Cryptography;
using System.Text;

namespace CCImage.Encryption;

/// <summary>
/// A passphrase for the time it is needed: its UTF-8 bytes (no newline, no terminator) in pinned memory that is zeroed when disposed.
/// It never becomes a <see cref="string"/>.
/// <para>
/// The key derived last is kept beside it: a job opens an image several times, and deriving takes a quarter of a second on purpose. Whoever
/// could read the one could read the other.
/// </para>
/// </summary>
public sealed class Passphrase : IDisposable, IEquatable<Passphrase>
{
    private readonly byte[] _bytes;
    private readonly int _length;
    private readonly Lock _deriving = new();
    private byte[] _derived = [];
    private byte[] _salt = [];
    private int _rounds;

    private Passphrase(byte[] bytes, int length) => (_bytes, _length) = (bytes, length);

    /// <summary>How often a key was derived indeed.</summary>
    internal int Derivations { get; private set; }

    /// <summary>The bytes that key derivation works on.</summary>
    internal ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, _length);

    /// <summary>Takes a copy of a secure string's characters.</summary>
    /// <param name="secret">The passphrase; stays the caller's.</param>
    public static Passphrase From(SecureString secret)
    {
        ArgumentNullException.ThrowIfNull(secret);
        IntPtr characters = Marshal.SecureStringToGlobalAllocUnicode(secret);
        try
        {
            unsafe
            {
                var text = new ReadOnlySpan<char>((void*)characters, secret.Length);

                // Pinned from the start: the collector must not leave copies behind when it moves things.
                byte[] bytes = GC.AllocateUninitializedArray<byte>(Encoding.UTF8.GetMaxByteCount(text.Length), pinned: true);
                return new Passphrase(bytes, Encoding.UTF8.GetBytes(text, bytes));
            }
        }
        finally
        {
            Marshal.ZeroFreeGlobalAllocUnicode(characters);
        }
    }

    /// <summary>Takes over bytes.</summary>
    /// <param name="bytes">The UTF-8 bytes, in pinned memory; zeroed with the passphrase.</param>
    internal static Passphrase Take(byte[] bytes) => new(bytes, bytes.Length);

    /// <summary>Derives a key: PBKDF2 with HMAC-SHA1 (RFC 8018).</summary>
    /// <param name="salt">The salt.</param>
    /// <param name="rounds">Rounds.</param>
    /// <param name="key">Receives the key.</param>
    /// <param name="cancellation">Ends it.</param>
    internal void Derive(ReadOnlySpan<byte> salt, int rounds, Span<byte> key, CancellationToken cancellation = default)
    {
        lock (_deriving)
        {
            if (_derived.Length != key.Length || _rounds != rounds || !salt.SequenceEqual(_salt))
            {
                CryptographicOperations.ZeroMemory(_derived);
                _derived = GC.AllocateUninitializedArray<byte>(key.Length, pinned: true);
                _rounds = 0; // nothing is kept yet
                KeyDerivation.Derive(Bytes, salt, _derived, rounds, cancellation);
                (_salt, _rounds) = (salt.ToArray(), rounds);
                Derivations++;
            }

            _derived.CopyTo(key);
        }
    }

    /// <summary>Whether another passphrase has the same bytes; in a time that does not tell where they differ.</summary>
    /// <param name="other">The other.</param>
    public bool Equals(Passphrase? other) => other is not null && CryptographicOperations.FixedTimeEquals(Bytes, other.Bytes);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as Passphrase);

    /// <summary>Refused: a number that follows from a secret is a leak, and nothing needs passphrases as keys.</summary>
    public override int GetHashCode() => throw new NotSupportedException();

    /// <summary>Zeroes the bytes.</summary>
    public void Dispose()
    {
        lock (_deriving)
        {
            CryptographicOperations.ZeroMemory(_bytes);
            CryptographicOperations.ZeroMemory(_derived);
            _derived = [];
        }
    }
}
