namespace CCImage.Platform;

/// <summary>
/// Names as volumes of a Mac compare them: HFS+ stores and lists them decomposed (Technical Note TN1150, "Unicode Subtleties"), APFS as
/// they were given, and both find them in either form.
/// </summary>
internal sealed class MacNameComparer : IEqualityComparer<string>
{
    /// <inheritdoc/>
    public bool Equals(string? x, string? y) => StringComparer.OrdinalIgnoreCase.Equals(Composed(x), Composed(y));

    /// <inheritdoc/>
    public int GetHashCode(string obj) => StringComparer.OrdinalIgnoreCase.GetHashCode(Composed(obj)!);

    private static string? Composed(string? name)
    {
        try
        {
            return name?.Normalize();
        }
        catch (ArgumentException)
        {
            return name; // no Unicode
        }
    }
}
