using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.Encryption;

/// <summary>Judges the header of an encrypted file, or the token of an encrypted bundle. No checksum covers it: what is wrong shows by its
/// fields alone.</summary>
internal static class EncryptionHeaderChecker
{
    /// <summary>Judges it.</summary>
    /// <param name="file">The file, or the token of a bundle.</param>
    /// <param name="isToken">Whether it is a token, which has no data behind it.</param>
    /// <param name="findings">Receives what is found.</param>
    public static void Check(BlockStorage file, bool isToken, ImageFindings findings)
    {
        const string What = "Encryption header";
        EncryptionHeader header;
        try
        {
            header = EncryptionHeader.Read(file);
        }
        catch (ImageException e) when (e.Id is ImageErrorId.ImageDamaged or ImageErrorId.UnsupportedFormat)
        {
            findings.Damaged(What, e);
            return;
        }

        if (!isToken && (header.DataOffset > file.Length || header.DataSize > file.Length - header.DataOffset))
            findings.Damaged(What, $"{header.DataSize} bytes of data should begin at byte {header.DataOffset}, and the file has "
                + $"{file.Length}: the end is missing.", "encryption header");
        else if (!isToken && header.DataOffset < header.HeaderEnd)
            findings.Damaged(What, $"The data begin at byte {header.DataOffset}, inside the header.", "encryption header");
        else if (isToken && header.HeaderEnd > file.Length)
            findings.Damaged(What, "The token ends inside a wrapped key.", "token");
        else
            findings.Ok(
                What, $"Its fields make sense: version {header.Version}, AES-{header.KeyBits}, blocks of {header.BlockSize} bytes.");
    }
}
