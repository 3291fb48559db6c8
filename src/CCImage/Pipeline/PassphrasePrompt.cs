using System.Management.Automation;
using System.Management.Automation.Host;
using System.Security;
using CCImage.Encryption;
using CCImage.Errors;

namespace CCImage.Pipeline;

/// <summary>Asks the person at the host for passphrases, without echo, in the same words everywhere.</summary>
/// <param name="host">The host.</param>
internal sealed class PassphrasePrompt(PSHost host)
{
    private const int Attempts = 3;

    /// <summary>Asks twice for a passphrase that is to be set; again when the two differ or it is empty.</summary>
    /// <param name="what">What it is for.</param>
    /// <returns>The passphrase, the caller's to dispose.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.PassphraseRequired"/>: there is nobody to ask;
    /// <see cref="ImageErrorId.InvalidArgument"/>: no passphrase was given twice, each time.</exception>
    public Passphrase AskForNew(string what)
    {
        for (int left = Attempts - 1; ; left--)
        {
            Passphrase first = Ask($"Passphrase for {OnOneLine(what)}: ");
            try
            {
                if (first.Bytes.Length > 0)
                {
                    using Passphrase second = Ask("Once more: ");
                    if (first.Equals(second)) return first;
                }
            }
            catch
            {
                first.Dispose();
                throw;
            }

            string problem = first.Bytes.Length == 0 ? "The passphrase is empty." : "The two passphrases differ.";
            first.Dispose();
            if (left == 0) throw new ImageException(ImageErrorId.InvalidArgument, problem, remedy: "Try again, or give it by a parameter.");
            host.UI.WriteLine(problem);
        }
    }

    /// <summary>Asks for a passphrase that exists, until it is right or was wrong too often.</summary>
    /// <param name="what">What it opens.</param>
    /// <param name="path">The image, for errors.</param>
    /// <param name="opens">Whether it is right.</param>
    /// <returns>The passphrase, the caller's to dispose.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.PassphraseRequired"/>: there is nobody to ask;
    /// <see cref="ImageErrorId.WrongPassphrase"/>: it was wrong each time.</exception>
    public Passphrase AskUntil(string what, string path, Func<Passphrase, bool> opens)
    {
        for (int left = Attempts - 1; ; left--)
        {
            Passphrase candidate = Ask($"Passphrase of {OnOneLine(what)}: ");
            try
            {
                if (opens(candidate)) return candidate;
            }
            catch
            {
                candidate.Dispose();
                throw;
            }

            candidate.Dispose();
            if (left == 0)
                throw new ImageException(ImageErrorId.WrongPassphrase, "The passphrase does not open the image.", path,
                    remedy: "Check the passphrase; upper and lower case count.");
            host.UI.WriteLine("The passphrase does not open the image.");
        }
    }

    private Passphrase Ask(string text)
    {
        try
        {
            // A host without a person gives a string of its own, or refuses.
            if (host.UI is null || (Console.IsInputRedirected && host.Name == "ConsoleHost")) throw NobodyToAsk(null);
            host.UI.Write(text);
            using SecureString? secret = host.UI.ReadLineAsSecureString();
            return secret is null ? throw NobodyToAsk(null) : Passphrase.From(secret);
        }
        catch (Exception e) when (e is not ImageException && !ErrorMapping.IsFlowControl(e))
        {
            throw NobodyToAsk(e);
        }
    }

    // The name of an image comes from somebody else, and must not write over the prompt.
    private static string OnOneLine(string name) => string.Create(name.Length, name, static (characters, text) =>
    {
        for (int i = 0; i < text.Length; i++) characters[i] = char.IsControl(text[i]) ? '?' : text[i];
    });

    private static ImageException NobodyToAsk(Exception? cause) => new(
        ImageErrorId.PassphraseRequired, "A passphrase is needed, and there is nobody to ask.",
        remedy: "Give -Passphrase; in a scheduled task for example with (Get-Secret Name) of the module "
            + "Microsoft.PowerShell.SecretManagement.", innerException: cause);
}
