using CCImage.Binary;

namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The zones that a versioned space manager prefers for its allocations on the main device: eight entries, each with the bounds it has, seven it had, and an id.
/// Source: Apple File System Reference, <c>spaceman_datazone_info_phys_t</c>. Guess: the bounds are numbers of blocks.
/// </summary>
internal static class ApfsAllocationZones
{
    private const int Offset = 0x158;
    private const int EntrySize = 136;
    private const int Entries = 8;

    /// <summary>Whether a zone reaches behind a block.</summary>
    /// <param name="manager">The space manager.</param>
    /// <param name="block">The block.</param>
    public static bool Reach(ReadOnlySpan<byte> manager, long block)
    {
        for (int i = 0; i < Entries; i++)
        {
            ApfsZoneBounds bounds = Layout.Read<ApfsZoneBounds>(manager[(Offset + (i * EntrySize))..]);
            if (bounds.Start > (ulong)block || bounds.End > (ulong)block) return true;
        }

        return false;
    }
}
