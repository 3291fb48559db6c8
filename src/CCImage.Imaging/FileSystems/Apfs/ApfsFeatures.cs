namespace CCImage.FileSystems.Apfs;

/// <summary>
/// The features of a container and its volumes that change what is on the disk. A bit that is not known here forbids writing: who made it
/// may keep space where the bitmaps say that it is free. Source: Apple File System Reference, "Container Superblock", "Volume Superblock";
/// the names of the bits from 0x40 on (per-file keys, preallocated extents, a second tree of files) as apfsprogs has them.
/// </summary>
internal static class ApfsFeatures
{
    private const ulong KnownOfContainer = 1 | ApfsConstants.IncompatibleVersion2 | ApfsConstants.IncompatibleFusion;
    private const ulong KnownOfVolume = 0x1FF;

    /// <summary>What is not known, for people; null when all is.</summary>
    /// <param name="container">The container.</param>
    /// <param name="volumes">Its volumes.</param>
    public static string? FindUnknown(in ApfsContainerSuperblock container, IReadOnlyList<ApfsVolumeSuperblock> volumes)
    {
        var unknown = new List<string>();
        Add(container.IncompatibleFeatures & ~KnownOfContainer, "incompatible", "the container");
        Add(container.ReadOnlyFeatures, "read-only compatible", "the container");
        foreach (ApfsVolumeSuperblock volume in volumes)
        {
            string of = $"volume '{ApfsContainer.NameOf(volume)}'";
            Add(volume.IncompatibleFeatures & ~KnownOfVolume, "incompatible", of);
            Add(volume.ReadOnlyFeatures, "read-only compatible", of);
        }

        return unknown.Count == 0 ? null : string.Join(", ", unknown);

        void Add(ulong bits, string kind, string of)
        {
            if (bits != 0) unknown.Add($"{kind} features 0x{bits:X} of {of}");
        }
    }

    /// <summary>Why the files of a volume are not read: the feature and the way out; null when they are.</summary>
    /// <param name="container">Its container.</param>
    /// <param name="volume">The volume.</param>
    public static ImageException? FindObstacle(in ApfsContainerSuperblock container, in ApfsVolumeSuperblock volume)
    {
        const string OnAMac = "Attach the image on a Mac and copy the files there.";
        string of = $"The APFS volume '{ApfsContainer.NameOf(volume)}'";
        string place = $"volume superblock, incompatible features 0x{(ulong)volume.IncompatibleFeatures:X}";
        if ((container.IncompatibleFeatures & ApfsConstants.IncompatibleFusion) != 0)
            return ImageException.Unsupported(
                $"{of} lies in a Fusion container, on two devices of which this image holds one: its files are not read.",
                "Back the files up on the Mac that has both.", "container superblock");
        if ((volume.Flags & ApfsConstants.VolumeUnencrypted) == 0)
            return ImageException.Unsupported(
                $"{of} is encrypted by the file system itself (FileVault), whose files this version does not read.", OnAMac,
                "volume superblock");
        if ((volume.IncompatibleFeatures & ApfsConstants.VolumeIsSealed) != 0)
            return ImageException.Unsupported(
                $"{of} is sealed, as a Mac's system volume is, whose files this version does not read.", OnAMac, place);
        if ((volume.IncompatibleFeatures & ApfsConstants.VolumeHasSecondTree) != 0)
            return ImageException.Unsupported($"{of} has a second tree of files, which this version does not read.", OnAMac, place);
        if ((volume.RootTreeType & ApfsConstants.ObjectStorageMask) != 0)
            return ImageException.Unsupported(
                $"The tree of files of {of[4..]} is of a kind that this version does not read.", OnAMac, "volume superblock");
        return null;
    }
}
