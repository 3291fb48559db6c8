namespace CCImage;

/// <summary>Whose restored files become.</summary>
public enum RestoreOwnership
{
    /// <summary>Their owner and group in the image, by number.</summary>
    Keep,

    /// <summary>The user's who restores. Bits that let a program run as its owner are then left out, and so are its capabilities.</summary>
    Current,
}
