using System.Buffers.Binary;

namespace CCImage.Sources;

/// <summary>
/// The mark of a file in an image whose content could not be read: what is there is not the file's content, or not all of it. It lies in
/// the Finder info, where every reader keeps it: type <c>lost</c>, creator <c>CCIM</c>, and the red label, which Finder shows.
/// </summary>
internal static class LostContentMark
{
    private const uint Type = 0x6C6F_7374; // 'lost'
    private const uint Creator = 0x4343_494D; // 'CCIM'

    // Finder.h: kColor is bits 1 to 3 of the low byte of the flags; 6 is red.
    private const int ColorOffset = 9;
    private const byte ColorMask = 0x0E;
    private const byte Red = 6 << 1;

    /// <summary>Whether a file has the mark.</summary>
    /// <param name="finderInfo">Its Finder info, 32 bytes; empty for none.</param>
    public static bool IsOn(ReadOnlySpan<byte> finderInfo) =>
        finderInfo.Length >= 8 && BinaryPrimitives.ReadUInt32BigEndian(finderInfo) == Type
            && BinaryPrimitives.ReadUInt32BigEndian(finderInfo[4..]) == Creator;

    /// <summary>Marks a file.</summary>
    /// <param name="finderInfo">Its Finder info, 32 bytes; what has no part in the mark stays.</param>
    public static void Apply(Span<byte> finderInfo)
    {
        BinaryPrimitives.WriteUInt32BigEndian(finderInfo, Type);
        BinaryPrimitives.WriteUInt32BigEndian(finderInfo[4..], Creator);
        ApplyLabel(finderInfo);
    }

    /// <summary>Gives a folder the red label only: its Finder info has no type and no creator.</summary>
    /// <param name="finderInfo">Its Finder info, 32 bytes.</param>
    public static void ApplyLabel(Span<byte> finderInfo) => finderInfo[ColorOffset] = (byte)((finderInfo[ColorOffset] & ~ColorMask) | Red);
}
