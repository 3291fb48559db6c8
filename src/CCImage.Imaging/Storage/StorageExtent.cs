namespace CCImage.Storage;

/// <summary>What is known about a range of bytes before it is read.</summary>
public enum ExtentKind : byte
{
    /// <summary>Stored (or computed) bytes: read them to know them.</summary>
    Data,

    /// <summary>Not stored: reads as zeros, and the zeros mean something (a hole in a file, an untouched band).</summary>
    Zero,

    /// <summary>Belongs to no file: reads as zeros here, and a writer may leave it out altogether.</summary>
    Unused,
}

/// <summary>A range of bytes of one kind.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Number of bytes, positive.</param>
/// <param name="Kind">What is known of it.</param>
public readonly record struct StorageExtent(long Offset, long Length, ExtentKind Kind)
{
    /// <summary>The first byte behind the range.</summary>
    public long End => Offset + Length;
}
