namespace CCImage.Platform;

/// <summary>
/// Where the system keeps passphrases of disk images and looks for them when it attaches one. Refusals are <see cref="HostException"/>.
/// Both calls may wait for the person at the screen: the system asks before it lets a program have what another one saved.
/// </summary>
internal interface IKeychain
{
    /// <summary>Saves a secret, in the place of one that is there under the same account.</summary>
    /// <param name="account">What the system looks for.</param>
    /// <param name="name">What people read in the list of passphrases.</param>
    /// <param name="secret">The secret. It need not stay after the call.</param>
    void Save(string account, string name, ReadOnlySpan<byte> secret);

    /// <summary>Reads a secret.</summary>
    /// <param name="account">What it was saved under.</param>
    /// <returns>The secret, in pinned memory that the caller zeroes; null when there is none.</returns>
    byte[]? Find(string account);
}
