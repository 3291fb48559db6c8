namespace CCImage.Fuzzing;

/// <summary>A contradiction that no single exception shows.</summary>
internal sealed class ContradictionException(string message) : Exception(message);

/// <summary>A parser, and what helps to find its corners.</summary>
internal abstract class FuzzTarget
{
    /// <summary>What an <see cref="ImageException"/> may say of a malformed input.</summary>
    public static IReadOnlySet<ImageErrorId> Verdicts { get; } = new HashSet<ImageErrorId>
    {
        ImageErrorId.ImageDamaged, ImageErrorId.UnsupportedFormat, ImageErrorId.UnknownFormat, ImageErrorId.ChecksumMismatch,
    };

    /// <summary>Whether bytes may be inserted and removed: files, not disks.</summary>
    public virtual bool ChangesLength => true;

    /// <summary>Words of the format.</summary>
    public virtual IReadOnlyList<byte[]> Words => [];

    /// <summary>Inputs beside the files of the seed folder.</summary>
    public virtual IEnumerable<byte[]> Seeds() => [];

    /// <summary>Reads an input; what it throws is judged.</summary>
    /// <param name="input">The input; as it was when this returns.</param>
    /// <returns>What of it was read: changes are made there.</returns>
    public abstract (int At, int Length)[] Run(byte[] input);

    /// <summary>Puts checksums right again.</summary>
    /// <param name="input">The changed input.</param>
    /// <param name="changes">What was changed in it.</param>
    /// <returns>What is to be changed besides.</returns>
    public virtual IEnumerable<(int At, byte[] Bytes)> Mend(byte[] input, IReadOnlyList<(int At, byte[] Bytes)> changes) => [];

    /// <summary>Runs, and swallows verdicts.</summary>
    protected static void Expect(Action action, params ReadOnlySpan<ImageErrorId> besides)
    {
        try
        {
            action();
        }
        catch (ImageException e)
        {
            if (!Verdicts.Contains(e.Id) && !besides.Contains(e.Id)) throw;
        }
    }
}
