using System.Runtime.InteropServices;

namespace CCImage.Platform;

/// <summary>
/// The files that this process may still open. Who keeps files open only to save time registers a way to close some of them: when there is
/// no room for another, it is asked, and the call is tried again.
/// </summary>
internal static class FileDescriptors
{
    // ENFILE and EMFILE: the same numbers on Linux and macOS.
    private const int SystemTableFull = 23;
    private const int ProcessTableFull = 24;
    private const int Tries = 50;

    private static readonly Lock s_gate = new();
    private static readonly List<Func<bool>> s_caches = [];

    /// <summary>Registers a cache of open files.</summary>
    /// <param name="release">Closes what is not in use just now, and says whether that was anything. It may be called on any
    /// thread.</param>
    public static void Register(Func<bool> release)
    {
        lock (s_gate) s_caches.Add(release);
    }

    /// <summary>Ends what <see cref="Register"/> began.</summary>
    /// <param name="release">The same.</param>
    public static void Unregister(Func<bool> release)
    {
        lock (s_gate) s_caches.Remove(release);
    }

    /// <summary>Opens something; where there is no room for it, after room was made.</summary>
    /// <param name="open">The call: it gives a descriptor, or a negative number and leaves the error number.</param>
    /// <returns>What the call gave; the error number is left as it left it.</returns>
    public static int Open(Func<int> open)
    {
        for (int i = 0; ; i++)
        {
            int descriptor = open();
            if (descriptor >= 0) return descriptor;
            int error = Marshal.GetLastPInvokeError();
            if (error is SystemTableFull or ProcessTableFull && i < Tries && HasCaches())
            {
                // What was in use a moment ago may be free in the next.
                if (!Release()) Thread.Sleep(2);
                continue;
            }

            Marshal.SetLastPInvokeError(error);
            return descriptor;
        }
    }

    private static bool HasCaches()
    {
        lock (s_gate) return s_caches.Count > 0;
    }

    private static bool Release()
    {
        Func<bool>[] caches;
        lock (s_gate) caches = [.. s_caches];
        bool any = false;
        foreach (Func<bool> release in caches) any |= release();
        return any;
    }
}
