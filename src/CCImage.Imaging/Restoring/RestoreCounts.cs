namespace CCImage.Restoring;

/// <summary>How many entries became what.</summary>
internal sealed class RestoreCounts
{
    /// <summary>Made, whatever of their metadata the host took.</summary>
    public long Restored { get; set; }

    /// <summary>To be restored, and not made, or without their content.</summary>
    public long Failed { get; set; }

    /// <summary>Left alone because something of their name exists.</summary>
    public long Skipped { get; set; }

    /// <summary>Left out because it was asked for.</summary>
    public long Excluded { get; set; }
}
