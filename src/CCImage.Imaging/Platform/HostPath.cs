namespace CCImage.Platform;

/// <summary>
/// A walk through folders of any depth: a chain of open folders from a start to where one stands. Only so many are held open at once, and
/// those in which another volume begins; the others are reached again from below by <c>..</c>, and taken only when they still are the same
/// folders.
/// </summary>
internal sealed class HostPath : IDisposable
{
    private const int MaximumOpen = 16;

    private readonly List<(HostDirectory? Folder, HostIdentity Identity)> _chain = [];
    private int _firstOpen;

    /// <summary>Begins a walk.</summary>
    /// <param name="start">The folder to begin in; owned from now on.</param>
    public HostPath(HostDirectory start) => _chain.Add((start, start.Stat.Identity));

    /// <summary>How many folders below the start one stands.</summary>
    public int Depth => _chain.Count - 1;

    /// <summary>The folder one stands in.</summary>
    public HostDirectory Current => _chain[^1].Folder!;

    /// <summary>Goes down.</summary>
    /// <param name="name">A single name.</param>
    /// <exception cref="HostException">It is not a folder, or cannot be opened; one stands where one stood.</exception>
    public void Enter(string name) => Enter(name, null);

    /// <summary>Goes down into a folder that was seen before, and is taken only when it still is the same.</summary>
    /// <param name="name">A single name.</param>
    /// <param name="expected">Its identity then; null for any.</param>
    /// <exception cref="HostException">As there, and <see cref="HostFailure.Replaced"/>.</exception>
    public void Enter(string name, HostIdentity? expected)
    {
        HostDirectory folder = Current.OpenDirectory(name);
        if (expected is { } identity && folder.Stat.Identity != identity)
        {
            folder.Dispose();
            throw new HostException(HostFailure.Replaced, "Another folder has its name now.");
        }

        Append(folder);
    }

    /// <summary>Goes up.</summary>
    /// <exception cref="HostException">The folder above was moved.</exception>
    public void Leave() => LeaveOpen().Dispose();

    /// <summary>Goes up, and leaves the folder open in which one stood: its metadata can then be set by what was checked, whatever has its
    /// name.</summary>
    /// <returns>That folder; the caller's from now on.</returns>
    /// <exception cref="HostException">The folder above was moved.</exception>
    public HostDirectory LeaveOpen()
    {
        int above = _chain.Count - 2;
        if (_chain[above].Folder is null)
        {
            _chain[above] = (Current.OpenParent(_chain[above].Identity), _chain[above].Identity);
            _firstOpen = above;
        }

        HostDirectory left = Current;
        _chain.RemoveAt(above + 1);
        return left;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach ((HostDirectory? folder, _) in _chain) folder?.Dispose();
        _chain.Clear();
    }

    private void Append(HostDirectory folder)
    {
        _chain.Add((folder, folder.Stat.Identity));
        if (_chain.Count - _firstOpen <= MaximumOpen) return;
        (HostDirectory? oldest, HostIdentity identity) = _chain[_firstOpen];

        // From another volume .. need not lead back: not from the folder that a Mac's firmlink leads to, nor from one that is unmounted
        // meanwhile.
        if (_chain[_firstOpen + 1].Identity.Device == identity.Device)
        {
            oldest!.Dispose();
            _chain[_firstOpen] = (null, identity);
        }

        _firstOpen++;
    }
}
