using System.Security;
using CCImage.Encryption;

namespace CCImage.Tests.Encryption;

/// <summary>Passphrases of tests.</summary>
internal static class Secrets
{
    /// <summary>Rounds of key derivation that take no time.</summary>
    public const int FewRounds = 1000;

    public static Passphrase Of(string text)
    {
        using var secret = new SecureString();
        foreach (char c in text) secret.AppendChar(c);
        return Passphrase.From(secret);
    }
}
